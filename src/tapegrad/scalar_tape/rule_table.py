"""The rules of a strip's opcodes as data: what native transposition reads (native_transpose.py)."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..native import abi as nt
from ..native import machine_code
from . import abi as sf
from .opcodes import KINDS, Code, Rule, code_of, codes

__all__ = ["rules"]


@cache
def rules() -> np.ndarray:
    """What `transpose` reads: addresses of rules, templates and constants, opcodes of add, clone and mul."""
    everything = codes()
    rows = np.zeros((len(everything), sf.RULE_WIDTH), np.int64)
    rows[:, sf.RULE_RESULT : sf.RULE_RESULT + 3] = -1
    statements: list[list[int]] = []
    constants: list[float] = []
    for number, code in enumerate(everything):
        if code is not None:
            _write_rule(rows[number], code, statements, constants)
    tables = [rows, np.array(statements, np.int64), np.array(constants)]
    machine_code.keep_for_ever(tables)
    places = [t.ctypes.data for t in tables]
    own = code_of("add", "ab"), code_of("clone", "a"), code_of("mul", "ab")
    return np.array([*places, *own], np.int64)


def _write_rule(
    row: np.ndarray, code: Code, statements: list[list[int]], constants: list[float]
) -> None:
    rule = Rule(code)
    own = bool(code.op.parameters)
    row[sf.RULE_START] = len(statements)
    row[sf.RULE_EXTRA] = own or len(code.kinds) == 3
    row[sf.RULE_CONSTANTS] = sum(1 << i for i, kind in enumerate(code.kinds) if kind == "k")
    if rule.traced is None:
        return
    traced = rule.traced

    def constant(slot: int) -> int:
        constants.append(float(traced.constants[slot]))
        return nt.REF_CONSTANT + len(constants) - 1

    places = traced.bind(
        traced.leaves, nt.REF_CT, nt.REF_OUT, lambda i: nt.REF_OPERAND + i, constant
    )
    count = 0
    for s in rule.statements:
        if s.slot in rule.alias:
            continue
        made = s.instruction
        names = made.op.parameters
        values = [made.attrs[name] for name in names]
        kinds = KINDS[made.op.arity]
        numbers = [code_of(made.op.name, k) for k in kinds]
        references = [places[rule.own(a)] for a in s.args]
        statements.append([
            made.op.arity, (2 if own else 1) if names else 0, *[*values, 0, 0][:2],
            *[*numbers, 0, 0][:3], *[*references, 0, 0][:3],
        ])  # fmt: skip
        places[s.slot] = nt.REF_STATEMENT + count
        count += 1
    row[sf.RULE_COUNT] = count
    for i, found in rule.results.items():
        row[sf.RULE_RESULT + i] = places[rule.own(found)]
