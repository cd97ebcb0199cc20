"""Tensors from nothing: from data, filled, ranges, random numbers.

Start reading at `creation.py` (`tensor`), then `from_data.py`.
"""
