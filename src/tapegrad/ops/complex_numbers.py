"""Complex numbers: made of their parts, and taken apart.

A complex number is two real ones in memory, and its cotangent is the gradient in these two: for a real
function ``f`` of ``z = x + iy`` it is ``df/dx + i df/dy``, PyTorch's convention. So a view of the parts has
its adjoint in the parts of its base's, and a conversion of dtypes takes part of the cotangent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.dtypes import complex_of
from .chains import composed_op
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import Step, arg
from .table import Lowered, Op, copy_loop, op
from .view import view_op

__all__: list[str] = []


def lower_complex(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (real part, imaginary part), broadcast."""
    kind = layouts[0].dtype
    shape = broadcast_shapes(*(x.shape for x in layouts))
    out = contiguous(complex_of(kind), shape)
    steps = [
        Step(
            copy_loop(kind),
            shape,
            (arg(i, broadcast_strides(x, shape)), arg(2, out.strides, i * kind.itemsize)),
        )
        for i, x in enumerate(layouts)
    ]
    return Lowered((out,), tuple(steps))


op(
    "complex",
    lower=lower_complex,
    arity=2,
    parts=True,
    torch=None,
    vjp=lambda ct, real, imag, out: (ct.real, ct.imag),
)
composed_op(
    "conj", lambda c, x: c(np.conjugate, x), of_complex="plain", in_place=False, torch=None,
    grad_fn="ConjBackward0", private=True, vjp=lambda ct, x, out: ct.conj(),
)  # fmt: skip
# Views whose elements are those of their operand, or parts of them.
view_op("real", "SelectBackward0", parts=True)
view_op("imag", "SelectBackward0", parts=True)
view_op("view_as_real", "ViewAsRealBackward0", parts=True)
view_op("view_as_complex", "ViewAsComplexBackward0", parts=True)
