"""Native functions (`Jitted.native`) in code that numba compiles.

`type_of` is what numba asks for when it meets one: the type of a function under ``numba.njit`` that checks
dtypes when it is compiled and shapes when it runs, makes the results, and calls the C function.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..base.dtypes import bool_, dtype, float32, float64, int64
from ..jit_compiler.native_code import Value, c_types
from ..jit_compiler.native_function import NativeFunction
from ..jit_compiler.traces import Constant
from .numba_api import NumbaTypeError, cgutils, empty_array, make_array, njit, signature

__all__ = ["type_of"]

_KINDS: dict[dtype, Any] = {
    float64: types.float64,
    float32: types.float32,
    int64: types.int64,
    bool_: types.boolean,
}
_CONSTANTS: dict[type, Any] = {
    int: types.int64,
    float: types.float64,
    bool: types.boolean,
    type(None): types.none,
}
_I32 = ir.IntType(32)


def type_of(native: NativeFunction) -> Any:
    """The type of a native function in code that numba compiles."""
    return types.Dispatcher(_dispatcher(native))


@cache
def _dispatcher(native: NativeFunction) -> Any:
    """A function under ``numba.njit`` that calls the C function."""
    call = intrinsic(_Call(native).typed)

    def native_function(*args):  # type: ignore[no-untyped-def]
        return call(args)  # type: ignore[call-arg]

    return njit(native_function)


def _result_type(tree: Any, results: Sequence[Value]) -> Any:
    """Numba's type of what the function returns."""
    if isinstance(tree, Constant):
        kind = type(tree.value)
        if kind not in _CONSTANTS:
            raise NumbaTypeError(
                f"the function returns a {kind.__name__}; return tensors and numbers"
            )
        return _CONSTANTS[kind]
    if isinstance(tree, tuple):
        return types.Tuple([_result_type(part, results) for part in tree])  # type: ignore[no-untyped-call]
    x = results[tree]
    return types.Array(_KINDS[x.kind], len(x.shape), "C") if x.shape else _KINDS[x.kind]


class _Call:
    """The code of a call.

    Parameters
    ----------
    native : NativeFunction
    """

    def __init__(self, native: NativeFunction) -> None:
        self.native = native

    def typed(self, typingctx: Any, args: Any) -> Any:
        """Check the types of the arguments, and return that of the call, with what writes its code."""
        native, given = self.native, tuple(args)
        if len(given) != len(native.names):
            raise NumbaTypeError(
                f"{native.name}: takes {len(native.names)} arguments, not {len(given)}"
            )
        for x, name, kind in zip(native.plan.arguments, native.names, given, strict=True):
            if not _fits(x, kind):
                order = "contiguous " if x.shape else ""
                shape = f" of shape {list(x.shape)}" if x.shape else ""
                raise NumbaTypeError(
                    f"{native.name}: `{name}` is {order}{x.kind.name}{shape}, not {kind}"
                )
        return signature(_result_type(native.returned, native.plan.results), args), self.write

    def write(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """Write the call."""
        native = self.native
        kinds = tuple(sig.args[0])
        values = cgutils.unpack_tuple(builder, args[0], len(kinds))
        operands = [
            self._operand(context, builder, *item)
            for item in zip(native.plan.arguments, native.names, kinds, values, strict=True)
        ]
        results: list[Any] = []
        for x in native.plan.results:
            kind = _KINDS[x.kind]
            if x.shape:
                sizes = [context.get_constant(types.intp, n) for n in x.shape]
                array = types.Array(kind, len(x.shape), "C")
                results.append(empty_array(context, builder, array, sizes))
                operands.append(results[-1].data)
            else:
                results.append(cgutils.alloca_once(builder, context.get_data_type(kind)))
                operands.append(results[-1])
        kind = ir.FunctionType(_I32, c_types(native.plan)).as_pointer()
        operands = [
            builder.bitcast(x, target) if isinstance(target, ir.PointerType) else x
            for x, target in zip(operands, c_types(native.plan), strict=True)
        ]
        address = context.add_dynamic_addr(builder, native.address, info=native.name)
        status = builder.call(builder.bitcast(address, kind), operands)
        self._raise(context, builder, status, results)
        return self._returned(context, builder, native.returned, sig.return_type, results)

    def _operand(
        self, context: Any, builder: Any, x: Value, name: str, kind: Any, value: Any
    ) -> Any:
        """An argument of the C function; arrays are checked for their shapes."""
        if not isinstance(kind, types.Array):
            value = context.cast(builder, value, kind, _KINDS[x.kind])
            return builder.zext(value, ir.IntType(8)) if x.kind is bool_ else value
        array = make_array(kind)(context, builder, value)
        if not x.shape:
            return builder.load(array.data)
        fits: Any = cgutils.true_bit
        for length, n in zip(cgutils.unpack_tuple(builder, array.shape), x.shape, strict=True):
            same = builder.icmp_signed("==", length, ir.Constant(length.type, n))
            fits = builder.and_(fits, same)
        with cgutils.if_unlikely(builder, builder.not_(fits)):
            text = f"{self.native.name}: `{name}` must be an array of shape {list(x.shape)}"
            context.call_conv.return_user_exc(builder, ValueError, (text,))
        return array.data

    def _raise(self, context: Any, builder: Any, status: Any, results: Sequence[Any]) -> None:
        """Raise an error if the C function returns a status but 0."""
        failed = builder.icmp_signed("!=", status, ir.Constant(_I32, 0))
        with cgutils.if_unlikely(builder, failed):
            for x, result in zip(self.native.plan.results, results, strict=True):
                if x.shape:
                    kind = types.Array(_KINDS[x.kind], len(x.shape), "C")
                    context.nrt.decref(builder, kind, result._getvalue())
            reasons = sorted(self.native.reasons.items())
            for number, reason in reasons[1:]:
                is_this = builder.icmp_signed("==", status, ir.Constant(_I32, number))
                with cgutils.if_unlikely(builder, is_this):
                    context.call_conv.return_user_exc(builder, reason.kind, (reason.text,))
            other_way = reasons[0][1]
            context.call_conv.return_user_exc(builder, other_way.kind, (other_way.text,))

    def _returned(
        self, context: Any, builder: Any, tree: Any, kind: Any, results: Sequence[Any]
    ) -> Any:
        """Put together the parts of a tree."""
        if isinstance(tree, Constant):
            if tree.value is None:
                return context.get_dummy_value()
            return context.get_constant(kind, tree.value)
        if isinstance(tree, tuple):
            parts = [
                self._returned(context, builder, part, part_kind, results)
                for part, part_kind in zip(tree, kind, strict=True)
            ]
            return context.make_tuple(builder, kind, parts)
        if self.native.plan.results[tree].shape:
            return results[tree]._getvalue()
        return context.unpack_value(builder, kind, results[tree])


def _fits(x: Value, kind: Any) -> bool:
    """Return True if a value of a type of numba's may be an argument."""
    wanted = _KINDS[x.kind]
    if isinstance(kind, types.Array):
        contiguous = kind.layout == "C" or (kind.ndim < 2 and kind.layout == "F")
        return kind.dtype == wanted and kind.ndim == len(x.shape) and contiguous and kind.aligned
    if x.shape:
        return False
    if x.kind in (float64, float32):
        return isinstance(kind, types.Float | types.Integer | types.Boolean)
    if x.kind is int64:
        return isinstance(kind, types.Integer | types.Boolean)
    return isinstance(kind, types.Boolean)
