"""Interned instructions: an op on given layouts and attributes, ready to run.

Everything about a statement but its slots is here, once for all statements alike: kernels, loop
geometry, the layout of the result. So a statement is an instruction's number and its operands'
slots. `instruction` finds or makes one; `remember` tells native recording about it, so that the
next time the same op meets the same layouts Python is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.dtypes import dtype, scalar_name
from ..base.locks import TABLE_LOCK
from ..base.symbolic import hint
from ..native import abi as nt
from .families import family_of, sized
from .layout import ENDING, LAYOUTS, Layout, contiguous, intern, is_symbolic
from .pairs import PAIRS
from .program import GrowingTable, Holdings, Step, emit, holding
from .table import Lowered, Op, distinct, is_inexact, op

__all__ = [
    "CACHES", "GONE", "INSTRUCTIONS", "Instruction", "instruction", "leaf", "remember",
    "view_instruction",
]  # fmt: skip

ITAB = GrowingTable(nt.I_WIDTH, nt.G_ITAB, held=False)
VTAB = GrowingTable(nt.V_WIDTH, nt.G_VTAB)
RTAB = GrowingTable(nt.Q_WIDTH, nt.G_REPLAY)


class Instruction:
    """An op, the layouts of its operands, its attributes, and what follows from them.

    Attributes
    ----------
    id : int
    op : Op
    layouts : tuple of Layout
    attrs : dict
    outs : tuple of Layout
        Layouts of the results; result ``j`` of statement ``k`` is slot ``k + j``.
    steps : tuple of Step
    scratch : int
        Bytes of scratch memory of the steps.
    family : object
        What it shares programs by, None if it does not.
    head : Instruction or None
        Whose programs it shares (families.py).
    shares : int
        A bit for each variant of its VJP programs that it shares.
    pattern, sizes : object or None, tuple of int
        What its programs are filled in from, and the lengths that it has (patterns.py).
    vjp, masked_vjp : object or None
        Templates; set by traced_rule.py when a reverse pass first needs them.
    rules : dict
        Derivatives as segments, by the column that has their rows (rules/replay_table.py).
    key : object
        The key of `interned`.
    needs : tuple of int
        Numbers of the instructions that its templates and programs refer to.
    outputs : tuple of Instruction
        For an op with several results: the instructions of the results behind the first.
    """

    __slots__ = (
        "_holdings", "_steps", "attrs", "family", "head", "id", "key", "layouts", "masked_vjp", "needs", "op",
        "outputs", "outs", "pattern", "rules", "scratch", "shares", "sizes", "vjp",
    )  # fmt: skip

    def __init__(
        self, entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any],
        outs: tuple[Layout, ...], scratch: int, key: Any = None,
    ) -> None:  # fmt: skip
        self.id = 0
        self.key = key
        self._holdings: Holdings | None = None
        self.needs: tuple[int, ...] = ()
        self.op = entry
        self.layouts = layouts
        self.attrs = attrs
        self.outs = outs
        self.scratch = scratch
        self._steps: tuple[Step, ...] | None = None
        self.family: Any = None
        self.head: Instruction | None = None
        self.shares = 0
        self.pattern: Any = None
        self.sizes: tuple[int, ...] = ()
        self.vjp: Any = None
        self.masked_vjp: Any = None
        self.rules: dict[int, Any] = {}
        self.outputs: tuple[Instruction, ...] = ()

    @property
    def is_kept(self) -> bool:
        """True if a tape keeps it where nothing needs its result: it checks what was recorded."""
        return self.op.has_code and getattr(self.attrs["routine"], "is_kept", False)

    @property
    def holdings(self) -> Holdings:
        """Its rows in the tables of programs. The caller holds the lock."""
        if self._holdings is None:
            self._holdings = Holdings()
        return self._holdings

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps, over the shapes of its operands."""
        if self._steps is None:
            with holding(self.holdings):
                steps = self.op.lower(self.op, self.layouts, self.attrs).steps
            if is_symbolic((*self.layouts, *self.outs)):  # its words are those of one image
                return steps
            self._steps = steps
        return self._steps

    @property
    def size(self) -> int:
        """Length of the loop of sized steps."""
        return int(ITAB.rows[self.id, nt.I_SIZE])

    @property
    def out(self) -> Layout:
        """Layout of the (first) result."""
        return self.outs[0]

    @property
    def grad_fn(self) -> str:
        """PyTorch's name of the node."""
        name = self.op.grad_fn
        return name if isinstance(name, str) else name(self)

    def __repr__(self) -> str:
        return f"<instruction {self.id} {self.op.name} {self.layouts} {self.attrs}>"


#: by number; GONE where one has ended (ending.py)
INSTRUCTIONS: list[Instruction] = []
interned: dict[Any, Instruction] = {}
#: empties caches in front of `instruction`, before instructions end
CACHES: list[Callable[[], None]] = []
#: instructions there may be before those that nothing needs end, and what ends them (ending.py)
LIMIT = 3072


class ROUNDS:
    """When instructions that nothing needs end: from `limit` on, by calling `end`; how often they did."""

    limit, count = LIMIT, 0
    end: Callable[[], object] = int


class COMPLEX:
    """A note that there has been an instruction with complex operands."""

    seen = False


class PATTERNS:
    """Makes instructions of patterns that are known (patterns.py)."""

    fill: Callable[[Op, tuple[Layout, ...], dict[str, Any], Any, Any], Instruction | None]
    fill = lambda *_: None  # noqa: E731


def instruction(entry: Op, layouts: tuple[Layout, ...], **attrs: Any) -> Instruction:
    """Return the instruction of an op for layouts and attributes.

    It lasts as long as something refers to it: a statement on a tape, another instruction, or a Python
    object. So who keeps its number keeps the instruction as well.

    Raises
    ------
    RuntimeError, TypeError, ValueError, IndexError
        What the op's lowering says of operands that do not fit.
    """
    parts = distinct(attrs)
    key = (entry.code, *[x.id for x in layouts], *parts)
    result = interned.get(key)
    if result is not None:
        return result
    with TABLE_LOCK:
        if ITAB.size >= ROUNDS.limit:
            ROUNDS.end()
        if key in interned:  # another thread was faster
            return interned[key]
        ENDING.refuse()
        family = None if is_symbolic(layouts) else family_of(entry, layouts, attrs, parts)
        head = _heads.get(family[0]) if family else None
        if family and head is not None:
            result = _sibling(head, layouts, attrs, family, key)
        else:
            known = None if family else PATTERNS.fill(entry, layouts, attrs, parts, key)
            result = known or lowered(entry, layouts, attrs, family, key)
        interned[key] = result
    return result


def lowered(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], family: Any, key: Any
) -> Instruction:
    """Make an instruction by the op's lowering."""
    for x in layouts:
        if x.dtype.is_complex:
            if not entry.of_complex:
                raise NotImplementedError(
                    f"\"{entry.name}\" not implemented for '{scalar_name(x.dtype)}'"
                )
            COMPLEX.seen = True
    holdings = Holdings()
    with holding(holdings):
        try:
            lowered = entry.lower(entry, layouts, attrs)
            return _new(entry, layouts, attrs, lowered, holdings, key, family)
        except BaseException:
            holdings.give_back()
            raise


#: the first instruction of each family
_heads: dict[Any, Instruction] = {}
CACHES.append(_heads.clear)


def _sibling(
    head: Instruction, layouts: tuple[Layout, ...], attrs: dict[str, Any],
    family: tuple[Any, tuple[int, ...], int], key: Any,
) -> Instruction:  # fmt: skip
    """Make an instruction that runs the programs of another one."""
    out = head.out
    if out.ndim:
        out = contiguous(out.dtype, family[1])
    instruction = Instruction(head.op, layouts, attrs, (out,), head.scratch, key)
    instruction.family, instruction.head = head.family, head
    number = new_number(instruction)
    row: list[int] = ITAB.rows[head.id].tolist()
    row[nt.I_SIZE] = family[2]
    row[nt.I_LAYOUT] = out.id
    row[nt.I_BYTES] = row[nt.I_FULL] = out.span
    for column in range(nt.I_VJP, nt.I_PUSH + 1):
        if not head.shares >> (column - nt.I_VJP) & 1:
            row[column] = -1
    ITAB.write(number, row)
    return instruction


def new_number(instruction: Instruction) -> int:
    """Take a row of the table for an instruction. The caller holds the lock."""
    instruction.id = number = ITAB.reserve(1)
    while number >= len(INSTRUCTIONS):
        INSTRUCTIONS.append(GONE)
    INSTRUCTIONS[number] = instruction
    return number


def give_back(instruction: Instruction) -> None:
    """End an instruction, which nothing refers to. The caller holds the lock."""
    if instruction._holdings is not None:
        instruction._holdings.give_back()
    INSTRUCTIONS[instruction.id] = GONE
    ITAB.release(instruction.id, 1)


def _new(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], lowered: Lowered,
    holdings: Holdings, key: Any, family: tuple[Any, tuple[int, ...], int] | None = None,
) -> Instruction:  # fmt: skip
    instruction = Instruction(entry, layouts, attrs, lowered.outs, lowered.scratch, key)
    instruction._holdings = holdings
    symbolic = is_symbolic((*layouts, *lowered.outs))
    instruction._steps = None if symbolic else lowered.steps
    out = lowered.outs[0]
    size, steps = 0, None
    if family and (not out.ndim or out is contiguous(out.dtype, family[1])):
        size, steps = family[2], sized(lowered.steps, family[2])
    add_outputs(instruction)
    if entry.lifted:
        instruction.needs += (attrs["inner"],)
    row = row_of(instruction)
    if not symbolic:
        row[nt.I_STEP_LO : nt.I_STEP_HI + 1] = emit(lowered.steps if steps is None else steps)
    number = new_number(instruction)
    if family and steps is not None:
        instruction.family = family[0]
        _heads[instruction.family] = instruction
    row[nt.I_SIZE] = size
    ITAB.write(number, [hint(word) for word in row] if symbolic else row)
    return instruction


def add_outputs(instruction: Instruction) -> None:
    """Make the instructions of an instruction's further results."""
    if len(instruction.outs) > 1:
        instruction.outputs = tuple(
            _new(OUTPUT, instruction.outs[:1], {"number": j}, Lowered((out,), ()), Holdings(), None)
            for j, out in enumerate(instruction.outs[1:], 1)
        )
        instruction.needs = tuple([output.id for output in instruction.outputs])


def row_of(instruction: Instruction) -> list[Any]:
    """Return the row of an instruction in the table, without its steps."""
    entry, attrs, out = instruction.op, instruction.attrs, instruction.out
    smooth = entry.vjp is not None or entry.kind != nt.COMPUTE or entry.python
    row: list[Any] = [0] * nt.I_WIDTH
    row[nt.I_KIND] = entry.kind
    row[nt.I_NARGS] = len(instruction.layouts)
    row[nt.I_DIFF] = smooth and is_inexact(out) and entry.kind != nt.OUTPUT
    row[nt.I_NOUT] = len(instruction.outs)
    # 2 for what a Function has saved of its outputs: the collector keeps the value
    row[nt.I_PYTHON] = entry.python + bool(attrs.get("saved"))
    row[nt.I_VJP : nt.I_PUSH + 1] = [-1] * (nt.I_PUSH + 1 - nt.I_VJP)
    row[nt.I_DETACH] = entry.detaches + entry.silent
    if entry.kind == nt.LEAF:
        row[nt.I_EXTRA] = attrs["requires_grad"]
    if entry.rewritten:
        row[nt.I_EXTRA] = nt.REWRITTEN
    measure(instruction, row)
    return row


def measure(instruction: Instruction, row: list[Any]) -> None:
    """Write what depends on lengths into a row."""
    entry, out = instruction.op, instruction.out
    row[nt.I_SCRATCH] = instruction.scratch
    row[nt.I_LAYOUT] = out.id
    row[nt.I_FULL] = -1 if out.overlaps else out.size * out.dtype.itemsize
    if entry.kind in (nt.WRITE, nt.ACCUMULATE):
        row[nt.I_EXTRA] = out.span  # `extent` in runtime/wanting.py
    else:
        row[nt.I_BYTES] = out.span
    if (
        entry.name == "select" and instruction.layouts[0].ndim
    ):  # what native integer indexing needs to know
        row[nt.I_EXTRA] = instruction.layouts[0].shape[0]
        row[nt.I_EXTRA + 1] = instruction.layouts[0].strides[0]


def _no_steps(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    return Lowered((attrs["layout"],), ())


LEAF = op("leaf", kind=nt.LEAF, lower=_no_steps, grad_fn="AccumulateGrad", arity=0, torch=None)
OUTPUT = op("output", kind=nt.OUTPUT, lower=_no_steps, torch=None)
#: stands where an instruction has ended
GONE = Instruction(LEAF, (), {}, (LAYOUTS[0],), 0)
GONE.id = -1


_leaves: dict[tuple[int, bool], Instruction] = {}
CACHES.append(_leaves.clear)


def leaf(layout: Layout, requires_grad: bool = False) -> Instruction:
    """Return the instruction of a leaf (or constant) with this layout.

    That a leaf requires grad is said here as well as by its ACTIVE flag, since a passive leaf
    becomes active when something active is written into it.
    """
    key = (layout.id, requires_grad)
    known = _leaves.get(key)
    if known is None:
        known = instruction(LEAF, (), layout=layout, requires_grad=bool(requires_grad))
        _leaves[key] = known
    return known


def view_instruction(
    entry: Op, source: Layout, shape: tuple[int, ...], strides: tuple[int, ...],
    kind: dtype | None = None,
) -> Instruction:  # fmt: skip
    """Return the instruction of a view: `source` seen with another shape and strides."""
    return instruction(
        entry, (source,), layout=intern(kind or source.dtype, tuple(shape), tuple(strides))
    )


# --------------------------------------------------------------------------- native recording
#: results from this size on are evaluated at once, by Python, so that what does not fit in memory
#: raises where it was asked for
LARGE = 1 << 26


def remember(instruction: Instruction, called: Op | None = None) -> None:
    """Let native recording use an instruction for its op (or that which was `called`) and layouts."""
    code = (called or instruction.op).code
    out = instruction.out
    if is_symbolic((*instruction.layouts, out)):  # native code would see numbers
        return
    if len(instruction.outs) == 1 and out.span < LARGE and len(instruction.layouts) <= 2:
        second = instruction.layouts[1].id if len(instruction.layouts) == 2 else 0
        with TABLE_LOCK:
            PAIRS.add(code, instruction.layouts[0].id, second, instruction.id, out.id)
