"""Tangents of a closed tape, recorded onto a new tape.

They are recorded beside the statements by forward mode's templates (engine/forward_mode.py). Where those do
not reach (in-place writes, statements with several results), the reverse pass is recorded, which is linear in
its seed, and its own reverse pass, with the tangents for seeds, is the product with the Jacobian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine import forward_mode
from ..ops.layout import contiguous
from ..ops.table import is_inexact
from ..tape import recording as record
from ..tape.current import current_tape
from .closed_tape import TRANSFORMS, ClosedTape, structure
from .closing import recorded
from .reverse import active_arguments, differentiable, filled, pulled, smooth_results, stars
from .trace import Trace

__all__ = ["pushforward"]


def _pushed(tape: ClosedTape, inputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """Results, and tangents of those that are floating point numbers."""
    results = tape.run(inputs)
    wanted = [x for x, active in zip(inputs, tape.active, strict=True) if active]
    smooth = [y for y in results if is_inexact(record.layout_of(y))]
    active = [y for y in smooth if record.is_active(y)]
    images: list[Any] | None = []
    if active:
        images = forward_mode.push(active, wanted, tangents, create_graph=True)
    if images is None:
        images = _pulled_twice(active, wanted, tangents)
    known = iter(images)
    moved = [next(known) if record.is_active(y) else None for y in smooth]
    return [
        *results,
        *[
            filled(record.layout_of(y), 0) if t is None else t
            for y, t in zip(smooth, moved, strict=True)
        ],
    ]


def _pulled_twice(
    results: Sequence[Any], wanted: Sequence[Any], tangents: Sequence[Any]
) -> list[Any]:
    """The product with the Jacobian, as the derivative of the reverse pass by its seeds."""
    trace = current_tape()
    assert isinstance(trace, Trace)
    seeds = []
    for y in results:
        layout = record.layout_of(y)
        seeds.append(trace.copy(filled(contiguous(layout.dtype, layout.shape), 1)))
    return pulled(pulled(results, wanted, seeds), seeds, tangents)


def pushforward(tape: ClosedTape) -> ClosedTape:
    """Return a tape that takes arguments and tangents; see `ClosedTape.pushforward`."""
    differentiable(tape, "pushforward")
    count = len(tape.inputs)
    wanted = [x for x, active in zip(tape.inputs, tape.active, strict=True) if active]
    return recorded(
        lambda inputs: _pushed(tape, inputs[:count], inputs[count:]),
        (*tape.inputs, *wanted), (*tape.active, *(True for _ in wanted)),
        structure((*stars(tape.in_spec), active_arguments(tape)))[1],
        structure((stars(tape.out_spec), smooth_results(tape)))[1],
    )  # fmt: skip


TRANSFORMS["pushforward"] = pushforward
