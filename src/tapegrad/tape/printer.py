"""The tape as text: ``print(tape)``."""

from __future__ import annotations

from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS
from .memory_views import array_at
from .tape import Tape

__all__ = ["format_tape"]

#: statements shown at most; the middle of a longer tape is left out
LIMIT = 60


def format_tape(tape: Tape, limit: int = LIMIT) -> str:
    """Format a tape as a table.

    Parameters
    ----------
    tape : Tape
    limit : int
        Statements to show at most.

    Returns
    -------
    str
        A line a statement: slot, op, operands, dtype, shape, bytes, and the value of scalars. ``*``
        marks active slots, ``?`` pending ones, ``-`` those whose residuals were freed.
    """
    count = tape.count
    slots = list(range(1, count))
    gap = None
    if len(slots) > limit:
        head, tail = slots[: limit // 2], slots[-(limit - limit // 2) :]
        gap = (len(head), len(slots) - limit)
        slots = head + tail
    rows: list[tuple[str, ...]] = [("slot", "op", "operands", "dtype", "shape", "bytes", "value")]
    rows += [_row(tape, slot) for slot in slots]
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = [_join(row, widths) for row in rows]
    if gap is not None:
        lines.insert(1 + gap[0], f"... {gap[1]} more")
    pending = count - tape.done
    title = f"tape: {count - 1} statements, {pending} pending"
    return "\n".join([title, *lines])


def _join(row: tuple[str, ...], widths: list[int]) -> str:
    right = (0, 5)
    cells = [
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _row(tape: Tape, slot: int) -> tuple[str, ...]:
    instruction = INSTRUCTIONS[tape.instruction[slot]]
    out = instruction.out
    flags = int(tape.flags[slot])
    mark = "*" if tape.flags[tape.root[slot]] & nt.ACTIVE else " "
    if slot >= tape.done and instruction.op.kind != nt.LEAF:
        mark += "?"
    elif flags & nt.FREED:
        mark += "-"
    name = instruction.op.name
    if instruction.op.kind == nt.LEAF and slot in tape.constants.slots.values():
        name = "constant"
    operands = (
        ", ".join(f"%{a}" for a in tape.args_of(slot)) if not flags & nt.STUB else "(dropped)"
    )
    if instruction.op.kind == nt.VIEW and not flags & nt.STUB and slot < tape.done:
        offset = int(tape.address[slot] - tape.address[tape.args_of(slot)[0]])
        operands += f" + {offset}"
    value = ""
    if out.size == 1 and slot < tape.done and tape.address[slot] and not flags & nt.POISON:
        value = f"{array_at(int(tape.address[slot]), out).item():.6g}"
    shape = "x".join(map(str, out.shape)) or "()"
    owns = tape.base[slot] == slot
    return (
        f"%{slot}", f"{name}{mark.rstrip()}", operands, out.dtype.name, shape,
        str(out.span if owns else 0), value,
    )  # fmt: skip
