"""Attributes that users set on tensors."""

from __future__ import annotations

import gc
import weakref
from typing import Any

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
