"""Statements whose derivative is Python code: those of `autograd.Function`.

One call of a Function is a `function` statement on all of its tensors, which has no value of its own
and carries the context (``tape.contexts``), and a `function_output` statement an output, which copies
what ``forward`` computed. The reverse pass hands both to python_steps.py: outputs leave their cotangents
with the `function` statement, which comes last and calls ``backward`` once.

An `unpacked` statement is an operand as a user's hook gave it back (saved_tensors.py): the value is the
second operand's, the derivative the first's.
"""

from __future__ import annotations

from typing import Any

from ..base.dtypes import float64
from .layout import Layout, broadcast_strides, contiguous
from .program import Step, arg, zero_step
from .table import Lowered, Op, copy_loop, op, out_operand

__all__: list[str] = []


def _lower_function(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(float64, ())
    return Lowered((out,), (zero_step(out_operand(len(layouts), out), out.span),))


def _lower_output(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    value = layouts[1]
    out = contiguous(value.dtype, value.shape)
    operands = (arg(1, broadcast_strides(value, value.shape)), out_operand(2, out))
    return Lowered((out,), (Step(copy_loop(value.dtype), value.shape, operands),))


op(
    "function", lower=_lower_function, arity=0, torch=None, python=True, private=True, lift="never",
    of_complex="plain", grad_fn=lambda instruction: instruction.attrs["name"],
)  # fmt: skip
op(
    "function_output", lower=_lower_output, arity=0, torch=None, python=True, private=True, lift="never",
    of_complex="plain", grad_fn=lambda instruction: instruction.attrs["name"],
)  # fmt: skip
op(
    "unpacked", lower=_lower_output, arity=2, torch=None, private=True, lift="never", of_complex="plain",
    vjp=lambda ct, original, value, out: (ct, None), grad_fn="UnpackedBackward",
)  # fmt: skip
