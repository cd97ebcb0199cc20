"""Active values on their way out of compiled code, other than as results: printed, as text, into object mode.

`print` shows values. Text and object mode would get them without their derivatives, or as no number at all,
so both are refused.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import lower_builtin

from . import failures
from .compiled import value
from .numba_api import FunctionPass, NumbaTypeError, ir, register_pass, signature
from .types import ActiveArray, ActiveScalar, has_active, is_active

__all__ = ["RefuseLeaving"]

_TEXT = "tg.njit: {} is the text of an active number, which numba cannot write; show its value by print(x)"
_OBJECTS = (
    "tg.njit: an active value in object mode, where nothing is recorded; give the block tg.value(x)"
)
_PARTS = "tg.njit: print() is given arrays in a tuple or list; print them one by one"


@register_pass(mutates_CFG=False, analysis_only=True)
class RefuseLeaving(FunctionPass):  # type: ignore[misc]
    """Refuse statements that would take active values out of the function without their derivatives."""

    _name = "tapegrad_refuse_leaving"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Look at calls in the typed IR."""
        kinds = state.typemap
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                message = _message(statement, kinds)
                if message:
                    raise NumbaTypeError(message, loc=statement.loc)
        return False


def _message(statement: Any, kinds: Any) -> str | None:
    """Return why a statement is refused, if it is."""
    if isinstance(statement, ir.Print):
        return _PARTS if any(_holds_arrays(kinds[v.name]) for v in statement.args) else None
    call = getattr(statement, "value", None)
    if not isinstance(call, ir.Expr) or call.op != "call":
        return None
    if _is_foreign(kinds[statement.target.name]):
        name = failures.name_of(getattr(kinds[call.func.name], "typing_key", None))
        return f"tg.njit: {name}() of an active array is not recorded; {failures.instead(name)}"
    if not any(has_active(kinds[v.name]) for v in (*call.args, *(v for _, v in call.kws))):
        return None
    function = kinds[call.func.name]
    if isinstance(function, types.ObjModeDispatcher):
        return _OBJECTS
    key = getattr(function, "typing_key", None)
    return _TEXT.format(f"{key.__name__}() or an f-string") if key in (str, repr) else None


def _is_foreign(kind: Any) -> bool:
    """Return True for an array of active numbers that one of numba's functions returned."""
    active = isinstance(kind, types.Array) and isinstance(kind.dtype, ActiveScalar)
    return active and not isinstance(kind, ActiveArray)


def _holds_arrays(kind: Any) -> bool:
    """Return True for a container that has active arrays in it."""
    if is_active(kind) or not has_active(kind):
        return False
    parts = list(kind) if isinstance(kind, types.BaseTuple) else [kind.dtype]
    return any(isinstance(part, ActiveArray) or _holds_arrays(part) for part in parts)


@lower_builtin("print_item", ActiveScalar)  # type: ignore[untyped-decorator,no-untyped-call]
def _print_scalar(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    show = context.get_function("print_item", signature(types.none, types.float64))
    return show(builder, [builder.extract_value(args[0], 0)])


def _values(x):  # type: ignore[no-untyped-def]
    return value(x)


@lower_builtin("print_item", ActiveArray)  # type: ignore[untyped-decorator,no-untyped-call]
def _print_array(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = types.Array(types.float64, sig.args[0].ndim, "C")
    plain = context.compile_internal(builder, _values, signature(kind, *sig.args), args)
    shown = context.get_function("print_item", signature(types.none, kind))(builder, [plain])
    context.nrt.decref(builder, kind, plain)
    return shown
