"""`Normal`: the normal distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..tensors.tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, standard_normal

__all__ = ["Normal"]


class Normal(Distribution):
    """Normal distribution.

    Parameters
    ----------
    loc : float or Tensor
        Mean.
    scale : float or Tensor
        Standard deviation.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Normal(0.0, 1.0).log_prob(tg.tensor(0.0))
    tensor(-0.9189)
    """

    arg_constraints: ClassVar[Any] = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc: Any
        self.scale: Any
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """The parameter `loc`."""
        return self.loc

    @property
    def mode(self) -> Any:
        """The parameter `loc`."""
        return self.loc

    @property
    def stddev(self) -> Any:
        """The parameter `scale`."""
        return self.scale

    @property
    def variance(self) -> Any:
        """Square of `scale`."""
        return self.scale.pow(2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw ``loc + scale * z``, with standard normal `z`."""
        return self.loc + standard_normal(self._extended_shape(sample_shape), self.loc) * self.scale

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        distance = (self._checked(value) - self.loc) ** 2
        return -distance / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        distance: Any = (self._checked(value) - self.loc) * self.scale.reciprocal()
        return 0.5 * (1 + (distance / math.sqrt(2)).erf())

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """Return the entropy, in nats."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()
