"""Strips: the tape of scalars that loops under `@tg.njit` record on, an opcode and a few bytes a statement.

Start reading at `recorder.py` (a strip from Python), then `opcodes.py` (from the op table's rows) and
`native_recorder.py` (how native code appends to one).
"""
