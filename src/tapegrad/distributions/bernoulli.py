"""`Bernoulli`: one event that happens or not."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..autograd import no_grad
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits, top_level

__all__ = ["Bernoulli", "one_parameter"]

_arange, _bernoulli, _logsigmoid, _where = map(
    top_level, ("arange", "bernoulli", "logsigmoid", "where")
)


def one_parameter(probs: Any, logits: Any) -> str:
    """Return the name of the one that was given.

    Raises
    ------
    ValueError
        If both were given, or none.
    """
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return "logits" if probs is None else "probs"


class Bernoulli(Distribution):
    """Distribution of one event: 1 where it happens, else 0.

    Parameters
    ----------
    probs : float or Tensor, optional
        Probability of 1.
    logits : float or Tensor, optional
        Log-odds of 1, in the place of `probs`.
    validate_args : bool, optional

    Raises
    ------
    ValueError
        If both of `probs` and `logits` are given, or none.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Bernoulli(0.25).log_prob(tg.tensor(1.0)).exp()
    tensor(0.2500)
    """

    arg_constraints: ClassVar[Any] = {
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support: Any = constraints.boolean
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        name = one_parameter(probs, logits)
        (parameter,) = broadcast_all(logits if probs is None else probs)
        setattr(self, name, parameter)
        super().__init__(parameter.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Any:
        """Log-odds of 1."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probability of 1."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Any:
        """Shape of the parameter."""
        return self._batch_shape

    @property
    def mean(self) -> Any:
        """The parameter `probs`."""
        return self.probs

    @property
    def mode(self) -> Any:
        """Most probable value, NaN where both are."""
        return _where(self.probs == 0.5, math.nan, (self.probs >= 0.5).type_as(self.probs))

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample."""
        with no_grad():
            return _bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the probability."""
        value = self._checked(value)
        logits: Any
        logits, value = broadcast_all(self.logits, value)
        return _logsigmoid(logits) - (1 - value) * logits

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return (1 - self.probs) * self.logits - _logsigmoid(self.logits)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Return 0 and 1 along a new first dimension."""
        values = _arange(2, dtype=self.probs.dtype).reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
