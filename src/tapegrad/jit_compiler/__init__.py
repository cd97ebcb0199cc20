"""Functions recorded as closed tapes, and compiled.

`tracing.py` records a function on its arguments (`tapegrad.trace`); the tapes and what is made of them are in
`transforms/`.
"""

from ..transforms import reverse, simplify
from . import tracing

__all__ = ["reverse", "simplify", "tracing"]
