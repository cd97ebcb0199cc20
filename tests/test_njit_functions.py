"""NumPy's functions in `tg.njit` functions: values are NumPy's, derivatives those of finite differences."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import tapegrad as tg

X = np.array([0.7, 0.4, 1.3])
#: expressions of a vector ``x`` and a matrix ``m``, by what they show
EXPRESSIONS = {
    "joining": "np.concatenate((x, 2.0 * x))[4] + np.concatenate((m, m * x), 1)[1, 4] "
    "+ np.concatenate((m, m * m))[4, 1] + np.append(x, x[0] ** 3)[3] + np.append(m, x)[10]",
    "stacking": "np.vstack((x, x * x))[1, 2] + np.hstack((x, x * x))[4] + np.column_stack((x, x * x))[2, 1] "
    "+ np.stack((x, x * x))[1, 0] + np.stack((x, x * x), 1)[2, 1] + np.hstack((m, m))[1, 4] "
    "+ np.vstack((m, x))[3, 1] + np.column_stack((m, x))[1, 3]",
    "scans": "np.cumsum(m)[5] + np.cumprod(x)[2] + np.diff(x)[1] ** 2 + np.diff(x, 2)[0] ** 3 "
    "+ x.cumsum()[1]",
    "moments": "np.var(x) * np.std(m) + x.var() + m.std() + np.average(x) + np.average(x, None, x * x)",
    "order": "np.median(x) * np.median(x[:2]) + np.ptp(m) + min(x[0], x[1], x[2]) ** 2 "
    "+ max(0.5, x[1], x[0])",
    "axes": "m.sum(axis=0)[1] ** 2 + m.sum(1)[0] + m.mean(axis=1)[2] * np.sum(m, axis=0)[2] "
    "+ m.sum(axis=-1)[1]",
    "matrices": "np.trace(m) + np.trace(m, 1) ** 2 + np.diag(m)[1] + np.diag(m, -1)[1] + np.diag(x, 1)[1, 2] "
    "+ np.kron(m, m)[4, 5] + np.cross(x, x * x)[1] + np.tril(m)[0, 1] + np.triu(m)[0, 1] + np.eye(3)[1, 1]",
    "rolls": "np.roll(x, 1)[0] ** 2 * np.roll(x, -2)[1] + np.roll(m, 4)[0, 1] ** 2 + np.roll(x, 7)[2]",
    "signals": "np.convolve(x, x * x)[2] + np.interp(x[0], np.array([0.0, 0.5, 2.0]), x) "
    "+ np.interp(x, np.array([0.0, 0.5, 1.0]), x)[2] + np.interp(-x[0], np.array([0.0, 1.0]), x[:2])",
    "solving": "np.linalg.solve(m, x)[1] + np.linalg.solve(m, m * m)[0, 2] + np.linalg.det(m) "
    "+ np.linalg.inv(m)[2, 0] + np.linalg.det(-m[::-1])",
    "factors": "np.linalg.cholesky(m @ m.T)[2, 1] + np.linalg.norm(x) + np.linalg.norm(m) "
    "+ np.linalg.norm(x, 1) + np.linalg.norm(x, 3) * np.linalg.norm(x, np.inf) + np.linalg.norm(x, 2)",
    "ranges": "np.linspace(x[0], x[2], 4)[2] ** 2 + np.linspace(0.0, x[1], 3)[2] "
    "+ np.arange(x[1], 2.0, x[2])[1] + np.arange(x[2]).sum() * x[0] + np.take(m, np.array([4, 2]))[0] ** 2 "
    "+ x.take(np.array([1]))[0] ** 3 "
    "+ np.repeat(x, 2)[3] ** 2 + np.quantile(m, 0.3) + np.percentile(x, 60) ** 2 "
    "+ np.asarray((x[0], x[1]))[1] "
    "+ np.asarray(x)[2] * x.astype(np.float64)[0] + np.fabs(-x[0]) * x.astype(np.int64)[2]",
    "scalars": "divmod(x[0], 0.3)[1] + divmod(5.0, x[1])[0] * x[0] + math.ldexp(x[0], 3) + np.degrees(x[0]) "
    "+ np.radians(x)[1] + math.degrees(x[2]) * math.radians(x[0])",
    "passive": "x[0] * round(x[2]) + x[1] * round(x[0], 1) + x[2] * np.round(x[1], 1) "
    "+ np.sum(x * np.round(x, 1)) + x[0] * np.searchsorted(np.array([0.0, 0.5, 2.0]), x[0]) "
    "+ (x[0] if np.isclose(x[0], x[0] + 1e-12) else x[1])",
}  # fmt: skip


@tg.njit
def matrix(x):
    return np.outer(x, x * x) + np.eye(3) + np.outer(x[::-1], x)


def made(text: str):
    scope = {"np": np, "math": math, "matrix": matrix}
    needed = "m = matrix(x)\n    " if re.search(r"\bm\b", text) else ""
    exec(f"def f(x):\n    {needed}return {text}\n", scope)
    return tg.njit(scope["f"])


@pytest.mark.parametrize("what", EXPRESSIONS)
def test_values_and_derivatives(what) -> None:
    native = made(EXPRESSIONS[what])
    x = tg.tensor(X, requires_grad=True)
    assert native(x).item() == pytest.approx(float(native.py_func(X)), rel=1e-12)
    assert tg.autograd.gradcheck(native, (x,))
    assert tg.autograd.gradgradcheck(native, (x,))


@pytest.mark.parametrize(("error", "text", "match"), [
    (np.linalg.LinAlgError, "np.linalg.solve(np.outer(x, x) * 0.0, x)[0]", "singular"),
    (np.linalg.LinAlgError, "np.linalg.inv(np.outer(x, x[:2]))[0, 0]", "square"),
    (np.linalg.LinAlgError, "np.linalg.cholesky(-m)[0, 0]", "positive definite"),
    (ValueError, "np.linalg.solve(m, x[:2])[0]", "Incompatible"),
    (ValueError, "np.concatenate((m, m[:2]), 1)[0, 0]", "same shape"),
    (ValueError, "np.concatenate((m, m), 2)[0, 0]", "out of bounds"),
    (ValueError, "np.cross(x, x[:2])[0]", "3 elements"),
    (ValueError, "np.interp(x[0], x, x[:2])", "same length"),
    (ValueError, "np.convolve(x, x[:0])[0]", "empty"),
    (ValueError, "np.diff(x, -1)[0]", "non-negative"),
    (ValueError, "np.linspace(x[0], 1.0, -1)[0]", "negative"),
    (ValueError, "np.quantile(x, 1.5)", "range"),
])  # fmt: skip
def test_operands_that_do_not_fit(error, text, match) -> None:
    x = tg.tensor(X, requires_grad=True)
    before = tg.current_tape().count
    with pytest.raises(error, match=match):
        made(text)(x)
    assert tg.current_tape().count == before


def test_the_determinant_of_a_matrix_without_an_inverse() -> None:
    """Its derivatives are the cofactors."""

    @tg.njit
    def det(x):
        m = np.array([[0.0, x[0], x[1]], [0.0, x[1], x[0]], [0.0, x[2], 1.0]])
        for i in range(3):
            m[i, 0] = x[3 + i]
        return np.linalg.det(m)

    x = tg.tensor([0.7, 0.4, 1.3, 0.0, 0.0, 0.0], requires_grad=True)
    value = det(x)
    assert value.item() == 0.0
    value.backward()
    expected = [0.4 - 0.7 * 1.3, -(0.7 - 0.4 * 1.3), 0.7 * 0.7 - 0.4 * 0.4]
    assert x.grad[3:].tolist() == pytest.approx(expected)
    assert tg.autograd.gradgradcheck(det, (x,))


def second_derivatives_of_det(m):
    """By the minors of size n - 2, for each two elements."""
    n = len(m)
    out = np.zeros((n, n, n, n))
    for i, j, k, c in np.ndindex(n, n, n, n):
        if i == k or j == c:
            continue
        minor = np.delete(np.delete(m, (i, k), 0), (j, c), 1)
        sign = (-1) ** (i + j + k + c) * (1 if (i < k) == (j < c) else -1)
        out[i, j, k, c] = sign * np.linalg.det(minor)
    return out


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", ["zero", "rank one", "two rows"])
def test_derivatives_of_a_determinant_of_any_rank(size, kind) -> None:
    u, v = np.arange(1.0, size + 1), np.array([2.0, -1.0, 0.5, 3.0])[:size]
    m = {
        "zero": np.zeros((size, size)),
        "rank one": np.outer(u, v),
        "two rows": np.zeros((size, size)),
    }[kind]
    if kind == "two rows":
        m[0], m[1] = u, v
    det = tg.njit(lambda m: np.linalg.det(m))
    x = tg.tensor(m, requires_grad=True)
    y = det(x)
    assert y.item() == pytest.approx(np.linalg.det(m), abs=1e-13)
    if kind != "two rows" or size > 3:
        y.backward(retain_graph=True)
        np.testing.assert_allclose(x.grad.numpy(), cofactors(m), atol=1e-12)
    hessian = tg.func.hessian(det)(x.detach()).numpy()
    np.testing.assert_allclose(hessian, second_derivatives_of_det(m), rtol=1e-12, atol=1e-11)


def cofactors(m):
    n = len(m)
    return np.array([
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(m, i, 0), j, 1)) for j in range(n)]
        for i in range(n)
    ])  # fmt: skip


def test_the_length_of_a_zero_vector_has_slope_0() -> None:
    x = tg.zeros(3, requires_grad=True)
    tg.njit(lambda x: np.linalg.norm(x) + np.linalg.norm(x, 2))(x).backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("function", ["gamma", "remainder"])
def test_functions_without_a_rule_are_named(function) -> None:
    scope = {"math": math}
    text = "math.remainder(x, 0.4)" if function == "remainder" else f"math.{function}(x)"
    exec(f"def f(x):\n    return {text}\n", scope)
    with pytest.raises(tg.UnsupportedError, match=function):
        tg.njit(scope["f"])(tg.tensor(1.1, requires_grad=True))


def test_what_the_compiler_does_not_foresee_is_unsupported() -> None:
    """numba meets some calls with an AssertionError of its own."""

    @tg.njit
    def f(x):
        return np.diff(np.outer(x, x))[0, 0]

    with pytest.raises(tg.UnsupportedError, match=r"f\.primal"):
        f(tg.tensor(X, requires_grad=True))
