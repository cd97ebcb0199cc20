"""`StudentT`: Student's t distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from . import constraints
from .distribution import Distribution
from .gamma_sampling import log_standard_gamma
from .utils import broadcast_all, standard_normal, top_level

_where = top_level("where")

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t distribution.

    Parameters
    ----------
    df : float or Tensor
        Degrees of freedom.
    loc : float or Tensor
        Mean, where there is one.
    scale : float or Tensor
        Factor of the deviation from `loc`.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.StudentT(4.0).variance
    tensor(2.)
    """

    arg_constraints: ClassVar[Any] = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support: Any = constraints.real
    has_rsample = True

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df: Any
        self.loc: Any
        self.scale: Any
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return _where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return self.loc

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        shape = self._extended_shape(sample_shape)
        half = self.df.expand(shape) / 2
        square = log_standard_gamma(half).exp() / half  # a chi-squared number over its mean
        return self.loc + self.scale * standard_normal(shape, self.df) * square.rsqrt()

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        distance = (self._checked(value) - self.loc) / self.scale
        half = 0.5 * self.df
        constant = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
        constant = constant + half.lgamma() - (0.5 * (self.df + 1.0)).lgamma()
        return -0.5 * (self.df + 1.0) * (distance**2 / self.df).log1p() - constant

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        return (
            self.scale.log()
            + more * (more.digamma() - half.digamma())
            + 0.5 * self.df.log()
            + log_beta
        )

    @property
    def variance(self) -> Any:
        """Variance: infinite for `df` up to 2, NaN up to 1."""
        above = self.df > 2
        finite = self.scale.pow(2) * self.df / _where(above, self.df - 2, 1.0)
        return _where(self.df > 1, _where(above, finite, math.inf), math.nan)
