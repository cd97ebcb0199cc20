"""NumPy's protocols: `__array_ufunc__` and `__array_function__`.

``np.sin(t)`` comes to `array_ufunc`, which finds the function of the op table; ``np.concatenate([t, a])`` to
`array_function`, which finds the function of this package with NumPy's name and arguments. Of functions that
are not here NumPy's own compute with the numbers of Tensors that nothing is differentiated by.
`array_namespace` answers code that is written for the array API standard, which NumPy is, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from ..tensors.tensor import Tensor
from .operands import as_operand, is_constant, refuse_active, tensors_in
from .plain_calls import PLAIN
from .ufuncs import UFUNCS, call_ufunc

__all__ = ["array_function", "array_ufunc", "function_for", "functions", "install"]


@cache
def functions() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the functions of this package, by NumPy's; they are loaded when the first one is called."""
    from . import (
        fourier,
        matrices,
        placement,
        products,
        reductions,
        selection,
        shapes,
        signals,
        statistics,
    )

    known: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module in (reductions, shapes, selection, products, statistics, signals, placement):
        for name in module.__all__:
            theirs = getattr(np, name, None)
            if theirs is not None:
                known[theirs] = getattr(module, name)
    for name in ("outer", "cross", "tensordot"):
        known[getattr(np.linalg, name)] = getattr(products, name)
    for name in fourier.__all__:
        known[getattr(np.fft, name)] = getattr(fourier, name)
    for name in matrices.__all__:
        known[getattr(np.linalg, name)] = getattr(matrices, name)
    return known


def function_for(theirs: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the function of this package for one of NumPy's; None if there is none."""
    try:
        return functions().get(theirs)
    except TypeError:  # not hashable
        return None


#: functions that code calls to have arrays: of constants it gets these
_COERCIONS = frozenset((np.atleast_1d, np.atleast_2d, np.atleast_3d, np.broadcast_arrays, np.copy))


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """Call a ufunc with Tensors, for NumPy."""
    if not options and method == "__call__":
        function = UFUNCS.get(ufunc)
        if function is not None:
            if len(inputs) == 1:
                return function(inputs[0])
            if len(inputs) > 2:
                return function(*[as_operand(x, ufunc.__name__) for x in inputs])
            x, y = inputs
            if type(x) is not Tensor:
                x = as_operand(x, ufunc.__name__)
            if type(y) is not Tensor:
                y = as_operand(y, ufunc.__name__)
            return function(x, y)
    return call_ufunc(ufunc, method, inputs, options)


def array_function(
    self: Any, func: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function of NumPy's with Tensors, for NumPy."""
    plain = PLAIN.get(func)
    if plain is not None:
        try:  # contextlib.suppress would take as long as the call
            return plain(*args, **kwargs)
        except Exception:
            pass  # in another form, or an error, which is NumPy's there
    function = functions().get(func)
    if function is not None and func not in _COERCIONS:
        return function(*args, **kwargs)
    if function is not None and not is_constant([*tensors_in([list(args), dict(kwargs)])]):
        return function(*args, **kwargs)
    name = f"{func.__module__.removeprefix('numpy').lstrip('.')}.{func.__name__}".lstrip(".")
    arguments, options = refuse_active(name, args, kwargs)
    return func(*arguments, **options)


def array_namespace(self: Any, /, *, api_version: str | None = None) -> ModuleType:
    """Return `tapegrad.array_api`, for code that computes by the array API standard.

    Parameters
    ----------
    api_version : str, optional
        The version that is asked for.

    Raises
    ------
    ValueError
        If it is another one than `tapegrad.array_api` has.
    """
    namespace = import_module(f"{__package__.rpartition('.')[0]}.array_api")  # above this package
    if api_version not in (None, *namespace.VERSIONS):
        raise ValueError(
            f"__array_namespace__: there is no version {api_version!r} of the array API standard here; ask "
            f"for one of {', '.join(namespace.VERSIONS)}, or for none"
        )
    return namespace


def install() -> None:
    """Let NumPy ask Tensors, and code that is written for the array API standard."""
    kind: Any = Tensor
    kind.__array_namespace__ = array_namespace
    kind.__array_ufunc__, kind.__array_function__ = array_ufunc, array_function
