"""Linear algebra with PyTorch's arguments: ``torch.linalg``, and what PyTorch has of it beside that.

A function that is registered as ``linalg_solve`` is `tapegrad.linalg.solve`: that package finds it by its
name. `checks.py` has the errors that all share.
"""
