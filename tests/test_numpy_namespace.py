"""`tapegrad.numpy` in the place of NumPy: names, arguments, dtypes, what goes in and what comes out."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as onp
import pytest

import tapegrad as tg
import tapegrad.numpy as np
import tapegrad.numpy.fft as fft
import tapegrad.numpy.linalg as linalg
import tapegrad.numpy.random as npr
from tapegrad.numpy.ufuncs import UFUNCS

RNG = onp.random.default_rng(1)
A = RNG.random((3, 4)) + 0.2
WHOLE = onp.arange(12).reshape(3, 4)


def test_it_has_numpys_names() -> None:
    missing = [name for name in onp.__all__ if not hasattr(np, name)]
    assert not missing
    assert {name for name in onp.__all__ if name[0] != "_"} <= {*dir(np)}
    with pytest.raises(AttributeError, match=r"module 'tapegrad.numpy' has no attribute 'nope'"):
        np.nope  # noqa: B018
    assert np.sin is np.sin
    assert np.linalg is linalg
    assert np.fft is fft
    assert np.random is npr


def test_constants_dtypes_and_classes_are_numpys_own() -> None:
    for name in (
        "pi",
        "e",
        "inf",
        "newaxis",
        "float32",
        "int64",
        "ndarray",
        "errstate",
        "dtype",
        "s_",
    ):
        assert getattr(np, name) is getattr(onp, name)
    assert onp.isnan(np.nan)
    assert isinstance(npr.randn(2), onp.ndarray)
    assert isinstance(np.random.default_rng(0).random(2), onp.ndarray)
    with np.errstate(divide="ignore"):
        assert np.log(0.0) == -np.inf


MAKERS: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda m: m.zeros((2, 3)),
    "ones of dtype": lambda m: m.ones(3, dtype=m.float32),
    "arange": lambda m: m.arange(2, 10, 3),
    "eye": lambda m: m.eye(3, k=1),
    "identity": lambda m: m.identity(2),
    "tri": lambda m: m.tri(3),
    "indices": lambda m: m.indices((2, 3)),
    "linspace": lambda m: m.linspace(0, 1, 5),
    "linspace of whole numbers": lambda m: m.linspace(0, 10, 5, endpoint=False, dtype=int),
    "logspace": lambda m: m.logspace(0, 2, 3),
    "geomspace": lambda m: m.geomspace(1, 100, 3),
    "full": lambda m: m.full((2, 2), 7),
    "full of rows": lambda m: m.full((2, 3), [1.0, 2.0, 3.0]),
    "array": lambda m: m.array([[1, 2], [3, 4]]),
    "array of dtype": lambda m: m.array([1, 2], dtype=float),
    "array of named dtype": lambda m: m.array([1, 2], "float32"),
    "array of dimensions": lambda m: m.array([1.0], ndmin=3),
    "asarray": lambda m: m.asarray(A),
    "truth values": lambda m: m.array([True, False]),
    "fromfunction": lambda m: m.fromfunction(lambda i, j: i + 2 * j, (2, 3)),
    "meshgrid": lambda m: m.meshgrid([1, 2], [3.0, 4.0, 5.0]),
    "meshgrid of one": lambda m: m.meshgrid([1, 2]),
    "meshgrid of three": lambda m: m.meshgrid([1, 2], [3], [4, 5, 6]),
    "meshgrid by indices": lambda m: m.meshgrid([1, 2], [3.0, 4.0], indexing="ij"),
    "sparse meshgrid": lambda m: m.meshgrid([1, 2], [3.0, 4.0, 5.0], sparse=True),
    "r_": lambda m: m.r_[1:4, 0, [5, 6]],
    "r_ of equal distances": lambda m: m.r_[0:1:5j],
    "c_": lambda m: m.c_[[1, 2], [3, 4]],
    "c_ of matrices": lambda m: m.c_[A, A[:, 0]],
    "roots": lambda m: m.roots([1.0, -3.0, 2.0]),
    "histogram": lambda m: m.histogram(A, 3),
    "triu_indices": lambda m: m.triu_indices(3),
    "diag_indices": lambda m: m.diag_indices(2),
    "nonzero": lambda m: m.nonzero([0, 3, 0, 4]),
    "sum of a list": lambda m: m.sum([[1.0, 2.0], [3.0, 4.0]], axis=0),
    "where of lists": lambda m: m.where([True, False], [1, 2], 3.5),
    "where by name": lambda m: m.where(A > 0.5, x=A, y=0.0) if m is np else onp.where(A > 0.5, A, 0.0),
    "max of a number": lambda m: m.max(3),
    "concatenate of dtypes": lambda m: m.concatenate([[1, 2], [1.5]]),
    "dot of lists": lambda m: m.dot([1, 2], [3, 4]),
    "clip": lambda m: m.clip([1, 5, 9], 2, 6),
    "unique": lambda m: m.unique([3, 1, 3]),
    "mean of whole numbers": lambda m: m.mean(WHOLE, axis=0),
    "std": lambda m: m.std(WHOLE),
    "var of single precision": lambda m: m.var(A.astype(onp.float32), axis=1),
    "shape": lambda m: m.shape([[1, 2]]),
    "isclose": lambda m: m.isclose([1.0, 2.0], [1.0, 2.1]),
    "allclose": lambda m: m.allclose([1.0, 2.0], [1.0, 2.0]),
    "array_equal": lambda m: m.array_equal([1, 2], [1, 2]),
    "result_type": lambda m: m.result_type(m.float32, m.int64),
    "astype": lambda m: m.astype(m.array([1.7]), m.int64),
}  # fmt: skip


def same(found: Any, wanted: Any) -> None:
    """Arrays are Tensors of NumPy's shape and dtype; everything else is NumPy's."""
    if isinstance(wanted, tuple | list):
        assert len(found) == len(wanted)
        for x, y in zip(found, wanted, strict=True):
            same(x, y)
    elif isinstance(wanted, onp.ndarray | onp.generic) and not isinstance(wanted, onp.bool_):
        assert tg.is_tensor(found)
        assert (tuple(found.shape), found.dtype.np) == (wanted.shape, wanted.dtype)
        onp.testing.assert_allclose(found.numpy(), wanted, rtol=1e-14)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", MAKERS)
def test_results_are_tensors_of_numpys_dtype(name: str) -> None:
    same(MAKERS[name](np), MAKERS[name](onp))


KINDS = [onp.float64, onp.float32, onp.int64, onp.bool_]


@pytest.mark.parametrize(
    "ufunc", [onp.add, onp.multiply, onp.maximum, onp.true_divide, onp.less, onp.hypot]
)
def test_ufuncs_promote_as_numpy(ufunc: Any) -> None:
    own = getattr(np, ufunc.__name__)
    for one in KINDS:
        for other in KINDS:
            if ufunc is onp.hypot and one is other is onp.bool_:
                continue  # float16
            x, y = (A * 2).astype(one), (A[0] * 3 + 1).astype(other)
            same(own(x, y), ufunc(x, y))
            same(own(tg.tensor(x), y), ufunc(x, y))
            same(own(x, y[0]), ufunc(x, y[0]))  # NumPy's number counts as an array
        if ufunc is not onp.hypot and one is not onp.bool_:
            same(own((A * 2).astype(one), 2), ufunc((A * 2).astype(one), 2))


def test_ufuncs_have_numpys_methods_and_attributes() -> None:
    same(np.add.reduce(A), onp.add.reduce(A))
    same(np.multiply.accumulate(A, 1), onp.multiply.accumulate(A, 1))
    same(np.subtract.outer([1, 2], A[0]), onp.subtract.outer([1, 2], A[0]))
    assert (np.add.nin, np.add.nout, np.add.identity, np.add.__name__) == (2, 1, 0, "add")
    assert repr(np.sin) == "<ufunc 'sin' of tapegrad.numpy>"
    out = tg.zeros(3, 4)
    assert np.exp(A, out=out) is out
    same(out, onp.exp(A))
    same(np.exp(A, tg.zeros(3, 4)), onp.exp(A))
    same(np.add(A, 1, where=A > 0.5, out=tg.zeros(3, 4)), onp.where(A > 0.5, A + 1, 0))
    same(np.sin(WHOLE, dtype=np.float32), onp.sin(WHOLE, dtype=onp.float32))
    same(np.spacing(A), onp.spacing(A))
    assert all(getattr(np, u.__name__)._function is UFUNCS[u] for u in (onp.sin, onp.add))


def test_what_is_differentiated() -> None:
    def f(x: Any) -> Any:
        table = np.array([x, 2 * x, 1.0])
        grid = np.linspace(x, 3.0, 4)
        filled = np.full((2, 2), x)
        joined = np.r_[x, table, 0:2]
        columns = np.c_[table, grid[:3]]
        places = np.zeros(3)
        places[1] = x**2
        return (
            table.sum()
            + (grid**2).sum()
            + filled.prod()
            + joined.sum()
            + columns.sum()
            + places.sum()
        )

    assert tg.grad(f)(1.5).item() == pytest.approx(
        (float(f(1.5 + 1e-6)) - float(f(1.5 - 1e-6))) / 2e-6
    )
    assert tg.autograd.gradcheck(lambda x: np.linspace(0.5, x, 5, endpoint=False, axis=-1),
                                 (tg.ones(2, requires_grad=True),))  # fmt: skip
    same(
        np.linspace(tg.tensor([0.0, 1.0]), 3.0, 4, retstep=True),
        onp.linspace([0.0, 1.0], 3.0, 4, retstep=True),
    )
    gradient = tg.grad(lambda x: np.sum(np.sin(x) * np.arange(4)))(A[0])
    onp.testing.assert_allclose(gradient, onp.cos(A[0]) * onp.arange(4))


def test_what_is_not_there_is_an_error_for_what_is_differentiated() -> None:
    t = tg.tensor(A[0], requires_grad=True)
    for name in ("roots", "histogram", "spacing"):
        with pytest.raises(tg.UnsupportedError, match=f"np.{name} of a Tensor"):
            getattr(np, name)(t)
    assert np.fft.fft(t).requires_grad
    with pytest.raises(tg.UnsupportedError, match="directives"):
        np.r_["-1", [1, 2]]


def test_arrays_without_a_dtype_of_tensors_stay_arrays() -> None:
    assert isinstance(np.array(["a", "b"]), onp.ndarray)
    assert isinstance(np.array(["2020-01-01"], "M8[D]"), onp.ndarray)
    assert np.char.upper(np.array(["a"])).tolist() == ["A"]


def test_under_transforms_and_compiled() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.where(x > 0.5, np.exp(x), np.percentile(x, 30)) * np.ones(4))

    gradient = tg.grad(f)(A[0])
    onp.testing.assert_allclose(tg.jit(tg.grad(f))(A[0]), gradient.numpy(), rtol=1e-13)
    rows = tg.vmap(tg.grad(f))(A)
    onp.testing.assert_allclose(rows[0], gradient.numpy())
    assert isinstance(np, types.ModuleType)


def test_functions_that_take_arrays_under_transforms_and_compiled() -> None:
    def f(x: Any) -> Any:
        return (
            tg.mul(onp.array([1.0, 2.0, 3.0, 4.0]), tg.exp(x))
            + tg.stack([onp.float64(1.0), *x[1:]])
        ).sum()

    gradient = tg.grad(f)(A[0])
    onp.testing.assert_allclose(tg.jit(tg.grad(f))(A[0]), gradient.numpy(), rtol=1e-13)
    onp.testing.assert_allclose(tg.vmap(tg.grad(f))(A)[0], gradient.numpy())
