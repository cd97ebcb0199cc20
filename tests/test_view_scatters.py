"""`select_scatter` and its kin, `set_` and `resize_`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg

Function = Callable[..., Any]

CALLS: dict[str, tuple[Function, Any, str]] = {
    "select": (
        lambda lib, x, s: lib.select_scatter(x, s[0], 0, 1), (2, 3), "SelectScatterBackward0"
    ),
    "select of last": (lambda lib, x, s: x.select_scatter(s[:, 0], -1, -1), (2, 3), "SelectScatter"),
    "slice": (lambda lib, x, s: lib.slice_scatter(x, s[:1], start=1), (2, 3), "SliceScatterBackward0"),
    "slice with step": (lambda lib, x, s: x.slice_scatter(s[:, :2], 1, 0, 3, 2), (2, 3), "SliceScatter"),
    "slice far": (lambda lib, x, s: x.slice_scatter(s, 0, -5, 100), (2, 3), "SliceScatter"),
    "diagonal": (lambda lib, x, s: lib.diagonal_scatter(x, s[0, :2]), (2, 3), "DiagonalScatter"),
    "diagonal above": (lambda lib, x, s: x.diagonal_scatter(s[0, :2], 1), (2, 3), "DiagonalScatter"),
    "as_strided": (
        lambda lib, x, s: lib.as_strided_scatter(x, s[0, :2], (2,), (4,), 1), (2, 3), "AsStridedScatter"
    ),
}  # fmt: skip
VALUES = {
    "select": [[1, 2, 3], [-1, -2, -3]],
    "select of last": [[1, 2, -1], [4, 5, -4]],
    "slice": [[1, 2, 3], [-1, -2, -3]],
    "slice with step": [[-1, 2, -2], [-4, 5, -5]],
    "slice far": [[-1, -2, -3], [-4, -5, -6]],
    "diagonal": [[-1, 2, 3], [4, -2, 6]],
    "diagonal above": [[1, -1, 3], [4, 5, -2]],
    "as_strided": [[1, -1, 3], [4, 5, -2]],
}


def _run(lib: Any, name: str, active: tuple[bool, bool] = (True, True)) -> list[Any]:
    call = CALLS[name][0]
    x = lib.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=active[0])
    s = lib.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]], requires_grad=active[1])
    y = call(lib, x, s)
    assert not y._is_view()
    found = [y.tolist(), x.tolist(), y.requires_grad, y.is_leaf]
    if any(active):
        found.append(y.grad_fn.name())
        inputs = [t for t, on in zip((x, s), active, strict=True) if on]
        grads = lib.autograd.grad((y * y * y).sum(), inputs, create_graph=True)
        found += [g.tolist() for g in grads]
        found += [g.tolist() for g in lib.autograd.grad(sum((g * g).sum() for g in grads), inputs)]
    return found


@pytest.mark.parametrize("name", CALLS)
def test_a_part_is_replaced(name: str) -> None:
    found = _run(tg, name)
    assert found[0] == VALUES[name]
    assert found[1] == [[1, 2, 3], [4, 5, 6]]
    assert found[4].startswith(CALLS[name][2])
    for values, grads in zip(found[0], found[5], strict=True):
        assert grads == [0 if v < 0 else 3 * v * v for v in values]


@pytest.mark.parametrize("active", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", CALLS)
def test_parts_beside_torch(name: str, active: tuple[bool, bool]) -> None:
    torch = pytest.importorskip("torch")
    if name == "as_strided" and active[0]:
        pytest.skip("torch gives the replaced elements the gradient, and the others none")
    assert _run(tg, name, active) == _run(torch, name, active)


ERRORS: dict[str, tuple[Function, str]] = {
    "shape": (
        lambda lib: lib.select_scatter(lib.zeros(2, 3), lib.ones(2), 0, 1),
        "expected src to have a size equal to the slice of self. src size = [2], slice size = [3]",
    ),
    "no broadcast": (
        lambda lib: lib.slice_scatter(lib.zeros(4, 3), lib.ones(1, 3)),
        "expected src to have a size equal to the slice of self. src size = [1, 3], slice size = [4, 3]",
    ),
    "step": (
        lambda lib: lib.slice_scatter(lib.zeros(4), lib.ones(4), step=0), "slice step must be positive"
    ),
    "index": (
        lambda lib: lib.select_scatter(lib.zeros(2, 3), lib.ones(3), 0, 5),
        "select(): index 5 out of range for tensor of size [2, 3] at dimension 0",
    ),
    "resized leaf": (
        lambda lib: lib.ones(2, requires_grad=True).resize_(1),
        "cannot resize variables that require grad",
    ),
    "resized result": (
        lambda lib: (lib.ones(2, requires_grad=True) * 2).resize_(1),
        "cannot resize variables that require grad",
    ),
    "set leaf": (
        lambda lib: lib.ones(2, requires_grad=True).set_(lib.ones(3)),
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    with pytest.raises((RuntimeError, IndexError)) as error:
        ERRORS[name][0](tg)
    assert str(error.value) == ERRORS[name][1]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises((RuntimeError, IndexError)) as error:
        ERRORS[name][0](torch)
    assert str(error.value).split("\nException")[0] == ERRORS[name][1]


def test_parts_under_vmap() -> None:
    x, s = tg.arange(12.0).reshape(2, 2, 3), tg.arange(6.0).reshape(2, 3)
    y = tg.vmap(lambda a, b: tg.select_scatter(a, b, 0, 1))(x, s)
    assert y.tolist() == [tg.select_scatter(a, b, 0, 1).tolist() for a, b in zip(x, s, strict=True)]


def _libraries() -> list[Any]:
    try:
        import torch
    except ImportError:
        return [tg]
    return [tg, torch]


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_resized(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0, 3.0, 4.0])
    alias = x.detach()
    assert x.resize_(2) is x
    assert x.tolist() == [1, 2]
    assert x._version == 1
    assert x.resize_((2, 2)).tolist() == [[1, 2], [3, 4]]
    alias[3] = 9.0
    assert x.tolist() == [[1, 2], [3, 9]]
    x.resize_(6)
    assert tuple(x.shape) == (6,)
    assert x[:4].tolist() == [1, 2, 3, 9]
    assert x.resize_as_(lib.zeros(1, 3)).tolist() == [[1, 2, 3]]
    v = lib.arange(5.0)[1:]
    assert v.resize_(2, 1).tolist() == [[1], [2]]
    assert x.numpy().shape == (1, 3)


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_set(lib: Any) -> None:
    x, y = lib.zeros(2), lib.tensor([1.0, 2.0, 3.0])
    assert x.set_(y) is x
    assert x.tolist() == [1, 2, 3]
    y.add_(1)
    assert x.tolist() == [2, 3, 4]
    x.mul_(2)
    assert y.tolist() == [4, 6, 8]
    assert y.data_ptr() == x.data_ptr()
    assert x[1:].data_ptr() == y.data_ptr() + x.element_size()
    assert lib.ones(2).set_().tolist() == []


def test_set_has_no_derivative() -> None:
    for call in (
        lambda: tg.zeros(2).set_(tg.ones(2, requires_grad=True)),
        lambda: (tg.ones(2, requires_grad=True) * 2).set_(tg.ones(2)),
    ):
        with pytest.raises(tg.UnsupportedError, match=r"assign to \.data"):
            call()


def test_a_resize_to_the_same_shape_counts_no_write() -> None:
    x = tg.ones(1)
    versions = []
    for resize in (
        lambda: x.resize_(1, 2), lambda: x.resize_as_(tg.ones(3)),
        lambda: x.resize_(3), lambda: x.resize_as_(tg.ones(3)),
    ):  # fmt: skip
        resize()
        versions.append(x._version)
    assert versions == [1, 2, 2, 2]
