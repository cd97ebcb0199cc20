"""Closed tapes: a computation as a value, with inputs and outputs.

A `ClosedTape` is a segment (tape/segment.py) that depends on nothing of the tape on which it was recorded:
what it needs are its inputs, and arrays that belong to it. It can be run, printed, kept, and given to
transforms, each of which makes another one (a file each in this package).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import numpy as np

from ..base.dtypes import from_numpy_dtype
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import SCALARS, Layout
from ..ops.table import TABLE
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.constants import Constants
from ..tape.current import current_tape
from ..tape.memory_views import array_layout
from ..tape.segment import Segment, append
from .trace import Trace

__all__ = ["TRANSFORMS", "ClosedTape", "layout_text", "structure"]

#: what is made of a tape, by the name of the method; the files of this package put it here
TRANSFORMS: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True, eq=False, repr=False)
class ClosedTape:
    """A recorded computation with inputs and outputs; a value, which no run changes.

    `tapegrad.trace` makes one of a function; methods make others of it. ``docs/tapes.md`` has a page on them.

    Attributes
    ----------
    segment : Segment
        Its inputs are named by their numbers; arrays come behind the inputs.
    inputs : tuple of Layout
        All are contiguous.
    active : tuple of bool
        Inputs with respect to which the statements can be differentiated.
    arrays : tuple of numpy.ndarray
        Constants that are no numbers.
    in_spec, out_spec : Spec
        The structure of arguments and results.
    lines : tuple of str
        The source line that recorded each statement; empty where that was not noted.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape = tg.trace(lambda x: (x * x).sum())(tg.zeros(3))
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> tape(x)
    tensor(14.)
    >>> tape.gradient()(x)
    (tensor(14.), tensor([2., 4., 6.]))
    >>> tape.batched(size=2)(tg.ones(2, 3))
    tensor([3., 3.])
    """

    #: called with each new tape; the tests put the verifier here
    check: ClassVar[Callable[[ClosedTape], object] | None] = None

    segment: Segment
    inputs: tuple[Layout, ...]
    active: tuple[bool, ...]
    arrays: tuple[np.ndarray, ...]
    in_spec: Any
    out_spec: Any
    lines: tuple[str, ...] = ()
    instructions: tuple[Instruction, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        # Who keeps a segment keeps its instructions.
        object.__setattr__(self, "instructions", self.segment.instructions)
        if ClosedTape.check is not None:
            ClosedTape.check(self)

    def __len__(self) -> int:
        """Return the number of statements."""
        return len(self.segment.steps)

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Layouts of inputs and arrays."""
        arrays = [array_layout(a, from_numpy_dtype(a.dtype)) for a in self.arrays]
        return (*self.inputs, *arrays)

    def layout_of(self, reference: int) -> Layout:
        """Layout of what a reference of the segment refers to."""
        if reference >= 0:
            return INSTRUCTIONS[self.segment.steps[reference].number].out
        leaf = self.segment.leaves[~reference]
        if leaf.code == nt.SEG_INPUT:
            return self.layouts[leaf.value]
        return SCALARS[leaf.code]

    @cached_property
    def exposed(self) -> frozenset[int]:
        """Arrays whose memory statements write into or results show, so that each run has a copy."""
        bases: list[int] = []
        reached: set[int] = set()
        for k, step in enumerate(self.segment.steps):
            kind = INSTRUCTIONS[step.number].op.kind
            is_own = kind not in (nt.VIEW, nt.WRITE, nt.ACCUMULATE)
            bases.append(k if is_own else self._base(bases, step.references[0]))
            if kind in (nt.WRITE, nt.ACCUMULATE):
                reached.add(bases[-1])
        reached |= {self._base(bases, r) for r in self.segment.results}
        leaves = [self.segment.leaves[~r] for r in reached if r < 0]
        count = len(self.inputs)
        return frozenset(
            x.value - count for x in leaves if x.code == nt.SEG_INPUT and x.value >= count
        )

    @staticmethod
    def _base(bases: list[int], reference: int) -> int:
        return bases[reference] if reference >= 0 else reference

    @property
    def outputs(self) -> tuple[Layout, ...]:
        """Layouts of the results."""
        return tuple([self.layout_of(r) for r in self.segment.results])

    # ------------------------------------------------------------------ running
    def __call__(self, *args: Any) -> Any:
        """Run the tape: its statements are recorded on the tape of this thread, and differentiable there.

        Raises
        ------
        TypeError, ValueError
            If the arguments are not of the structure, shapes and dtypes with which it was recorded.
        """
        tensors = [self.checked(i, x) for i, x in enumerate(self.leaves(args))]
        return trees.unflatten(self.out_spec, self.run(tensors))

    def leaves(self, args: tuple[Any, ...]) -> list[Any]:
        """Return the inputs that arguments are made of, if their structure is that of the recording."""
        leaves, spec = structure(args)
        if spec != self.in_spec:
            raise TypeError(
                f"the tape takes arguments of structure {trees.text(self.in_spec)}, not {trees.text(spec)}"
            )
        return leaves

    def checked(self, number: int, value: Any) -> Any:
        """Return an input as a tensor in the layout in which it was recorded."""
        layout = self.inputs[number]
        if not record.is_tensor(value):
            array = np.asarray(value)
            is_number = type(value) in (bool, int, float)
            fits = np.can_cast(array.dtype, layout.dtype.np, "same_kind" if is_number else "no")
            if not fits:
                raise ValueError(
                    f"input {number} of the tape is {layout.dtype.name}, not {array.dtype.name}"
                )
            array = np.array(array, layout.dtype.np, order="C")
            value = record.leaf_tensor(array, layout.dtype)
        given = record.layout_of(value)
        if given.dtype is not layout.dtype or given.shape != layout.shape:
            raise ValueError(
                f"input {number} of the tape is {layout.dtype.name} of shape {list(layout.shape)}, not "
                f"{given.dtype.name} of shape {list(given.shape)}"
            )
        return value if given is layout else record.apply(TABLE["clone"], (value,))

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        """Append the statements for inputs in their layouts; results as tensors. Others call the tape."""
        tape = current_tape()
        tape.make_room(len(self.segment.steps) + len(self.arrays), 64)
        given = [record.operand(tape, t) for t in tensors]
        if tuple([tape.instruction_of(slot).out for slot in given]) != self.inputs:
            raise ValueError("run: an input has another layout than the tape was recorded for")
        for i, (a, x) in enumerate(zip(self.arrays, self.layouts[len(given) :], strict=True)):
            given.append(tape.bind(a.copy() if i in self.exposed else a, x, active=False))
        slots = append(tape, self.segment, [given[i] for i in self.segment.inputs])
        if self.lines and isinstance(tape, Trace):
            tape.lines |= zip(range(tape.count - len(self), tape.count), self.lines, strict=True)
            tape.lines[tape.count] = ""
        results = [record.new_tensor(tape, slot, tape.instruction_of(slot).out) for slot in slots]
        if self.segment.kept and not tape.abstract:
            kept = [tape.count - len(self) + k for k in self.segment.kept]
            kept = [record.new_tensor(tape, k, tape.instruction_of(k).out) for k in kept]
            tape.calls_python = True
            tape.evaluate()  # what checks the recording is not put off
        return results

    # ------------------------------------------------------------------ tapes that are made of it
    def gradient(self) -> ClosedTape:
        """Return a tape of value and gradients: the reverse pass, recorded behind the statements.

        It returns ``(value, gradients)``; gradients have the structure of the one argument, or of the tuple
        of arguments. Of several results, or of one with dimensions, the sum is differentiated.

        Raises
        ------
        TapeError
            If the tape was recorded for inputs that do not require grad.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x, y: x * x * y)(0.0, 0.0)
        >>> tape.gradient()(3.0, 2.0)
        (tensor(18.), (tensor(12.), tensor(9.)))
        >>> tape.gradient().gradient()(3.0, 2.0)[1]
        (tensor(22.), tensor(15.))
        """
        tape: ClosedTape = TRANSFORMS["gradient"](self)
        return tape

    def pullback(self) -> ClosedTape:
        """Return a tape that takes the arguments, and cotangents of the results behind them.

        It returns ``(value, gradients)``, as that of `gradient`.

        Raises
        ------
        TapeError
            If the tape was recorded for inputs that do not require grad.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x: x * x)(tg.zeros(2))
        >>> tape.pullback()(tg.tensor([3.0, 4.0]), tg.tensor([1.0, 10.0]))
        (tensor([ 9., 16.]), tensor([ 6., 80.]))
        """
        tape: ClosedTape = TRANSFORMS["pullback"](self)
        return tape

    def pushforward(self) -> ClosedTape:
        """Return a tape that takes the arguments, and behind them tangents of those that are active.

        It returns ``(value, tangents)``: the product of the Jacobian with the tangents, of the structure of
        the value, with None for results that are no floating point numbers. Tangents have the structure of
        the one argument, or of the tuple of arguments, as gradients have.

        Raises
        ------
        TapeError
            If the tape was recorded for inputs that do not require grad.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x: x.prod())(tg.zeros(3))
        >>> tape.pushforward()(tg.tensor([2.0, 3.0, 4.0]), tg.tensor([1.0, 0.0, 0.0]))
        (tensor(24.), tensor(12.))
        """
        tape: ClosedTape = TRANSFORMS["pushforward"](self)
        return tape

    def batched(self, in_axes: Any = 0, size: int | None = None) -> ClosedTape:
        """Return a tape that does for many examples what this one does for one.

        Parameters
        ----------
        in_axes : int, None, or nested tuples, lists and dicts of such
            The axis of each argument along which its examples lie, None for those that are the same for all;
            what is given for a container counts for all in it.
        size : int, optional
            Number of examples; it has to be given, as the tape is made for just that many.

        Raises
        ------
        TypeError, ValueError
            If `in_axes` is no prefix of the arguments, or an axis is not there.
        UnsupportedError
            If the tape has a statement that cannot be done for many examples at once.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x, w: x @ w)(tg.zeros(3), tg.zeros(3))
        >>> tape.batched((0, None), size=2)(tg.ones(2, 3), tg.ones(3))
        tensor([3., 3.])
        """
        tape: ClosedTape = TRANSFORMS["batched"](self, in_axes, size)
        return tape

    # ------------------------------------------------------------------ keeping it
    def save(self, path: str | PathLike[str]) -> None:
        """Write the tape to a file, which `tapegrad.load_tape` reads: plain arrays, and no code.

        Raises
        ------
        TapeError
            If a statement holds Python objects (custom Functions, compiled code), or arguments or results
            have other containers than tuples, lists and dicts.

        Examples
        --------
        >>> import tapegrad as tg, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "cube.npz"
        >>> tg.trace(lambda x: x * x * x)(0.0).gradient().save(path)
        >>> tg.load_tape(path)(2.0)
        (tensor(8.), tensor(12.))
        """
        TRANSFORMS["save"](self, path)

    def __reduce__(self) -> tuple[Callable[[bytes], ClosedTape], tuple[bytes]]:
        return _unpickled, (TRANSFORMS["to_bytes"](self),)

    def __copy__(self) -> ClosedTape:
        return self

    def __deepcopy__(self, memo: object) -> ClosedTape:
        return self

    def simplified(self) -> ClosedTape:
        """Return a tape with the same results, to the bit, and fewer statements."""
        return TRANSFORMS["simplified"](self)

    def compiled(self) -> Any:
        """Return the tape as machine code, a `CompiledTape`: arrays in, arrays out; Tensors in, Tensors out.

        Examples
        --------
        >>> import numpy as np
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x, y: (x * y).sum())(tg.zeros(2), tg.zeros(2))
        >>> tape.compiled()(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        array(11.)
        """
        return TRANSFORMS["compiled"](self)

    # ------------------------------------------------------------------ looking at it
    def statements(self) -> np.ndarray:
        """Return the statements as a structured array, a row each.

        Its fields are ``op``, ``start`` and ``count`` (where the operands stand in `operands`), ``dtype``,
        ``shape`` (as text, ``"2x3"``), ``bytes`` of the result, and ``offset`` in bytes for a view.

        Examples
        --------
        >>> import tapegrad as tg
        >>> table = tg.trace(lambda x: (x * x).sum())(tg.zeros(3)).statements()
        >>> table["op"].tolist(), table["bytes"].tolist()
        (['alias', 'mul', 'sum_all'], [0, 24, 8])
        """
        table: np.ndarray = TRANSFORMS["statements"](self)
        return table

    def operands(self) -> np.ndarray:
        """Return the operands of all statements, one behind the other, as integers.

        Those from 0 on are statements by number; -1, -2, ... are inputs, arrays and numbers, of which
        `name_of` gives the name.
        """
        references: np.ndarray = TRANSFORMS["operands"](self)
        return references

    def diff(self, other: ClosedTape) -> str:
        """Return how another tape differs, as text; empty if it does not.

        A line says what statement is only here (``-``), only there (``+``), or has other operands (``!``).

        Examples
        --------
        >>> import tapegrad as tg
        >>> tape = tg.trace(lambda x: x * x)(1.0)
        >>> print(tape.diff(tg.trace(lambda x: x * x + x)(1.0)))
        + %2: float64 = add(%1, %0)
        ! return %1 -> %2
        """
        text: str = TRANSFORMS["diff"](self, other)
        return text

    def name_of(self, reference: int) -> str:
        """Name of what a reference refers to, as it is printed."""
        if reference >= 0:
            return f"%{reference}"
        leaf = self.segment.leaves[~reference]
        if leaf.code != nt.SEG_INPUT:
            return f"{Constants.array(leaf.value, leaf.code).item():.6g}"
        count = len(self.inputs)
        return f"in{leaf.value}" if leaf.value < count else f"array{leaf.value - count}"

    def __repr__(self) -> str:
        return self.text()

    def text(self, limit: int = 60) -> str:
        """Return the tape as text, a line a statement; the middle of a longer one is left out.

        Parameters
        ----------
        limit : int
            Statements to show at most.
        """
        steps = self.segment.steps
        names = [f"in{i}: {layout_text(x)}" for i, x in enumerate(self.inputs)]
        names += [
            f"array{i}: {layout_text(x)}" for i, x in enumerate(self.layouts[len(self.inputs) :])
        ]
        shown: Iterable[int] = range(len(steps))
        if len(steps) > limit:
            shown = [*range(limit // 2), *range(len(steps) - limit + limit // 2, len(steps))]
        lines, before = [f"closed tape ({', '.join(names)}): {len(steps)} statements"], -1
        for k in shown:
            if k != before + 1:
                lines.append(f"  ... {k - before - 1} more")
            lines.append(self.line(k))
            before = k
        lines.append(f"  return {', '.join(map(self.name_of, self.segment.results))}")
        return "\n".join(lines)

    def line(self, k: int) -> Any:
        """Return a statement as text."""
        return TRANSFORMS["line"](self, k)

    def verify(self) -> None:
        """Check the segment, and that inputs have the layouts that statements expect."""
        self.segment.verify()
        for leaf in self.segment.leaves:
            assert leaf.code != nt.SEG_INPUT or 0 <= leaf.value < len(self.layouts), "an input"
        for step in self.segment.steps:
            instruction = INSTRUCTIONS[step.number]
            if instruction.op is TABLE["output"]:
                continue
            for reference, layout in zip(step.references, instruction.layouts, strict=True):
                assert self.layout_of(reference) is layout, "an operand has the expected layout"
        assert len(self.active) == len(self.inputs) == self.in_spec.num_leaves, "a leaf an input"
        assert len(self.segment.results) == self.out_spec.num_leaves, "a leaf a result"


def _unpickled(data: bytes) -> ClosedTape:
    tape: ClosedTape = TRANSFORMS["from_bytes"](data)
    return tape


def structure(tree: Any) -> tuple[list[Any], Any]:
    """Take arguments or results apart: leaves, and their structure. None is a container of nothing."""
    return trees.flatten(tree, none_is_leaf=False)


def layout_text(layout: Layout) -> str:
    """Dtype and shape of a layout, as they are printed."""
    shape = "x".join(map(str, layout.shape))
    return f"{layout.dtype.name}[{shape}]" if shape else layout.dtype.name
