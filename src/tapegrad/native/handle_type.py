"""The C-level base type of Tensor, and recording in native code.

A handle is five machine words: the object header, the address of its
tape's state, a *handle id* and a layout id. The handle id indexes a table of the tape (`S_HANDLES`)
that holds the slot, so that the collector can renumber slots without visiting Python objects, and
so that the tape knows at once when a handle dies.

``a * b`` arrives there straight from the interpreter: `binary` allocates the result's handle, looks up the
instruction for the two layouts in a hash table and appends the statement to the tape's arrays, in about
40 ns. Every other case (another thread, a new combination of layouts, a Python
object, a full tape) goes to the Python function registered for the op in `G_SLOW`.

Start reading in runtime/recording.py, at `append` (the meaning of recording a statement) and `binary`; then
`make_handle_type` here.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import llvmlite.binding as llvm
import numpy as np

from . import abi as nt
from . import machine_code
from .builtin_calls import MethodDef, keep, native_call

__all__ = [
    "AnyTensor",
    "TensorHandle",
    "Thunks",
    "append_leaf",
    "append_statement",
    "as_method",
    "bind_handle",
    "builtin",
    "make_handle_type",
    "new_handle_object",
    "record_statement",
    "register_slow",
    "room_left",
    "slot_at",
    "status_of",
]


class TensorHandle(Protocol):
    """A Tensor, as packages below `tensors` know it."""

    #: address of its tape's state; 0 once the tape is gone
    _state: int
    #: row of the tape's table of handles that holds its slot
    _handle: int
    #: number of its layout
    _layout_id: int
    #: `Storage` of a leaf: its memory and gradient (tape/leaf_storage.py)
    _meta: Any

    # Of the methods and attributes that `tensors` adds, those that are used below it.
    @property
    def dtype(self) -> Any: ...
    @property
    def is_leaf(self) -> bool: ...
    @property
    def requires_grad(self) -> bool: ...
    @property
    def shape(self) -> Any: ...
    def __add__(self, other: Any) -> Any: ...
    def _array(self) -> Any: ...
    def clone(self) -> Any: ...
    def detach(self) -> Any: ...
    def new_zeros(self, size: Any) -> Any: ...
    def reshape(self, shape: Any) -> Any: ...
    def retain_grad(self) -> None: ...


#: a Tensor that a package below `tensors` returns: the class is registered there (tape/recording.py)
AnyTensor = Any


_STATE, _ID, _LAYOUT, _DICT = nt.HEADER, nt.HEADER + 8, nt.HEADER + 12, nt.HEADER + 16
NUMBER_PROTOCOL = nt.NUMBER_PROTOCOL


# --------------------------------------------------------------------------- entry points of the type
class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    )


class _Member(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


# numbers of typeobject slots (typeslots.h, stable ABI)
_TP_DEALLOC, _TP_MEMBERS, TP_RICHCOMPARE, _MP_SUBSCRIPT, _BF_GETBUFFER = 52, 72, 67, 5, 1
SLOTS = {
    "add": 7, "subtract": 36, "multiply": 29, "true_divide": 37, "floor_divide": 12,
    "remainder": 34, "matrix_multiply": 75, "power": 33, "negative": 30, "absolute": 6,
    "and": 8, "or": 31, "xor": 38, "invert": 27, "lshift": 28, "rshift": 35,
}  # fmt: skip


class Thunks:
    """Tiny functions with an opcode baked in, assembled together.

    A C function slot takes no closure, so each op has a thunk that passes the opcode on to an
    entry point of runtime/recording.py.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._targets: set[str] = set()
        self._names: list[str] = []

    def _add(self, target: str, parameters: list[str], passed: list[str], body: str = "") -> str:
        name = f"tapegrad_thunk_{len(self._names)}"
        symbol = f"tapegrad_{target}"
        words = ", ".join("i64" for _ in passed)
        if target not in self._targets:
            self._text.append(f"declare i64 @{symbol}({words})")
            self._targets.add(target)
        arguments = ", ".join(f"i64 {p}" for p in passed)
        self._text.append(
            f"define i64 @{name}({', '.join(parameters)}) {{\n{body}"
            f"  %r = tail call i64 @{symbol}({arguments})\n  ret i64 %r\n}}"
        )
        self._names.append(name)
        return name

    def add(self, target: str, arity: int, op: int, *, used: int, drop_first: bool = False) -> str:
        """Add a thunk of `arity` words that calls ``target(first `used` words, op)``."""
        first = 1 if drop_first else 0
        passed = [f"%a{i}" for i in range(first, first + used)]
        return self._add(target, [f"i64 %a{i}" for i in range(arity)], [*passed, str(op)])

    def add_compare(self, first_op: int) -> str:
        """Add the rich-comparison thunk: opcode `first_op` plus CPython's comparison number."""
        body = f"  %w = zext i32 %c to i64\n  %o = add i64 %w, {first_op}\n"
        return self._add("binary", ["i64 %a", "i64 %b", "i32 %c"], ["%a", "%b", "%o"], body)

    def compile(self) -> dict[str, int]:
        """Load or assemble them all; return their addresses by name."""
        for target in self._targets:
            llvm.add_symbol(f"tapegrad_{target}", machine_code.entry(target))
        text = "\n".join(self._text)
        unit = machine_code.assembly_unit("thunks", text, self._names)
        machine_code.UNITS.append(unit)
        return machine_code.load(unit)


def make_handle_type(slots: dict[int, int]) -> type:
    """Create the C type with the given function slots (number of the slot -> address)."""
    members = (_Member * 5)(
        _Member(b"_state", 17, _STATE, 1, b"address of the state of the tape, 0 if unbound"),
        _Member(b"_handle", 1, _ID, 1, b"handle id"),
        _Member(b"_layout_id", 1, _LAYOUT, 1, b"layout id"),
        # Attributes that users set, as on PyTorch's tensors. The dict comes when the first is set.
        _Member(b"__dictoffset__", 19, _DICT, 1, None),
        _Member(None, 0, 0, 0, None),
    )
    table = [
        _Slot(_TP_DEALLOC, machine_code.entry("dealloc")),
        _Slot(_TP_MEMBERS, ctypes.cast(members, ctypes.c_void_p).value),
        _Slot(_MP_SUBSCRIPT, machine_code.entry("subscript")),
        _Slot(_BF_GETBUFFER, machine_code.entry("get_buffer")),
        *(_Slot(number, address) for number, address in slots.items()),
        _Slot(0, None),
    ]
    array = (_Slot * len(table))(*table)
    spec = _Spec(
        b"tapegrad.native.handle_type.Handle", nt.HEADER + 24, 0, (1 << 10) | (1 << 18), array
    )
    make = ctypes.pythonapi.PyType_FromSpec
    make.restype, make.argtypes = ctypes.py_object, [ctypes.POINTER(_Spec)]
    keep(members, array, spec)
    kind = make(ctypes.byref(spec))
    assert isinstance(kind, type)
    return kind


def builtin(name: str, address: int, doc: str) -> Any:
    """A builtin function (METH_FASTCALL | METH_KEYWORDS) at `address`."""
    definition = MethodDef(name.encode(), address, 0x0080 | 0x0002, doc.encode())
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.POINTER(MethodDef), ctypes.c_void_p, ctypes.c_void_p]
    keep(definition)
    return make(ctypes.byref(definition), None, None)


def as_method(function: Any) -> Any:
    """Wrap a builtin function so that it binds like a method when looked up on an instance."""
    wrap = ctypes.pythonapi.PyInstanceMethod_New
    wrap.restype, wrap.argtypes = ctypes.py_object, [ctypes.py_object]
    return wrap(function)


_slow_callables: list[Any] = []
_slow_table = np.zeros(nt.METHOD_CALL + 512, np.int64)
nt.GLOBALS[nt.G_SLOW] = _slow_table.ctypes.data
nt.GLOBALS[nt.G_FLOAT] = id(float)
nt.GLOBALS[nt.G_LONG] = id(int)
nt.GLOBALS[nt.G_SLICE] = id(slice)
nt.GLOBALS[nt.G_NONE] = id(None)
nt.GLOBALS[nt.G_TRUE], nt.GLOBALS[nt.G_FALSE] = id(True), id(False)
nt.GLOBALS[nt.G_ALLOC] = (
    ctypes.cast(ctypes.pythonapi.PyType_GenericAlloc, ctypes.c_void_p).value or 0
)


def register_slow(op: int, function: Any) -> None:
    """Register the Python callable that takes over where the fast path of an op does not apply."""
    _slow_callables.append(function)
    _slow_table[op] = id(function)


append_leaf = native_call("append_leaf")
append_statement = native_call("append_entry")
new_handle_object = native_call("handle_entry")
record_statement = native_call("statement_entry")
status_of = native_call("status_entry")
bind_handle = native_call("bind_entry")
slot_at = native_call("slot_entry")
room_left = native_call("room_left_entry")
