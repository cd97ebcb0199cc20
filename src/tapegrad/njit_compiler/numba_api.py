"""The names of numba that are not documented for extensions; no other file of this package imports them.

numba may change any of them in a release; tests/test_numba_api.py asserts that each is there, with the
signature that is relied on, and so are the methods of objects that numba hands over. Documented names
(`numba.types`, `numba.extending`) are imported where they are used.

- **IR**: `ir` has the statements and expressions of a function that is being compiled; `get_definition`
  and `guard` look up the expression that a variable holds, `definitions` all of them; `note_definitions` is
  called after a change; `mk_unique_var` names a new variable.
- **Setting**: `jit_enabled` and `njit` compile under ``NUMBA_DISABLE_JIT``, too.
- **Pipeline**: `CompilerBase` and `DefaultPassBuilder` make a pipeline (`Compiler` is numba's own),
  `FunctionPass` and `register_pass` a pass, behind `MakeFunctionToJitFunction` or `NopythonRewrites`.
- **Typing**: `AbstractTemplate`, `infer_global` and `signature` give a function a type for its arguments,
  `Conversion` says how types convert, `get_array_index_type` what an index selects. `functions_in_typing`
  are the functions that are being typed now, `ConfigStack` has the flags of the innermost. `CPUDispatcher`
  is the class of functions under ``numba.njit``.
- **Code**: `cgutils` are helpers to write LLVM code, `Flags` options to compile a function with. The
  functions on arrays are those that numba's own array code uses; `empty_array` allocates one,
  `empty_inferred` is the array of a list comprehension. `numpy_ufunc_kernel` writes the loops of a ufunc,
  and a `UfuncKernel` their body. `unbox_array` converts an ndarray.
- **Errors**: `NumbaError` is the class of the compiler's errors, `NumbaTypeError` one that we raise. The
  compiler's frames in a traceback are functions of the names `COMPILING_FRAME` and `LOWERING_FRAME`; the
  latter's local variable ``inst`` is the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import cgutils, ir
from numba.core.boxing import unbox_array
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.errors import NumbaError, NumbaTypeError
from numba.core.imputils import impl_ret_borrowed
from numba.core.ir_utils import build_definitions, get_definition, guard, mk_unique_var
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.targetconfig import ConfigStack
from numba.core.typeconv.castgraph import Conversion
from numba.core.typed_passes import NopythonRewrites
from numba.core.typing.arraydecl import get_array_index_type
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.core.untyped_passes import MakeFunctionToJitFunction
from numba.np.arrayobj import (
    _empty_nd_impl,
    extents_may_overlap,
    get_array_memory_extents,
    intrin_alloc,
    load_item,
    make_array,
    populate_array,
    setitem_array,
    store_item,
)
from numba.np.npyimpl import _Kernel, numpy_ufunc_kernel
from numba.np.unsafe.ndarray import empty_inferred

__all__ = [
    "COMPILING_FRAME", "LOWERING_FRAME",
    "AbstractTemplate", "CPUDispatcher", "CompilerBase", "ConfigStack", "Conversion",
    "DefaultPassBuilder", "Flags", "FunctionPass", "MakeFunctionToJitFunction", "NopythonRewrites",
    "NumbaError", "NumbaTypeError", "UfuncKernel",
    "cgutils", "cpu_target", "definitions", "empty_array", "empty_inferred", "extents_may_overlap",
    "functions_in_typing", "get_array_index_type", "get_array_memory_extents", "get_definition",
    "guard", "impl_ret_borrowed", "infer_global", "intrin_alloc", "ir", "jit_enabled", "load_item",
    "make_array", "mk_unique_var", "njit", "note_definitions", "numpy_ufunc_kernel",
    "populate_array", "register_pass", "setitem_array", "signature", "store_item", "unbox_array",
]  # fmt: skip

COMPILING_FRAME = "_compile_for_args"
LOWERING_FRAME = "lower_inst"

config: Any = numba.config
empty_array: Any = _empty_nd_impl
UfuncKernel: Any = _Kernel


@contextmanager
def jit_enabled() -> Iterator[None]:
    """Let numba compile: ``NUMBA_DISABLE_JIT`` is meant for functions under ``numba.njit`` itself."""
    before, config.DISABLE_JIT = config.DISABLE_JIT, 0
    try:
        yield
    finally:
        config.DISABLE_JIT = before


class _EnabledCompiler(Compiler):
    """numba's pipeline, under ``NUMBA_DISABLE_JIT`` as without it."""

    def _compile_core(self) -> Any:
        with jit_enabled():
            return super()._compile_core()  # type: ignore[no-untyped-call]


def njit(function: Callable[..., Any], **options: Any) -> Any:
    """Return a function under ``numba.njit``, which compiles whatever ``NUMBA_DISABLE_JIT`` says."""
    if config.DISABLE_JIT:
        options.setdefault("pipeline_class", _EnabledCompiler)
    with jit_enabled():
        return numba.njit(**options)(function)


def definitions(func_ir: Any, name: str) -> list[Any]:
    """The expressions that a variable is assigned."""
    expressions: list[Any] = func_ir._definitions.get(name, [])
    return expressions


def note_definitions(func_ir: Any) -> None:
    """Let `definitions` and `get_definition` see the statements that a function has now."""
    func_ir._definitions = build_definitions(func_ir.blocks)  # type: ignore[no-untyped-call]


def functions_in_typing() -> list[Any]:
    """The Python functions that are being typed, the innermost first."""
    return [frame.func_id.func for frame in cpu_target.typing_context.callstack]
