"""Machine code: compiled, looked up in the store, and loaded.

Native functions of tapegrad are numba *cfuncs* over machine integers: addresses and counts go in, a
count or an address comes out. They bake in no address (the globals are reached through a symbol
that every process defines anew), so their object code is kept on disk (object_cache.py) and loaded by
llvmlite in milliseconds. numba itself is imported only when something has to be compiled.

Start reading at `entry` (the address of an entry point of `runtime/`), then `kernel_address`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import inspect
import os
import platform
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir

from . import abi as nt
from . import object_cache as store
from .entries import ENTRIES, Entry
from .translator import Translator

__all__ = [
    "assemble", "compiled", "entry", "has_fma", "kernel_address", "load_module", "source_of",
]  # fmt: skip

llvm.add_symbol("tapegrad_globals", nt.GLOBALS.ctypes.data)

#: settings of numba that change the code it makes
SETTINGS = tuple(
    f"NUMBA_{name}" for name in (
        "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "DEBUG_NRT", "ENABLE_AVX",
        "ENABLE_PROFILING", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE", "USE_LLVMLITE_VECTORIZER",
    )
)  # fmt: skip

#: counts of modules that this process loaded and compiled, for ``python -m tapegrad info``
COUNTS = {"loaded": 0, "compiled": 0}


@cache
def _machine() -> str:
    """Text that object code depends on beside its source: CPU, Python, llvmlite, the words of kernels."""
    features = "".join(f"{k}{int(v)}" for k, v in sorted(llvm.get_host_cpu_features().items()))
    settings = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    parts = (
        platform.machine(), llvm.get_host_cpu_name(), features, sys.version, llvmlite.__version__,
        str(object.__basicsize__), source_digest("native.translator"), *settings,
    )  # fmt: skip
    return "\n".join(parts)


@cache
def has_fma() -> bool:
    """Return True if the processor multiplies and adds in one instruction, rounded once."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return arm or bool(llvm.get_host_cpu_features().get("fma"))


class _Engine:
    """The LLVM engine that all object code is loaded into; made at the first use."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=3,
        )
        self.machine = machine
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self.kept: list[Any] = []

    def add(self, code: bytes) -> None:
        item = llvm.ObjectFileRef.from_data(code)
        self.engine.add_object_file(item)
        self.kept.append((item, code))

    def address(self, symbol: str) -> int:
        address: int = self.engine.get_function_address(symbol)
        if not address:
            raise LookupError(f"native code has no {symbol}")
        return address


def keep_for_ever(value: object) -> None:
    """Keep an object beyond the end of the interpreter, which clears modules in any order.

    The last tensors may die after everything else; native code and the tapes must then still be there.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


@cache
def _engine() -> _Engine:
    engine = _Engine()
    keep_for_ever(engine)
    return engine


def load_module(
    label: str, source: str, names: Collection[str],
    build: Callable[[], tuple[Mapping[str, str], list[bytes]]],
) -> dict[str, int]:  # fmt: skip
    """Addresses of functions, from the store or by `build`.

    Parameters
    ----------
    label : str
        First part of the file's name.
    source : str
        Text that the code depends on.
    names : collection of str
        The functions' names.
    build : callable
        Returns symbols by name, and object code.

    Returns
    -------
    dict
        Address by name.
    """
    file = store.name_of(label, f"{_machine()}\n{source}")
    stored = store.read(file)
    if stored is not None and set(names) <= set(stored[0]):
        try:
            addresses = _loaded(*stored)
        except (LookupError, RuntimeError):
            pass  # other code than its head says: as if the file were not there
        else:
            COUNTS["loaded"] += 1
            return addresses
    symbols, codes = build()
    store.write(file, symbols, codes)
    COUNTS["compiled"] += 1
    return _loaded(symbols, codes)


def _loaded(symbols: Mapping[str, str], codes: list[bytes]) -> dict[str, int]:
    """Addresses of functions in object code."""
    engine = _engine()
    for code in codes:
        engine.add(code)
    return {name: engine.address(symbol) for name, symbol in symbols.items()}


def assemble(text: str) -> bytes:
    """Object code of a module of LLVM assembly."""
    module = llvm.parse_assembly(text)
    code: bytes = _engine().machine.emit_object(module)
    return code


def compiled(module: Any) -> bytes:
    """Object code of a module of llvmlite's ``ir``, optimised, its loops vectorised."""
    machine = _engine().machine
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.loop_unrolling = True, False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    code: bytes = machine.emit_object(parsed)
    return code


# --------------------------------------------------------------------------- entry points
_PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).parents[__name__.count(".") - 1]
_IMPORT = re.compile(rb"^from (\.+)([\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def _path_of(module: str) -> Path:
    """Return the file of a module of this package, from its name inside of it (``"base.dtypes"``)."""
    return _FOLDER.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _digest_and_imports(module: str) -> tuple[bytes, frozenset[str]]:
    """Return a digest of a module's text, and the modules of this package that it imports."""
    text = _path_of(module).read_bytes()
    imports = set()
    for dots, name, names in _IMPORT.findall(text):
        base = module.split(".")[: -len(dots)] + [part for part in name.decode().split(".") if part]
        if base and _path_of(".".join(base)).exists():
            imports.add(".".join(base))
        else:  # a package, of which modules are imported
            inside = [".".join([*base, each]) for each in re.findall(r"\w+", names.decode())]
            imports |= {each for each in inside if _path_of(each).exists()}
    return hashlib.sha256(text).digest(), frozenset(imports)


def source_digest(*modules: str) -> str:
    """Return a digest of modules of native code and of all modules of this package that they import.

    Parameters
    ----------
    *modules : str
        Names inside of the package, as in `entries.ENTRIES`.
    """
    names = [*modules]
    parts = [_digest_and_imports(__name__.partition(".")[2])[0]]  # this file's imports make no code
    for name in names:  # grows on the way
        digest, imports = _digest_and_imports(name)
        parts.append(digest)
        names += sorted(imports - set(names))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@cache
def _entries() -> dict[str, int]:
    """Addresses of all entry points; each module has a file of the store, as compiling all takes long."""
    addresses: dict[str, int] = {}
    for module, entries in ENTRIES.items():

        def build(
            module: str = module, entries: dict[str, Entry] = entries
        ) -> tuple[dict[str, str], list[bytes]]:
            loaded = importlib.import_module(f"{_PACKAGE}.{module}")
            code = ir.Module(module)
            translator, symbols = Translator(code), {}
            for name, entry in entries.items():
                symbols[name] = f"{module}.{name}"
                translator.entry(getattr(loaded, name), entry.signature, symbols[name])
            return symbols, [compiled(code)]

        label = f"core-{module.rpartition('.')[2]}"
        text = f"{source_digest(module)}\n{entries!r}"
        addresses.update(load_module(label, text, entries, build))
    return addresses


def entry(name: str) -> int:
    """Address of an entry point of `runtime/`."""
    return _entries()[name]


def source_of(function: Callable[..., Any]) -> str:
    """Text of the module that a function is in."""
    module = inspect.getmodule(function)
    return inspect.getsource(module if module is not None else function)


def kernel_address(
    function: Callable[..., Any], source: str | None = None, signature: str = nt.LOOP_SIGNATURE
) -> int:
    """Address of a kernel (args, dims, strides, data) written as a Python function over addresses.

    Parameters
    ----------
    function : callable
        Uses the words of words.py.
    source : str, optional
        Its text and that of its callees; by default that of its module.
    signature : str, optional
        STATUS_SIGNATURE for a kernel that may fail.
    """
    text = f"{function.__name__}\n{signature}\n{source or source_of(function)}"

    def build() -> tuple[dict[str, str], list[bytes]]:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        module, symbol = ir.Module(function.__name__), f"kernel.{function.__name__}.{digest}"
        Translator(module).entry(function, signature, symbol)
        return {"kernel": symbol}, [compiled(module)]

    return load_module(f"kernel-{function.__name__}", text, ("kernel",), build)["kernel"]
