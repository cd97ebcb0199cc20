"""NumPy's functions on active arrays, for functions under `@tg.njit`.

Start reading at `arrays.py`, then `elementwise.py`.
"""
