"""NumPy's ufuncs on Tensors: what each of them is here, and its methods.

``np.add(t, a)`` calls the function of the op table's row, ``np.add.reduce`` is a sum. A ufunc that is not in
the table is computed by NumPy where no operand is differentiated, and refused otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from .. import special
from ..ops.table import TABLE
from ..tape import recording as record
from ..tensors.tensor import Tensor
from .operands import (
    arrays_of,
    as_operand,
    as_tensor,
    function,
    is_active,
    promoted,
    refused,
    tensors_in,
    with_dtype,
    written,
)

__all__ = ["UFUNCS", "call_ufunc", "function_of_ufunc"]

#: names of ufuncs whose function has another name here
_NAMES = {
    "absolute": "abs", "fabs": "abs", "true_divide": "div", "negative": "neg", "power": "pow",
    "float_power": "float_power", "degrees": "rad2deg", "radians": "deg2rad", "rint": "round", "equal": "eq",
    "not_equal": "ne", "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift", "right_shift": "bitwise_right_shift",
}  # fmt: skip
_SAME = (
    "add", "subtract", "multiply", "floor_divide", "remainder", "fmod", "positive", "exp", "exp2", "expm1",
    "log", "log2", "log10", "log1p", "sqrt", "square", "reciprocal", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "hypot", "arctan2", "rad2deg",
    "deg2rad", "maximum", "minimum", "fmax", "fmin", "floor", "ceil", "trunc", "signbit", "copysign",
    "isnan", "isinf", "isfinite", "greater", "greater_equal", "less", "less_equal", "logical_and",
    "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "logaddexp",
    "logaddexp2", "matmul", "nextafter", "cbrt",
)  # fmt: skip
#: ufuncs of scipy.special that have the names of functions of tapegrad.special
_SPECIAL = frozenset((
    "beta", "betainc", "betaln", "dawsn", "entr", "erf", "erfc", "erfcinv", "erfcx", "erfi", "erfinv", "exp1",
    "exp10", "exp2", "expi", "expit", "expm1", "gamma", "gammainc", "gammaincc", "gammaln", "gammasgn", "i0",
    "i0e", "i1", "i1e", "iv", "ive", "j0", "j1", "jv", "k0", "k0e", "k1", "k1e", "kl_div", "kn", "kv", "kve",
    "log1p", "log_expit", "log_ndtr", "logit", "ndtr", "ndtri", "psi", "rel_entr", "rgamma", "xlog1py",
    "xlogy", "y0", "y1", "yn", "yv", "zeta", "airy",
))  # fmt: skip
#: options that change nothing here
_WITHOUT_EFFECT = frozenset(("order", "subok", "casting"))


def _of_floats(name: str) -> Callable[..., Any]:
    """Return the function of a row whose ufunc makes floats of whole numbers."""
    call = function(_NAMES.get(name, name))

    def of_floats(*operands: Any) -> Any:
        tensors = [as_tensor(x, name) for x in operands]
        return call(*[x if x.dtype.is_inexact else with_dtype(x, float) for x in tensors])

    return of_floats


def _sign(x: Any) -> Any:
    """The sign, NaN of NaN; of complex numbers ``x / abs(x)``."""
    if x.dtype.is_complex or x.dtype.np.kind == "b":
        return function("sgn")(x)
    return record.apply(TABLE["numpy_sign"], (x,))


def _heaviside(x: Any, y: Any) -> Any:
    """The step function, NaN of NaN."""
    a, b = [t if t.dtype.is_inexact else with_dtype(t, float) for t in promoted("heaviside", x, y)]
    return function("where")(function("isnan")(a), a, function("heaviside")(a, b))


def _divmod(x: Any, y: Any) -> tuple[Any, Any]:
    return function("floor_divide")(x, y), function("remainder")(x, y)


def _modf(x: Any) -> tuple[Any, Any]:
    """Fractional and whole parts; of an infinity 0 and itself."""
    x = x if x.dtype.is_inexact else with_dtype(x, float)
    part = function("where")(function("isinf")(x), 0.0, function("fmod")(x, 1))
    return part, function("trunc")(x)


def _matmul(x: Any, y: Any) -> Any:
    if type(x) is type(y) is Tensor and x.dtype is y.dtype:
        return function("matmul")(x, y)
    return function("matmul")(*promoted("matmul", x, y))


def _vecdot(x: Any, y: Any) -> Any:
    a, b = promoted("vecdot", x, y)
    return (a.conj() * b).sum(-1, dtype=a.dtype)


def _matvec(x: Any, y: Any) -> Any:
    a, b = promoted("matvec", x, y)
    return function("matmul")(a, b.unsqueeze(-1)).squeeze(-1)


def _vecmat(x: Any, y: Any) -> Any:
    a, b = promoted("vecmat", x, y)
    return function("matmul")(a.conj().unsqueeze(-2), b).squeeze(-2)


#: ufunc -> function of Tensors and numbers
UFUNCS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): function(_NAMES.get(name, name)) for name in (*_SAME, *_NAMES)},
    **{getattr(np, name): _of_floats(name) for name in ("fabs", "rint")},
    np.divmod: _divmod,
    np.modf: _modf,
    np.sign: _sign,
    np.heaviside: _heaviside,
    np.matmul: _matmul,
    np.conjugate: function("conj"),
    np.vecdot: _vecdot,
    np.matvec: _matvec,
    np.vecmat: _vecmat,
}


def call_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a ufunc, or a method of it, of which an operand or a target is a Tensor.

    Raises
    ------
    UnsupportedError
        For what has no derivative here, of Tensors that are differentiated; it says what to do.
    """
    name = ufunc.__name__
    compute = _method(ufunc, method)
    if compute is None:
        return _by_numpy(ufunc, method, inputs, options)
    rest = {k: v for k, v in options.items() if k not in _WITHOUT_EFFECT}
    out = rest.pop("out", None)
    if isinstance(out, tuple) and len(out) == 1:
        (out,) = out
    mask = rest.pop("where", True) if method == "__call__" else True
    if mask is not True and out is None:
        raise refused(name, "where= needs out=, as the other elements are nobody's")
    if method == "__call__":
        kind = rest.pop("dtype", None)
        if kind is not None:
            inputs = [with_dtype(as_tensor(x, name), kind) for x in inputs]
        if rest:
            raise refused(name, f"its option {next(iter(rest))!r} is not supported")
    result = compute(*inputs, **rest)
    if mask is not True:
        result = function("where")(as_tensor(mask, name), result, as_tensor(out, name))
    return written(name, result, out)


@cache
def _reductions() -> tuple[dict[Any, Callable[..., Any]], dict[Any, Callable[..., Any]]]:
    """Return the functions for ``reduce`` and ``accumulate``, by ufunc."""
    from . import reductions as r

    reduce: dict[Any, Callable[..., Any]] = {
        np.add: r.sum, np.multiply: r.prod, np.maximum: r.max, np.minimum: r.min, np.logical_and: r.all,
        np.logical_or: r.any,
    }  # fmt: skip
    return reduce, {np.add: r.cumsum, np.multiply: r.cumprod}


def _method(ufunc: Any, method: str) -> Callable[..., Any] | None:
    """The function of operands for a ufunc's method; None if it is not here."""
    name = ufunc.__name__
    call = function_of_ufunc(ufunc)
    if method == "__call__":
        return None if call is None else partial(_called, call, name)
    if method in ("reduce", "accumulate"):
        known = _reductions()[method == "accumulate"].get(ufunc)
        return None if known is None else lambda x, axis=0, **rest: known(x, axis=axis, **rest)
    if method == "outer" and call is not None and ufunc.nin == 2 and ufunc.signature is None:
        return partial(_outer, call, name)
    return None


def _called(call: Callable[..., Any], name: str, *inputs: Any) -> Any:
    """Call a row's function with operands: one is a Tensor, where one came as the target only."""
    operands = [as_operand(x, name) for x in inputs]
    if not any(record.is_tensor(x) for x in operands):
        operands[0] = as_tensor(operands[0], name)
    return call(*operands)


def _outer(call: Callable[..., Any], name: str, x: Any, y: Any) -> Any:
    """Call a row's function with all pairs of elements."""
    first, second = as_tensor(x, name), as_tensor(y, name)
    return call(first.reshape((*first.shape, *(1,) * second.ndim)), second)


def function_of_ufunc(ufunc: Any) -> Callable[..., Any] | None:
    """Return the function of Tensors for a ufunc; None if there is none."""
    return UFUNCS.get(ufunc) or _of_scipy(ufunc)


def _of_scipy(ufunc: Any) -> Callable[..., Any] | None:
    """The function for a ufunc of scipy.special, which is loaded if somebody has one."""
    scipy, name = sys.modules.get("scipy.special"), ufunc.__name__.lstrip("_")
    if scipy is None or name not in _SPECIAL:
        return None
    theirs = getattr(scipy, name, None), getattr(scipy._ufuncs, ufunc.__name__, None)
    return UFUNCS.setdefault(ufunc, getattr(special, name)) if ufunc in theirs else None


def _by_numpy(ufunc: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The result of a ufunc that is not in the table, as arrays: there is nothing to differentiate."""
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if is_active(tensors_in([list(inputs), options])):
        raise refused(
            name, "it has no derivative here; compute with functions that have one, or call it with "
            "t.detach().numpy() if a constant is what you mean"
        )  # fmt: skip
    result = getattr(ufunc, method)(*arrays_of(inputs), **arrays_of(dict(options)))
    out = options.get("out")
    if out is None:
        return result
    return out[0] if isinstance(out, tuple) and len(out) == 1 else out
