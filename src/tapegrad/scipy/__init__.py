"""SciPy's solvers with exact derivatives, under its names, arguments and results.

>>> import tapegrad as tg
>>> from tapegrad.scipy import minimize
>>> minimize(lambda p: (p["a"] - 1.0) ** 2 + p["b"] ** 4, {"a": 3.0, "b": 0.0}).x["a"]
1.0

Functions are written with tapegrad's functions or NumPy's; they are compiled by `tapegrad.jit`, and what a
method takes of gradients, Hessians, their products and Jacobians is handed over.
`minimization.py` has `minimize`; start reading at `functions.py`, which makes what SciPy calls, and
`vectors.py`, which lays containers out as vectors.
"""

try:
    import scipy as _scipy
except ImportError as _error:
    raise ImportError(
        "tapegrad.scipy needs SciPy, which is not installed: pip install scipy"
    ) from _error

from .differential_equations import solve_ivp
from .fitting import curve_fit, least_squares
from .minimization import minimize
from .quadrature import quad
from .roots import root, root_scalar

_ = _scipy
__all__ = ["curve_fit", "least_squares", "minimize", "quad", "root", "root_scalar", "solve_ivp"]


def __dir__() -> list[str]:
    return sorted(__all__)
