"""Functions that move elements and compute none: reshape, broadcast, join, slice, diagonals.

Start reading at `reshape.py`.
"""
