"""C functions of compiled tapes: a plan, code, and the memory that it needs."""

from __future__ import annotations

import ctypes
import hashlib
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from ..base.dtypes import bool_, float32, float64, int64
from ..base.locks import new_lock
from ..native.machine_code import Unit, compiled, keep_for_ever, load, source_digest
from ..tape.failures import Failed
from .compiled_tape import CompiledTape
from .native_code import CALL, CODE, CONTEXT_HEAD, NEXT, SLOW, Guard, Plan, Value, write_call

__all__ = ["CFunction"]

Writer: TypeAlias = Callable[[Any, str, Plan, str], None]
_LOCK = new_lock()

_TYPES: dict[Any, tuple[str, Any]] = {
    float64: ("double", ctypes.c_double), float32: ("float", ctypes.c_float),
    int64: ("int64_t", ctypes.c_int64), bool_: ("uint8_t", ctypes.c_uint8),
}  # fmt: skip
#: names that C does not allow for arguments
_RESERVED = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short",
    "signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile",
    "while",
}  # fmt: skip


class _Place:
    """A context, and the code that looks there; used again when its function has gone.

    Attributes
    ----------
    symbol : str
    context : ndarray
    """

    def __init__(self, symbol: str, words: int) -> None:
        self.symbol, self.context = symbol, np.zeros(words, np.int64)
        self._addresses: dict[str, int] = {}
        llvm.add_symbol(symbol, self.context.ctypes.data)

    def address(self, label: str, plan: Plan, write: Writer) -> int:
        """Address of the function of this place that `write` writes."""

        def build(symbols: Mapping[str, str]) -> bytes:
            module = ir.Module(label)
            write(module, symbols["call"], plan, self.symbol)
            return compiled(module)

        if label not in self._addresses:
            code = source_digest("jit_compiler.native_code")
            unit = Unit("native", f"{label}\n{plan}\n{self.symbol}\n{code}", ("call",), build)
            self._addresses[label] = load(unit)["call"]
        return self._addresses[label]


#: for each plan the places that no function has, and how many there are
_free: dict[Plan, list[_Place]] = {}
_counts: dict[Plan, int] = {}
keep_for_ever((_free, _counts))  # code may run as long as the process


def _place(plan: Plan) -> _Place:
    """A place for a function of a plan."""
    with _LOCK:
        if _free.get(plan):
            return _free[plan].pop()
        number = _counts[plan] = _counts.get(plan, 0) + 1
    digest = hashlib.sha256(f"{plan}".encode()).hexdigest()[:16]
    return _Place(
        f"tapegrad_native_{digest}_{number}", CONTEXT_HEAD + plan.words + len(plan.guards)
    )


def _give_back(plan: Plan, place: _Place) -> None:
    _free.setdefault(plan, []).append(place)


class CFunction:
    """A compiled tape as a C function.

    Parameters
    ----------
    code : CompiledTape
    name : str
    names : sequence of str
        Of the inputs that are arguments.
    bound : sequence of ndarray
        Values of the inputs behind the arguments; they are copied.
    reads : sequence of ndarray
        Values that the results behind those of the function must have.
    other : CFunction, optional
        That is called if this one is not the right one; of the same arguments and results.

    Attributes
    ----------
    name : str
    names : tuple of str
    plan : Plan
    address : int
    """

    def __init__(
        self, code: CompiledTape, name: str, names: Sequence[str], bound: Sequence[np.ndarray] = (),
        reads: Sequence[np.ndarray] = (), other: CFunction | None = None,
    ) -> None:  # fmt: skip
        self.name = _identifier(name, "f", set())
        taken: set[str] = set()
        self.names = tuple([_identifier(x, "x", taken) for x in names])
        self._code = code
        self._parts = code, name, tuple(names), tuple(bound), tuple(reads), other
        self._kept = self._constants(bound, reads)
        self.plan = self._planned(reads)
        self._place = _place(self.plan)
        weakref.finalize(self, _give_back, self.plan, self._place).atexit = False
        self.address = self.compiled("call", write_call)
        self._fill(0 if other is None else other.address)

    def __reduce__(self) -> Any:
        return CFunction, self._parts

    def _constants(
        self, bound: Sequence[np.ndarray], reads: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Copies of the memory that the function needs: bound inputs, arrays, values that are read."""
        code, number = self._code, len(self.names)
        layouts, buffers = code.tape.inputs[number:], code.program.arrays
        table = code.new_table()[0][code.first_input + len(code.tape.inputs) :].tolist()
        return [
            *[
                _memory(x.ctypes.data, layout.span)
                for x, layout in zip(bound, layouts, strict=True)
            ],
            *[_memory(x, buffer.span) for x, buffer in zip(table, buffers, strict=False)],
            *[_memory(x.ctypes.data, x.nbytes) for x in reads],
        ]

    def _planned(self, reads: Sequence[np.ndarray]) -> Plan:
        code, words = self._code, len(self._code.new_table()[0])
        inputs, outputs = code.tape.inputs[: len(self.names)], code.outputs
        count = len(outputs) - len(reads)
        return Plan(
            words, code.size,
            tuple([Value(x.dtype, (*x.shape,), code.first_input + i) for i, x in enumerate(inputs)]),
            tuple([Value(x.dtype, (*x.shape,), code.output_word(i)) for i, x in enumerate(outputs[:count])]),
            tuple([
                Guard(code.output_word(count + i), CONTEXT_HEAD + words + i, x.nbytes)
                for i, x in enumerate(reads)
            ]),
        )  # fmt: skip

    def _fill(self, following: int) -> None:
        """Write the words of the context."""
        code, context, plan = self._code, self._place.context, self.plan
        context[[CODE, SLOW, CALL, NEXT]] = code.code, code.slow_code, self.address, following
        table = context[CONTEXT_HEAD : CONTEXT_HEAD + plan.words]
        table[:] = code.new_table()[0]
        addresses = [x.ctypes.data for x in self._kept]
        first, count = code.first_input + len(self.names), len(addresses) - len(plan.guards)
        table[first : first + count] = addresses[:count]
        context[CONTEXT_HEAD + plan.words :] = addresses[count:]

    def compiled(self, label: str, write: Writer) -> int:
        """Address of a function of the plan that `write` writes."""
        return self._place.address(label, self.plan, write)

    @property
    def failures(self) -> list[Failed]:
        """Errors that statements may end with."""
        other = self._parts[-1]
        return [*self._code.failures, *(other.failures if other is not None else ())]

    @property
    def signature(self) -> str:
        """The declaration in C."""
        taken = {*self.names}
        names = [f"out{i}" for i in range(len(self.plan.results))]
        names = [_identifier(x, "out", taken) for x in (["out"] if len(names) == 1 else names)]
        texts = [
            f"const {_declared(x, name)}" if x.shape else f"{_TYPES[x.kind][0]} {name}"
            for x, name in zip(self.plan.arguments, self.names, strict=True)
        ]
        texts += [_declared(x, name) for x, name in zip(self.plan.results, names, strict=True)]
        return f"int {self.name}({', '.join(texts)})"

    @property
    def argtypes(self) -> tuple[Any, ...]:
        """The operands as types of ctypes."""
        kinds = [(x, _TYPES[x.kind][1]) for x in self.plan.arguments]
        given = [ctypes.POINTER(kind) if x.shape else kind for x, kind in kinds]
        return (*given, *[ctypes.POINTER(_TYPES[x.kind][1]) for x in self.plan.results])

    @property
    def ctypes(self) -> Any:
        """The C function as a function of ctypes, which keeps this object.

        Examples
        --------
        >>> import ctypes
        >>> import tapegrad as tg
        >>> square = tg.jit(lambda x: x * x).native(0.0)
        >>> out = ctypes.c_double()
        >>> square.ctypes(3.0, out), out.value
        (0, 9.0)
        """
        return self.pointer(self.address, ctypes.c_int, *self.argtypes)

    def pointer(self, address: int, result: Any, *operands: Any) -> Any:
        """Return a function of ctypes that keeps this object."""
        function: Any = ctypes.CFUNCTYPE(result, *operands)(address)
        function.native = self
        return function


def _memory(address: int, span: int) -> np.ndarray:
    """A copy of bytes."""
    return np.frombuffer(ctypes.string_at(address, span), np.uint8)


def _declared(value: Value, name: str) -> str:
    """Declaration of an address in C."""
    kind = _TYPES[value.kind][0]
    if not value.shape or not value.size:
        return f"{kind} *{name}"
    return f"{kind} {name}{''.join(f'[{n}]' for n in value.shape)}"


def _identifier(name: str, default: str, taken: set[str]) -> str:
    """A name that C allows, and that is not taken."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or default
    if name in _RESERVED or name[0].isdigit():
        name = f"{default}_{name}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name
