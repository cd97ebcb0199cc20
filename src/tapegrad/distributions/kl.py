"""`kl_divergence`: the Kullback-Leibler divergence of two distributions, in closed form.

Start reading at `register_kl`, which each pair of classes goes through; users may add their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .bernoulli import Bernoulli
from .beta import Beta
from .categorical import Categorical
from .dirichlet import Dirichlet
from .exponential import Exponential
from .gamma import Gamma
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .log_normal import LogNormal
from .multivariate_normal import MultivariateNormal, log_half_determinant, square_distance
from .normal import Normal
from .poisson import Poisson
from .uniform import Uniform
from .utils import sum_rightmost, top_level

__all__ = ["kl_divergence", "register_kl"]

_where, _full_like = top_level("where"), top_level("full_like")
_softplus = top_level("softplus")
_EULER = 0.57721566490153286060
_PAIRS: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorate a function that computes the divergence of two classes.

    Raises
    ------
    TypeError
        For what is no class of distributions.
    """
    for name, value in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(value, type):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {value}")

    def register(function: Any) -> Any:
        _PAIRS[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Any, q: Any) -> Any:
    """Return the Kullback-Leibler divergence of `q` from `p`, the mean of ``log(p / q)`` over `p`.

    Parameters
    ----------
    p, q : Distribution

    Raises
    ------
    NotImplementedError
        If there is no function for these two classes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
    tensor(0.5000)
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            if (kind_p, kind_q) in _PAIRS:
                return _PAIRS[kind_p, kind_q](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


def _infinite_where(outside: Any, divergence: Any) -> Any:
    """Return a divergence that is infinite where `p` has mass outside of the support of `q`."""
    return _where(outside, math.inf, divergence)


# --------------------------------------------------------------------------- of one class
@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Any:
    ones = p.probs * (_softplus(-q.logits) - _softplus(-p.logits))
    zeros = (1 - p.probs) * (_softplus(q.logits) - _softplus(p.logits))
    ones = _where(p.probs == 0, 0.0, _infinite_where(q.probs == 0, ones))
    return ones + _where(p.probs == 1, 0.0, _infinite_where(q.probs == 1, zeros))


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Any:
    terms = _infinite_where(q.probs == 0, p.probs * (p.logits - q.logits))
    return _where(p.probs == 0, 0.0, terms).sum(-1)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Any:
    a, b = p.concentration, q.concentration
    difference = a.digamma() - a.sum(-1).digamma().unsqueeze(-1)
    betas = a.sum(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return betas + ((a - b) * difference).sum(-1)


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Any:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Any:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Any:
    a, b = p.concentration, q.concentration
    mean = (q.rate - p.rate) * (a / p.rate)
    return b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma() + (a - b) * a.digamma() + mean


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Any:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return distance / q.scale + ratio * (-distance / p.scale).exp() - ratio.log() - 1


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Any:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
@register_kl(HalfNormal, HalfNormal)
def _of_normal(p: Any, q: Any) -> Any:
    return _normal(p.base_dist, q.base_dist)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    columns = p._factor.mT  # rows are columns of the factor: distances of each are the trace
    factor = q._factor if q._factor.dim() == 2 else q._factor.unsqueeze(-3)
    trace = square_distance(factor, columns).sum(-1)
    distance = square_distance(q._factor, q.loc - p.loc)
    halves = log_half_determinant(q._factor) - log_half_determinant(p._factor)
    return halves + 0.5 * (trace + distance - p.event_shape[0])


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Any:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Any:
    divergence = ((q.high - q.low) / (p.high - p.low)).log()
    return _infinite_where((q.low > p.low) | (q.high < p.high), divergence)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "kl_divergence(): reinterpreted_batch_ndims of p and q must be equal, got "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}"
        )
    divergence = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(divergence, p.reinterpreted_batch_ndims)


# --------------------------------------------------------------------------- of two classes
@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Any:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


def _normal_density(p: Any, q: Any) -> Any:
    """Mean over `p` of minus the logarithm of a normal density."""
    square = p.variance + (p.mean - q.loc).pow(2)
    return 0.5 * (2 * math.pi * q.scale.pow(2)).log() + 0.5 * square / q.scale.pow(2)


@register_kl(Beta, Normal)
@register_kl(Exponential, Normal)
@register_kl(Gamma, Normal)
@register_kl(Laplace, Normal)
@register_kl(Uniform, Normal)
def _any_normal(p: Any, q: Any) -> Any:
    return _normal_density(p, q) - p.entropy()


@register_kl(Beta, Exponential)
@register_kl(Gamma, Exponential)
def _positive_exponential(p: Any, q: Any) -> Any:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Any:
    return _infinite_where(p.low < 0, _positive_exponential(p, q))


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Any:
    ratio, b = q.rate / p.rate, q.concentration
    return ratio - b * ratio.log() + b.lgamma() + b * _EULER - (1 + _EULER)


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Any:
    a, total = p.concentration1, p.concentration1 + p.concentration0
    mean_logarithm = a.digamma() - total.digamma()
    constant = q.concentration.lgamma() - q.concentration * q.rate.log()
    return constant - p.entropy() - (q.concentration - 1) * mean_logarithm + q.rate * a / total


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Any:
    distance = p.loc - q.loc
    relative = distance / p.scale
    mean = math.sqrt(2 / math.pi) * p.scale * (-0.5 * relative.pow(2)).exp()
    mean = mean + distance * (math.sqrt(0.5) * relative).erf()
    return mean / q.scale - (p.scale / q.scale).log() - 0.5 * (1 + math.log(0.5 * math.pi))


@register_kl(Beta, Uniform)
def _beta_uniform(p: Any, q: Any) -> Any:
    return _infinite_where((q.low > 0) | (q.high < 1), (q.high - q.low).log() - p.entropy())


@register_kl(Exponential, Beta)
@register_kl(Exponential, Uniform)
@register_kl(Gamma, Beta)
@register_kl(Gamma, Uniform)
@register_kl(Laplace, Beta)
@register_kl(Laplace, Exponential)
@register_kl(Laplace, Gamma)
@register_kl(Laplace, Uniform)
@register_kl(Normal, Beta)
@register_kl(Normal, Exponential)
@register_kl(Normal, Gamma)
@register_kl(Normal, Uniform)
@register_kl(Poisson, Bernoulli)
def _wider_support(p: Any, q: Any) -> Any:
    return _full_like(p.mean, math.inf)
