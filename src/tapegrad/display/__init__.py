"""How tensors (and, beside them, tapes) are shown to people.

`format` turns a NumPy array and what a tensor adds to it into the text that PyTorch prints. It
knows no tensor and no tape, so it is read and tested by itself; start there.
"""

from .format import (
    PrintOptions,
    format_spec,
    format_tensor,
    get_printoptions,
    printoptions,
    set_printoptions,
)

__all__ = [
    "PrintOptions",
    "format_spec",
    "format_tensor",
    "get_printoptions",
    "printoptions",
    "set_printoptions",
]
