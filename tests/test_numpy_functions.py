"""NumPy's statistics, sequences and placements on Tensors: values and dtypes as NumPy's, and derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_numpy_protocols import FUNCTIONS, REDUCTIONS, check_derivative, same

import tapegrad as tg
import tapegrad.numpy as tnp
from tapegrad.functions.maths.quantiles import METHODS
from tapegrad.numpy.protocols import functions

RNG = np.random.default_rng(3)
A = RNG.permutation(24).reshape(4, 6) / 10 + 0.1 * RNG.random((4, 6)) * 0.1
V, W = RNG.permutation(5) / 2 + 0.3, RNG.random(3) + 0.2
GAPS = np.where(RNG.random((4, 6)) < 0.3, np.nan, A)
WHOLE = (A * 3).astype(int)

CASES: dict[str, Callable[[Any, Any], Any]] = {
    **{f"quantile {m}": lambda np, x, m=m: np.quantile(x, [0.0, 0.31, 0.5, 1.0], method=m) for m in METHODS},
    "quantile of an axis": lambda np, x: np.quantile(x, 0.3, axis=1),
    "quantile kept": lambda np, x: np.quantile(x, [0.3, 0.6], axis=0, keepdims=True),
    "quantile of two axes": lambda np, x: np.quantile(x, 0.3, axis=(0, 1)),
    "quantile table": lambda np, x: np.quantile(x, [[0.1, 0.2], [0.3, 0.4]], axis=-1),
    "percentile": lambda np, x: np.percentile(x, [10, 50, 90], axis=1),
    "cov": lambda np, x: np.cov(x),
    "cov columns": lambda np, x: np.cov(x, rowvar=False),
    "cov of two": lambda np, x: np.cov(x[0], x[1], bias=True),
    "cov ddof": lambda np, x: np.cov(x, ddof=0),
    "cov weights": lambda np, x: np.cov(x, fweights=[1, 2, 1, 3, 1, 1], aweights=[0.1, 0.2, 0.3, 0.1, 1, 2]),
    "cov of a vector": lambda np, x: np.cov(x[0]),
    "corrcoef": lambda np, x: np.corrcoef(x),
    "corrcoef of two": lambda np, x: np.corrcoef(x[0], x[1]),
    "cumulative_sum": lambda np, x: np.cumulative_sum(x, axis=1, include_initial=True),
    "cumulative_prod": lambda np, x: np.cumulative_prod(x, axis=0),
    "std": lambda np, x: np.std(x, axis=1, ddof=1),
    "convolve": lambda np, x: np.convolve(x[0], x[1, :3]),
    "convolve same": lambda np, x: np.convolve(x[0, :3], x[1], "same"),
    "convolve valid": lambda np, x: np.convolve(x[0], x[1, :3], mode="valid"),
    "correlate": lambda np, x: np.correlate(x[0], x[1, :3]),
    "correlate full": lambda np, x: np.correlate(x[0, :3], x[1], "full"),
    "correlate same": lambda np, x: np.correlate(x[0], x[1, :4], "same"),
    "correlate same swapped": lambda np, x: np.correlate(x[0, :4], x[1], "same"),
    "interp places": lambda np, x: np.interp(x, [0.0, 0.7, 1.5, 2.1], [1.0, 3.0, 2.0, 0.5]),
    "interp points": lambda np, x: np.interp([0.21, 1.1, 5.0], np.sort(x[0]), x[1]),
    "interp outside": lambda np, x: np.interp(x, [0.7, 1.5], [3.0, 2.0], left=-1.0, right=9.0),
    "interp periodic": lambda np, x: np.interp(x, [0.2, 0.5, 0.9], [1.0, 3.0, 2.0], period=1.3),
    "unwrap": lambda np, x: np.unwrap(5 * x, axis=1),
    "unwrap period": lambda np, x: np.unwrap(x[0], period=0.7),
    "ediff1d": lambda np, x: np.ediff1d(x, to_begin=-9.0, to_end=[1.0, 2.0]),
    "sinc": lambda np, x: np.sinc(x),
    "vander": lambda np, x: np.vander(x[0], 4),
    "vander increasing": lambda np, x: np.vander(x[0], increasing=True),
    "polyval": lambda np, x: np.polyval(x[0], x[1]),
    "polyadd": lambda np, x: np.polyadd(x[0], x[1, :2]),
    "polysub": lambda np, x: np.polysub(x[0, :2], x[1]),
    "polymul": lambda np, x: np.polymul(x[0], x[1, :2]),
    "polyder": lambda np, x: np.polyder(x[0], 2),
    "polyint": lambda np, x: np.polyint(x[0], 2, [1.0, 2.0]),
    "select": lambda np, x: np.select([x > 1.5, x > 1.0], [x**2, -x], 7.0),
    "choose": lambda np, x: np.choose([0, 1, 2, 1, 0, 2], [x[0], x[1], x[2]]),
    "piecewise": lambda np, x: np.piecewise(x, [x < 0.5, x > 1.5], [lambda v: v**2, 3.0, lambda v: -v]),
    "compress": lambda np, x: np.compress([True, False, True, True], x, axis=0),
    "block": lambda np, x: np.block([[x[:, :2], x[:, 2:3]], [np.ones((1, 2)), x[:1, :1]]]),
    "block of vectors": lambda np, x: np.block([x[0], 1.0, x[1]]),
    "insert": lambda np, x: np.insert(x, 1, x[0], axis=0),
    "insert columns": lambda np, x: np.insert(x, [0, 2], 9.0, axis=1),
    "insert flat": lambda np, x: np.insert(x, [1, 1], [5.0, 6.0]),
    "insert slice": lambda np, x: np.insert(x[0], slice(0, 4, 2), 9.0),
    "delete": lambda np, x: np.delete(x, [0, 2], axis=1),
    "delete slice": lambda np, x: np.delete(x, slice(0, 3, 2), 0),
    "resize": lambda np, x: np.resize(x, (5, 7)),
    "trim_zeros": lambda np, x: np.trim_zeros(np.concatenate([[0.0], x[0], [0.0, 0.0]])),
    "apply_along_axis": lambda np, x: np.apply_along_axis(lambda v: v[:2] * v.sum(), 0, x),
    "apply_along_axis to numbers": lambda np, x: np.apply_along_axis(lambda v: v.sum(), 1, x),
    "apply_over_axes": lambda np, x: np.apply_over_axes(np.sum, x, [0, 1]),
    "partition": lambda np, x: np.partition(x, 2, axis=1),
    "unique": lambda np, x: np.unique(np.concatenate([x[0], x[0]])),
    "rollaxis": lambda np, x: np.rollaxis(x, 1),
    "real_if_close": lambda np, x: np.real_if_close(x),
    "matrix_transpose": lambda np, x: np.matrix_transpose(x),
    "unstack": lambda np, x: list(np.unstack(x, axis=1)),
    "diagflat": lambda np, x: np.diagflat(x[:2, :2], 1),
    "einsum of lists": lambda np, x: np.einsum(x, [0, 1], x, [2, 1], [0, 2]),
}  # fmt: skip
OF_GAPS: dict[str, Callable[[Any, Any], Any]] = {
    "nanquantile": lambda np, x: np.nanquantile(x, [0.2, 0.5], axis=1),
    "nanpercentile": lambda np, x: np.nanpercentile(x, 30),
    "nanmedian": lambda np, x: np.nanmedian(x, axis=1),
    "nanprod": lambda np, x: np.nanprod(x, axis=1),
    "nancumsum": lambda np, x: np.nancumsum(x, axis=1),
    "nancumprod": lambda np, x: np.nancumprod(x, 0),
    "nanmax": lambda np, x: np.nanmax(x, axis=1),
    "nanmin": lambda np, x: np.nanmin(x),
    "nanvar": lambda np, x: np.nanvar(x, axis=1, ddof=1),
    "nanstd": lambda np, x: np.nanstd(x, keepdims=True),
    "nanmean": lambda np, x: np.nanmean(x, axis=1),
    "nansum": lambda np, x: np.nansum(x, axis=1),
    "quantile of NaN": lambda np, x: np.quantile(x, [0.3, 0.5], axis=1),
    "nan_to_num": lambda np, x: np.nan_to_num(x, nan=3.0),
}  # fmt: skip
CONSTANT: dict[str, Callable[[Any, Any], Any]] = {
    "searchsorted": lambda np, x: np.searchsorted(np.sort(x[0]), x[1], side="right"),
    "digitize": lambda np, x: np.digitize(x, [0.5, 1.0, 2.0]),
    "argpartition": lambda np, x: np.argpartition(x, 2, axis=1),
    "lexsort": lambda np, x: np.lexsort((x[0], x[1])),
    "nanargmax": lambda np, x: np.nanargmax(x, axis=1),
    "nanargmin": lambda np, x: np.nanargmin(x),
    "isposinf": lambda np, x: np.isposinf(x),
    "isneginf": lambda np, x: np.isneginf(x),
    "isreal": lambda np, x: np.isreal(x),
    "iscomplex": lambda np, x: np.iscomplex(x),
    "unique with all": lambda np, x: np.unique(np.round(x), True, True, True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name: str) -> None:
    f = CASES[name]
    same(lambda x: f(np, x), A)
    same(lambda x: f(np if isinstance(x, np.ndarray) else tnp, x), A)
    check_derivative(lambda x: f(np, x), A)


@pytest.mark.parametrize("name", OF_GAPS)
@pytest.mark.filterwarnings("ignore")
def test_values_without_nan(name: str) -> None:
    f = OF_GAPS[name]
    same(lambda x: f(np, x), GAPS)
    same(lambda x: f(np, x), A)
    if "NaN" not in name:
        places = ~np.isnan(GAPS)

        def filled(v: Any) -> Any:
            x = tg.tensor(GAPS).clone()
            x[tg.tensor(places)] = v
            return f(np, x)

        check_derivative(filled, GAPS[places])


@pytest.mark.parametrize("name", CONSTANT)
def test_places_and_questions_are_constants(name: str) -> None:
    f = CONSTANT[name]
    same(lambda x: f(np, x), A)
    result = f(np, tg.tensor(A, requires_grad=True))
    for part in result if isinstance(result, tuple) else [result]:
        assert not part.requires_grad or name == "unique with all"


def test_dtypes_of_what_is_differentiated() -> None:
    t = tg.tensor(A, requires_grad=True)
    assert np.result_type(t, np.int64) == tnp.result_type(t, tnp.float32) == np.float64
    assert not tnp.isscalar(t[0, 0])
    assert tnp.isscalar(3.0)


def test_bincount() -> None:
    index = WHOLE.reshape(-1)
    same(lambda x: np.bincount(x), index)
    same(lambda x: np.bincount(x, minlength=30), index)
    w = A.reshape(-1)
    same(lambda x: np.bincount(index, x), w)
    check_derivative(lambda x: np.bincount(index, x), w)


WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "put_along_axis": lambda np, a, v: np.put_along_axis(a, np.array([[1], [0], [3], [5]]), v[:1], 1),
    "copyto": lambda np, a, v: np.copyto(a, v[0], where=np.arange(6) > 2),
    "putmask": lambda np, a, v: np.putmask(a, np.arange(24).reshape(4, 6) % 3 == 0, v),
    "place": lambda np, a, v: np.place(a, np.arange(24).reshape(4, 6) % 5 == 0, v),
    "put": lambda np, a, v: np.put(a, [3, 0, 17], v),
    "fill_diagonal": lambda np, a, v: np.fill_diagonal(a, v),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_writes(name: str) -> None:
    write = WRITES[name]
    wanted = A.copy()
    write(np, wanted, V)
    found = tg.tensor(A)
    write(np, found, tg.tensor(V))
    np.testing.assert_array_equal(found.numpy(), wanted)
    array = A.copy()
    write(np, array, tg.tensor(V))
    np.testing.assert_array_equal(array, wanted)
    refusal = "an array cannot take what requires grad|Can't call numpy"
    with pytest.raises((tg.UnsupportedError, RuntimeError), match=refusal):
        write(np, A.copy(), tg.tensor(V, requires_grad=True))

    def written(v: Any) -> Any:
        a = tg.tensor(A)
        write(np, a, v)
        return a

    check_derivative(written, V)


def test_bad_arguments() -> None:
    t = tg.tensor(A, requires_grad=True)
    with pytest.raises(ValueError, match=r"Quantiles must be in the range \[0, 1\]"):
        np.quantile(t, 1.5)
    with pytest.raises(ValueError, match="not a valid method"):
        np.quantile(t, 0.5, method="nope")
    with pytest.raises(tg.UnsupportedError, match="weights"):
        np.quantile(t, 0.5, weights=np.ones(24))
    with pytest.raises(ValueError, match="fp and xp are not of the same length"):
        np.interp(t, [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="must have one dimension, not 2"):
        np.convolve(t, t)
    with pytest.raises(ValueError, match="invalid entry in choice array"):
        np.choose([5], [t[0], t[1]])
    with pytest.raises(ValueError, match="same length as list of conditions"):
        np.select([t > 1], [t, t])
    with pytest.raises(ValueError, match="List depths are mismatched"):
        np.block([[t], t])
    with pytest.raises(np.exceptions.AxisError):
        np.quantile(t, 0.5, axis=5)


def test_cube_roots_and_fractions() -> None:
    a = np.array([-2.5, -0.0, 3.25, np.inf, -np.inf, 8.0, -2.0, np.nan])
    x = tg.tensor(a, requires_grad=True)
    np.testing.assert_array_equal(np.cbrt(x).tolist(), np.cbrt(a))
    parts = np.modf(x)
    for part, wanted in zip(parts, np.modf(a), strict=True):
        np.testing.assert_array_equal(part.tolist(), wanted)
    (slope,) = tg.autograd.grad(parts[0][[0, 1, 2, 5, 6]].sum() + parts[1].sum(), x)
    assert slope.tolist()[:3] == [1, 1, 1]
    assert tg.autograd.gradgradcheck(np.cbrt, (tg.tensor([-8.0, 0.3], requires_grad=True),))
    assert tg.numpy.modf(2.5)[0].item() == 0.5


def test_ends_of_convolutions_are_not_reached_by_nan() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, np.nan, np.inf])
    for x, y in ((a, b), (b, a), (a, a[:1]), (a[:1], a[:1]), (a, a), (a[:2], b)):
        for function in (np.convolve, np.correlate):
            for mode in ("full", "same", "valid"):
                result = function(tg.tensor(x), tg.tensor(y), mode)
                np.testing.assert_allclose(result.numpy(), function(x, y, mode))


def test_every_function_is_tested() -> None:
    cases = (FUNCTIONS, CASES, OF_GAPS, CONSTANT, WRITES, OF_COMPLEX)
    tested = {name.split()[0] for names in cases for name in names}
    tested |= {*REDUCTIONS, "empty_like", "dsplit", "bincount", "amax", "amin", "row_stack"}
    tested |= {"result_type", "isscalar"}
    ours = {f.__name__ for f in functions() if f.__module__ not in ("numpy.linalg", "numpy.fft")}
    assert ours <= tested  # the others: test_numpy_linalg.py, test_fft.py


COMPLEX = RNG.normal(size=(3, 5)) + 1j * RNG.normal(size=(3, 5))
OF_COMPLEX: dict[str, Callable[[Any, Any], Any]] = {
    "conj": lambda np, x: np.conj(x),
    "vdot": lambda np, x: np.vdot(x[0], x[1]),
    "var": lambda np, x: np.var(x, axis=1),
    "std": lambda np, x: np.std(x),
    "cov": lambda np, x: np.cov(x),
    "corrcoef": lambda np, x: np.corrcoef(x),
    "correlate": lambda np, x: np.correlate(x[0], x[1, :3]),
    "correlate swapped": lambda np, x: np.correlate(x[0, :3], x[1], "full"),
    "convolve": lambda np, x: np.convolve(x[0], x[1, :3]),
    "angle": lambda np, x: np.angle(x, deg=True),
    "real": lambda np, x: np.real(x),
    "imag": lambda np, x: np.imag(x),
    "isreal": lambda np, x: np.isreal(x),
    "iscomplex": lambda np, x: np.iscomplex(x),
    "real_if_close": lambda np, x: np.real_if_close(x),
    "sign": lambda np, x: np.sign(x),
    "polyval": lambda np, x: np.polyval(x[0], x[1]),
    "average": lambda np, x: np.average(x, axis=1, weights=[1, 2, 3, 4, 5.0]),
    "einsum": lambda np, x: np.einsum("ij,kj->ik", x, x),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_COMPLEX)
def test_complex_numbers(name: str) -> None:
    f = OF_COMPLEX[name]
    for m, x in ((np, tg.tensor(COMPLEX)), (tnp, COMPLEX)):
        found, wanted = np.asarray(f(m, x)), f(np, COMPLEX)
        assert found.dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float32, np.float16])
@pytest.mark.parametrize("name", [
    "nansum", "nanprod", "nancumsum", "nancumprod", "nanmean", "nanvar", "nanstd", "sign",
])  # fmt: skip
def test_nan_of_every_dtype(name: str, dtype: Any) -> None:
    numbers = np.array([[1, np.nan, -2], [np.nan, 3, -1]]).astype(dtype)
    if numbers.dtype.kind == "c":
        numbers *= 1j
    expected = getattr(np, name)(numbers)
    result = getattr(np, name)(tg.tensor(numbers)).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-3 if dtype is np.float16 else 1e-6)
    if dtype is not np.float16:  # whose means are computed in double precision
        assert result.dtype == expected.dtype


def test_steps_of_nan() -> None:
    x = np.array([np.nan, -1, 0, 2], np.float32)
    np.testing.assert_array_equal(np.heaviside(tg.tensor(x), 0.5).numpy(), np.heaviside(x, 0.5))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(0, 3), (1, 3)])
@pytest.mark.parametrize("ddof", [0, 1, 2])
def test_variances_without_degrees_of_freedom(shape: tuple[int, ...], ddof: int) -> None:
    numbers = np.arange(np.prod(shape)).reshape(shape)
    for axis in (0, None):
        np.testing.assert_allclose(
            np.var(tg.tensor(numbers), axis, ddof=ddof).numpy(), np.var(numbers, axis, ddof=ddof)
        )


def test_small_whole_numbers_have_numpys_dtypes() -> None:
    for a in (np.array(7, np.int8), np.array([7, 100, 100], np.int8)):
        x = tg.tensor(a)
        for call in (np.sum, np.prod, np.cumsum):
            assert call(x).dtype == call(a).dtype
            small = call(a, dtype=np.uint8)
            assert call(x, dtype=np.uint8).dtype == small.dtype
            np.testing.assert_array_equal(call(x, dtype=np.uint8).numpy(), small)
    assert np.sum(tg.tensor(2.0), axis=()).item() == 2
    np.testing.assert_array_equal(np.sign(tg.tensor([3, 0], dtype=tg.uint8)).numpy(), [1, 0])
    np.testing.assert_array_equal(np.sign(tg.tensor([np.nan, -2.0])).numpy(), [np.nan, -1])


def test_no_axes_leave_each_element() -> None:
    a = np.array([[3.0, -4.0]])
    x = tg.tensor(a)
    for call in (np.sum, np.prod, np.max, np.mean, np.std, np.var, np.any, np.count_nonzero):
        np.testing.assert_array_equal(np.asarray(call(x, axis=())), call(a, axis=()))
    np.testing.assert_array_equal(np.linalg.vector_norm(x, axis=()).numpy(), [[3.0, 4.0]])


def test_vecdot_conjugates_and_broadcasts() -> None:
    a, b = np.array([[1 + 2j, 3], [2, 1j]]), np.array([1j, 2])
    for call in (np.vecdot, np.linalg.vecdot):
        np.testing.assert_allclose(call(tg.tensor(a), tg.tensor(b)).numpy(), call(a, b))
    columns = np.linalg.vecdot(tg.tensor(a), tg.tensor(a[:, :1]), axis=0)
    np.testing.assert_allclose(columns.numpy(), np.linalg.vecdot(a, a[:, :1], axis=0))
    whole = np.array([100, 100], np.int8)
    assert np.linalg.vecdot(tg.tensor(whole), whole).dtype == np.int8
    with pytest.raises(ValueError, match="vectors of 2 and 3 elements along axis -1"):
        np.linalg.vecdot(tg.ones(2), tg.ones(3))
