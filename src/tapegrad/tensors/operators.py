"""Operators and functions of the op table's rows, as builtins that record natively.

Start reading at `make_base`: it makes the C type that `Tensor` derives from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.errors import must_be
from ..functions import keywords, registry
from ..native import handle_type as handle
from ..ops.table import TABLE, Op
from ..tape import recording as record

__all__ = ["FUNCTIONS", "make_base"]

_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div",
    "floor_divide": "floor_divide", "remainder": "remainder", "power": "pow",
    "matrix_multiply": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
_UNARY_OPERATORS = {"negative": "neg", "absolute": "abs", "invert": "bitwise_not"}
_COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")  # in CPython's order

#: functions of the op table, by name
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _slow_call(entry: Op) -> Callable[..., Any]:
    """Return the function for calls ``tg.add(x, y)`` or ``x.add(y)`` that native recording does not take."""
    special = registry.FUNCTIONS.get(entry.name)
    if special is not None:
        return special
    name = entry.name

    def call_unary(input: Any) -> Any:
        record.check_tensors(name, (input,))
        return record.unary(entry, input)

    def call_binary(input: Any, other: Any) -> Any:
        if not record.is_tensor(input):
            if not (record.is_number(input) and record.is_tensor(other)):
                record.check_tensors(name, (input,))
        elif not record.is_tensor(other) and not record.is_number(other):
            raise must_be(name, "other", 2, "Tensor", other)
        return record.binary(entry, input, other)

    call: Any = call_unary if entry.arity == 1 else call_binary
    call.__name__ = call.__qualname__ = name
    return keywords.accept(name, call, out=True)


def _slow_operator(entry: Op, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same for an operator, which leaves unknown operands to Python."""
    if entry.arity == 1:
        return call

    numbers = entry.name != "matmul"

    def operator(a: Any, b: Any, *modulus: Any) -> Any:
        if modulus:
            raise TypeError("pow() of tensors takes no third argument")
        for value in (a, b):
            if not record.is_tensor(value) and not (numbers and record.is_number(value)):
                if isinstance(value, np.ndarray):
                    from_numpy = registry.FUNCTIONS["as_tensor"]
                    return operator(*(from_numpy(v) if v is value else v for v in (a, b)))
                return NotImplemented
        return call(a, b)

    return operator


def make_base() -> type:
    """Make the C type with its operators, and the builtin functions of the op table."""
    thunks = handle.Thunks()
    slots: dict[str, str] = {}
    for protocol, name in _OPERATORS.items():
        target, arity = ("power", 3) if protocol == "power" else ("binary", 2)
        slots[protocol] = thunks.add(target, arity, TABLE[name].code, used=arity)
    for protocol, name in _UNARY_OPERATORS.items():
        slots[protocol] = thunks.add("unary", 1, TABLE[name].code, used=1)
    first = TABLE["lt"].code
    assert [TABLE[name].code - first for name in _COMPARISONS] == list(range(6))
    compare = thunks.add_compare(first)
    rows = {
        entry.function or entry.name: entry
        for entry in TABLE.values()
        if entry.function or (entry.is_elementwise and entry.arity in (1, 2) and not entry.private)
    }
    calls = {
        name: thunks.add("fastcall", 4, entry.code, used=3, drop_first=True)
        for name, entry in rows.items()
    }
    address = thunks.compile()
    for name, thunk in calls.items():
        entry = rows[name]
        call = registry.FUNCTIONS.get(name) or _slow_call(entry)
        handle.register_slow(entry.code, call)
        handle.register_slow(entry.code + handle.NUMBER_PROTOCOL, _slow_operator(entry, call))
        FUNCTIONS[name] = handle.builtin(name, address[thunk], _doc(entry, call))
    handle.register_slow(TABLE["select"].code, registry.METHODS["__getitem__"])
    numbers = {handle.SLOTS[protocol]: address[thunk] for protocol, thunk in slots.items()}
    numbers[handle.TP_RICHCOMPARE] = address[compare]
    return handle.make_handle_type(numbers)


def _doc(entry: Op, call: Callable[..., Any]) -> str:
    if call.__doc__:
        return call.__doc__
    operands = "input" if entry.arity == 1 else "input, other"
    return f"{entry.name}({operands})\n--\n\n" + f"The op {entry.name}, elementwise."
