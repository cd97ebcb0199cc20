"""Hand-written values and gradients of `jit_programs.py`: scalars, elementwise work, physics.

Plain loops whose functions are those of `vector_maths.py`; buffers are allocated outside what is timed.
"""

import math

import numpy as np

from jit_programs import BETA, FORCING, RHO, SIGMA, SOFTENING, STEP
from racing import Result, Runner
from vector_maths import exp, half_erfcx, inlined, jit, log, sine_and_cosine, tanh


# --------------------------------------------------------------------------- scalars
@jit
def _chain(w, c, kept):
    y = w
    for i in range(len(kept)):
        kept[i, 0] = y
        y, kept[i, 1] = sine_and_cosine(y * c + w)
        kept[i, 2] = y
        y = y * w
    ct, w_bar, c_bar = 1.0, 0.0, 0.0
    for i in range(len(kept) - 1, -1, -1):
        w_bar += ct * kept[i, 2]
        ct *= w * kept[i, 1]
        w_bar += ct
        c_bar += ct * kept[i, 0]
        ct *= c
    return y, w_bar + ct, c_bar


def chain(w: np.ndarray, c: np.ndarray, blocks: int) -> Runner:
    arguments = float(w), float(c), np.empty((blocks, 3))
    return lambda: _chain(*arguments)


@inlined
def _slope(x, y, z):
    return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z


@inlined
def _slope_back(a, b, c, x, y, z):
    return (RHO - z) * b - SIGMA * a + y * c, SIGMA * a - b + x * c, -x * b - BETA * c


@jit
def _lorenz(x, y, z, n, kept):
    h, g = STEP, STEP / 6
    for i in range(n):
        a1, b1, c1 = _slope(x, y, z)
        x2, y2, z2 = x + 0.5 * h * a1, y + 0.5 * h * b1, z + 0.5 * h * c1
        a2, b2, c2 = _slope(x2, y2, z2)
        x3, y3, z3 = x + 0.5 * h * a2, y + 0.5 * h * b2, z + 0.5 * h * c2
        a3, b3, c3 = _slope(x3, y3, z3)
        x4, y4, z4 = x + h * a3, y + h * b3, z + h * c3
        a4, b4, c4 = _slope(x4, y4, z4)
        k = kept[i]
        k[0], k[1], k[2], k[3], k[4], k[5] = x, y, z, x2, y2, z2
        k[6], k[7], k[8], k[9], k[10], k[11] = x3, y3, z3, x4, y4, z4
        x += g * (a1 + 2 * a2 + 2 * a3 + a4)
        y += g * (b1 + 2 * b2 + 2 * b3 + b4)
        z += g * (c1 + 2 * c2 + 2 * c3 + c4)
    value = x + y + z
    u = v = w = 1.0
    for i in range(n - 1, -1, -1):
        k = kept[i]
        p4, q4, r4 = _slope_back(g * u, g * v, g * w, k[9], k[10], k[11])
        p3, q3, r3 = _slope_back(
            2 * g * u + h * p4, 2 * g * v + h * q4, 2 * g * w + h * r4, k[6], k[7], k[8]
        )
        s = 0.5 * h
        p2, q2, r2 = _slope_back(
            2 * g * u + s * p3, 2 * g * v + s * q3, 2 * g * w + s * r3, k[3], k[4], k[5]
        )
        p1, q1, r1 = _slope_back(g * u + s * p2, g * v + s * q2, g * w + s * r2, k[0], k[1], k[2])
        u, v, w = u + p1 + p2 + p3 + p4, v + q1 + q2 + q3 + q4, w + r1 + r2 + r3 + r4
    return value, u, v, w


def lorenz(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> Runner:
    arguments = float(x), float(y), float(z), steps, np.empty((steps, 12))
    return lambda: _lorenz(*arguments)


@inlined
def _derivatives(x):
    """Return the 1st, 3rd and 6th derivative of tanh(sin x exp x); who wants one does not pay for more.

    By Taylor coefficients u of sin x exp x, t of tanh u and s of 1 - t * t. Those of sin x exp x are the
    imaginary parts of those of exp((1 + i) x).
    """
    a, b = sine_and_cosine(x)
    e = exp(x)
    r, u0 = e * b, e * a
    r1, u1 = r - u0, r + u0
    r2, u2 = 0.5 * (r1 - u1), 0.5 * (r1 + u1)
    r3, u3 = (r2 - u2) * (1 / 3), (r2 + u2) * (1 / 3)
    r4, u4 = 0.25 * (r3 - u3), 0.25 * (r3 + u3)
    r5, u5 = 0.2 * (r4 - u4), 0.2 * (r4 + u4)
    u6 = (r5 + u5) * (1 / 6)
    t0 = tanh(u0)
    s0 = 1.0 - t0 * t0
    t1 = u1 * s0
    s1 = -2.0 * t0 * t1
    t2 = 0.5 * (u1 * s1 + 2.0 * u2 * s0)
    s2 = -2.0 * t0 * t2 - t1 * t1
    t3 = (u1 * s2 + 2.0 * u2 * s1 + 3.0 * u3 * s0) * (1 / 3)
    s3 = -2.0 * (t0 * t3 + t1 * t2)
    t4 = 0.25 * (u1 * s3 + 2.0 * u2 * s2 + 3.0 * u3 * s1 + 4.0 * u4 * s0)
    s4 = -2.0 * (t0 * t4 + t1 * t3) - t2 * t2
    t5 = 0.2 * (u1 * s4 + 2.0 * u2 * s3 + 3.0 * u3 * s2 + 4.0 * u4 * s1 + 5.0 * u5 * s0)
    s5 = -2.0 * (t0 * t5 + t1 * t4 + t2 * t3)
    t6 = u1 * s5 + 2.0 * u2 * s4 + 3.0 * u3 * s3 + 4.0 * u4 * s2 + 5.0 * u5 * s1 + 6.0 * u6 * s0
    return t1, 6.0 * t3, 120.0 * t6


@jit
def _first(x):
    return _derivatives(x)[0]


@jit
def _third(x):
    return _derivatives(x)[1]


@jit
def _sixth(x):
    return _derivatives(x)[2]


@jit
def _sixth_of_many(x, out):
    for i in range(x.size):
        out[i] = _derivatives(x[i])[2]


def nth_derivative(x: np.ndarray, order: int) -> Runner:
    if x.ndim == 0:
        point, function = float(x), {1: _first, 3: _third, 6: _sixth}[order]
        return lambda: (function(point),)
    assert order == 6
    out = np.empty_like(x)

    def run() -> Result:
        _sixth_of_many(x, out)
        return (out,)

    return run


# --------------------------------------------------------------------------- elementwise
@jit
def _black_scholes(spot, volatility, rate, time, strike, delta, vega, rho, theta):
    total = 0.0
    for i in range(spot.size):
        s, v, t = spot[i], volatility[i], time[i]
        root = math.sqrt(t)
        spread = v * root
        d1 = (log(s / strike[i]) + (rate[i] + 0.5 * v * v) * t) / spread
        d2 = d1 - spread
        discounted = strike[i] * exp(-rate[i] * t)
        bell = exp(-0.5 * d1 * d1)
        tail1 = half_erfcx(abs(d1) * 0.7071067811865476) * bell
        # The two bells meet: spot bell(d1) = discounted strike bell(d2).
        tail2 = half_erfcx(abs(d2) * 0.7071067811865476) * bell * s
        near = 1.0 - tail1 if d1 > 0.0 else tail1
        far = discounted - tail2 if d2 > 0.0 else tail2
        slope = s * bell * 0.3989422804014327
        total += s * near - far
        delta[i] = near
        vega[i] = slope * root
        rho[i] = t * far
        theta[i] = 0.5 * slope * v / root + rate[i] * far
    return total


def black_scholes(*inputs: np.ndarray) -> Runner:
    greeks = tuple(np.empty_like(inputs[0]) for _ in range(4))
    return lambda: (_black_scholes(*inputs, *greeks), *greeks)


@jit
def _rosenbrock_hvp(x, v, out):
    n = x.size
    out[0] = (1200.0 * x[0] * x[0] - 400.0 * x[1] + 2.0) * v[0] - 400.0 * x[0] * v[1]
    for i in range(1, n - 1):
        diagonal = 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 202.0
        out[i] = diagonal * v[i] - 400.0 * (x[i] * v[i + 1] + x[i - 1] * v[i - 1])
    out[n - 1] = 200.0 * v[n - 1] - 400.0 * x[n - 2] * v[n - 2]


def rosenbrock_hvp(x: np.ndarray, v: np.ndarray) -> Runner:
    out = np.empty_like(x)

    def run() -> Result:
        _rosenbrock_hvp(x, v, out)
        return (out,)

    return run


@jit
def _rosenbrock_hessian(x, out):
    n = x.size
    out[:] = 0.0
    out[0, 0] = 1200.0 * x[0] * x[0] - 400.0 * x[1] + 2.0
    for i in range(n - 1):
        if i:
            out[i, i] = 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 202.0
        out[i, i + 1] = out[i + 1, i] = -400.0 * x[i]
    out[n - 1, n - 1] = 200.0


def rosenbrock_hessian(x: np.ndarray) -> Runner:
    out = np.empty((x.size, x.size))

    def run() -> Result:
        _rosenbrock_hessian(x, out)
        return (out,)

    return run


# --------------------------------------------------------------------------- physics
@inlined
def _wrap(x, n):
    """Fill the two elements before and after the n of a ring that begins at 2."""
    x[0], x[1] = x[n], x[n + 1]
    x[n + 2], x[n + 3] = x[2], x[3]


@jit
def _lorenz96(x0, steps, kept, k, new, bar, k_bar, x_bar):
    """Stages are kept with two elements more at both ends, so that each loop is one of slices."""
    n = x0.size
    h, g = STEP, STEP / 6
    x = kept[0, 0]
    for i in range(n):
        x[i + 2] = x0[i]
    for step in range(steps):
        x = kept[step, 0]
        _wrap(x, n)
        for stage in range(4):
            s = kept[step, stage]
            weight = g if stage in (0, 3) else 2 * g
            target = kept[step, stage + 1] if stage < 3 else kept[step + 1, 0]
            ahead = 0.5 * h if stage < 2 else h
            if stage == 0:
                for i in range(n):
                    slope = (s[i + 3] - s[i]) * s[i + 1] - s[i + 2] + FORCING
                    new[i] = x[i + 2] + weight * slope
                    target[i + 2] = x[i + 2] + ahead * slope
            elif stage < 3:
                for i in range(n):
                    slope = (s[i + 3] - s[i]) * s[i + 1] - s[i + 2] + FORCING
                    new[i] += weight * slope
                    target[i + 2] = x[i + 2] + ahead * slope
            else:
                for i in range(n):
                    slope = (s[i + 3] - s[i]) * s[i + 1] - s[i + 2] + FORCING
                    target[i + 2] = new[i] + weight * slope
            if stage < 3:
                _wrap(target, n)
    value = 0.0
    last = kept[steps, 0]
    for i in range(n):
        value += last[i + 2] * last[i + 2]
        x_bar[i] = last[i + 2]
    for step in range(steps - 1, -1, -1):
        for stage in range(3, -1, -1):
            s = kept[step, stage]
            if stage == 3:
                for i in range(n):
                    k_bar[i + 2] = g * x_bar[i]
                    new[i] = x_bar[i]
            else:
                weight, ahead = (2 * g if stage else g), (h if stage == 2 else 0.5 * h)
                for i in range(n):
                    k_bar[i + 2] = weight * x_bar[i] + ahead * bar[i]
            _wrap(k_bar, n)
            # slope[i] = (s[i+1] - s[i-2]) s[i-1] - s[i]
            for i in range(n):
                bar[i] = (
                    k_bar[i + 1] * s[i]
                    - k_bar[i + 4] * s[i + 3]
                    + k_bar[i + 3] * (s[i + 4] - s[i + 1])
                    - k_bar[i + 2]
                )
                new[i] += bar[i]
        for i in range(n):
            x_bar[i] = new[i]
    return 0.5 * value


def lorenz96(x: np.ndarray, steps: int) -> Runner:
    n = x.size
    kept = np.zeros((steps + 1, 4, n + 4))
    k, new, bar, k_bar = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n + 4)
    x_bar = np.empty(n)
    return lambda: (_lorenz96(x, steps, kept, k, new, bar, k_bar, x_bar), x_bar)


@jit
def _all_pairs(x, y, z, mass, x_bar, y_bar, z_bar):
    total = 0.0
    for i in range(mass.size):
        a, b, c, m = x[i], y[i], z[i], mass[i]
        fa, fb, fc, field = 0.0, 0.0, 0.0, 0.0
        for j in range(mass.size):
            da, db, dc = a - x[j], b - y[j], c - z[j]
            inverse = 1.0 / (da * da + db * db + dc * dc + SOFTENING)
            potential = mass[j] * math.sqrt(inverse)
            field += potential
            force = potential * inverse
            fa += da * force
            fb += db * force
            fc += dc * force
        total += m * field
        x_bar[i], y_bar[i], z_bar[i] = m * fa, m * fb, m * fc
    return -0.5 * total


@jit
def _shared(a, x, force, x_bar):
    """Add a coordinate's part of forces to those who exert them; return their sum."""
    total = 0.0
    for j in range(x.size):
        part = (a - x[j]) * force[j]
        total += part
        x_bar[j] -= part
    return total


@jit
def _half_of_pairs(x, y, z, mass, x_bar, y_bar, z_bar, force):
    """Each pair once: half the roots, for three more loops over memory."""
    own, total = 0.0, 0.0
    x_bar[:], y_bar[:], z_bar[:] = 0.0, 0.0, 0.0
    for i in range(mass.size):
        a, b, c, m = x[i], y[i], z[i], mass[i]
        # Slices, as indices that do not begin at zero would be tested for a negative sign.
        xs, ys, zs, masses = x[i + 1 :], y[i + 1 :], z[i + 1 :], mass[i + 1 :]
        field = 0.0
        for j in range(masses.size):
            da, db, dc = a - xs[j], b - ys[j], c - zs[j]
            inverse = 1.0 / (da * da + db * db + dc * dc + SOFTENING)
            potential = m * masses[j] * math.sqrt(inverse)
            field += potential
            force[j] = potential * inverse
        total += field
        own += m * m
        x_bar[i] += _shared(a, xs, force, x_bar[i + 1 :])
        y_bar[i] += _shared(b, ys, force, y_bar[i + 1 :])
        z_bar[i] += _shared(c, zs, force, z_bar[i + 1 :])
    return -total - 0.5 * own / math.sqrt(SOFTENING)


def bodies(x: np.ndarray, mass: np.ndarray) -> Runner:
    x_bar = np.empty_like(x)
    if mass.size <= 200:
        return lambda: (_all_pairs(*x, mass, *x_bar), x_bar)
    force = np.empty_like(mass)
    return lambda: (_half_of_pairs(*x, mass, *x_bar, force), x_bar)


# --------------------------------------------------------------------------- Gaussian process
@jit
def _covariance_sums(inverse, kernel, squares, alpha):
    """Trace of the gradient of the covariance, and its sums with the kernel, and that times squares."""
    trace = whole = curved = 0.0
    for i in range(len(alpha)):
        row, line, far, own = inverse[i], kernel[i], squares[i], alpha[i]
        total = bent = 0.0
        for j in range(i):
            slope = (row[j] - own * alpha[j]) * line[j]
            total += slope
            bent += slope * far[j]
        diagonal = row[i] - own * own
        trace += diagonal
        whole += 2 * total + diagonal * line[i]
        curved += 2 * bent
    return 0.5 * trace, 0.5 * whole, 0.5 * curved


def gaussian_process(
    scale: np.ndarray, length: np.ndarray, noise: np.ndarray, squares: np.ndarray, y: np.ndarray
) -> Runner:
    """Factor and inverse by LAPACK (potrf, potri), one pass over half of the gradient of the covariance."""
    from scipy.linalg import blas, lapack

    n = len(y)
    kernel, covariance = np.empty((2, n, n))

    def run() -> tuple[float, ...]:
        np.multiply(squares, -0.5 / length**2, out=kernel)
        np.exp(kernel, out=kernel)
        np.multiply(kernel, scale**2, out=covariance)
        covariance.flat[:: n + 1] += noise
        factor, _ = lapack.dpotrf(covariance.T, lower=0, clean=0, overwrite_a=1)  # in place
        logarithm = np.log(factor.diagonal()).sum()
        inverse, _ = lapack.dpotri(factor, lower=0, overwrite_c=1)
        alpha = blas.dsymv(1.0, inverse, y)
        trace, whole, curved = _covariance_sums(inverse.T, kernel, squares, alpha)
        return (
            0.5 * (y @ alpha) + logarithm,
            2 * scale * whole,
            scale**2 * curved / length**3,
            trace,
        )

    return run
