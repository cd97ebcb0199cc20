"""Checks of arguments that functions of this folder share, with PyTorch's error types and texts."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..base.dtypes import category, int64, scalar_name
from ..base.errors import UnsupportedError, kind_of, must_be
from ..base.symbolic import Symbolic, home_of
from ..tape import readout
from ..tape import recording as record
from ..tape.recording import layout_of
from . import registry

__all__ = [
    "OVERFLOW", "as_int", "as_ints", "as_tensors", "check_cast", "constant_like", "distinct", "float_of",
    "from_array", "is_array", "named_conversion", "tensor_list", "unpack_error", "wrap_dim",
]  # fmt: skip

_LIMIT = 2**63
#: PyTorch's words for an integer beyond 64 bits
OVERFLOW = "Overflow when unpacking long long"


def wrap_dim(dim: Any, ndim: int) -> int:
    """Dimension `dim` counted from the front; a 0-d tensor takes 0 and -1.

    Raises
    ------
    IndexError
        If there is no such dimension.
    """
    if type(dim) is int and -ndim <= dim < ndim:
        return dim if dim >= 0 else dim + ndim
    try:
        d = operator.index(dim)
    except TypeError:
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    n = ndim or 1
    if not -n <= d < n:
        _check_int64(d)
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})"
        )
    return d + n if d < 0 else d


def _check_int64(value: int) -> int:
    if not -_LIMIT <= value < _LIMIT:
        raise ValueError(OVERFLOW)
    return value


def as_int(name: str, argument: str, position: int, value: Any) -> Any:
    """`value` as an int; PyTorch's TypeError otherwise, and its ValueError beyond 64 bits."""
    if not isinstance(value, bool | float | str):
        try:
            return _check_int64(operator.index(value))
        except TypeError:
            if type(value) is Symbolic:  # while a rule is traced (patterns.py)
                return value
    raise must_be(name, argument, position, "int", value)


def float_of(name: str, argument: str, position: int, value: Any, kind: str = "Number") -> float:
    """`value`, a number or a tensor of one, as a float; PyTorch's TypeError otherwise."""
    value = readout.option(value, f"{name}({argument}=...)")
    if not record.is_number(value):
        raise must_be(name, argument, position, kind, value)
    return float(value)


def unpack_error(name: str, argument: str, index: int, reason: str) -> TypeError:
    """Return PyTorch's error for an element of a sequence of integers."""
    return TypeError(
        f"{name}(): argument '{argument}' failed to unpack the object at pos {index + 1} "
        f'with error "{reason}"'
    )


def as_ints(values: Any) -> tuple[int, ...]:
    """Return an integer, or a sequence of them, as a tuple of ints.

    Raises
    ------
    TypeError
        If they are none: the signature of the function (signature.py) words it.
    """
    whole = type(values) is tuple or isinstance(values, tuple | list)
    sequence = values if whole else (values,)
    try:
        ints = tuple(map(operator.index, sequence))
    except TypeError:
        if home_of(sequence) is not None:  # while a rule is traced (patterns.py)
            return tuple(sequence)
        raise
    for n in ints:
        if not -_LIMIT <= n < _LIMIT:
            raise TypeError(OVERFLOW)
    return ints


def distinct(dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, none twice."""
    seen: list[int] = []
    for d in dims:
        d = wrap_dim(d, ndim)
        if d in seen:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        seen.append(d)
    return tuple(seen)


# --------------------------------------------------------------------------- arrays in the place of Tensors
def is_array(value: Any) -> bool:
    """Return True for an array, or a number, which a function takes in the place of a Tensor.

    Of Python's truth values it takes none: they are meant for options.
    """
    if isinstance(value, int):
        return not isinstance(value, bool) and -_LIMIT <= value < _LIMIT
    return isinstance(value, np.ndarray | np.number | np.bool_ | float | complex)


def from_array(value: Any, others: Sequence[Any] = ()) -> Any:
    """Return a Tensor of an array, which is copied, or of a number.

    Parameters
    ----------
    value : numpy.ndarray or number
    others : sequence
        What it meets: a Python number has the dtype of Tensors among them, if these are of its kind.
    """
    kind = None
    if isinstance(value, int | float | complex) and not isinstance(value, np.generic):
        kind = record.number_dtype(value)
        tensors = [x for x in others if record.is_tensor(x)]
        met = record.result_dtype([*tensors, value])
        kind = met if category(met) == category(kind) else kind
    return registry.FUNCTIONS["tensor"](value, dtype=kind)


def as_tensors(name: str, values: Sequence[Any]) -> list[Any]:
    """Return values as Tensors: arrays and numbers among them are taken.

    Raises
    ------
    TypeError
        PyTorch's for others, and one that names the dtype of an array that has no Tensors.
    """
    tensors = []
    for i, x in enumerate(values):
        if not record.is_tensor(x):
            argument = "input" if i == 0 else "other"
            if not is_array(x):
                raise must_be(name, argument, i + 1, "Tensor", x)
            x = named_conversion(name, argument, x, values)
        tensors.append(x)
    return tensors


def named_conversion(name: str, argument: str, value: Any, others: Sequence[Any]) -> Any:
    """Return a Tensor of an array or number; errors name the function and its argument."""
    try:
        return from_array(value, others)
    except (TypeError, UnsupportedError) as error:
        raise TypeError(f"{name}(): argument '{argument}': {error}") from None


def tensor_list(tensors: Iterable[Any], argument: int = 0) -> list[Any]:
    """Return a sequence of Tensors, arrays and numbers as Tensors; PyTorch's TypeError for anything else."""
    operands = list(tensors)
    for i, x in enumerate(operands):
        if not record.is_tensor(x):
            words = f"as element {i} in argument {argument}"
            if not is_array(x):
                raise TypeError(f"expected Tensor {words}, but got {kind_of(x)}")
            try:
                operands[i] = from_array(x, operands)
            except TypeError as error:
                raise TypeError(f"the array {words} is no Tensor: {error}") from None
    return operands


def constant_like(like: Any, value: Any) -> Any:
    """Return a number as a constant of a tensor's dtype."""
    kind = layout_of(like).dtype
    return record.as_operand(int(value) if kind is int64 else value, kind)


def check_cast(result: Any, target: Any) -> None:
    """Raise PyTorch's error unless a result may be written into a tensor of another dtype."""
    if category(result.dtype) > category(target.dtype):
        raise RuntimeError(
            f"result type {scalar_name(result.dtype)} can't be cast to the desired output type "
            f"{scalar_name(target.dtype)}"
        )
