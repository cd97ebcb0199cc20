"""Functions that compute: elementwise, reductions, moments, orderings, scans, products.

Start reading at `pointwise.py` (rows with options), then `reduction.py` and `matmul.py`.
"""
