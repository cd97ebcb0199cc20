"""Checks of arguments that functions of this folder share, with PyTorch's error types and texts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from .. import record
from ..dtypes import int64
from ..record import layout_of
from ..threads import current_tape

__all__ = [
    "as_int", "as_ints", "check_named", "constant_like", "distinct", "scalar_name", "varargs",
    "wrap_dim",
]  # fmt: skip


def wrap_dim(dim: Any, ndim: int) -> int:
    """Dimension `dim` counted from the front; a 0-d tensor takes 0 and -1.

    Raises
    ------
    IndexError
        If there is no such dimension.
    """
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
        )
    return int(dim) + n if dim < 0 else int(dim)


def as_int(name: str, argument: str, position: int, value: Any) -> int:
    """`value` as an int; PyTorch's TypeError otherwise."""
    if not isinstance(value, bool | float | str):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(
        f"{name}(): argument '{argument}' (position {position}) must be int, "
        f"not {type(value).__name__}"
    )


def as_ints(name: str, argument: str, values: Any, position: int = 1) -> tuple[int, ...]:
    """Varargs ``(2, 3)`` or one sequence ``((2, 3),)`` as a tuple of ints; PyTorch's TypeErrors."""
    sequence = len(values) == 1 and isinstance(values[0], tuple | list)
    if sequence:
        values = values[0]
    try:
        return tuple([operator.index(v) for v in values])
    except TypeError:
        pass
    at = next((i for i, v in enumerate(values) if not isinstance(v, int)), 0)
    wrong = type(values[at]).__name__
    what = f"but found element of type {wrong} at pos {at}" if sequence else f"not {wrong}"
    raise TypeError(
        f"{name}(): argument '{argument}' (position {position}) must be tuple of ints, {what}"
    )


def varargs(name: str, argument: str, given: tuple[Any, ...], named: Any) -> tuple[int, ...]:
    """Sizes or dimensions given one by one, as a sequence, or by keyword."""
    if named is not None:
        return as_ints(name, argument, (named,))
    if not given:
        raise TypeError(f'{name}() missing 1 required positional arguments: "{argument}"')
    return as_ints(name, argument, given)


def distinct(dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, none twice."""
    seen: list[int] = []
    for d in dims:
        d = wrap_dim(d, ndim)
        if d in seen:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        seen.append(d)
    return tuple(seen)


def check_named(name: str, *tensors: tuple[str, Any], first: int = 1) -> None:
    """Raise PyTorch's TypeError unless all arguments (name, value) are Tensors."""
    for i, (argument, value) in enumerate(tensors):
        if not record.is_tensor(value):
            raise TypeError(
                f"{name}(): argument '{argument}' (position {first + i}) must be Tensor, "
                f"not {type(value).__name__}"
            )


def constant_like(like: Any, value: Any) -> Any:
    """Return a number as a constant of a tensor's dtype."""
    tape, kind = current_tape(), layout_of(like).dtype
    tape.make_room()
    slot = tape.constant(int(value) if kind is int64 else value, kind)
    return record.new_tensor(tape, slot, tape.instruction_of(slot).out)


_SCALAR_NAMES = ("Double", "Float", "Long", "Bool")


def scalar_name(tensor: Any) -> str:
    """Return PyTorch's name of a tensor's element type in error texts."""
    return _SCALAR_NAMES[layout_of(tensor).dtype.code]
