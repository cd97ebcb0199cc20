"""`Independent`: another distribution, some of whose batch dimensions count as one draw."""

from __future__ import annotations

from typing import Any, ClassVar

from ..base.size import Size
from . import constraints
from .distribution import Distribution
from .utils import sum_rightmost

__all__ = ["Independent"]


class Independent(Distribution):
    """Distribution of independent draws, whose logarithms of densities are added up.

    Parameters
    ----------
    base_distribution : Distribution
    reinterpreted_batch_ndims : int
        Number of batch dimensions, the last ones, that belong to the event.
    validate_args : bool, optional

    Raises
    ------
    ValueError
        If the distribution has fewer batch dimensions.

    Examples
    --------
    >>> import tapegrad as tg
    >>> normal = tg.distributions.Normal(tg.zeros(2), tg.ones(2))
    >>> tg.distributions.Independent(normal, 1).log_prob(tg.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        batch = base_distribution.batch_shape
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {reinterpreted_batch_ndims} vs {len(batch)}"
            )
        self.base_dist: Any = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        cut = len(batch) - reinterpreted_batch_ndims
        event = (*batch[cut:], *base_distribution.event_shape)
        super().__init__(batch[:cut], event, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the distribution with parameters expanded to a batch shape, as views."""
        new = super().expand(batch_shape, _instance)
        event = self._event_shape[: self.reinterpreted_batch_ndims]
        new.base_dist = self.base_dist.expand(Size((*batch_shape, *event)))
        return new

    @property
    def has_rsample(self) -> bool:
        """True if draws have derivatives."""
        return bool(self.base_dist.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:
        """True if all values can be listed."""
        return not self.reinterpreted_batch_ndims and bool(self.base_dist.has_enumerate_support)

    @property
    def support(self) -> Any:
        """Constraint that all draws fulfil."""
        count = self.reinterpreted_batch_ndims
        region = self.base_dist.support
        return constraints.independent(region, count) if count else region

    @property
    def mean(self) -> Any:
        """Expected value."""
        return self.base_dist.mean

    @property
    def mode(self) -> Any:
        """Most probable value."""
        return self.base_dist.mode

    @property
    def variance(self) -> Any:
        """Variance of each element."""
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw a sample that has derivatives."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density of all elements together."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Return all values of a discrete distribution, along a new first dimension."""
        if self.reinterpreted_batch_ndims > 0:
            raise NotImplementedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand=expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"
