"""Levels: what keeps transforms of functions apart from each other and from the caller's graph.

A transform (`tapegrad.func.grad` and so on) lifts its arguments, runs the function on what it lifted,
and differentiates with respect to that. A passive argument is lifted to a leaf of the level's own. An
active one is lifted to a copy on its graph, so that the result can be differentiated further: by a
transform around this one, or by the caller. Each level has copies of its own, so transforms nest to any
depth without a number for each.

What leaves the level (`Level.release`) must not require grad on account of the level's own leaves
alone. Whether it does is read from the graph: it is released as it is if it reaches an active leaf that
is not the level's, and detached otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import record
from ..exchange import Change, Exchange
from ..readout import Differentiated
from ..request import Request
from ..tape import Tape
from ..threads import current_tape
from ..traces import Trace, private_copy
from .modes import recording
from .products import forget, pull

if TYPE_CHECKING:
    from ..storage import Storage
    from ..tensor_type import Tensor

__all__ = ["Level"]


class Level(Exchange):
    """One run of a transform; a context manager, inside of which the function runs."""

    def __init__(self) -> None:
        super().__init__()
        #: whether results may be part of the caller's graph
        self.tracked = current_tape().grad_mode
        self._leaves: list[Tensor] = []
        self._own: set[Storage | None] = set()
        self._differentiated = Differentiated()

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes: results are active, and the inputs are known to be differentiated."""
        return (*self._differentiated.changes()[0], *recording().changes()[0]), self

    def ending(self) -> None:
        """Let the leaves go."""
        forget(self._leaves)
        self._leaves = []

    def lift(self, x: Any) -> Tensor:
        """What the function gets for an argument that is differentiated.

        Raises
        ------
        RuntimeError
            If the tensor is not of a floating dtype.
        """
        if not x.dtype.is_floating_point:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if self.tracked and x.requires_grad:
            made = x.clone()
            self._differentiated.add(made)
            return made  # type: ignore[no-any-return]
        # A copy, so that the caller may write to his tensor.
        made = private_copy(x)
        self._leaves.append(made)
        self._own.add(record.storage_of(made))
        self._differentiated.add(made)
        return made

    def outside(self, tensors: Sequence[Tensor]) -> bool:
        """Whether one of the tensors depends on something active that is not the level's."""
        if not self.tracked:
            return False
        tape = current_tape()
        if all(s in self._own for s in tuple(tape.leaves.values())):
            return False
        active = [t for t in tensors if t.requires_grad]
        if not active:
            return False
        roots = [record.operand(tape, t) for t in active]
        return self._reaches(tape, roots)

    def _reaches(self, tape: Tape, roots: Sequence[int]) -> bool:
        """Whether a reverse sweep from active slots would come by a leaf that is not the level's.

        A leaf of a trace may stand for a slot of the tape around it: then that is asked of.
        """
        others = [slot for slot, s in tape.leaves.copy().items() if s not in self._own]
        found = _reached(tape, roots, others) if others else []
        if isinstance(tape, Trace):
            outer = [tape.stands_for(slot) for slot in found]
            return any(slot is None or self._reaches(tape.outer, [slot]) for slot in outer)
        return bool(found)

    def release(self, t: Any) -> Tensor:
        """What the caller gets for a result."""
        if t.requires_grad and not self.outside([t]):
            return t.detach()  # type: ignore[no-any-return]
        return t  # type: ignore[no-any-return]

    def pull(
        self, outputs: Sequence[Tensor], inputs: Sequence[Tensor],
        cotangents: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor | None]:  # fmt: skip
        """Gradients for the caller; None where there are none."""
        made = pull(
            outputs, inputs, cotangents, retain_graph=True,
            create_graph=self.outside([*outputs, *(ct for ct in cotangents or () if ct is not None)]),
        )  # fmt: skip
        return [None if g is None else self.release(g) for g in made]


def _reached(tape: Tape, roots: Sequence[int], leaves: list[int]) -> list[int]:
    """The leaves that a reverse sweep from active slots would come by."""
    try:
        with tape.lock, Request(tape, roots, [], leaves=True) as request:
            request.prepare()
            return np.array(leaves)[request.reached[leaves] != 0].tolist()  # type: ignore[no-any-return]
    except RuntimeError:  # it has been freed or written over: whoever differentiates it is told
        return leaves
