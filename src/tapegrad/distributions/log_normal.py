"""`LogNormal`: the distribution of the exponential of a normal number."""

from __future__ import annotations

from typing import Any, ClassVar

from . import constraints
from .distribution import Distribution
from .normal import Normal
from .utils import broadcast_all

__all__ = ["LogNormal"]


class LogNormal(Distribution):
    """The distribution of the exponential of a normal number.

    Parameters
    ----------
    loc : float or Tensor
        Mean of the logarithm.
    scale : float or Tensor
        Standard deviation of the logarithm.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.LogNormal(0.0, 1.0).mode
    tensor(0.3679)
    """

    arg_constraints: ClassVar[Any] = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc: Any
        self.scale: Any
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.scale.pow(2).expm1() * (2 * self.loc + self.scale.pow(2)).exp()

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        return self.base_dist.rsample(sample_shape).exp()

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        logarithm = self._checked(value).log()
        return self.base_dist.log_prob(logarithm) - logarithm

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        return self.base_dist.cdf(self._checked(value).log())

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        return self.base_dist.icdf(value).exp()

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return self.base_dist.entropy() + self.loc

    @property
    def base_dist(self) -> Normal:
        """Distribution of the logarithm."""
        return Normal(self.loc, self.scale, validate_args=False)
