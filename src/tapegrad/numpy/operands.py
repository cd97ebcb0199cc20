"""Operands of NumPy's functions, and what becomes of their results: arrays, numbers and lists of Tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..base.dtypes import dtype as element_type
from ..base.dtypes import from_numpy_dtype
from ..base.errors import UnsupportedError
from ..tape import recording as record
from ..tape.tape import tape_at
from ..tensors.operators import top_level as function
from ..tensors.tensor import Tensor

__all__ = [
    "NOT_GIVEN",
    "along",
    "arrays_of",
    "as_floating",
    "as_operand",
    "as_result",
    "as_tensor",
    "axes_of",
    "function",
    "is_active",
    "is_constant",
    "is_given",
    "numpy_dtype",
    "places_of",
    "promoted",
    "promoted_operands",
    "refuse_active",
    "refused",
    "tensors_in",
    "with_dtype",
    "written",
]

#: NumPy's mark for an option that was not given
NOT_GIVEN: Any = np._NoValue


def is_given(option: Any) -> bool:
    """Return True for an option that is neither None nor NumPy's mark."""
    return option is not None and option is not NOT_GIVEN


def as_operand(x: Any, name: str) -> Any:
    """Return a Tensor, or a number, for an operand of the function `name`."""
    kind = type(x)
    if kind is Tensor or kind is float or kind is int or kind is bool or kind is complex:
        return x
    return as_tensor(x, name)


def as_tensor(x: Any, name: str) -> Any:
    """Return a Tensor for an operand: arrays are copied, so that it does not matter who writes them later.

    Raises
    ------
    UnsupportedError
        If its dtype has no Tensors.
    """
    if record.is_tensor(x):
        return x
    if isinstance(x, list | tuple) and any(True for _ in tensors_in(x)):
        return function("stack")([as_tensor(v, name) for v in x])
    array = np.asarray(x)
    try:
        return function("tensor")(array)
    except (TypeError, ValueError, RuntimeError):
        raise UnsupportedError(
            f"np.{name}: an operand of dtype {array.dtype} cannot meet a Tensor; convert it first"
        ) from None


def promoted(name: str, *operands: Any) -> list[Any]:
    """Return operands as Tensors of one dtype, which products take: that of a sum of all."""
    tensors = [as_tensor(x, name) for x in operands]
    if len({x.dtype for x in tensors}) == 1:
        return tensors
    kind = np.result_type(*[x.dtype.np for x in tensors])
    return [with_dtype(x, kind) for x in tensors]


def tensors_in(values: Any) -> Iterator[Any]:
    """Iterate over the Tensors among arguments, in lists, tuples and dicts of them, too."""
    if record.is_tensor(values):
        yield values
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


def arrays_of(values: Any) -> Any:
    """Return the same arguments, with the numbers of Tensors in their place."""
    if record.is_tensor(values):
        return values.numpy()
    if isinstance(values, dict):
        return {k: arrays_of(v) for k, v in values.items()}
    if type(values) in (list, tuple):
        return type(values)(map(arrays_of, values))
    return numpy_dtype(values)


def along(x: Any, axis: Any) -> tuple[Any, int]:
    """Return a Tensor and a dimension of it: flattened, and its only one, where none is named."""
    return (x.reshape(-1), 0) if axis is None else (x, int(axis))


def is_active(tensors: Iterable[Any]) -> bool:
    """Return True if one of the Tensors is differentiated."""
    return any(record.is_active(t) for t in tensors)


def is_constant(tensors: Sequence[Any]) -> bool:
    """Return True if none of the Tensors is differentiated, and all have their numbers."""
    return not is_active(tensors) and not any(tape_at(t._state).abstract for t in tensors)


def refused(name: str, why: str) -> UnsupportedError:
    """Return the error for a call of a NumPy function that cannot be recorded."""
    return UnsupportedError(f"np.{name} of a Tensor: {why}")


def axes_of(axis: Any) -> Any:
    """Return an axis, or a tuple of axes, as integers."""
    if axis is None or axis is NOT_GIVEN:
        return None
    return tuple([int(a) for a in axis]) if isinstance(axis, list | tuple) else int(axis)


def places_of(x: Any, axis: Any) -> list[int]:
    """Return the dimensions of an axis argument; all for None."""
    axes = axes_of(axis)
    if axes is None:
        return list(range(x.ndim))
    return [_place(a, x.ndim) for a in ((axes,) if isinstance(axes, int) else axes)]


def _place(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def as_floating(x: Any) -> Any:
    """Return the Tensor; one of whole numbers and truth values as float64, as NumPy has it."""
    return x if x.dtype.is_inexact else with_dtype(x, float)


def with_dtype(x: Any, dtype: Any) -> Any:
    """Return a Tensor of NumPy's dtype, where one is given."""
    return x.to(from_numpy_dtype(np.dtype(numpy_dtype(dtype)))) if is_given(dtype) else x


def numpy_dtype(kind: Any) -> Any:
    """Return NumPy's dtype for one of ours; anything else as it is."""
    return kind.np if isinstance(kind, element_type) else kind


def promoted_operands(name: str, x: Any, y: Any) -> list[Any]:
    """Return two operands of a ufunc, promoted as NumPy does: Python's numbers have a kind only."""
    if type(x) is Tensor and type(y) is Tensor and x.dtype is y.dtype:  # 0.4 instead of 0.9 us
        return [x, y]
    operands = [as_operand(x, name), as_operand(y, name)]
    tensors = [v for v in operands if record.is_tensor(v)]
    if not tensors:
        return [as_tensor(operands[0], name), operands[1]]
    if len(tensors) == 2 and tensors[0].dtype is not tensors[1].dtype:
        kind = np.result_type(*[t.dtype.np for t in tensors])
        return [with_dtype(t, kind) for t in tensors]
    return operands


def as_result(value: Any) -> Any:
    """Return results of NumPy's as Tensors: arrays, in tuples and lists, too, whose dtype has Tensors."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc" or not value.dtype.isnative:
            return value
        try:
            kind = from_numpy_dtype(value.dtype)
        except TypeError:
            return value
        return record.leaf_tensor(value if value.base is None else value.copy(), kind)
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return as_result(np.array(value))
    if type(value) in (tuple, list):
        return type(value)([as_result(v) for v in value])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[as_result(v) for v in value])
    return value


def refuse_active(
    name: str, args: Sequence[Any], options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the numbers of Tensors in their place, for a function that is NumPy's.

    Raises
    ------
    UnsupportedError
        If something is differentiated by them; it names the function.
    """
    if not is_constant([*tensors_in([list(args), dict(options)])]):
        raise refused(
            name, "it is not there for Tensors that require grad; compute with functions that are, or call "
            "it with t.detach().numpy() if a constant is what you mean"
        )  # fmt: skip
    return tuple(map(arrays_of, args)), {k: arrays_of(v) for k, v in options.items()}


def written(name: str, result: Any, out: Any) -> Any:
    """Write a result where a caller wants it, if he does, and return it.

    Raises
    ------
    UnsupportedError
        If the result is differentiated, and the target an array.
    """
    if not is_given(out):
        return result
    if isinstance(out, tuple):
        if len(out) == 1:
            return written(name, result, out[0])
        return tuple([written(name, r, t) for r, t in zip(result, out, strict=True)])
    if record.is_tensor(out):
        return out.copy_(result)
    if is_active([result]):
        raise refused(
            name, "an array cannot take a result that requires grad; give a Tensor for out=, or none, or "
            "call .detach() on the operands"
        )  # fmt: skip
    np.copyto(out, result.numpy(), casting="same_kind")
    return out
