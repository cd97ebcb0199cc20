"""Ufuncs of functions that numba compiles: of ``@vectorize``, ``@guvectorize``, and of scalar kernels.

A ufunc's loop is called without the GIL, for parts of an operand, and cannot say that it failed. So what may
raise an error is refused: `_may_raise` looks at the code that came out.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
from numba import types, vectorize

from .numba_api import NumbaError

__all__ = ["ufunc_of_numba"]

_KINDS = (types.float64, types.float32)
#: what holds the code of loops, whose addresses are in programs
_KEPT: list[Any] = []
#: a use of the place for an error, other than in the head of a function
_ERROR = re.compile(r"^(?!define|declare).*%excinfo", re.MULTILINE)


def ufunc_of_numba(function: Any) -> np.ufunc:
    """Return the ufunc of an object of numba's, compiled for float64 and float32 where it may be.

    Raises
    ------
    TypeError
        For what is no kernel of numbers, and for what cannot be compiled.
    ValueError
        For code that may raise an error, or that runs Python code.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not hasattr(function, "ufunc"):
        function = _vectorized(function, name)
    elif getattr(function, "signature", None) is None and not function._frozen:
        _compile(function, function.nin, name)
    builder = getattr(function, "gufunc_builder", None)
    if builder is not None and builder.writable_args:
        raise ValueError(
            f"register_op(): {name} writes its operands (writable_args); return a new array"
        )
    ufunc: np.ufunc | None = function.ufunc
    if ufunc is None or not ufunc.types:
        raise TypeError(
            f"register_op(): {name} is compiled for nothing: give guvectorize its signatures, such as "
            "'(float64[:], float64[:])'"
        )
    for overload in function._dispatcher.overloads.values():
        if overload.objectmode:
            raise ValueError(
                f"register_op(): {name} runs Python code (forceobj); leave that option out"
            )
        if _may_raise(overload.library.get_llvm_str()):
            raise ValueError(
                f"register_op(): {name} may raise an error or divide by zero as Python does; return NaN in "
                "its place, and compile functions that it calls with error_model='numpy'"
            )
    _KEPT.append(function)
    return ufunc


def _may_raise(code: str) -> bool:
    """Return True for code that reports errors, and for code of a form that is not known."""
    return "%excinfo" not in code or _ERROR.search(code) is not None


def _vectorized(kernel: Any, name: str) -> Any:
    """A kernel of numbers as a ufunc; its function is compiled anew."""
    function = getattr(kernel, "py_func", None) or inspect.unwrap(kernel)
    if not inspect.isfunction(function):
        raise TypeError(f"register_op(): {name} is no function of numba's that has its Python text")
    count = len(inspect.signature(function).parameters)
    options = {
        k: v for k, v in getattr(kernel, "targetoptions", {}).items() if k == "fastmath" and v
    }
    ufunc = vectorize(function, **options)  # type: ignore[no-untyped-call]
    _compile(ufunc, count, name)
    return ufunc


def _compile(function: Any, count: int, name: str) -> None:
    """Compile a function of numbers for each floating dtype."""
    known = {tuple(getattr(each, "args", each)) for each in function._dispatcher.overloads}
    try:
        for kind in _KINDS:
            if (kind,) * count not in known:
                function.add(kind(*[kind] * count))
    except NumbaError as error:
        reason = str(error).strip().partition("\n")[0]
        raise TypeError(
            f"register_op(): {name} cannot be compiled as a function of {count} numbers: {reason}"
        ) from error
