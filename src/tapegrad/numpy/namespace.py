"""The names of `tapegrad.numpy`: NumPy's, for arrays, lists, numbers and Tensors; results are Tensors.

`face_of` finds what stands for an object of NumPy: a function of this package with its arguments; a `Ufunc`,
which promotes dtypes as NumPy does and calls the row's function; the object itself, for constants, dtypes and
classes. Functions that are not here compute with numbers, and refuse what is differentiated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from . import creation
from .operands import as_result, numpy_dtype, promoted_operands, refuse_active
from .protocols import function_for
from .ufuncs import UFUNCS, call_ufunc

__all__ = ["Ufunc", "face_of"]

#: modules of NumPy's that this package has of its own
_PARTS = ("fft", "linalg", "random")


class Ufunc:
    """A ufunc that takes Tensors, arrays, lists and numbers, and returns Tensors.

    Parameters
    ----------
    theirs : numpy.ufunc
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self._function = UFUNCS.get(theirs)
        self.__name__ = self.__qualname__ = theirs.__name__
        self.__doc__ = theirs.__doc__

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Compute, element by element."""
        if options or self._function is None or len(args) != self._theirs.nin:
            return self._call("__call__", args, options)
        if len(args) == 1:
            x = args[0]
            return self._function(x if hasattr(x, "_state") else creation.array(x))
        x, y = promoted_operands(self.__name__, *args)
        return self._function(x, y)

    def reduce(self, *args: Any, **options: Any) -> Any:
        """Combine the elements along a dimension, as NumPy's method of the name."""
        return self._call("reduce", args, options)

    def accumulate(self, *args: Any, **options: Any) -> Any:
        """Combine the elements up to each of them, as NumPy's method of the name."""
        return self._call("accumulate", args, options)

    def outer(self, *args: Any, **options: Any) -> Any:
        """Compute for all pairs of elements, as NumPy's method of the name."""
        return self._call("outer", args, options)

    def _call(self, method: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
        count = len(args) if method == "__call__" else 1 + (method == "outer")
        args, targets = list(args), args[self._theirs.nin :] if method == "__call__" else ()
        if targets:  # outputs may be positional
            options = {"out": tuple(targets), **options}
            args, count = args[: self._theirs.nin], self._theirs.nin
        operands = [creation.tensor_or_array(x) for x in args[:count]]
        if method != "reduce" and method != "accumulate" and len(operands) == 2:
            operands = promoted_operands(self.__name__, *args[:2])
        named = {key: numpy_dtype(v) for key, v in options.items()}
        return as_result(call_ufunc(self._theirs, method, [*operands, *args[count:]], named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} of tapegrad.numpy>"


def face_of(module: ModuleType, package: str, name: str) -> Any:
    """Return what stands for a name of NumPy's.

    Parameters
    ----------
    module : module
        NumPy, or a part of it.
    package : str
        The module that stands for it.
    name : str

    Raises
    ------
    AttributeError
        If NumPy has no such name.
    """
    try:
        theirs = getattr(module, name)
    except AttributeError as error:
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}: {error}", name=name, obj=None
        ) from None
    if name in creation.__all__ and module is np:
        return getattr(creation, name)
    if isinstance(theirs, ModuleType):
        if module is np and name in _PARTS:
            from importlib import import_module

            return import_module(f"{package}.{name}")
        return theirs
    if isinstance(theirs, np.ufunc):
        return Ufunc(theirs)
    if not callable(theirs) or isinstance(theirs, type):
        return theirs
    known = function_for(theirs)
    return _by_numpy(f"{module.__name__}.{name}".removeprefix("numpy."), theirs, known)


def _by_numpy(
    name: str, theirs: Callable[..., Any], known: Callable[..., Any] | None
) -> Callable[..., Any]:
    """Return a function with NumPy's arguments that returns Tensors."""

    @functools.wraps(known or theirs)
    def call(*args: Any, **options: Any) -> Any:
        if known is not None:
            return as_result(known(*args, **options))
        arrays = refuse_active(name, args, options)
        return as_result(theirs(*arrays[0], **arrays[1]))

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    return call
