"""Elementwise ops, a file a family.

- arithmetic.py: sums, products, powers, rounding, extremes, selection;
- transcendental.py: the exp/log, trigonometric and hyperbolic families, error functions;
- activation.py: what neural networks apply to each element;
- special.py: gamma, error and Bessel functions and their like, by SciPy's loops;
- comparison.py: comparisons, and logic on bools and bits.

A row names the ufunc whose inner loop computes it, or gives a chain of such loops (chains.py),
and the derivative in terms of other rows. Subgradients at kinks and ties are PyTorch's. VJPs call
methods of Tensor, among them private ones that functions/maths/pointwise.py registers.

PyTorch names some nodes otherwise where an operand is a Python number; such rows have
`number_names`: number of that operand -> name.
"""

from . import activation, arithmetic, special, transcendental
from . import comparison as compare

__all__ = ["activation", "arithmetic", "compare", "special", "transcendental"]
