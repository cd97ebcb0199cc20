"""`Categorical`: one of several events."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..base.limits import finfo
from . import constraints
from .bernoulli import one_parameter
from .distribution import Distribution
from .utils import extended, lazy_property, logits_to_probs, probs_to_logits, top_level

__all__ = ["Categorical"]

_arange, _broadcast_tensors, _full, _multinomial = map(
    top_level, ("arange", "broadcast_tensors", "full", "multinomial")
)


class Categorical(Distribution):
    """Distribution of the number of one of several events.

    Parameters
    ----------
    probs : Tensor, optional
        Probabilities along the last dimension, or numbers in proportion to them.
    logits : Tensor, optional
        Logarithms of them, in the place of `probs`.
    validate_args : bool, optional

    Raises
    ------
    ValueError
        If both of `probs` and `logits` are given, or none, or if they have no dimension.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.Categorical(tg.tensor([1.0, 3.0])).log_prob(tg.tensor(1)).exp()
    tensor(0.7500)
    """

    arg_constraints: ClassVar[Any] = {
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        name = one_parameter(probs, logits)
        parameter = logits if probs is None else probs
        if parameter.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            parameter = parameter / parameter.sum(-1, keepdim=True)
        else:
            parameter = parameter - parameter.logsumexp(-1, keepdim=True)
        setattr(self, name, parameter)
        self._num_events = parameter.shape[-1]
        super().__init__(parameter.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """Whole numbers from 0 on."""
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Any:
        """Logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Any:
        """Probabilities."""
        return logits_to_probs(self.logits)

    @property
    def param_shape(self) -> Any:
        """Shape of the parameter."""
        return self.probs.shape

    @property
    def mean(self) -> Any:
        """NaN, for the numbers of events mean nothing."""
        return _full(self._extended_shape(), math.nan, dtype=self.probs.dtype)

    @property
    def mode(self) -> Any:
        """Most probable event."""
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Any:
        """NaN, for the numbers of events mean nothing."""
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample."""
        rows = self.probs.detach().reshape(-1, self._num_events)
        count = math.prod(extended(sample_shape))
        return _multinomial(rows, count, True).T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the probability."""
        value = self._checked(value).long().unsqueeze(-1)
        value, logits = _broadcast_tensors(value, self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        finite = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(finite * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Return the numbers of all events along a new first dimension."""
        values = _arange(self._num_events).reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
