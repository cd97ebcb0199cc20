"""The words native code is written in: typed pointers, calls by address, C functions by name.

``p8`` ... ``pf64`` turn an address into a typed pointer that is indexed like an array. The one jit
policy is here, too: `helper` compiles a function that other native functions call, `object_code` one
that is called by address. All object code in the store depends on the text of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import cfunc, config, njit, types
from numba.extending import intrinsic

from . import intrinsic_stubs

# numba's types are no help to a type checker here: these are called by native code only
_intrinsic: Any = intrinsic
_config: Any = config
i64: Any = types.int64
_I64 = ir.IntType(64)


@contextmanager
def _enabled() -> Iterator[None]:
    """Let numba compile: ``NUMBA_DISABLE_JIT`` is meant for the user's functions."""
    before = _config.DISABLE_JIT
    _config.DISABLE_JIT = 0
    try:
        yield
    finally:
        _config.DISABLE_JIT = before


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that other native functions call: IEEE division, no bounds checks."""
    with _enabled():
        return njit(error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a `helper` that becomes part of each function that calls it, whatever its size."""
    with _enabled():
        return njit(error_model="numpy", forceinline=True)(function)


def object_code(function: Callable[..., Any], signature: str) -> tuple[str, bytes]:
    """Compile a Python function, or a `helper`, to a C function; its symbol and object code."""
    function = getattr(function, "py_func", function)
    with _enabled():
        compiled: Any = cfunc(signature, error_model="numpy")(function)
    library = compiled._library
    code: bytes = library._codegen._tm.emit_object(library._final_module)
    return compiled.native_name, code


@_intrinsic  # type: ignore[untyped-decorator]
def globals_address(context: Any) -> Any:
    """Address of `GLOBALS` in this process."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(globals_variable(builder.module), _I64)

    return i64(), codegen


def globals_variable(module: Any) -> Any:
    """`GLOBALS` of this process as a module's code sees it."""
    variable = module.globals.get("tapegrad_globals")
    if variable is None:
        variable = ir.GlobalVariable(module, _I64, "tapegrad_globals")
    return variable


def _pointer_cast(numba_type: Any) -> Any:
    @_intrinsic  # type: ignore[untyped-decorator]
    def cast(context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(numba_type)(i64), codegen  # type: ignore[no-untyped-call]

    return cast


p8 = _pointer_cast(types.uint8)
p16 = _pointer_cast(types.int16)
p32 = _pointer_cast(types.int32)
p64 = _pointer_cast(types.int64)
pf32 = _pointer_cast(types.float32)
pf64 = _pointer_cast(types.float64)


@_intrinsic  # type: ignore[untyped-decorator]
def call_loop(context: Any, function: Any, args: Any, dims: Any, strides: Any, data: Any) -> Any:
    """Call ``void (char **args, npy_intp *dims, npy_intp *strides, void *data)`` by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64, _I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(i64, i64, i64, i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def call_checked(context: Any, function: Any, args: Any, dims: Any, strides: Any, data: Any) -> Any:
    """Call a kernel that returns 0, or one more than the place in its loop where it failed, by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64, _I64])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return i64(i64, i64, i64, i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def call_void(context: Any, function: Any, argument: Any) -> Any:
    """Call ``void (void *)`` by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def call_alloc(context: Any, function: Any, kind: Any, count: Any) -> Any:
    """Call ``PyObject *(PyTypeObject *, Py_ssize_t)`` by address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return i64(i64, i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def call_block(
    context: Any, function: Any, values: Any, cts: Any, constants: Any, words: Any, number: Any,
    touched: Any,
) -> Any:  # fmt: skip
    """Call the reverse pass of a block by address: numba's calling convention, as it is made by numba."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(types.int64, (types.int64,) * 6)
        with builder.goto_entry_block():
            result = builder.alloca(_I64)
            error = builder.alloca(kind.args[1].pointee)
        pointer = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(pointer, [result, error, *args[1:]])
        return context.get_dummy_value()

    return types.void(i64, i64, i64, i64, i64, i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def add_atomically(context: Any, address: Any, value: Any) -> Any:
    """Add to a word that other threads add to as well; what it was before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return i64(i64, i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
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


@_intrinsic  # type: ignore[untyped-decorator]
def float_bits(context: Any, value: Any) -> Any:
    """The bits of a float64 as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _I64)

    return i64(types.float64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def bits_float(context: Any, word: Any) -> Any:
    """The float64 of which an integer has the bits."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.DoubleType())

    return types.float64(i64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``, rounded once; slow where the processor does not have it (`machine_code.has_fma`)."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return types.float64(types.float64, types.float64, types.float64), codegen


@_intrinsic  # type: ignore[untyped-decorator]
def select(context: Any, condition: Any, x: Any, y: Any) -> Any:
    """``x if condition else y``, both of which are computed."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return types.float64(types.boolean, types.float64, types.float64), codegen


def called(function: Any, values: list[Any]) -> tuple[Callable[..., Any], Any]:
    """Function that numba can compile for a `helper` or ufunc of LLVM values, and its signature."""
    result: Any = types.float64
    kind = result(*[types.float64 if v.type == ir.DoubleType() else i64 for v in values])
    if isinstance(function, intrinsic_stubs.helper):
        intrinsic_stubs.resolve(function.function.__globals__)
        return function.function, kind
    if len(values) == 1:
        return lambda x: function(x), kind
    return lambda x, y: function(x, y), kind


def emitted(write: Callable[..., None], kinds: str) -> Any:
    """Make a word of a function that writes its code (`Emitted` of intrinsic_stubs.py)."""
    tuple_of: Any = types.BaseTuple.from_types
    wanted = types.void(tuple_of([types.float64 if k == "d" else i64 for k in kinds]))

    @_intrinsic  # type: ignore[untyped-decorator]
    def word(context: Any, *values: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def call(function: Any, values: Any) -> Any:
                return context.compile_internal(builder, *called(function, values), values)

            write(builder, call, *[builder.extract_value(args[0], i) for i in range(len(kinds))])
            return context.get_dummy_value()

        return wanted, codegen

    return word


_external: Any = types.ExternalFunction
malloc = _external("malloc", i64(i64))
realloc = _external("realloc", i64(i64, i64))
free = _external("free", types.void(i64))
memset = _external("memset", i64(i64, types.int32, i64))
memcpy = _external("memcpy", i64(i64, i64, i64))
libm_sin = _external("sin", types.float64(types.float64))
libm_exp = _external("exp", types.float64(types.float64))
libm_tanh = _external("tanh", types.float64(types.float64))
libm_cos = _external("cos", types.float64(types.float64))
thread_ident = _external("PyThread_get_thread_ident", i64())
type_slot = _external("PyType_GetSlot", i64(i64, types.int32))
vectorcall = _external("PyObject_Vectorcall", i64(i64, i64, i64, i64))
py_decref = _external("Py_DecRef", types.void(i64))
py_incref = _external("Py_IncRef", types.void(i64))
float_as_double = _external("PyFloat_AsDouble", types.float64(i64))
long_as_longlong_and_overflow = _external("PyLong_AsLongLongAndOverflow", i64(i64, i64))
error_occurred = _external("PyErr_Occurred", i64())
error_fetch = _external("PyErr_Fetch", types.void(i64, i64, i64))
error_restore = _external("PyErr_Restore", types.void(i64, i64, i64))
memory_view = _external("PyMemoryView_FromMemory", i64(i64, i64, types.int32))
tuple_size = _external("PyTuple_Size", i64(i64))
tuple_get = _external("PyTuple_GetItem", i64(i64, i64))
list_size = _external("PyList_Size", i64(i64))
list_get = _external("PyList_GetItem", i64(i64, i64))
list_append = _external("PyList_Append", types.int32(i64, i64))
list_set_slice = _external("PyList_SetSlice", types.int32(i64, i64, i64, i64))
set_item = _external("PyObject_SetItem", types.int32(i64, i64, i64))
