"""Sums of products of arrays, recorded as array statements (scalar_tape/native_sums.py)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...scalar_tape import abi as sf
from ...scalar_tape import opcodes as strip_code
from ..lowering.emit import call_entry
from ..numba_api import cgutils, empty_array, make_array, signature
from ..types import ACTIVE, ActiveArray

__all__ = ["outer", "product", "total"]

_I64 = ir.IntType(64)
_CLONE = strip_code.code_of("clone", "a")


class _Matrix:
    """An array of one or two dimensions, as native code sees it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any, *, column: bool) -> None:
        array = make_array(kind)(context, builder, value)
        sizes = cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        steps = cgutils.unpack_tuple(builder, array.strides, kind.ndim)
        if kind.ndim == 1:
            one, zero = ir.Constant(_I64, 1), ir.Constant(_I64, 0)
            sizes = [sizes[0], one] if column else [one, sizes[0]]
            steps = [steps[0], zero] if column else [zero, steps[0]]
        self.rows, self.cols = sizes
        active = ir.Constant(_I64, int(isinstance(kind, ActiveArray)))
        self.words = [builder.ptrtoint(array.data, _I64), *steps, active]


def _recorded(context: Any, builder: Any, left: _Matrix, right: _Matrix | None, shape: Any) -> Any:
    """Sums of products as an array of active scalars of a shape, or (for an empty one) as one scalar."""
    zero, one = ir.Constant(_I64, 0), ir.Constant(_I64, 1)
    if right is not None:
        fits = builder.icmp_signed("==", left.cols, right.rows)
        with builder.if_then(builder.not_(fits), likely=False):
            text = "incompatible array sizes for np.dot(a, b)"
            context.call_conv.return_user_exc(builder, ValueError, (text,))
    if shape:
        kind = ActiveArray(len(shape), "C")
        out = empty_array(context, builder, kind, shape)
        place, result = builder.ptrtoint(out.data, _I64), out._getvalue()
    else:
        scalar = cgutils.alloca_once(builder, context.get_value_type(ACTIVE))
        place = builder.ptrtoint(scalar, _I64)
    words = [
        *left.words, *([zero] * sf.M_WIDTH if right is None else right.words), left.rows,
        one if right is None else right.cols, left.cols, place, ir.Constant(_I64, _CLONE),
    ]  # fmt: skip
    request = cgutils.alloca_once(builder, _I64, size=len(words))
    for i, word in enumerate(words):
        builder.store(word, builder.gep(request, [ir.Constant(_I64, i)]))
    call_entry(context, builder, sf.E_SUMS, [builder.ptrtoint(request, _I64)])
    return result if shape else builder.load(scalar)


def _product(a: Any, b: Any, *, outer: bool) -> Any:
    """Signature and code of a product."""
    both = (a, b)
    if not all(isinstance(x, types.Array) and x.ndim in (1, 2) for x in both):
        return None
    if not all(isinstance(x, ActiveArray) or x.dtype == types.float64 for x in both):
        return None
    ndim = 2 if outer else a.ndim + b.ndim - 2

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left = _Matrix(context, builder, a, args[0], column=outer)
        right = _Matrix(context, builder, b, args[1], column=not outer)
        shape = []
        if a.ndim == 2 or outer:
            shape.append(left.rows)
        if b.ndim == 2 or outer:
            shape.append(right.cols)
        return _recorded(context, builder, left, right, shape)

    return signature(ActiveArray(ndim, "C") if ndim else ACTIVE, a, b), codegen


@intrinsic
def product(typingctx: Any, a: Any, b: Any) -> Any:
    """``a @ b`` for vectors and matrices of active scalars or float64."""
    return _product(a, b, outer=False)


@intrinsic
def outer(typingctx: Any, a: Any, b: Any) -> Any:
    """The products of each element of a vector with each of another."""
    return _product(a, b, outer=True)


@intrinsic
def total(typingctx: Any, a: Any) -> Any:
    """The sum of a vector, or of each row of a matrix."""
    if not isinstance(a, ActiveArray) or a.ndim not in (1, 2):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left = _Matrix(context, builder, a, args[0], column=False)
        return _recorded(context, builder, left, None, [left.rows] if a.ndim == 2 else [])

    return signature(ActiveArray(1, "C") if a.ndim == 2 else ACTIVE, a), codegen
