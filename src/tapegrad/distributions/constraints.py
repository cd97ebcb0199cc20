"""Constraints on parameters and samples: ``check(value)`` says which of them fulfil it.

Names are those of ``torch.distributions.constraints``. Start reading at `Constraint`.
"""

from __future__ import annotations

from typing import Any

from ..linalg import cholesky_ex
from .utils import top_level

__all__ = [
    "Constraint", "boolean", "dependent", "dependent_property", "greater_than", "greater_than_eq",
    "half_open_interval", "independent", "integer_interval", "interval", "is_dependent", "less_than",
    "lower_cholesky", "lower_triangular", "nonnegative", "nonnegative_integer", "one_hot", "positive",
    "positive_definite", "positive_integer", "real", "real_vector", "simplex", "symmetric", "unit_interval",
]  # fmt: skip

_isclose = top_level("isclose")


class Constraint:
    """Region of numbers, vectors or matrices; `event_dim` is the number of dimensions that count as one."""

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Any) -> Any:
        """Return a bool tensor: True for each event that is inside."""
        raise NotImplementedError

    def __repr__(self) -> str:
        bounds = ", ".join(f"{name}={bound}" for name, bound in self.__dict__.items())
        return f"{type(self).__name__.removeprefix('_')}({bounds})"


class _Dependent(Constraint):
    """Constraint that depends on other parameters, and is not checked by itself."""

    def check(self, value: Any) -> Any:
        """Raise: the region is not known here."""
        raise ValueError("Cannot determine validity of dependent constraint")


class dependent_property(property, _Dependent):
    """Property that gives a constraint, which depends on other attributes."""

    def __init__(
        self, fn: Any = None, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented
    ) -> None:
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Any) -> dependent_property:
        """Decorate the function that gives the constraint."""
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: object) -> bool:
    """Return True for a constraint that depends on other parameters."""
    return isinstance(constraint, _Dependent)


class _IndependentConstraint(Constraint):
    """Another constraint, fulfilled where it is for all of the last dimensions."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value: Any) -> Any:
        """Return True for each event all of whose parts are inside."""
        result = self.base_constraint.check(value)
        count = self.reinterpreted_batch_ndims
        if result.dim() < count:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return result.reshape((*result.shape[: result.dim() - count], -1)).all(-1)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


# --------------------------------------------------------------------------- numbers
class _Real(Constraint):
    def check(self, value: Any) -> Any:
        """Return True for all but NaN."""
        return value == value


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """Return True for 0 and 1."""
        return (value == 0) | (value == 1)


class _Bounded(Constraint):
    """Constraint with one bound or two."""

    def __init__(self, lower_bound: Any = None, upper_bound: Any = None) -> None:
        if lower_bound is not None:
            self.lower_bound = lower_bound
        if upper_bound is not None:
            self.upper_bound = upper_bound


class _GreaterThan(_Bounded):
    def check(self, value: Any) -> Any:
        """Return True for larger numbers."""
        return value > self.lower_bound


class _GreaterThanEq(_Bounded):
    def check(self, value: Any) -> Any:
        """Return True for numbers that are as large."""
        return value >= self.lower_bound


class _LessThan(_Bounded):
    def __init__(self, upper_bound: Any) -> None:
        super().__init__(upper_bound=upper_bound)

    def check(self, value: Any) -> Any:
        """Return True for smaller numbers."""
        return value < self.upper_bound


class _Interval(_Bounded):
    def check(self, value: Any) -> Any:
        """Return True from bound to bound."""
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _HalfOpenInterval(_Bounded):
    def check(self, value: Any) -> Any:
        """Return True from bound to bound, without the upper one."""
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _IntegerInterval(_Interval):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """Return True for whole numbers from bound to bound."""
        return (value % 1 == 0) & super().check(value)


class _IntegerGreaterThan(_GreaterThanEq):
    is_discrete = True

    def check(self, value: Any) -> Any:
        """Return True for whole numbers from the bound on."""
        return (value % 1 == 0) & super().check(value)


# --------------------------------------------------------------------------- vectors and matrices
class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Any) -> Any:
        """Return True for vectors of probabilities that add up to one."""
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    is_discrete, event_dim = True, 1

    def check(self, value: Any) -> Any:
        """Return True for vectors of zeros with a single one."""
        return boolean.check(value).all(-1) & (value.sum(-1) == 1)


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """Return True for matrices with zeros above the diagonal."""
        return (value.tril() == value).all(-1).all(-1)


class _LowerCholesky(_LowerTriangular):
    def check(self, value: Any) -> Any:
        """Return True for lower triangular matrices with a positive diagonal."""
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _Symmetric(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        """Return True for symmetric matrices."""
        if value.shape[-2] != value.shape[-1]:
            return (value != value).all(-1).all(-1) & False
        return _isclose(value, value.mT, atol=1e-6).all(-1).all(-1)


class _PositiveDefinite(_Symmetric):
    def check(self, value: Any) -> Any:
        """Return True for symmetric matrices that have a Cholesky factor."""
        inside = super().check(value)
        return inside if not inside.all() else cholesky_ex(value.detach()).info == 0


dependent = _Dependent()
independent = _IndependentConstraint
boolean = _Boolean()
real = _Real()
real_vector = independent(real, 1)
greater_than, greater_than_eq, less_than = _GreaterThan, _GreaterThanEq, _LessThan
interval, half_open_interval, integer_interval = _Interval, _HalfOpenInterval, _IntegerInterval
positive, nonnegative = _GreaterThan(0.0), _GreaterThanEq(0.0)
positive_integer, nonnegative_integer = _IntegerGreaterThan(1), _IntegerGreaterThan(0)
unit_interval = _Interval(0.0, 1.0)
simplex, one_hot = _Simplex(), _OneHot()
lower_triangular, lower_cholesky = _LowerTriangular(), _LowerCholesky()
symmetric, positive_definite = _Symmetric(), _PositiveDefinite()
