"""Tracebacks in a notebook: an error of wrong use ends at the user's line, without frames of this package.

IPython leaves out frames with a local variable ``__tracebackhide__``, all but the innermost, and says how
many. `install` has its formatter call `folded`, which marks the frames of this package. Those at the end go
altogether where the error was raised by a ``raise`` in here; any other is a bug, or something unforeseen, and
shows where it happened. A misspelt attribute has near ones beside it, as Python has it outside of a notebook.
Nothing happens while there is no error, and a debugger finds all frames. With ``TAPEGRAD_FULL_TRACEBACK=1``
in the environment all are shown.
"""

from __future__ import annotations

import functools
import os
import sys
from opcode import opmap
from types import ModuleType, TracebackType
from typing import Any

from .base.missing_names import near_names

__all__ = ["folded", "install"]

PACKAGE = __name__.partition(".")[0]
#: packages whose frames are left out below those of this one
_BELOW = {"llvmlite", "numba", "numpy", "optree", *sys.stdlib_module_names}
_RAISES = {opmap["RAISE_VARARGS"], opmap["RERAISE"]}


def folded(error: BaseException, trace: TracebackType | None) -> TracebackType | None:
    """Return the part of an error's traceback that is shown, with frames marked, also of errors behind it."""
    shown = _marked(error, trace)
    if isinstance(error, AttributeError) and error.name and not hasattr(error, "__notes__"):
        kind = error.obj if isinstance(error.obj, ModuleType) else type(error.obj)
        ours = f"{getattr(kind, '__module__', kind.__name__)}.".startswith(f"{PACKAGE}.")
        near = near_names(error.obj, error.name) if ours else []
        if near:
            error.add_note(f"Did you mean {' or '.join(near)}?")
    seen, behind = {id(error)}, error.__cause__ or error.__context__
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        _marked(behind, behind.__traceback__)
        behind = behind.__cause__ or behind.__context__
    return shown


def _marked(error: BaseException, trace: TracebackType | None) -> TracebackType | None:
    """Mark the frames of this package, and of what it calls; return it without those at the end."""
    entries, inside, users, entry = [], False, 0, trace
    while entry is not None:
        entries.append(entry)
        frame = entry.tb_frame
        root = str(frame.f_globals.get("__name__")).partition(".")[0]
        inside = root == PACKAGE or (inside and root in _BELOW)
        if not inside:
            users = len(entries)
        elif frame.f_locals is not frame.f_globals:
            frame.f_locals["__tracebackhide__"] = True
        entry = entry.tb_next
    if not 0 < users < len(entries) or not _is_refusal(error, entries[-1]):
        return trace
    shown = None
    for entry in reversed(entries[:users]):
        shown = TracebackType(shown, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return shown


def _is_refusal(error: BaseException, last: TracebackType) -> bool:
    """Return True if an error was raised on purpose where its traceback ends."""
    code = last.tb_frame.f_code.co_code
    return code[last.tb_lasti] in _RAISES and not isinstance(error, AssertionError)


def install() -> None:
    """Let IPython's formatter call `folded`, if the package is imported there."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or os.environ.get("TAPEGRAD_FULL_TRACEBACK", "0") not in ("", "0"):
        return
    formatter = shell.InteractiveTB
    plain = formatter.structured_traceback

    @functools.wraps(plain)
    def structured_traceback(*args: Any, **options: Any) -> Any:
        if len(args) > 2 and isinstance(args[1], BaseException):
            args = (*args[:2], folded(args[1], args[2]), *args[3:])
        return plain(*args, **options)

    formatter.structured_traceback = structured_traceback
