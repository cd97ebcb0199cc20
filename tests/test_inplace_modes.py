"""Writes in place under every grad mode: what becomes of ``requires_grad``, node, version and gradient.

Every way to write is tried on every kind of tensor in every mode, beside torch; the cases that went
wrong once have their values written out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

Function = Callable[..., Any]


# --------------------------------------------------------------------------- exact values
ITEMS: dict[str, Function] = {
    "number": lambda lib, x: x.__setitem__(0, 0.5),
    "tensor": lambda lib, x: x.__setitem__(0, lib.tensor(0.5, dtype=x.dtype)),
    "mask": lambda lib, x: x.__setitem__(lib.tensor([True, False, False]), 0.5),
    "list": lambda lib, x: x.__setitem__([0], 0.5),
    "index tensor": lambda lib, x: x.__setitem__(lib.tensor([0]), 0.5),
    "slice": lambda lib, x: x.__setitem__(slice(0, 1), 0.5),
    "slice of tensor": lambda lib, x: x.__setitem__(slice(0, 1), lib.tensor([0.5], dtype=x.dtype)),
    "negative": lambda lib, x: x.__setitem__(-3, 0.5),
    "tuple": lambda lib, x: x.__setitem__((0,), 0.5),
    "ellipsis and item": lambda lib, x: x.__setitem__((Ellipsis, 0), 0.5),
    "item and ellipsis": lambda lib, x: x.__setitem__((0, Ellipsis), 0.5),
    "None and item": lambda lib, x: x.__setitem__((None, 0), 0.5),
    "index_put_": lambda lib, x: x.index_put_(
        (lib.tensor([0]),), lib.tensor([0.5], dtype=x.dtype)
    ),
    "put_": lambda lib, x: x.put_(lib.tensor([0]), lib.tensor([0.5], dtype=x.dtype)),
    "scatter_": lambda lib, x: x.scatter_(0, lib.tensor([0]), 0.5),
    "index_fill_": lambda lib, x: x.index_fill_(0, lib.tensor([0]), 0.5),
    "index_copy_": lambda lib, x: x.index_copy_(
        0, lib.tensor([0]), lib.tensor([0.5], dtype=x.dtype)
    ),
    "masked_fill_": lambda lib, x: x.masked_fill_(lib.tensor([True, False, False]), 0.5),
    "masked_scatter_": lambda lib, x: x.masked_scatter_(
        lib.tensor([True, False, False]), lib.tensor([0.5], dtype=x.dtype)
    ),
    "view": lambda lib, x: x[:1].fill_(0.5),
    "detached": lambda lib, x: x.detach()[:1].fill_(0.5),
    "item of view": lambda lib, x: x[:2].__setitem__(0, 0.5),
}  # fmt: skip
WHOLE: dict[str, Function] = {
    "ellipsis": lambda lib, x: x.__setitem__(Ellipsis, 0.5),
    "None": lambda lib, x: x.__setitem__(None, 0.5),
    "full slice": lambda lib, x: x.__setitem__(slice(None), 0.5),
    "True": lambda lib, x: x.__setitem__(True, 0.5),
    "copy_": lambda lib, x: x.copy_(lib.tensor([0.5, 0.25, 0.125], dtype=x.dtype)),
    "fill_": lambda lib, x: x.fill_(0.5),
    "zero_": lambda lib, x: x.zero_(),
    "add_": lambda lib, x: x.add_(1),
    "+=": lambda lib, x: x.__iadd__(lib.tensor([0.5, 0.25, 0.125], dtype=x.dtype)),
    "-=": lambda lib, x: x.__isub__(1),
    "*=": lambda lib, x: x.__imul__(2),
    "/=": lambda lib, x: x.__itruediv__(2),
    "**=": lambda lib, x: x.__ipow__(2),
    "mul_": lambda lib, x: x.mul_(lib.tensor([0.5, 0.25, 0.125], dtype=x.dtype)),
    "sin_": lambda lib, x: x.sin_(),
    "clamp_": lambda lib, x: x.clamp_(0.3, 0.6),
    "lt_": lambda lib, x: x.lt_(0.6),
    "data": lambda lib, x: x.data.fill_(0.5),
    "item of data": lambda lib, x: x.data.__setitem__(0, 0.5),
    "unsqueeze_": lambda lib, x: x.unsqueeze_(0).squeeze_(),
    "transpose_": lambda lib, x: x.transpose_(0, 0).t_(),
}
WRITES = ITEMS | WHOLE


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_a_leaf_written_without_grad_still_requires_it(name: str, mode: str) -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with getattr(tg, mode)():
        ITEMS[name](tg, x)
    assert x.tolist() == [0.5, 2.0, 3.0]
    assert x.requires_grad
    assert x.is_leaf
    assert x.grad_fn is None
    assert x._version == 1
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 4.0, 6.0]


@pytest.mark.parametrize("name", ITEMS)
def test_a_result_written_without_grad_keeps_its_graph(name: str) -> None:
    a = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = a * 4
    with tg.no_grad():
        ITEMS[name](tg, x)
    assert x.tolist() == [0.5, 8.0, 12.0]
    assert x.requires_grad
    assert x.grad_fn is not None
    assert x.grad_fn.name() == "MulBackward0"
    x.sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [4.0, 4.0, 4.0]


# --------------------------------------------------------------------------- beside torch
def _leaf(lib: Any, kind: Any, active: bool = True) -> Any:
    return lib.tensor([1.0, 2.0, 3.0], dtype=kind, requires_grad=active)


KINDS: dict[str, Function] = {
    "leaf": lambda lib, a: a,
    "result": lambda lib, a: a * 2,
    "view of leaf": lambda lib, a: a[:],
    "view of result": lambda lib, a: (a * 2).view(3),
    "written result": lambda lib, a: (a * 2).add_(a),
    "passive": lambda lib, a: a.detach().clone(),
    "view of passive": lambda lib, a: a.detach().clone()[:],
    "detached": lambda lib, a: a.detach(),
    "split": lambda lib, a: (a * 2).split([3, 0])[0],
    "unbound": lambda lib, a: lib.stack([a, a]).unbind()[1],
    "view made without grad": lambda lib, a: _without_grad(lib, lambda: (a * 2)[:]),
    "passive view made without grad": lambda lib, a: _without_grad(lib, lambda: lib.ones(3)[:]),
}


def _without_grad(lib: Any, function: Function) -> Any:
    with lib.no_grad():
        return function()


def _outcome(lib: Any, kind: str, write: str, mode: str, dtype: str) -> Any:
    """What a write does: the state of the tensor after it and a gradient, or the error."""
    a = _leaf(lib, getattr(lib, dtype))
    x = KINDS[kind](lib, a)
    before = x._version
    try:
        with getattr(lib, mode)():
            WRITES[write](lib, x)
    except (RuntimeError, IndexError, TypeError) as error:
        return type(error).__name__, str(error).splitlines()[0]
    invalid = "Invalid" in repr(x)
    state = [x.detach().tolist(), x._version - before, tuple(x.shape), invalid]
    if invalid:  # a view without a node: torch lets nobody use it
        return state
    state += [x.requires_grad, x.is_leaf, x.grad_fn is not None]
    weights = lib.tensor([1.0, 10.0, 100.0], dtype=x.dtype)
    if x.requires_grad:
        try:
            (g,) = lib.autograd.grad((x * x * weights).sum(), a, allow_unused=True)
        except RuntimeError as error:
            return [*state, str(error).split(":")[0]]
        state.append([0.0, 0.0, 0.0] if g is None else g.tolist())
    return state


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_writes_beside_torch(kind: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    wrong = []
    for write, mode in product(WRITES, ["no_grad", "inference_mode", "enable_grad"]):
        if kind in ("split", "unbound") and write in ("unsqueeze_", "transpose_"):
            continue  # nothing is written, and the node stays what it is; torch takes it away
        mine, theirs = (_outcome(lib, kind, write, mode, dtype) for lib in (tg, torch))
        same = mine == theirs
        if (
            not same
            and isinstance(mine, list)
            and isinstance(theirs, list)
            and len(mine) == len(theirs)
        ):
            same = all(
                np.allclose(m, t, rtol=1e-5)
                if isinstance(m, list) and isinstance(t, list)
                else m == t
                for m, t in zip(mine, theirs, strict=True)
            )
        if not same:
            wrong.append(f"{write}, {mode}:\n  tapegrad {mine}\n  torch    {theirs}")
    assert not wrong, "\n".join(wrong)
