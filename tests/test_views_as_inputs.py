"""Gradients of views and bases, as inputs of a pass in all combinations, with writes of each kind before."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg

VIEWS: dict[str, Callable[[Any], Any]] = {
    "all of it": lambda t: t.view_as(t),
    "another shape": lambda t: t.view(4, 1),
    "a part": lambda t: t[:2],
    "transposed": lambda t: t.view(2, 2).t(),
    "an element": lambda t: t[1],
}
#: writes, given the library, the leaf, its base, the view and another view
WRITES: dict[str, Callable[..., object]] = {
    "nothing": lambda lib, x, b, v, w: None,
    "base": lambda lib, x, b, v, w: b.mul_(x),
    "base, added": lambda lib, x, b, v, w: b.add_(x),
    "base, filled": lambda lib, x, b, v, w: b.fill_(2.0),
    "a part of the base": lambda lib, x, b, v, w: b.__setitem__(slice(0, 2), x[2:] * 2),
    "view": lambda lib, x, b, v, w: v.mul_(x.sum()),
    "view, assigned": lambda lib, x, b, v, w: v.__setitem__(Ellipsis, x.sum()),
    "a part of the view": lambda lib, x, b, v, w: (v[:1] if v.ndim else v).mul_(3.0),
    "the other view": lambda lib, x, b, v, w: w.mul_(2 * x[:1].sum()),
    "base, no_grad": lambda lib, x, b, v, w: lib.no_grad()(b.mul_)(2),
    "view, no_grad": lambda lib, x, b, v, w: lib.no_grad()(v.mul_)(2),
}
OUTPUTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "base": lambda b, v, w: b.sum(),
    "view": lambda b, v, w: v.sum(),
    "both": lambda b, v, w: b.sum() * 2 + v.sum() * 3,
    "three": lambda b, v, w: (b * b).sum() + 2 * v.sum() + 3 * w.sum(),
    "the view itself": lambda b, v, w: v,
    "the base itself": lambda b, v, w: b,
}
INPUTS = ["v", "b", "x", "vb", "vx", "vbx", "vw", "vwbx"]


def gradients(lib: Any, view: str, write: str, output: str, inputs: str, mode: str) -> list[Any]:
    """Gradients of one combination; None for what the output does not depend on."""
    x = lib.tensor([1.0, 2.0, 3.0, 4.0], dtype=lib.float64, requires_grad=True)
    b = x * 1.5
    v, w = VIEWS[view](b), b[1:3]
    WRITES[write](lib, x, b, v, w)
    y = OUTPUTS[output](b, v, w)
    seed, options = lib.ones_like(y), {"allow_unused": True}
    if mode == "batched":
        seed, options["is_grads_batched"] = lib.stack([seed, 2 * seed]), True
    options["create_graph"] = mode == "recorded"
    grads = lib.autograd.grad(
        y, [{"x": x, "b": b, "v": v, "w": w}[c] for c in inputs], seed, **options
    )
    return [g if g is None else g.tolist() for g in grads]


@pytest.mark.parametrize("mode", ["plain", "recorded", "batched"])
@pytest.mark.parametrize("view", VIEWS)
def test_all_combinations_are_as_in_pytorch(view: str, mode: str) -> None:
    torch = pytest.importorskip("torch")
    for write, output, inputs in itertools.product(WRITES, OUTPUTS, INPUTS):
        case = view, write, output, inputs, mode
        assert gradients(tg, *case) == gradients(torch, *case), case


LINES: dict[tuple[str, str, str, str], list[Any]] = {
    ("all of it", "view, assigned", "base", "vx"): [None, [4.0] * 4],
    ("all of it", "a part of the base", "both", "vbx"): [[3.0] * 4, [5.0] * 4, [0, 0, 17.5, 17.5]],
    ("a part", "a part of the base", "both", "vb"): [[3.0, 3.0], [5.0, 5.0, 2.0, 2.0]],
    ("a part", "a part of the base", "the view itself", "b"): [[1.0, 1.0, 0.0, 0.0]],
    ("a part", "view, no_grad", "the view itself", "v"): [[1.0, 1.0]],
    ("another shape", "base, no_grad", "the view itself", "vx"): [[[1.0]] * 4, [1.5] * 4],
    ("all of it", "a part of the view", "both", "vbx"): [
        [3.0] * 4,
        [5.0] * 4,
        [22.5, 7.5, 7.5, 7.5],
    ],
}


@pytest.mark.parametrize("case", LINES, ids=", ".join)
@pytest.mark.parametrize("mode", ["plain", "recorded"])
def test_gradients(case: tuple[str, str, str, str], mode: str) -> None:
    assert gradients(tg, *case, mode) == LINES[case]


def test_an_expanded_view_that_is_not_used_has_no_gradient() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    square = x * x
    wide = square.expand(3)
    y = square * 3
    assert tg.autograd.grad(y, [wide, square], allow_unused=True, retain_graph=True) == (None, 3.0)
    assert tg.autograd.grad(y, [wide, x], allow_unused=True, create_graph=True) == (None, 12.0)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        tg.autograd.grad(y, [wide], retain_graph=True)
    with pytest.raises(tg.UnsupportedError, match="expanded view"):
        tg.autograd.grad(y + wide.sum(), [wide, square])


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_expanded_leaf_that_is_used_raises(create_graph: bool) -> None:
    x = tg.tensor(0.5, requires_grad=True)
    wide = x.expand(3)
    for y in (wide.sum(), (wide * 2).tanh().sum(), (wide[1:] * 2).sum() + x):
        with pytest.raises(tg.UnsupportedError, match="expanded view"):
            tg.autograd.grad(y, [wide], allow_unused=True, create_graph=create_graph)
        with pytest.raises(tg.UnsupportedError, match="expanded view"):
            tg.autograd.grad(y, [x, wide], create_graph=create_graph)
