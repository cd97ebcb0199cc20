"""Traces of a function's run on one slice, to be lifted to all slices.

The function that `vmap` maps runs on a `BatchTrace` once, on leaves with the layout of a slice. Then
`BatchTrace.results` records what the results need on the tape around it, for all slices at once
(batched_statement.py), and that tape may be the trace of another `vmap`.

A function that wants to know a value that depends on the slice, or writes into its surroundings, cannot
be lifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import view_instruction
from ..ops.layout import intern
from ..ops.table import TABLE
from ..tape import recording as record
from ..tape.tape import Tape
from .batch_plan import Result
from .trace import NotLifted, Trace

__all__ = ["BatchTrace"]


class BatchTrace(Trace):
    """A trace of a function's run on one slice.

    Parameters
    ----------
    outer : Tape
        The tape around it, where the results will be.
    size : int
        Number of slices.
    randomness : str
        The mode of `vmap`, for Functions that ask.
    """

    def __init__(self, outer: Tape, size: int, randomness: str = "error") -> None:
        super().__init__(outer, size)
        self.randomness = randomness
        #: leaf -> what it is a slice of, and along which dimension
        self._sliced: dict[int, tuple[TensorHandle, int]] = {}

    def end(self) -> None:
        """Let the thread record around the trace again."""
        super().end()
        self._sliced.clear()

    def slice_of(self, tensor: TensorHandle, dim: int) -> AnyTensor:
        """The function's argument for a tensor that is sliced along a dimension."""
        outer = self.outer
        slot = record.operand(outer, tensor)
        layout = outer.instruction_of(slot).out
        shape, strides = list(layout.shape), list(layout.strides)
        if dim != 0:
            shape.insert(0, shape.pop(dim))
            strides.insert(0, strides.pop(dim))
            view = view_instruction(TABLE["permute"], layout, tuple(shape), tuple(strides))
            slot = outer.append_view(view, slot, 0)
        inner = intern(layout.dtype, tuple(shape[1:]), tuple(strides[1:]))
        leaf = self._leaf(inner, active=outer.is_active(slot))
        self.lifting.bind(leaf, slot, batched=True)
        self._sliced[leaf] = tensor, dim
        # A view of the leaf, as the function does not get a leaf of the user's.
        view = view_instruction(TABLE["alias"], inner, inner.shape, inner.strides)
        return record.new_tensor(self, self.append_view(view, leaf, 0), inner)

    # ------------------------------------------------------------------ Functions with rules
    def batches(self, values: Sequence[Any]) -> tuple[list[Any], list[int | None]]:
        """Arguments as they are on the tape around, and the dimension of slices of each.

        What they depend on is recorded there now.
        """
        self._check()
        tensors = [i for i, x in enumerate(values) if record.is_tensor(x)]
        slots = [record.operand(self, values[i]) for i in tensors]
        mode = self.outer.grad_mode
        try:
            self.lifting.run(slots)
        finally:
            self.outer.state[nt.S_GRAD_MODE] = mode
        outer_values = list(values)
        dims: list[int | None] = [None] * len(values)
        for i, slot in zip(tensors, slots, strict=True):
            sliced = self._sliced.get(self._aliased(slot))
            if sliced is not None:  # as it was given to `vmap`
                outer_values[i], dims[i] = sliced
                continue
            counterpart = self.lifting.at(slot)
            outer_values[i] = record.new_tensor(
                self.outer, counterpart, self.lifting.layout(counterpart)
            )
            dims[i] = 0 if slot in self.lifting.batched else None
        return outer_values, dims

    def _aliased(self, slot: int) -> int:
        """The slot that an alias stands for."""
        while self.instruction_of(slot).op is TABLE["alias"]:
            (slot,) = self.args_of(slot)
        return slot

    def slices(self, values: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
        """The function's arguments for values on the tape around."""
        inner_values = []
        for x, d in zip(values, dims, strict=True):
            if not record.is_tensor(x):
                inner_values.append(x)
            elif d is None:
                leaf = self.capture(x)
                layout = self.instruction_of(leaf).out
                view = view_instruction(TABLE["alias"], layout, layout.shape, layout.strides)
                inner_values.append(
                    record.new_tensor(self, self.append_view(view, leaf, 0), layout)
                )
            else:
                inner_values.append(self.slice_of(x, d % x.ndim))
        return inner_values

    # ------------------------------------------------------------------ results
    def results(self, tensors: Sequence[TensorHandle], whole: Sequence[bool]) -> list[Result]:
        """Record what results need on the tape around.

        Parameters
        ----------
        tensors : sequence of Tensor
        whole : sequence of bool
            Whether a result is to have the batch as first dimension even if it does not depend on it.
        """
        if self.refused:
            raise NotLifted(self.refused)
        self._check()
        outer = self.outer
        slots = [record.operand(self, t) for t in tensors]
        mode = outer.grad_mode
        try:
            results = self.lifting.results(slots, whole)
        finally:
            outer.state[nt.S_GRAD_MODE] = mode
        if outer.state[nt.S_EAGER] and not outer.abstract:
            outer.evaluate()
        return results
