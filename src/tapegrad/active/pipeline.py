"""How numba compiles a function for active arguments: its own pipeline, and a pass before typing.

The pass puts functions of arrays.py in the place of ``np.zeros`` and its like, as the arrays that these
make shall hold active values. `FunctionType` makes a function under `njit` one that numba code can call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import IRProcessing
from numba.extending import models, register_model, typeof_impl

from . import arrays, elementwise, reductions, scalars
from .blocks import FuseBlocks
from .compiled import Compiled
from .expressions import FuseArrays
from .types import has_active

__all__ = ["ActiveCompiler"]


@register_pass(mutates_CFG=False, analysis_only=False)
class _ActiveCreation(FunctionPass):  # type: ignore[misc]
    """Let arrays that a function makes hold active values, where one of its arguments is active."""

    _name = "tapegrad_active_creation"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Replace ``np.zeros`` and its like."""
        if not any(map(has_active, state.args)):
            return False
        modules: set[str] = set()
        changed = False
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                if not isinstance(statement, ir.Assign):
                    continue
                value, found = statement.value, None
                if isinstance(value, ir.Global | ir.FreeVar):
                    if value.value is np:
                        modules.add(statement.target.name)
                    found = arrays.CREATION.get(_key(value.value))
                elif isinstance(value, ir.Expr) and value.op == "getattr":
                    if value.value.name in modules:
                        found = arrays.CREATION.get(_key(getattr(np, value.attr, None)))
                elif isinstance(value, ir.Expr) and value.op == "inplace_binop":
                    value.fn = scalars.IN_PLACE.get(value.fn, value.fn)
                    changed = True
                if found is not None:
                    statement.value = ir.Global(found.__name__, found, statement.loc)
                    changed = True
        return changed


def _key(value: Any) -> Any:
    return id(value) if callable(value) else None


class ActiveCompiler(CompilerBase):  # type: ignore[misc]
    """numba's pipeline for nopython mode, with `_ActiveCreation`, `FuseArrays` and `FuseBlocks`."""

    def define_pipelines(self) -> list[Any]:
        """The passes, in order."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.add_pass_after(_ActiveCreation, IRProcessing)
        manager.add_pass_after(FuseBlocks, NopythonRewrites)
        manager.add_pass_after(FuseArrays, NopythonRewrites)
        manager.finalize()
        return [manager]


class _CompiledType(types.Dispatcher):
    """A function under `njit` in compiled code: one dispatcher where arguments are active, or another."""

    def __init__(self, function: Compiled) -> None:
        self._function = function
        super().__init__(function.active)

    def _chosen(self, args: Any, kws: Any = ()) -> Any:
        kinds = [*args, *(dict(kws).values() if kws else ())]
        active = any(map(has_active, kinds))
        return self._function.active if active else self._function.primal

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """Resolve a call with these argument types."""
        return types.Dispatcher(self._chosen(args, kws)).get_call_type(context, args, kws)

    def get_overload(self, sig: Any) -> Any:
        """The compiled function for a signature."""
        return self._chosen(sig.args).get_overload(sig.args)


register_model(_CompiledType)(models.OpaqueModel)


@typeof_impl.register(Compiled)
def _typeof(value: Any, context: Any) -> Any:
    # In its own primal, where recursion is found by the dispatcher, it is that one.
    for frame in cpu_target.typing_context.callstack:
        if frame.func_id.func is value.primal.py_func:
            return types.Dispatcher(value.primal)
        if frame.func_id.func is value.active.py_func:
            break
    return _CompiledType(value)


__all__ += ["elementwise", "reductions"]
