"""Opcodes that call kernels by address: of rows that the switch of opcodes (cases.py) has no code for.

Those are SciPy's functions, and ops of users (`register_op`). `called_code` gives a row opcodes when a
function under `@tg.njit` first calls it. Each has the calls that the row's instruction on scalars makes, as
data (`K_*`), and the row's rule as data, too (`rules` of opcodes.py), which ``strip_called`` runs a statement
at a time, and native_transpose.py writes out. What the rule needs gets opcodes along with it.

Numbers of such opcodes are this process's. So numba keeps no code that has them on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native.machine_code import keep_for_ever
from ..ops.instruction import Instruction, instruction
from ..ops.layout import SCALARS
from ..ops.program import ADDRESS, ARGS, Operand
from ..ops.table import Op
from . import abi as sf
from .opcodes import KINDS, Code, Rule, codes_of, has_code, rules
from .rows import KERNELS
from .sweeps import opcode_tables

__all__ = ["called_code", "missing_derivatives"]

_MISSING = "missing_derivative"
#: the first opcode of each instruction on scalars that has some
_numbers: dict[Instruction, int] = {}
_ROWS = np.zeros((sf.MOST_CODES - sf.FIRST_CALLED, sf.K_WIDTH), np.int64)
_ADDRESSES = np.zeros(3, np.int64)
keep_for_ever((_ROWS, _ADDRESSES))
nt.GLOBALS[nt.G_CALLED] = _ADDRESSES.ctypes.data


def called_code(entry: Op) -> int:
    """Return the opcode of a row for operands that are all active; those of other kinds follow.

    Parameters
    ----------
    entry : Op
        An elementwise row of one or two operands, without attributes, whose result is float64.

    Raises
    ------
    UnsupportedError
        If strips cannot hold it, or its derivative.
    """
    step = _on_scalars(entry)
    number = _numbers.get(step)
    if number is not None:
        return number
    with TABLE_LOCK:
        if not _ADDRESSES[sf.CALLED_SWEEP]:
            words = _ROWS.ctypes.data, rules().words.ctypes.data, KERNELS["called"]()
            _ADDRESSES[:] = words
        return _numbers.get(step) or _registered(step)


def missing_derivatives(entry: Op) -> dict[int, str]:
    """Return, for each operand that a row has no derivative by, the reason."""
    traced = Rule(_codes(_on_scalars(entry))[0]).traced
    if traced is None:
        return {}
    reasons = {
        s.slot: s.instruction.attrs["reason"]
        for s in traced.statements if s.instruction.op.name == _MISSING
    }  # fmt: skip
    return {i: reasons[slot] for i, slot in enumerate(traced.results) if slot in reasons}


def _on_scalars(entry: Op, **attrs: Any) -> Instruction:
    if entry.arity not in (1, 2) or not entry.is_elementwise:
        raise UnsupportedError(
            f"{entry.label}: functions under tg.njit record functions of one or two numbers only; use it on "
            "the Tensors outside"
        )
    step = instruction(entry, SCALARS[:1] * entry.arity, **attrs)
    if step.out.dtype is not float64:
        raise UnsupportedError(
            f"{entry.label}: its result is {step.out.dtype}, which no scalar is that functions under tg.njit "
            "record"
        )
    return step


def _codes(step: Instruction) -> list[Code]:
    attrs = tuple(step.attrs.items())
    return [Code(step.op, kinds, attrs) for kinds in KINDS[step.op.arity]]


def _is_called(step: Instruction) -> bool:
    """Return True for an instruction that needs an opcode of this kind."""
    return not has_code(step.op) or set(step.attrs) != set(step.op.parameters)


def _registered(step: Instruction) -> int:
    """Give an instruction, and those that its rule needs, opcodes; the first one's. The lock is held."""
    first = sf.FIRST_CALLED + sum(len(KINDS[s.op.arity]) for s in _numbers)
    numbers, after = {step: first}, first + len(KINDS[step.op.arity])
    ready: list[tuple[int, Rule, list[int]]] = []
    waiting = [step]
    while waiting:
        s = waiting.pop()
        calls = _calls(s)
        for i, code in enumerate(_codes(s)):
            rule = _rule(code)
            constants = sum(1 << k for k, kind in enumerate(code.kinds) if kind == "k")
            ready.append((numbers[s] + i, rule, [constants, *calls]))
            for needed in (statement.instruction for statement in rule.statements):
                known = needed in numbers or needed in _numbers
                if known or needed.op.kind == nt.VIEW or not _is_called(needed):
                    continue
                if set(needed.layouts) != {SCALARS[0]}:
                    raise _unsupported(step, needed)
                _on_scalars(needed.op, **needed.attrs)
                numbers[needed], after = after, after + len(KINDS[needed.op.arity])
                waiting.append(needed)
    if after > sf.MOST_CODES:
        raise UnsupportedError(f"{step.op.label}: too many functions are used under tg.njit")

    def numbers_of(s: Instruction) -> list[int]:
        if not _is_called(s):
            return codes_of(s.op)
        number = numbers[s] if s in numbers else _numbers[s]
        return [number + i for i in range(len(KINDS[s.op.arity]))]

    for number, rule, words in ready:
        rules().add(number, rule, numbers_of)
        opcode_tables().add(number, rule)
        _ROWS[number - sf.FIRST_CALLED, : len(words)] = words
    _numbers.update(numbers)
    return first


def _unsupported(step: Instruction, needed: Instruction) -> UnsupportedError:
    return UnsupportedError(
        f"{step.op.label}: its derivative uses {needed.op.label}, which functions under tg.njit do not "
        "record; use it on the Tensors outside"
    )


def _rule(code: Code) -> Rule:
    """Return the rule of an opcode, without the parts of operands that it has no derivative by."""
    rule = Rule(code)
    missing = {s.slot for s in rule.statements if s.instruction.op.name == _MISSING}
    rule.keep([i for i, slot in rule.results.items() if slot not in missing])
    if len(rule.statements) > sf.MOST_RULE:
        raise UnsupportedError(
            f"{code.op.label}: its rule has {len(rule.statements)} operations, and those of functions under "
            f"tg.njit have at most {sf.MOST_RULE}"
        )
    return rule


# --------------------------------------------------------------------------- calls
def _calls(step: Instruction) -> list[int]:
    """The words of the calls that compute an instruction on scalars (``K_COUNT`` and what follows)."""
    arity, calls = step.op.arity, []
    temporaries = sf.K_TEMPORARIES

    def place(operand: Operand) -> int:
        if operand.ref == ADDRESS:
            return operand.offset
        number = operand.ref - ARGS
        return number if number < arity else sf.K_OUT

    for each in step.steps:
        plain = not (each.core or each.group or each.checked or each.zero)
        if not plain or any(x.ref != ADDRESS and x.ref < ARGS for x in each.operands):
            raise UnsupportedError(f"{step.op.label}: functions under tg.njit do not record it")
        places = list(map(place, each.operands))
        if not each.nodes:
            calls.append([*each.kernel, len(places), *places])
            continue
        results = [temporaries + i for i in range(len(each.nodes) - 1)] + [places[-1]]
        for node, result in zip(each.nodes, results, strict=True):
            inputs = [places[i] if i >= 0 else results[-1 - i] for i in node.inputs]
            calls.append([*node.kernel, len(inputs) + 1, *inputs, result])
        temporaries += len(each.nodes) - 1
    longest = max(len(call) for call in calls)
    if len(calls) > sf.MOST_CALLS or temporaries > sf.K_MEMORY or longest > sf.KC_WIDTH:
        raise UnsupportedError(f"{step.op.label}: functions under tg.njit do not record it")
    return [
        len(calls),
        *(word for call in calls for word in (call + [0] * sf.KC_WIDTH)[: sf.KC_WIDTH]),
    ]
