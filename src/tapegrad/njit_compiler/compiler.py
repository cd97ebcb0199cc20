"""How numba compiles a function for active arguments: its own pipeline, with passes of ours."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import build_definitions, get_definition, guard
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import MakeFunctionToJitFunction

from . import creation
from .compiled import of_numba
from .failures import note_place
from .leaving import RefuseLeaving
from .lowering import scalars
from .lowering.array_pass import FuseArrays
from .lowering.block_pass import FuseBlocks
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
        changed |= _rows_as_tuples(state.func_ir)
        if changed:
            state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return changed


def _rows_as_tuples(func_ir: Any) -> bool:
    """Let nested lists that only make an array be tuples: lists in a list would have to be of one type."""
    statements = [s for block in func_ir.blocks.values() for s in block.body]
    func_ir._definitions = build_definitions(func_ir.blocks)
    uses = Counter(v.name for s in statements if not isinstance(s, ir.Del) for v in s.list_vars())

    def made_once(variable: Any) -> Any:
        """What makes a value that is used here only."""
        if uses[variable.name] != 2 or len(func_ir._definitions[variable.name]) != 1:
            return None
        made = func_ir._definitions[variable.name][0]
        return made_once(made) if isinstance(made, ir.Var) else made

    def is_list(made: Any) -> bool:
        return isinstance(made, ir.Expr) and made.op == "build_list"

    def convert(made: Any) -> None:
        made.op = "build_tuple"
        for item in map(made_once, made.items):
            if is_list(item):
                convert(item)

    changed = False
    for statement in statements:
        call = getattr(statement, "value", None)
        if not isinstance(call, ir.Expr) or call.op != "call" or not call.args:
            continue
        if _named(func_ir, guard(get_definition, func_ir, call.func)) not in creation.OF_LISTS:
            continue
        rows = made_once(call.args[0])
        if is_list(rows) and rows.items and all(map(is_list, _definitions(func_ir, rows.items))):
            convert(rows)
            changed = True
    return changed


def _definitions(func_ir: Any, variables: Any) -> list[Any]:
    return [guard(get_definition, func_ir, v) for v in variables]


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
    return creation.CREATION.get(id(value)) if callable(value) else None


class ActiveCompiler(CompilerBase):  # type: ignore[misc]
    """numba's pipeline for nopython mode, with `_ActiveNames` and what looks at the typed IR."""

    def _compile_core(self) -> Any:
        try:
            return super()._compile_core()
        except Exception as error:
            note_place(error)  # numba takes the frames off later
            raise

    def define_pipelines(self) -> list[Any]:
        """The passes, in order."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        # Closures are part of the function then, or functions under numba.njit.
        manager.add_pass_after(_ActiveNames, MakeFunctionToJitFunction)
        manager.add_pass_after(FuseBlocks, NopythonRewrites)
        manager.add_pass_after(RefuseLeaving, NopythonRewrites)
        manager.add_pass_after(FuseArrays, NopythonRewrites)
        manager.finalize()
        return [manager]
