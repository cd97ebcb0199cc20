"""`Exponential`: the exponential distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, top_level

_zeros_like, _empty = top_level("zeros_like"), top_level("empty")

__all__ = ["Exponential"]


class Exponential(Distribution):
    """The exponential distribution.

    Parameters
    ----------
    rate : float or Tensor
        Inverse of the mean.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Exponential(2.0).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar[Any] = {"rate": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate: Any
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return _zeros_like(self.rate)

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.rate.pow(-2)

    @property
    def stddev(self) -> Any:
        """Standard deviation."""
        return self.rate.reciprocal()

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        drawn = _empty(self._extended_shape(sample_shape), dtype=self.rate.dtype).exponential_()
        return drawn / self.rate

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        return self.rate.log() - self.rate * self._checked(value)

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        return -(-self.rate * self._checked(value)).expm1()

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return 1.0 - self.rate.log()
