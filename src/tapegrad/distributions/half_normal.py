"""`HalfNormal`: the distribution of the absolute value of a normal number of mean 0."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from . import constraints
from .distribution import Distribution
from .normal import Normal
from .utils import broadcast_all, top_level

_where, _zeros_like = top_level("where"), top_level("zeros_like")

__all__ = ["HalfNormal"]


class HalfNormal(Distribution):
    """The distribution of the absolute value of a normal number of mean 0.

    Parameters
    ----------
    scale : float or Tensor
        Standard deviation of the normal number.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.HalfNormal(1.0).mean
    tensor(0.7979)
    """

    arg_constraints: ClassVar[Any] = {"scale": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self.scale: Any
        (self.scale,) = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return _zeros_like(self.scale)

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.scale.pow(2) * (1 - 2 / math.pi)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        return self.base_dist.rsample(sample_shape).abs()

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        value = self._checked(value)
        return _where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return self.base_dist.entropy() - math.log(2)

    @property
    def base_dist(self) -> Normal:
        """Distribution of the number with its sign."""
        return Normal(_zeros_like(self.scale), self.scale, validate_args=False)
