"""Places in Python's and NumPy's objects that native code reads, and a check that they are right here.

Native code reads a few fields of objects by their addresses, where a call of the C API would cost more than
the work. Start reading at `FIELDS`: each row is read back from a live object at import, by `wrong_layout`.
"""

from __future__ import annotations

import ctypes
import types
from typing import NamedTuple

import numpy as np

__all__ = ["FIELDS", "HEADER", "TUPLE_ITEMS", "Field", "UFunc", "wrong_layout"]

#: bytes of a PyObject: two words, more in free-threaded builds; the last is the type
HEADER = object.__basicsize__
#: where a tuple's items begin; CPython 3.14 has its hash before them
TUPLE_ITEMS = tuple.__basicsize__


class UFunc(ctypes.Structure):
    """The head of PyUFuncObject, behind PyObject_HEAD (``numpy/ufuncobject.h``)."""

    _fields_ = (
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved1", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    )

    @classmethod
    def of(cls, ufunc: np.ufunc) -> UFunc:
        """Return the head of a ufunc."""
        return cls.from_address(id(ufunc) + HEADER)


class Field(NamedTuple):
    """A word of an object."""

    text: str
    owner: object
    offset: int
    value: int


_ONE, _TWO, _THREE = object(), object(), object()
_ARRAY = np.zeros((1, 3))
_BYTES = b"\x01\x02\x03\x04\x05\x06\x07\x08"
_PAIR, _SLICE = (_ONE, _TWO), slice(_ONE, _TWO, _THREE)
_LIST, _CELL = [_ONE, _TWO], types.CellType(_ONE)

#: words that native code reads, each with what it holds in a live object
FIELDS = [
    Field("an object's type", _ONE, HEADER - 8, id(object)),
    Field("a type's base", bool, HEADER + 240, id(int)),
    Field("a tuple's length", _PAIR, HEADER, 2),
    Field("a tuple's first item", _PAIR, TUPLE_ITEMS, id(_ONE)),
    Field("a tuple's second item", _PAIR, TUPLE_ITEMS + 8, id(_TWO)),
    Field("a list's length", _LIST, HEADER, 2),
    Field("a cell's contents", _CELL, HEADER, id(_ONE)),
    Field("a slice's start", _SLICE, HEADER, id(_ONE)),
    Field("a slice's stop", _SLICE, HEADER + 8, id(_TWO)),
    Field("a slice's step", _SLICE, HEADER + 16, id(_THREE)),
    Field("the length of bytes", _BYTES, HEADER, len(_BYTES)),
    Field("the characters of bytes", _BYTES, HEADER + 16, int.from_bytes(_BYTES, "little")),
    Field("an array's data", _ARRAY, HEADER, _ARRAY.ctypes.data),
    Field("an array's number of dimensions", _ARRAY, HEADER + 8, 2),
    Field("an array's dtype", _ARRAY, HEADER + 40, id(_ARRAY.dtype)),
    Field("an array's flags", _ARRAY, HEADER + 48, _ARRAY.flags.num),
]


def wrong_layout() -> str | None:
    """Return words for the first part of an object that is not where native code reads it, or None."""
    read = ctypes.c_int64.from_address
    for field in FIELDS:
        value = read(id(field.owner) + field.offset).value
        if value != field.value and value & 0xFFFFFFFF != field.value:  # some are 32 bits
            return field.text
    lengths = read(id(_ARRAY) + HEADER + 16).value
    if [read(lengths).value, read(lengths + 8).value] != [1, 3]:
        return "an array's lengths"
    for ufunc in (np.add, np.matmul):
        # Numbers first: where these are wrong, no pointer is followed.
        head = UFunc.of(ufunc)
        numbers = head.nin, head.nout, head.nargs, head.ntypes
        if numbers != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes):
            return "a ufunc's numbers of operands"
        if head.name != ufunc.__name__.encode():
            return "a ufunc's name"
        types = ctypes.string_at(head.types, head.nargs)
        if list(types) != [np.dtype(c).num for c in ufunc.types[0].replace("->", "")]:
            return "a ufunc's types"
        if not (head.functions and head.functions[0]):
            return "a ufunc's loops"
    return None
