"""Values that odd calls are made with, and those that a parameter's name asks for."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np

import tapegrad as tg

__all__ = ["KEYWORDS", "Strange", "Subclass", "odd_tensors", "odd_values", "value_for"]


class Strange:
    """An object that answers oddly to whatever it is asked."""

    def __index__(self) -> int:
        raise ValueError("no index")

    def __float__(self) -> float:
        raise ValueError("no float")

    def __len__(self) -> int:
        return 1 << 40

    def __iter__(self) -> Any:
        raise ValueError("no iteration")

    def __bool__(self) -> bool:
        raise ValueError("no truth")


class Subclass(tg.Tensor):
    """A class that derives from Tensor."""


def _raises(*args: object, **kwargs: object) -> object:
    raise ValueError("raised by a user's function")


def odd_tensors() -> list[Any]:
    """Return fresh tensors of many kinds; the first ones are of one graph."""
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    return [
        x, x * 2, x[0], x.T, x.detach(), tg.tensor(1.5, requires_grad=True), tg.tensor(2), tg.zeros(0),
        tg.zeros(0, 3, requires_grad=True), tg.tensor([True, False]), tg.tensor([0, 1, 1]),
        tg.tensor([[0, 1], [1, 0]]), tg.ones(2, 3, dtype=tg.float32), tg.ones(1).expand(3), x.sum(),
        tg.tensor([math.nan, math.inf, -math.inf]), tg.ones(2, 1, 3, 1), tg.tensor([-5, 99]), x[:, 1:],
        tg.ones(3, requires_grad=True), tg.ones(2, 2), tg.ones(3, dtype=tg.float32, requires_grad=True),
    ]  # fmt: skip


def odd_values() -> list[Any]:
    """Return fresh values that are mostly no tensors."""
    return [
        None, True, False, 0, 1, -1, 2, 3, -7, 5, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 0.0, -0.0, 0.5,
        -1.5, 1e308, math.nan, math.inf, 1j, "", "sum", "float64", "ij,jk->ik", "...", "i->", b"x", (), [],
        {}, set(), (0,), (0, 1), (1, 0), (-1, 2), [2, 3], [[1, 2], [3]], (2, -1), (0, 0), ((0, 1), (1, 2)),
        [None], {"a": 1}, range(3), slice(None), slice(0, 5, -1), slice(None, None, 2), Ellipsis,
        np.ones(3), np.zeros((2, 3), np.float32), np.int64(1), np.float32(2.5), np.array("x"),
        np.array([object()]), np.ones((3, 0)), np.arange(6).reshape(2, 3)[:, ::-1], tg.float64, tg.float32,
        tg.int64, tg.bool, float, int, bool, object, Strange(), Strange, lambda x: x, lambda x: x * 2,
        lambda *a: None, _raises, lambda x: (x, [x]), lambda x: x.sum(), math.sin, tg.sin, tg.Size([2, 3]),
        tg.Generator(), iter([1]), (i for i in range(2)), memoryview(b"abcd"), print, type, NotImplemented,
        Subclass([1.0, 2.0]), object.__new__(tg.Tensor), object.__new__(Subclass),
        np.True_, [tg.ones(2), tg.ones(3)], (tg.ones(2, requires_grad=True),) * 2, {"x": tg.ones(2)},
    ]  # fmt: skip


KEYWORDS = [
    "dim", "keepdim", "dtype", "out", "requires_grad", "axis", "input", "other", "alpha", "value",
    "correction", "unbiased", "device", "retain_graph", "create_graph", "inputs", "gradient", "min",
    "max", "size", "n", "k", "index", "source", "src", "dims", "start", "end", "step", "indices",
    "weights", "allow_unused", "is_grads_batched", "in_dims", "out_dims", "argnums", "has_aux",
    "chunk_size", "descending",
]  # fmt: skip

#: parts of parameters' names -> values that belong there
_PLAUSIBLE: list[tuple[tuple[str, ...], list[Any]]] = [
    (("dtype",), [tg.float64, tg.float32, tg.int64, tg.bool, None]),
    (("dim", "axis", "argnums"), [0, 1, -1, None, (0, 1), (0,), -2]),
    (("keepdim", "graph", "unused", "batched", "aux", "requires", "strict", "create", "vectorize",
      "materialize", "descending", "stable", "unbiased", "reentrant", "accumulate", "largest"),
     [True, False]),
    (("size", "shape", "repeats"), [(2, 3), (3, 2), (6,), (-1,), (1, 2, 3), 6, (0,)]),
    (("func", "fn", "hook", "f", "functions"), [lambda *a: a[0].sum(), lambda *a: a[0] * 2, tg.sin,
                                                lambda *a: None, lambda *a: a]),
    (("n", "k", "diagonal", "step", "start", "end", "offset", "chunks", "sections"), [0, 1, 2, -1, 3]),
    (("reduce", "mode", "strategy"), ["sum", "mean", "prod", "amax", "all", "any"]),
    (("equation",), ["ij,jk->ik", "ij->ji", "i,i->", "...", "ii->i"]),
    (("value", "alpha", "beta", "fill", "eps", "min", "max", "weight"), [0.5, 2, -1.0, 0, math.nan]),
]  # fmt: skip


def value_for(name: str, rng: random.Random) -> Any:
    """Return a value that a parameter of this name may want, or NotImplemented if it says nothing."""
    for parts, values in _PLAUSIBLE:
        if name in parts or any(len(part) > 2 and part in name for part in parts):
            return rng.choice(values)
    return NotImplemented
