"""The one place that decides how native code is compiled, and the words it is written in.

Native functions of tapegrad are numba *cfuncs* over machine integers: addresses and counts go in,
a count or an address comes out. They bake in no address (the globals are reached through a symbol
that every process defines anew), so their object code is cached on disk and loads in milliseconds.

Start reading at `cfunction` (how an entry point is compiled), then `helper` (what it may call). The
``p8``/``p32``/``p64`` intrinsics turn an address into a typed pointer that is indexed like an array.
The constants at the end are the layout of the two structures native code shares with Python: the
process-wide *globals* (``G_*``) and the state of one tape (``S_*``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

__all__ = ["GLOBALS", "cfunction", "helper", "i64", "native_address"]

i64 = types.int64
_I64 = ir.IntType(64)
_I8P = ir.IntType(8).as_pointer()

#: options of everything that is compiled here: IEEE division, no exceptions, no bounds checks
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "cache": True}


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that other native functions call."""
    return njit(**_OPTIONS)(function)


def cfunction(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile an entry point with a C signature such as ``"int64(int64, int64)"``."""
    return cfunc(signature, **_OPTIONS)


def native_address(function: Any) -> int:
    """Address of a compiled entry point."""
    return int(function.address)


# --------------------------------------------------------------------------- globals
#: process-wide structure of native code, reached by symbol so that no address is compiled in
GLOBALS = np.zeros(64, np.int64)
llvm.add_symbol("tapegrad_globals", GLOBALS.ctypes.data)


@intrinsic
def globals_address(context: Any) -> Any:
    """Address of `GLOBALS` in this process."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        module = builder.module
        variable = module.globals.get("tapegrad_globals")
        if variable is None:
            variable = ir.GlobalVariable(module, _I64, "tapegrad_globals")
        return builder.ptrtoint(variable, _I64)

    return i64(), codegen


def _pointer_cast(numba_type: Any, bits: int) -> Any:
    @intrinsic
    def cast(context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(numba_type)(i64), codegen

    return cast


p8 = _pointer_cast(types.uint8, 8)
p16 = _pointer_cast(types.int16, 16)
p32 = _pointer_cast(types.int32, 32)
p64 = _pointer_cast(types.int64, 64)
pf32 = _pointer_cast(types.float32, 32)
pf64 = _pointer_cast(types.float64, 64)


@intrinsic
def call_loop(context: Any, function: Any, args: Any, dims: Any, strides: Any, data: Any) -> Any:
    """Call ``void (char **args, npy_intp *dims, npy_intp *strides, void *data)`` by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64, _I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(i64, i64, i64, i64, i64), codegen


@intrinsic
def call_void(context: Any, function: Any, argument: Any) -> Any:
    """Call ``void (void *)`` by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(i64, i64), codegen


@intrinsic
def stack_words(context: Any, count: Any) -> Any:
    """Address of `count` (a literal) 64-bit words on the stack of the calling function."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    words = count.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(_I64, words))
        return builder.ptrtoint(memory, _I64)

    return i64(count), codegen


@intrinsic
def float_bits(context: Any, value: Any) -> Any:
    """The bits of a float64 as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _I64)

    return i64(types.float64), codegen


_external = types.ExternalFunction
malloc = _external("malloc", i64(i64))
free = _external("free", types.void(i64))
memset = _external("memset", i64(i64, types.int32, i64))
memcpy = _external("memcpy", i64(i64, i64, i64))
thread_ident = _external("PyThread_get_thread_ident", i64())
type_alloc = _external("PyType_GenericAlloc", i64(i64, i64))
type_slot = _external("PyType_GetSlot", i64(i64, types.int32))
vectorcall = _external("PyObject_Vectorcall", i64(i64, i64, i64, i64))
py_decref = _external("Py_DecRef", types.void(i64))
py_incref = _external("Py_IncRef", types.void(i64))
float_as_double = _external("PyFloat_AsDouble", types.float64(i64))
long_as_longlong = _external("PyLong_AsLongLong", i64(i64))
error_occurred = _external("PyErr_Occurred", i64())
error_clear = _external("PyErr_Clear", types.void())


def callable_at(address: int, count: int, *, release_gil: bool) -> Callable[..., int]:
    """A Python callable for native code that takes `count` integers and returns one.

    Parameters
    ----------
    address : int
        Where the code is.
    count : int
        Number of int64 arguments.
    release_gil : bool
        Whether other Python threads run meanwhile.
    """
    kind = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
    return kind(ctypes.c_int64, *([ctypes.c_int64] * count))(address)


# --------------------------------------------------------------------------- fields of GLOBALS
G_TENSOR = 0  # the Tensor type
G_PAIRS = 1  # hash table (op, layout, layout) -> (instruction, layout): rows of three words
G_PAIRS_MASK = 2
G_SLOW = 3  # Python callables, one an entry point, for what the fast path does not take
G_FLOAT = 4  # the type float
G_LONG = 5  # the type int
G_ITAB = 6  # instructions: rows of I_WIDTH words
G_VTAB = 7  # VJP programs: rows of V_WIDTH words
G_STEPS = 8  # steps of programs: rows of P_WIDTH words
G_LAYOUT_DTYPE = 9  # one byte a layout: its dtype's code
G_LIVE_TAPES = 10

# --------------------------------------------------------------------------- fields of a tape's state
S_OWNER = 0  # thread that records
S_COUNT = 1  # statements, slot 0 included
S_CAPACITY = 2  # statements that fit before Python has to look (collect, or grow)
S_ARG_COUNT = 3
S_ARG_CAPACITY = 4
S_INSTRUCTION = 5  # int32 a statement
S_ARG_START = 6  # int32 a statement, and a sentinel: CSR into S_ARG
S_ARG = 7  # int32
S_ADDRESS = 8  # int64 a statement: where its primal is, 0 while pending
S_ROOT = 9  # int32 a statement: the slot whose adjoint buffer this one's aliases
S_BASE = 10  # int32 a statement: the slot whose memory this one's aliases
S_FLAGS = 11  # uint8 a statement
S_DONE = 12  # statements evaluated
S_GRAD_MODE = 13
S_PENDING_BYTES = 14
S_PENDING_LIMIT = 15
S_HANDLES = 16  # int32 a handle id: its slot, or -2 - next free id
S_HANDLE_FREE = 17  # first free id, or -1
S_HANDLE_CAPACITY = 18
S_HANDLE_COUNT = 19
S_CONSTANTS = 20  # hash table (bits, dtype) -> slot: rows of three words
S_CONSTANTS_MASK = 21
S_SCRATCH = 22
S_SCRATCH_SIZE = 23
S_OWNED_BYTES = 24  # of buffers above SMALL that the tape owns
S_EAGER = 25  # a statement touched memory that is visible outside: evaluate now
S_VALUES = 26  # an arena (A_WIDTH words)
S_ADJOINTS = 32  # an arena
S_POOL = 38  # count, bytes, limit, then 32 x (address, size)
S_FAILED = 112  # slot whose evaluation failed, or 0
S_WIDTH = 128

# an arena of small buffers: bump allocation from blocks
A_NEXT = 0
A_END = 1
A_BLOCKS = 2  # address of the list of blocks
A_BLOCK_COUNT = 3
A_BLOCK_CAPACITY = 4
A_USED = 5  # blocks in use (those behind are kept for the next round)

SMALL = 2048  # bytes; larger buffers have an allocation of their own
BLOCK = 65536  # bytes of an arena's block

# flags of a slot
ACTIVE = 1
EXTERNAL = 2  # its memory belongs to an ndarray or a constant
FREED = 4  # its residuals were released by a reverse sweep
CAPTURE = 8  # its adjoint is to be copied out when the reverse sweep reaches it
VISIBLE = 16  # its memory is visible outside
SILENT = 32  # writes through it do not count as a new version (`Tensor.data`)
STUB = 64  # a value whose operands were dropped
POISON = 128  # its evaluation failed

# kinds of instruction
LEAF, COMPUTE, VIEW, WRITE, ACCUMULATE, OUTPUT = range(6)

# columns of an instruction
I_KIND, I_NARGS, I_BYTES, I_STEP_LO, I_STEP_HI, I_SCRATCH, I_LAYOUT, I_DIFF = range(8)
I_NOUT, I_VJP, I_FULL, I_DETACH, I_OPCODE, I_EXTRA = range(8, 14)
I_WIDTH = 16

# columns of a VJP program (an instruction and an operand)
V_ASSIGN_LO, V_ASSIGN_HI, V_ACC_LO, V_ACC_HI, V_SCRATCH, V_MASK, V_REDUCES, V_IDENTITY = range(8)
V_EXISTS, V_WORK, V_HOT = 8, 9, 10
V_WIDTH = 12

# columns of a step
P_KERNEL, P_DATA, P_KIND, P_NOPS = range(4)
P_REF = 4  # 8 operand references; -1 means that the offset is an address
P_OFFSET = 12  # 8 byte offsets
P_DIMS, P_STRIDES, P_ONDIM, P_ODIMS, P_OSTRIDES, P_COUNT = range(20, 26)
P_WIDTH = 28
STEP_LOOP, STEP_TILES, STEP_ZERO = range(3)
MAX_OPERANDS = 8
TILE = 1024
