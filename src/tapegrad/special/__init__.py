"""PyTorch's ``torch.special``, and the names of ``scipy.special`` that PyTorch has not.

Most are rows of ops/special.py, recorded by native code; `functions.py` has those with options. Values of
most come from SciPy, which is imported when the first one is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.missing_names import getattr_of
from ..tensors.operators import MODULES, top_level
from .functions import airy, airy_ai, betainc, spherical_bessel_j0, spherical_jn

_Function = Callable[..., Any]


def _function(name: str) -> _Function:
    """Return the function of a row, or of the top level."""
    return MODULES["special"].get(name) or top_level(name)


bessel_j0 = j0 = _function("bessel_j0")
bessel_j1 = j1 = _function("bessel_j1")
bessel_y0 = y0 = _function("bessel_y0")
bessel_y1 = y1 = _function("bessel_y1")
beta = _function("beta")
betaln = _function("betaln")
dawsn = _function("dawsn")
digamma = psi = _function("digamma")
entr = _function("entr")
erf = _function("erf")
erfc = _function("erfc")
erfcinv = _function("erfcinv")
erfcx = _function("erfcx")
erfi = _function("erfi")
erfinv = _function("erfinv")
exp1 = _function("exp1")
exp10 = _function("exp10")
exp2 = _function("exp2")
expi = _function("expi")
expit = _function("sigmoid")
expm1 = _function("expm1")
gamma = _function("gamma")
gammainc = _function("igamma")
gammaincc = _function("igammac")
gammaln = _function("lgamma")
gammasgn = _function("gammasgn")
i0 = modified_bessel_i0 = _function("i0")
i0e = _function("i0e")
i1 = modified_bessel_i1 = _function("i1")
i1e = _function("i1e")
iv = _function("iv")
ive = _function("ive")
jv = jn = _function("jv")
kl_div = _function("kl_div")
kv = kn = _function("kv")
kve = _function("kve")
log1p = _function("log1p")
log_expit = _function("logsigmoid")
log_ndtr = _function("log_ndtr")
log_softmax = _function("log_softmax")
logit = _function("logit")
logsumexp = _function("logsumexp")
modified_bessel_k0 = k0 = _function("modified_bessel_k0")
modified_bessel_k1 = k1 = _function("modified_bessel_k1")
multigammaln = _function("mvlgamma")
ndtr = _function("ndtr")
ndtri = _function("ndtri")
polygamma = _function("polygamma")
rel_entr = _function("rel_entr")
rgamma = _function("rgamma")
round = _function("round")
scaled_modified_bessel_k0 = k0e = _function("scaled_modified_bessel_k0")
scaled_modified_bessel_k1 = k1e = _function("scaled_modified_bessel_k1")
sinc = _function("sinc")
softmax = _function("softmax")
xlog1py = _function("xlog1py")
xlogy = _function("xlogy")
yv = yn = _function("yv")
zeta = _function("zeta")

__all__ = [
    "airy",
    "airy_ai",
    "bessel_j0",
    "bessel_j1",
    "bessel_y0",
    "bessel_y1",
    "beta",
    "betainc",
    "betaln",
    "dawsn",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfi",
    "erfinv",
    "exp1",
    "exp2",
    "exp10",
    "expi",
    "expit",
    "expm1",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jn",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kl_div",
    "kn",
    "kv",
    "kve",
    "log1p",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "modified_bessel_i0",
    "modified_bessel_i1",
    "modified_bessel_k0",
    "modified_bessel_k1",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "rel_entr",
    "rgamma",
    "round",
    "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1",
    "sinc",
    "softmax",
    "spherical_bessel_j0",
    "spherical_jn",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yn",
    "yv",
    "zeta",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(
    __name__, "it has what torch.special has, and names of scipy.special for the rest"
)
