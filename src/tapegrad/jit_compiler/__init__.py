"""Functions recorded as closed tapes, and compiled.

`tracing.py` records a function on its arguments (`tapegrad.trace`); the tapes and what is made of them are in
`transforms/`.
"""

from ..transforms import forward, lift, reverse, simplify, statement_table, tape_file
from . import tracing

__all__ = ["forward", "lift", "reverse", "simplify", "statement_table", "tape_file", "tracing"]
