"""Products with Jacobians: what functional.py, func/, forward_ad.py and jax_style.py share.

For recorded `outputs` of `inputs`, `pull` multiplies with the Jacobian from the left (one reverse
sweep), `Pushforward` from the right, and `rows` and `columns` make the Jacobian itself from the one or
the other.

`push` is forward mode: tangents by templates (forward_mode.py). Where many directions are wanted of one
recording, or where it takes more than templates, `Pushforward` needs none: the reverse pass is linear in
its seed, so recorded with a seed *u* that requires grad it gives the slots of ``u @ J``, and the reverse
pass of those with seed *v* gives ``J @ v`` as the derivative with respect to *u*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..base.errors import UnsupportedError
from ..engine import forward_mode as tangents
from ..engine import reverse as engine
from ..functions.shape.joining import cat
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.tape import slot_of
from ..tensors.tensor import Tensor
from .batched_grad import grad_batched, jacobian
from .function_context import forward_mode
from .outer_pullback import is_outside, pull_outside

__all__ = [
    "Pushforward",
    "check_gaps",
    "columns",
    "forget",
    "private_leaf",
    "pull",
    "push",
    "rows",
    "units",
    "zeros_for_none",
]

#: for each output and each input a tensor of both shapes, joined
Blocks: TypeAlias = "list[list[Tensor]]"


def private_leaf(array: np.ndarray, like: Tensor) -> Tensor:
    """A leaf over `array` that requires grad, of the dtype of `like`."""
    return record.leaf_tensor(array, like.dtype, requires_grad=True)


def forget(leaves: Sequence[Tensor]) -> None:
    """Let ``backward`` leave private leaves alone from now on.

    Results may depend on them still, but they do not count as anything that the caller may want a
    gradient of (`transform_level.Level.outside`).
    """
    tape = current_tape()
    for t in leaves:
        tape.leaves.pop(slot_of(tape, t), None)


def pull(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None] | None = None, *, create_graph: bool = False,
    retain_graph: bool | None = None, batched: bool = False,
) -> list[Tensor | None]:  # fmt: skip
    """Multiply cotangents with the Jacobian.

    As `tapegrad.autograd.grad` (`batched` is its ``is_grads_batched``), but outputs may be passive, and
    what does not depend on an input gives None.
    """
    if cotangents is None:
        cotangents = [None] * len(outputs)
    active = [(y, ct) for y, ct in zip(outputs, cotangents, strict=True) if record.is_active(y)]
    if not active:
        return [None] * len(inputs)
    roots, seeds = zip(*active, strict=True)
    if not batched and is_outside(roots):
        return pull_outside(roots, inputs, seeds, create_graph=create_graph)
    if batched and seeds[0].shape[0] == 1:  # nothing to batch
        alone = pull(
            roots, inputs, [ct[0] for ct in seeds], create_graph=create_graph,
            retain_graph=retain_graph,
        )  # fmt: skip
        return [None if g is None else g.unsqueeze(0) for g in alone]
    derive = grad_batched if batched else engine.grad
    return derive(
        roots, inputs, seeds, retain_graph=retain_graph, create_graph=create_graph,
        allow_unused=True,
    )  # fmt: skip


def zeros_for_none(
    values: Sequence[Tensor | None], like: Sequence[Any], leading: tuple[int, ...] = ()
) -> list[Tensor]:
    """The values, with zeros of the shapes of `like` (behind `leading` lengths) in the place of None."""
    return [
        x.new_zeros((*leading, *x.shape)) if t is None else t
        for t, x in zip(values, like, strict=True)
    ]


#: numbers without any relation to each other
_numbers = np.random.default_rng(0)


def _generic(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Seeds for passes that look for cotangents that are zero (`mask_zero_cotangents`).

    The pass is linear in its seed, wherever that is, as long as just those cotangents are zero that are so
    for every seed: where a branch was not taken.
    """
    return _numbers.uniform(1, 2, shape).astype(kind)


class Pushforward:
    """The Jacobian of `outputs` by `inputs`, ready to be multiplied with tangents.

    Attributes
    ----------
    seeds : list of (Tensor or None)
        For each output the cotangent that the recorded reverse pass starts from, with respect to which
        it is differentiated. None for passive outputs.
    images : list of (Tensor or None)
        For each input what the pass makes of the seeds.
    """

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        fill = _generic if current_tape().masks_zeros else np.zeros
        self.seeds = [
            private_leaf(fill(y.shape, y.dtype.np), y) if record.is_active(y) else None
            for y in outputs
        ]
        self._live = [u for u in self.seeds if u is not None]
        with forward_mode():
            self.images = pull(outputs, inputs, self.seeds, create_graph=True)
        forget(self._live)

    def __call__(
        self, tangents: Sequence[Tensor | None], *, create_graph: bool = False,
        batched: bool = False,
    ) -> list[Tensor | None]:  # fmt: skip
        """The outputs' tangents for those of the inputs; None for zeros, in both."""
        pairs = [
            (image, t)
            for image, t in zip(self.images, tangents, strict=True)
            if image is not None and t is not None and record.is_active(image)
        ]
        if not pairs:
            return [None] * len(self.seeds)
        images, seeds = zip(*pairs, strict=True)
        pulled = pull(
            images, self._live, seeds, create_graph=create_graph, retain_graph=True,
            batched=batched,
        )  # fmt: skip
        rest = iter(pulled)
        return [None if u is None else next(rest) for u in self.seeds]


def push(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], directions: Sequence[Tensor], *,
    create_graph: bool = False, gaps: Sequence[tuple[Tensor, Tensor | None]] = (),
) -> list[Tensor | None]:  # fmt: skip
    """The Jacobian of `outputs` by `inputs` times `directions`; None for zeros.

    Raises
    ------
    UnsupportedError
        If it takes more than templates, and has `gaps`: stretches of the tape without tangents.
    """
    roots = [y for y in outputs if record.is_active(y)]
    if not roots:
        return [None] * len(outputs)
    pushed = None if is_outside(roots) else tangents.push(
        roots, inputs, [record.cast(v, x.dtype) for v, x in zip(directions, inputs, strict=True)],
        create_graph=create_graph, gaps=gaps,
    )  # fmt: skip
    if pushed is None:
        check_gaps(gaps)
        return Pushforward(outputs, inputs)(directions, create_graph=create_graph)
    images = iter(pushed)
    return [next(images) if record.is_active(y) else None for y in outputs]


def check_gaps(gaps: Sequence[object]) -> None:
    """Raise if there are stretches of the tape without tangents, where that takes templates."""
    if gaps:
        raise UnsupportedError(
            "_set_fwd_grad_enabled(False) is for jvp and dual levels, and cannot be used with in-place "
            "writes, hooks, Functions or under vmap; use .detach() on what is to have no tangent"
        )


def rows(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], *, create_graph: bool = False
) -> Blocks:
    """The Jacobian by reverse sweeps, one for each element of the outputs."""
    blocks: Blocks = []
    for y in outputs:
        parts: list[list[Tensor | None]] | None = None
        if y.numel() == 1:
            parts = [pull([y], inputs, create_graph=create_graph, retain_graph=True)]
        elif record.is_active(y) and not create_graph:
            whole = jacobian(y, inputs)
            parts = None if whole is None else [whole]
        if parts is None:
            parts = [
                pull([y], inputs, [ct], create_graph=create_graph, retain_graph=True, batched=True)
                for ct in units(y)
            ]
        blocks.append(
            [_joined([p[k] for p in parts], (*y.shape, *x.shape), x) for k, x in enumerate(inputs)]
        )
    return blocks


def columns(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], *, create_graph: bool = False
) -> Blocks:
    """The Jacobian by one recorded reverse pass and one sweep for each element of the inputs."""
    push = Pushforward(outputs, inputs)
    blocks: Blocks = [[] for _ in outputs]
    for k, x in enumerate(inputs):
        others: list[Tensor | None] = [None] * len(inputs)
        parts = [
            push([*others[:k], v, *others[k + 1 :]], create_graph=create_graph, batched=True)
            for v in units(x)
        ]
        for i, (y, row) in enumerate(zip(outputs, blocks, strict=True)):
            by_column = _joined([p[i] for p in parts], (x.numel(), *y.shape), y)
            row.append(by_column.movedim(0, -1).reshape((*y.shape, *x.shape)))
    return blocks


def units(like: Any) -> Iterator[Tensor]:
    """The unit tensors of a tensor's shape, in batches of about a mebi-element."""
    n = like.numel()
    for start in range(0, n, step := max(1, (1 << 20) // max(n, 1))):
        count = min(step, n - start)
        array = np.zeros((count, n), like.dtype.np)
        array[np.arange(count), np.arange(start, start + count)] = 1
        yield record.leaf_tensor(array.reshape(count, *like.shape), like.dtype)


def _joined(parts: Sequence[Tensor | None], shape: tuple[int, ...], like: Any) -> Any:
    """Batches of rows as one tensor; None stands for zeros, as it does in all of them or in none."""
    if not parts or parts[0] is None:
        return like.new_zeros(shape)
    whole: Any = parts[0] if len(parts) == 1 else cat(parts)
    return whole if whole.shape == shape else whole.reshape(shape)
