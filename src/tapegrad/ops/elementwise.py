"""Elementwise ops: arithmetic, powers, the exp/log, trigonometric and hyperbolic families.

Each row names the ufunc whose inner loop computes it and the derivative in terms of other rows.
Subgradients at kinks are PyTorch's.
"""

from __future__ import annotations

import numpy as np

from .table import op

__all__: list[str] = []

op("add", loop=np.add, arity=2, expr="a + b", vjp=lambda ct, x, y, out: (ct, ct))
op("sub", loop=np.subtract, arity=2, expr="a - b", vjp=lambda ct, x, y, out: (ct, -ct))
op("mul", loop=np.multiply, arity=2, expr="a * b", vjp=lambda ct, x, y, out: (ct * y, ct * x))
op(
    "div", loop=np.true_divide, arity=2, expr="a / b", domain="nonzero",
    vjp=lambda ct, x, y, out: (ct / y, -ct * out / y),
)  # fmt: skip
op("neg", loop=np.negative, expr="-a", vjp=lambda ct, x, out: -ct)
op("sin", loop=np.sin, vjp=lambda ct, x, out: ct * x.cos())
op("cos", loop=np.cos, vjp=lambda ct, x, out: -ct * x.sin())
op("exp", loop=np.exp, vjp=lambda ct, x, out: ct * out)
op("tanh", loop=np.tanh, domain="small", vjp=lambda ct, x, out: ct * (1 - out * out))

op("floor_divide", loop=np.floor_divide, arity=2)
op("remainder", loop=np.remainder, arity=2, vjp=lambda ct, x, y, out: (ct, -ct * x.div(y).floor()))
op("pow", loop=np.power, arity=2, domain="positive", vjp=lambda ct, x, y, out: (ct * y * x ** (y - 1), ct * out * x.log()))
op("log", loop=np.log, result="float", domain="positive", vjp=lambda ct, x, out: ct / x)
op("floor", loop=np.floor, vjp=lambda ct, x, out: ct * 0)
op("abs", loop=np.absolute, vjp=lambda ct, x, out: ct * x.sign())
op("sign", loop=np.sign, vjp=lambda ct, x, out: ct * 0)
op("bitwise_and", loop=np.bitwise_and, arity=2)
op("bitwise_or", loop=np.bitwise_or, arity=2)
op("bitwise_xor", loop=np.bitwise_xor, arity=2)
op("bitwise_not", loop=np.invert)
# Native rich comparison counts on this order (tensor.py asserts it).
op("lt", loop=np.less, arity=2, result="bool")
op("le", loop=np.less_equal, arity=2, result="bool")
op("eq", loop=np.equal, arity=2, result="bool")
op("ne", loop=np.not_equal, arity=2, result="bool")
op("gt", loop=np.greater, arity=2, result="bool")
op("ge", loop=np.greater_equal, arity=2, result="bool")
