"""Reading and writing by index: ``x[...]``, gather and scatter, masks, methods in place.

Start reading at `getitem.py`, then `inplace.py`.
"""
