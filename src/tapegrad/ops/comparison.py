"""Comparisons, and logic on truth values and bits. Their results are passive."""

from __future__ import annotations

import numpy as np

from .table import op

__all__: list[str] = []

# Native rich comparison counts on this order (tensor.py asserts it).
op("lt", loop=np.less, arity=2, result="bool", aliases=("less",))
op("le", loop=np.less_equal, arity=2, result="bool", aliases=("less_equal",))
op("eq", of_complex="plain", loop=np.equal, arity=2, result="bool")
op("ne", of_complex="plain", loop=np.not_equal, arity=2, result="bool", aliases=("not_equal",))
op("gt", loop=np.greater, arity=2, result="bool", aliases=("greater",))
op("ge", loop=np.greater_equal, arity=2, result="bool", aliases=("greater_equal",))

op("isnan", of_complex="plain", loop=np.isnan, result="bool", in_place=False)
op("isinf", of_complex="plain", loop=np.isinf, result="bool", in_place=False)
op("isfinite", of_complex="plain", loop=np.isfinite, result="bool", in_place=False)
op("has_sign", loop=np.signbit, result="bool", torch=None, private=True)

op("logical_and", of_complex="plain", loop=np.logical_and, arity=2, result="bool")
op("logical_or", of_complex="plain", loop=np.logical_or, arity=2, result="bool")
op("logical_xor", of_complex="plain", loop=np.logical_xor, arity=2, result="bool")
op("logical_not", of_complex="plain", loop=np.logical_not, result="bool")

op("bitwise_and", loop=np.bitwise_and, arity=2, result="bits", domain="integer")
op("bitwise_or", loop=np.bitwise_or, arity=2, result="bits", domain="integer")
op("bitwise_xor", loop=np.bitwise_xor, arity=2, result="bits", domain="integer")
op("bitwise_left_shift", loop=np.left_shift, arity=2, result="bits", domain="integer")
op("bitwise_right_shift", loop=np.right_shift, arity=2, result="bits", domain="integer")
op("bitwise_not", loop=np.invert, result="bits", domain="integer")
