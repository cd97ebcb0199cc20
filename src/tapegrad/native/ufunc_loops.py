"""Kernels by address: NumPy's own inner loops, and native ones where NumPy has none.

Every kernel has the signature of NumPy's inner loops,
``void (char **args, npy_intp const *dims, npy_intp const *strides, void *data)``
(struct ``PyUFuncObject`` in ``numpy/ufuncobject.h``, a public header). `ufunc_loop` finds the one a
ufunc or gufunc uses for given dtypes; a `LibraryUfunc` is one of a library that is imported when it is first
needed. `native_kernel` has a Python function over raw addresses compiled
when it is first needed; `native_kernels` makes one version a dtype of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import DTYPES, dtype, scalar_name
from ..base.importing import imported
from ..base.object_layout import UFunc
from . import abi as nt
from .machine_code import Unit, kernel_unit, load, source_digest, source_of
from .words import KINDS, helper

__all__ = [
    "NATIVE", "PREFERRED", "LibraryUfunc", "fastest_loop", "is_ufunc_loop", "native_kernel",
    "native_kernel_address", "native_kernels", "typed_helpers", "ufunc_loop",
]  # fmt: skip


class MissingLoopError(NotImplementedError, TypeError):
    """Raised where a ufunc has no loop for given dtypes; in PyTorch's words."""


_LOOPS: set[tuple[int, int]] = set()


def is_ufunc_loop(kernel: tuple[int, int]) -> bool:
    """Return True if a kernel is NumPy's loop of a ufunc, so that it knows its operands' strides only."""
    return kernel in _LOOPS


@cache
def ufunc_loop(ufunc: np.ufunc, dtypes: tuple[dtype, ...]) -> tuple[int, int]:
    """Address of a ufunc's inner loop for operand and result dtypes, and its data pointer.

    Raises
    ------
    TypeError
        If the ufunc has no such loop.
    """
    head = UFunc.of(ufunc)
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
            kernel = int(head.functions[i] or 0), int((head.data[i] or 0) if head.data else 0)
            _LOOPS.add(kernel)
            return kernel
    raise MissingLoopError(f"\"{ufunc.__name__}\" not implemented for '{scalar_name(dtypes[0])}'")


class LibraryUfunc(NamedTuple):
    """A ufunc of a library that need not be installed."""

    module: str
    name: str

    def load(self) -> np.ufunc:
        """Return the ufunc itself.

        Raises
        ------
        ImportError
            Without the library; it says how to install it.
        """
        try:
            ufunc: np.ufunc = getattr(imported(self.module), self.name)
        except (ImportError, AttributeError) as error:
            library = self.module.partition(".")[0]
            raise ImportError(
                f"{self.name.lstrip('_')}: its values come from {self.module}, which is not there: "
                f"pip install --upgrade {library}",
                name=library,
            ) from error
        return ufunc


#: native kernels that are faster than NumPy's loops of a ufunc, by ufunc and name of the dtype
PREFERRED: dict[tuple[np.ufunc, str], str] = {}


def fastest_loop(ufunc: np.ufunc | LibraryUfunc, dtypes: tuple[dtype, ...]) -> tuple[int, int]:
    """Address and data of `ufunc_loop`, or of a native kernel that is preferred to it."""
    if isinstance(ufunc, LibraryUfunc):
        return ufunc_loop(ufunc.load(), dtypes)
    kernel = PREFERRED.get((ufunc, dtypes[0].name))
    return ufunc_loop(ufunc, dtypes) if kernel is None else (native_kernel_address(kernel), 0)


#: functions of `native_kernel` by name, each with the words that it leaves open
NATIVE: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
#: dtypes in the names of native kernels
_SHORT = dict(
    zip(
        DTYPES,
        ("f64", "f32", "i64", "bool", "c128", "c64", "i32", "i16", "i8", "u8", "f16"),
        strict=True,
    )
)


#: names of those that may fail
CHECKED: set[str] = set()


def native_kernel(
    function: Callable[..., Any], name: str | None = None, *, checked: bool = False, **words: Any
) -> str:
    """Register a kernel over raw addresses; it is compiled when a program first uses it.

    Parameters
    ----------
    function : callable
        Takes four integers ``(args, dims, strides, data)``, the addresses of NumPy's inner loop
        signature; ``dims[0]`` is the length of the loop.
    name : str, optional
        By default the function's.
    checked : bool
        Whether it may fail: it returns 0, or one more than the place in its loop where it did.
    **words
        Values of names that the function leaves open.

    Returns
    -------
    str
        The name.
    """
    name = name or function.__name__
    assert name not in NATIVE, name
    NATIVE[name] = function, words
    if checked:
        CHECKED.add(name)
    return name


def native_kernels(
    *kinds: str, name: str | None = None, checked: bool = False, words: Mapping[str, Any] = {}
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a kernel for several dtypes: ``name_f64``, ``name_f32`` and so on.

    The function uses the open words of words.py (`element` ...), and further ones, of which `words` has the
    values; `kinds` are keys of `KINDS`.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            full = f"{name or function.__name__}_{kind}"
            native_kernel(function, full, checked=checked, **KINDS[kind], **words)
        return function

    return register


def typed_helpers(kind: str, *helpers: helper, words: Mapping[str, Any] = {}) -> dict[str, helper]:
    """Return versions for a dtype, by name, of helpers that use open words of words.py and call each other.

    They are further words of a kernel of that dtype (a key of `KINDS`); all are of one file. `words` are
    versions of what they call from others.
    """
    functions = [h.function for h in helpers]
    scope = {**functions[0].__globals__, **KINDS[kind], **words}
    versions = {f.__name__: helper(FunctionType(f.__code__, scope, f.__name__)) for f in functions}
    scope.update(versions)
    return versions


@cache
def native_kernel_address(name: str, *dtypes: dtype) -> int:
    """Address of a registered kernel, loaded or compiled now if it is not yet.

    Parameters
    ----------
    name : str
    *dtypes : dtype
        Which version: their short names follow that of the kernel.

    Raises
    ------
    NotImplementedError
        If there is no version for them.
    """
    full = "_".join((name, *(_SHORT[d] for d in dtypes)))
    if full not in NATIVE:
        kinds = ", ".join(map(scalar_name, dtypes))
        raise NotImplementedError(f"\"{name}\" not implemented for '{kinds}'")
    return load(_unit(full))["kernel"]


def native_units() -> list[Unit]:
    """Return the units of all registered kernels."""
    return list(map(_unit, NATIVE))


def _unit(name: str) -> Unit:
    """Make the unit of a registered kernel."""
    function, words = NATIVE[name]
    signature = nt.STATUS_SIGNATURE if name in CHECKED else nt.LOOP_SIGNATURE
    if not words:
        return kernel_unit(function, signature=signature)
    version = FunctionType(function.__code__, {**function.__globals__, **words}, name)
    assignments = ", ".join(f"{k}={getattr(v, 'name', v)}" for k, v in words.items())
    inside = {v.function.__module__ for v in words.values() if hasattr(v, "function")}
    digest = source_digest(*sorted(name.partition(".")[2] for name in inside))
    text = "\n".join((assignments, source_of(function), digest))
    return kernel_unit(version, text, signature)
