"""Machine code: compiled, looked up in the store, and loaded.

Native functions of tapegrad are written in Python over machine integers (translator.py): addresses and counts
go in, a count or an address comes out. They bake in no address (the globals are reached through a symbol
that every process defines anew), so their object code is kept on disk (object_cache.py) and loaded by
llvmlite in milliseconds.

Start reading at `entry` (the address of an entry point of `runtime/`), then `kernel_address`, `load`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from . import abi as nt
from . import object_cache as store
from .entries import ENTRIES, Entry
from .helpers import IS_HELPER, assisted
from .progress import Progress
from .targets import Target, machine_of, target

__all__ = [
    "COUNTS",
    "ORIGINS",
    "UNITS",
    "Unit",
    "assemble",
    "assembly_unit",
    "compiled",
    "entry",
    "is_stored",
    "keep_for_ever",
    "kernel_address",
    "kernel_unit",
    "load",
    "load_all",
    "name_of",
    "source_digest",
    "source_of",
    "symbols_of",
]  # fmt: skip

llvm.add_symbol("tapegrad_globals", nt.GLOBALS.ctypes.data)

_PACKAGE = __name__.partition(".")[0]

#: counts of units that this process loaded and compiled, for ``python -m tapegrad info``
COUNTS = {"loaded": 0, "compiled": 0}
#: folders that code came from, with the number of units
ORIGINS: dict[str, int] = {}


class Unit(NamedTuple):
    """Functions that are compiled together.

    Attributes
    ----------
    label : str
        First part of the file's name.
    source : str
        Text that the code depends on.
    names : tuple of str
        The functions' names.
    build : callable
        ``build(symbols)`` gets a symbol for each name, and returns object code for `target`.
    """

    label: str
    source: str
    names: tuple[str, ...]
    build: Callable[[Mapping[str, str]], bytes]


#: the units of this process that are there whatever a program does, in the order of their use
UNITS: list[Unit] = []


@cache
def _machine(level: Target) -> str:
    """Text that object code depends on beside its source: target, Python, the translator of native code."""
    implementation = (
        sys.implementation.name,
        sys.version_info[:2],
        sys.platform,
        object.__basicsize__,
    )
    return f"{level}\n{implementation}\n{source_digest('native.translator')}"


def name_of(unit: Unit) -> str:
    """Name of a unit's file, for the target that code is made for now."""
    return store.name_of(unit.label, f"{_machine(target())}\n{unit.source}")


def symbols_of(unit: Unit, name: str) -> dict[str, str]:
    """Symbols of a unit's functions, which are those of its file only."""
    digest = name.rpartition("-")[2][:16]
    return {each: f"tapegrad.{digest}.{each}" for each in unit.names}


def is_stored(unit: Unit) -> bool:
    """Return True if a folder of the store has a unit."""
    name = name_of(unit)
    return store.read(name, [*symbols_of(unit, name).values()]) is not None


class _Engine:
    """The LLVM engine that all object code is loaded into; made at the first use."""

    def __init__(self) -> None:
        self.machine = machine_of(target())
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.machine)
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


def load(unit: Unit) -> dict[str, int]:
    """Addresses of a unit's functions by name, from the store, or compiled now."""
    (addresses,) = load_all([unit])
    return addresses


def load_all(
    units: Collection[Unit], work: str = "compiling", module: str = _PACKAGE
) -> list[dict[str, int]]:
    """Addresses of the functions of units; those that are not in the store are compiled, and kept there.

    What other processes compile meanwhile is waited for, so that each is compiled once. Where it is much,
    other cores help: they import `module`, which loads the same units.
    """
    stored = {}
    missing = []
    for unit in units:
        name = name_of(unit)
        symbols = symbols_of(unit, name)
        stored[name] = symbols, store.read(name, [*symbols.values()])
        if stored[name][1] is None:
            missing.append((name, unit))
    if missing:
        folder = store.cache_folder()
        note = f" (once; it is kept in {folder})" if folder else ""
        with Progress(work, len(missing), note) as progress, assisted(len(missing), module):
            for name, compiled_now in _compiled(missing):
                stored[name] = stored[name][0], compiled_now
                progress.step()
    engine, addresses = _engine(), []
    for symbols, item in stored.values():
        assert item is not None
        origin = str(item.path.parent)
        ORIGINS[origin] = ORIGINS.get(origin, 0) + 1
        engine.add(item.code)
        addresses.append({name: engine.address(symbol) for name, symbol in symbols.items()})
    COUNTS["loaded"] += len(stored) - len(missing)
    return addresses


def _compiled(missing: list[tuple[str, Unit]]) -> Iterator[tuple[str, store.Stored]]:
    """Compile units, but for those that other processes are compiling: these are waited for at the end."""
    pending = missing[::-1] if IS_HELPER else missing
    for patience in (0.0, store.PATIENCE):
        left = []
        for name, unit in pending:
            with store.claim(name, patience) as held:
                if held or patience:
                    yield name, _compiled_now(name, unit)
                else:
                    left.append((name, unit))
        if IS_HELPER:
            os._exit(0)
        pending = left


def _compiled_now(name: str, unit: Unit) -> store.Stored:
    """Compile a unit, or take what another process compiled meanwhile."""
    symbols = symbols_of(unit, name)
    item = store.read(name, [*symbols.values()])
    if item is not None:
        COUNTS["loaded"] += 1
        return item
    code = unit.build(symbols)
    COUNTS["compiled"] += 1
    store.write(name, code)
    return store.Stored(Path("compiled by this process") / name, code)


def assemble(text: str) -> bytes:
    """Object code of a module of LLVM assembly."""
    code: bytes = machine_of(target()).emit_object(llvm.parse_assembly(text))
    return code


def assembly_unit(label: str, text: str, names: Collection[str]) -> Unit:
    """Make the unit of a module of LLVM assembly that defines functions."""

    def build(symbols: Mapping[str, str]) -> bytes:
        names_of_file = re.sub(r"@(\w+)", lambda m: f"@{symbols.get(m[1], m[1])}", text)
        return assemble(names_of_file)

    return Unit(label, text, tuple(names), build)


def compiled(module: Any) -> bytes:
    """Object code of a module of llvmlite's ``ir``, optimised, its loops vectorised."""
    machine = machine_of(target())
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.loop_unrolling = True, False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    code: bytes = machine.emit_object(parsed)
    return code


# --------------------------------------------------------------------------- entry points
_FOLDER = Path(__file__).parents[__name__.count(".") - 1]
_IMPORT = re.compile(rb"^from (\.+)([\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def _path_of(module: str) -> Path:
    """Return the file of a module of this package, from its name inside of it (``"base.dtypes"``)."""
    return _FOLDER.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _digest_and_imports(module: str) -> tuple[bytes, frozenset[str]]:
    """Return a digest of a module's text, and the modules of this package that it imports."""
    path = _path_of(module)
    try:
        text = path.read_bytes()
    except OSError as error:  # a zip file, or compiled files alone
        reason = f"native code of {_PACKAGE} is made of its text: {path} cannot be read"
        raise ImportError(reason) from error
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


def _unit_of(module: str, entries: dict[str, Entry]) -> Unit:
    """The entry points of a module; each module has a file, as compiling all takes long."""

    def build(symbols: Mapping[str, str]) -> bytes:
        from .translator import Translator

        loaded = importlib.import_module(f"{_PACKAGE}.{module}")
        code = ir.Module(module)
        translator = Translator(code)
        for name, entry in entries.items():
            translator.entry(getattr(loaded, name), entry.signature, symbols[name])
        return compiled(code)

    source = f"{source_digest(module)}\n{entries!r}"
    return Unit(f"core-{module.rpartition('.')[2]}", source, tuple(entries), build)


@cache
def _entries() -> dict[str, int]:
    """Addresses of all entry points."""
    units = [_unit_of(*item) for item in ENTRIES.items()]
    UNITS.extend(units)
    addresses = load_all(units, "compiling native code")
    return {name: address for part in addresses for name, address in part.items()}


def entry(name: str) -> int:
    """Address of an entry point of `runtime/`."""
    return _entries()[name]


def source_of(function: Callable[..., Any]) -> str:
    """Text of the module that a function is in."""
    module = inspect.getmodule(function)
    return inspect.getsource(module if module is not None else function)


def kernel_unit(
    function: Callable[..., Any], source: str | None = None, signature: str = nt.LOOP_SIGNATURE
) -> Unit:
    """Make the unit of a kernel (args, dims, strides, data) written as a Python function over addresses.

    Parameters
    ----------
    function : callable
        Uses the words of words.py.
    source : str, optional
        Its text and that of its callees; by default that of its module.
    signature : str, optional
        STATUS_SIGNATURE for a kernel that may fail.
    """

    def build(symbols: Mapping[str, str]) -> bytes:
        from .translator import Translator

        module = ir.Module(function.__name__)
        Translator(module).entry(function, signature, symbols["kernel"])
        return compiled(module)

    text = f"{function.__name__}\n{signature}\n{source or source_of(function)}"
    return Unit(f"kernel-{function.__name__}", text, ("kernel",), build)


def kernel_address(
    function: Callable[..., Any], source: str | None = None, signature: str = nt.LOOP_SIGNATURE
) -> int:
    """Address of a kernel; parameters as in `kernel_unit`."""
    return load(kernel_unit(function, source, signature))["kernel"]
