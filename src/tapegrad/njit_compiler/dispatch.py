"""Functions under `njit` as numba sees them in compiled code; imports all that active values can do."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import models, register_model, typeof_impl

from .compiled import Compiled
from .compiler import ActiveCompiler
from .numba_api import functions_in_typing
from .numpy import assign as assigning
from .numpy import elementwise, functions, joining, linalg, reductions
from .types import has_active

__all__ = [
    "ActiveCompiler",
    "assigning",
    "elementwise",
    "functions",
    "joining",
    "linalg",
    "reductions",
]


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
    # Inside its primal it is the primal's dispatcher, which recognises recursion.
    for function in functions_in_typing():
        if function is value.primal.py_func:
            return types.Dispatcher(value.primal)
        if function is value.active.py_func:
            break
    return _CompiledType(value)
