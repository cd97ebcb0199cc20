"""Many examples in one statement: how `vmap` runs a function on the tape of its caller.

Start reading at `batched_statement.py` (one statement over a batch), then `batch_trace.py` (a function's run)
and `batch_plan.py` (what is repeated without Python).
"""
