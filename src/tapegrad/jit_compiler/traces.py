"""Recordings of a function: a tape each, with all that must hold for it to be the right one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..tape import recording as record
from ..transforms.closed_tape import ClosedTape
from .background import Promise
from .compiled_tape import CompiledTape, memory_of
from .reasons import other_value
from .routine import RoutineCall
from .signatures import Arguments
from .surroundings import Surroundings
from .tracing import as_input

__all__ = ["Constant", "Trace", "agree"]


class Constant(NamedTuple):
    """A part of what a function returned that is no tensor."""

    value: Any


@dataclass(eq=False)
class Trace:
    """A tape for a signature, and all that must hold for it to be the right one.

    Attributes
    ----------
    tape : ClosedTape
        Its results are those of the function, then what it read.
    surroundings : Surroundings
    reads : tuple of ndarray
        The values that the function read.
    lines : tuple of str
        The source lines that read them.
    outputs : tuple
        For each leaf of what the function returned the number of a result, or a `Constant`.
    out_spec : Spec
    results : int
        Number of results that are not reads.
    is_compiled : bool
        Whether compiled code computed `reads`, whose sums may differ in the last bit.
    last_captured : sequence of Tensor
        Those of the last call for which checks were not made.
    """

    tape: ClosedTape
    surroundings: Surroundings
    reads: tuple[np.ndarray, ...]
    lines: tuple[str, ...]
    outputs: tuple[Any, ...]
    out_spec: Any
    results: int
    is_compiled: bool = False
    last_captured: Sequence[Any] = ()

    @cached_property
    def promise(self) -> Promise:
        """The promise of its code."""
        return Promise(self.tape)

    @property
    def code(self) -> CompiledTape | None:
        """The compiled tape; None if it is not there, or inputs require grad."""
        return None if True in self.tape.active else self.promise.compiled

    @cached_property
    def call(self) -> RoutineCall:
        """The statement of a call with tensors, for a trace without reads."""
        return RoutineCall(self.tape, None if True in self.tape.active else self.promise)

    # ------------------------------------------------------------------ calls
    def run(self, arguments: Arguments, differences: list[str]) -> list[Any] | None:
        """Results for arguments; None if this is not the right trace, and the reason in `differences`."""
        captured = self.surroundings.tensors()
        if captured is None:
            differences.append(self.surroundings.change())
            return None
        self._follow(captured)
        given = [*arguments.inputs, *captured]
        if not self.reads:
            return self.results_for(given, has_tensors=arguments.has_tensors)
        code = self.code
        results, reads = self._computed(given, code)
        if _are_same(reads, self.reads):
            return results
        if code is None or self.is_compiled or not all(map(agree, reads, self.reads)):
            differences.append(other_value(reads, self.reads, self.lines))
            return None
        # The first run of compiled code, which adds in another order: is it of the values that were read?
        swept = self._computed(given, None)[1]
        if not _are_same(swept, self.reads):
            differences.append(other_value(swept, self.reads, self.lines))
            return None
        self.reads, self.is_compiled = tuple(map(np.copy, reads)), True
        return results

    def _follow(self, captured: list[Any]) -> None:
        """Let checks be of tensors that stand where others were captured, when they come a second time."""
        if any(a is not b for a, b in zip(captured, self.surroundings.seen, strict=False)):
            last, self.last_captured = self.last_captured, captured
            if len(last) == len(captured) and all(map(operator.is_, last, captured)):
                self.surroundings = self.surroundings.renewed(captured)

    def results_for(self, given: Sequence[Any], *, has_tensors: bool) -> list[Any]:
        """Results for inputs and what was captured, whatever is read."""
        if not self.reads and (has_tensors or True in self.tape.active):
            call = self.call
            if call.segment is not None:
                return call([x if record.is_tensor(x) else as_input(x) for x in given])
        return self._computed(given, self.code)[0]

    def first_results(self, given: Sequence[Any], *, has_tensors: bool) -> tuple[list[Any], bool]:
        """Results of the call that was recorded, and whether reads are the function's, but for rounding."""
        if not self.reads:
            return self.results_for(given, has_tensors=has_tensors), True
        code = self.code
        results, reads = self._computed(given, code)
        agrees = all(map(agree, reads, self.reads))
        if (
            agrees
        ):  # compiled code adds in another order: what it computes is what it is to find again
            self.reads, self.is_compiled = tuple(map(np.copy, reads)), code is not None
        return results, agrees

    def _computed(
        self, given: Sequence[Any], code: CompiledTape | None
    ) -> tuple[list[Any], list[np.ndarray]]:
        """Results, and the values that the function read."""
        if code is None:
            results = self.tape.run([x if record.is_tensor(x) else as_input(x) for x in given])
            reads = [x.detach().numpy() for x in results[self.results :]]
        else:
            results = code.run([memory_of(x) if record.is_tensor(x) else x for x in given])
            reads = results[self.results :]
        return results[: self.results], reads


def _are_same(reads: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(reads, known, strict=True))


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Return True if values that were computed in two ways are the same but for rounding."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = np.abs(b[np.isfinite(b)]).max(initial=0)
    rtol = np.sqrt(np.finfo(a.dtype).eps)
    return bool(np.allclose(a, b, rtol=rtol, atol=rtol * scale, equal_nan=True))
