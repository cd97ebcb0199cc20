"""`Distribution`, the base of all: shapes, checks, `expand`, and the methods that a distribution may have.

A distribution is a set of parameters that broadcast, `arg_constraints` by name. They are attributes of the
instance; nothing else is kept that depends on them, so that `expand` needs to know the parameters only.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd import no_grad
from ..base.size import Size
from ..tensors.tensor import Tensor
from .constraints import is_dependent
from .utils import extended, lazy_property

__all__ = ["Distribution"]


class Distribution:
    """Base class of probability distributions.

    Parameters
    ----------
    batch_shape : sequence of int
        Shape over which parameters are batched.
    event_shape : sequence of int
        Shape of one draw.
    validate_args : bool, optional
        Check parameters and values (the default, unless Python runs with ``-O``).

    Raises
    ------
    ValueError
        For parameters that `arg_constraints` do not allow.
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Turn the checks of arguments on or off for all distributions to come."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        """Raise unless all parameters fulfil their constraints."""
        try:
            rules = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        for name, rule in rules.items():
            lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if is_dependent(rule) or (lazy and name not in self.__dict__):
                continue
            value = getattr(self, name)
            if not rule.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of "
                    f"distribution {self!r} to satisfy the constraint {rule!r}, but found invalid "
                    f"values:\n{value}"
                )

    # ----------------------------------------------------------------------- shapes
    @property
    def batch_shape(self) -> Size:
        """Shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """Shape of one draw."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        """Shape of draws."""
        return Size((*extended(sample_shape), *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the distribution with parameters expanded to a batch shape, as views."""
        new = object.__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        for name, rule in self.arg_constraints.items():
            if name in self.__dict__:
                value = self.__dict__[name]
                event = value.shape[value.dim() - rule.event_dim :]
                new.__dict__[name] = value.expand((*new._batch_shape, *event))
        return new

    # ----------------------------------------------------------------------- what a distribution has
    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Constraint of each parameter, by name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """Constraint that all draws fulfil."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """Expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """Most probable value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """Variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """Standard deviation."""
        spread: Any = self.variance
        return spread.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw a sample without derivatives."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw a sample that has derivatives with respect to the parameters."""
        raise NotImplementedError

    def log_prob(self, value: Any) -> Tensor:
        """Return the logarithm of the density, or of the probability, of values."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Tensor:
        """Return the probability of a draw that is not larger."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Tensor:
        """Return the quantile of a probability."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all values of a discrete distribution, along a new first dimension."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Return the entropy, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Return the exponential of the entropy."""
        entropy: Any = self.entropy()
        result: Tensor = entropy.exp()
        return result

    # ----------------------------------------------------------------------- checks of values
    def _validate_sample(self, value: Any) -> None:
        """Raise unless values fit shapes and support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape, expected = value.shape, Size((*self._batch_shape, *self._event_shape))
        if tuple(shape[len(shape) - len(self._event_shape) :]) != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {shape} vs {self._event_shape}."
            )
        for i, j in zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize "
                "the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(shape)}) to be within "
                f"the support ({support!r}) of the distribution {self!r}, but found invalid "
                f"values:\n{value}"
            )

    def _checked(self, value: Any) -> Any:
        """Return a value that fits shapes and support."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def __repr__(self) -> str:
        shown = [(k, self.__dict__[k]) for k in self.arg_constraints if k in self.__dict__]
        texts = (f"{k}: {v if v.numel() == 1 else v.shape}" for k, v in shown)
        return f"{type(self).__name__}({', '.join(texts)})"
