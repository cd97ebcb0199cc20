"""Entry points of native code as builtin functions of Python.

ctypes takes 0.4 to 0.8 us for a call with a few integers; a builtin function takes a tenth of that,
and a gradient makes some ten such calls. Each gets a wrapper of LLVM assembly that reads Python
integers from the arguments, lets the GIL go where the call may last, and returns an integer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from . import machine_code
from .entries import ENTRIES, OBJECT, RELEASED, Entry

__all__ = ["MethodDef", "keep", "native_call"]


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


#: LLVM's spelling of a pointer; from version 17 on there is one kind
_POINTER = "ptr" if llvm.llvm_version_info[0] >= 17 else "i64*"
_C_API = {
    "PyLong_AsLongLong": ("i64", "i64"), "PyLong_FromLongLong": ("i64", "i64"), "PyErr_Occurred": ("i64", ""),
    "PyEval_SaveThread": ("i64", ""), "PyEval_RestoreThread": ("void", "i64"),
}  # fmt: skip
_keep: list[Any] = []
machine_code.keep_for_ever(_keep)


def keep(*values: Any) -> None:
    """Keep structures that C code refers to as long as the process lives."""
    _keep.extend(values)


def _wrapper(name: str, entry: Entry) -> str:
    count = len(entry.kinds)
    lines = [
        f"define i64 @call_{name}(i64 %self, {_POINTER} %args, i64 %count) {{",
        f"  %complete = icmp eq i64 %count, {count}",
        "  br i1 %complete, label %read, label %fail",
        "read:",
    ]
    for i in range(count):
        lines += [
            f"  %p{i} = getelementptr i64, {_POINTER} %args, i64 {i}",
            f"  %o{i} = load i64, {_POINTER} %p{i}",
        ]
        if entry.address != i:
            lines.append(f"  %v{i} = call i64 @PyLong_AsLongLong(i64 %o{i})")
    values = ", ".join(f"i64 %{'o' if entry.address == i else 'v'}{i}" for i in range(count))
    lines += [
        "  %error = call i64 @PyErr_Occurred()",
        "  %fine = icmp eq i64 %error, 0",
        "  br i1 %fine, label %run, label %fail",
        "run:",
    ]
    if entry.call == RELEASED:
        lines.append("  %thread = call i64 @PyEval_SaveThread()")
    lines.append(f"  %r = call i64 @tapegrad_{name}({values})")
    if entry.call == RELEASED:
        lines.append("  call void @PyEval_RestoreThread(i64 %thread)")
    if entry.result == OBJECT:
        lines.append("  ret i64 %r")
    else:
        lines += ["  %result = call i64 @PyLong_FromLongLong(i64 %r)", "  ret i64 %result"]
    return "\n".join([*lines, "fail:", "  ret i64 0", "}"])


@cache
def _wrappers() -> dict[str, int]:
    """Addresses of the wrappers, by entry point."""
    called = {
        name: entry for entries in ENTRIES.values() for name, entry in entries.items() if entry.call
    }
    text = [f"declare {result} @{name}({words})" for name, (result, words) in _C_API.items()]
    for name in _C_API:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    for name, entry in called.items():
        words = ", ".join(["i64"] * len(entry.kinds))
        text.append(f"declare i64 @tapegrad_{name}({words})")
        llvm.add_symbol(f"tapegrad_{name}", machine_code.entry(name))
        text.append(_wrapper(name, entry))
    names = [f"call_{name}" for name in called]
    unit = machine_code.assembly_unit("calls", "\n".join(text), names)
    machine_code.UNITS.append(unit)
    return {name.removeprefix("call_"): place for name, place in machine_code.load(unit).items()}


def native_call(name: str) -> Callable[..., Any]:
    """The builtin function that calls an entry point with integers and returns one (or an object)."""
    definition = MethodDef(name.encode(), _wrappers()[name], 0x80, None)  # METH_FASTCALL
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.POINTER(MethodDef), ctypes.c_void_p, ctypes.c_void_p]
    keep(definition)
    return make(ctypes.byref(definition), None, None)
