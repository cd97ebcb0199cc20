"""`MultivariateNormal`: the normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..linalg import cholesky, solve_triangular
from ..ops.layout import broadcast_shapes
from . import constraints
from .distribution import Distribution
from .utils import lazy_property, standard_normal, top_level

__all__ = ["MultivariateNormal", "log_half_determinant", "square_distance"]

_eye, _flip = top_level("eye"), top_level("flip")
_NAMES = ("covariance_matrix", "precision_matrix", "scale_tril")


def square_distance(factor: Any, difference: Any) -> Any:
    """Return ``|L^-1 x|^2`` for a lower factor and vectors, both of which may be batches."""
    if factor.dim() == 2:  # one system for all vectors
        columns = difference.reshape(-1, difference.shape[-1]).mT
        solved = solve_triangular(factor, columns, upper=False)
        return solved.pow(2).sum(-2).reshape(difference.shape[:-1])
    solved = solve_triangular(factor, difference.unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


def log_half_determinant(factor: Any) -> Any:
    """Return half of the logarithm of the covariance's determinant."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _factor_of_precision(precision: Any) -> Any:
    """Return the lower factor of the inverse of a matrix."""
    upper = cholesky(_flip(precision, (-2, -1))).flip(-2, -1).mT
    identity = _eye(precision.shape[-1], dtype=precision.dtype)
    return solve_triangular(upper, identity.expand(precision.shape), upper=False)


class MultivariateNormal(Distribution):
    """Normal distribution of vectors, by its covariance, the inverse of it, or its lower factor.

    Parameters
    ----------
    loc : Tensor
        Mean.
    covariance_matrix, precision_matrix, scale_tril : Tensor, optional
        One of the three.
    validate_args : bool, optional

    Raises
    ------
    ValueError
        Unless exactly one of the three is given, or if shapes have too few dimensions.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.distributions.MultivariateNormal(tg.zeros(2), tg.eye(2)).log_prob(tg.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar[Any] = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support: Any = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        matrices = zip(_NAMES, (covariance_matrix, precision_matrix, scale_tril), strict=True)
        present = [(name, matrix) for name, matrix in matrices if matrix is not None]
        if len(present) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified."
            )
        ((name, matrix),) = present
        if matrix.dim() < 2:
            raise ValueError(
                f"{name}{' matrix' * (name == 'scale_tril')} must be at least two-dimensional, with "
                "optional leading batch dimensions"
            )
        batch = tuple(broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1])))
        setattr(self, name, matrix.expand((*batch, -1, -1)))
        self.loc: Any = loc.expand((*batch, -1))
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)
        if name == "scale_tril":
            self._factor: Any = matrix
        else:
            self._factor = (cholesky if name == _NAMES[0] else _factor_of_precision)(matrix)

    def _expanded_matrix(self, matrix: Any) -> Any:
        """Return a matrix for each of the batch."""
        return matrix.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @lazy_property
    def scale_tril(self) -> Any:
        """Lower factor of the covariance."""
        return self._expanded_matrix(self._factor)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """Covariance."""
        return self._expanded_matrix(self._factor @ self._factor.mT)

    @lazy_property
    def precision_matrix(self) -> Any:
        """Inverse of the covariance."""
        identity = _eye(self._event_shape[0], dtype=self.loc.dtype).expand(self._factor.shape)
        inverse: Any = solve_triangular(self._factor, identity, upper=False)
        return self._expanded_matrix(inverse.mT @ inverse)

    @property
    def mean(self) -> Any:
        """The parameter `loc`."""
        return self.loc

    @property
    def mode(self) -> Any:
        """The parameter `loc`."""
        return self.loc

    @property
    def variance(self) -> Any:
        """Variance of each element."""
        return self._factor.pow(2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draw ``loc + L @ z``, with standard normal `z`."""
        drawn: Any = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + (self._factor @ drawn.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Any) -> Any:
        """Return the logarithm of the density."""
        distance = square_distance(self._factor, self._checked(value) - self.loc)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - log_half_determinant(self._factor)

    def entropy(self) -> Any:
        """Return the entropy, in nats."""
        constant = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (constant + log_half_determinant(self._factor)).expand(self._batch_shape)
