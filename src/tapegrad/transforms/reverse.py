"""The reverse pass of a closed tape, recorded onto a new tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import TapeError
from ..engine import reverse as engine
from ..ops.layout import Layout, contiguous
from ..ops.table import TABLE, is_float
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from .closed_tape import TRANSFORMS, ClosedTape, structure
from .closing import recorded

__all__ = [
    "active_arguments", "differentiable", "filled", "gradient", "pullback", "pulled", "smooth_results",
    "stars",
]  # fmt: skip


def filled(layout: Layout, value: int) -> Any:
    """Return a tensor of one number, expanded."""
    tape = current_tape()
    slot = tape.constant(value, layout.dtype)
    number = record.new_tensor(tape, slot, tape.instruction_of(slot).out)
    if not layout.ndim:
        return number
    strides = (0,) * layout.ndim
    return record.view(TABLE["expand"], number, layout.shape, strides, 0)


def pulled(results: Sequence[Any], wanted: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    """Return the gradients of `wanted`: zeros for what results do not depend on."""
    pairs = [(y, ct) for y, ct in zip(results, seeds, strict=True) if record.is_active(y)]
    gradients: Sequence[Any] = [None] * len(wanted)
    if pairs:
        roots, cts = zip(*pairs, strict=True)
        gradients = engine.grad(
            roots, wanted, cts, retain_graph=True, create_graph=True, allow_unused=True
        )
    return [
        filled(record.layout_of(x), 0) if g is None else g
        for x, g in zip(wanted, gradients, strict=True)
    ]


# --------------------------------------------------------------------------- structures
def stars(spec: Any) -> Any:
    """Return a tree of a structure, with zeros for leaves."""
    return trees.unflatten(spec, [0] * spec.num_leaves)


def active_arguments(tape: ClosedTape) -> Any:
    """Return a tree of the gradients' structure: that of the one argument, or the tuple of arguments."""
    args = trees.unflatten(tape.in_spec, [0 if a else None for a in tape.active])
    return args[0] if len(args) == 1 else args


def smooth_results(tape: ClosedTape) -> Any:
    """Return a tree of the results' structure, with None for what is no floating point number."""
    return trees.unflatten(tape.out_spec, [0 if is_float(x) else None for x in tape.outputs])


def differentiable(tape: ClosedTape, name: str) -> None:
    """Raise TapeError for a tape that has no input to be differentiated by."""
    if not any(tape.active):
        raise TapeError(
            f"{name}: the tape was recorded for inputs that do not require grad; record it by "
            "tapegrad.trace, or with tensors that require grad"
        )


def _pulled(tape: ClosedTape, inputs: Sequence[Any], cts: Sequence[Any] | None) -> list[Any]:
    """Results, and gradients of the inputs that are active."""
    results = tape.run(inputs)
    wanted = [x for x, active in zip(inputs, tape.active, strict=True) if active]
    smooth = [y for y in results if is_float(record.layout_of(y))]
    seeds = [filled(record.layout_of(y), 1) for y in smooth] if cts is None else cts
    return [*results, *pulled(smooth, wanted, seeds)]


def gradient(tape: ClosedTape) -> ClosedTape:
    """Return a tape that computes results and gradients; see `ClosedTape.gradient`."""
    differentiable(tape, "gradient")
    out_spec = structure((stars(tape.out_spec), active_arguments(tape)))[1]
    return recorded(
        lambda inputs: _pulled(tape, inputs, None), tape.inputs, tape.active, tape.in_spec, out_spec
    )


def pullback(tape: ClosedTape) -> ClosedTape:
    """Return a tape that takes arguments and cotangents; see `ClosedTape.pullback`."""
    differentiable(tape, "pullback")
    count = len(tape.inputs)
    smooth = [contiguous(x.dtype, x.shape) for x in tape.outputs if is_float(x)]
    return recorded(
        lambda inputs: _pulled(tape, inputs[:count], inputs[count:]),
        (*tape.inputs, *smooth), (*tape.active, *(True for _ in smooth)),
        structure((*stars(tape.in_spec), smooth_results(tape)))[1],
        structure((stars(tape.out_spec), active_arguments(tape)))[1],
    )  # fmt: skip


TRANSFORMS["gradient"], TRANSFORMS["pullback"] = gradient, pullback
