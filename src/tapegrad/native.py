"""Native code: how it is compiled, found and loaded, and the structures it shares with Python.

Native functions of tapegrad are numba *cfuncs* over machine integers: addresses and counts go in, a
count or an address comes out. They bake in no address (the globals are reached through a symbol
that every process defines anew), so their object code is kept on disk (store.py) and loaded by
llvmlite in milliseconds. numba itself is imported only when something has to be compiled.

Start reading at `entry` (the address of an entry point of `nopython/`), then `kernel_address`. The
constants at the end are the layout of the two structures native code shares with Python: the
process-wide *globals* (``G_*``) and the state of one tape (``S_*``).
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
import numpy as np

from . import store
from .entries import ENTRIES
from .locks import new_lock
from .words import compiler, resolve

__all__ = [
    "GLOBALS", "assemble", "entry", "has_fma", "kernel_address", "load_module", "source_of",
]  # fmt: skip

#: process-wide structure of native code, reached by symbol so that no address is compiled in
GLOBALS = np.zeros(64, np.int64)
llvm.add_symbol("tapegrad_globals", GLOBALS.ctypes.data)

LOOP_SIGNATURE = "void(int64, int64, int64, int64)"

#: held while tables that all threads share grow or change
LOCK = new_lock()

#: settings of numba that change the code it makes
SETTINGS = tuple(
    f"NUMBA_{name}" for name in (
        "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "DEBUG_NRT", "ENABLE_AVX",
        "ENABLE_PROFILING", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE", "USE_LLVMLITE_VECTORIZER",
    )
)  # fmt: skip

#: numbers of what this process did, for ``python -m tapegrad info``
COUNTS = {"loaded": 0, "compiled": 0}


@cache
def _machine() -> str:
    """What object code depends on beside its source: CPU, Python, llvmlite, the words it is written in."""
    own = Path(__file__).parent
    words = (own / "nopython" / "intrinsics.py").read_bytes()
    features = "".join(f"{k}{int(v)}" for k, v in sorted(llvm.get_host_cpu_features().items()))
    settings = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    parts = (
        platform.machine(), llvm.get_host_cpu_name(), features, sys.version, llvmlite.__version__,
        str(object.__basicsize__), hashlib.sha256(words).hexdigest(), *settings,
    )  # fmt: skip
    return "\n".join(parts)


@cache
def has_fma() -> bool:
    """Whether the processor multiplies and adds in one instruction, rounded once."""
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
        # numba's code refers to its run-time library where it could raise. Ours never does, and so
        # does not need numba to be there; a call would be a bug, and stops the process.
        stop = ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value
        for name in (
            "NRT_Free", "numba_do_raise", "numba_gil_ensure", "numba_gil_release",
            "numba_runtime_build_excinfo_struct", "numba_unpickle",
        ):  # fmt: skip
            if not llvm.address_of_symbol(name):
                llvm.add_symbol(name, stop)

    def add(self, code: bytes) -> None:
        item = llvm.ObjectFileRef.from_data(code)
        self.engine.add_object_file(item)
        self.kept.append((item, code))

    def address(self, symbol: str) -> int:
        found: int = self.engine.get_function_address(symbol)
        if not found:
            raise LookupError(f"native code has no {symbol}")
        return found


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
    found = store.read(file)
    if found is not None and set(names) <= set(found[0]):
        try:
            addresses = _loaded(*found)
        except (LookupError, RuntimeError):  # it is not what its head says: as if it were not there
            pass
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


# --------------------------------------------------------------------------- entry points
@cache
def _text_and_imports(module: str) -> tuple[str, list[str]]:
    """Digest of the text of a module of `nopython/`, and the modules beside it that it imports."""
    text = (Path(__file__).parent / "nopython" / f"{module}.py").read_bytes()
    imports = re.findall(rb"^from \.(\w+) import|^from \. import (\w+)", text, re.MULTILINE)
    return hashlib.sha256(text).hexdigest(), [(a or b).decode() for a, b in imports]


def _sources(module: str) -> str:
    """Return digests of all texts that the code of a module of `nopython/` depends on."""
    names, digests = [module], [repr(ENTRIES[module])]
    digests.append(hashlib.sha256(Path(__file__).read_bytes()).hexdigest())
    for name in names:  # grows on the way
        digest, imports = _text_and_imports(name)
        digests.append(digest)
        names += sorted(set(imports) - set(names))
    return "\n".join(digests)


@cache
def _entries() -> dict[str, int]:
    """Addresses of all entry points; each module has a file of the store, as compiling all takes long."""
    found: dict[str, int] = {}
    for module, entries in ENTRIES.items():

        def build(
            module: str = module, entries: dict[str, str] = entries
        ) -> tuple[dict[str, str], list[bytes]]:
            loaded = importlib.import_module(f"tapegrad.nopython.{module}")
            symbols, codes = {}, []
            for name, signature in entries.items():
                symbols[name], code = compiler().object_code(getattr(loaded, name), signature)
                codes.append(code)
            return symbols, codes

        found.update(load_module(f"core-{module}", _sources(module), entries, build))
    return found


def entry(name: str) -> int:
    """Address of an entry point of `nopython/`."""
    return _entries()[name]


def source_of(function: Callable[..., Any]) -> str:
    """Text of the module that a function is in."""
    module = inspect.getmodule(function)
    return inspect.getsource(module if module is not None else function)


def kernel_address(function: Callable[..., Any], source: str | None = None) -> int:
    """Address of a kernel (args, dims, strides, data) written as a Python function over addresses.

    Parameters
    ----------
    function : callable
        Uses the words of words.py.
    source : str, optional
        Its text and that of what it calls; by default that of its module.
    """
    text = f"{function.__name__}\n{source or source_of(function)}"

    def build() -> tuple[dict[str, str], list[bytes]]:
        resolve(function.__globals__)
        symbol, code = compiler().object_code(function, LOOP_SIGNATURE)
        return {"kernel": symbol}, [code]

    return load_module(f"kernel-{function.__name__}", text, ("kernel",), build)["kernel"]


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
G_NONE = 10  # None
G_REPLAY = 11  # templates of VJPs: rows of Q_WIDTH words, one an operand
G_ADD = 12  # opcodes of `add` and `clone`
G_CLONE = 13
G_SLICE = 14  # the type slice
G_WORK = 15  # bytes that VJP programs wrote so far
G_BLOCKS = 16  # blocks of functions under njit: rows of two words (nopython/strip_fields.py)
G_BLOCK_COUNT = 17
G_NJIT = 18  # addresses of entries that functions under njit call (E_* of nopython/strip_fields.py)
G_ALLOC = 19  # what allocates handles: PyType_GenericAlloc, or what tests put in its place

# --------------------------------------------------------------------------- fields of a tape's
# state
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
S_POOL = 38  # bytes in it, limit, then CLASSES lists of free buffers
S_FAILED = 112  # slot whose evaluation failed, or 0
S_COLLECT_AT = 113  # bytes of large buffers after which recording asks for a collection
# why recording goes through Python: a byte for each of these, so that each is set alone
S_BUSY = 114
# a forward sweep runs; anomaly detection is on; hooks pack what statements save; vmap lifts
BUSY_SWEEP, BUSY_TRACED, BUSY_SAVING, BUSY_LIFTED = range(4)
S_BOUND = 115  # bytes of leaves bound, and of values seen by arrays, since the last collection
S_MASKS_ZEROS = 116  # passes mask cotangents that are zero
S_WIDTH = 256
# behind the pool's first word: its number of buffers a list, and the least there were since a collection
POOL_COUNTS = 128 - S_POOL
POOL_LEAST = POOL_COUNTS + 64

# an arena of small buffers: bump allocation from blocks
A_NEXT = 0
A_END = 1
A_BLOCKS = 2  # address of the list of blocks
A_BLOCK_COUNT = 3
A_BLOCK_CAPACITY = 4
A_USED = 5  # blocks in use (those behind are kept for the next round)

SMALL = 2048  # bytes; larger buffers have an allocation of their own
BLOCK = 65536  # bytes of an arena's block
CLASSES, LARGEST = 64, 1 << 27  # lists of the pool, and the largest buffer in them

# flags of a slot
ACTIVE = 1
EXTERNAL = 2  # its memory belongs to an ndarray or a constant
FREED = 4  # its residuals were released by a reverse sweep
WATCHED = 8  # it has hooks, or its gradient is kept: Python looks at its adjoint; so have its views
VISIBLE = 16  # its memory is visible outside
SILENT = 32  # writes through it do not count as a new version (`Tensor.data`)
STUB = 64  # a value whose operands were dropped
POISON = 128  # its evaluation failed

# kinds of instruction
LEAF, COMPUTE, VIEW, WRITE, ACCUMULATE, OUTPUT = range(6)
REWRITTEN = -1  # I_EXTRA of the view that is a tensor after a part of it was written

# columns of an instruction
I_KIND, I_NARGS, I_BYTES, I_STEP_LO, I_STEP_HI, I_SCRATCH, I_LAYOUT, I_DIFF = range(8)
I_NOUT, I_FULL, I_DETACH, I_VSCRATCH = range(8, 12)
I_PYTHON = 12  # its derivative is Python code (autograd.Function)
I_EXTRA = 13  # two words
I_VJP = 15  # its rows in the table of VJP programs, or -1: a word for each variant
I_REPLAY = 19  # its rows in the table of templates, or -1: plain, masked
I_PUSH = 21  # and those of its derivatives along a direction
I_USED = 22  # whether a statement was recorded since instructions ended last
I_SIZE = 23  # length of the loops of sized steps
I_WIDTH = 24

# variants of VJP programs: sums of these
LANES = 1  # many cotangents in one sweep
MASKED = 2  # a cotangent of zero gives zero, whatever the derivative is
VARIANTS = 4

# columns of a VJP program (an instruction and an operand)
# (a range of steps is one word, so that it changes at once for a sweep of another thread)
V_ASSIGN, V_ACCUMULATE, V_SCRATCH, V_MASK, V_REDUCES, V_IDENTITY, V_EXISTS, V_WORK, V_HOT = range(9)
V_LANED = 9  # bytes of scratch memory a lane
V_WIDTH = 12

# columns of a template (an instruction and an operand)
Q_EXISTS, Q_NATIVE, Q_STATEMENTS, Q_COUNT, Q_ARGS, Q_RESULT, Q_LAYOUT, Q_CT = range(8)
Q_CONSTANTS, Q_CONSTANT_COUNT = 8, 9
Q_WIDTH = 10
# references in a template: cotangent (or tangent), result, then operands, statements and constants
REF_CT, REF_OUT, REF_OPERAND = 0, 1, 2
REF_STATEMENT, REF_CONSTANT = 64, 1024
MAX_TEMPLATE, MAX_CONSTANTS, MAX_OPERANDS_OF_TEMPLATE = 128, 16, 12

# in the place of an opcode in the table of pairs: what replay makes of two layouts
OP_ZEROS, OP_REGION, OP_ACCUMULATE = 20000, 20001, 20002
# and what slicing does: a layout's first length and stride; the view of a layout and a length
OP_FIRST, OP_SLICE = 20003, 20004

# columns of a step
P_KERNEL, P_DATA, P_KIND, P_NOPS = range(4)
P_REF = 4  # 8 operand references; -1 means that the offset is an address
P_OFFSET = 12  # 8 byte offsets
P_DIMS, P_STRIDES, P_ONDIM, P_ODIMS, P_OSTRIDES, P_COUNT = range(20, 26)
P_LANES = 26  # address of each operand's stride from lane to lane; 0 for a step without lanes
P_WIDTH = 28
#: in the place of a step's number of outer loops: its one loop is as long as the instruction says
SIZED = -1
STEP_LOOP, STEP_TILES, STEP_ZERO, STEP_PRODUCT, STEP_GROUP, STEP_MUL, STEP_MULADD = range(7)
MAX_OPERANDS = 8
TILE = 1024

# what the two sides must agree on beside that
FLOAT32 = 1  # code of a dtype
HEADER = object.__basicsize__  # of a PyObject: two words, more in free-threaded builds
SELECT_CODE = 1  # opcode of integer indexing
# in the place of opcodes in G_SLOW: what entry and exit of an `Exchange` ask Python for
ENTER_CODE, LEAVE_CODE = 1022, 1023
HASH = -7046029254386353131  # factor of hash tables, 2**64 / golden ratio (Fibonacci hashing)
NUMBER_PROTOCOL = 512  # G_SLOW has operators, which may return NotImplemented, so far behind calls

# entries of the pointer table that programs address their operands through
T_SCRATCH, T_CT, T_ADJOINT, T_SIZE, T_ARGS = range(5)
LANED_SCRATCH = -2  # in the place of an entry: scratch memory with lanes

# fields of a reverse sweep's request
R_ADJOINT = 0  # int64 a statement: address of its adjoint (roots only), 0 = untouched
R_NEEDED = 1  # uint8 a statement (roots): its adjoint is wanted; TARGET: it is copied out there
R_REACHED = 2  # uint8 a statement (roots): the sweep will come by
R_HIGH = 3  # first statement visited
R_ROOT = 4  # roots of this sweep: S_ROOT, or a copy where captured views have adjoints of their own
R_CAPTURES = 5  # rows (statement that takes it, slot, address of a contiguous copy, instruction)
R_CAPTURE_COUNT = 6
R_WRITES = 7  # rows (base, statement) of in-place writes, ascending
R_WRITE_COUNT = 8
R_MISSING = 9  # out: instructions whose VJP programs are not built
R_MISSING_COUNT = 10
R_ERROR_SLOT = 11  # out: statement at fault
R_ERROR_ARG = 12  # out: its operand
R_LAST_WRITE = 13  # int32 a statement (bases): last statement that wrote it
R_LOW = 14
R_ROOT_COUNT = 15  # distinct roots that are seeded
R_STOP = 16  # out: the sweep ends above this slot
R_EVERY = 17  # whether Python is to see every statement (anomaly detection)
R_RAW = 18  # whether a target's adjoint is taken before its hooks, where the sweep goes on there
R_LANES = 19  # cotangents in one sweep: each element of an adjoint is that many numbers
R_VARIANT = 20  # of VJP programs
R_WATCHED = 21  # out: statements that `prepare` came by where Python has something to do
R_SEPARABLE = 22  # out: operands that are watched views, and lie in their root's adjoint
R_SEEN = 23  # where Python looked at the adjoint last; negative: and computes the derivatives, too
R_ENDS = 24  # number of statements that are marked so (`ENDS`)
R_WIDTH = 25
MISSING = 512  # instructions without programs that `prepare` reports at once
TARGET = 8  # mark of a statement in `R_NEEDED` (a bit beside that of an adjoint that is wanted)
ENDS = 16  # mark of a statement beside TARGET: what it writes to is not wanted any more below it
#: `reverse` answers a statement where Python is to look at the adjoint; plus this, where Python is to
#: compute the derivatives
TAKE_OVER = 1 << 40

# what `prepare` answers
OK, IS_FREED, IS_STALE, IS_MISSING, NO_MEMORY = range(5)
