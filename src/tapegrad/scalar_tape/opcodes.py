"""The opcodes of strips, and the native code that runs them, generated from the op table.

A strip's opcode stands for a row of the op table and for which operands are values of the strip and
which are constants: ``mul`` has the kinds "ab", "ak" and "ka". `codes` lists them: every row that NumPy
has a loop for, and what the rows' rules need. From a row come

- the text of its primal: ``expr``, or its ufunc, or the body of its chain (`text_of`);
- the text of its derivative: its rule, traced (`vjp.template`), statement by statement;
- its template as data (rule_table.py), from which scalar_tape/native_recorder.py writes the reverse pass as
  another strip.

So nothing about an op is said twice. sweeps.py puts the texts together.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_, float64
from ..native import abi as nt
from ..native.machine_code import has_fma, source_digest
from ..ops.instruction import instruction
from ..ops.kernels import exp_log as exp_kernels
from ..ops.kernels import pointwise as pointwise_kernels
from ..ops.kernels import trig as trig_kernels
from ..ops.layout import SCALARS
from ..ops.table import TABLE, Op
from ..rules.traced_rule import Template, template

__all__ = [
    "ELEMENTARY", "KINDS", "SCOPE", "Code", "Rule", "code_of", "codes", "fingerprint",
    "is_truth", "scope_source", "statement_text", "text_of",
]  # fmt: skip

KINDS = {1: ("a",), 2: ("ab", "ak", "ka"), 3: ("abc",)}


class Code(NamedTuple):
    """An opcode: a row of the op table, and what each operand is (a letter, ``k`` for a constant)."""

    op: Op
    kinds: str


# --------------------------------------------------------------------------- primal text
_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "true_divide": "/", "power": "**",
    "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=", "greater": ">",
    "greater_equal": ">=", "bitwise_and": "&", "bitwise_or": "|",
}  # fmt: skip
_PREFIX = {"negative": "-", "positive": "+", "absolute": "abs"}
#: functions that are in line, rather than a call of libm
ELEMENTARY = {**trig_kernels.ELEMENTARY, **exp_kernels.ELEMENTARY} if has_fma() else {}
#: what the names in texts mean
SCOPE: dict[str, Any] = {
    "np": np, "math": math, "differentiate_power": pointwise_kernels.differentiate_power,
    "differentiate_sinc": pointwise_kernels.differentiate_sinc,
    **{
        f"{name}_{part}": function
        for name, own in ELEMENTARY.items() for part, function in own._asdict().items()
    },
}  # fmt: skip


def _call(function: np.ufunc, inputs: Sequence[str]) -> str:
    """A ufunc on scalars as numba text."""
    name = function.__name__
    if name in _INFIX:
        return f"({inputs[0]} {_INFIX[name]} {inputs[1]})"
    if name in _PREFIX:
        return f"({_PREFIX[name]}({inputs[0]}))"
    if name in ELEMENTARY:
        x = inputs[0]
        return f"({name}_formula({x}) if {name}_reaches({x}) else {name}_libm({x}))"
    return f"np.{name}({', '.join(inputs)})"


@cache
def scope_source() -> str:
    """Source of what `SCOPE` brings beside NumPy's and Python's functions."""
    return "".join(map(inspect.getsource, (pointwise_kernels, trig_kernels, exp_kernels)))


class _TextChain:
    """Stands for a `composed.Chain`, and writes text."""

    kind = float64
    attrs: dict[str, Any] = {}  # noqa: RUF012 - rows with attributes are not taken in

    def __call__(self, function: np.ufunc | str, *inputs: Any, data: Any = ()) -> str:
        values = [x if isinstance(x, str) else repr(float(x)) for x in inputs]
        if not isinstance(function, str):
            return _call(function, values)
        return f"math.{function}({', '.join(values)})"

    def where(self, condition: str, x: Any, y: Any) -> str:
        return f"({x} if {condition} else {y})"


def text_of(entry: Op, inputs: Sequence[str]) -> str:
    """The primal of a row as a numba expression; comparisons give a bool, `where` takes one.

    `inputs` of a row with `parameters` end with those.
    """
    if entry.name == "pow_derivative":
        return f"differentiate_power({', '.join(inputs)}, coefficients)"
    if entry.name == "sinc_derivative":
        return f"differentiate_sinc({', '.join(inputs)})"
    if entry.name == "sinc":
        return f"differentiate_sinc({inputs[0]}, 0)"
    if entry.name == "where":
        return _TextChain().where(*inputs)
    if entry.name == "clone":
        return inputs[0]
    if entry.expr is not None:
        names = dict(zip("abc", inputs, strict=False))
        return "(" + "".join(names.get(c, c) for c in entry.expr) + ")"
    if entry.loop is not None:
        return _call(entry.loop, inputs)
    assert entry.body is not None
    return str(entry.body(_TextChain(), *inputs))


def is_truth(entry: Op) -> bool:
    """Whether a row's result is a truth value (bits are combined in rules only)."""
    return entry.result in ("bool", "bits")


def statement_text(code: Code, inputs: Sequence[str]) -> str:
    """The primal of an opcode, truth values being 0.0 and 1.0."""
    given = list(inputs)
    if code.op.name == "where":
        given[0] = f"({given[0]} != 0.0)"
    if code.op.result == "bits":
        given = [f"({x} != 0.0)" for x in given]
    text = text_of(code.op, given)
    return f"(1.0 if {text} else 0.0)" if is_truth(code.op) else text


# --------------------------------------------------------------------------- opcodes
def trace(entry: Op) -> Template | None:
    """A row's rule on scalars; None where there is none, or it is constant."""
    if entry.name == "where":
        layouts = (SCALARS[bool_.code], *SCALARS[:1], *SCALARS[:1])
    else:
        layouts = SCALARS[:1] * entry.arity
    if entry.vjp is None:
        return None
    return template(instruction(entry, layouts, **dict.fromkeys(entry.parameters, 0)))


@cache
def codes() -> tuple[Code | None, ...]:
    """All opcodes; the first four are no row's."""
    rows = [
        entry for entry in TABLE.values()
        if (entry.loop is not None and entry.result != "bits") or entry.scalar
    ]  # fmt: skip
    known = {entry.name for entry in rows}
    for entry in rows:  # grows
        traced = trace(entry)
        for s in () if traced is None else traced.statements:
            used = s.instruction.op
            if used.kind == nt.COMPUTE and used.name not in known:
                known.add(used.name)
                rows.append(used)
    return (None, None, None, None, *(Code(e, kinds) for e in rows for kinds in KINDS[e.arity]))


@cache
def _numbers() -> dict[tuple[str, str], int]:
    return {(c.op.name, c.kinds): i for i, c in enumerate(codes()) if c is not None}


def code_of(name: str, kinds: str) -> int:
    """The opcode of a row and the kinds of its operands.

    Raises
    ------
    KeyError
        If strips have no such opcode.
    """
    return _numbers()[name, kinds]


@cache
def fingerprint() -> str:
    """Return a digest of what code that records depends on: opcodes, primals, and native code."""
    parts = [b"" if c is None else f"{c.op.name} {c.kinds} {_primal(c)}".encode() for c in codes()]
    parts += [
        scope_source().encode(),
        source_digest("scalar_tape.native_recorder", "scalar_tape.native_sums").encode(),
    ]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:12]


def _primal(code: Code) -> str:
    attributes = ["p", "q"][: len(code.op.parameters)]
    return statement_text(code, [*"xyz"[: code.op.arity], *attributes])


# --------------------------------------------------------------------------- derivative text
class Rule:
    """The rule of an opcode: what it computes, and the reference of each active operand's part."""

    def __init__(self, code: Code) -> None:
        traced = trace(code.op)
        self.code, self.traced = code, traced
        active = [i for i, kind in enumerate(code.kinds) if kind != "k"]
        self.results: dict[int, int] = {}
        if traced is not None:
            for i in active:
                found = traced.results[i]
                if found is not None:
                    self.results[i] = found
        wanted = {} if traced is None else {
            s.slot: s for found in self.results.values() for s in traced.part(found).statements
        }  # fmt: skip
        self.statements = [wanted[slot] for slot in sorted(wanted)]
        #: views (`expand` of a zero) stand for what they view
        self.alias = {
            s.slot: s.args[0] for s in self.statements if s.instruction.op.kind == nt.VIEW
        }

    def own(self, slot: int) -> int:
        """What a slot stands for."""
        while slot in self.alias:
            slot = self.alias[slot]
        return slot

    def reads(self, known: Collection[int] = ()) -> set[str | int]:
        """What the rule reads beside the cotangent: "out", and operands by number.

        `known` are slots that hold their values already.
        """
        if self.traced is None or not self.results:
            return set()
        used = {self.own(a) for s in self.statements if s.slot not in known for a in s.args}
        used |= {self.own(r) for r in self.results.values()}
        return {n for slot, n in self.traced.inputs.items() if slot in used and n != "ct"}

    def partials(self) -> tuple[int, int] | None:
        """The derivative by each operand, if it is simple: 0 for 1, 1 for -1, 2 and 3 for an operand."""
        if self.traced is None or len(self.code.kinds) > 2 or not self.results:
            return None
        names = {slot: name for slot, name in self.traced.inputs.items()}
        by_slot = {s.slot: s for s in self.statements}
        found = [0, 0]
        for i, result in self.results.items():
            if names.get(result) == "ct":
                continue
            s = by_slot.get(result)
            given = [] if s is None else [names.get(a) for a in s.args]
            if s is not None and s.instruction.op.name == "neg" and given == ["ct"]:
                found[i] = 1
            elif s is not None and s.instruction.op.name == "mul" and given[0] == "ct":
                if not isinstance(given[1], int):
                    return None
                found[i] = 2 + given[1]
            else:
                return None
        return found[0], found[1]

    def lines(self, neutral: str = "") -> list[str]:
        """Return what the sweep does with the cotangent ``ct`` of statement ``i``.

        `neutral` is the text of what is added to each part.
        """
        if not self.results or self.traced is None:
            return ["pass"]
        names: dict[int, str] = {}
        loads: dict[int, str] = {}
        letters = ("a", "b", "c")
        for slot, name in self.traced.inputs.items():
            if name in ("ct", "out"):
                names[slot] = "ct" if name == "ct" else "o"
                if name == "out":
                    loads[slot] = "o = v[i]"
                continue
            assert isinstance(name, int)
            names[slot] = "xyz"[name]
            source = "k" if self.code.kinds[name] == "k" else "v"
            loads[slot] = f"{'xyz'[name]} = {source}[{letters[name]}]"
            if self.code.op.name == "where" and name == 0:
                loads[slot] += " != 0.0"
        for slot, array in self.traced.constants.items():
            value = float(array)
            names[slot] = "np.nan" if np.isnan(value) else repr(value)
        own = bool(self.code.op.parameters)
        body = []
        for s in self.statements:
            if s.slot in self.alias:
                continue
            made = s.instruction
            inputs = [names[self.own(a)] for a in s.args]
            for letter, name in zip("pq", made.op.parameters, strict=False):
                value = made.attrs[name]
                inputs.append(f"{letter} + {value}" if own else str(value))
            names[s.slot] = f"t{s.slot}"
            body.append(f"t{s.slot} = {text_of(made.op, inputs)}")
        used = {self.own(a) for s in self.statements for a in s.args}
        used |= {self.own(r) for r in self.results.values()}
        lines = []
        if len(self.code.kinds) == 3:
            lines.append("c = ab[i - m - 1] & MASK")
        if own:
            lines += ["p, q = ab[i - m - 1] & MASK, ab[i - m - 1] >> 32"]
        lines += [text for slot, text in loads.items() if slot in used] + body
        for i, found in self.results.items():
            lines.append(f"w[{letters[i]}] += {names[self.own(found)]}{neutral}")
        return lines
