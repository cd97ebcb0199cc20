"""How numba compiles a function for active arguments: its own pipeline, with passes of ours."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import build_definitions, get_definition, guard
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import MakeFunctionToJitFunction

from . import arrays, scalars
from .compiled import of_numba
from .expressions import FuseArrays
from .fusing import FuseBlocks
from .types import CPUDispatcher, has_active

__all__ = ["ActiveCompiler"]


@register_pass(mutates_CFG=False, analysis_only=False)
class _ActiveNames(FunctionPass):  # type: ignore[misc]
    """Put what takes active values in the place of what a function names, where an argument is active.

    ``np.zeros`` and its like make arrays that hold active values, functions under ``numba.njit`` are
    compiled by `ActiveCompiler`, and in-place operators are ours.
    """

    _name = "tapegrad_active_names"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Rewrite the IR."""
        if not any(map(has_active, state.args)):
            return False
        changed = False
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                if not isinstance(statement, ir.Assign):
                    continue
                value = statement.value
                if isinstance(value, ir.Expr) and value.op == "inplace_binop":
                    value.fn = scalars.IN_PLACE.get(value.fn, value.fn)
                    changed = True
                found = _active_one(_named(state.func_ir, value))
                if found is not None:
                    statement.value = ir.Global("active_one", found, statement.loc)
                    changed = True
        if changed:
            state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return changed


def _named(func_ir: Any, value: Any) -> Any:
    """The object that a global, a free variable or an attribute of a module is."""
    if isinstance(value, ir.Global | ir.FreeVar):
        return value.value
    if isinstance(value, ir.Expr) and value.op == "getattr":
        module = _named(func_ir, guard(get_definition, func_ir, value.value))
        if isinstance(module, ModuleType):
            return getattr(module, value.attr, None)
    return None


def _active_one(value: Any) -> Any:
    """What takes active values in the place of a function; None for all others."""
    if isinstance(value, CPUDispatcher):
        return of_numba(value)
    return arrays.CREATION.get(id(value)) if callable(value) else None


class ActiveCompiler(CompilerBase):  # type: ignore[misc]
    """numba's pipeline for nopython mode, with `_ActiveNames`, `FuseArrays` and `FuseBlocks`."""

    def define_pipelines(self) -> list[Any]:
        """The passes, in order."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        # Closures are part of the function then, or functions under numba.njit.
        manager.add_pass_after(_ActiveNames, MakeFunctionToJitFunction)
        manager.add_pass_after(FuseBlocks, NopythonRewrites)
        manager.add_pass_after(FuseArrays, NopythonRewrites)
        manager.finalize()
        return [manager]
