"""Attributes that users set on tensors."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


class Thing:
    """Something that can be referred to weakly."""


class Labelled(tg.Tensor):
    """A class that derives from Tensor."""


@pytest.mark.parametrize(
    "make",
    [lambda: tg.tensor([1.0], requires_grad=True), lambda: tg.ones(2) * 2, lambda: Labelled([1.0])],
)
def test_a_tensor_takes_attributes(make: Any) -> None:
    t = make()
    t.label = "weights"
    assert t.label == "weights"
    assert not hasattr(t, "other")
    del t.label
    assert not hasattr(t, "label")
    assert not hasattr(make(), "label")


def test_attributes_go_with_their_tensor() -> None:
    t, thing = tg.ones(2) * 2, Thing()
    gone = weakref.ref(thing)
    t.thing = thing
    del thing
    assert gone() is not None
    del t
    assert gone() is None


def test_what_a_tensor_has_is_not_an_attribute() -> None:
    t = tg.ones(2)
    with pytest.raises(AttributeError):
        t.shape = 3
    t.grad = None
    assert t.shape == (2,)


def test_an_attribute_whose_end_records() -> None:
    class Records:
        def __del__(self) -> None:
            x = tg.tensor(2.0, requires_grad=True)
            (x * x).backward()
            ends.append(x.grad.item())
            gc.collect()

    ends: list[float] = []
    t = tg.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(50):
        y = t * 2
        y.records = Records()
        del y
    assert ends == [4.0] * 50
    (t * 3).sum().backward()
    assert t.grad.tolist() == [3.0, 3.0]


# --------------------------------------------------------------------------- Python's protocols
def test_reversed_flips_the_first_dimension() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    assert reversed(x).tolist() == [[5.0, 6.0], [3.0, 4.0], [1.0, 2.0]]
    (reversed(x) * tg.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    number = tg.tensor(42)
    assert reversed(number) is number


def test_the_address_of_no_elements_is_zero() -> None:
    x = tg.zeros(2, 2)
    assert x.data_ptr() != 0
    assert (tg.zeros(0).data_ptr(), x[0:0].data_ptr()) == (0, 0)


def test_a_size_leaves_sums_to_what_knows_them() -> None:
    class Knows:
        def __radd__(self, other: Any) -> Any:
            return "sum", other

    size = tg.Size([1, 2])
    assert size + Knows() == ("sum", (1, 2))
    assert (*size, 3) == tg.Size([1, 2, 3])
    with pytest.raises(TypeError, match=r"can only concatenate tuple \(not list\) to torch.Size"):
        size.__add__([3])


def test_apply_takes_functions_that_return_numbers() -> None:
    x = tg.arange(3)
    assert x.apply_(lambda k: k + 0.5).tolist() == [0, 1, 2]
    for wrong in ("str", None):
        with pytest.raises(TypeError, match="must be real number, not"):
            tg.arange(3.0).apply_(lambda _, wrong=wrong: wrong)


def test_lengths_may_be_arrays_of_one_integer() -> None:
    assert tg.ones((np.array(3), np.int64(4))).shape == (3, 4)
    assert tg.zeros(np.array(3), np.array(2)).shape == (3, 2)
    for wrong in (np.array(3.0), np.array([3])):
        with pytest.raises(TypeError, match="must be tuple of ints"):
            tg.ones((wrong, 4))


def test_bernoulli_fills_a_tensor_of_any_dtype() -> None:
    chances = tg.tensor([0.0, 1.0, 1.0])
    for kind in (tg.float32, tg.int64, tg.bool):
        out = tg.zeros(3, dtype=kind)
        assert tg.bernoulli(chances, out=out) is out
        assert out.tolist() == [0, 1, 1]
