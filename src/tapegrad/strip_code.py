"""The opcodes of strips, and the native code that runs them, generated from the op table.

A strip's opcode stands for a row of the op table and for which operands are values of the strip and
which are constants: ``mul`` has the kinds "ab", "ak" and "ka". `codes` lists them: every row that NumPy
has a loop for, and what the rows' rules need. From a row come

- the text of its primal: ``expr``, or its ufunc, or the body of its chain (`text_of`);
- the text of its derivative: its rule, traced (`vjp.template`), statement by statement;
- its template as data (strip_rules.py), from which nopython/strips.py writes the reverse pass as
  another strip.

So nothing about an op is said twice. `load` has the kernels compiled, or finds them in the store.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from . import native as nt
from . import words
from .dtypes import bool_, float64
from .instructions import instruction
from .layouts import SCALARS
from .ops import pointwise_kernels, strip
from .ops import strip_kernels as reaching
from .ops.table import TABLE, Op, elementwise
from .vjp import Template, template

__all__ = [
    "KINDS",
    "PARAMETERS",
    "Code",
    "Rule",
    "code_of",
    "codes",
    "fingerprint",
    "is_truth",
    "text_of",
]

#: rows whose attributes are numbers; a statement (`CODE_EXTRA`) holds them
PARAMETERS = {"pow_derivative": ("dx", "dy"), "sinc_derivative": ("order",)}
#: chains that are worth an opcode although they are not a ufunc's loop
_CHAINS = ("erf", "erfc", "sinc", "clone", "where")
#: ufuncs that numba does not have
_LACKING = ("heaviside",)
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


def _call(function: np.ufunc, inputs: Sequence[str]) -> str:
    """A ufunc on scalars as numba text."""
    name = function.__name__
    if name in _INFIX:
        return f"({inputs[0]} {_INFIX[name]} {inputs[1]})"
    if name in _PREFIX:
        return f"({_PREFIX[name]}({inputs[0]}))"
    return f"np.{name}({', '.join(inputs)})"


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

    `inputs` of a row in `PARAMETERS` end with its attributes.
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
    return str(entry.extras["body"](_TextChain(), *inputs))


def is_truth(entry: Op) -> bool:
    """Whether a row's result is a truth value (bits are combined in rules only)."""
    return entry.result == "bool" or entry.name.startswith("bitwise_")


def _statement_text(code: Code, inputs: Sequence[str]) -> str:
    """The primal of an opcode, truth values being 0.0 and 1.0."""
    given = list(inputs)
    if code.op.name == "where":
        given[0] = f"({given[0]} != 0.0)"
    if code.op.name.startswith("bitwise_"):
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
    return template(instruction(entry, layouts, **dict.fromkeys(PARAMETERS.get(entry.name, ()), 0)))


@cache
def codes() -> tuple[Code | None, ...]:
    """All opcodes; the first two are no row's."""
    rows = [
        entry for entry in TABLE.values()
        if (entry.lower is elementwise and entry.kind == nt.COMPUTE
            and not entry.name.startswith("bitwise_") and entry.name not in _LACKING) or entry.name in _CHAINS
    ]  # fmt: skip
    known = {entry.name for entry in rows}
    for entry in rows:  # grows
        traced = trace(entry)
        for s in () if traced is None else traced.statements:
            used = s.instruction.op
            if used.kind == nt.COMPUTE and used.name not in known:
                known.add(used.name)
                rows.append(used)
    return (None, None, *(Code(e, kinds) for e in rows for kinds in KINDS[e.arity]))


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
    """What compiled functions that record opcodes depend on."""
    text = repr([None if c is None else (c.op.name, c.kinds) for c in codes()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
            s.slot: s for found in self.results.values() for s in traced.needed(found)
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

    def lines(self) -> list[str]:
        """What the sweep does with the cotangent ``ct`` of statement ``i``."""
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
        own = bool(PARAMETERS.get(self.code.op.name))
        body = []
        for s in self.statements:
            if s.slot in self.alias:
                continue
            made = s.instruction
            inputs = [names[self.own(a)] for a in s.args]
            for letter, name in zip("pq", PARAMETERS.get(made.op.name, ()), strict=False):
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
            lines.append(f"w[{letters[i]}] += {names[self.own(found)]}")
        return lines


def _primal_lines(code: Code) -> list[str]:
    inputs = [
        f"{'k' if kind == 'k' else 'v'}[{'abc'[i]}]" for i, kind in enumerate(code.kinds)
    ]  # fmt: skip
    lines = []
    if len(code.kinds) == 3:
        lines.append("c = ab[i - m - 1] & MASK")
    if (count := len(PARAMETERS.get(code.op.name, ()))) > 0:
        lines.append("p, q = ab[i - m - 1] & MASK, ab[i - m - 1] >> 32")
        inputs += ["p", "q"][:count]
    return [*lines, f"v[i] = {_statement_text(code, inputs)}"]


_FORWARD = """
def strip_forward(args, dims, strides, data):
    pointers = p64(args)
    k, ab, code = pf64(pointers[1]), p64(pointers[2]), p16(pointers[3])
    n, m, v = p64(pointers[1])[B_COUNT], p64(pointers[1])[B_HEAD], pf64(pointers[4])
    coefficients = stack_words(16)
    memcpy(pointers[4], pointers[0], 8 * m)
    for i in range(m, n):
        word = ab[i - m]
        a, b = word & MASK, word >> 32
        op = code[i - m]
        CASES
"""
#: A statement that nothing reaches has a cotangent of 0, which may meet an infinite derivative. So where
#: a NaN comes out, the sweep is repeated (from the seeds, which were kept) over what is reached.
_REVERSE = """
def strip_reverse(args, dims, strides, data):
    pointers = p64(args)
    w, v = pf64(pointers[0]), pf64(pointers[1])
    h, k, ab, code = p64(pointers[2]), pf64(pointers[2]), p64(pointers[3]), p16(pointers[4])
    n, m = h[B_COUNT], h[B_HEAD]
    coefficients = stack_words(16)
    touched = 0
    seeds = keep_seeds(pointers[0], pointers[2])
    while True:
        i = n - 1
        while i >= m:
            if touched == 0 or p8(touched)[i]:
                ct = w[i]
                word = ab[i - m]
                a, b = word & MASK, word >> 32
                op = code[i - m]
                CASES
            i -= 1
        if touched != 0 or seeds == 0 or no_nan(pointers[0], m):
            break
        touched = reach(pointers[0], pointers[2], pointers[3], pointers[4], seeds, p64(data)[1])
        if touched == 0:
            break
    if seeds != 0:
        free(seeds)
    if touched != 0:
        free(touched)
    x = pf64(pointers[5])
    if p64(data)[0]:
        for i in range(m):
            x[i] += w[i]
    else:
        for i in range(m):
            x[i] = w[i] + 0.0
"""
_RESULT = """
def strip_result(args, dims, strides, data):
    h = p64(p64(args)[1])
    start = h[h[B_RESULTS] + p64(data)[0]]
    memcpy(p64(args)[2], p64(args)[0] + 8 * start, 8 * p64(data)[1])
"""
_SPREAD = """
def strip_spread(args, dims, strides, data):
    d, h = p64(data), p64(p64(args)[1])
    start, x, w = h[h[B_RESULTS] + d[0]], pf64(p64(args)[0]), pf64(p64(args)[2])
    if d[2]:
        for i in range(d[3]):
            w[i] = -0.0
    for i in range(d[1]):
        w[start + i] += x[i] + 0.0
"""


def _unique(line: str, number: int) -> str:
    """Give the temporaries of a case names of their own: numba is slow with many assignments to one."""
    return re.sub(r"\b([cpqoxyz]|t\d+)\b", rf"\1_{number}", line)


def _cases(indent: int, lines_of: Callable[[Code], list[str]], first: list[str]) -> str:
    """An if-chain over opcodes, which LLVM makes a jump table of."""
    pad = "\n" + " " * indent
    text = f"if op == {nt.CODE_CONSTANT}:" + "".join(pad + "    " + line for line in first)
    for number, code in enumerate(codes()):
        if code is not None:
            text += pad + f"elif op == {number}:"
            text += "".join(pad + "    " + _unique(line, number) for line in lines_of(code))
    return text


def _text(name: str) -> str:
    if name == "forward":
        text = _FORWARD.replace("CASES", _cases(8, _primal_lines, ["v[i] = k[a]"]))
    elif name == "reverse":
        text = _REVERSE.replace("CASES", _cases(16, lambda c: Rule(c).lines(), ["pass"]))
    else:
        return {"result": _RESULT, "spread": _SPREAD}[name]
    return text


@cache
def _kernel(name: str) -> int:
    """Address of a kernel, loaded or compiled now."""
    text = _text(name)

    def build() -> tuple[dict[str, str], list[bytes]]:
        scope: dict[str, Any] = {
            "np": np, "math": math, "MASK": 0xFFFFFFFF,
            "differentiate_power": pointwise_kernels.differentiate_power,
            "differentiate_sinc": pointwise_kernels.differentiate_sinc,
            "B_COUNT": nt.B_COUNT, "B_HEAD": nt.B_HEAD, "B_RESULTS": nt.B_RESULTS,
            "keep_seeds": reaching.keep_seeds, "no_nan": reaching.no_nan, "reach": reaching.reach,
        }  # fmt: skip
        for word in ("p8", "p16", "p64", "pf64", "memcpy", "free", "stack_words"):
            scope[word] = getattr(words, word)
        words.resolve(scope)
        exec(compile(text, f"<strip {name}>", "exec"), scope)
        function = scope[f"strip_{name}"]
        symbol, code = words.compiler().object_code(function, nt.LOOP_SIGNATURE)
        return {"kernel": symbol}, [code]

    source = text + inspect.getsource(pointwise_kernels) + inspect.getsource(reaching)
    return nt.load_module(f"strip-{name}", source, build)["kernel"]


@cache
def _kinds() -> int:
    masks = np.zeros(len(codes()), np.uint8)
    for number, code in enumerate(codes()):
        if code is not None:
            masks[number] = sum(1 << i for i, kind in enumerate(code.kinds) if kind != "k")
    nt.keep_for_ever(masks)
    return masks.ctypes.data


strip.KERNELS["kinds"] = _kinds
for _name in ("forward", "reverse", "result", "spread"):
    strip.KERNELS[_name] = partial(_kernel, _name)
