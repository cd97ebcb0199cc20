"""Functions of one Tensor and a few options, or of two, recorded natively from the second call on.

``x.sum(0)`` takes Python some microseconds to find out which instruction it is. That depends on the layout of
`x` and the options alone: so the first call is noted (`noting`), and native code records the others
(native/runtime/plain_calls.py). `NAMES` are the functions of which that is so. A call is noted if all that it
did was one statement on its operands; others (of whole numbers, which are cast first) go on as they were.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.locks import TABLE_LOCK
from ..functions.help_texts import HELP, with_example
from ..native import abi as nt
from ..native.machine_code import keep_for_ever
from ..ops.instruction import LARGE
from ..ops.layout import is_symbolic
from ..ops.pairs import PAIRS
from ..ops.registered import LAST_CODE
from ..ops.table import TABLE
from ..tape.current import current_tape
from ..tape.recording import is_tensor
from ..tape.tape import slot_of

__all__ = ["NAMES", "code_of", "help_text", "noting"]

NAMES = (
    "sum", "mean", "amax", "amin", "argmax", "argmin", "any", "all", "cumsum", "cumprod", "logcumsumexp",
    "softmax", "log_softmax", "logsumexp", "transpose", "swapaxes", "unsqueeze", "squeeze", "flatten", "t",
    "tril", "triu", "diag", "diagonal", "ravel", "movedim", "swapdims", "dot", "mm", "mv", "bmm",
)  # fmt: skip
#: names of options that native code knows, in the order of their numbers
_OPTIONS = tuple(map(sys.intern, ("dim", "keepdim", "dim0", "dim1", "diagonal", "axis", "offset")))
_names = np.array([id(name) for name in _OPTIONS], np.int64)
keep_for_ever((_names, _OPTIONS))
nt.GLOBALS[nt.G_OPTION_NAMES] = _names.ctypes.data


def code_of(name: str) -> int:
    """Return the number of a function in the tables of native code: its row's, or one of its own."""
    return TABLE[name].code if name in TABLE else LAST_CODE + 1 + NAMES.index(name)


def help_text(name: str, call: Callable[..., Any], shown: str) -> str:
    """Return the text of a builtin that stands for a function: its signature, and its docstring."""
    if f"op {shown}" in HELP:
        return HELP[f"op {shown}"]
    signature = inspect.signature(call)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    doc = inspect.cleandoc(with_example(call.__doc__, shown) or "")
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}\n--\n\n{doc}"


def _options(args: tuple[Any, ...], named: dict[str, Any]) -> int | None:
    """The options of a call as native code has them in a word; None for others."""
    if len(args) + len(named) > nt.MOST_OPTIONS or len(named) > 2:
        return None
    word = 0
    for name in named:
        if name not in _OPTIONS:
            return None
        word = word << 3 | _OPTIONS.index(name) + 1
    for value in (*args, *named.values()):
        if value is None or type(value) is bool:
            number = 1 if value is None else 2 + value
        elif type(value) is int and nt.LEAST_OPTION <= value <= nt.LARGEST_OPTION:
            number = value - nt.LEAST_OPTION + 4
        else:
            return None
        word = word << 6 | number
    return word


def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that notes which instruction a call was."""
    code = code_of(name)

    @functools.wraps(call)
    def noted(*args: Any, **named: Any) -> Any:
        result = call(*args, **named)
        if args and is_tensor(args[0]) and is_tensor(result) and args[0] is not result:
            if len(args) == 2 and not named and is_tensor(args[1]):
                _note(code, args, None, result)
            else:
                options = _options(args[1:], named)
                if options is not None:
                    _note(nt.OP_PLAIN + code, args[:1], options, result)
        return result

    return noted


def _note(code: int, operands: tuple[Any, ...], options: int | None, result: Any) -> None:
    """Tell native code what a call on these Tensors records."""
    tape = current_tape()
    if any(x._state != tape.pointer for x in (*operands, result)):
        return
    slot = slot_of(tape, result)
    step = tape.instruction_of(slot)
    if len(step.outs) != 1 or step.op.kind not in (nt.COMPUTE, nt.VIEW) or step.out.span >= LARGE:
        return
    if tape.args_of(slot) != [slot_of(tape, x) for x in operands]:
        return
    if step.op.kind == nt.VIEW and tape.view_offset(slot) != 0:
        return
    if not is_symbolic((*step.layouts, step.out)):
        first, second = step.layouts[0].id, step.layouts[-1].id if options is None else options
        with TABLE_LOCK:
            PAIRS.add(code, first, second, step.id, step.out.id)
