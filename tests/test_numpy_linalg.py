"""NumPy's `numpy.linalg` on Tensors: values, shapes, dtypes and named results are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.numpy.protocols import functions

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 3)) + 2 * np.eye(3)
B = RNG.standard_normal((4, 3, 3)) + 2 * np.eye(3)
S, T, V = A @ A.T, RNG.standard_normal((5, 3)), RNG.standard_normal(3)
WHOLE = np.array([[2, 1], [1, 3]])
DEEP = RNG.standard_normal((2, 3, 3, 2))
TURNING = np.array([[0.0, 1.0], [-2.0, 0.5]])
L = np.linalg

#: name of a function -> calls of it, given what makes arrays or Tensors of arrays
CALLS: dict[str, Callable[[Any], list[Any]]] = {
    "solve": lambda w: [
        L.solve(w(A), w(V)), L.solve(w(B), w(A)), L.solve(w(WHOLE), w(WHOLE)), L.solve(w(A), V),
        L.solve(np.stack([A] * 3), w(A)), L.solve(w(A), w(B)),
    ],
    "inv": lambda w: [L.inv(w(B)), L.inv(w(WHOLE))],
    "pinv": lambda w: [
        L.pinv(w(T)), L.pinv(w(S), hermitian=True), L.pinv(w(T), 0.5), L.pinv(w(T), rtol=0.5),
        L.pinv(w(A * 0 + 1)), L.pinv(w(A * 0 + 1), rtol=None),
    ],
    "lstsq": lambda w: [
        *L.lstsq(w(T), w(np.ones(5)))[:2], *L.lstsq(w(T.T), w(np.ones(3)))[:2], L.lstsq(w(T), w(T))[3],
        L.lstsq(w(T), w(T))[1], L.lstsq(w(T * 0 + 1), w(T))[1], L.lstsq(w(T), w(T), rcond=0.9)[0],
        L.lstsq(w(T), w(T), rcond=-1)[0],
    ],
    "tensorsolve": lambda w: [
        L.tensorsolve(w(DEEP), w(np.ones((2, 3)))),
        L.tensorsolve(w(np.moveaxis(DEEP, (2, 3), (0, 1)).copy()), w(np.ones((2, 3))), axes=(0, 1)),
    ],
    "tensorinv": lambda w: [L.tensorinv(w(DEEP))],
    "det": lambda w: [L.det(w(B)), L.det(w(WHOLE))],
    "slogdet": lambda w: [L.slogdet(w(B))],
    "cholesky": lambda w: [L.cholesky(w(S)), L.cholesky(w(S), upper=True)],
    "qr": lambda w: [L.qr(w(T)), L.qr(w(T), "complete"), L.qr(w(T), "r"), L.qr(w(WHOLE)), L.qr(w(B))],
    "eig": lambda w: [L.eig(w(TURNING)), L.eig(w(TURNING + 1j))],
    "eigvals": lambda w: [L.eigvals(w(TURNING))],
    "eigh": lambda w: [L.eigh(w(S)), L.eigh(w(S), "U"), L.eigh(w(WHOLE))],
    "eigvalsh": lambda w: [L.eigvalsh(w(B)), L.eigvalsh(w(B), "U")],
    "svd": lambda w: [
        L.svd(w(T)), L.svd(w(T), False), L.svd(w(T), compute_uv=False), L.svd(w(S), hermitian=True).S,
    ],
    "svdvals": lambda w: [L.svdvals(w(T))],
    "norm": lambda w: [
        L.norm(w(T)), L.norm(w(T), 1), L.norm(w(T), -np.inf, keepdims=True), L.norm(w(T), "nuc"),
        L.norm(w(T), "fro"), L.norm(w(T), 2), L.norm(w(V), 3), L.norm(w(V), 0), L.norm(w(B), 2, axis=(0, 2)),
        L.norm(w(B), 1, axis=1), L.norm(w(B)), L.norm(w(B), axis=(1, 2)), L.norm(w(WHOLE)),
    ],
    "vector_norm": lambda w: [L.vector_norm(w(B)), L.vector_norm(w(B), axis=(0, 1), ord=1)],
    "matrix_norm": lambda w: [L.matrix_norm(w(B)), L.matrix_norm(w(B), ord=2, keepdims=True)],
    "cond": lambda w: [L.cond(w(B)), L.cond(w(A), 1), L.cond(w(A), "fro"), L.cond(w(A), -2)],
    "matrix_rank": lambda w: [
        L.matrix_rank(w(B)), L.matrix_rank(w(V)), L.matrix_rank(w(A * 0 + 1)), L.matrix_rank(w(A), tol=2.0),
        L.matrix_rank(w(A), rtol=0.5), L.matrix_rank(w(S), hermitian=True),
    ],
    "matrix_power": lambda w: [
        L.matrix_power(w(A), 3), L.matrix_power(w(WHOLE), 3), L.matrix_power(w(WHOLE), -2),
        L.matrix_power(w(B), 0),
    ],
    "multi_dot": lambda w: [L.multi_dot([w(T), w(A), w(V)]), L.multi_dot([w(WHOLE), w(WHOLE * 0.5)])],
    "matmul": lambda w: [L.matmul(w(A), w(V))],
    "vecdot": lambda w: [L.vecdot(w(A), w(V)), L.vecdot(w(A), w(A), axis=0)],
    "matrix_transpose": lambda w: [L.matrix_transpose(w(B))],
    "diagonal": lambda w: [L.diagonal(w(B), offset=1)],
    "trace": lambda w: [L.trace(w(B)), L.trace(w(WHOLE), dtype=np.float64)],
    "outer": lambda w: [L.outer(w(V), w(V))],
    "cross": lambda w: [L.cross(w(A), w(A * 2 + 1))],
    "tensordot": lambda w: [L.tensordot(w(A), w(A), axes=1)],
}  # fmt: skip


def parts(results: list[Any]) -> list[Any]:
    return [y for x in results for y in (x if isinstance(x, tuple) else [x])]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_values_are_numpys(name: str, active: bool) -> None:
    found = CALLS[name](lambda a: tg.tensor(a, requires_grad=active and a.dtype.kind in "fc"))
    wanted = CALLS[name](lambda a: a)
    for x, y in zip(found, wanted, strict=True):
        if isinstance(y, tuple):
            assert type(x) is type(y)
    for x, y in zip(parts(found), parts(wanted), strict=True):
        value, right = x.detach().numpy(), np.asarray(y)
        assert (value.shape, value.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(value, right, rtol=1e-9, atol=1e-11)


def test_every_function_is_there_and_tested() -> None:
    theirs = {name for name in L.__all__ if callable(getattr(L, name))} - {"LinAlgError"}
    there = {f.__name__ for f in functions() if getattr(L, f.__name__, None) is f}
    assert theirs <= there
    assert theirs == CALLS.keys()


def test_single_precision_is_kept() -> None:
    x = tg.tensor(S, dtype=tg.float32, requires_grad=True)
    for y in (
        L.inv(x),
        L.solve(x, np.ones(3, np.float32)),
        L.eigh(x).eigenvectors,
        L.qr(x).Q,
        L.norm(x, 2),
    ):
        assert y.dtype is tg.float32
    assert L.solve(x, np.ones(3)).dtype is tg.float64


def test_wrong_orders_are_refused_as_in_numpy() -> None:
    x = tg.tensor(B, requires_grad=True)
    for call in (
        lambda x: L.norm(x, 2),
        lambda x: L.norm(x[0], 3),
        lambda x: L.norm(x[0, 0], "fro"),
    ):
        with pytest.raises(ValueError) as theirs:  # noqa: PT011
            call(B)
        with pytest.raises(ValueError) as ours:  # noqa: PT011
            call(x)
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(np.linalg.LinAlgError):
        L.inv(tg.zeros(2, 2, requires_grad=True)).sum().backward()


# --------------------------------------------------------------------------- programs as they are
def kalman(q: Any) -> Any:
    """Log-likelihood of a Kalman filter with process noise `q`."""
    step, seen = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    mean, spread, total = np.zeros(2), np.eye(2), 0.0
    for value in np.sin(np.arange(12.0)):
        mean, spread = step @ mean, step @ spread @ step.T + q * np.eye(2)
        s = seen @ spread @ seen.T + 0.1
        gain = np.linalg.solve(s, seen @ spread).T
        error = value - seen @ mean
        total = (
            total - 0.5 * np.dot(error, np.linalg.solve(s, error)) - 0.5 * np.linalg.slogdet(s)[1]
        )
        mean, spread = mean + gain @ error, spread - gain @ s @ gain.T
    return total


def process(scale: Any) -> Any:
    """Log-likelihood of a Gaussian process by Cholesky's factor."""
    x = np.linspace(0.0, 3.0, 15)
    k = np.exp(-0.5 * ((x[:, None] - x) / scale) ** 2) + 0.1 * np.eye(15)
    factor = np.linalg.cholesky(k)
    alpha = np.linalg.solve(factor, np.sin(2 * x))
    return -0.5 * np.sum(alpha**2) - np.sum(np.log(np.diag(factor)))


def components(shift: Any) -> Any:
    """Variance that the first principal component explains."""
    data = T @ A + np.array([1.0, 2.0, 3.0]) * np.tanh(T[:, :1] * shift)
    values = np.linalg.svd(data - np.mean(data, axis=0), full_matrices=False)[1]
    return values[0] ** 2 / np.sum(values**2)


def fit(shift: Any) -> Any:
    """Residual of a least-squares fit."""
    columns = np.stack([np.ones(9), np.arange(9.0), np.cos(shift * np.arange(9.0))], axis=1)
    target = np.sqrt(np.arange(9.0))
    return np.sum((columns @ np.linalg.lstsq(columns, target, rcond=None)[0] - target) ** 2)


@pytest.mark.parametrize("program", [kalman, process, components, fit])
def test_programs_differentiate(program: Callable[[Any], Any]) -> None:
    h, x = 1e-5, 0.7
    value, slope = tg.value_and_grad(program)(x)
    assert float(value) == pytest.approx(float(program(x)), rel=1e-12)
    assert float(slope) == pytest.approx((program(x + h) - program(x - h)) / (2 * h), rel=1e-6)
    compiled = tg.jit(tg.value_and_grad(program))(x)
    assert float(compiled[1]) == pytest.approx(float(slope), rel=1e-10)


@pytest.mark.parametrize("order", [None, 2, -2, 1, "fro"])
def test_condition_of_what_has_no_inverse(order: Any) -> None:
    for matrix in (np.zeros((2, 2)), np.eye(2)):
        expected = np.linalg.cond(matrix, order)
        np.testing.assert_allclose(np.linalg.cond(tg.tensor(matrix), order).numpy(), expected)
