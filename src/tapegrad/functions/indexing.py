"""Indexing."""
from typing import Any
from .. import record
from ..layouts import LAYOUTS
from ..ops.table import TABLE
from ..instructions import remember, view_instruction
from .registry import public
from ..tape import current_tape

@public(method=True, function=False, name="__getitem__")
def getitem(input: Any, index: Any) -> Any:
    lay = record.layout_of(input)
    n = lay.shape[0]
    i = index if index >= 0 else index + n
    if not 0 <= i < n:
        raise IndexError(f"index {index} is out of bounds for dimension 0 with size {n}")
    remember(view_instruction(TABLE["select"], lay, lay.shape[1:], lay.strides[1:]))
    return record.view(TABLE["select"], input, lay.shape[1:], lay.strides[1:], i * lay.strides[0])
