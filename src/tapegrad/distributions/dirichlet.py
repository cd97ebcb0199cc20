"""`Dirichlet`: a distribution over vectors of probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

from . import constraints
from .distribution import Distribution
from .gamma_sampling import log_standard_gamma
from .utils import top_level

__all__ = ["Dirichlet"]

_where = top_level("where")


class Dirichlet(Distribution):
    """Dirichlet's distribution, over vectors of probabilities.

    Parameters
    ----------
    concentration : Tensor
        One positive number for each element of the vector, along the last dimension.
    validate_args : bool, optional

    Raises
    ------
    ValueError
        For a concentration without dimensions.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Dirichlet(tg.tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support: Any = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration: Any = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Any:
        """Most probable value: a corner where all concentrations are below 1."""
        excess = (self.concentration - 1).clamp(min=0.0)
        corner = top_level("zeros_like")(excess).scatter(
            -1, self.concentration.argmax(-1, True) * 0, 1.0
        )
        return _where((self.concentration < 1).all(-1, True), corner, excess / excess.sum(-1, True))

    @property
    def variance(self) -> Any:
        """Variance of each element."""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw gamma numbers, and divide them by their sum."""
        shape = self._extended_shape(sample_shape)
        return log_standard_gamma(self.concentration.expand(shape)).softmax(-1)

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        value, c = self._checked(value), self.concentration
        return (c - 1.0).xlogy(value).sum(-1) + c.sum(-1).lgamma() - c.lgamma().sum(-1)

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        c = self.concentration
        count, total = c.shape[-1], c.sum(-1)
        log_beta = c.lgamma().sum(-1) - total.lgamma()
        return log_beta - (count - total) * total.digamma() - ((c - 1.0) * c.digamma()).sum(-1)
