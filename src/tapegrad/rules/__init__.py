"""From an op's VJP to what the sweeps run: it is traced once, and lowered for each layout of its operands.

Start reading at `traced_rule.py` (the VJP as data), then `adjoint_program.py` (the steps of its program) and
`replay_table.py` (the same rule as statements to append). `fusion.py` joins elementwise steps.
"""
