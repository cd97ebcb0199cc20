"""Calls of functions of one Tensor and a few options, or two, as native code records them: ``x.sum(0)``.

An option is None, a bool or a small int, by position or by one of a few names; together they are a word. The
layout of the Tensor and that word say which instruction a call is, once Python has recorded one like it
(tensors/plain_calls.py); everything else goes to Python.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, inlined, p32, p64, stack_words
from .hash_tables import find_pair
from .recording import (
    _LAYOUT,
    _TYPE,
    METHOD_CALL,
    NO_NUMBER,
    blank_handle,
    finish,
    forget,
    is_plain,
    own_state,
    slot_of,
    slow,
    still_there,
    try_binary,
    whole_number,
)  # fmt: skip


@inlined
def option_word(value):  # type: ignore[no-untyped-def]
    """An option as a number from 1 to 63; 0 for what is none."""
    g = p64(globals_address())
    if value == g[nt.G_NONE]:
        return np.int64(1)
    if value == g[nt.G_FALSE]:
        return np.int64(2)
    if value == g[nt.G_TRUE]:
        return np.int64(3)
    if p64(value + _TYPE)[0] != g[nt.G_LONG]:
        return np.int64(0)
    number = whole_number(value)
    if number == NO_NUMBER or number < nt.LEAST_OPTION or number > nt.LARGEST_OPTION:
        return np.int64(0)
    return number - nt.LEAST_OPTION + 4


@inlined
def name_word(name):  # type: ignore[no-untyped-def]
    """The number of an option's name, which code has interned; 0 for another one."""
    names = p64(p64(globals_address())[nt.G_OPTION_NAMES])
    for i in range(nt.OPTION_NAMES):
        if names[i] == name:
            return np.int64(i + 1)
    return np.int64(0)


@helper
def options_of(args, count, names):  # type: ignore[no-untyped-def]
    """All options of a call as a word; -1 for what is for Python."""
    named = p64(names + nt.HEADER)[0] if names != 0 else np.int64(0)
    if count < 1 or count + named > nt.MOST_OPTIONS + 1 or named > 2:
        return np.int64(-1)
    options = np.int64(0)
    for i in range(named):
        word = name_word(p64(names + nt.TUPLE_ITEMS)[i])
        if word == 0:
            return np.int64(-1)
        options = options << 3 | word
    for i in range(1, count + named):
        word = option_word(p64(args)[i])
        if word == 0:
            return np.int64(-1)
        options = options << 6 | word
    return options


@helper
def try_plain(args, count, names, code):  # type: ignore[no-untyped-def]
    options = options_of(args, count, names)
    if options < 0:
        return 0
    tensor = p64(args)[0]
    if not is_plain(tensor):
        return 0
    state = own_state(tensor)
    if state == 0:
        return 0
    handle = blank_handle()
    if handle == 0:
        return 0
    row = np.int64(0)
    if still_there(tensor, state):
        row = find_pair(nt.OP_PLAIN + code, np.int64(p32(tensor + _LAYOUT)[0]), options)
    if row == 0:
        return forget(handle)
    operands = stack_words(2)
    p64(operands)[0] = 0
    p64(operands)[1] = 0
    p32(operands)[0] = slot_of(state, tensor)
    itab = p64(globals_address())[nt.G_ITAB]
    kind = p64(itab + 8 * nt.I_WIDTH * p64(row)[1])[nt.I_KIND]
    size = np.int64(3 if kind == nt.VIEW else 1)  # a view's place in its base is that of the Tensor
    return finish(handle, state, p64(row)[1], operands, size, p64(row)[2])


def plain_call(args, count, names, op):  # type: ignore[no-untyped-def]
    """A call of a function of one or two Tensors, or, with `METHOD_CALL` in `op`, of a method."""
    code = op & (METHOD_CALL - 1)
    if count == 2 and names == 0 and is_plain(p64(args)[1]):
        result = try_binary(p64(args)[0], p64(args)[1], code)
    else:
        result = try_plain(args, count, names, code)
    if result == 0 and it.error_occurred() == 0:
        return slow(op, args, count, names)
    return result
