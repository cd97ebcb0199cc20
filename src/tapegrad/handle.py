"""The C-level base type of Tensor, and recording in native code.

A handle is four machine words and one Python attribute: the object header, the address of its
tape's state, a *handle id* and a layout id. The handle id indexes a table of the tape (`S_HANDLES`)
that holds the slot, so that the collector can renumber slots without visiting Python objects, and
so that the tape knows at once when a handle dies.

``a * b`` arrives here straight from the interpreter: `binary` looks up the instruction for the two
layouts in a hash table, appends the statement to the tape's arrays and allocates the result's
handle, in about 40 ns. Whatever is not that simple (another thread, a new combination of layouts, a
Python object, a full tape) goes to the Python function registered for the op in `G_SLOW`.

Start reading at `append` (what recording a statement means), then `binary`, then `make_handle_type`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from . import native as nt
from .native import (
    ACTIVE,
    GLOBALS,
    I_BYTES,
    I_DETACH,
    I_DIFF,
    I_EXTRA,
    I_KIND,
    I_LAYOUT,
    I_NARGS,
    I_WIDTH,
    SILENT,
    VIEW,
    VISIBLE,
    WRITE,
    cfunction,
    float_bits,
    globals_address,
    helper,
    native_address,
    p8,
    p32,
    p64,
    stack_words,
)
from .ops.table import SELECT_CODE

__all__ = [
    "NUMBER_PROTOCOL",
    "Thunks",
    "append_statement",
    "as_method",
    "bind_handle",
    "builtin",
    "make_handle_type",
    "new_handle_object",
    "register_slow",
    "unbind_handle",
]

HEADER = object.__basicsize__  # of a PyObject: two words, more in free-threaded builds
_TYPE = HEADER - 8  # where the header keeps the type
_STATE, _ID, _LAYOUT = HEADER, HEADER + 8, HEADER + 12
_NEED_PYTHON = -1
_SELECT = SELECT_CODE
NUMBER_PROTOCOL = 512  # G_SLOW has operators (which may return NotImplemented) this far behind calls
_HASH = -7046029254386353131  # 2**64 / golden ratio: Fibonacci hashing


@helper
def append(state, instruction, args, count):  # type: ignore[no-untyped-def]
    """Append a statement; return its slot, or -1 if Python has to make room or evaluate first."""
    s = p64(state)
    n = s[nt.S_COUNT]
    start = s[nt.S_ARG_COUNT]
    if (
        n >= s[nt.S_CAPACITY]
        or start + count > s[nt.S_ARG_CAPACITY]
        or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]
    ):
        return _NEED_PYTHON
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)
    source, target = p32(args), p32(s[nt.S_ARG] + 4 * start)
    root, base, flags = p32(s[nt.S_ROOT]), p32(s[nt.S_BASE]), p8(s[nt.S_FLAGS])
    active = 0
    visible = 0
    for i in range(row[I_NARGS]):
        slot = source[i]
        active |= flags[root[slot]]
        visible |= flags[base[slot]]
    active &= ACTIVE
    if s[nt.S_GRAD_MODE] == 0 or row[I_DIFF] == 0:
        active = 0
    if visible & VISIBLE:
        s[nt.S_EAGER] = 1
    for i in range(count):
        target[i] = source[i]
    kind = row[I_KIND]
    own_root, own_base, own_flags = n, n, active
    if kind == VIEW or kind >= WRITE:
        parent = source[0]
        if kind < nt.OUTPUT:
            own_base = base[parent]
            own_flags |= flags[parent] & SILENT
            aliases = flags[root[parent]] & ACTIVE == 0 or s[nt.S_GRAD_MODE] != 0
            if row[I_DETACH] == 0 and aliases:
                own_root = root[parent]
                own_flags &= ~ACTIVE
                if kind != VIEW and active:
                    flags[own_root] |= ACTIVE
            else:
                own_flags &= ~ACTIVE
            if row[I_DETACH] == 2:
                own_flags |= SILENT
    p32(s[nt.S_INSTRUCTION])[n] = instruction
    p32(s[nt.S_ARG_START])[n + 1] = start + count
    p64(s[nt.S_ADDRESS])[n] = 0
    root[n] = own_root
    base[n] = own_base
    flags[n] = own_flags
    s[nt.S_ARG_COUNT] = start + count
    if kind == nt.COMPUTE:
        s[nt.S_PENDING_BYTES] += row[I_BYTES]
    s[nt.S_COUNT] = n + 1
    return n


@helper
def new_handle(state, slot, layout):  # type: ignore[no-untyped-def]
    """A Tensor for `slot`, or 0 with a Python error set (no memory) or unset (no handle id)."""
    s = p64(state)
    free = s[nt.S_HANDLE_FREE]
    if free < 0:
        return 0
    g = p64(globals_address())
    tensor = nt.type_alloc(g[nt.G_TENSOR], 0)
    if tensor == 0:
        return 0
    handles = p32(s[nt.S_HANDLES])
    s[nt.S_HANDLE_FREE] = -2 - handles[free]
    s[nt.S_HANDLE_COUNT] += 1
    handles[free] = slot
    p64(tensor + _STATE)[0] = state
    p32(tensor + _ID)[0] = free
    p32(tensor + _LAYOUT)[0] = layout
    return tensor


@helper
def find_pair(op, layout_a, layout_b):  # type: ignore[no-untyped-def]
    """Address of the hash row (key, instruction, layout) of an op on two layouts, or 0."""
    g = p64(globals_address())
    key = (op << 48) | (layout_a << 24) | layout_b
    mask = g[nt.G_PAIRS_MASK]
    at = (key * _HASH) >> 20 & mask
    while True:
        row = g[nt.G_PAIRS] + 24 * at
        found = p64(row)[0]
        if found == key:
            return row
        if found == -1:
            return 0
        at = (at + 1) & mask


@helper
def find_constant(state, bits, dtype):  # type: ignore[no-untyped-def]
    """Slot of a Python scalar, or 0."""
    s = p64(state)
    mask = s[nt.S_CONSTANTS_MASK]
    at = ((bits ^ dtype) * _HASH) >> 20 & mask
    while True:
        row = p64(s[nt.S_CONSTANTS] + 24 * at)
        if row[2] == 0:
            return 0
        if row[0] == bits and row[1] == dtype:
            return row[2]
        at = (at + 1) & mask


@helper
def scalar_slot(state, scalar, layout):  # type: ignore[no-untyped-def]
    """Slot of a Python float or int as an operand of a floating tensor, or 0."""
    g = p64(globals_address())
    dtype = p8(g[nt.G_LAYOUT_DTYPE])[layout]
    if dtype > 1:
        return 0
    kind = p64(scalar + _TYPE)[0]
    if kind == g[nt.G_FLOAT]:
        value = nt.float_as_double(scalar)
    elif kind == g[nt.G_LONG]:
        whole = nt.long_as_longlong(scalar)
        if whole == -1 and nt.error_occurred() != 0:
            nt.error_clear()
            return 0
        if whole > (1 << 53) or whole < -(1 << 53):
            return 0
        value = float(whole)
    else:
        return 0
    return find_constant(state, float_bits(value), np.int64(dtype))


@helper
def own_state(tensor):  # type: ignore[no-untyped-def]
    """State of the tape a handle is on if this thread may record there, else 0."""
    state = p64(tensor + _STATE)[0]
    if state != 0 and p64(state)[nt.S_OWNER] == nt.thread_ident():
        return state
    return 0


@helper
def slot_of(state, tensor):  # type: ignore[no-untyped-def]
    return p32(p64(state)[nt.S_HANDLES])[p32(tensor + _ID)[0]]


@helper
def finish(state, instruction, args, count, layout):  # type: ignore[no-untyped-def]
    """Record and make the handle, or return 0 where Python has to help."""
    s = p64(state)
    if s[nt.S_HANDLE_FREE] < 0 or s[nt.S_EAGER] != 0:
        return 0
    slot = append(state, instruction, args, count)
    if slot < 0:
        return 0
    tensor = new_handle(state, slot, layout)
    if tensor == 0 or s[nt.S_EAGER] != 0:  # undo: Python records it again and evaluates
        if tensor != 0:
            nt.py_decref(tensor)
        s[nt.S_COUNT] -= 1
        s[nt.S_ARG_COUNT] -= count
        row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)
        if row[I_KIND] == nt.COMPUTE:
            s[nt.S_PENDING_BYTES] -= row[I_BYTES]
        s[nt.S_EAGER] = 0
        return 0
    return tensor


@helper
def try_binary(a, b, op):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    tensor = g[nt.G_TENSOR]
    if p64(a + _TYPE)[0] == tensor:
        state = own_state(a)
        if state == 0:
            return 0
        slot_a = np.int64(slot_of(state, a))
        layout_a = np.int64(p32(a + _LAYOUT)[0])
        if p64(b + _TYPE)[0] == tensor:
            if p64(b + _STATE)[0] != state:
                return 0
            slot_b = np.int64(slot_of(state, b))
            layout_b = np.int64(p32(b + _LAYOUT)[0])
        else:
            slot_b = scalar_slot(state, b, layout_a)
            layout_b = np.int64(p8(g[nt.G_LAYOUT_DTYPE])[layout_a]) + 1
    elif p64(b + _TYPE)[0] == tensor:
        state = own_state(b)
        if state == 0:
            return 0
        slot_b = np.int64(slot_of(state, b))
        layout_b = np.int64(p32(b + _LAYOUT)[0])
        slot_a = scalar_slot(state, a, layout_b)
        layout_a = np.int64(p8(g[nt.G_LAYOUT_DTYPE])[layout_b]) + 1
    else:
        return 0
    if slot_a == 0 or slot_b == 0:
        return 0
    row = find_pair(op, layout_a, layout_b)
    if row == 0:
        return 0
    args = stack_words(1)
    p32(args)[0] = slot_a
    p32(args)[1] = slot_b
    return finish(state, p64(row)[1], args, 2, p64(row)[2])


@helper
def try_unary(a, op):  # type: ignore[no-untyped-def]
    if p64(a + _TYPE)[0] != p64(globals_address())[nt.G_TENSOR]:
        return 0
    state = own_state(a)
    if state == 0:
        return 0
    row = find_pair(op, np.int64(p32(a + _LAYOUT)[0]), 0)
    if row == 0:
        return 0
    args = stack_words(1)
    p32(args)[0] = slot_of(state, a)
    return finish(state, p64(row)[1], args, 1, p64(row)[2])


@helper
def slow(op, args, count, names):  # type: ignore[no-untyped-def]
    return nt.vectorcall(p64(p64(globals_address())[nt.G_SLOW])[op], args, count, names)


@cfunction("int64(int64, int64, int64)")
def binary(a, b, op):  # type: ignore[no-untyped-def]
    """Number protocol of an op with two operands."""
    result = try_binary(a, b, op)
    if result == 0 and nt.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = a
        p64(args)[1] = b
        return slow(op + NUMBER_PROTOCOL, args, 2, 0)
    return result


@cfunction("int64(int64, int64)")
def unary(a, op):  # type: ignore[no-untyped-def]
    """Number protocol of an op with one operand."""
    result = try_unary(a, op)
    if result == 0 and nt.error_occurred() == 0:
        args = stack_words(1)
        p64(args)[0] = a
        return slow(op + NUMBER_PROTOCOL, args, 1, 0)
    return result


@cfunction("int64(int64, int64, int64, int64)")
def fastcall(args, count, names, op):  # type: ignore[no-untyped-def]
    """A function or method call of an op: ``tg.sin(x)``, ``x.add(y)``."""
    result = np.int64(0)
    if names == 0:
        if count == 2:
            result = try_binary(p64(args)[0], p64(args)[1], op)
        elif count == 1:
            result = try_unary(p64(args)[0], op)
    if result == 0 and nt.error_occurred() == 0:
        return slow(op, args, count, names)
    return result


@helper
def try_select(tensor, key):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    if p64(key + _TYPE)[0] != g[nt.G_LONG] or p64(tensor + _TYPE)[0] != g[nt.G_TENSOR]:
        return 0
    state = own_state(tensor)
    if state == 0:
        return 0
    row = find_pair(_SELECT, np.int64(p32(tensor + _LAYOUT)[0]), 0)
    if row == 0:
        return 0
    index = nt.long_as_longlong(key)
    if index == -1 and nt.error_occurred() != 0:
        nt.error_clear()
        return 0
    instruction = p64(row)[1]
    extra = p64(g[nt.G_ITAB] + 8 * (I_WIDTH * instruction + I_EXTRA))
    if index < 0:
        index += extra[0]
    if index < 0 or index >= extra[0]:
        return 0
    args = stack_words(2)
    p32(args)[0] = slot_of(state, tensor)
    offset = index * extra[1]
    p32(args)[1] = offset & 0xFFFFFFFF
    p32(args)[2] = offset >> 32
    return finish(state, instruction, args, 3, p64(row)[2])


@cfunction("int64(int64, int64)")
def subscript(tensor, key):  # type: ignore[no-untyped-def]
    """``tensor[key]``; an integer on the first axis is recorded here."""
    result = try_select(tensor, key)
    if result == 0 and nt.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = tensor
        p64(args)[1] = key
        return slow(_SELECT, args, 2, 0)
    return result


@cfunction("void(int64)")
def dealloc(tensor):  # type: ignore[no-untyped-def]
    """Give the handle id back to the tape, then the memory to Python."""
    state = p64(tensor + _STATE)[0]
    if state != 0:
        s = p64(state)
        handle = p32(tensor + _ID)[0]
        p32(s[nt.S_HANDLES])[handle] = -2 - s[nt.S_HANDLE_FREE]
        s[nt.S_HANDLE_FREE] = handle
        s[nt.S_HANDLE_COUNT] -= 1
    kind = p64(tensor + _TYPE)[0]
    nt.call_void(nt.type_slot(kind, 74), tensor)  # Py_tp_free
    nt.py_decref(kind)


@cfunction("int64(int64, int64, int64, int64)")
def append_entry(state, instruction, args, count):  # type: ignore[no-untyped-def]
    return append(state, instruction, args, count)


@cfunction("int64(int64, int64, int64)")
def handle_entry(state, slot, layout):  # type: ignore[no-untyped-def]
    return new_handle(state, slot, layout)


@cfunction("int64(int64, int64, int64, int64)")
def bind_entry(tensor, state, slot, layout):  # type: ignore[no-untyped-def]
    """Bind an unbound handle to a slot; 0, or -1 where no handle id is free."""
    s = p64(state)
    free = s[nt.S_HANDLE_FREE]
    if free < 0:
        return -1
    handles = p32(s[nt.S_HANDLES])
    s[nt.S_HANDLE_FREE] = -2 - handles[free]
    s[nt.S_HANDLE_COUNT] += 1
    handles[free] = slot
    p64(tensor + _STATE)[0] = state
    p32(tensor + _ID)[0] = free
    p32(tensor + _LAYOUT)[0] = layout
    return 0


@cfunction("int64(int64)")
def unbind_entry(tensor):  # type: ignore[no-untyped-def]
    """Give back the handle id of a bound handle."""
    s = p64(p64(tensor + _STATE)[0])
    handle = p32(tensor + _ID)[0]
    p32(s[nt.S_HANDLES])[handle] = -2 - s[nt.S_HANDLE_FREE]
    s[nt.S_HANDLE_FREE] = handle
    s[nt.S_HANDLE_COUNT] -= 1
    p64(tensor + _STATE)[0] = 0
    return 0


# --------------------------------------------------------------------------- entry points a type needs
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


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


#: what must live as long as the process: type specs, method definitions, the thunks' engine
_KEEP: list[Any] = []
# numbers of typeobject slots (typeslots.h, stable ABI)
_TP_DEALLOC, _TP_MEMBERS, TP_RICHCOMPARE, _MP_SUBSCRIPT = 52, 72, 67, 5
SLOTS = {
    "add": 7, "subtract": 36, "multiply": 29, "true_divide": 37, "floor_divide": 12,
    "remainder": 34, "matrix_multiply": 75, "power": 33, "negative": 26, "absolute": 6,
    "and": 8, "or": 31, "xor": 38, "invert": 27,
}  # fmt: skip


class Thunks:
    """Tiny functions with an opcode baked in, compiled together at the first import of Tensor.

    A C function slot takes no closure, so each op has a thunk of its own that passes the opcode on.
    """

    def __init__(self) -> None:
        self._module = ir.Module("tapegrad_thunks")
        self._word = ir.IntType(64)
        self._names: list[str] = []
        self._engine: Any = None

    def add(self, target: Any, arity: int, op: int, *, used: int, drop_first: bool = False) -> str:
        """Declare a thunk of `arity` words that calls ``target(first `used` words, op)``."""
        word = self._word
        name = f"t{len(self._names)}"
        function = ir.Function(self._module, ir.FunctionType(word, [word] * arity), name)
        builder = ir.IRBuilder(function.append_basic_block())
        kind = ir.FunctionType(word, [word] * (used + 1)).as_pointer()
        address = builder.inttoptr(ir.Constant(word, native_address(target)), kind)
        args = list(function.args)[1 if drop_first else 0 :][:used]
        builder.ret(builder.call(address, [*args, ir.Constant(word, op)], tail=True))
        self._names.append(name)
        return name

    def add_compare(self, first_op: int) -> str:
        """Declare the rich-comparison thunk: opcode `first_op` plus CPython's comparison number."""
        word = self._word
        function = ir.Function(
            self._module, ir.FunctionType(word, [word, word, ir.IntType(32)]), "compare"
        )
        builder = ir.IRBuilder(function.append_basic_block())
        kind = ir.FunctionType(word, [word] * 3).as_pointer()
        address = builder.inttoptr(ir.Constant(word, native_address(binary)), kind)
        a, b, which = function.args
        op = builder.add(builder.zext(which, word), ir.Constant(word, first_op))
        builder.ret(builder.call(address, [a, b, op], tail=True))
        self._names.append("compare")
        return "compare"

    def compile(self) -> dict[str, int]:
        """Compile them all; return their addresses by name."""
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(self._module)), machine)
        self._engine.finalize_object()
        _KEEP.append(self._engine)
        return {name: self._engine.get_function_address(name) for name in self._names}


def make_handle_type(slots: dict[int, int]) -> type:
    """Create the C type with the given function slots (number of the slot -> address)."""
    members = (_Member * 4)(
        _Member(b"_state", 17, _STATE, 1, b"address of the state of the tape, 0 if unbound"),
        _Member(b"_handle", 1, _ID, 1, b"handle id"),
        _Member(b"_layout_id", 1, _LAYOUT, 1, b"layout id"),
        _Member(None, 0, 0, 0, None),
    )
    table = [
        _Slot(_TP_DEALLOC, native_address(dealloc)),
        _Slot(_TP_MEMBERS, ctypes.cast(members, ctypes.c_void_p).value),
        _Slot(_MP_SUBSCRIPT, native_address(subscript)),
        *(_Slot(number, address) for number, address in slots.items()),
        _Slot(0, None),
    ]
    array = (_Slot * len(table))(*table)
    spec = _Spec(b"tapegrad.handle.Handle", HEADER + 16, 0, (1 << 10) | (1 << 18), array)
    make = ctypes.pythonapi.PyType_FromSpec
    make.restype, make.argtypes = ctypes.py_object, [ctypes.POINTER(_Spec)]
    _KEEP.extend((members, array, spec))
    kind = make(ctypes.byref(spec))
    assert isinstance(kind, type)
    return kind


def builtin(name: str, address: int, doc: str) -> Any:
    """A builtin function (METH_FASTCALL | METH_KEYWORDS) at `address`."""
    definition = _MethodDef(name.encode(), address, 0x0080 | 0x0002, doc.encode())
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.POINTER(_MethodDef), ctypes.c_void_p, ctypes.c_void_p]
    _KEEP.append(definition)
    return make(ctypes.byref(definition), None, None)


def as_method(function: Any) -> Any:
    """Wrap a builtin function so that it binds like a method when looked up on an instance."""
    wrap = ctypes.pythonapi.PyInstanceMethod_New
    wrap.restype, wrap.argtypes = ctypes.py_object, [ctypes.py_object]
    return wrap(function)


_slow_callables: list[Any] = []
_slow_table = np.zeros(1024, np.int64)
GLOBALS[nt.G_SLOW] = _slow_table.ctypes.data
GLOBALS[nt.G_FLOAT] = id(float)
GLOBALS[nt.G_LONG] = id(int)


def register_slow(op: int, function: Any) -> None:
    """Say which Python callable takes over where the fast path of an op does not apply."""
    _slow_callables.append(function)
    _slow_table[op] = id(function)


append_statement = nt.callable_at(native_address(append_entry), 4, release_gil=False)
new_handle_object = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
)(native_address(handle_entry))
bind_handle = nt.callable_at(native_address(bind_entry), 4, release_gil=False)
unbind_handle = nt.callable_at(native_address(unbind_entry), 1, release_gil=False)
