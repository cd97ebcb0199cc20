"""From Python data to arrays, as ``torch.tensor`` reads it.

Data is a number, a tensor, an ndarray, or nested sequences of them. Its shape is read along the
first elements, its dtype from all of them, and every sequence must then have the length that its
first neighbour had. Nested lists and tuples of Python numbers, the common case, go to NumPy at once
(`_plain_kinds` finds them); everything else is walked element by element.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...base.dtypes import (
    FLOATING,
    bool_,
    category,
    complex_of,
    dtype,
    from_numpy_dtype,
    get_default_dtype,
    int64,
    result_type,
)  # fmt: skip
from ...tape import readout
from ...tape import recording as record

__all__ = ["array_of", "check_array"]

_MAX_DIMS = 64  # NumPy's limit


def array_of(data: Any, kind: dtype | None, *, infer: bool = True) -> tuple[np.ndarray, dtype]:
    """Return data as a new C-contiguous array, and its dtype.

    Parameters
    ----------
    data : number, sequence, ndarray or Tensor
    kind : dtype or None
        The dtype wanted; None finds one.
    infer : bool
        Whether an ndarray's own dtype counts where `kind` is None (else the default dtype).

    Raises
    ------
    ValueError
        For ragged sequences, or integers beyond 64 bits.
    TypeError, RuntimeError
        For data that is no number.
    """
    if isinstance(data, np.ndarray):
        result_kind = _array_kind(data) if kind is None and infer else kind or get_default_dtype()
        check_array(data, result_kind)
        return _copied(data, result_kind), result_kind
    if record.is_tensor(data):
        readout.check(data, "tensor()", warns=False)
        result_kind = kind or data.dtype
        return _copied(data._array(), result_kind), result_kind
    if hasattr(type(data), "__array__") and not isinstance(data, np.generic):
        return array_of(np.asarray(data), kind, infer=infer)  # of pandas, JAX and others
    plain = _plain_kinds(data)
    if plain is not None:
        result_kind = kind or _kind_of_types(plain)
        try:
            with np.errstate(all="ignore"):
                return np.array(data, result_kind.np), result_kind
        except (ValueError, OverflowError, TypeError):
            pass  # ragged, or out of range: the walk says it in PyTorch's words
    return _read_nested(data, kind)


def _copied(array: np.ndarray, kind: dtype) -> np.ndarray:
    """Copy to a C-contiguous array; NumPy's cast decides on numbers that do not fit."""
    with np.errstate(all="ignore"):
        return np.array(array, kind.np, order="C", subok=False)


def check_array(array: np.ndarray, kind: dtype | None) -> None:
    """Raise PyTorch's errors for an ndarray that it does not take.

    Parameters
    ----------
    array : numpy.ndarray
    kind : dtype or None
        The dtype it will be converted to; None if it must be a dtype of tapegrad's already.
    """
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion "
            "between byte orders is currently not supported."
        )
    if kind is None or array.dtype.kind not in "fiubc":
        from_numpy_dtype(array.dtype)
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )


def _array_kind(array: np.ndarray) -> dtype:
    """Return the dtype of an ndarray; `check_array` complains of a wrong byte order."""
    return from_numpy_dtype(array.dtype if array.dtype.isnative else array.dtype.newbyteorder("="))


# --------------------------------------------------------------------------- plain nested lists
def _plain_kinds(data: Any) -> frozenset[type] | None:
    """Types of the numbers in nested lists and tuples, None if there is anything else in them."""
    kind = type(data)
    if kind is float or kind is int or kind is bool or kind is complex:
        return frozenset((kind,))
    if kind is range:
        return frozenset((int,) if len(data) else ())
    if kind is not list and kind is not tuple:
        return None
    kinds = frozenset(map(type, data))
    if kinds <= _NUMBERS:
        return kinds
    if not kinds <= _SEQUENCES:
        return None
    number_types: frozenset[type] = frozenset()
    for part in data:
        inner = _plain_kinds(part)
        if inner is None:
            return None
        number_types |= inner
    return number_types


_NUMBERS = frozenset((float, int, bool, complex))
_SEQUENCES = frozenset((list, tuple))


def _kind_of_types(kinds: frozenset[type]) -> dtype:
    if complex in kinds:
        return complex_of(get_default_dtype())
    if not kinds or float in kinds:
        return get_default_dtype()
    return int64 if int in kinds else bool_


# --------------------------------------------------------------------------- anything else
def _is_sequence(value: Any) -> bool:
    return (
        isinstance(value, list | tuple | range | str | bytes)
        or (isinstance(value, np.ndarray) and value.ndim > 0)
        or (
            hasattr(type(value), "__getitem__")
            and hasattr(type(value), "__len__")
            and not isinstance(value, dict | np.generic | np.ndarray)
            and not record.is_tensor(value)
        )
    )


def _read_nested(data: Any, kind: dtype | None) -> tuple[np.ndarray, dtype]:
    if isinstance(data, str | bytes):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    sizes = _sizes(data)
    if sizes and sizes[0] and isinstance(data[0], np.ndarray):
        warnings.warn(
            "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider "
            "converting the list to a single numpy.ndarray with numpy.array() before converting to "
            "a tensor.",
            UserWarning,
            stacklevel=5,
        )
    result_kind = kind or _infer(data) or get_default_dtype()
    values: list[Any] = []
    _append_numbers(data, sizes, 0, result_kind, values)
    with np.errstate(all="ignore"):
        return np.array(values, result_kind.np).reshape(sizes), result_kind


def _sizes(data: Any) -> tuple[int, ...]:
    """Shape along the first elements."""
    sizes: list[int] = []
    while _is_sequence(data):
        if isinstance(data, str | bytes) or len(sizes) >= _MAX_DIMS:
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        sizes.append(len(data))
        if not sizes[-1]:
            break
        data = data[0]
    return tuple(sizes)


def _infer(value: Any) -> dtype | None:
    """Dtype of a number or of all in a sequence, None if there are none."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, np.generic):
        return from_numpy_dtype(value.dtype)
    if isinstance(value, float):
        return get_default_dtype()
    if record.is_tensor(value):
        return value.dtype
    if isinstance(value, np.ndarray):
        return from_numpy_dtype(value.dtype)
    if isinstance(value, str | bytes):
        raise TypeError(f"new(): invalid data type '{type(value).__name__}'")
    if isinstance(value, complex):
        return complex_of(get_default_dtype())
    if not _is_sequence(value):
        raise RuntimeError(f"Could not infer dtype of {type(value).__name__}")
    common: dtype | None = None
    for part in value:
        inner = _infer(part)
        if inner is not None:
            common = inner if common is None else result_type(common, inner)
    return common


def _append_numbers(
    data: Any, sizes: tuple[int, ...], depth: int, kind: dtype, values: list[Any]
) -> None:
    """Append the numbers in `data`, which must have the shape ``sizes[depth:]``."""
    if depth == len(sizes):
        values.append(_as_number(data, kind))
        return
    if not _is_sequence(data) or isinstance(data, str | bytes):
        raise TypeError("not a sequence")
    if len(data) != sizes[depth]:
        raise ValueError(
            f"expected sequence of length {sizes[depth]} at dim {depth} (got {len(data)})"
        )
    for part in data:
        _append_numbers(part, sizes, depth + 1, kind, values)


def _as_number(value: Any, kind: dtype) -> complex | float | int | bool:
    """One element as a Python number of a dtype."""
    if record.is_tensor(value):
        if value.numel() != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        value = readout.number(value, "tensor()")
    elif isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if kind.is_complex and isinstance(value, complex | float | int):
        return complex(value)
    if isinstance(value, str | bytes) or not hasattr(type(value), "__float__"):
        if not kind.is_inexact:
            raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")
        raise TypeError(f"must be real number, not {type(value).__name__}")
    if kind is bool_:
        return bool(value)
    if category(kind) >= FLOATING:
        return float(value)
    try:
        whole = int(value)
    except (ValueError, OverflowError):  # nan, inf
        raise RuntimeError("value cannot be converted to type int64 without overflow") from None
    if not -(2**63) <= whole < 2**63:
        raise ValueError("Overflow when unpacking long long")
    return whole
