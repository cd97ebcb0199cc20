"""The words native kernels are written in, before numba is there.

A kernel is a Python function over addresses: ``p64(address)[i]`` is the i-th int64 at an address. The
words here are stand-ins, so that modules with kernels can be imported without numba; `resolve` puts
those of native/intrinsics.py in their place when a kernel is to be compiled.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.importing import imported

__all__ = [
    "KINDS",
    "SIZE",
    "Emitted",
    "Word",
    "bits",
    "bits_float",
    "call_block",
    "call_loop",
    "compiler",
    "element",
    "float_bits",
    "fma",
    "free",
    "helper",
    "libm_cos",
    "libm_exp",
    "libm_sin",
    "libm_tanh",
    "malloc",
    "memcpy",
    "memset",
    "number",
    "p8",
    "p16",
    "p32",
    "p64",
    "pf32",
    "pf64",
    "resolve",
    "select",
    "stack_words",
]  # fmt: skip


class helper:
    """Marks a function that kernels call; numba compiles it with the first of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *_: Any) -> Any:
        """Raise: Python cannot call it."""
        raise TypeError(f"{self.function.__name__} is native code; it is not called from Python")


class Word:
    """Stands for an intrinsic until a kernel that uses it has to be compiled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> Any:
        """Raise: Python cannot call it."""
        raise TypeError(f"{self.name} is a word of native code; it is not called from Python")


class Emitted(Word):
    """A word whose LLVM code a function writes when a kernel that uses it is compiled.

    Parameters
    ----------
    write : callable
        ``write(builder, call, *values)``, where ``call(function, values)`` calls a `helper` or a ufunc.
    kinds : str
        A letter for each value: ``i`` for an int64, ``d`` for a float64.
    """

    def __init__(self, write: Callable[..., None], kinds: str) -> None:
        super().__init__("emitted")
        self.write, self.kinds = write, kinds


memcpy, memset = Word("memcpy"), Word("memset")
malloc, free = Word("malloc"), Word("free")
p8, p16, p32, p64 = Word("p8"), Word("p16"), Word("p32"), Word("p64")
pf32, pf64 = Word("pf32"), Word("pf64")
call_loop, float_bits = Word("call_loop"), Word("float_bits")
call_block, bits_float = Word("call_block"), Word("bits_float")
fma, select = Word("fma"), Word("select")
libm_sin, libm_cos = Word("libm_sin"), Word("libm_cos")
libm_exp, libm_tanh = Word("libm_exp"), Word("libm_tanh")
stack_words = Word("stack_words")

#: words of kernels with a version a dtype (`native_kernels`): a pointer to elements, one to their bits,
#: the type of a number, and its bytes
element: Any = None
bits: Any = None
number: Any = None
SIZE = 0

#: the meaning of these by the last part of a kernel's name: a dtype, or only its size
KINDS: dict[str, dict[str, Any]] = {
    name: {"element": pointer, "bits": raw, "number": kind, "SIZE": np.dtype(kind).itemsize}
    for name, pointer, raw, kind in (
        ("f64", pf64, p64, np.float64), ("f32", pf32, p32, np.float32),
        ("i64", p64, p64, np.int64), ("bool", p8, p8, np.uint8),
        ("8", p64, p64, np.int64), ("4", p32, p32, np.int32), ("1", p8, p8, np.uint8),
    )
}  # fmt: skip


def compiler() -> Any:
    """The module of the words themselves; it imports numba."""
    imported("numba")
    return importlib.import_module("tapegrad.native.intrinsics")


def resolve(names: dict[str, Any]) -> None:
    """Put numba's words and helpers in the place of their stand-ins."""
    real = compiler()
    for name, value in list(names.items()):
        if isinstance(value, Emitted):
            names[name] = real.emitted(value.write, value.kinds)
        elif isinstance(value, Word):
            names[name] = getattr(real, value.name)
        elif isinstance(value, helper):
            names[name] = real.helper(value.function)
            resolve(value.function.__globals__)
