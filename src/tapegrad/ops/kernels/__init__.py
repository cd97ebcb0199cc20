"""Loops that NumPy does not have, or not as fast: elementary functions, activations, indexing.

Start reading at `pointwise.py`; a kernel takes addresses, lengths and strides as a ufunc's loop does.
"""
