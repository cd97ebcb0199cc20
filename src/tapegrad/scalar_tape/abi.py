"""The layout of strips and of the recorders that they come from, for both sides of native code."""

from __future__ import annotations

# words of a recorder (native_recorder.py)
W_SELF, W_COUNT, W_CAPACITY, W_VALUES, W_ARGS, W_CODES, W_TABLE, W_TABLE_COUNT = range(8)
W_TABLE_CAPACITY, W_HEAD, W_STATE, W_VALUELESS = range(8, 12)
W_WIDTH = 16
# an active scalar in memory (njit_compiler/types.py)
N_VALUE, N_MARK, N_RECORDER = range(3)
N_WIDTH = 3
# words by which a recorder becomes statements: instructions of the table, the operands, the opcodes and the
# strip (or -1), the number of results, then for each the instruction that copies it out (or -1)
A_TABLE, A_ARGS, A_CODES, A_STRIP, A_RESULT_COUNT, A_RESULTS = range(6)
# words at the start of a strip's table (scalar_tape/rows.py); then constants, then the places of results
B_COUNT, B_HEAD, B_RESULTS, B_RESULT_COUNT = range(4)
# 1 if its reverse pass is a strip, too: then any number may get a cotangent from there
B_REPLAYED = 4
B_WIDTH = 5
UNTOUCHED = -(1 << 63)  # bits of -0.0
# opcodes of a strip that are no row's: a statement that holds a third operand, attributes or operands of a
# block; a constant; a block; sums
CODE_EXTRA, CODE_CONSTANT, CODE_BLOCK, CODE_SUMS = range(4)
# sums of products (native_sums.py), in a strip's table: sizes, which operands there are and are active,
# and for each the first number (or constant) and the steps from one element to the next
S_ROWS, S_COLS, S_INNER, S_KINDS, S_LEFT, S_LEFT_ROW, S_LEFT_INNER = range(7)
S_RIGHT, S_RIGHT_INNER, S_RIGHT_COL = range(7, 10)
S_WIDTH = 10
# a matrix: address, bytes from one row and column to the next, 1 if its elements are active
M_DATA, M_ROW, M_COL, M_ACTIVE = range(4)
M_WIDTH = 4
S_LEFT_ACTIVE, S_PRODUCT, S_RIGHT_ACTIVE = 1, 2, 4
# a request for sums: the matrices to the left and right, sizes, the address of the results, opcode of `clone`
R_LEFT, R_RIGHT = 0, M_WIDTH
R_ROWS, R_COLS, R_INNER, R_OUT, R_CLONE = range(2 * M_WIDTH, 2 * M_WIDTH + 5)
# addresses of rules, of their templates and of constants; opcodes of "add", "clone" and "mul" (opcodes.py)
T_RULES, T_TEMPLATES, T_CONSTANTS, T_ADD, T_CLONE, T_MUL = range(6)
# a rule of an opcode, and a statement of its template (opcodes.py)
RULE_START, RULE_COUNT, RULE_EXTRA, RULE_CONSTANTS = range(4)
RULE_RESULT = 4  # a reference for each of three operands, or -1
RULE_WIDTH = 8
X_ARITY, X_PARAMETERS, X_P, X_Q = range(4)
X_CODE = 4  # opcodes of the kinds "ab", "ak", "ka"; or the only one
X_REF = 7
X_WIDTH = 10
# an opcode's derivatives in the sweep: 1 if they are simple; for each operand a mask, all bits set for a
# constant, and its derivative (`Rule.partials`)
P_SIMPLE, P_MASK_A, P_MASK_B, P_A, P_B = range(5)
P_WIDTH = 8
MOST_EXPONENT_DERIVATIVES = 15
#: statements of a rule
MOST_RULE = 256
# opcodes from here on call kernels by address (called_rows.py); there are no others beyond the last
FIRST_CALLED, MOST_CODES = 1024, 8192
# what nt.G_CALLED points to: addresses of their rows (K_*), of the rules (T_*), and of `strip_called`
CALLED_ROWS, CALLED_RULES, CALLED_SWEEP = range(3)
# such a row: which operands are constants, as bits, then calls: how many, and of each the kernel, its data,
# the number of its operands, and for each of them an address, or the number of a word of memory
K_CONSTANTS, K_COUNT, K_CALLS = range(3)
KC_KERNEL, KC_DATA, KC_COUNT, KC_OPERANDS = range(4)
KC_WIDTH, MOST_CALLS = 10, 16
K_WIDTH = 2 + KC_WIDTH * MOST_CALLS
# words of memory: operands, the result, temporaries; below the lowest address
K_OUT, K_TEMPORARIES, K_MEMORY = 3, 4, 32
# a block: several scalar statements of a function that run together (njit_compiler/lowering/block.py). Its
# description, in words: statements of the strip that it takes, operands, results,
# scalar statements, and two words of bits that say which operands are passive; then for each operand the
# results that depend on it, as bits; then the scalar statements, each a row like those of a template (X_*)
# and two words more: the opcode, and which result of the block it is, or -1; then its numbers
D_SLOTS, D_INS, D_OUTS, D_OPS, D_PASSIVE = range(5)
D_WIDTH = 6
D_CODE, D_OUT = X_WIDTH, X_WIDTH + 1
D_OP_WIDTH = X_WIDTH + 2
# references in a row: operands of the block, results of its statements, its numbers
D_STATEMENT, D_NUMBER = 1024, 4096
MOST_INS, MOST_OUTS, MOST_OPS = 100, 60, 256
# entries that functions under njit call by address (nt.G_NJIT), and their answer for no memory
E_SUMS, E_ROOM, E_PASSIVE, E_MIXED, E_BLOCK, E_CALLED = range(6)
E_NO_MEMORY = -2
# blocks in the process (nt.G_BLOCKS): rows of two words, the code of the reverse pass and the description
BLOCK_CODE, BLOCK_DESCRIPTION = range(2)
MOST_BLOCKS = 1 << 20
