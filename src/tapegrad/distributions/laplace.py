"""`Laplace`: Laplace's distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ..base.limits import finfo
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, top_level

_empty = top_level("empty")

__all__ = ["Laplace"]


class Laplace(Distribution):
    """Laplace's distribution.

    Parameters
    ----------
    loc : float or Tensor
        Mean.
    scale : float or Tensor
        Mean distance from `loc`.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Laplace(0.0, 0.5).log_prob(tg.tensor(0.0))
    tensor(-0.)
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
        """Expected value."""
        return self.loc

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return self.loc

    @property
    def variance(self) -> Any:
        """Variance."""
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> Any:
        """Standard deviation."""
        return 2**0.5 * self.scale

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        shape, kind = self._extended_shape(sample_shape), self.loc.dtype
        drawn = _empty(shape, dtype=kind).uniform_(finfo(kind).eps - 1, 1)
        return self.loc - self.scale * drawn.sign() * (-drawn.abs()).log1p()

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        return -(2 * self.scale).log() - (self._checked(value) - self.loc).abs() / self.scale

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        distance = self._checked(value) - self.loc
        return 0.5 - 0.5 * distance.sign() * (-distance.abs() / self.scale).expm1()

    def icdf(self, value: Any) -> Any:
        """Return the quantile of a probability."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return 1 + (2 * self.scale).log()
