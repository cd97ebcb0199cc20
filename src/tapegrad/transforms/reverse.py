"""The reverse pass of a closed tape, recorded onto a new tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import TapeError
from ..engine import reverse as engine
from ..ops.layout import Layout, contiguous
from ..ops.table import is_float
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from .closed_tape import TRANSFORMS, ClosedTape
from .closing import recorded

__all__ = ["gradient", "pullback"]


def _filled(layout: Layout, value: int) -> Any:
    """A tensor of one number, expanded."""
    tape = current_tape()
    slot = tape.constant(value, layout.dtype)
    number = record.new_tensor(tape, slot, tape.instruction_of(slot).out)
    return number if not layout.ndim else number.expand(layout.shape)


def differentiable(tape: ClosedTape, name: str) -> list[int]:
    """Numbers of the inputs that a tape can be differentiated by.

    Raises
    ------
    TapeError
        If there are none, or the tape was recorded for inputs that do not require grad.
    """
    numbers = [i for i, active in enumerate(tape.active) if active]
    if not numbers:
        raise TapeError(
            f"{name}: the tape was recorded for inputs that do not require grad; record it by "
            "tapegrad.trace, or with tensors that require grad"
        )
    return numbers


def _pulled(tape: ClosedTape, inputs: Sequence[Any], cts: Sequence[Any] | None) -> list[Any]:
    """Results, and gradients of the inputs that are active."""
    results = tape.run(inputs)
    wanted = [x for x, active in zip(inputs, tape.active, strict=True) if active]
    pairs = [
        (y, _filled(layout, 1) if cts is None else ct)
        for y, layout, ct in zip(results, tape.outputs, cts or [None] * len(results), strict=True)
        if record.is_active(y)
    ]
    gradients: Sequence[Any] = [None] * len(wanted)
    if pairs:
        roots, seeds = zip(*pairs, strict=True)
        gradients = engine.grad(
            roots, wanted, seeds, retain_graph=True, create_graph=True, allow_unused=True
        )
    filled = [
        _filled(record.layout_of(x), 0) if g is None else g
        for x, g in zip(wanted, gradients, strict=True)
    ]
    return [*results, *filled]


def gradient(tape: ClosedTape) -> ClosedTape:
    """Return a tape that computes results and gradients.

    The results are ``(value, gradients)``, where gradients have the structure of the arguments that are
    differentiated. Of several results, or of one with dimensions, it is the sum that is differentiated.

    Raises
    ------
    TapeError
        If the tape was recorded for inputs that do not require grad.
    """
    differentiable(tape, "gradient")
    out_spec = trees.flatten((_stars(tape.out_spec), _gradients_of(tape)), none_is_leaf=False)[1]
    return recorded(
        lambda inputs: _pulled(tape, inputs, None), tape.inputs, tape.active, tape.in_spec, out_spec
    )


def pullback(tape: ClosedTape) -> ClosedTape:
    """Return a tape that takes the arguments, and behind them cotangents of the results.

    Its results are ``(value, gradients)``, as those of `gradient`.

    Raises
    ------
    TapeError
        If the tape was recorded for inputs that do not require grad.
    """
    differentiable(tape, "pullback")
    count = len(tape.inputs)
    in_spec = trees.flatten((*trees.unflatten(tape.in_spec, [0] * count), _stars(tape.out_spec)))[1]
    out_spec = trees.flatten((_stars(tape.out_spec), _gradients_of(tape)), none_is_leaf=False)[1]
    outputs = tape.outputs
    return recorded(
        lambda inputs: _pulled(tape, inputs[:count], inputs[count:]),
        (*tape.inputs, *[contiguous(x.dtype, x.shape) for x in outputs]),
        (*tape.active, *map(is_float, outputs)), in_spec, out_spec,
    )  # fmt: skip


def _stars(spec: Any) -> Any:
    return trees.unflatten(spec, [0] * spec.num_leaves)


def _gradients_of(tape: ClosedTape) -> Any:
    """A tree of the gradients' structure: that of the one argument, or the tuple of arguments."""
    args = trees.unflatten(tape.in_spec, [0 if a else None for a in tape.active])
    return args[0] if len(args) == 1 else args


TRANSFORMS["gradient"], TRANSFORMS["pullback"] = gradient, pullback
