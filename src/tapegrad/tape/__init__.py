"""The tape: its arrays, the lifetimes of its values, recording through Python, collection, printing, checks.

Start reading at `tape.py` (`Tape`), then `arrays.py` (a table of the arrays) and `recording.py` (how a call
of an op becomes a statement). No sweep is known here but the forward one, which computes pending values.
"""
