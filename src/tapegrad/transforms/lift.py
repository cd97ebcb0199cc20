"""A closed tape for many examples at once, recorded onto a new tape.

The statements are recorded for one example, and lifted (batched_statement.py) onto the new tape, whose inputs
have the examples along an axis of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import UnsupportedError
from ..tape import pytree as trees
from .closed_tape import TRANSFORMS, ClosedTape
from .closing import Batch, recorded
from .reverse import stars

__all__ = ["batched"]


def batched(tape: ClosedTape, in_axes: Any = 0, size: int | None = None) -> ClosedTape:
    """Return a tape for many examples; see `ClosedTape.batched`."""
    axes = _axes_of(tape, in_axes)
    return recorded(
        tape.run, tape.inputs, tape.active, tape.in_spec, tape.out_spec, Batch(_checked(size), axes)
    )


def _checked(size: Any) -> int:
    if type(size) is not int:
        raise TypeError(
            f"batched: size must be an int, the number of examples, not {type(size).__name__}"
        )
    if size < 0:
        raise ValueError(f"batched: the number of examples must not be negative, got {size}")
    if size == 0:
        raise UnsupportedError("batched: a tape for no examples; make one for a single example")
    return size


def _axes_of(tape: ClosedTape, in_axes: Any) -> tuple[int | None, ...]:
    """The axis of each input, not negative.

    Raises
    ------
    TypeError, ValueError
        If they do not fit.
    """
    args = stars(tape.in_spec)
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    known = trees.broadcast(in_axes, args)
    if known is None:
        raise ValueError(
            f"batched: in_axes {in_axes} is no prefix of the arguments {trees.text(tape.in_spec)}"
        )
    leaves: Sequence[Any] = trees.leaves(args)  # None is one here
    axes = [axis for axis, leaf in zip(known, leaves, strict=True) if leaf is not None]
    checked = [_axis(i, axis, tape.inputs[i].ndim) for i, axis in enumerate(axes)]
    if all(axis is None for axis in checked):
        raise ValueError("batched: in_axes must name an axis of at least one argument")
    return tuple(checked)


def _axis(number: int, axis: Any, ndim: int) -> int | None:
    if axis is None:
        return None
    if type(axis) is not int:
        raise TypeError(
            f"batched: in_axes must be made of ints and None, not {type(axis).__name__}"
        )
    if not -ndim - 1 <= axis <= ndim:
        raise ValueError(
            f"batched: in_axes has axis {axis} for input {number}, which has {ndim + 1} dimensions with the "
            "examples"
        )
    return axis % (ndim + 1)


TRANSFORMS["batched"] = batched
