"""The ABI of native code: the structures that it shares with Python, and their fields.

Start reading at `GLOBALS`, the process-wide structure (fields ``G_*``), then the state of one tape
(``S_*``), instructions (``I_*``), VJP programs (``V_*``) and their steps (``P_*``), rules as segments
(``Q_*``, ``SEG_*``), and the request of a reverse sweep (``R_*``).
"""

from __future__ import annotations

import numpy as np

from ..base import object_layout

#: process-wide structure of native code, reached by symbol so that no address is compiled in
GLOBALS = np.zeros(64, np.int64)

LOOP_SIGNATURE = "void(int64, int64, int64, int64)"
#: that of kernels which may fail: 0, or one more than the place in the loop where they did
STATUS_SIGNATURE = "int64(int64, int64, int64, int64)"

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
G_REPLAY = 11  # rules that are appended: rows of Q_WIDTH words, one an operand
G_ADD = 12  # opcodes of `add` and `clone`
G_CLONE = 13
G_SLICE = 14  # the type slice
G_WORK = 15  # bytes that VJP programs wrote so far
G_BLOCKS = 16  # blocks of functions under njit: rows of two words (scalar_tape/abi.py)
G_BLOCK_COUNT = 17
G_NJIT = 18  # addresses of entries that functions under njit call (E_* of scalar_tape/abi.py)
G_ALLOC = 19  # what allocates handles: PyType_GenericAlloc, or what tests put in its place
G_POOL = 20  # threads that run loops of compiled tapes (POOL_*)
G_CALLED = 21  # opcodes of strips that call kernels: words (CALLED_* of scalar_tape/abi.py)
G_TRUE, G_FALSE = 22, 23
G_OPTION_NAMES = 24  # names of options of plain calls: addresses of strings

#: places of opcode and first layout in a key of the table of pairs; the second is in the lowest bits
PAIR_CODE, PAIR_LAYOUT = 48, 24

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
S_FAILED = (
    112  # first slot that is poisoned and in no book of failures yet, or 0 (tape/failures.py)
)
S_COLLECT_AT = 113  # bytes of large buffers after which recording asks for a collection
# why recording goes through Python: a byte for each of these, so that each is set alone
S_BUSY = 114
# a forward sweep runs; anomaly detection is on; hooks pack what statements save; vmap lifts;
# fast paths are refused (base/fast_paths.py)
BUSY_SWEEP, BUSY_TRACED, BUSY_SAVING, BUSY_LIFTED, BUSY_REFUSED = range(5)
S_BOUND = 115  # bytes of leaves bound, and of values seen by arrays, since the last collection
S_MASKS_ZEROS = 116  # passes mask cotangents that are zero
S_FAILURE = 117  # why the forward sweep stopped: what a kernel reported, or 0 for no memory
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
POISON = 128  # its evaluation failed; FREED as well, so that no pass comes by

# kinds of instruction
LEAF, COMPUTE, VIEW, WRITE, ACCUMULATE, OUTPUT = range(6)
REWRITTEN = -1  # I_EXTRA of the view that is a tensor after a part of it was written

# columns of an instruction
I_KIND, I_NARGS, I_BYTES, I_STEP_LO, I_STEP_HI, I_SCRATCH, I_LAYOUT, I_DIFF = range(8)
I_NOUT, I_FULL, I_DETACH, I_VSCRATCH = range(8, 12)
I_PYTHON = 12  # its derivative is Python code (autograd.Function)
I_EXTRA = 13  # two words
I_VJP = 15  # its rows in the table of VJP programs, or -1: a word for each variant
I_REPLAY = 19  # its rows in the table of rules, or -1: plain, masked
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

# columns of a rule (an instruction and an operand): whether there is one, its segment (0 where Python appends
# it), the reference to its result, the layout of that, and of the cotangent
Q_EXISTS, Q_SEGMENT, Q_RESULT, Q_LAYOUT, Q_CT = range(5)
Q_WIDTH = 8
# names of a rule's inputs: the cotangent (or tangent), the statement's result; from 0 on its operands
RULE_CT, RULE_OUT = -1, -2

# header of a segment (tape/segment.py): numbers of statements, of words of operands, of leaves. Behind it two
# words a leaf, the code of a number's dtype and its bits, or SEG_INPUT and a name; then the statements:
# instruction, grad mode (or -1), number of references, of words behind them, and those
SEG_STATEMENTS, SEG_ARGS, SEG_LEAVES, SEG_HEADER = range(4)
SEG_INPUT = -1
# references in the template of a strip's opcode: cotangent, result, then operands, statements and constants
REF_CT, REF_OUT, REF_OPERAND = 0, 1, 2
REF_STATEMENT, REF_CONSTANT = 64, 1024

# in the place of an opcode in the table of pairs: what replay makes of two layouts
OP_ZEROS, OP_REGION, OP_ACCUMULATE = 20000, 20001, 20002
# and what slicing does: a layout's first length and stride; the view of a layout and a length
OP_FIRST, OP_SLICE = 20003, 20004
# from here on functions of one Tensor, with options (runtime/plain_calls.py) in the place of a second layout
OP_PLAIN, PLAIN_CODES = 21000, 48
MOST_OPTIONS, LEAST_OPTION, LARGEST_OPTION, OPTION_NAMES = 3, -20, 39, 7

# columns of a step
P_KERNEL, P_DATA, P_KIND, P_NOPS = range(4)
P_REF = 4  # 8 operand references; -1 means that the offset is an address
P_OFFSET = 12  # 8 byte offsets
P_DIMS, P_STRIDES, P_ONDIM, P_ODIMS, P_OSTRIDES, P_COUNT = range(20, 26)
P_LANES = 26  # address of each operand's stride from lane to lane; 0 for a step without lanes
P_STATEMENT = 27  # of a VJP's template whose step it is
P_WIDTH = 28
#: in the place of a step's number of outer loops: its one loop is as long as the instruction says
SIZED = -1
STEP_LOOP, STEP_TILES, STEP_ZERO, STEP_PRODUCT, STEP_GROUP, STEP_MUL, STEP_MULADD = range(7)
STEP_CHECKED = 7  # its kernel may fail; it has an outer loop at least
#: a program answers 0, or one more than the element of the batch at which a kernel failed and, behind so
#: many bits, P_STATEMENT of the step
BATCH_BITS = 40
MAX_OPERANDS = 8
TILE = 1024

# what the two sides must agree on beside that
FLOAT32, COMPLEX128, COMPLEX64 = 1, 4, 5  # codes of dtypes
HEADER, TUPLE_ITEMS = object_layout.HEADER, object_layout.TUPLE_ITEMS
SELECT_CODE = 1  # opcode of integer indexing
# in the place of opcodes in G_SLOW: what entry and exit of an `Exchange` ask Python for
ENTER_CODE, LEAVE_CODE = 1022, 1023
BUFFER_CODE = 1021  # and what the buffer protocol asks for: an array over a tensor's memory
HASH = -7046029254386353131  # factor of hash tables, 2**64 / golden ratio (Fibonacci hashing)
NUMBER_PROTOCOL = 512  # G_SLOW has operators, which may return NotImplemented, so far behind calls
METHOD_CALL = (
    1024  # and methods, whose errors do not count the tensor that they are called on, so far
)

# entries of the pointer table that programs address their operands through
# (T_ONCE has the address of T_RAN, which is 0 before the steps of a statement)
T_SCRATCH, T_CT, T_ADJOINT, T_SIZE, T_ONCE, T_RAN, T_ARGS = range(7)
LANED_SCRATCH = -2  # in the place of an entry: scratch memory with lanes

# --------------------------------------------------------------------------- fields of a pass's
# request: first what Python says of it
R_STAGE = 0  # where `run_pass` is to go on
LAYOUT, MARKING, CHECKING, SEEDING, SWEEPING, SWEPT = range(6)
R_SIZE = 1  # words of the block that the request lies in; out: words that it takes
R_OPTIONS = 2  # sum of options
#: Python has told `R_HIGH`, rows of targets, and writes; native code finds none of them out
DETAILED = 1
RAW = 2  # a target's adjoint is taken before its hooks, where the sweep goes on there
EVERY = 4  # Python is to see every statement (anomaly detection)
MAY_BE_UNUSED = 8  # targets need not be reached
INSPECTED = 16  # Python is to look at the marks before the sweep
UNEVALUATED = 32  # what is pending stays so: the tape has no values, or none are needed
SEPARATED = 64  # some views have an adjoint of their own
R_VARIANT = 3  # of VJP programs
R_LANES = 4  # cotangents in one sweep: each element of an adjoint is that many numbers
R_OUTPUTS = (
    5  # tensors that are differentiated; their places come first behind the fields (`R_PLACES`)
)
R_TARGETS = 6  # targets; their places are behind those of the outputs
R_LEAVES = 7  # 1 more than the tape has leaves, if the adjoints of all of them are wanted
R_COUNT = 8  # statements of the tape when Python looked at it
R_WRITTEN = 9  # last statement that wrote in place
R_ROOT = 10  # int32 a statement: its root, the tape's or, with SEPARATED, of a copy
R_RECORDED = 11  # slot of the output's cotangent, if native code is to record the pass
R_INPUTS = 12  # number of these fields
# with seeds, rows, one an output: address of a contiguous cotangent and the instruction that copies it; or 0
# and the element from which on there are unit vectors, a lane each
R_SEEDS = 12
# with DETAILED
R_CAPTURES = 13  # rows of targets: statement that takes it, slot, address of a copy, instruction
R_WRITES = 14  # rows (base, statement) of in-place writes, ascending
R_WRITE_COUNT = 15
R_HIGH = 16  # first statement visited
R_OUTPUT = 17  # first field of these:
# then what native code says of it
R_ADJOINT = 17  # int64 a statement: address of its adjoint (roots only), 0 = untouched
R_NEEDED = 18  # uint8 a statement (roots): its adjoint is wanted; TARGET: it is copied out there
R_REACHED = 19  # uint8 a statement (roots): the sweep will come by
R_MISSING = 20  # instructions whose VJP programs are not built
R_MISSING_COUNT = 21
R_LAST_WRITE = 22  # int32 a statement (bases): last statement that wrote it
R_LEAF_ROWS = 23  # rows (slot, address of its adjoint) of leaves that a sweep came to
R_LEAF_COUNT = 24
R_RECORDING = 25  # int32 a statement, then uint8: see `replay`
R_LOW = 26  # lowest target
R_ROOT_COUNT = 27  # distinct roots that are seeded
R_STOP = 28  # the sweep ends above this slot
R_NEXT = 29  # statement at which the sweep goes on
R_WATCHED = 30  # statements that `prepare` came by where Python has something to do
R_SEPARABLE = 31  # operands that are watched views, and lie in their root's adjoint
R_SEEN = 32  # where Python looked at the adjoint last; negative: and computes the derivatives, too
R_ENDS = 33  # number of statements that are marked so (`ENDS`)
R_ERROR_SLOT = 34  # statement at fault
R_ERROR_ARG = 35  # its operand, or a target that is not reached
R_FAILURE = 36  # what the kernel reported that stopped the sweep; 0 where there was no memory
R_WIDTH = 37
R_PLACES = R_WIDTH  # rows (slot, layout) of outputs, then targets
MISSING = 512  # instructions without programs that `prepare` reports at once
TARGET = 8  # mark of a statement in `R_NEEDED` (a bit beside that of an adjoint that is wanted)
ENDS = 16  # mark of a statement beside TARGET: what it writes to is not wanted any more below it

# why `run_pass` stops: it is done, or needs something before it can go on, or cannot
DONE = 0
NEEDS_ROOM = 1  # a block of `R_SIZE` words
NEEDS_VALUES = 2  # statements evaluated, and errors of that raised
NEEDS_PROGRAMS = 3  # programs of the instructions in `R_MISSING`
NEEDS_DETAILS = 4  # see DETAILED: in-place writes, targets that are no leaves
NEEDS_INSPECTION = 5  # a look at the marks
NEEDS_HOOKS = 6  # hooks called with the adjoint of statement `R_NEXT`
NEEDS_RULE = 7  # derivatives of statement `R_NEXT`, computed by Python
NEEDS_RECORDING = 8  # the pass recorded by Python
IS_FREED = 9  # residuals of `R_ERROR_SLOT` were released
IS_STALE = 10  # or changed in place
IS_UNUSED = 11  # target `R_ERROR_ARG` is not reached
HAS_FAILED = 12  # a kernel failed, or there was no memory
# bits of what `release` does
FREES_RESIDUALS = 1  # of statements that the sweep visited
EMPTIES_ARENA = 2  # no other pass of the tape is under way

# --------------------------------------------------------------------------- calls of compiled tapes
# Words of what a compiled function keeps for its calls with arrays (runtime/compiled_tapes.py).
(
    J_CODE, J_TABLE, J_BUSY, J_READY, J_INPUTS, J_INPUT_ROWS, J_FIRST_INPUT, J_OUTPUTS, J_OUTPUT_ROWS,
    J_RESULT, J_GUARDS, J_GUARD_ROWS, J_PLACES, J_PLACE_ROWS, J_RELEASES, J_SLOW, J_ARRAY_TYPE,
    J_ARRAY_NEW, J_FILLS, J_STATE, J_MODE, J_SEGMENT, J_ARGS, J_TENSORS, J_TENSOR_ROWS, J_WIDTH,
) = range(26)  # fmt: skip
#: values of J_READY: calls with arrays, or with tensors
WITH_ARRAYS, WITH_TENSORS = 1, 2
#: words of a row: an input (dtype, dimensions, lengths), an output (dtype's number, dimensions, address of
#: the lengths, word of the table; for tensors the statement, and the layout), a guard (address, what must be
#: there, bytes), a place (kind, owner, key, object), a tensor (number of the argument, or -1 and the object,
#: then layout and whether it is active)
J_INPUT, J_OUTPUT, J_GUARD, J_PLACE, J_TENSOR = 10, 6, 3, 4, 4
#: dimensions of an input, results, and parts of what is returned at most
J_DIMS, J_RESULTS = 8, 16

# --------------------------------------------------------------------------- threads of compiled tapes
# Words of the pool (runtime/shares.py); those that threads write while others read are cache lines apart.
POOL_THREADS = 0  # that a loop runs on at most, the calling one among them
POOL_WORK = 1  # address of what a worker runs
POOL_STARTED = 2  # workers that were started
POOL_FINISHED = 3  # lock that the calling thread waits for
POOL_CODE, POOL_TABLE, POOL_COUNT = 4, 5, 6  # the loop: its function, table, shares
POOL_USED = 7  # workers that may take shares
POOL_BUSY = 8  # 1 while a thread has the pool
POOL_STATUS = 9  # of shares that workers took
POOL_STOPS = 10  # 1 if workers are to end
POOL_CORE = 11  # that the calling thread was on, last
POOL_GATE = 16  # workers inside of the loop, and:
OPEN, WAITED_FOR = 1 << 32, 1 << 33  # more may come in; the last one to leave releases the lock
POOL_NEXT = 24  # share that is taken next
POOL_ROUND = 32  # loops so far
POOL_ALIVE = 40  # workers that have not ended
#: rows of workers, and their words: pool, number, lock, whether it sleeps, the last round that it saw, the
#: system's number of the thread, one more than the core that it keeps off
POOL_ROWS, POOL_ROW = 48, 16
W_POOL, W_NUMBER, W_LOCK, W_SLEEPS, W_SEEN, W_THREAD, W_AVOIDED = range(7)
#: workers at most
POOL_WORKERS = 63
