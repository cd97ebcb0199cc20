"""PyTorch's ``torch.distributions``: densities, samples with derivatives, divergences.

Files are named as in PyTorch. Start reading in `distribution.py`, the base, and `normal.py`.
"""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import constraints, kl, utils
from .bernoulli import Bernoulli
from .beta import Beta
from .categorical import Categorical
from .dirichlet import Dirichlet
from .distribution import Distribution
from .exponential import Exponential
from .gamma import Gamma
from .half_normal import HalfNormal
from .independent import Independent
from .kl import kl_divergence, register_kl
from .laplace import Laplace
from .log_normal import LogNormal
from .multivariate_normal import MultivariateNormal
from .normal import Normal
from .poisson import Poisson
from .studentT import StudentT
from .uniform import Uniform

__all__ = [
    "Bernoulli", "Beta", "Categorical", "Dirichlet", "Distribution", "Exponential", "Gamma", "HalfNormal",
    "Independent", "Laplace", "LogNormal", "MultivariateNormal", "Normal", "Poisson", "StudentT", "Uniform",
    "constraints", "kl", "kl_divergence", "register_kl", "utils",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(
    __name__, otherwise="there are " + ", ".join(n for n in __all__ if n[0].isupper())
)
