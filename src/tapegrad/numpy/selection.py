"""NumPy's functions on Tensors that select, order, and compare elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.dtypes import bool_, from_numpy_dtype
from ..tape import recording as record
from .operands import (
    NOT_GIVEN,
    along,
    as_operand,
    as_tensor,
    function,
    is_given,
    numpy_dtype,
    promoted_operands,
    refused,
    written,
)  # fmt: skip
from .shapes import broadcast_to

__all__ = [
    "allclose",
    "angle",
    "argsort",
    "argwhere",
    "around",
    "array_equal",
    "clip",
    "diag",
    "diagflat",
    "diff",
    "empty_like",
    "extract",
    "flatnonzero",
    "full_like",
    "imag",
    "isclose",
    "iscomplexobj",
    "isrealobj",
    "isscalar",
    "nan_to_num",
    "ndim",
    "nonzero",
    "ones_like",
    "real",
    "result_type",
    "round",
    "shape",
    "size",
    "sort",
    "take",
    "take_along_axis",
    "trace",
    "tril",
    "triu",
    "where",
    "zeros_like",
]  # fmt: skip


def where(condition: Any, *values: Any, **named: Any) -> Any:
    """Elements of one or the other, or places of true ones, as `numpy.where`."""
    if named:
        values = (*values, *[named.pop(key) for key in ("x", "y")[len(values) :] if key in named])
        if named:
            raise TypeError(f"where() got an unexpected keyword argument {next(iter(named))!r}")
    mask = as_tensor(condition, "where")
    mask = mask if mask.dtype is bool_ else mask != 0
    if not values:
        return tuple(function("where")(mask))
    if len(values) != 2:
        raise ValueError("either both or neither of x and y should be given")
    return function("where")(mask, *promoted_operands("where", *values))


def nonzero(a: Any) -> Any:
    """Places of elements that are not zero, as `numpy.nonzero`."""
    return tuple(function("nonzero")(as_tensor(a, "nonzero"), as_tuple=True))


def flatnonzero(a: Any) -> Any:
    """Places of elements that are not zero, in order of memory, as `numpy.flatnonzero`."""
    return nonzero(as_tensor(a, "flatnonzero").reshape(-1))[0]


def argwhere(a: Any) -> Any:
    """Places of elements that are not zero, a row each, as `numpy.argwhere`."""
    return function("argwhere")(as_tensor(a, "argwhere"))


def extract(condition: Any, arr: Any) -> Any:
    """Elements where a condition holds, as `numpy.extract`."""
    return as_tensor(arr, "extract").reshape(-1)[as_tensor(condition, "extract").reshape(-1) != 0]


def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Elements at places along a dimension, as `numpy.take`."""
    if mode != "raise":
        raise refused("take", f"mode={mode!r} is not supported")
    x, axis = along(as_tensor(a, "take"), axis)
    places = as_tensor(np.asarray(indices) if not hasattr(indices, "_state") else indices, "take")
    return written("take", x[(slice(None),) * (axis % x.ndim) + (places,)], out)


def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """Elements at places of their own along a dimension, as `numpy.take_along_axis`."""
    x, dim = along(as_tensor(arr, "take_along_axis"), axis)
    return function("take_along_dim")(x, as_tensor(indices, "take_along_axis"), dim)


def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """Sort, as `numpy.sort`."""
    x, dim = along(as_tensor(a, "sort"), axis)
    return function("sort")(x, dim=dim, stable=True)[0]


def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Places in order, as `numpy.argsort`."""
    x, dim = along(as_tensor(a, "argsort"), axis)
    return function("sort")(x, dim=dim, stable=True)[1]


def clip(
    a: Any, a_min: Any = NOT_GIVEN, a_max: Any = NOT_GIVEN, out: Any = None, *, min: Any = NOT_GIVEN,
    max: Any = NOT_GIVEN, **options: Any,
) -> Any:  # fmt: skip
    """Limit to a range, as `numpy.clip`."""
    if options:
        raise refused("clip", f"its option {next(iter(options))!r} is not supported")
    low, high = (
        (a_min if a_min is not NOT_GIVEN else min),
        (a_max if a_max is not NOT_GIVEN else max),
    )
    x = as_tensor(a, "clip")
    if is_given(low):
        x = function("maximum")(x, as_operand(low, "clip"))
    if is_given(high):
        x = function("minimum")(x, as_operand(high, "clip"))
    return written("clip", x, out)


def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """Round half to even, as `numpy.round`."""
    return written("round", function("round")(as_tensor(a, "round"), decimals=decimals), out)


around = round


def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Numbers in the place of NaN and infinities, as `numpy.nan_to_num`."""
    y = as_tensor(x, "nan_to_num")
    if not y.dtype.is_inexact:
        return y
    result = function("nan_to_num")(y, nan, posinf, neginf)
    return result if copy else written("nan_to_num", result, x)


def diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = NOT_GIVEN, append: Any = NOT_GIVEN
) -> Any:
    """Differences of neighbours, as `numpy.diff`."""
    x = as_tensor(a, "diff")
    ends = []
    for end in (prepend, append):
        if is_given(end):
            end = as_tensor(end, "diff")
            if not end.ndim:
                lengths = list(x.shape)
                lengths[axis] = 1
                end = broadcast_to(end, lengths)
        else:
            end = None
        ends.append(end)
    return function("diff")(x, n, axis, *ends)


def diag(v: Any, k: int = 0) -> Any:
    """A diagonal, or a matrix with one, as `numpy.diag`."""
    return function("diag")(as_tensor(v, "diag"), k)


def diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with all elements on a diagonal, as `numpy.diagflat`."""
    return function("diagflat")(as_tensor(v, "diagflat"), k)


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Sum of a diagonal, as `numpy.trace`."""
    result = function("diagonal")(as_tensor(a, "trace"), offset, axis1, axis2)
    return written("trace", function("sum")(result, dim=-1), out)


def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle, as `numpy.tril`."""
    return function("tril")(as_tensor(m, "tril"), k)


def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle, as `numpy.triu`."""
    return function("triu")(as_tensor(m, "triu"), k)


# --------------------------------------------------------------------------- questions
def shape(a: Any) -> tuple[int, ...]:
    """Lengths of the dimensions, as `numpy.shape`."""
    return tuple(as_tensor(a, "shape").shape)


def ndim(a: Any) -> int:
    """Number of dimensions, as `numpy.ndim`."""
    return int(as_tensor(a, "ndim").ndim)


def size(a: Any, axis: Any = None) -> int:
    """Number of elements, as `numpy.size`."""
    x = as_tensor(a, "size")
    return int(x.numel()) if axis is None else int(x.shape[axis])


def real(val: Any) -> Any:
    """The real part, as `numpy.real`."""
    return as_tensor(val, "real").real


def imag(val: Any) -> Any:
    """The imaginary part, as `numpy.imag`: zeros of real numbers."""
    x = as_tensor(val, "imag")
    return x.imag if x.dtype.is_complex else function("zeros_like")(x)


def angle(z: Any, deg: bool = False) -> Any:
    """The angle of complex numbers, as `numpy.angle`."""
    result = function("angle")(as_tensor(z, "angle"))
    return function("rad2deg")(result) if deg else result


def iscomplexobj(x: Any) -> bool:
    """Return True for a complex dtype, as `numpy.iscomplexobj`."""
    return bool(as_tensor(x, "iscomplexobj").dtype.is_complex)


def isrealobj(x: Any) -> bool:
    """Return True for a dtype that is not complex, as `numpy.isrealobj`."""
    return not iscomplexobj(x)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that operands promote to, as `numpy.result_type`."""
    kinds = [x.dtype if record.is_tensor(x) else x for x in arrays_and_dtypes]
    return np.result_type(*map(numpy_dtype, kinds))


def isscalar(element: Any) -> bool:
    """Return True for a number that is no array, as `numpy.isscalar`."""
    return not record.is_tensor(element) and np.isscalar(element)


def isclose(
    a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    """Return True for elements that are about the same, as `numpy.isclose`."""
    x, y = as_tensor(a, "isclose"), as_tensor(b, "isclose")
    same = x == y
    near = function("abs")(x - y) <= atol + rtol * function("abs")(y)
    near = same | (near & function("isfinite")(y))
    return near | (function("isnan")(x) & function("isnan")(y)) if equal_nan else near


def allclose(
    a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Return True if all elements are about the same, as `numpy.allclose`."""
    return bool(isclose(a, b, rtol, atol, equal_nan).all())


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Return True if shapes and elements are the same, as `numpy.array_equal`."""
    x, y = as_tensor(a1, "array_equal"), as_tensor(a2, "array_equal")
    if tuple(x.shape) != tuple(y.shape):
        return False
    same = x == y
    if equal_nan:
        same = same | ((x != x) & (y != y))
    return bool(same.all())


# --------------------------------------------------------------------------- of the same shape
def _like(name: str, a: Any, shape: Any, dtype: Any, *value: Any) -> Any:
    x = as_tensor(a, name)
    kind = x.dtype if dtype is None else from_numpy_dtype(np.dtype(dtype))
    lengths = (
        tuple(x.shape) if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    )
    if value:
        return broadcast_to(as_tensor(value[0], name).to(kind), lengths).clone()
    return function(name)(lengths, dtype=kind)


def zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    """Zeros of the same shape, as `numpy.zeros_like`."""
    return _like("zeros", a, shape, dtype)


def ones_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    """Ones of the same shape, as `numpy.ones_like`."""
    return _like("ones", a, shape, dtype)


def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    """Any numbers of the same shape, as `numpy.empty_like`."""
    return _like("empty", prototype, shape, dtype)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
    shape: Any = None, *, device: Any = None,
) -> Any:  # fmt: skip
    """A number everywhere in the same shape, as `numpy.full_like`."""
    return _like("full_like", a, shape, dtype, fill_value)
