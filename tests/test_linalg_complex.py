"""Linear algebra of complex matrices, and eigenvalues of general ones, beside torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import torch

import tapegrad as tg

RNG = np.random.default_rng(11)


def drawn(*shape: int) -> np.ndarray:
    made = RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)
    return made + 2.5 * np.eye(*shape[-2:]) if len(shape) > 1 else made


A, B, WIDE, TALL, RIGHT = drawn(3, 3), drawn(2, 3, 3), drawn(2, 4), drawn(2, 4, 3), drawn(3, 2)
H = A @ A.conj().T + np.eye(3)
REAL = RNG.standard_normal((3, 3))


def loss(lib: Any, *results: Any) -> Any:
    """A real number that depends on all parts of some results."""
    total = 0.0
    for x in results:
        for part in (x.real, x.imag) if x.dtype.is_complex else (x,):
            total = total + (part * part.cos()).sum()
    return total


#: what is differentiated, as determined as the functions are, and at which matrix
CALLS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "solve": (
        lambda lib, x: [lib.linalg.solve(x, x[..., :2]), lib.linalg.solve(x, x[..., 0, :])],
        B,
    ),
    "solve from the right": (lambda lib, x: [lib.linalg.solve(x, x[..., :2, :], left=False)], A),
    "inv": (lambda lib, x: [lib.linalg.inv(x)], B),
    "det": (lambda lib, x: [lib.linalg.det(x)], B),
    "slogdet": (lambda lib, x: [*lib.linalg.slogdet(x)], B),
    "logdet": (lambda lib, x: [lib.logdet(x)], A),
    "cholesky": (lambda lib, x: [lib.linalg.cholesky(x @ x.mH)], B),
    "upper cholesky": (lambda lib, x: [lib.linalg.cholesky(x @ x.mH, upper=True)], A),
    "solve_triangular": (
        lambda lib, x: [
            lib.linalg.solve_triangular(x, x[..., :2], upper=upper, unitriangular=unit)
            for upper in (False, True)
            for unit in (False, True)
        ],
        B,
    ),
    "triangular from the right": (
        lambda lib, x: [lib.linalg.solve_triangular(x, x[..., :2, :], upper=True, left=False)],
        A,
    ),
    "eigh": (
        lambda lib, x: [lib.linalg.eigh(x + x.mH)[0], lib.linalg.eigh(x + x.mH)[1].abs()],
        B,
    ),
    "projector": (
        lambda lib, x: [(lambda v: v[..., :1] @ v[..., :1].mH)(lib.linalg.eigh(x + x.mH)[1])],
        B,
    ),
    "eigvalsh": (lambda lib, x: [lib.linalg.eigvalsh(x + x.mH)], A),
    "svd": (
        lambda lib, x: [
            (lambda u, s, v: u[..., :1] @ v[..., :1, :])(*lib.linalg.svd(x, full_matrices=False))
        ],
        TALL,
    ),
    "singular values": (lambda lib, x: [lib.linalg.svdvals(x)], WIDE),
    "wide svd": (
        lambda lib, x: [
            (lambda u, s, v: u.abs().sum() + (v[..., :1, :].mH @ v[..., :1, :]).real)(
                *lib.linalg.svd(x, full_matrices=False)
            )
        ],
        WIDE,
    ),
    "qr": (lambda lib, x: [*lib.linalg.qr(x)], TALL),
    "square qr": (lambda lib, x: [*lib.linalg.qr(x)], A),
    "wide qr": (lambda lib, x: [*lib.linalg.qr(x)], WIDE),
    "pinv": (lambda lib, x: [lib.linalg.pinv(x)], TALL),
    "lstsq": (lambda lib, x: [lib.linalg.lstsq(x, x[..., :1].conj()).solution], TALL),
    "matrix_exp": (lambda lib, x: [lib.linalg.matrix_exp(x / 3)], B),
    "matrix_power": (lambda lib, x: [lib.linalg.matrix_power(x, -2)], A),
    "norms": (
        lambda lib, x: (
            [lib.linalg.matrix_norm(x, p) for p in ("fro", "nuc", 2, 1)]
            + [lib.linalg.vector_norm(x)]
        ),
        B,
    ),
    "eig": (
        lambda lib, x: [lib.linalg.eig(x)[0].abs().sum(), lib.linalg.eig(x)[1].abs().sum()],
        B,
    ),
    "eigvals": (lambda lib, x: [(lib.linalg.eigvals(x) ** 3).sum()], A),
    "eig of real numbers": (
        lambda lib, x: [(lib.linalg.eig(x)[0] ** 3).sum(), lib.linalg.eig(x)[1].abs().sum()],
        REAL,
    ),
    "vecdot": (lambda lib, x: [lib.linalg.vecdot(x, x * 2j)], A),
}


def gradient(lib: Any, name: str) -> tuple[list[np.ndarray], np.ndarray]:
    function, array = CALLS[name]
    x = lib.tensor(array, requires_grad=True)
    results = function(lib, x)
    loss(lib, *results).backward()
    return [y.detach().resolve_conj().numpy() for y in results], x.grad.resolve_conj().numpy()


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_torchs(name: str) -> None:
    (found, slope), (wanted, right) = gradient(tg, name), gradient(torch, name)
    for x, y in zip(found, wanted, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)
    assert slope.dtype == right.dtype
    np.testing.assert_allclose(slope, right, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", CALLS)
def test_second_derivatives_are_those_of_differences(name: str) -> None:
    function, array = CALLS[name]
    direction = np.random.default_rng(5).standard_normal(array.shape) * (
        1 + (0.5j if array.dtype.kind == "c" else 0)
    )

    def slope(at: np.ndarray, *, create: bool = False) -> tuple[Any, Any]:
        x = tg.tensor(at, requires_grad=True)
        (g,) = tg.autograd.grad(loss(tg, *function(tg, x)), x, create_graph=create)
        return x, g

    def along(g: Any) -> Any:
        other = tg.tensor(direction)
        return (g.conj() * other).real.sum() if g.dtype.is_complex else (g * other).sum()

    x, g = slope(array, create=True)
    (second,) = tg.autograd.grad(along(g), x)
    h, step = 1e-5, np.random.default_rng(6).standard_normal(array.shape)
    if array.dtype.kind == "c":
        step = step - 0.7j * np.roll(step, 1)
    high, low = (along(slope(array + s * h * step)[1]).item() for s in (1, -1))
    exact = np.real(np.sum(np.conj(second.numpy()) * step))
    assert exact == pytest.approx((high - low) / (2 * h), rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("name", CALLS)
def test_vmap_batched_tapes_and_jit_give_the_same(name: str) -> None:
    function, array = CALLS[name]
    array = array if array.ndim == 3 else np.stack([array, array * 1.1 + 0.05])

    def value(x: Any) -> Any:
        return loss(tg, *function(tg, x))

    slope = tg.func.grad(value)
    wanted = np.stack([slope(tg.tensor(a)).numpy() for a in array])
    near = {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(tg.vmap(slope)(tg.tensor(array)).numpy(), wanted, **near)
    np.testing.assert_allclose(np.asarray(tg.jit(slope)(array[0])), wanted[0], **near)
    tape = tg.trace(value)(array[0]).batched((0,), len(array))
    plain = [value(tg.tensor(a)).item() for a in array]
    np.testing.assert_allclose(np.asarray(tape(array)), plain, **near)


def cofactors(a: np.ndarray) -> np.ndarray:
    """Cofactors one by one."""
    places = np.ndindex(a.shape)
    minors = [np.delete(np.delete(a, i, 0), j, 1) for i, j in places]
    signs = np.array([(-1) ** (i + j) for i, j in np.ndindex(a.shape)])
    return (signs * np.linalg.det(minors)).reshape(a.shape)


@pytest.mark.parametrize("dtype", [tg.complex128, tg.complex64])
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_determinants_of_singular_matrices_have_a_derivative(missing: int, dtype: tg.dtype) -> None:
    """Also where only rounding makes them invertible."""
    for n in (1, 2, 3, 5):
        rank = max(n - missing, 0)
        a = np.stack([drawn(n, n)[:, :rank] @ drawn(n, n)[:rank] for _ in range(2)])
        x = tg.tensor(a, dtype=dtype, requires_grad=True)
        (slope,) = tg.autograd.grad(tg.linalg.det(x).real.sum(), x)
        wanted = np.stack([cofactors(m) for m in a]).conj()
        size = max(np.abs(a).max(), 1e-3) ** (n - 1)
        tolerance = 1e-13 if dtype is tg.complex128 else 1e-5
        np.testing.assert_allclose(slope.numpy() / size, wanted / size, atol=tolerance * n**2)


def test_second_derivatives_of_determinants() -> None:
    assert tg.autograd.gradgradcheck(tg.linalg.det, (tg.tensor(B, requires_grad=True),))
    rows = drawn(2, 3)[:, :]
    rounded = np.vstack([rows, rows[:1] + (0.3 - 2j) * rows[1:]])
    x = tg.tensor(rounded, requires_grad=True)
    (slope,) = tg.autograd.grad(tg.linalg.det(x).real, x, create_graph=True)
    with pytest.raises(tg.linalg.LinAlgError, match="singular"):
        tg.autograd.grad(slope.real.sum(), x)[0].tolist()


def test_singular_matrices_raise() -> None:
    singular = np.zeros((2, 2), complex)
    for call in (
        tg.linalg.inv, lambda x: tg.linalg.solve(x, x[0]), tg.linalg.cholesky,
        lambda x: tg.linalg.solve_triangular(x, x, upper=True),
    ):  # fmt: skip
        with pytest.raises(tg.linalg.LinAlgError):
            call(tg.tensor(singular)).tolist()
    assert tg.linalg.det(tg.tensor(singular)).item() == 0
    assert tg.linalg.inv_ex(tg.tensor(singular)).info.item() == 1


def test_residuals_are_real() -> None:
    rng = np.random.default_rng(5)
    a, b = [rng.normal(size=shape) + 1j * rng.normal(size=shape) for shape in ((5, 2), (5, 3))]
    result = tg.linalg.lstsq(tg.tensor(a), tg.tensor(b))
    _, residuals, _, _ = np.linalg.lstsq(a, b)
    assert result.residuals.dtype is tg.float64
    np.testing.assert_allclose(result.residuals.numpy(), residuals)
    np.testing.assert_allclose(np.linalg.lstsq(tg.tensor(a), tg.tensor(b))[1].numpy(), residuals)


@pytest.mark.parametrize("mode", ["reduced", "complete"])
@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 4)])
def test_qr_of_single_precision(mode: str, shape: tuple[int, ...]) -> None:
    """Parts of complex numbers are converted to double precision and back, as real numbers are."""
    rng = np.random.default_rng(0)
    a = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    q, r = tg.linalg.qr(tg.tensor(a), mode)
    assert q.dtype is r.dtype is tg.complex64
    np.testing.assert_allclose((q @ r).numpy(), a, atol=1e-6)
    expected = np.linalg.qr(a, mode)
    np.testing.assert_allclose(r.numpy(), expected.R, atol=1e-6)
