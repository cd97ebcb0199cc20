"""NumPy arrays and numbers in the place of Tensors: every function takes them, and copies them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_samples import public_rows, results_of

import tapegrad as tg
from tapegrad.base.errors import UnsupportedError

ROOT = Path(__file__).parent.parent
VARIABLES: dict[str, np.ndarray] = {
    "b": np.array([True, False, True]), "c": np.arange(8.0).reshape(2, 2, 2),
    "d": np.array([-1.5, 0.25, 2.75]), "i": np.array([2, 0]), "k": np.array([1, 2, 3]),
    "j": np.array([1 + 2j, 3 - 1j]),
    "l": np.array([3, 2, 1]), "m": np.array([[1.0, 2.0], [3.0, 4.0]]), "q": np.array([-0.5, 0.0, 0.5]),
    "u": np.array([1.5, 2.0, 3.0]), "v": np.array([1.0, 2.0]), "w": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "x": np.array([0.5, 1.0, 2.0]), "y": np.array([3.0, 1.0, 2.0]), "z": np.array([0.5, np.nan, np.inf]),
}  # fmt: skip
#: views, and what is about a Tensor's memory
OF_TENSORS = {"as_strided", "is_inference", "adjoint", "is_set_to", "set_", "data_ptr"}


def calls() -> list[tuple[str, str]]:
    """Functions with arguments: the examples of the help texts, and elementwise ops."""
    found = {}
    for line in (ROOT / "tools" / "example_calls.txt").read_text().splitlines():
        name, colon, arguments = line.partition(": ")
        if colon and re.fullmatch(r"\w+", name) and hasattr(tg, name):
            found[name] = arguments
    for entry in public_rows():
        name = entry.function or entry.name
        if entry.is_elementwise and hasattr(tg, name) and entry.arity in (1, 2):
            found.setdefault(name, "x, y / 4" if entry.arity == 2 else "x / 4")
    return [
        (name, text) for name, text in found.items() if name[-1] != "_" and name not in OF_TENSORS
    ]


@pytest.mark.parametrize(("name", "arguments"), calls(), ids=[name for name, _ in calls()])
def test_functions_take_arrays(name: str, arguments: str) -> None:
    tensors = {key: tg.tensor(value) for key, value in VARIABLES.items()}
    text = f"tg.{name}({arguments})"
    try:
        expected = eval(text, {"tg": tg, **tensors})
    except (
        UnsupportedError,
        RuntimeError,
        TypeError,
    ) as error:  # whole numbers where it has floats
        with pytest.raises(type(error), match=re.escape(str(error))[:40]):
            eval(text, {"tg": tg, **VARIABLES})
        return
    result = eval(text, {"tg": tg, **VARIABLES})
    assert type(result) is type(expected)
    for one, other in zip(results_of(result), results_of(expected), strict=True):
        if not tg.is_tensor(other):
            assert one == other
            continue
        assert one.dtype is other.dtype
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_arrays_are_copied_and_passive() -> None:
    array = np.array([1.0, 2.0])
    t = tg.tensor([3.0, 4.0], requires_grad=True)
    results = [tg.stack([array, t]), tg.mul(array, t), t.mul(array), tg.where(array > 1, array, t)]
    array[:] = 7.0
    assert [r.detach().numpy().tolist() for r in results] == [
        [[1.0, 2.0], [3.0, 4.0]], [3.0, 8.0], [3.0, 8.0], [3.0, 2.0]
    ]  # fmt: skip
    sum(r.sum() for r in results).backward()
    assert t.grad.tolist() == [1 + 2 * 1.0 + 1, 1 + 2 * 2.0]
    assert not tg.exp(array).requires_grad


def test_numbers_have_the_dtype_of_what_they_meet() -> None:
    x = tg.ones(2, dtype=tg.float32)
    assert tg.maximum(x, 1.0).dtype is tg.float32
    assert tg.maximum(x, np.float64(1.0)).dtype is tg.float32  # NumPy's number without dimensions
    assert tg.exp(1).dtype is tg.exp(1.0).dtype is tg.float64
    assert tg.exp(np.float32(1)).dtype is tg.float32
    assert tg.mul(2, 3).dtype is tg.int64
    assert tg.stack([1.0, x[0]]).dtype is tg.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t: tg.exp(np.array(["a"])), r"exp\(\): argument 'input': .*numpy.str_"),
        (lambda t: tg.mul(t, np.array([None])), r"mul\(\): argument 'other': .*numpy.object_"),
        (lambda t: tg.exp(np.array("2020-01-01", "M8[D]")), "numpy.datetime64"),
        (lambda t: tg.exp(np.zeros(2, [("a", float)])), "numpy.void"),
        (lambda t: tg.cat([t, np.array(["a"])]), "element 1 in argument 0 .*numpy.str_"),
        (lambda t: tg.einsum("i,i", t, np.array(["a"])), "element 1 in argument 1 .*numpy.str_"),
        (lambda t: tg.exp([1.0]), "must be Tensor, not list"),
        (lambda t: tg.exp(None), "must be Tensor, not NoneType"),
        (lambda t: tg.sum(True), "must be Tensor, not bool"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name(call: Any, text: str) -> None:
    t = tg.tensor([1.0], requires_grad=True)
    before = tg.current_tape().stats()["statements"]
    with pytest.raises(TypeError, match=text):
        call(t)
    assert tg.current_tape().stats()["statements"] == before


def test_in_place_functions_write_tensors_only() -> None:
    array, t = np.ones(2), tg.ones(2)
    with pytest.raises(TypeError, match="must be Tensor"):
        tg.fill_(array, 2.0) if hasattr(tg, "fill_") else tg.sin_(array)
    t.add_(array)
    t.copy_(array * 5)
    t[0] = np.float64(7.0)
    assert t.tolist() == [7.0, 5.0]
    assert array.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="argument 'out' must be Tensor"):
        tg.exp(t, out=array)


def test_tensors_take_the_native_path_and_arrays_remember_none() -> None:
    """Functions remember types that they took: an array's is not one, as its dtype is no type."""
    for kind in (np.float64, np.float32, np.int64):
        assert tg.sum(np.ones(3, kind), 0).dtype is tg.tensor(np.ones(1, kind)).dtype
