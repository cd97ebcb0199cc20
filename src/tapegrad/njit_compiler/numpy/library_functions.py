"""tapegrad's own elementwise functions, SciPy's ufuncs and ops of users, on numbers and arrays.

``tg.special.j0(x)``, ``scipy.special.j0(x)`` and what `register_op` returns stand for rows of the op table.
numba asks for the type of such a function when it meets one; from then on there are a typing rule and
a lowering. Rows that have opcodes are written in line; others call kernels (scalar_tape/called_rows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, typeof_impl

from ...base.errors import UnsupportedError
from ...base.importing import imported
from ...ops.emitter import emit
from ...ops.table import Op
from ...scalar_tape import abi as sf
from ...scalar_tape.called_rows import called_code, missing_derivatives
from ...scalar_tape.opcodes import code_of, has_code
from ...tensors.operators import ROWS
from ..lowering.emit import Scalar, call_entry, record_binary, record_unary
from ..numba_api import AbstractTemplate, NumbaTypeError, cgutils, signature
from ..types import ACTIVE, NUMBERS, ActiveScalar, refuse_threads
from .elementwise import define_elementwise

__all__ = ["function_of"]

_I64, _F64 = ir.IntType(64), ir.DoubleType()


def function_of(value: Any) -> Callable[..., Any] | None:
    """Return the function of Tensors that stands for a ufunc of SciPy's or of a user."""
    if not isinstance(value, np.ufunc) and not hasattr(value, "ufunc"):
        return None
    if getattr(np, value.__name__, None) is value:
        return None  # numba knows NumPy's
    function = imported("tapegrad.numpy.ufuncs").function_of_ufunc(value)
    return function if function in ROWS else None


@typeof_impl.register(np.ufunc)
def _type_of_ufunc(value: Any, context: Any) -> Any:
    function = function_of(value)
    return None if function is None else _type_of_function(function, context)


@typeof_impl.register(BuiltinFunctionType)
def _type_of_function(value: Any, context: Any) -> Any:
    entry = ROWS.get(value)
    if entry is None or entry.result != "float" or entry.vjp is None or entry.arity not in (1, 2):
        return None
    return _defined(value, entry)


def _code(entry: Op, operands: str) -> int:
    """The opcode of a row; numba's error where there is none."""
    if has_code(entry):
        return code_of(entry.name, operands)
    try:
        return called_code(entry)
    except (UnsupportedError, TypeError) as error:
        raise NumbaTypeError(str(error)) from error


@cache
def _defined(function: Any, entry: Op) -> Any:
    """Let functions that numba compiles call a function of Tensors; its type."""
    count = entry.arity

    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != count or not all(isinstance(a, NUMBERS) for a in args):
                return None
            active = [isinstance(a, ActiveScalar) for a in args]
            _code(entry, "ab"[:count])
            if not any(active):
                return signature(types.float64, *[types.float64] * count)
            refuse_threads()
            if not has_code(entry):
                for i, reason in missing_derivatives(entry).items():
                    if active[i]:
                        raise NumbaTypeError(reason)
            return signature(ACTIVE, *(ACTIVE if a else types.float64 for a in active))

    Typing.key = function
    Typing.__name__ = f"Library_{entry.name}"

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = [Scalar(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        code = _code(entry, "ab"[:count])
        if has_code(entry):
            value = emit(builder, entry, [x.value for x in operands])
        else:
            value = _called(context, builder, entry, code, operands)
        if sig.return_type != ACTIVE:
            return value
        if count == 1:
            return record_unary(context, builder, code, value, operands[0])
        return record_binary(context, builder, code, value, *operands)

    kinds: list[tuple[Any, ...]] = [()]
    for _ in range(count):
        kinds = [(*each, kind) for each in kinds for kind in (ActiveScalar, types.Float)]
    for each in kinds:
        lower_builtin(function, *each)(lower)
    of_arrays = [define_elementwise(entry, function, plain=plain) for plain in (False, True)]
    return types.Function([Typing, *of_arrays])


def _called(context: Any, builder: Any, entry: Op, code: int, operands: list[Any]) -> Any:
    """The value of a row that calls kernels.

    Its opcode is this process's, so it is written as numba writes addresses: what has it is not kept on disk.
    """
    memory = cgutils.alloca_once(builder, ir.ArrayType(_F64, sf.K_MEMORY))
    numbers = builder.bitcast(memory, _F64.as_pointer())
    for i, x in enumerate(operands):
        builder.store(x.value, builder.gep(numbers, [ir.Constant(_I64, i)]))
    number = builder.ptrtoint(context.add_dynamic_addr(builder, code, info=entry.name), _I64)
    call_entry(context, builder, sf.E_CALLED, [number, builder.ptrtoint(memory, _I64)])
    return builder.load(builder.gep(numbers, [ir.Constant(_I64, sf.K_OUT)]))
