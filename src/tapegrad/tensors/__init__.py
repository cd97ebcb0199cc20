"""The Tensor class: a handle to a slot of a tape, with its operators, methods and text.

Start reading at `tensor.py`, then `autograd_methods.py` (`backward` and the attributes of autograd).
"""
