"""NumPy's functions that make arrays: of active values, where a function is compiled for active arguments.

compiler.py puts the functions of `CREATION` in the place of ``np.zeros`` and its like.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from .numba_api import empty_inferred
from .numpy.arrays import empty, filled, inferred, is_plain, overload
from .types import ActiveArray, ActiveScalar, is_given

__all__ = ["CREATION", "OF_LISTS"]


def active_zeros(shape, dtype=None):  # type: ignore[no-untyped-def]
    """``np.zeros``."""
    raise TypeError


def active_ones(shape, dtype=None):  # type: ignore[no-untyped-def]
    """``np.ones``."""
    raise TypeError


def active_full(shape, fill_value, dtype=None):  # type: ignore[no-untyped-def]
    """``np.full``."""
    raise TypeError


def active_zeros_like(a, dtype=None):  # type: ignore[no-untyped-def]
    """``np.zeros_like``."""
    raise TypeError


def active_ones_like(a, dtype=None):  # type: ignore[no-untyped-def]
    """``np.ones_like``."""
    raise TypeError


def active_full_like(a, fill_value, dtype=None):  # type: ignore[no-untyped-def]
    """``np.full_like``."""
    raise TypeError


def active_eye(N, M=None, k=0, dtype=None):  # type: ignore[no-untyped-def]
    """``np.eye``."""
    raise TypeError


def active_identity(n, dtype=None):  # type: ignore[no-untyped-def]
    """``np.identity``."""
    raise TypeError


def active_array(a, dtype=None):  # type: ignore[no-untyped-def]
    """``np.array``."""
    raise TypeError


def active_asarray(a):  # type: ignore[no-untyped-def]
    """``np.asarray``."""
    raise TypeError


@overload(active_zeros)
def _ol_zeros(shape: Any, dtype: Any = None) -> Any:
    if is_plain(dtype):
        return lambda shape, dtype=None: np.zeros(shape, dtype)
    return lambda shape, dtype=None: filled(shape, 0.0)


@overload(active_ones)
def _ol_ones(shape: Any, dtype: Any = None) -> Any:
    if is_plain(dtype):
        return lambda shape, dtype=None: np.ones(shape, dtype)
    return lambda shape, dtype=None: filled(shape, 1.0)


@overload(active_full)
def _ol_full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    if is_plain(dtype):
        return lambda shape, fill_value, dtype=None: np.full(shape, fill_value, dtype)
    if isinstance(fill_value, types.Integer | types.Boolean) and dtype in (None, types.none):
        return lambda shape, fill_value, dtype=None: np.full(shape, fill_value)
    return lambda shape, fill_value, dtype=None: filled(shape, fill_value)


def _keeps(a: Any, dtype: Any) -> bool:
    """Return True if an array like `a` holds integers or truth values."""
    if not is_given(dtype):
        return isinstance(getattr(a, "dtype", None), types.Integer | types.Boolean)
    return is_plain(dtype)


@overload(active_zeros_like)
def _ol_zeros_like(a: Any, dtype: Any = None) -> Any:
    if _keeps(a, dtype):
        return lambda a, dtype=None: np.zeros_like(a, dtype)
    return lambda a, dtype=None: filled(a.shape, 0.0)


@overload(active_ones_like)
def _ol_ones_like(a: Any, dtype: Any = None) -> Any:
    if _keeps(a, dtype):
        return lambda a, dtype=None: np.ones_like(a, dtype)
    return lambda a, dtype=None: filled(a.shape, 1.0)


@overload(active_full_like)
def _ol_full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    if _keeps(a, dtype):
        return lambda a, fill_value, dtype=None: np.full_like(a, fill_value, dtype)
    return lambda a, fill_value, dtype=None: filled(a.shape, fill_value)


@overload(active_eye)
def _ol_eye(N: Any, M: Any = None, k: Any = 0, dtype: Any = None) -> Any:
    if is_plain(dtype):
        return lambda N, M=None, k=0, dtype=None: np.eye(N, M, k, dtype)
    square = not is_given(M)

    def eye(N, M=None, k=0, dtype=None):  # type: ignore[no-untyped-def]
        out = filled((N, N if square else M), 0.0)
        for i in range(max(0, -k), min(out.shape[0], out.shape[1] - k)):
            out[i, i + k] = 1.0
        return out

    return eye


@overload(active_identity)
def _ol_identity(n: Any, dtype: Any = None) -> Any:
    if is_plain(dtype):
        return lambda n, dtype=None: np.identity(n, dtype)
    return lambda n, dtype=None: active_eye(n)


def _parts(kind: Any) -> list[Any] | None:
    """The types of a tuple's or list's items, one for each that is known; None for other types."""
    if isinstance(kind, types.List | types.ListType):
        return [kind.dtype]
    if isinstance(kind, types.BaseTuple | types.LiteralList):
        return list(kind.types if isinstance(kind, types.LiteralList) else kind)
    return None


def _nested(kind: Any) -> int:
    """Depth of nested tuples and lists of numbers and active scalars; 0 for all else, and for integers."""

    def depth(kind: Any) -> int | None:
        parts = _parts(kind)
        if parts is None:
            return 0 if isinstance(kind, ActiveScalar | types.Float | types.Integer) else None
        depths = {depth(k) for k in parts}
        inner = depths.pop() if len(depths) == 1 else None
        return None if inner is None else 1 + inner

    def floats(kind: Any) -> bool:
        parts = _parts(kind)
        return not isinstance(kind, types.Integer) if parts is None else any(map(floats, parts))

    levels = depth(kind)
    return levels if levels and floats(kind) else 0


def _filling(kind: Any) -> list[str]:
    """The code that makes an array of nested tuples and lists, and fills it."""
    sizes, lines = [], []
    outer, text = kind, "a"
    for _ in range(_nested(kind)):
        sizes.append(f"len({text})")
        outer, text = _parts(outer)[0], f"{text}[0]"  # type: ignore[index]

    def fill(kind: Any, text: str, indices: list[str], indent: str) -> None:
        parts = _parts(kind)
        if parts is None:
            lines.append(f"{indent}out[{', '.join(indices)}] = {text}")
            return
        if indices:
            lines.append(f"{indent}if len({text}) != out.shape[{len(indices)}]:")
            lines.append(f"{indent}    raise ValueError('np.array: rows of different lengths')")
        if isinstance(kind, types.List | types.ListType | types.UniTuple):  # items of one type
            index = f"i{len(indices)}"
            lines.append(f"{indent}for {index} in range(len({text})):")
            fill(parts[0], f"{text}[{index}]", [*indices, index], indent + "    ")
            return
        for i, part in enumerate(parts):
            fill(part, f"{text}[{i}]", [*indices, str(i)], indent)

    fill(kind, "a", [], "    ")
    return [f"    out = empty(({', '.join(sizes)},))", *lines, "    return out"]


@overload(active_array)
def _ol_array(a: Any, dtype: Any = None) -> Any:
    if isinstance(a, ActiveArray):
        return lambda a, dtype=None: a.copy()
    if is_plain(dtype) or not (_nested(a) or _holds_floats(a)):
        if is_given(dtype):
            return lambda a, dtype=None: np.array(a, dtype)
        return lambda a, dtype=None: np.array(a)
    if isinstance(a, types.Array):  # to be written into

        def copied(a, dtype=None):  # type: ignore[no-untyped-def]
            out = empty(a.shape)
            out[...] = a
            return out

        return copied
    scope = {"empty": empty}
    exec("\n".join(["def array(a, dtype=None):", *_filling(a)]), scope)
    return scope["array"]


def _holds_floats(kind: Any) -> bool:
    """Return True for an array of passive numbers that are no integers."""
    return isinstance(kind, types.Array) and isinstance(kind.dtype, types.Float)


@overload(active_asarray)
def _ol_asarray(a: Any) -> Any:
    if isinstance(a, ActiveArray):
        return lambda a: a
    return (lambda a: active_array(a)) if _nested(a) else (lambda a: np.asarray(a))


#: functions that replace NumPy's in a function that is compiled for active arguments, by id of NumPy's
CREATION: dict[int, Any] = {
    id(np.zeros): active_zeros, id(np.empty): active_zeros, id(np.ones): active_ones,
    id(np.full): active_full, id(np.zeros_like): active_zeros_like,
    id(np.empty_like): active_zeros_like, id(np.ones_like): active_ones_like,
    id(np.full_like): active_full_like, id(np.array): active_array,
    id(np.asarray): active_asarray, id(np.eye): active_eye, id(np.identity): active_identity,
    id(empty_inferred): inferred,
}  # fmt: skip


#: those that take nested lists
OF_LISTS = (active_array, active_asarray)
