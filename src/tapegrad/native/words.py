"""The words native code is written in: typed pointers, calls by address, C functions by name.

Native code is Python's text over addresses: ``p64(address)[i]`` is the i-th int64 at an address. A word
writes LLVM code where translator.py meets a call of it. `helper` marks a function that other native code
calls, `inlined` one that becomes part of each function that calls it.

Object code in the store depends on the text of this file and of the translator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from .kinds import (
    BIT,
    F32,
    F64,
    INT,
    INT32,
    NOTHING,
    WIDE,
    Kind,
    MismatchError,
    Value,
    constant,
    converted,
    pointer,
)  # fmt: skip

_I64 = ir.IntType(64)


class helper:
    """A function that native code calls."""

    inlined = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *_: Any) -> Any:
        """Raise: Python cannot call it."""
        raise TypeError(f"{self.name} is native code; it is not called from Python")


class inlined(helper):
    """A `helper` that becomes part of each function that calls it, whatever its size."""

    inlined = True


class Word:
    """A thing that native code can call, and that has no text.

    Parameters
    ----------
    name : str
    write : callable
        ``write(builder, *values)`` gets LLVM values, and returns one.
    result : Kind
    kinds : sequence of Kind
        Of the operands; None for one that has to be known when the code is written.
    """

    def __init__(
        self, name: str, write: Callable[..., Any], result: Kind, kinds: tuple[Kind | None, ...]
    ) -> None:
        self.name, self._write, self.result, self.kinds = name, write, result, kinds

    def __call__(self, *_: Any) -> Any:
        """Raise: Python cannot call it."""
        raise TypeError(f"{self.name} is a word of native code; it is not called from Python")

    def write(self, builder: Any, operands: list[Any]) -> Value | None:
        """Write a call; operands are values, or numbers of Python's."""
        if len(operands) != len(self.kinds):
            raise MismatchError(f"{self.name} takes {len(self.kinds)} operands")
        values = []
        for x, kind in zip(operands, self.kinds, strict=True):
            if kind is None:
                if isinstance(x, Value):
                    raise MismatchError(f"{self.name} takes a number that is known")
                values.append(x)
            else:
                value = x if isinstance(x, Value) else constant(x)
                values.append(converted(builder, value, kind).value)
        result = self._write(builder, *values)
        if self.result == NOTHING:
            return None
        if self.result == INT32:
            return Value(INT, builder.sext(result, _I64))
        return Value(self.result, result)


# --------------------------------------------------------------------------- pointers
U8 = pointer("uint8", ir.IntType(8), INT, signed=False)
I8 = pointer("int8", ir.IntType(8), INT)
I16 = pointer("int16", ir.IntType(16), INT)
I32 = pointer("int32", ir.IntType(32), INT)
I64 = pointer("int64", _I64, INT)
PF32 = pointer("float32", ir.FloatType(), F32)
PF64 = pointer("float64", ir.DoubleType(), F64)
WIDES = pointer("wide", ir.IntType(128), WIDE)


def _cast(kind: Kind) -> Word:
    return Word(kind.name, lambda builder, x: builder.inttoptr(x, kind.type), kind, (INT,))


p8, p16, p32, p64, pf32, pf64 = map(_cast, (U8, I16, I32, I64, PF32, PF64))
#: signed bytes, and numbers of 16 bytes
ps8, p128 = map(_cast, (I8, WIDES))


def globals_variable(module: Any) -> Any:
    """`GLOBALS` of this process as a module's code sees it."""
    variable = module.globals.get("tapegrad_globals")
    if variable is None:
        variable = ir.GlobalVariable(module, _I64, "tapegrad_globals")
    return variable


globals_address = Word(
    "globals_address", lambda builder: builder.ptrtoint(globals_variable(builder.module), _I64), INT, ()
)  # fmt: skip


def _stack_words(builder: Any, count: int) -> Any:
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(_I64, count))
    return builder.ptrtoint(memory, _I64)


#: address of a known number of 64-bit words on the stack of the calling function
stack_words = Word("stack_words", _stack_words, INT, (None,))


# --------------------------------------------------------------------------- calls by address
def _indirect(name: str, result: Kind, count: int) -> Word:
    def write(builder: Any, function: Any, *values: Any) -> Any:
        kind = ir.FunctionType(result.type, [_I64] * count)
        return builder.call(builder.inttoptr(function, kind.as_pointer()), values)

    return Word(name, write, result, (INT,) * (count + 1))


#: ``void (char **args, npy_intp *dims, npy_intp *strides, void *data)``
call_loop = _indirect("call_loop", NOTHING, 4)
#: a kernel that returns 0, or one more than the place in its loop where it failed
call_checked = _indirect("call_checked", INT, 4)
#: ``int64 (int64 *table)``: a compiled tape
call_code = _indirect("call_code", INT, 1)
#: ``int64 (int64 *table, int64 first, int64 end)``: shares of a loop of a compiled tape
call_shares = _indirect("call_shares", INT, 3)
#: NumPy's ``PyArray_New``
call_array_new = _indirect("call_array_new", INT, 9)
#: ``void (void *)``
call_void = _indirect("call_void", NOTHING, 1)
#: ``PyObject *(PyTypeObject *, Py_ssize_t)``
call_alloc = _indirect("call_alloc", INT, 2)


def _call_block(builder: Any, function: Any, *values: Any) -> None:
    bytes_ = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(
        ir.IntType(32), [_I64.as_pointer(), bytes_.as_pointer(), *[_I64] * len(values)]
    )
    with builder.goto_entry_block():
        result, error = builder.alloca(_I64), builder.alloca(bytes_)
    builder.call(builder.inttoptr(function, kind.as_pointer()), [result, error, *values])


#: the reverse pass of a block, in numba's calling convention, as it is made by numba
call_block = Word("call_block", _call_block, NOTHING, (INT,) * 7)


# --------------------------------------------------------------------------- instructions
add_atomically = Word(
    "add_atomically", lambda builder, address, value: builder.atomic_rmw(
        "add", builder.inttoptr(address, _I64.as_pointer()), value, "seq_cst"
    ), INT, (INT, INT),
)  # fmt: skip
load_atomically = Word(
    "load_atomically", lambda builder, address: builder.load_atomic(
        builder.inttoptr(address, _I64.as_pointer()), "seq_cst", 8
    ), INT, (INT,),
)  # fmt: skip
store_atomically = Word(
    "store_atomically", lambda builder, address, value: builder.store_atomic(
        value, builder.inttoptr(address, _I64.as_pointer()), "seq_cst", 8
    ), NOTHING, (INT, INT),
)  # fmt: skip


def _swap(builder: Any, address: Any, expected: Any, value: Any) -> Any:
    place = builder.inttoptr(address, _I64.as_pointer())
    return builder.extract_value(builder.cmpxchg(place, expected, value, "seq_cst", "seq_cst"), 1)


#: ``swap(address, expected, value)`` writes the value if the expected one is there; whether it was
swap = Word("swap", _swap, BIT, (INT, INT, INT))
float_bits = Word("float_bits", lambda builder, x: builder.bitcast(x, _I64), INT, (F64,))
bits_float = Word("bits_float", lambda builder, x: builder.bitcast(x, F64.type), F64, (INT,))
#: ``x * y + z``, rounded once; slow where the processor does not have it (`targets.has_fma`)
fma = Word("fma", lambda builder, x, y, z: builder.fma(x, y, z), F64, (F64, F64, F64))


def _sqrt(builder: Any, x: Any) -> Any:
    kind = ir.FunctionType(x.type, [x.type])
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [x.type], kind), [x])


sqrt = Word("sqrt", _sqrt, F64, (F64,))
#: ``x if condition else y``, both of which are computed
select = Word("select", lambda builder, c, x, y: builder.select(c, x, y), F64, (BIT, F64, F64))


class Emitted(Word):
    """A word whose code a function of another package writes.

    Parameters
    ----------
    write : callable
        ``write(builder, *values)``.
    kinds : str
        A letter for each value: ``i`` for an int64, ``d`` for a float64.
    """

    def __init__(self, write: Callable[..., None], kinds: str) -> None:
        super().__init__("emitted", write, NOTHING, tuple({"i": INT, "d": F64}[k] for k in kinds))


# --------------------------------------------------------------------------- C functions
def external(name: str, result: Kind, *kinds: Kind) -> Word:
    """A C function, looked up in the process."""

    def write(builder: Any, *values: Any) -> Any:
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result.type, [k.type for k in kinds])
            function = ir.Function(builder.module, kind, name)
        return builder.call(function, values)

    return Word(name, write, result, kinds)


malloc = external("malloc", INT, INT)
realloc = external("realloc", INT, INT, INT)
free = external("free", NOTHING, INT)
memset = external("memset", INT, INT, INT32, INT)
memcpy = external("memcpy", INT, INT, INT, INT)
libm_sin, libm_cos = external("sin", F64, F64), external("cos", F64, F64)
libm_exp, libm_tanh = external("exp", F64, F64), external("tanh", F64, F64)
libm_log, libm_pow = external("log", F64, F64), external("pow", F64, F64, F64)
libm_erf, libm_erfc = external("erf", F64, F64), external("erfc", F64, F64)
libm_lgamma = external("lgamma", F64, F64)
thread_ident = external("PyThread_get_thread_ident", INT)
#: threads and locks as Python has them on each platform; none of these needs the GIL
start_thread = external("PyThread_start_new_thread", INT, INT, INT)
new_lock = external("PyThread_allocate_lock", INT)
acquire_lock = external("PyThread_acquire_lock", INT32, INT, INT32)
release_lock = external("PyThread_release_lock", NOTHING, INT)
#: number that the system has for a thread
native_id = external("PyThread_get_thread_native_id", INT)
#: of Linux
current_core = external("sched_getcpu", INT32)
get_affinity = external("sched_getaffinity", INT32, INT32, INT, INT)
set_affinity = external("sched_setaffinity", INT32, INT32, INT, INT)
type_slot = external("PyType_GetSlot", INT, INT, INT32)
vectorcall = external("PyObject_Vectorcall", INT, INT, INT, INT, INT)
py_decref = external("Py_DecRef", NOTHING, INT)
py_incref = external("Py_IncRef", NOTHING, INT)
float_as_double = external("PyFloat_AsDouble", F64, INT)
long_as_longlong_and_overflow = external("PyLong_AsLongLongAndOverflow", INT, INT, INT)
error_occurred = external("PyErr_Occurred", INT)
error_fetch = external("PyErr_Fetch", NOTHING, INT, INT, INT)
error_restore = external("PyErr_Restore", NOTHING, INT, INT, INT)
memory_view = external("PyMemoryView_FromMemory", INT, INT, INT, INT32)
get_buffer = external("PyObject_GetBuffer", INT32, INT, INT, INT32)
tuple_size = external("PyTuple_Size", INT, INT)
tuple_get = external("PyTuple_GetItem", INT, INT, INT)
list_size = external("PyList_Size", INT, INT)
list_get = external("PyList_GetItem", INT, INT, INT)
list_append = external("PyList_Append", INT32, INT, INT)
list_set_slice = external("PyList_SetSlice", INT32, INT, INT, INT, INT)
set_item = external("PyObject_SetItem", INT32, INT, INT, INT)
tuple_new = external("PyTuple_New", INT, INT)
tuple_set = external("PyTuple_SetItem", INT32, INT, INT, INT)
dict_get = external("PyDict_GetItem", INT, INT, INT)
dict_next = external("PyDict_Next", INT32, INT, INT, INT, INT)
save_thread = external("PyEval_SaveThread", INT)
restore_thread = external("PyEval_RestoreThread", NOTHING, INT)
memcmp = external("memcmp", INT32, INT, INT, INT)

# --------------------------------------------------------------------------- versions a dtype
#: words of kernels with a version a dtype (`native_kernels`): a pointer to elements, one to their bits,
#: the type of a number, and its bytes
element: Any = None
bits: Any = None
number: Any = None
SIZE = 0

#: the meaning of these by the last part of a kernel's name: a dtype, or only its size. The elements of
#: complex numbers are their parts
KINDS: dict[str, dict[str, Any]] = {
    name: {"element": pointer, "bits": raw, "number": kind, "SIZE": np.dtype(kind).itemsize}
    for name, pointer, raw, kind in (
        ("f64", pf64, p64, np.float64), ("f32", pf32, p32, np.float32),
        ("i64", p64, p64, np.int64), ("bool", p8, p8, np.uint8),
        ("c128", pf64, p128, np.complex128), ("c64", pf32, p64, np.complex64),
        ("i32", p32, p32, np.int32), ("i16", p16, p16, np.int16), ("i8", ps8, p8, np.int8),
        ("u8", p8, p8, np.uint8), ("f16", p16, p16, np.float16),
        ("16", p128, p128, np.complex128), ("8", p64, p64, np.int64), ("4", p32, p32, np.int32),
        ("2", p16, p16, np.int16), ("1", p8, p8, np.uint8),
    )
}  # fmt: skip
