"""Kernels by address: NumPy's own inner loops, and native ones where NumPy has none.

Every kernel has the signature of NumPy's inner loops,
``void (char **args, npy_intp const *dims, npy_intp const *strides, void *data)``
(struct ``PyUFuncObject`` in ``numpy/ufuncobject.h``, a public header). `ufunc_loop` finds the one a
ufunc or gufunc uses for given dtypes. `native_kernel` compiles a Python function over raw addresses
when it is first needed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .dtypes import dtype
from .native import kernel_address

__all__ = ["NATIVE", "native_kernel", "native_kernel_address", "ufunc_loop"]


class _UFunc(ctypes.Structure):
    """The head of PyUFuncObject, behind PyObject_HEAD."""

    _fields_ = (
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved1", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    )


@cache
def ufunc_loop(ufunc: np.ufunc, dtypes: tuple[dtype, ...]) -> tuple[int, int]:
    """Address of a ufunc's inner loop for operand and result dtypes, and its data pointer.

    Raises
    ------
    TypeError
        If the ufunc has no such loop.
    """
    head = _UFunc.from_address(id(ufunc) + object.__basicsize__)
    numbers = [d.np.num for d in dtypes]
    if ufunc is np.positive and numbers[0] == np.dtype(np.bool_).num:
        numbers = [np.dtype(np.int8).num] * 2  # bools are bytes, and `positive` takes no bools
    if head.nargs != len(dtypes):
        raise TypeError(f"{ufunc.__name__} takes {head.nargs} operands, not {len(dtypes)}")
    types = ctypes.string_at(head.types, head.nargs * head.ntypes)
    alike: dict[int, int] = {np.dtype(np.longlong).num: np.dtype(np.int64).num}
    wanted = [alike.get(n, n) for n in numbers]
    for i in range(head.ntypes):
        row = types[i * head.nargs : (i + 1) * head.nargs]
        if [alike.get(n, n) for n in row] == wanted:
            return int(head.functions[i] or 0), int((head.data[i] or 0) if head.data else 0)
    names = ", ".join(d.name for d in dtypes)
    raise TypeError(f"{ufunc.__name__} has no loop for ({names})")


#: functions of `native_kernel`, by name
NATIVE: dict[str, Callable[..., Any]] = {}


def native_kernel(function: Callable[..., Any]) -> str:
    """Register a kernel over raw addresses; it is compiled when a program first uses it.

    The function takes four integers ``(args, dims, strides, data)``, the addresses of NumPy's inner
    loop signature; ``dims[0]`` is the length of the loop.
    """
    name = function.__name__
    assert name not in NATIVE, name
    NATIVE[name] = function
    return name


@cache
def native_kernel_address(name: str) -> int:
    """Address of a registered kernel, loaded or compiled now if it is not yet."""
    return kernel_address(NATIVE[name])
