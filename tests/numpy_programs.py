"""Programs in NumPy as one finds them: nothing in them knows of Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(0)


def least_squares(beta: Any, X: Any, y: Any) -> Any:
    """The error of the least-squares line of weighted data, as a function of the weights."""
    W = np.diag(np.exp(beta))
    A = X.T @ W @ X
    b = X.T @ W @ y
    solution = np.linalg.solve(A, b)
    residuals = y - X @ solution
    return np.sum(residuals**2) + np.log(np.linalg.det(A))


def kalman_filter(noise: Any, observations: Any) -> Any:
    """Negative log-likelihood of a local linear trend, by Kalman's filter."""
    F = np.array([[1.0, 1.0], [0.0, 1.0]])
    H = np.array([[1.0, 0.0]])
    Q = np.diag(np.exp(noise[:2]))
    R = np.exp(noise[2])
    x, P = np.zeros(2), np.eye(2) * 10.0
    total = 0.0
    for z in observations:
        x = F @ x
        P = F @ P @ F.T + Q
        innovation = z - H @ x
        S = H @ P @ H.T + R
        K = P @ H.T @ np.linalg.inv(S)
        x = x + K @ innovation
        P = (np.eye(2) - K @ H) @ P
        total = total + 0.5 * (
            np.log(np.linalg.det(S)) + innovation @ np.linalg.solve(S, innovation)
        )
    return total


def gaussian_process(theta: Any, x: Any, y: Any) -> Any:
    """Negative log marginal likelihood with a squared-exponential kernel, by Cholesky's factor."""
    length, signal, noise = np.exp(theta)
    d = x[:, None] - x[None, :]
    K = signal * np.exp(-0.5 * np.square(d / length)) + noise * np.eye(len(x))
    L = np.linalg.cholesky(K)
    alpha = np.linalg.solve(L.T, np.linalg.solve(L, y))
    return 0.5 * np.dot(y, alpha) + np.sum(np.log(np.diag(L))) + 0.5 * len(x) * np.log(2 * np.pi)


def logistic_regression(w: Any, X: Any, labels: Any) -> Any:
    """Mean cross-entropy with a penalty."""
    logits = np.dot(X, w[:-1]) + w[-1]
    losses = np.logaddexp(0, logits) - labels * logits
    return np.mean(losses) + 0.01 * np.linalg.norm(w) ** 2


def fft_filter(gains: Any, signal: Any) -> Any:
    """Power of what a filter in the frequency domain leaves of a signal, and of its envelope."""
    spectrum = np.fft.rfft(signal)
    filtered = np.fft.irfft(spectrum * gains, n=len(signal))
    analytic = np.fft.ifft(
        np.fft.fft(filtered) * np.where(np.fft.fftfreq(len(signal)) > 0, 2.0, 0.0)
    )
    return np.sum(np.abs(analytic) ** 2) + np.sum(filtered[1:] * filtered[:-1])


def spline(values: Any, knots: Any, places: Any) -> Any:
    """Curvature and interpolated values of a natural cubic spline."""
    n = len(knots)
    h = np.diff(knots)
    A = np.zeros((n, n))
    A[0, 0] = A[-1, -1] = 1.0
    for i in range(1, n - 1):
        A[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
    slopes = np.diff(values) / h
    right = np.concatenate([[0.0], 6 * (slopes[1:] - slopes[:-1]), [0.0]])
    m = np.linalg.solve(A, right)
    i = np.clip(np.searchsorted(knots, places) - 1, 0, n - 2)
    t = places - knots[i]
    y = (
        values[i]
        + t * (slopes[i] - h[i] * (2 * m[i] + m[i + 1]) / 6)
        + t**2 * m[i] / 2
        + t**3 * (m[i + 1] - m[i]) / (6 * h[i])
    )
    return np.sum(np.sin(y)) + np.mean(m**2)


def pca(X: Any) -> Any:
    """Variance that two principal components explain, and the distance to what they rebuild."""
    centred = X - np.mean(X, axis=0)
    U, s, Vt = np.linalg.svd(centred, full_matrices=False)
    rebuilt = (U[:, :2] * s[:2]) @ Vt[:2]
    return np.sum(s[:2] ** 2) / np.sum(s**2) + np.sqrt(np.mean((centred - rebuilt) ** 2))


def hmc(start: Any, momentum: Any, precision: Any) -> Any:
    """Energy at the end of a leapfrog trajectory of Hamiltonian Monte Carlo."""

    def slope(q: Any) -> Any:
        return precision @ q + 0.1 * np.tanh(q)

    def energy(q: Any, p: Any) -> Any:
        return (
            0.5 * q @ (precision @ q)
            + 0.1 * np.sum(np.log(np.cosh(q)))
            + 0.5 * np.sum(np.square(p))
        )

    q, p, step = start, momentum, 0.1
    p = p - 0.5 * step * slope(q)
    for i in range(20):
        q = q + step * p
        if i != 19:
            p = p - step * slope(q)
    p = p - 0.5 * step * slope(q)
    return energy(q, p) + np.sum(q * np.arange(len(q)))


def softmax_cross_entropy(W: Any, X: Any, labels: Any) -> Any:
    """Cross-entropy of a linear classifier, with the maximum taken off."""
    scores = X @ W
    scores = scores - np.max(scores, axis=1, keepdims=True)
    log_probabilities = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
    return -np.mean(log_probabilities[np.arange(len(labels)), labels])


_X = RNG.standard_normal((8, 3))
_SPD = (lambda a: a @ a.T + 4 * np.eye(4))(RNG.standard_normal((4, 4)))
#: program -> arguments, of which the first is differentiated
PROGRAMS: dict[Any, tuple[Any, ...]] = {
    least_squares: (RNG.standard_normal(8) * 0.3, _X, RNG.standard_normal(8)),
    kalman_filter: (np.array([-1.0, -2.0, 0.5]), np.cumsum(RNG.standard_normal(12))),
    gaussian_process: (np.array([0.1, 0.3, -1.0]), np.linspace(0, 3, 10), RNG.standard_normal(10)),
    logistic_regression: (RNG.standard_normal(4), _X, (RNG.uniform(size=8) > 0.5).astype(float)),
    fft_filter: (RNG.uniform(0.5, 1.5, 9), RNG.standard_normal(16)),
    spline: (
        RNG.standard_normal(7), np.sort(RNG.uniform(0, 5, 7)), RNG.uniform(1, 4, 5)
    ),
    pca: (RNG.standard_normal((9, 4)) * np.array([3.0, 2.0, 1.0, 0.5]),),
    hmc: (RNG.standard_normal(4), RNG.standard_normal(4), _SPD),
    softmax_cross_entropy: (RNG.standard_normal((3, 4)), _X, RNG.integers(0, 4, 8)),
}  # fmt: skip
