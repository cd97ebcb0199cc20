"""The contract with numba: each private name that `njit_compiler` relies on is there, with its signature."""

from __future__ import annotations

import ast
import ctypes
import inspect
import tomllib
from pathlib import Path
from typing import Any

import numba
import pytest
from llvmlite import ir
from numba.core import base, dispatcher, lowering
from numba.core.callconv import CPUCallConv
from numba.core.compiler_machinery import PassManager
from numba.core.pythonapi import EnvironmentManager, PythonAPI
from numba.core.runtime.context import NRTContext
from numba.core.typing.context import BaseContext as TypingContext
from numba.np import arrayobj

import tapegrad as tg
from tapegrad.njit_compiler import kernel_ufuncs
from tapegrad.njit_compiler import numba_api as api

#: functions of numba_api.py: the arguments that are given, by position
FUNCTIONS = {
    "empty_array": "context builder arrtype shapes",
    "extents_may_overlap": "context builder a_start a_end b_start b_end",
    "get_array_index_type": "ary idx",
    "get_array_memory_extents": "context builder arrty arr shapes strides data",
    "get_definition": "func_ir name",
    "guard": "func",
    "impl_ret_borrowed": "ctx builder retty ret",
    "infer_global": "val",
    "load_item": "context builder arrayty ptr",
    "make_array": "array_type",
    "mk_unique_var": "prefix",
    "numpy_ufunc_kernel": "context builder sig args ufunc kernel_class",
    "populate_array": "array data shape strides itemsize meminfo parent",
    "register_pass": "mutates_CFG analysis_only",
    "setitem_array": "context builder sig args",
    "store_item": "context builder arrayty val ptr",
    "unbox_array": "typ obj c",
}
#: methods of the classes of numba_api.py, and of objects that numba hands over
METHODS: dict[Any, dict[str, str]] = {
    numba.types.Dispatcher: {
        "get_call_type": "self context args kws",
        "get_overload": "self sig",
    },
    api.AbstractTemplate: {},
    api.Compiler: {"_compile_core": "self"},
    api.CompilerBase: {"_compile_core": "self", "define_pipelines": "self"},
    api.ConfigStack: {"top_or_none": ""},
    api.DefaultPassBuilder: {"define_nopython_pipeline": "state"},
    api.FunctionPass: {"run_pass": "self"},
    api.UfuncKernel: {"__init__": "self context builder outer_sig", "generate": "self"},
    api.cgutils: {
        "alloca_once": "builder ty size",
        "alloca_once_value": "builder value",
        "create_struct_proxy": "fe_type",
        "for_range": "builder count",
        "get_or_insert_function": "module fnty name",
        "if_unlikely": "builder pred",
        "is_not_null": "builder val",
        "loop_nest": "builder shape intp",
        "pack_array": "builder values",
        "pointer_add": "builder ptr offset",
        "unpack_tuple": "builder tup count",
    },
    api.ir.Assign: {"__init__": "self value target loc"},
    api.ir.Expr: {
        "call": "func args kws loc",
        "static_getitem": "value index index_var loc",
    },
    api.ir.Global: {"__init__": "self name value loc"},
    api.ir.Var: {"__init__": "self scope name loc"},
    CPUCallConv: {
        "call_function": "self builder callee resty argtys args",
        "get_function_type": "self restype argtypes",
        "return_status_propagate": "self builder status",
        "return_user_exc": "self builder exc exc_args",
        "return_value": "self builder retval",
    },
    EnvironmentManager: {"add_const": "self const", "read_const": "self index"},
    NRTContext: {"decref": "self builder typ value"},
    PassManager: {"add_pass_after": "self pass_cls location", "finalize": "self"},
    PythonAPI: {
        "call_function_objargs": "self callee objargs",
        "decref": "self obj",
        "float_from_double": "self fval",
        "get_null_object": "self",
        "long_from_longlong": "self ival",
        "object_getattr_string": "self obj attr",
        "object_setattr_string": "self obj attr val",
    },
    TypingContext: {
        "resolve_function_type": "self func args kws",
        "resolve_static_getitem": "self value index",
        "resolve_value_type": "self val",
    },
    base.BaseContext: {
        "cast": "self builder val fromty toty",
        "compile_internal": "self builder impl sig args",
        "compile_subroutine": "self builder impl sig",
        "declare_function": "self module fndesc",
        "get_constant": "self ty val",
        "get_function": "self fn sig",
        "insert_func_defn": "self defns",
        "make_tuple": "self builder typ values",
    },
    dispatcher.Dispatcher: {api.COMPILING_FRAME: "self"},
    lowering.Lower: {api.LOWERING_FRAME: "self inst"},
}


def arguments(function: Any) -> str:
    """Names of a function's parameters, but ``*args`` and ``**kwargs``."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return " ".join(p.name for p in parameters if p.kind not in kinds)


def test_every_name_is_there() -> None:
    assert len(api.__all__) == len(set(api.__all__))
    for name in api.__all__:
        assert getattr(api, name) is not None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_these_arguments(name: str) -> None:
    taken = arguments(getattr(api, name))
    assert f"{taken} ".startswith(f"{FUNCTIONS[name]} ")


@pytest.mark.parametrize("owner", METHODS, ids=lambda owner: owner.__name__)
def test_methods_take_these_arguments(owner: Any) -> None:
    for name, given in METHODS[owner].items():
        taken = arguments(getattr(owner, name))
        assert f"{taken} ".startswith(f"{given} ".lstrip()), f"{name}({taken})"


def test_allocation_takes_size_and_alignment() -> None:
    """`intrin_alloc` is called by compiled code."""
    assert api.intrin_alloc is arrayobj.intrin_alloc
    assert arguments(api.intrin_alloc._defn) == "typingctx allocsize align"


def test_attributes_that_are_read() -> None:
    @numba.njit(error_model="numpy")
    def function(x: Any) -> Any:
        return x + 1.0

    assert isinstance(function, api.CPUDispatcher)
    assert function.targetoptions["error_model"] == "numpy"
    assert function.py_func(1.0) == function(1.0) == 2.0
    assert api.functions_in_typing() == []
    flags = api.Flags()
    flags.nrt, flags.error_model = True, "numpy"
    assert api.Conversion.safe
    assert issubclass(api.NumbaTypeError, api.NumbaError)


def test_passes_see_the_definitions_that_they_note() -> None:
    class Compiler(api.CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            manager = api.DefaultPassBuilder.define_nopython_pipeline(self.state)
            manager.add_pass_after(Look, api.NopythonRewrites)
            manager.finalize()
            return [manager]

    seen: list[Any] = []

    @api.register_pass(mutates_CFG=False, analysis_only=True)
    class Look(api.FunctionPass):  # type: ignore[misc]
        _name = "tapegrad_test_look"

        def __init__(self) -> None:
            super().__init__()

        def run_pass(self, state: Any) -> bool:
            api.note_definitions(state.func_ir)
            for block in state.func_ir.blocks.values():
                for s in block.body:
                    if isinstance(s, api.ir.Assign):
                        held = api.definitions(state.func_ir, s.target.name)
                        seen.append((s.value in held, state.typemap[s.target.name]))
            assert api.definitions(state.func_ir, "no such variable") == []
            assert state.calltypes is not None
            assert state.args == (numba.types.float64,)
            assert state.typingctx is not None
            assert state.targetctx is not None
            assert not state.func_ir.is_generator
            return False

    function = numba.njit(pipeline_class=Compiler)(lambda x: x + 1.0)
    assert function(2.0) == 3.0
    assert all(known for known, _ in seen)
    assert numba.types.float64 in {kind for _, kind in seen}


#: numba's calling convention: a status, and addresses of the result and of an error before the arguments
CONVENTION = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_int64, ctypes.c_int64,
)  # fmt: skip


def test_native_code_can_call_a_compiled_function() -> None:
    """Sweeps call the reverse passes of blocks, which numba compiles, by their addresses."""

    def divide(a: int, b: int) -> int:
        if b == 0:
            raise ValueError("zero")
        return a // b

    signature = numba.types.int64(numba.types.int64, numba.types.int64)
    overload = numba.njit(signature)(divide).overloads[signature.args]
    address = overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)
    function, result, error = CONVENTION(address), ctypes.c_int64(), ctypes.c_void_p()
    assert function(ctypes.byref(result), ctypes.byref(error), 42, 6) == 0
    assert (result.value, error.value) == (7, None)
    assert function(ctypes.byref(result), ctypes.byref(error), 42, 0) > 0
    assert error.value


def test_the_type_of_a_compiled_function() -> None:
    context = api.cpu_target.target_context
    kind = context.call_conv.get_function_type(numba.types.int64, (numba.types.int64,) * 6)
    assert kind.return_type == ir.IntType(32)
    result, error, *arguments = kind.args
    assert result.pointee == ir.IntType(64)
    assert error.is_pointer
    assert error.pointee.is_pointer
    assert arguments == [ir.IntType(64)] * 6


def test_structures_have_values() -> None:
    """`create_struct_proxy` makes classes, whose objects give their LLVM value."""
    context = api.cpu_target.target_context
    proxy = api.cgutils.create_struct_proxy(numba.types.complex128)
    assert arguments(proxy.__init__).startswith("self context builder value")
    assert arguments(proxy._getvalue) == "self"
    assert context.get_value_type(numba.types.int64) == ir.IntType(64)


def test_the_setting_is_there() -> None:
    """``NUMBA_DISABLE_JIT`` turns `numba.njit` off, and `numba_api.njit` does not mind."""
    before = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = 1
    try:
        assert numba.njit(abs_of) is abs_of
        function = api.njit(abs_of)
        assert function(-2.0) == 2.0
        assert len(function.signatures) == 1
        assert numba.config.DISABLE_JIT == 1
    finally:
        numba.config.DISABLE_JIT = before


def abs_of(x: float) -> float:
    return abs(x)


def test_the_bounds_in_pyproject() -> None:
    """Any release of numba may change what this file asserts; `.ci/run` tries the newest."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    bounds = {
        name: bound
        for name, _, bound in (
            d.partition(">=") for d in tomllib.loads(text)["project"]["dependencies"]
        )
    }
    assert bounds.keys() == {"llvmlite", "numba", "numpy", "optree"}
    assert "," in bounds["numba"]


def test_only_one_file_imports_private_names() -> None:
    """Documented names are those of `numba` itself and of `numba.extending`."""
    package = Path(tg.__file__).parent / "njit_compiler"
    for path in package.rglob("*.py"):
        if path.name == "numba_api.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                root, _, rest = (node.module or "").partition(".")
                assert root != "numba" or rest in ("", "extending"), f"{path.name}: {node.module}"


def test_what_is_read_of_numbas_ufuncs() -> None:
    """`kernel_ufuncs.py` reads the ufunc, what it was compiled from, and how code reports errors."""

    @numba.vectorize
    def divided(x, y):  # type: ignore[no-untyped-def]
        return x / y

    @numba.vectorize(["float64(float64)"])
    def raising(x):  # type: ignore[no-untyped-def]
        if x < 0:
            raise ValueError
        return x

    @numba.guvectorize(["(float64[:],float64[:])"], "(n)->()")
    def summed(x, out):  # type: ignore[no-untyped-def]
        out[0] = x.sum()

    assert not divided._frozen
    assert raising._frozen
    divided.add(numba.float64(numba.float64, numba.float64))
    assert summed.gufunc_builder.writable_args == ()
    may_raise = {divided: False, raising: True, summed: False}
    for function, expected in may_raise.items():
        assert "d->d" in function.ufunc.types[0]
        ((signature, overload),) = function._dispatcher.overloads.items()
        assert signature.args
        assert not overload.objectmode
        code = overload.library.get_llvm_str()
        assert "%excinfo" in code
        assert kernel_ufuncs._may_raise(code) is expected
