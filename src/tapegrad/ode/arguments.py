"""Checks of `odeint`'s arguments, and states as one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import float32, float64
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape.recording import is_tensor, leaf_tensor
from .tableaus import EXPLICIT, ROSENBROCK

__all__ = ["METHODS", "StateLayout", "Times", "checked_method", "checked_options", "checked_slope",
           "checked_state", "checked_times", "checked_tolerance", "is_adaptive"]  # fmt: skip

METHODS = [*EXPLICIT, *ROSENBROCK]
#: option -> its default, of methods with adaptive steps
ADAPTIVE = {
    "first_step": None, "safety": 0.9, "ifactor": 10.0, "dfactor": 0.2, "min_step": 0.0,
    "max_step": math.inf, "max_num_steps": 2**31 - 1,
}  # fmt: skip
#: likewise, with fixed steps
FIXED: dict[str, Any] = {"step_size": None, "interp": "linear"}
#: values that `interp` may have
INTERPOLATIONS = ("linear", "cubic")


def is_adaptive(method: str) -> bool:
    """Return True if a method chooses its steps by an error estimate."""
    return method in ROSENBROCK or bool(EXPLICIT[method].error)


class StateLayout(NamedTuple):
    """The structure of a state: its one tensor is that of the user, or all of a container, flat.

    Attributes
    ----------
    spec : Spec or None
        Of the container; None for a tensor.
    shapes : tuple
        Of its tensors.
    """

    spec: Any
    shapes: tuple[tuple[int, ...], ...]

    @property
    def pieces(self) -> tuple[int, ...]:
        """Numbers of elements of the tensors."""
        return tuple([math.prod(shape) for shape in self.shapes])

    def packed(self, leaves: list[Any]) -> Any:
        """Return the one tensor of a state's tensors."""
        if self.spec is None:
            return leaves[0]
        return FUNCTIONS["cat"]([x.reshape(-1) for x in leaves])

    def unpacked(self, y: Any) -> Any:
        """Return the state as the user has it, of its one tensor, in whose front there may be dimensions."""
        if self.spec is None:
            return y
        front = y.shape[:-1]
        parts = y.split(list(self.pieces), dim=-1)
        shaped = [x.reshape((*front, *shape)) for x, shape in zip(parts, self.shapes, strict=True)]
        return trees.unflatten(self.spec, shaped)


def checked_state(name: str, y0: Any) -> tuple[Any, StateLayout]:
    """Return the tensor of a state and its layout."""
    if isinstance(y0, np.ndarray | float):
        y0 = FUNCTIONS["tensor"](y0)
    leaves, spec = trees.flatten(y0)
    leaves = [FUNCTIONS["tensor"](x) if isinstance(x, np.ndarray | float) else x for x in leaves]
    for x in leaves:
        if not is_tensor(x):
            raise TypeError(
                f"{name}: y0 must be a Tensor, or a container of Tensors, got {type(x).__name__}"
            )
        if x.dtype not in (float64, float32):
            raise TypeError(f"{name}: y0 must be of float64 or float32, got {x.dtype}")
        if x.dtype is not leaves[0].dtype:
            raise TypeError(
                f"{name}: all tensors of y0 must have one dtype, got {leaves[0].dtype} and {x.dtype}"
            )
    if not any(x.numel() for x in leaves):
        raise ValueError(f"{name}: y0 has no elements")
    shapes = tuple([tuple(x.shape) for x in leaves])
    layout = StateLayout(None if is_tensor(y0) else spec, shapes)
    return layout.packed(leaves), layout


class Times(NamedTuple):
    """Times of the results, as a tensor (which may require grad) and as numbers."""

    tensor: Any
    numbers: list[float]


def checked_times(name: str, t: Any) -> Times:
    """Return the times at which the solution is wanted."""
    tensor = t if is_tensor(t) else FUNCTIONS["tensor"](np.asarray(t, np.float64))
    if tensor.ndim != 1 or not len(tensor):
        raise ValueError(
            f"{name}: t must be one-dimensional with at least one time, got shape {tuple(tensor.shape)}"
        )
    if tensor.dtype not in (float64, float32):
        raise TypeError(f"{name}: t must be of float64 or float32, got {tensor.dtype}")
    numbers = tensor.detach().tolist()
    if not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"{name}: t must be finite, got {next(x for x in numbers if not math.isfinite(x))}"
        )
    sign = 1 if numbers[-1] >= numbers[0] else -1
    for i, (a, b) in enumerate(pairwise(numbers)):
        if sign * (b - a) <= 0:
            raise ValueError(
                f"{name}: t must be strictly increasing or decreasing, got t[{i}] = {a:g} and "
                f"t[{i + 1}] = {b:g}"
            )
    return Times(tensor, numbers)


def checked_method(name: str, method: Any) -> str:
    """Return the name of a method."""
    if method is None:
        return "dopri5"
    if method not in METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(METHODS)}, got {method!r}")
    return str(method)


def checked_options(name: str, method: str, options: Any) -> dict[str, Any]:
    """Return all options of a method, with their defaults."""
    known = ADAPTIVE if is_adaptive(method) else FIXED
    if options is None:
        return dict(known)
    if not isinstance(options, Mapping):
        raise TypeError(f"{name}: options must be a dict, got {type(options).__name__}")
    for key, value in options.items():
        if key not in known:
            raise ValueError(
                f"{name}: options of method {method!r} are {', '.join(known)}, got {key!r}"
            )
        if key == "interp":
            if value not in INTERPOLATIONS:
                raise ValueError(
                    f"{name}: option 'interp' must be 'linear' or 'cubic', got {value!r}"
                )
        elif value is not None and not (
            float(value) >= 0 if key == "min_step" else float(value) > 0
        ):
            raise ValueError(f"{name}: option {key!r} must be positive, got {value!r}")
    return {**known, **options}


def checked_tolerance(name: str, argument: str, value: Any, y: Any, layout: StateLayout) -> Any:
    """Return `rtol` or `atol` as a tensor: a number, or one for each element."""
    if (
        isinstance(value, tuple | list) and layout.spec is not None
    ):  # one for each tensor of a state
        if len(value) != len(layout.shapes):
            raise ValueError(
                f"{name}: {argument} has {len(value)} entries, y0 {len(layout.shapes)} tensors"
            )
        value = np.concatenate(
            [np.full(size, float(x)) for x, size in zip(value, layout.pieces, strict=True)]
        )
    if type(value) is float and 0 <= value < math.inf:
        return leaf_tensor(np.array(value, y.dtype.np), y.dtype)
    array = np.asarray(value.detach() if is_tensor(value) else value, y.dtype.np)
    if array.ndim and array.shape != tuple(y.shape):
        raise ValueError(
            f"{name}: {argument} must be a number, or of the shape of y0, {tuple(y.shape)}; got shape "
            f"{array.shape}"
        )
    if not (np.all(array >= 0) and np.all(np.isfinite(array))):
        raise ValueError(f"{name}: {argument} must not be negative, got {value}")
    return leaf_tensor(array.copy(), y.dtype)


def checked_slope(name: str, result: Any, y: Any, layout: StateLayout) -> Any:
    """Return what the right-hand side returned, as a tensor like the state."""
    if layout.spec is None:
        leaves, wanted = [result], [y]
    else:
        wanted = trees.leaves(layout.unpacked(y))
        leaves, spec = trees.flatten(result)
        if len(leaves) != len(wanted) or (spec != layout.spec and len(wanted) > 1):
            raise ValueError(
                f"{name}: func must return the structure of y0, {trees.text(layout.spec)}, got "
                f"{trees.text(spec)}"
            )
    for x, like in zip(leaves, wanted, strict=True):
        if not is_tensor(x):
            raise TypeError(
                f"{name}: func must return a Tensor for each of y0's, got {type(x).__name__}; tg.stack joins "
                "numbers"
            )
        if x.shape != like.shape:
            raise ValueError(
                f"{name}: func must return a tensor of the shape of y, {tuple(like.shape)}, got "
                f"{tuple(x.shape)}"
            )
        if x.dtype is not like.dtype:
            raise TypeError(f"{name}: func must return the dtype of y, {like.dtype}, got {x.dtype}")
    return layout.packed(leaves)
