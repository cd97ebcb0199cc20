"""Levels, which keep transforms of functions apart from each other and from the caller's graph.

A transform (`tapegrad.func.grad` and so on) lifts its arguments, runs the function on the lifted ones,
and differentiates with respect to them. A passive argument is lifted to a leaf of the level's own. An
active one is lifted to a copy on its graph, so that the result can be differentiated further: by a
transform around this one, or by the caller. Each level has copies of its own, so transforms nest to any
depth without a number for each.

A tensor that leaves the level (`Level.release`) must not require grad on account of the level's own
leaves alone. The graph tells: the tensor is released as it is if it reaches an active leaf that is not
the level's, and detached otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..native import abi as nt
from ..native.exchange import Change, Exchange
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import Storage
from ..tape.readout import Differentiated, depends_on
from ..tensors.tensor import Tensor
from ..transforms.duals import Private, cut_off, reaches_others
from ..transforms.trace import private_copy
from .jacobian_products import forget_leaves, pull

__all__ = ["Level"]


class Level(Exchange):
    """One run of a transform; a context manager, inside of which the function runs.

    Parameters
    ----------
    forward : bool
        Whether it works in forward mode: then the function gets copies of the lifted tensors, which it may
        write in place, and nothing requires grad on the level's account.
    hands_out : bool
        Whether results of the level are the caller's: then they are passive when the level ends.
    guards : bool
        Whether the function is kept from what PyTorch forbids inside of its ``torch.func``.
    lasts : bool
        Whether products are taken after the level has ended, by a caller who may record where it did not.
    tracked : bool, optional
        Whether results may be part of the caller's graph; by default if grad mode is on.
    """

    def __init__(
        self,
        *,
        forward: bool = False,
        hands_out: bool = False,
        guards: bool = True,
        lasts: bool = False,
        tracked: bool | None = None,
    ) -> None:
        super().__init__()
        self.forward, self.hands_out, self.lasts = forward, hands_out, lasts
        self.tracked = current_tape().grad_mode if tracked is None else tracked
        self._leaves: list[Tensor] = []
        self._storages: set[Storage | None] = set()
        self._differentiated = Differentiated(
            "forward" if forward else "reverse", guards=guards and not hands_out
        )
        self._private = Private(self._storages, enabled=not hands_out) if forward else None

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes: results are active, and the inputs are known to be differentiated."""
        private = () if self._private is None else self._private.changes()[0]
        state = current_tape().state
        active = state, nt.S_GRAD_MODE, state[nt.S_GRAD_MODE], True
        return (*self._differentiated.changes()[0], *private, active), self

    def ending(self) -> None:
        """Let the leaves go."""
        self.tracked = self.tracked or self.lasts
        forget_leaves(self._leaves)
        leaves, self._leaves = self._leaves, []
        if self.hands_out:
            cut_off(current_tape(), leaves)

    @property
    def gaps(self) -> list[tuple[Tensor, Tensor | None]]:
        """Stretches of the tape without tangents (`tapegrad.transforms.duals.switch`)."""
        return [] if self._private is None else self._private.gaps

    def lift(self, x: Any) -> Tensor:
        """Return the counterpart of an argument that is differentiated; see also `handed`.

        Raises
        ------
        RuntimeError
            If the tensor is not of a floating dtype.
        """
        if not x.dtype.is_inexact:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if (self.tracked or self.lasts) and record.is_active(x):
            lifted = x.clone()
            self._differentiated.tensors.append(lifted)
            return lifted
        # A copy, so that the caller may write to his tensor.
        lifted = private_copy(x)
        self._leaves.append(lifted)
        self._storages.add(record.storage_of(lifted))
        self._differentiated.tensors.append(lifted)
        return lifted

    def let_go(self, lifted: Sequence[Tensor]) -> None:
        """Forget tensors that `lift` returned and that nothing depends on any more."""
        gone = {id(t) for t in lifted}
        forget_leaves([t for t in self._leaves if id(t) in gone])
        self._leaves = [t for t in self._leaves if id(t) not in gone]
        self._storages.difference_update([record.storage_of(t) for t in lifted])
        inputs = self._differentiated
        inputs.tensors = [t for t in inputs.tensors if id(t) not in gone]

    def handed(self, x: Any) -> Tensor:
        """Return the argument of the function for a tensor that was lifted."""
        return x.clone() if self.forward else x

    def depends(self, tensors: Sequence[Tensor]) -> bool:
        """Return True if one of the tensors depends on a lifted one."""
        return depends_on(tensors, [self._differentiated])

    def outside(self, tensors: Sequence[Tensor]) -> bool:
        """Return True if one of the tensors depends on something active that is not the level's."""
        if not self.tracked:
            return False
        tape = current_tape()
        if all(s in self._storages for s in tuple(tape.leaves.copy().values())):
            return False
        active = [t for t in tensors if record.is_active(t)]
        if not active:
            return False
        return reaches_others(tape, [record.operand(tape, t) for t in active], self._storages)

    def release(self, t: Any) -> Tensor:
        """Return a result as the caller gets it: detached if it requires grad by the level alone."""
        if record.is_active(t) and not self.outside([t]):
            return t.detach()
        return t

    def pull(
        self, outputs: Sequence[Tensor], inputs: Sequence[Tensor],
        cotangents: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor | None]:  # fmt: skip
        """Gradients for the caller; None where there are none."""
        gradients = pull(
            outputs, inputs, cotangents, retain_graph=True,
            create_graph=self.outside([*outputs, *(ct for ct in cotangents or () if ct is not None)]),
        )  # fmt: skip
        return [None if g is None else self.release(g) for g in gradients]
