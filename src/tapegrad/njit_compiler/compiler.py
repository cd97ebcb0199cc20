"""numba's pipeline for functions with active arguments: that of nopython mode, with passes of ours."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

from ..native.progress import Progress
from . import creation
from .compiled import of_numba
from .failures import note_place
from .leaving import RefuseLeaving
from .lowering import scalars
from .lowering.array_pass import FuseArrays
from .lowering.block_pass import FuseBlocks
from .numba_api import (
    LOWERING_FRAME,
    CompilerBase,
    CPUDispatcher,
    DefaultPassBuilder,
    FunctionPass,
    MakeFunctionToJitFunction,
    NopythonRewrites,
    definitions,
    get_definition,
    guard,
    ir,
    jit_enabled,
    note_definitions,
    register_pass,
)
from .numpy.library_functions import function_of
from .types import has_active

__all__ = ["ActiveCompiler"]


@register_pass(mutates_CFG=False, analysis_only=False)
class _ActiveNames(FunctionPass):  # type: ignore[misc]
    """Replace functions that a function names by those for active values, if an argument is active.

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
                counterpart = _active_counterpart(_named(state.func_ir, value))
                if counterpart is not None:
                    statement.value = ir.Global("active_one", counterpart, statement.loc)
                    changed = True
        changed |= _rows_as_tuples(state.func_ir)
        if changed:
            note_definitions(state.func_ir)
        return changed


def _rows_as_tuples(func_ir: Any) -> bool:
    """Let nested lists that only make an array be tuples: lists in a list would have to be of one type."""
    statements = [s for block in func_ir.blocks.values() for s in block.body]
    note_definitions(func_ir)
    uses = Counter(v.name for s in statements if not isinstance(s, ir.Del) for v in s.list_vars())

    def sole_definition(variable: Any) -> Any:
        """Return the expression that computes a value, if it is used here only."""
        expressions = definitions(func_ir, variable.name)
        if uses[variable.name] != 2 or len(expressions) != 1:
            return None
        definition = expressions[0]
        return sole_definition(definition) if isinstance(definition, ir.Var) else definition

    def is_list(definition: Any) -> bool:
        return isinstance(definition, ir.Expr) and definition.op == "build_list"

    def convert(row_list: Any) -> None:
        row_list.op = "build_tuple"
        for item in map(sole_definition, row_list.items):
            if is_list(item):
                convert(item)

    changed = False
    for statement in statements:
        call = getattr(statement, "value", None)
        if not isinstance(call, ir.Expr) or call.op != "call" or not call.args:
            continue
        if _named(func_ir, guard(get_definition, func_ir, call.func)) not in creation.OF_LISTS:
            continue
        rows = sole_definition(call.args[0])
        if is_list(rows) and rows.items and all(map(is_list, _items(func_ir, rows))):
            convert(rows)
            changed = True
    return changed


def _items(func_ir: Any, row_list: Any) -> list[Any]:
    return [guard(get_definition, func_ir, v) for v in row_list.items]


def _named(func_ir: Any, value: Any) -> Any:
    """The object that a global, a free variable or an attribute of a module is."""
    if isinstance(value, ir.Global | ir.FreeVar):
        return value.value
    if isinstance(value, ir.Expr) and value.op == "getattr":
        module = _named(func_ir, guard(get_definition, func_ir, value.value))
        if isinstance(module, ModuleType):
            return getattr(module, value.attr, None)
    return None


def _active_counterpart(value: Any) -> Any:
    """Return the function for active values that takes another's place; None if there is none."""
    function = function_of(value) if callable(value) else None
    if function is not None:
        return function
    if isinstance(value, CPUDispatcher):
        return of_numba(value)
    return creation.CREATION.get(id(value)) if callable(value) else None


class ActiveCompiler(CompilerBase):  # type: ignore[misc]
    """numba's pipeline for nopython mode, with `_ActiveNames` and the passes over typed IR."""

    def _compile_core(self) -> Any:
        try:
            with Progress(f"compiling {self.state.func_id.func_qualname}", 1), jit_enabled():
                return super()._compile_core()
        except Exception as error:
            note_place(error, LOWERING_FRAME)  # numba takes the frames off later
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
