"""`Uniform`: the uniform distribution over [low, high)."""

from __future__ import annotations

import math
from typing import Any

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, top_level

_rand = top_level("rand")

__all__ = ["Uniform"]


class Uniform(Distribution):
    """The uniform distribution over [low, high).

    Parameters
    ----------
    low : float or Tensor
        Lower bound.
    high : float or Tensor
        Upper bound.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Uniform(0.0, 4.0).mean
    tensor(2.)
    """

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low: Any
        self.high: Any
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> Any:
        """Constraint of each parameter: the lower bound is below the upper one."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The interval."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return math.nan * self.high

    @property
    def variance(self) -> Any:
        """Variance."""
        return (self.high - self.low).pow(2) / 12

    @property
    def stddev(self) -> Any:
        """Standard deviation."""
        return (self.high - self.low) / 12**0.5

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        shape = self._extended_shape(sample_shape)
        return self.low + _rand(shape, dtype=self.low.dtype) * (self.high - self.low)

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        value = self._checked(value)
        inside = ((value >= self.low) & (value < self.high)).type_as(self.low)
        return inside.log() - (self.high - self.low).log()

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        return ((self._checked(value) - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return (self.high - self.low).log()
