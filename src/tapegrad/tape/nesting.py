"""Passes inside passes, and their depth.

A hook that differentiates runs a pass inside the one that called it, which takes some fifteen frames of
Python beside the user's. PyTorch goes on in another thread, whose frames count anew; here the limit
rises with each pass, so that one inside others has as many frames as the first.
"""

from __future__ import annotations

import sys
import threading

from .tape import Tape

__all__ = ["nested"]

#: frames that a pass inside another one gets beyond the limit
FRAMES = 200
#: passes inside each other that the C stack holds, of 8 MB, with room for the innermost one's own calls
DEEPEST = 4000

_lock = threading.Lock()


class nested:
    """Context manager around a pass of a tape.

    Raises
    ------
    RecursionError
        For more passes inside each other than the stack may hold.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __enter__(self) -> None:
        tape = self.tape
        if tape.depth >= DEEPEST:
            raise RecursionError(f"more than {DEEPEST} backward passes inside each other")
        tape.depth += 1
        if tape.depth > 1:
            _raise_limit(FRAMES)

    def __exit__(self, *_: object) -> None:
        tape = self.tape
        if tape.depth > 1:
            _raise_limit(-FRAMES)
        tape.depth -= 1


def _raise_limit(frames: int) -> None:
    """Change the limit that all threads share; changes by others stay."""
    with _lock:
        sys.setrecursionlimit(sys.getrecursionlimit() + frames)
