"""`Gamma`: the gamma distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ..base.limits import finfo
from ..special import gammainc
from ..tensors.tensor import Tensor
from . import constraints
from .distribution import Distribution
from .gamma_sampling import log_standard_gamma
from .utils import broadcast_all, top_level

_tensor = top_level("tensor")

__all__ = ["Gamma"]


class Gamma(Distribution):
    """The gamma distribution.

    Parameters
    ----------
    concentration : float or Tensor
        Shape, often called alpha.
    rate : float or Tensor
        Inverse scale, often called beta.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Gamma(2.0, 0.5).mean
    tensor(4.)
    """

    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support: Any = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration: Any
        self.rate: Any
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        shape = self._extended_shape(sample_shape)
        drawn = log_standard_gamma(self.concentration.expand(shape)).exp() / self.rate
        return drawn.clamp(min=finfo(drawn.dtype).tiny)

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        if not isinstance(value, Tensor):
            value = _tensor(value, dtype=self.rate.dtype)
        value = self._checked(value)
        return (
            self.concentration.xlogy(self.rate)
            + (self.concentration - 1).xlogy(value)
            - self.rate * value
            - self.concentration.lgamma()
        )

    def cdf(self, value: Any) -> Any:
        """Return the probability of a draw that is not larger."""
        return gammainc(self.concentration, self.rate * self._checked(value))

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return (
            self.concentration
            - self.rate.log()
            + self.concentration.lgamma()
            + (1.0 - self.concentration) * self.concentration.digamma()
        )
