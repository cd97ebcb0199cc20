"""Transforms of tapes: what makes another tape, or a longer one, of the statements of a tape.

Many examples in one statement, which is how `vmap` runs a function on the tape of its caller: start reading
at `batched_statement.py` (one statement over a batch), then `batch_trace.py` (a function's run) and
`batch_plan.py` (what is repeated without Python).
"""
