"""C functions that SciPy calls without Python: `scipy.LowLevelCallable`."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import float64, int64
from ..base.errors import UnsupportedError
from ..base.importing import imported
from .c_function import CFunction
from .native_code import write_form

__all__ = ["low_level_callable"]

#: types of the operands of the functions that SciPy takes
_OPERANDS: dict[str, Any] = {
    "double": ctypes.c_double, "void *": ctypes.c_void_p, "int": ctypes.c_int, "npy_intp": ctypes.c_ssize_t,
    "double *": ctypes.POINTER(ctypes.c_double), "npy_intp *": ctypes.POINTER(ctypes.c_ssize_t),
}  # fmt: skip
#: forms of functions of arrays, by the function of SciPy that calls them
_FORMS = {
    "quad": "",
    "generic_filter": "int (double *, npy_intp, double *, void *)",
    "generic_filter1d": "int (double *, npy_intp, double *, npy_intp, void *)",
    "geometric_transform": "int (npy_intp *, double *, int, int, void *)",
}


def low_level_callable(function: CFunction, user_data: np.ndarray | None, use: str) -> Any:
    """Return a `scipy.LowLevelCallable`, as `NativeFunction.low_level_callable` says."""
    try:
        scipy = imported("scipy")
    except ImportError:
        raise UnsupportedError(
            "low_level_callable: SciPy is not installed; `address` and `ctypes` do without it"
        ) from None
    data = _address(function, user_data)
    form = _form(function, use, data is not None)
    address = function.compiled(form, partial(write_form, form=form, with_data=data is not None))
    result, operands = form.rstrip(")").split(" (")
    kinds = [_OPERANDS[name] for name in operands.split(", ")]
    pointer = function.pointer(address, _OPERANDS[result], *kinds)
    return scipy.LowLevelCallable(pointer, data)


def _address(function: CFunction, value: np.ndarray | None) -> Any:
    """The address of the last argument, which keeps it."""
    if value is None:
        return None
    if not function.names:
        raise TypeError("low_level_callable: the function has no argument that could be user_data")
    last, name = function.plan.arguments[-1], function.names[-1]
    is_plain = isinstance(value, np.ndarray) and value.flags.c_contiguous and value.flags.aligned
    if not is_plain or value.dtype != last.kind.np or value.shape != last.shape:
        given = f"a {type(value).__name__}"
        if isinstance(value, np.ndarray):
            order = "" if value.flags.c_contiguous else " and not contiguous"
            given = f"{value.dtype} of shape {list(value.shape)}{order}"
        raise ValueError(
            f"low_level_callable: user_data stands for `{name}`, and must be a contiguous array of "
            f"{last.kind.name} of shape {list(last.shape)}; it is {given}"
        )
    return value.ctypes.data_as(ctypes.c_void_p)


def _form(function: CFunction, use: str, with_data: bool) -> str:
    """The form of function that SciPy takes, if this one can be called by it."""
    if use not in _FORMS:
        raise ValueError(f"low_level_callable: use must be one of {', '.join(_FORMS)}, not {use!r}")
    arguments = function.plan.arguments[: len(function.names) - with_data]
    results = function.plan.results
    is_vector = use in ("generic_filter1d", "geometric_transform")
    kind = int64 if use == "geometric_transform" else float64
    if not arguments or any(x.kind is not kind for x in arguments):
        other = " but the last one" if with_data else ""
        raise TypeError(
            f"low_level_callable: for {use}, arguments{other} must be of {kind.name}; the function is "
            f"{function.signature}"
        )
    if len(results) != 1 or results[0].kind is not float64 or len(results[0].shape) != is_vector:
        wanted = "array of float64 with one dimension" if is_vector else "float64"
        raise TypeError(
            f"low_level_callable: for {use}, the result must be one {wanted}; the function is "
            f"{function.signature}"
        )
    if use != "quad":
        return _FORMS[use]
    is_one = len(arguments) == 1 and not arguments[0].shape
    return f"double ({'double' if is_one else 'int, double *'}{', void *' if with_data else ''})"
