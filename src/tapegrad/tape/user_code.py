"""Calls of functions that are not this package's: hooks, Functions, decorated and transformed ones.

Such a function may record for as long as it likes, and the tape is collected meanwhile. Code of this
package that waits for it therefore holds tensors, which find their slots whatever these are called by then.
Code that has to know slots by number says so (``tape.passes``). All slots that there are when the function
is called then keep their numbers until it returns (``tape.floor``), and only its statements are
collected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..native import abi as nt
from .collector import call_out
from .current import current_tape

__all__ = ["call_user"]


def call_user(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a user's function; the slots that the code above this call knows by number stay.

    Parameters
    ----------
    function : callable
    *args, **kwargs
        Its arguments.

    Returns
    -------
    object
        Its result.
    """
    tape = current_tape()
    passes = tape.passes
    if passes <= tape.waiting:
        return call_out(function, args, kwargs)
    before = tape.floor, tape.waiting
    tape.floor, tape.waiting = tape.state[nt.S_COUNT], passes
    try:  # at once: no interrupt comes between the two
        return call_out(function, args, kwargs)
    finally:
        tape.floor, tape.waiting = before
