"""The reverse pass of a closed tape, recorded onto a new tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base.errors import TapeError
from ..engine import reverse as engine
from ..ops.layout import Layout, contiguous
from ..ops.table import TABLE, is_inexact
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from .closed_tape import TRANSFORMS, ClosedTape, structure
from .closing import recorded

__all__ = [
    "active_arguments", "adjoint", "differentiable", "filled", "gradient", "pullback", "pulled",
    "smooth_results", "stars",
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


def _gradients(results: Sequence[Any], wanted: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    """Return the gradients of `wanted`: None for what results do not depend on."""
    pairs = [(y, ct) for y, ct in zip(results, seeds, strict=True) if record.is_active(y)]
    if not pairs:
        return [None] * len(wanted)
    roots, cts = zip(*pairs, strict=True)
    return list(
        engine.grad(roots, wanted, cts, retain_graph=True, create_graph=True, allow_unused=True)
    )


def pulled(results: Sequence[Any], wanted: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    """Return the gradients of `wanted`: zeros for what results do not depend on."""
    return [
        filled(record.layout_of(x), 0) if g is None else g
        for x, g in zip(wanted, _gradients(results, wanted, seeds), strict=True)
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
    return trees.unflatten(tape.out_spec, [0 if is_inexact(x) else None for x in tape.outputs])


def differentiable(tape: ClosedTape, name: str) -> None:
    """Raise TapeError for a tape that has no input to be differentiated by."""
    if not any(tape.active):
        raise TapeError(
            f"{name}: the tape was recorded for inputs that do not require grad; record it by "
            "tapegrad.trace, or with tensors that require grad"
        )


def _pulled(tape: ClosedTape, inputs: Sequence[Any], cts: Sequence[Any] | None) -> list[Any]:
    """Results, and gradients of the inputs that are active."""
    results, parts = _parts(tape, inputs, cts)
    return [*results, *pulled(*parts)]


def _parts(
    tape: ClosedTape, inputs: Sequence[Any], cts: Sequence[Any] | None
) -> tuple[list[Any], tuple[list[Any], list[Any], Sequence[Any]]]:
    """Results of a tape, and what `pulled` takes."""
    results = tape.run(inputs)
    wanted = [x for x, active in zip(inputs, tape.active, strict=True) if active]
    smooth = [y for y in results if is_inexact(record.layout_of(y))]
    seeds = [filled(record.layout_of(y), 1) for y in smooth] if cts is None else cts
    return results, (smooth, wanted, seeds)


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
    smooth = [contiguous(x.dtype, x.shape) for x in tape.outputs if is_inexact(x)]
    return recorded(
        lambda inputs: _pulled(tape, inputs[:count], inputs[count:]),
        (*tape.inputs, *smooth), (*tape.active, *(True for _ in smooth)),
        structure((*stars(tape.in_spec), smooth_results(tape)))[1],
        structure((stars(tape.out_spec), active_arguments(tape)))[1],
    )  # fmt: skip


class Adjoint(NamedTuple):
    """A tape of gradients, the numbers of the inputs that they belong to, and which results depend on them.

    Without any gradient there is no tape.
    """

    tape: ClosedTape | None
    reached: tuple[int, ...]
    active: tuple[bool, ...]


def adjoint(tape: ClosedTape, *, has_seeds: bool) -> Adjoint:
    """Return the tape of the gradients that there are.

    Parameters
    ----------
    tape : ClosedTape
        Its results are floating point numbers.
    has_seeds : bool
        Whether it takes cotangents of the results, as that of `pullback`; else it returns the results, too,
        as that of `gradient`.
    """
    count, reached, depends = len(tape.inputs), list[int](), list[bool]()
    seeds = [contiguous(x.dtype, x.shape) for x in tape.outputs] if has_seeds else []
    numbers = [i for i, active in enumerate(tape.active) if active]

    def gradients(inputs: list[Any]) -> list[Any]:
        results, parts = _parts(tape, inputs[:count], inputs[count:] if has_seeds else None)
        depends.extend(map(record.is_active, results))
        pairs = list(zip(numbers, _gradients(*parts), strict=True))
        reached.extend(i for i, g in pairs if g is not None)
        outputs = [*([] if has_seeds else results), *(g for _, g in pairs if g is not None)]
        return outputs or inputs[:1]

    in_spec = structure(tuple([0] * (count + len(seeds))))[1]
    active = (*tape.active, *(True for _ in seeds))
    result = recorded(gradients, (*tape.inputs, *seeds), active, in_spec, None)
    return Adjoint(result if reached else None, tuple(reached), tuple(depends))


TRANSFORMS["gradient"], TRANSFORMS["pullback"] = gradient, pullback
