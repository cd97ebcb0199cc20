"""The op table, a file a family; and what its rows are lowered to: layouts, instructions, programs.

Start reading at `table.py` (what a row is), then a family (`transcendental.py` is the shortest), `layout.py`
and `instruction.py`. Importing this package makes all rows of eager ops (strips add theirs).
"""

from . import all_rows

__all__ = ["all_rows"]
