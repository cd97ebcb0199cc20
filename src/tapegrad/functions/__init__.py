"""Functions that are not one elementwise op: reductions, shapes, indexing, products, creation.

A function decorated with `public` is at the top level of the package under its name; with
``method=True`` it is a method of Tensor as well (its first argument is the tensor). tensor.py
attaches the methods, so nothing here needs to know the Tensor class.
"""
