"""From active operations of a function to machine code: scalars, blocks of statements, array expressions.

Start reading at `emit.py` (calls of native entries), then `scalars.py` and `block.py`.
"""
