"""Tensors from nothing: from data, filled, ranges, random numbers.

Start reading at `from_data.py` (`tensor`).
"""
