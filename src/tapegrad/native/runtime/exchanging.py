"""Entry and exit of context managers that no interrupt can split (exchange.py).

KeyboardInterrupt comes between bytecodes. What changes, and to which values, is asked for first, in Python;
then it is noted and done by functions of the C API that run no Python code.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p64, stack_words
from .recording import slow

#: places in a change: a container, a key of it, the value before, the value meanwhile
CONTAINER, KEY, BEFORE, MEANWHILE = range(4)


@helper
def store(changes, which):  # type: ignore[no-untyped-def]
    """Store one of the two values of each change; 0, or -1 with a Python error set."""
    failed = 0
    for i in range(it.tuple_size(changes)):
        change = it.tuple_get(changes, i)
        container, key = it.tuple_get(change, CONTAINER), it.tuple_get(change, KEY)
        if it.set_item(container, key, it.tuple_get(change, which)) != 0:
            failed = -1
    return failed


@helper
def pop(notes):  # type: ignore[no-untyped-def]
    """Take the last item off a list; 0 with a Python error set if there is none."""
    last = it.list_size(notes) - 1
    item = it.list_get(notes, last)
    if item != 0:
        it.py_incref(item)
        it.list_set_slice(notes, last, last + 1, np.int64(0))
    return item


def enter(unused, args, count, names):  # type: ignore[no-untyped-def]
    """``__enter__``: note the changes that Python says, and make them; the result that it says."""
    answer = slow(nt.ENTER_CODE, args, count, names)
    if answer == 0:
        return answer
    notes, changes, result = it.tuple_get(answer, 0), it.tuple_get(answer, 1), np.int64(0)
    if it.list_append(notes, changes) == 0:
        if store(changes, MEANWHILE) == 0:
            result = it.tuple_get(answer, 2)
            it.py_incref(result)
        else:
            it.py_decref(pop(notes))
    it.py_decref(answer)
    return result


@helper
def end(ending, args):  # type: ignore[no-untyped-def]
    """Do what is to be done before the changes are taken back; None, or 0 with a Python error set."""
    if ending == p64(globals_address())[nt.G_NONE]:
        it.py_incref(ending)
        return ending
    zero = np.int64(0)
    return it.vectorcall(ending, args, zero, zero)


def leave(unused, args, count, names):  # type: ignore[no-untyped-def]
    """``__exit__``: take back the changes noted last, also where what comes before (`end`) raises."""
    answer = slow(nt.LEAVE_CODE, args, min(count, 1), np.int64(0))
    if answer == 0:
        return answer
    changes = pop(it.tuple_get(answer, 0))
    if changes == 0:
        it.py_decref(answer)
        return changes
    result = end(it.tuple_get(answer, 1), args)
    it.py_decref(answer)
    error = stack_words(3)
    it.error_fetch(error, error + 8, error + 16)
    failed = store(changes, BEFORE)
    it.py_decref(changes)
    if failed == 0:
        it.error_restore(p64(error)[0], p64(error)[1], p64(error)[2])
        return result
    for i in range(3):
        it.py_decref(p64(error)[i])
    it.py_decref(result)
    return np.int64(0)
