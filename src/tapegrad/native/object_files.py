"""Object files: whether one is whole, and which functions it defines.

LLVM reads object code as it is: a damaged file ends the process. So what comes from a disk is looked at
before: each table lies inside of the file, and the functions that are wanted are defined in its code.

Sources: System V ABI (ELF-64); other formats are looked at by their size and names only.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection

__all__ = ["defines"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_CODE, _TABLE, _TEXTS, _RELOCATIONS, _NO_BITS = 1, 2, 3, 4, 8


def defines(code: bytes, symbols: Collection[str]) -> bool:
    """Return True if bytes are an object file that defines functions of these names."""
    if sys.platform in ("darwin", "win32"):
        return len(code) > 64 and all(name.encode() in code for name in symbols)
    try:
        return set(symbols) <= _functions(code)
    except (struct.error, ValueError, IndexError, OverflowError):
        return False


def _functions(code: bytes) -> set[str]:
    """Names of the functions that an ELF object file defines.

    Raises
    ------
    ValueError, struct.error, IndexError
        If it is none, or not whole (or OverflowError).
    """
    head = _HEADER.unpack_from(code)
    magic, kind, start, size, count = head[0], head[1], head[6], head[11], head[12]
    if magic[:6] != b"\x7fELF\x02\x01" or kind != 1 or size != _SECTION.size:
        raise ValueError("no object file of 64 bits")
    sections = [_SECTION.unpack_from(code, start + i * size) for i in range(count)]
    for _, section, _, _, offset, length, link, _, _, _ in sections:
        if section != _NO_BITS and offset + length > len(code):
            raise ValueError("a section behind the end")
        if section in (_TABLE, _RELOCATIONS) and link >= count:
            raise ValueError("no such section")
    names: set[str] = set()
    symbol_counts = {}
    for number, section in enumerate(sections):
        if section[1] == _TABLE:
            symbol_counts[number] = section[5] // _SYMBOL.size
            names |= _defined(code, section, sections)
    for section in sections:
        if section[1] == _RELOCATIONS:
            _check_relocations(code, section, sections, symbol_counts)
    return names


def _defined(code: bytes, table: tuple[int, ...], sections: list[tuple[int, ...]]) -> set[str]:
    texts, names = sections[table[6]], set()
    for i in range(table[5] // _SYMBOL.size):
        name, info, _, where, value, length = _SYMBOL.unpack_from(code, table[4] + i * _SYMBOL.size)
        if name >= max(texts[5], 1):
            raise ValueError("a name behind the end")
        if info & 15 == 2 and 0 < where < len(sections):  # a function of this file
            home = sections[where]
            if value + length > home[5] or not home[2] & 4:
                raise ValueError("a function outside of the code")
            start = texts[4] + name
            names.add(code[start : code.index(b"\0", start)].decode())
    return names


def _check_relocations(
    code: bytes, table: tuple[int, ...], sections: list[tuple[int, ...]], counts: dict[int, int]
) -> None:
    """Raise ValueError for a relocation outside of its section, or of no symbol."""
    length = sections[table[7]][5]
    for i in range(table[5] // _RELOCATION.size):
        offset, info, _ = _RELOCATION.unpack_from(code, table[4] + i * _RELOCATION.size)
        if offset >= length or info >> 32 >= counts.get(table[6], 0):
            raise ValueError("a relocation outside of its section")
