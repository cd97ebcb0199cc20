"""Functions recorded as closed tapes, and compiled.

`tracing.py` records a function on its arguments (`tapegrad.trace`); the tapes and what is made of them are in
`transforms/`. Start reading at `jitted.py` (`tapegrad.jit`), then `compiled_tape.py`: from a closed tape to
loops (`lowering.py`), fewer and smaller ones (`fusion.py`, `contraction.py`), a plan of memory, and code.
"""

from ..transforms import forward, lift, reverse, simplify, statement_table, tape_file
from . import tracing

__all__ = ["forward", "lift", "reverse", "simplify", "statement_table", "tape_file", "tracing"]
