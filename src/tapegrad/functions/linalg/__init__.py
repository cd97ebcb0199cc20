"""Linear algebra with PyTorch's arguments: ``torch.linalg``, and what PyTorch has of it beside that.

A function that is called ``linalg_solve`` here is `tapegrad.linalg.solve` (linalg/__init__.py finds it by its
name); PyTorch's own are called so. `checks.py` has the errors that all share.
"""
