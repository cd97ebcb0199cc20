"""Linear algebra: values and errors beside torch, failures in every mode, degenerate and empty matrices."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import outcome, same, torch

import tapegrad as tg

RNG = np.random.default_rng(7)
SQUARE = RNG.standard_normal((3, 3)) + 2.5 * np.eye(3)
BATCH = RNG.standard_normal((2, 3, 3)) + 2.5 * np.eye(3)
WIDE, TALL = RNG.standard_normal((2, 5)), RNG.standard_normal((2, 5, 3))
DEFINITE = SQUARE @ SQUARE.T
RIGHT, VECTOR = RNG.standard_normal((3, 2)), RNG.standard_normal(3)
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


def t(lib: Any, array: Any) -> Any:
    return lib.tensor(np.asarray(array).tolist(), dtype=lib.float64)


# --------------------------------------------------------------------------- values
#: name -> a call, which torch understands as well
CALLS: dict[str, Callable[[Any], Any]] = {
    "solve": lambda lib: lib.linalg.solve(t(lib, BATCH), t(lib, RIGHT)),
    "solve vector": lambda lib: lib.linalg.solve(t(lib, SQUARE), t(lib, VECTOR)),
    "solve vectors": lambda lib: lib.linalg.solve(
        t(lib, BATCH), t(lib, RNG.standard_normal((2, 3)) * 0 + 1)
    ),
    "solve from the right": lambda lib: lib.linalg.solve(
        t(lib, SQUARE), t(lib, RIGHT.T), left=False
    ),
    "inv": lambda lib: lib.linalg.inv(t(lib, BATCH)),
    "inverse": lambda lib: [lib.inverse(t(lib, SQUARE)), t(lib, SQUARE).inverse()],
    "lu": lambda lib: [
        *lib.linalg.lu(t(lib, BATCH)),
        lib.linalg.lu_factor(t(lib, BATCH)).LU,
        lib.linalg.lu_factor(t(lib, SQUARE)).pivots.to(lib.int64),
        *lib.linalg.lu(t(lib, SINGULAR)),
        lib.lu_solve(t(lib, RIGHT), *lib.linalg.lu_factor(t(lib, SQUARE))),
    ],
    "lu_solve": lambda lib: [
        lib.linalg.lu_solve(
            *lib.linalg.lu_factor(t(lib, a)),
            t(lib, RIGHT.T if not left else RIGHT),
            left=left,
            adjoint=adjoint,
        )
        for a in (SQUARE, BATCH)
        for left in (True, False)
        for adjoint in (True, False)
    ],
    "det": lambda lib: [
        lib.linalg.det(t(lib, BATCH)),
        lib.det(t(lib, SINGULAR)),
        t(lib, SQUARE).det(),
    ],
    "slogdet": lambda lib: [
        *lib.linalg.slogdet(t(lib, -BATCH)),
        *lib.slogdet(t(lib, SINGULAR * 0)),
    ],
    "logdet": lambda lib: [lib.logdet(t(lib, BATCH)), lib.logdet(t(lib, -np.eye(3)))],
    "cholesky": lambda lib: [
        lib.linalg.cholesky(t(lib, DEFINITE)),
        lib.linalg.cholesky(t(lib, DEFINITE), upper=True),
        lib.cholesky(t(lib, DEFINITE)),
        t(lib, DEFINITE).cholesky(upper=True),
    ],
    "cholesky_solve": lambda lib: [
        lib.cholesky_solve(t(lib, RIGHT), t(lib, np.linalg.cholesky(DEFINITE))),
        lib.cholesky_solve(t(lib, RIGHT), t(lib, np.linalg.cholesky(DEFINITE).T), upper=True),
    ],
    "cholesky_inverse": lambda lib: lib.cholesky_inverse(t(lib, np.linalg.cholesky(DEFINITE))),
    "solve_triangular": lambda lib: [
        lib.linalg.solve_triangular(t(lib, a), t(lib, b), upper=u, left=left, unitriangular=unit)
        for a in (SQUARE, BATCH)
        for u in (False, True)
        for unit in (False, True)
        for left, b in ((True, RIGHT), (False, RIGHT.T))
    ],
    "triangular_solve": lambda lib: [
        *lib.triangular_solve(t(lib, RIGHT), t(lib, SQUARE)),
        *t(lib, RIGHT).triangular_solve(t(lib, SQUARE), False, True, True),
    ],
    "qr": lambda lib: [
        x
        for a in (SQUARE, WIDE, TALL)
        for mode in ("reduced", "complete", "r")
        for x in lib.linalg.qr(t(lib, a), mode)
    ],
    "qr of tensors": lambda lib: [*lib.qr(t(lib, TALL)), *t(lib, TALL).qr(some=False)],
    "eigh": lambda lib: [
        abs(x) for uplo in ("L", "U", "l") for x in lib.linalg.eigh(t(lib, BATCH), uplo)
    ],
    "eigvalsh": lambda lib: [
        lib.linalg.eigvalsh(t(lib, BATCH)),
        lib.linalg.eigvalsh(t(lib, BATCH), "U"),
    ],
    "svd": lambda lib: [
        abs(x) for a in (SQUARE, WIDE, TALL) for x in lib.linalg.svd(t(lib, a), full_matrices=False)
    ],
    "full svd": lambda lib: [
        x.shape for a in (SQUARE, WIDE, TALL) for x in lib.linalg.svd(t(lib, a))
    ],
    "svd of tensors": lambda lib: [
        *map(abs, lib.svd(t(lib, TALL))),
        t(lib, TALL).svd(compute_uv=False).U,
    ],
    "svdvals": lambda lib: lib.linalg.svdvals(t(lib, TALL)),
    "pinv": lambda lib: [
        lib.linalg.pinv(t(lib, TALL)),
        lib.linalg.pinv(t(lib, SINGULAR)),
        lib.pinverse(t(lib, WIDE)),
        lib.linalg.pinv(t(lib, SINGULAR), hermitian=True),
        lib.linalg.pinv(t(lib, SQUARE), rtol=0.5),
        lib.linalg.pinv(t(lib, SQUARE), atol=1.0, rtol=0.1),
        lib.linalg.pinv(t(lib, SQUARE), 0.6),
        lib.linalg.pinv(t(lib, BATCH), atol=lib.tensor([0.5, 3.0], dtype=lib.float64)),
    ],
    "lstsq": lambda lib: [
        lib.linalg.lstsq(t(lib, TALL), t(lib, np.ones((2, 5, 1)))).solution,
        lib.linalg.lstsq(t(lib, WIDE), t(lib, np.ones((2, 1)))).solution,
        lib.linalg.lstsq(t(lib, TALL), t(lib, np.ones((2, 5, 1))), driver="gelsd").residuals,
        lib.linalg.lstsq(t(lib, TALL), t(lib, np.ones((2, 5, 1))), driver="gelsd").rank,
    ],
    "matrix_rank": lambda lib: [
        lib.linalg.matrix_rank(t(lib, TALL)),
        lib.linalg.matrix_rank(t(lib, SINGULAR)),
        lib.linalg.matrix_rank(t(lib, SINGULAR), hermitian=True),
        lib.linalg.matrix_rank(t(lib, SQUARE), 2.5),
        lib.linalg.matrix_rank(t(lib, SQUARE), atol=1.0, rtol=0.1),
        lib.linalg.matrix_rank(t(lib, np.zeros((2, 2)))),
    ],
    "cond": lambda lib: (
        [
            lib.linalg.cond(t(lib, BATCH), p)
            for p in (None, 2, -2, 1, -1, float("inf"), "fro", "nuc")
        ]
        + [lib.linalg.cond(t(lib, TALL)), lib.linalg.cond(t(lib, np.zeros((2, 2))), 1)]
    ),
    "vector_norm": lambda lib: [
        lib.linalg.vector_norm(t(lib, TALL), p, dim, keep)
        for p in (2, 1, 0, 3.5, float("inf"), -float("inf"), -1)
        for dim in (None, 1, (0, 2))
        for keep in (False, True)
    ],
    "matrix_norm": lambda lib: [
        lib.linalg.matrix_norm(t(lib, TALL), p, dim, keep)
        for p in ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"))
        for dim in ((-2, -1), (0, 1), (2, 0))
        for keep in (False, True)
    ],
    "norm": lambda lib: [
        lib.linalg.norm(t(lib, TALL)),
        lib.linalg.norm(t(lib, SQUARE), 2),
        lib.linalg.norm(t(lib, VECTOR), 3),
        lib.linalg.norm(t(lib, TALL), 1, (1, 2)),
        lib.linalg.norm(t(lib, TALL), 1, 2, keepdim=True),
        lib.linalg.norm(t(lib, SQUARE), "nuc"),
        lib.linalg.norm(t(lib, TALL), dim=(0, 1)),
    ],
    "multi_dot": lambda lib: [
        lib.linalg.multi_dot([t(lib, WIDE), t(lib, TALL[0]), t(lib, SQUARE), t(lib, RIGHT)]),
        lib.linalg.multi_dot([t(lib, VECTOR), t(lib, SQUARE), t(lib, VECTOR)]),
        lib.chain_matmul(t(lib, SQUARE), t(lib, RIGHT)),
    ],
    "matrix_power": lambda lib: [
        f(t(lib, BATCH), n)
        for f in (lib.linalg.matrix_power, lib.matrix_power)
        for n in (0, 1, 5, -1, -3)
    ],
    "matrix_exp": lambda lib: [
        lib.linalg.matrix_exp(t(lib, BATCH * 7)),
        lib.matrix_exp(t(lib, BATCH / 9)),
        t(lib, SQUARE).matrix_exp(),
    ],
    "tensorinv": lambda lib: lib.linalg.tensorinv(t(lib, RNG_4D)),
    "tensorsolve": lambda lib: [
        lib.linalg.tensorsolve(t(lib, RNG_4D), t(lib, np.ones((2, 3)))),
        lib.linalg.tensorsolve(
            t(lib, np.moveaxis(RNG_4D, (2, 3), (0, 1))), t(lib, np.ones((2, 3))), dims=(0, 1)
        ),
    ],
    "vander": lambda lib: [
        lib.linalg.vander(t(lib, VECTOR)),
        lib.linalg.vander(t(lib, RIGHT), N=4),
    ],
    "vecdot": lambda lib: lib.linalg.vecdot(t(lib, TALL), t(lib, TALL + 1), dim=1),
    "diagonal": lambda lib: [
        lib.linalg.diagonal(t(lib, TALL)),
        lib.linalg.diagonal(t(lib, TALL), offset=-1, dim1=1, dim2=0),
    ],
    "cross": lambda lib: lib.linalg.cross(t(lib, BATCH), t(lib, [[VECTOR]])),
    "matmul": lambda lib: lib.linalg.matmul(t(lib, BATCH), t(lib, VECTOR)),
    "results": lambda lib: [
        type(x).__name__
        for x in (
            lib.linalg.eigh(t(lib, SQUARE)),
            lib.linalg.svd(t(lib, SQUARE)),
            lib.linalg.qr(t(lib, SQUARE)),
            lib.linalg.slogdet(t(lib, SQUARE)),
            lib.slogdet(t(lib, SQUARE)),
            lib.svd(t(lib, SQUARE)),
            lib.linalg.inv_ex(t(lib, SQUARE)),
            lib.linalg.solve_ex(t(lib, SQUARE), t(lib, RIGHT)),
            lib.linalg.cholesky_ex(t(lib, DEFINITE)),
        )
    ],
    "ex": lambda lib: [
        lib.linalg.inv_ex(t(lib, BATCH)).inverse,
        lib.linalg.cholesky_ex(t(lib, DEFINITE), upper=True).L,
        lib.linalg.solve_ex(t(lib, BATCH), t(lib, RIGHT)).result,
        lib.linalg.solve_ex(t(lib, SQUARE), t(lib, VECTOR), left=True).result,
        lib.linalg.inv_ex(t(lib, SINGULAR * 0)).info > 0,
        lib.linalg.cholesky_ex(t(lib, -BATCH)).info > 0,
    ],
    # empty matrices
    "empty": lambda lib: [
        lib.linalg.inv(lib.zeros(2, 0, 0)),
        lib.linalg.det(lib.zeros(2, 0, 0)),
        lib.linalg.slogdet(lib.zeros(0, 0)),
        lib.linalg.cholesky(lib.zeros(0, 0)),
        lib.linalg.solve(lib.zeros(0, 0), lib.zeros(0, 3)),
        lib.linalg.eigh(lib.zeros(0, 0)),
        lib.linalg.svd(lib.zeros(3, 0)),
        lib.linalg.svd(lib.zeros(0, 3), full_matrices=False),
        lib.linalg.qr(lib.zeros(3, 0)),
        lib.linalg.qr(lib.zeros(3, 0), "complete"),
        lib.linalg.pinv(lib.zeros(3, 0)),
        lib.linalg.matrix_rank(lib.zeros(3, 0)),
        lib.linalg.matrix_exp(lib.zeros(0, 0)),
        lib.linalg.svdvals(lib.zeros(3, 0)),
        lib.linalg.matrix_power(lib.zeros(0, 0), 3),
    ],
}
RNG_4D = RNG.standard_normal((2, 3, 6)).reshape(2, 3, 3, 2)


@pytest.mark.parametrize("name", CALLS)
def test_values_are_torchs(name: str) -> None:
    kind, found = outcome(CALLS[name], tg)
    assert kind == "value", found
    same(CALLS[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["solve", "inv", "det", "cholesky", "qr", "eigh", "svd", "matrix_exp"]
)
def test_dtypes_are_kept(name: str, dtype: str) -> None:
    x = tg.tensor(DEFINITE, dtype=getattr(tg, dtype))
    result = tg.linalg.solve(x, x[0]) if name == "solve" else getattr(tg.linalg, name)(x)
    for y in result if isinstance(result, tuple) else [result]:
        assert y.dtype is getattr(tg, dtype)


# --------------------------------------------------------------------------- arguments
WRONG: dict[str, Callable[[Any], Any]] = {
    "inv of a vector": lambda lib: lib.linalg.inv(lib.ones(3)),
    "inv of integers": lambda lib: lib.linalg.inv(lib.ones(2, 2, dtype=lib.int64)),
    "inv of a rectangle": lambda lib: lib.linalg.inv(lib.ones(2, 3)),
    "det of a rectangle": lambda lib: lib.det(lib.ones(2, 3)),
    "logdet of a rectangle": lambda lib: lib.logdet(lib.ones(2, 3)),
    "solve, shapes": lambda lib: lib.linalg.solve(lib.eye(2), lib.ones(3, 1)),
    "solve, shapes on the right": lambda lib: lib.linalg.solve(
        lib.eye(2), lib.ones(3, 1), left=False
    ),
    "solve, dtypes": lambda lib: lib.linalg.solve(lib.eye(2), lib.ones(2, 1, dtype=lib.float32)),
    "solve_triangular, a vector": lambda lib: lib.linalg.solve_triangular(
        lib.eye(2), lib.ones(2), upper=True
    ),
    "solve_triangular, without upper": lambda lib: lib.linalg.solve_triangular(
        lib.eye(2), lib.ones(2, 2)
    ),
    "cholesky of a rectangle": lambda lib: lib.linalg.cholesky(lib.ones(2, 3)),
    "cholesky_solve, shapes": lambda lib: lib.cholesky_solve(lib.ones(2, 2), lib.eye(3)),
    "cholesky_solve of a vector": lambda lib: lib.cholesky_solve(lib.ones(2), lib.eye(2)),
    "cholesky_inverse of a rectangle": lambda lib: lib.cholesky_inverse(lib.ones(2, 3)),
    "eigh, another triangle": lambda lib: lib.linalg.eigh(lib.eye(2), "Q"),
    "eigvalsh of a rectangle": lambda lib: lib.linalg.eigvalsh(lib.ones(2, 3)),
    "qr, another mode": lambda lib: lib.linalg.qr(lib.eye(2), "raw"),
    "svd of a vector": lambda lib: lib.linalg.svd(lib.ones(2)),
    "lstsq, shapes": lambda lib: lib.linalg.lstsq(lib.ones(3, 2), lib.ones(2, 1)),
    "norm of 3 dimensions": lambda lib: lib.linalg.norm(lib.ones(2, 2, 2), 2),
    "matrix_norm of a vector": lambda lib: lib.linalg.matrix_norm(lib.ones(2)),
    "matrix_norm, another order": lambda lib: lib.linalg.matrix_norm(lib.ones(2, 2), 3),
    "vector_norm of integers": lambda lib: lib.linalg.vector_norm(lib.ones(2, dtype=lib.int64)),
    "cond of a rectangle": lambda lib: lib.linalg.cond(lib.ones(2, 3), 1),
    "inv of half precision": lambda lib: lib.linalg.inv(lib.ones(2, 2, dtype=lib.float16)),
    "multi_dot, shapes": lambda lib: lib.linalg.multi_dot([lib.ones(2, 2), lib.ones(3, 2)]),
    "multi_dot of one": lambda lib: lib.linalg.multi_dot([lib.eye(2)]),
    "matrix_rank of a vector": lambda lib: lib.linalg.matrix_rank(lib.ones(2)),
    "matrix_exp of a rectangle": lambda lib: lib.linalg.matrix_exp(lib.ones(2, 3)),
    "tensorinv, shapes": lambda lib: lib.linalg.tensorinv(lib.ones(4, 3, 2)),
    "tensorsolve, shapes": lambda lib: lib.linalg.tensorsolve(lib.ones(4, 3), lib.ones(4)),
    "vander of one power": lambda lib: lib.linalg.vander(lib.ones(2), N=1),
    "matrix_power of a rectangle": lambda lib: lib.linalg.matrix_power(lib.ones(2, 3), 2),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused_as_in_torch(name: str) -> None:
    kind, text = outcome(WRONG[name], tg)
    assert kind in ("RuntimeError", "TypeError"), (kind, text)
    same(WRONG[name])


# --------------------------------------------------------------------------- failures
def leaf(array: Any) -> Any:
    return tg.tensor(np.asarray(array, float), requires_grad=True)


TWO = np.stack([np.eye(2), np.zeros((2, 2))])
#: functions that fail for the second of two matrices, with a part of the text
FAILING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "solve": (
        lambda x: tg.linalg.solve(x, tg.ones(2, 1)),
        "The solver failed because the input matrix is singular",
    ),
    "inv": (tg.linalg.inv, "the input matrix is singular"),
    "cholesky": (tg.linalg.cholesky, "the input is not positive-definite"),
    "solve_triangular": (
        lambda x: tg.linalg.solve_triangular(x, tg.ones(2, 1), upper=True),
        "zero on its diagonal",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_failures_name_op_batch_element_and_shapes(name: str) -> None:
    function, words = FAILING[name]
    pattern = rf"linalg\.{name}: \(Batch element 1\): .*{words}.*shape \[2, 2, 2\]"
    y = function(leaf(TWO))
    for error in (np.linalg.LinAlgError, RuntimeError, tg.linalg.LinAlgError):
        with pytest.raises(error, match=pattern):
            y.tolist()
    with pytest.raises(tg.linalg.LinAlgError, match=pattern):
        y.sum().backward()
    with pytest.raises(tg.linalg.LinAlgError, match=words) as caught:  # no batch, no number
        function(leaf(TWO[1])).tolist()
    assert "Batch" not in str(caught.value)


@pytest.mark.parametrize("name", FAILING)
def test_failures_under_vmap_and_jit(name: str) -> None:
    function, words = FAILING[name]
    with pytest.raises(tg.linalg.LinAlgError, match=rf"Batch element 1.*{words}"):
        tg.vmap(function)(tg.tensor(TWO)).tolist()
    compiled = tg.jit(lambda x: function(x).sum())
    good = float(compiled(TWO[:1]))
    with pytest.raises(tg.linalg.LinAlgError, match=words):
        compiled(TWO[1:])
    assert float(compiled(TWO[:1])) == good
    gradient = tg.jit(tg.grad(lambda x: function(x).sum()))
    value = np.asarray(gradient(TWO[:1]))
    with pytest.raises(tg.linalg.LinAlgError, match=words):
        gradient(TWO[1:])
    np.testing.assert_array_equal(np.asarray(gradient(TWO[:1])), value)


def test_a_failure_in_the_derivative_says_so_and_changes_nothing() -> None:
    x = leaf(SINGULAR * 0)
    y = tg.linalg.slogdet(x).logabsdet
    assert y.item() == -np.inf
    with pytest.raises(
        tg.linalg.LinAlgError,
        match=r"linalg\.solve: .*in the derivative of linalg\.slogdet, .*shape \[2, 2\]\)",
    ):
        y.backward()
    assert x.grad is None


def test_anomaly_detection_shows_the_line() -> None:
    with warnings.catch_warnings(record=True) as caught, tg.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        y = tg.linalg.inv(leaf(SINGULAR * 0)).sum()  # this line
        with pytest.raises(tg.linalg.LinAlgError):
            y.backward()
    assert any("# this line" in str(w.message) for w in caught)


def test_no_flag_is_left_for_numpy() -> None:
    with np.errstate(all="raise"):
        with pytest.raises(tg.linalg.LinAlgError):
            tg.linalg.inv(leaf(SINGULAR * 0)).tolist()
        assert (np.array([1.0, 2.0]) * 2).sum() == 6.0
        tg.linalg.matrix_exp(leaf(np.full((2, 2), np.nan))).tolist()
        assert np.linalg.inv(np.eye(2)).sum() == 2.0


def test_functions_that_report_do_not_raise() -> None:
    inverse, info = tg.linalg.inv_ex(leaf(TWO))
    assert info.tolist() == [0, 1]
    assert np.isnan(inverse.detach().numpy()[1]).all()
    np.testing.assert_array_equal(inverse.detach().numpy()[0], np.eye(2))
    x = leaf(TWO)
    tg.linalg.solve_ex(x, tg.ones(2, 1)).result[0].sum().backward()
    assert x.grad is not None
    assert np.isfinite(x.grad.numpy()[0]).all()
    with pytest.raises(tg.linalg.LinAlgError):
        tg.linalg.cholesky_ex(leaf(TWO), check_errors=True).L.tolist()


@pytest.mark.parametrize("name", ["logm", "sqrtm"])
def test_matrices_without_principal_functions_raise(name: str) -> None:
    function = getattr(tg.linalg, name)
    for wrong in (-np.eye(2), np.zeros((2, 2)), np.diag([1.0, -1.0]), np.full((2, 2), np.nan)):
        with pytest.raises(
            tg.linalg.LinAlgError, match=f"linalg.{name}: .*Batch element 1.*no principal"
        ):
            function(leaf([np.eye(2), wrong])).tolist()


@pytest.mark.parametrize("name", ["expm", "logm", "sqrtm"])
def test_functions_of_matrices_are_scipys(name: str) -> None:
    scipy = pytest.importorskip("scipy.linalg")
    function = getattr(tg.linalg, name.replace("expm", "matrix_exp"))
    for n in (1, 2, 5, 30):
        a = RNG.standard_normal((n, n)) / (4 * np.sqrt(n)) + np.eye(n)
        for scale in (1.0, 1e-3, 30.0):
            found = function(leaf(a * scale)).detach().numpy()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # where SciPy doubts its logarithm
                expected = getattr(scipy, name)(a * scale)
            np.testing.assert_allclose(found, expected, atol=4e-12 * np.abs(expected).max())


# --------------------------------------------------------------------------- derivatives
def gradient(function: Callable[[Any], Any], array: np.ndarray, lib: Any) -> np.ndarray:
    x = lib.tensor(array.tolist(), dtype=lib.float64, requires_grad=True)
    function(x).backward()
    found: np.ndarray = x.grad.numpy()
    return found


@pytest.mark.parametrize(
    "array", [SINGULAR, np.zeros((2, 2)), np.diag([3.0, 0, 2.0]), np.zeros((3, 3)), np.ones((3, 3))]
)
def test_determinants_of_singular_matrices_have_gradients(array: np.ndarray) -> None:
    h = 1e-3
    found = gradient(tg.linalg.det, array, tg)
    for i, j in np.ndindex(*array.shape):
        e = np.zeros_like(array)
        e[i, j] = h
        slope = (np.linalg.det(array + e) - np.linalg.det(array - e)) / (
            2 * h
        )  # det is affine in an element
        assert found[i, j] == pytest.approx(slope, abs=1e-10)


def test_cofactors_of_large_and_of_not_finite_matrices() -> None:
    a = RNG.standard_normal((2, 60, 60)) / 8
    found = gradient(lambda x: tg.linalg.det(x).sum(), a, tg)
    expected = np.linalg.det(a)[:, None, None] * np.swapaxes(np.linalg.inv(a), -1, -2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=4e-12 * np.abs(expected).max())
    assert np.isnan(gradient(tg.linalg.det, np.array([[np.nan, 1.0], [1.0, 1.0]]), tg)).any()


#: functions of degenerate matrices that have a gradient
SMOOTH: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "sum of equal eigenvalues": (lambda x: (_eigh(x)[0] * 2).sum(), np.eye(3)),
    "nuclear norm": (lambda x: _svdvals(x).sum(), np.diag([2.0, 2.0, 1.0])),
}


def _eigh(x: Any) -> Any:
    return (tg if isinstance(x, tg.Tensor) else torch).linalg.eigh(x)


def _svdvals(x: Any) -> Any:
    return (tg if isinstance(x, tg.Tensor) else torch).linalg.svdvals(x)


@pytest.mark.parametrize("name", SMOOTH)
def test_degenerate_values_have_gradients(name: str) -> None:
    function, array = SMOOTH[name]
    found = gradient(function, array, tg)
    assert np.isfinite(found).all()
    if torch is not None:
        np.testing.assert_allclose(found, gradient(function, array, torch), atol=1e-12)


def test_degenerate_vectors_have_none() -> None:
    found = gradient(lambda x: (tg.linalg.eigh(x).eigenvectors ** 3).sum(), np.eye(2), tg)
    assert not np.isfinite(found).all()


def test_a_complete_q_has_no_derivative() -> None:
    q, _ = tg.linalg.qr(leaf(TALL[0]), "complete")
    with pytest.raises(
        RuntimeError, match="not differentiable when mode='complete' and nrows > ncols"
    ):
        q.sum().backward()


def test_what_does_not_converge_raises() -> None:
    wrong = leaf(np.full((3, 3), np.nan))
    for name in ("eigh", "svd"):
        for part in getattr(tg.linalg, name)(wrong):
            with pytest.raises(
                tg.linalg.LinAlgError, match=rf"linalg\.{name}: the algorithm did not converge"
            ):
                part.tolist()


def test_the_triangle_of_qr_alone_has_a_derivative() -> None:
    def triangle(mode: str) -> np.ndarray:
        return gradient(lambda x: tg.linalg.qr(x, mode).R.sin().sum(), TALL, tg)

    np.testing.assert_allclose(triangle("r"), triangle("reduced"), rtol=1e-12)


#: functions with several parts, whose gradients are torch's
GRADIENTS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "lu": (lambda lib, x: (lib.linalg.lu(x)[1].sin() @ lib.linalg.lu(x)[2].cos()).sum(), BATCH),
    "lu_solve": (
        lambda lib, x: lib.linalg.lu_solve(
            *lib.linalg.lu_factor(x), x[..., :2].cos(), adjoint=True
        ).sum(),
        BATCH,
    ),
    "eigh": (
        lambda lib, x: (
            lib.linalg.eigh(x + x.mT)[1][..., 0] ** 2 * lib.linalg.eigh(x + x.mT)[0]
        ).sum(),
        BATCH,
    ),
    "svd": (
        lambda lib, x: (
            lambda u, s, v: (
                (u[..., :2] @ lib.diag_embed(s.log()[..., :2]) @ v[..., :2, :]).sin().sum()
            )
        )(*lib.linalg.svd(x, full_matrices=False)),
        TALL,
    ),
    "qr": (lambda lib, x: (lib.linalg.qr(x).Q.sin() @ lib.linalg.qr(x).R.cos()).sum(), WIDE),
    "norms": (
        lambda lib, x: sum(
            lib.linalg.matrix_norm(x, p).sum() for p in ("fro", "nuc", 1, 2, -2, float("inf"))
        ),
        TALL,
    ),
    "cond": (lambda lib, x: lib.linalg.cond(x).sum() + lib.linalg.cond(x, -2).sum(), BATCH),
    "lstsq": (lambda lib, x: lib.linalg.lstsq(x, x[..., :1].cos()).solution.sum(), TALL),
    "pinv": (lambda lib, x: lib.linalg.pinv(x).sin().sum(), TALL),
    "hermitian pinv": (lambda lib, x: lib.linalg.pinv(x + x.mT, hermitian=True).sin().sum(), BATCH),
    "powers": (
        lambda lib, x: lib.linalg.matrix_power(x, -2).sum() + lib.linalg.matrix_power(x, 3).sum(),
        BATCH,
    ),
    "cholesky": (
        lambda lib, x: lib.cholesky_solve(x[..., :1], lib.linalg.cholesky(x @ x.mT)).sum(),
        BATCH,
    ),
    "cholesky_inverse": (
        lambda lib, x: lib.cholesky_inverse(lib.linalg.cholesky(x @ x.mT)).sum(),
        SQUARE,
    ),
    "upper cholesky": (lambda lib, x: lib.linalg.cholesky(x @ x.mT, upper=True).sin().sum(), BATCH),
    "logdet": (lambda lib, x: lib.logdet(x @ x.mT).sum(), BATCH),
    "vander": (lambda lib, x: lib.linalg.vander(x, N=4).sin().sum(), VECTOR),
    "tensorsolve": (lambda lib, x: lib.linalg.tensorsolve(x, x[..., 0, 0]).sum(), RNG_4D),
}


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_torchs(name: str) -> None:
    function, array = GRADIENTS[name]
    found = gradient(lambda x: function(tg, x), array, tg)
    np.testing.assert_allclose(
        found, gradient(lambda x: function(torch, x), array, torch), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_under_vmap_are_those_of_each(name: str) -> None:
    function, array = GRADIENTS[name]
    several = tg.tensor(
        np.stack([array, array + 0.05 * np.cos(np.arange(array.size)).reshape(array.shape)])
    )
    slope = tg.func.grad(lambda x: function(tg, x))
    together = tg.vmap(slope)(several)
    for i in range(2):
        np.testing.assert_allclose(
            together[i].numpy(), slope(several[i]).numpy(), rtol=1e-9, atol=1e-11
        )
