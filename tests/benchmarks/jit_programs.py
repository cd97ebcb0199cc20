"""Programs of the races of compiled code, each written once against PyTorch's names.

`xp` is tapegrad, torch, or a library under those names (`jit_contenders.py`). Where JAX has loops of its
own there is a second text, a function that returns the program.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from programs import HORNER

SIGMA, RHO, BETA, STEP = 10.0, 28.0, 8 / 3, 0.005
FORCING = 8.0
SOFTENING = 1e-2


# --------------------------------------------------------------------------- scalars
def chain(blocks: int) -> Callable[..., Any]:
    """Scalar ops, four a block, each of which needs the one before."""

    def program(xp: Any, w: Any, c: Any) -> Any:
        y = w
        for _ in range(blocks):
            y = y * c
            y = y + w
            y = xp.sin(y)
            y = y * w
        return y

    return program


def chain_in_jax(blocks: int) -> Callable[..., Any]:
    import jax.numpy as jnp
    from jax import lax

    def program(w: Any, c: Any) -> Any:
        return lax.fori_loop(0, blocks, lambda _, y: jnp.sin(y * c + w) * w, w)

    return program


def lorenz(steps: int) -> Callable[..., Any]:
    """Lorenz's equations by Runge and Kutta's method, in scalars."""

    def slope(x: Any, y: Any, z: Any) -> Any:
        return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z

    def program(xp: Any, x: Any, y: Any, z: Any) -> Any:
        h = STEP
        for _ in range(steps):
            a1, b1, c1 = slope(x, y, z)
            a2, b2, c2 = slope(x + 0.5 * h * a1, y + 0.5 * h * b1, z + 0.5 * h * c1)
            a3, b3, c3 = slope(x + 0.5 * h * a2, y + 0.5 * h * b2, z + 0.5 * h * c2)
            a4, b4, c4 = slope(x + h * a3, y + h * b3, z + h * c3)
            x = x + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
            y = y + h / 6 * (b1 + 2 * b2 + 2 * b3 + b4)
            z = z + h / 6 * (c1 + 2 * c2 + 2 * c3 + c4)
        return x + y + z

    return program


def curve(xp: Any, x: Any) -> Any:
    """The function whose n-th derivative is wanted."""
    return xp.tanh(xp.sin(x) * xp.exp(x))


# --------------------------------------------------------------------------- arrays, element by element
def rosenbrock_loop_in_jax() -> Callable[..., Any]:
    from jax import lax

    def program(x: Any) -> Any:
        def step(total: Any, pair: Any) -> Any:
            a, b = pair
            return total + 100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2, None

        return lax.scan(step, 0.0, (x[:-1], x[1:]))[0]

    return program


def rosenbrock(xp: Any, x: Any) -> Any:
    return xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def horner(xp: Any, x: Any) -> Any:
    y = x
    for c in HORNER:
        y = y * x + c
    return xp.sum(y)


def black_scholes(xp: Any, spot: Any, volatility: Any, rate: Any, time: Any, strike: Any) -> Any:
    """The sum of prices of calls; their gradients are delta, vega, rho and minus theta."""
    root = volatility * xp.sqrt(time)
    d1 = (xp.log(spot / strike) + (rate + 0.5 * volatility * volatility) * time) / root
    d2 = d1 - root
    near = 0.5 * (1.0 + xp.erf(d1 * 0.5**0.5))
    far = 0.5 * (1.0 + xp.erf(d2 * 0.5**0.5))
    return xp.sum(spot * near - strike * xp.exp(-rate * time) * far)


# --------------------------------------------------------------------------- physics
def lorenz96(steps: int) -> Callable[..., Any]:
    """Lorenz's model of 1996, by Runge and Kutta's method: half the square of the last state."""

    def program(xp: Any, x: Any) -> Any:
        def slope(x: Any) -> Any:
            return (xp.roll(x, -1) - xp.roll(x, 2)) * xp.roll(x, 1) - x + FORCING

        for _ in range(steps):
            x = runge_kutta(slope, x)
        return 0.5 * xp.sum(x * x)

    return program


def runge_kutta(slope: Callable[[Any], Any], x: Any) -> Any:
    k1 = slope(x)
    k2 = slope(x + 0.5 * STEP * k1)
    k3 = slope(x + 0.5 * STEP * k2)
    k4 = slope(x + STEP * k3)
    return x + STEP / 6 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def lorenz96_in_jax(steps: int) -> Callable[..., Any]:
    import jax.numpy as jnp
    from jax import lax

    def slope(x: Any) -> Any:
        return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + FORCING

    def program(x: Any) -> Any:
        last, _ = lax.scan(lambda x, _: (runge_kutta(slope, x), None), x, None, length=steps)
        return 0.5 * jnp.sum(last * last)

    return program


def bodies(xp: Any, x: Any, mass: Any) -> Any:
    """The potential energy of n bodies at the columns of `x` (3 x n), softened."""
    d = x[:, :, None] - x[:, None, :]
    square = xp.sum(d * d, 0) + SOFTENING
    return -0.5 * xp.sum(mass[:, None] * mass / xp.sqrt(square))


def reprojection(xp: Any, camera: Any, point: Any, weight: Any, feature: Any) -> Any:
    """ADBench's residual of one observation: rotation by an angle vector, radial distortion, weight."""
    rotation, centre = camera[:3], camera[3:6]
    focal, principal, radial = camera[6], camera[7:9], camera[9:11]
    square = xp.sum(rotation * rotation)
    angle = xp.sqrt(square)
    axis = rotation / angle
    v = point - centre
    cosine, sine = xp.cos(angle), xp.sin(angle)
    crossed = xp.stack(
        [
            axis[1] * v[2] - axis[2] * v[1],
            axis[2] * v[0] - axis[0] * v[2],
            axis[0] * v[1] - axis[1] * v[0],
        ]
    )
    turned = v * cosine + crossed * sine + axis * (xp.sum(axis * v) * (1.0 - cosine))
    plane = turned[:2] / turned[2]
    r2 = xp.sum(plane * plane)
    distorted = plane * (1.0 + radial[0] * r2 + radial[1] * r2 * r2)
    return weight * (distorted * focal + principal - feature)


# --------------------------------------------------------------------------- statistics and networks
def triangle(d: int) -> np.ndarray:
    """Index matrix of ADBench's lower triangles: column by column, shifted by one; 0 is a zero."""
    index = np.zeros((d, d), dtype=np.int64)
    count = 0
    for column in range(d):
        for row in range(column + 1, d):
            count += 1
            index[row, column] = count
    return index


def gmm(xp: Any, alphas: Any, means: Any, icf: Any, x: Any, index: Any, eye: Any) -> Any:
    """ADBench's log-likelihood of a Gaussian mixture, with its Wishart prior (gamma = 1, m = 0).

    Terms that do not depend on the parameters are left out. `alphas` K, `means` K x d,
    `icf` K x (d + d (d - 1) / 2), `x` n x d.
    """
    n, d = x.shape
    k = alphas.shape[0]
    diagonal = xp.exp(icf[:, :d])
    sums = xp.sum(icf[:, :d], 1)
    lower = xp.cat([sums[:, None] * 0.0, icf[:, d:]], 1)[:, index]
    q = lower + diagonal[:, :, None] * eye
    centres = (q @ means[:, :, None])[:, :, 0]
    z = (q.reshape(k * d, d) @ x.T).reshape(k, d, n) - centres[:, :, None]
    terms = (alphas + sums)[:, None] - 0.5 * xp.sum(z * z, 1)
    likelihood = xp.sum(xp.logsumexp(terms, 0)) - n * xp.logsumexp(alphas, 0)
    prior = 0.5 * (xp.sum(diagonal * diagonal) + xp.sum(icf[:, d:] * icf[:, d:])) - xp.sum(sums)
    return likelihood - prior


def lstm(xp: Any, main: Any, extra: Any, start: Any, sequence: Any) -> Any:
    """The loss of ADBench's LSTM: `main` 2 l x 4 b, `extra` 3 x b, `start` 2 l x b, `sequence` c x b."""
    layers, bits, length = start.shape[0] // 2, sequence.shape[1], sequence.shape[0]
    state = [start[k] for k in range(2 * layers)]
    total = 0.0
    for t in range(length - 1):
        x = sequence[t] * extra[0]
        for k in range(layers):
            w, b = main[2 * k].reshape(4, bits), main[2 * k + 1].reshape(4, bits)
            h, c = state[2 * k], state[2 * k + 1]
            f, a = xp.sigmoid(x * w[0] + b[0]), xp.sigmoid(h * w[1] + b[1])
            o, d = xp.sigmoid(x * w[2] + b[2]), xp.tanh(h * w[3] + b[3])
            c = c * f + a * d
            x = o * xp.tanh(c)
            state[2 * k], state[2 * k + 1] = x, c
        y = x * extra[1] + extra[2]
        total = total + xp.sum(sequence[t + 1] * (y - xp.log(xp.sum(xp.exp(y)) + 2.0)))
    return -total / ((length - 1) * bits)


def mlp(xp: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, target: Any) -> Any:
    """Mean cross entropy of a network with two hidden layers; `target` has one 1 a row."""
    h = xp.tanh(x @ w1 + b1)
    h = xp.tanh(h @ w2 + b2)
    z = h @ w3 + b3
    return xp.mean(xp.logsumexp(z, 1) - xp.sum(z * target, 1))


def logistic(xp: Any, w: Any, b: Any, x: Any, sign: Any) -> Any:
    """Mean loss of a logistic regression; `sign` is 1 or -1."""
    return xp.mean(xp.log1p(xp.exp(-sign * (x @ w + b))))


def softmax(xp: Any, w: Any, b: Any, x: Any, target: Any) -> Any:
    """Mean cross entropy of a softmax regression; `target` has one 1 a row."""
    z = x @ w + b
    return xp.mean(xp.logsumexp(z, 1) - xp.sum(z * target, 1))


def network_loss(inputs: int, hidden: int) -> Callable[..., Any]:
    """Mean squared error of a small network whose parameters are one vector."""
    size = inputs * hidden

    def program(xp: Any, p: Any, x: Any, target: Any) -> Any:
        w, b, v = p[:size].reshape(inputs, hidden), p[size : size + hidden], p[size + hidden :]
        return xp.mean((xp.tanh(x @ w + b) @ v - target) ** 2)

    return program


def gaussian_process(
    xp: Any, scale: Any, length: Any, noise: Any, squares: Any, y: Any, eye: Any
) -> Any:
    """Negative log-likelihood of values `y` of a Gaussian process, at points with these squared distances."""
    covariance = scale * scale * xp.exp(-squares / (2 * length * length)) + noise * eye
    factor = xp.linalg.cholesky(covariance)
    z = xp.solve_triangular(factor, y)
    return 0.5 * xp.sum(z * z) + xp.sum(xp.log(xp.diagonal(factor)))
