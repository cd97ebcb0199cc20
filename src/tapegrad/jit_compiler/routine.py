"""Compiled tapes as statements of the tape around, for tensors that require grad.

A `Routine` is what such a statement (ops/compiled.py) has as its attribute: the code of a tape, and its
pullback, which is a routine as well, and so on for derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, instruction, view_instruction
from ..ops.layout import contiguous
from ..ops.program import padded
from ..ops.table import TABLE, is_inexact
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.memory_views import address_of
from ..tape.segment import AS_IT_IS, Leaf, Segment, Step, append
from ..transforms.closed_tape import ClosedTape
from ..transforms.reverse import Adjoint, adjoint
from .background import Promise
from .compiled_tape import CompiledTape

__all__ = ["Routine", "RoutineCall"]


class Routine:
    """A tape as the kernel of statements.

    Parameters
    ----------
    tape : ClosedTape
    reached : tuple of int, optional
        See there.
    promise : Promise, optional
        Of its code.

    Attributes
    ----------
    inputs, results : tuple of Layout
    out : Layout
        Of the statement's result: the only one of the tape, or all in one, flat.
    """

    def __init__(
        self,
        tape: ClosedTape,
        reached: tuple[int, ...] | None = None,
        promise: Promise | None = None,
    ) -> None:
        self.tape, self._reached, self._promise = tape, reached, promise
        self.inputs = tape.inputs
        self.results = tuple([contiguous(x.dtype, x.shape) for x in tape.outputs])
        first, size = self.results[0], sum(x.size for x in self.results)
        self.out = first if len(self.results) == 1 else contiguous(first.dtype, (size,))
        #: status of the last run that failed, and the word of its statement
        self._report = np.zeros(2, np.int64)

    def __repr__(self) -> str:
        return f"<routine of {len(self.tape)} statements>"

    # ------------------------------------------------------------------ code
    def begin(self) -> None:
        """Begin to compile it, in the background where that takes long."""
        if self._promise is None:
            self._promise = Promise(self.tape)

    @property
    def is_ready(self) -> bool:
        """True if there is code."""
        return self._promise is not None and self._promise.compiled is not None

    @property
    def address(self) -> int:
        """Address of the words that the kernel reads."""
        return address_of(self._words[0])

    @property
    def bytes(self) -> int:
        """Scratch memory of a run, behind the addresses of the operands."""
        return self._words[1]

    @cached_property
    def _words(self) -> tuple[np.ndarray, int, Any]:
        # Not in the background: that needs the lock of the table, which is held where rules are traced.
        code = self._promise.compiled if self._promise is not None else CompiledTape(self.tape)
        if code is None:
            raise RuntimeError("the code of a tape is used before it is there")
        table, places, start = code.table, list[int](), 0
        for i, x in enumerate(self.results):
            places += [code.output_word(i), start]
            start += x.size * x.dtype.itemsize
        head = padded(8 * len(table) + 64)
        words = [
            code.code, code.slow_code, address_of(table), len(table), head, len(self.inputs),
            code.first_input, len(self.results), address_of(self._report), *places,
        ]  # fmt: skip
        return np.array(words, np.int64), head + code.size + 64, code

    # ------------------------------------------------------------------ failures
    @cached_property
    def row(self) -> str:
        """Name of the row of its statements."""
        return "compiled_checked" if _may_fail(self.tape) else "compiled"

    def failed(self) -> BaseException:
        """Return the error of the last run that failed."""
        status, word = self._report.tolist()
        code = self._words[2]
        assert isinstance(code, CompiledTape)
        return code.error_of(word, status)

    # ------------------------------------------------------------------ derivatives
    @cached_property
    def adjoint(self) -> Adjoint:
        """The tape of its pullback, and what that belongs to."""
        return adjoint(self.tape, has_seeds=True)

    @cached_property
    def pullback(self) -> Routine | None:
        """The routine that takes the operands and cotangents of the results, and gives those of operands.

        None if no result depends on an operand that requires grad.
        """
        tape = self.adjoint.tape
        return None if tape is None else Routine(tape)

    @property
    def reached(self) -> tuple[int, ...]:
        """Numbers of the operands that the pullback gives cotangents of."""
        return self.adjoint.reached if self._reached is None else self._reached


class RoutineCall:
    """Calls of a tape with tensors, as a statement each.

    Parameters
    ----------
    tape : ClosedTape
    promise : Promise
        Of its code.
    """

    def __init__(self, tape: ClosedTape, promise: Promise | None = None) -> None:
        self._segment: Segment | None = None
        self._codes: list[Routine] = []
        if not _fits(tape):
            return
        self._routine = routine = Routine(tape, promise=promise)
        self._is_loss = True in tape.active and len(tape.outputs) == 1 and not tape.outputs[0].ndim
        if self._is_loss:
            gradient, reached, _ = adjoint(tape, has_seeds=False)
            # A derivative that fails is asked for by itself.
            self._is_loss = gradient is None or not _may_fail(gradient)
        if self._is_loss:
            self._routine = Routine(tape, reached)
            self._codes = [] if gradient is None else [Routine(gradient)]
        elif True not in tape.active:
            self._codes = [routine]
        elif routine.pullback is not None:
            self._codes = [routine, routine.pullback]
        for code in self._codes:
            code.begin()

    @property
    def segment(self) -> Segment | None:
        """The statements; None if there can be none, or code for them is not there."""
        if self._segment is None and self._codes and all(r.is_ready for r in self._codes):
            self._segment = self._statements()
            self.instructions = self._segment.instructions  # who keeps a segment keeps them
        return self._segment

    def _statements(self) -> Segment:
        forward = self._codes[0]
        leaves = tuple([Leaf(nt.SEG_INPUT, i) for i in range(len(forward.inputs))])
        operands = tuple([~i for i in range(len(leaves))])
        call = instruction(TABLE["compiled"], forward.inputs, routine=forward)
        if self._is_loss:
            layouts = (*forward.inputs, forward.out)
            number = instruction(TABLE["compiled_number"], layouts, routine=self._routine)
            both = Step(call.id, operands, None, 0), Step(number.id, (*operands, 0))
            return Segment(both, leaves, (1,))
        steps = [Step(call.id, operands)]
        if len(forward.results) == 1:
            return Segment(tuple(steps), leaves, (0,))
        results, offset = [], 0
        depends = forward.adjoint.active if True in forward.tape.active else ()
        for i, x in enumerate(forward.results):
            # Each has memory of its own, as what is written into one is no write into the others.
            view = view_instruction(TABLE["as_strided"], forward.out, x.shape, x.strides)
            clone = instruction(TABLE["clone"], (view.out,))
            steps += [
                Step(view.id, (0,), offset),
                Step(clone.id, (len(steps),), None, AS_IT_IS if not depends or depends[i] else 0),
            ]
            results.append(len(steps) - 1)
            offset += x.size * x.dtype.itemsize
        return Segment(tuple(steps), leaves, tuple(results))

    def __call__(self, tensors: Sequence[Any]) -> list[Any]:
        """Record the statements; their results."""
        tape, segment = current_tape(), self.segment
        assert segment is not None
        tape.make_room(len(segment.steps), len(segment.steps) * (len(tensors) + 4))
        slots = append(tape, segment, [record.operand(tape, t) for t in tensors])
        return [record.finish(tape, tape.instruction_of(slot), slot) for slot in slots]


def _may_fail(tape: ClosedTape) -> bool:
    """Return True if a statement has a kernel that may fail."""
    return any(INSTRUCTIONS[step.number].op.failure for step in tape.segment.steps)


def _fits(tape: ClosedTape) -> bool:
    """Return True if results and active inputs are floats of one dtype, and nothing may fail."""
    inputs = [x for x, active in zip(tape.inputs, tape.active, strict=True) if active]
    return (
        len({x.dtype for x in (*tape.outputs, *inputs)}) == 1
        and all(map(is_inexact, tape.outputs))
        and all(x.size for x in (*tape.outputs, *tape.inputs))
        and not _may_fail(tape)
    )
