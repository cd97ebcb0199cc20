"""Functions that a user queued for the end of a reverse pass (``queue_callback``).

A pass keeps the functions that were queued in it; when it has ended without an error, and its gradients
are where they belong, `finish` calls them, and those that they queue.
"""

from __future__ import annotations

from ..tape.tape import Tape
from ..tape.user_code import call_user

__all__ = ["finish"]


def finish(tape: Tape) -> None:
    """Call the functions that wait for the end of a pass, which has just ended."""
    if not tape.finals:
        return
    before, tape.finishing = tape.finishing, True
    try:
        while tape.finals:
            call_user(tape.finals.pop(0))
    finally:
        tape.finishing = before
        tape.finals.clear()
