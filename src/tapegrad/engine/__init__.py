"""Passes over a tape: reverse passes with numbers, recorded ones, forward mode, hooks, saved tensors, leaves.

Start reading at `reverse.py` (`backward` and `grad` come here), then `reverse_pass.py` (one pass: what is
seeded and wanted, and the native calls that it takes) and `recorded_pass.py` (the pass as statements).
"""
