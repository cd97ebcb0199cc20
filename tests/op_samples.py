"""Operands for the tests that are generated from the op table.

An elementwise row of the table has a *domain*, a name of `DOMAINS` (shapes are made here); arguments of
the others are in `SAMPLES` (op_arguments.py). `ROWS` adds the elementwise functions
with options. `cases` turns all of these into `Case` objects, which run a function of tapegrad or of
torch on the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from op_arguments import PREPARED, SAMPLES

import tapegrad as tg
from tapegrad.base.dtypes import from_numpy_dtype
from tapegrad.native import abi as nt
from tapegrad.ops.table import TABLE, Op
from tapegrad.tape import recording as record

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape, int], np.ndarray]


# --------------------------------------------------------------------------- domains
def _uniform(low: float, high: float) -> Draw:
    return lambda rng, shape, position: rng.uniform(low, high, shape)


def _nonzero(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    return rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape)


def _fraction(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    """Away from integers."""
    return rng.integers(-3, 3, shape) + rng.uniform(0.2, 0.8, shape)


def _apart(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    """Operands whose values never come near each other's."""
    return rng.integers(-2, 2, shape) + 0.3 * position + rng.uniform(0.05, 0.15, shape)


def _quotient(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    """Two operands whose quotient is away from integers."""
    if position == 0:
        return _fraction(rng, shape, 0)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.98, 1.02, shape)


def _power(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    return rng.uniform(0.4, 2, shape) if position == 0 else _nonzero(rng, shape, 1)


def _bounds(rng: np.random.Generator, shape: Shape, position: int) -> np.ndarray:
    """A value, a lower and an upper bound; some values are inside."""
    if position == 0:
        return rng.choice([-1.6, -0.1, 0.2, 1.4], shape) + rng.uniform(0, 0.2, shape)
    return (1.0 if position == 2 else -1.0) + rng.uniform(-0.1, 0.1, shape)


DOMAINS: dict[str, Draw] = {
    "real": _uniform(-2, 2),
    "small": _uniform(-1, 1),
    "positive": _uniform(0.3, 3),
    "nonzero": _nonzero,
    "unit": _uniform(-0.8, 0.8),
    "probability": _uniform(0.1, 0.9),
    "above_one": _uniform(1.3, 3),
    "above_minus_one": _uniform(-0.7, 2),
    "fraction": _fraction,
    "apart": _apart,
    "power": _power,
    "quotient": _quotient,
    "bounds": _bounds,
    "integer": lambda rng, shape, position: rng.integers(-9, 9, shape),
    "bool": lambda rng, shape, position: rng.integers(0, 2, shape).astype(bool),
}


# --------------------------------------------------------------------------- operands
class Strided(NamedTuple):
    """An operand that is a view of a base: shape, strides and offset count elements of it."""

    base: np.ndarray
    shape: Shape
    strides: tuple[int, ...]
    offset: int


def strided(draw: Callable[[Shape], np.ndarray], shape: Shape, how: str) -> Any:
    """An operand of `shape`: an array, or a transposed, stepped or expanded view."""
    if how == "transposed" and len(shape) > 1:
        base = draw(shape[::-1])
        counts = [s // base.itemsize for s in base.strides[::-1]]
        return Strided(base, shape, tuple(counts), 0)
    if how == "stepped" and shape:
        base = draw((*shape[:-1], 2 * shape[-1] + 1))
        counts = [s // base.itemsize for s in base.strides]
        return Strided(base, shape, (*counts[:-1], 2), 1 if base.size else 0)
    if how == "expanded" and shape:
        base = draw((1, *shape[1:]))
        counts = [s // base.itemsize for s in base.strides]
        return Strided(base, shape, (0, *counts[1:]), 0)
    return draw(shape)


def tg_leaf(array: np.ndarray, *, active: bool = True) -> Any:
    """A leaf of tapegrad with a copy of an array."""
    kind = from_numpy_dtype(array.dtype)
    copy = np.array(array, order="C")
    return record.leaf_tensor(copy, kind, requires_grad=active and kind.is_floating_point)


def torch_leaf(array: np.ndarray, *, active: bool = True) -> Any:
    """A leaf of torch with a copy of an array."""
    import torch

    made = torch.from_numpy(np.array(array, order="C"))
    return made.requires_grad_() if active and made.is_floating_point() else made


def _tg_view(leaf: Any, view: Strided) -> Any:
    size = leaf.dtype.itemsize
    strides = tuple(size * s for s in view.strides)
    return record.view(TABLE["as_strided"], leaf, view.shape, strides, size * view.offset)


class Case:
    """A function and its arguments, for tapegrad and torch alike.

    Attributes
    ----------
    row : str
        The op that it tests.
    label : str
    args, kwargs
        Arrays (and `Strided`) are operands, also inside lists; the rest is passed as it is.
    arrays : list of ndarray
        The operands' memory; `run` may be given other values for it.
    active : list of bool
        Which of them are differentiated.
    deep : bool
        Whether it is worth third derivatives.
    """

    def __init__(
        self, row: str, label: str, call: Callable[..., Any], torch_call: Callable[..., Any] | None,
        args: Sequence[Any], kwargs: dict[str, Any] | None = None, *, deep: bool = True,
    ) -> None:  # fmt: skip
        self.row, self.label, self.deep = row, label, deep
        self.call, self.torch_call = call, torch_call
        self.args, self.kwargs = tuple(args), kwargs or {}
        self.arrays: list[np.ndarray] = []
        self._collect((self.args, self.kwargs))
        self.active = [a.dtype.kind == "f" for a in self.arrays]

    def __repr__(self) -> str:
        return f"{self.row}-{self.label}"

    def _collect(self, value: Any) -> None:
        if isinstance(value, Strided):
            self.arrays.append(value.base)
        elif isinstance(value, np.ndarray):
            self.arrays.append(value)
        elif isinstance(value, dict):
            self._collect(tuple(value.values()))
        elif isinstance(value, list | tuple):
            for item in value:
                self._collect(item)

    def _fill(self, value: Any, leaves: Iterator[Any], view: Callable[..., Any]) -> Any:
        if isinstance(value, Strided):
            return view(next(leaves), value)
        if isinstance(value, np.ndarray):
            return next(leaves)
        if isinstance(value, dict):
            return {k: self._fill(v, leaves, view) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._fill(v, leaves, view) for v in value)
        return value

    def run(self, arrays: Sequence[np.ndarray] | None = None) -> tuple[list[Any], list[Any]]:
        """Leaves and results in tapegrad."""
        leaves = [tg_leaf(a) for a in (self.arrays if arrays is None else arrays)]
        args, kwargs = self._fill((self.args, self.kwargs), iter(leaves), _tg_view)
        return leaves, results_of(self.call(*args, **kwargs))

    def run_torch(self, arrays: Sequence[np.ndarray] | None = None) -> tuple[list[Any], list[Any]]:
        """Leaves and results in torch."""
        assert self.torch_call is not None
        leaves = [torch_leaf(a) for a in (self.arrays if arrays is None else arrays)]
        args, kwargs = self._fill(
            (self.args, self.kwargs), iter(leaves),
            lambda t, v: t.as_strided(v.shape, v.strides, v.offset),
        )  # fmt: skip
        return leaves, results_of(self.torch_call(*args, **kwargs))

    def in_dtype(self, kind: Any) -> Case:
        """The same case with floating operands of another dtype."""

        def converted(value: Any) -> Any:
            if isinstance(value, Strided):
                return value._replace(base=converted(value.base))
            if isinstance(value, np.ndarray):
                return value.astype(kind) if value.dtype.kind == "f" else value
            if isinstance(value, dict):
                return {k: converted(v) for k, v in value.items()}
            if isinstance(value, list | tuple):
                return type(value)(converted(v) for v in value)
            return value

        return Case(
            self.row, self.label, self.call, self.torch_call, converted(self.args),
            converted(self.kwargs), deep=self.deep,
        )  # fmt: skip


def results_of(result: Any) -> list[Any]:
    """The tensors of a result, flattened."""
    if isinstance(result, list | tuple):
        return [t for item in result for t in results_of(item)]
    return [result] if hasattr(result, "requires_grad") else []


# --------------------------------------------------------------------------- functions with options
#: row -> (how it is called, its domain a operand, its options); the names are torch's
ROWS: dict[str, list[tuple[str, list[str], dict[str, Any]]]] = {
    "where": [("where", ["bool", "real", "real"], {})],
    "clamp": [
        ("clamp", ["bounds"] * 3, {}),
        ("clamp", ["bounds"], {"min": -0.95, "max": 0.9}),
    ],
    "clamp_min": [("clamp_min", ["bounds"] * 2, {}), ("clamp_min", ["bounds"], {"min": -0.95})],
    "clamp_max": [("clamp_max", ["bounds"] * 2, {}), ("clamp_max", ["bounds"], {"max": 0.95})],
    "clamp_below": [("clamp", ["bounds"], {"min": -0.95}), ("clamp", ["bounds"] * 2, {})],
    "clamp_above": [("clamp", ["bounds"], {"max": 0.95})],
    "lerp": [("lerp", ["real"] * 3, {}), ("lerp", ["real"] * 2, {"weight": 0.3})],
    "addcmul": [("addcmul", ["real"] * 3, {}), ("addcmul", ["real"] * 3, {"value": -0.5})],
    "addcdiv": [("addcdiv", ["nonzero"] * 3, {}), ("addcdiv", ["nonzero"] * 3, {"value": 2})],
    "add": [("add", ["real"] * 2, {}), ("add", ["real"] * 2, {"alpha": -1.5})],
    "sub": [("sub", ["real"] * 2, {}), ("sub", ["real"] * 2, {"alpha": 2})],
    "div_floor": [("div", ["quotient"] * 2, {"rounding_mode": "floor"})],
    "div_trunc": [("div", ["quotient"] * 2, {"rounding_mode": "trunc"})],
    "floor_divide": [("floor_divide", ["quotient"] * 2, {})],
    "remainder": [("remainder", ["quotient"] * 2, {})],
    "fmod": [("fmod", ["quotient"] * 2, {})],
    "leaky_relu": [
        ("nn.functional.leaky_relu", ["nonzero"], {}),
        ("nn.functional.leaky_relu", ["nonzero"], {"negative_slope": 0.2}),
    ],
    "elu": [
        ("nn.functional.elu", ["nonzero"], {}),
        ("nn.functional.elu", ["nonzero"], {"alpha": 2.0}),
    ],
    "softplus": [
        ("nn.functional.softplus", ["real"], {}),
        ("nn.functional.softplus", ["nonzero"], {"beta": 2.0, "threshold": 0.5}),
    ],
    "gelu": [
        ("nn.functional.gelu", ["real"], {}),
        ("nn.functional.gelu", ["real"], {"approximate": "tanh"}),
    ],
    "logit": [("logit", ["probability"], {}), ("logit", ["probability"], {"eps": 0.05})],
}  # fmt: skip

#: shapes of one, two and three operands; the first is also differentiated a third time
SHAPES: dict[int, list[tuple[tuple[Shape, ...], str]]] = {
    1: [
        (((2, 3),), "transposed"), (((),), ""), (((4,),), ""), (((5,),), "stepped"), (((0,),), ""),
        (((2, 0),), "stepped"), (((3, 2),), "expanded"),
    ],
    2: [
        (((2, 1), (1, 3)), ""), (((), ()), ""), (((3,), ()), ""), (((2, 3), (2, 3)), "transposed"),
        (((2, 3), (3,)), "stepped"), (((0, 3), (1,)), ""), (((2, 2), (2, 2)), "expanded"),
    ],
    3: [
        (((2, 1), (3,), ()), ""), (((), (), ()), ""), (((2, 3), (3,), (2, 1)), "transposed"),
        (((0,), (1,), ()), ""), (((3,), (3,), (3,)), "stepped"),
    ],
}  # fmt: skip


def is_elementwise(entry: Op) -> bool:
    """Whether a row computes element by element."""
    return entry.is_elementwise


def function_of(namespace: Any, name: str) -> Callable[..., Any] | None:
    """A possibly dotted function of torch; in tapegrad most of these are at the top level."""
    if namespace is tg:
        if name == "special_airy":
            return lambda number, x: tg.special.airy(x)[number]
        short = name.removeprefix("special").lstrip("._")
        if short != name:
            return getattr(tg.special, short, None)
    found = namespace
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None and namespace is tg:
        return getattr(tg, name.rpartition(".")[2], None)
    return found


def public_rows() -> list[Op]:
    """The rows that a function of the package records, but for views and in-place writes."""
    return [
        entry
        for entry in TABLE.values()
        if entry.kind == nt.COMPUTE
        and (entry.name in ROWS or entry.name in SAMPLES or _is_plain(entry))
    ]


def _is_plain(entry: Op) -> bool:
    return is_elementwise(entry) and entry.torch is not None and entry.arity > 0


def cases(entry: Op, torch: Any = None) -> list[Case]:
    """The cases of a row in float64, the same at each call."""
    rng = np.random.default_rng(list(entry.name.encode()))
    if entry.name in SAMPLES:
        name = entry.torch or entry.name
        call = function_of(tg, name) or function_of(tg, entry.label)
        assert call is not None
        other = function_of(torch, name) if torch is not None and entry.torch else None
        if entry.name in PREPARED:
            prepared = PREPARED[entry.name]
            call, other = prepared(call), None if other is None else prepared(other)
        return [
            Case(entry.name, str(i), call, other, args, kwargs, deep=i < 3)
            for i, (args, kwargs) in enumerate(SAMPLES[entry.name](rng, np.float64))
        ]
    plain = [(entry.torch or entry.name, [entry.domain] * max(entry.arity, 1), {})]
    made = []
    for option, (name, domains, kwargs) in enumerate(ROWS.get(entry.name, plain)):
        call = function_of(tg, name)
        assert call is not None, f"tapegrad has no function {name}"
        other = function_of(torch, name) if torch is not None else None
        for number, (shapes, how) in enumerate(SHAPES[len(domains)]):
            if option and number > 2:
                break
            args = [
                strided(lambda s, d=d, i=i: np.asarray(DOMAINS[d](rng, s, i)), shape, how)
                for i, (d, shape) in enumerate(zip(domains, shapes, strict=True))
            ]
            label = f"{option}{number}{how}"
            made.append(Case(entry.name, label, call, other, args, kwargs, deep=number == 0))
    return made
