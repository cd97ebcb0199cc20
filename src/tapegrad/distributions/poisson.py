"""`Poisson`: the distribution of counts of independent events."""

from __future__ import annotations

from typing import Any, ClassVar

from ..autograd import no_grad
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, top_level

_poisson = top_level("poisson")

__all__ = ["Poisson"]


class Poisson(Distribution):
    """The distribution of counts of independent events.

    Parameters
    ----------
    rate : float or Tensor
        Expected count.
    validate_args : bool, optional

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Poisson(3.0).log_prob(tg.tensor(0.0))
    tensor(-3.)
    """

    arg_constraints: ClassVar[Any] = {"rate": constraints.nonnegative}
    support: Any = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate: Any
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.rate

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return self.rate.floor()

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample."""
        with no_grad():
            return _poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the probability."""
        rate: Any
        rate, value = broadcast_all(self.rate, self._checked(value))
        return value.xlogy(rate) - rate - (value + 1).lgamma()
