"""Operators and functions of the op table's rows, as builtins that record natively.

Start reading at `make_base`: it makes the C type that `Tensor` derives from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from ..base.errors import must_be
from ..functions import keywords, registry
from ..functions.help_texts import HELP
from ..functions.signature import Operand, Tensor
from ..native import abi as nt
from ..native import handle_type as handle
from ..ops.table import TABLE, Op
from ..tape import recording as record
from . import plain_calls

__all__ = ["FUNCTIONS", "METHODS", "MODULES", "ROWS", "make_base", "native_function", "top_level"]

_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div",
    "floor_divide": "floor_divide", "remainder": "remainder", "power": "pow",
    "matrix_multiply": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
_UNARY_OPERATORS = {"negative": "neg", "absolute": "abs", "invert": "bitwise_not"}
_COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")  # in CPython's order

#: functions of the op table, by name
FUNCTIONS: dict[str, Callable[..., Any]] = {}
#: and methods of Tensor, which differ from them in errors' texts only
METHODS: dict[str, Callable[..., Any]] = {}
#: functions that stand in a module of their own (`Op.module`), by module and name
MODULES: dict[str, dict[str, Callable[..., Any]]] = {"special": {}}
#: the row of each of those functions that computes elements
ROWS: dict[Callable[..., Any], Op] = {}


def top_level(name: str) -> Callable[..., Any]:
    """Return the function that the package has under a name, for packages below its top level."""
    return FUNCTIONS.get(name) or registry.FUNCTIONS[name]


def _slow_call(entry: Op) -> Callable[..., Any]:
    """Return the function for calls ``tg.add(x, y)`` or ``x.add(y)`` that native recording does not take."""

    def call_unary(input: Tensor) -> Tensor:
        return record.unary(entry, input)

    def call_binary(input: Operand, other: Operand) -> Tensor:
        if not (record.is_tensor(input) or record.is_tensor(other)):
            raise must_be(entry.name, "input", 1, "Tensor", input)
        return record.binary(entry, input, other)

    call: Any = call_unary if entry.arity == 1 else call_binary
    call.__name__ = call.__qualname__ = entry.name
    return registry.declared(function=False, method=False)(call)


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
                    # Copied: who writes the array later writes nothing that a pass needs.
                    from_numpy = registry.FUNCTIONS["tensor"]
                    return operator(*(from_numpy(v) if v is value else v for v in (a, b)))
                if isinstance(value, bytes | bytearray):  # which would add the tensor's bytes
                    kinds = " and ".join(repr(type(v).__name__) for v in (a, b))
                    raise TypeError(f"unsupported operand type(s) for {entry.name}: {kinds}")
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
    codes = {name: entry.code for name, entry in rows.items()}
    codes.update({name: plain_calls.code_of(name) for name in plain_calls.NAMES})
    functions, methods = (
        {
            name: thunks.add(
                "plain_call" if name in plain_calls.NAMES else "fastcall",
                4, code + behind, used=3, drop_first=True,
            )
            for name, code in codes.items()
        }
        for behind in (0, nt.METHOD_CALL)
    )  # fmt: skip
    address = thunks.compile()
    for name in plain_calls.NAMES:
        if name in registry.FUNCTIONS:
            call = registry.FUNCTIONS[name]
            handle.register_slow(codes[name], plain_calls.noting(name, call))
            text = plain_calls.help_text(name, call, name)
            FUNCTIONS[name] = handle.builtin(name, address[functions[name]], text)
        if name in registry.METHODS:
            call = registry.METHODS[name]
            handle.register_slow(codes[name] + nt.METHOD_CALL, plain_calls.noting(name, call))
            text = plain_calls.help_text(name, call, f"Tensor.{name}")
            METHODS[name] = handle.as_method(handle.builtin(name, address[methods[name]], text))
    for name, entry in rows.items():
        if name in plain_calls.NAMES:
            continue
        if name in registry.FUNCTIONS:
            call = registry.FUNCTIONS[name]
            method = registry.METHODS.get(name, call)
        else:
            slow = _slow_call(entry)
            call = keywords.accept(name, slow, out=True)
            method = keywords.accept(name, slow, out=False, method=True)
        handle.register_slow(entry.code, call)
        handle.register_slow(entry.code + nt.METHOD_CALL, method)
        handle.register_slow(entry.code + handle.NUMBER_PROTOCOL, _slow_operator(entry, call))
        text, method_text = HELP.get(f"op {name}", ""), HELP.get(f"op Tensor.{name}", "")
        if entry.module:
            short = name.removeprefix(f"{entry.module}_")
            text = HELP.get(f"op {entry.module}.{short}", "")
            function = handle.builtin(short, address[functions[name]], text)
            MODULES[entry.module][short], ROWS[function] = function, entry
            continue
        function = FUNCTIONS[name] = handle.builtin(name, address[functions[name]], text)
        if entry.is_elementwise:
            ROWS[function] = entry
        METHODS[name] = handle.as_method(handle.builtin(name, address[methods[name]], method_text))
        FUNCTIONS.update(dict.fromkeys(entry.aliases, FUNCTIONS[name]))
        METHODS.update(dict.fromkeys(entry.aliases, METHODS[name]))
    handle.register_slow(TABLE["select"].code, registry.METHODS["__getitem__"])
    numbers = {handle.SLOTS[protocol]: address[thunk] for protocol, thunk in slots.items()}
    numbers[handle.TP_RICHCOMPARE] = address[compare]
    return handle.make_handle_type(numbers)


def native_function(entry: Op, call: Callable[..., Any], text: str) -> Callable[..., Any]:
    """Make the builtin function of a row that is added while the program runs, with one or two operands.

    Parameters
    ----------
    entry : Op
    call : callable
        Takes over where native recording does not apply.
    text : str
        Its help text.
    """
    thunks = handle.Thunks()
    thunk = thunks.add("fastcall", 4, entry.code, used=3, drop_first=True)
    handle.register_slow(entry.code, call)
    function = cast(Callable[..., Any], handle.builtin(entry.name, thunks.compile()[thunk], text))
    ROWS[function] = entry
    return function
