"""Hand-written values and gradients of `jit_programs.py`: regressions and networks."""

import math

import numpy as np

from racing import Result, Runner
from vector_maths import exp, jit, log, tanh


# --------------------------------------------------------------------------- MLP
@jit
def _activate(z, bias):
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = tanh(z[i, j] + bias[j])


def _activate_singles(z: np.ndarray, bias: np.ndarray) -> None:
    np.add(z, bias, out=z)
    np.tanh(z, out=z)


@jit
def _before_activation(bar, h, bias_bar):
    """Multiply with the slope of tanh, and add rows up."""
    bias_bar[:] = 0.0
    one = bias_bar[0] * 0 + 1
    for i in range(bar.shape[0]):
        for j in range(bar.shape[1]):
            bar[i, j] *= one - h[i, j] * h[i, j]
            bias_bar[j] += bar[i, j]


@jit
def _cross_entropy(z, bias, target, scale, bias_bar):
    """Turn logits without bias into the gradient by them, times `scale`; return the sum of losses."""
    classes, total = z.shape[1], 0.0
    bias_bar[:] = 0.0
    for i in range(z.shape[0]):
        row = z[i]
        largest = row[0] + bias[0]
        for j in range(classes):
            row[j] += bias[j]
            largest = max(largest, row[j])
        s, picked = 0.0, 0.0
        for j in range(classes):
            picked += (row[j] - largest) * target[i, j]
            row[j] = exp(float(row[j] - largest))
            s += row[j]
        total += math.log(s) - picked
        for j in range(classes):
            row[j] = (row[j] / s - target[i, j]) * scale
            bias_bar[j] += row[j]
    return total


def mlp(w1, b1, w2, b2, w3, b3, x, target) -> Runner:
    activate = _activate if x.dtype == np.float64 else _activate_singles
    n, dtype = len(x), x.dtype
    bars = tuple(np.empty_like(part) for part in (w1, b1, w2, b2, w3, b3))
    h1, h2, z = (np.empty((n, len(b)), dtype) for b in (b1, b2, b3))
    h1_bar, h2_bar = np.empty_like(h1), np.empty_like(h2)
    scale = 1.0 / n

    def run() -> Result:
        np.matmul(x, w1, out=h1)
        activate(h1, b1)
        np.matmul(h1, w2, out=h2)
        activate(h2, b2)
        np.matmul(h2, w3, out=z)
        total = _cross_entropy(z, b3, target, scale, bars[5])
        np.matmul(h2.T, z, out=bars[4])
        np.matmul(z, w3.T, out=h2_bar)
        _before_activation(h2_bar, h2, bars[3])
        np.matmul(h1.T, h2_bar, out=bars[2])
        np.matmul(h2_bar, w2.T, out=h1_bar)
        _before_activation(h1_bar, h1, bars[1])
        np.matmul(x.T, h1_bar, out=bars[0])
        return (total * scale, *bars)

    return run


# --------------------------------------------------------------------------- regressions
ROWS = 64


@jit
def _logistic(w, b, x, sign, w_bar):
    """Read the data once: margins, losses and gradients of a few rows while they are in the cache."""
    n, d = x.shape
    slope = np.empty(ROWS)
    total, b_bar = 0.0, 0.0
    w_bar[:] = 0.0
    for start in range(0, n, ROWS):
        count = min(ROWS, n - start)
        for i in range(count):
            row, margin = x[start + i], 0.0
            for j in range(d):
                margin += row[j] * w[j]
            slope[i] = margin
        for i in range(count):
            s = sign[start + i]
            margin = -s * (slope[i] + b)
            e = exp(max(-abs(margin), -700.0))
            total += max(margin, 0.0) + log(1.0 + e)
            slope[i] = -s * (1.0 if margin > 0.0 else e) / (1.0 + e)
            b_bar += slope[i]
        i = 0
        while i + 4 <= count:
            r0, r1, r2, r3 = x[start + i], x[start + i + 1], x[start + i + 2], x[start + i + 3]
            s0, s1, s2, s3 = slope[i], slope[i + 1], slope[i + 2], slope[i + 3]
            for j in range(d):
                w_bar[j] += s0 * r0[j] + s1 * r1[j] + s2 * r2[j] + s3 * r3[j]
            i += 4
        for k in range(i, count):
            for j in range(d):
                w_bar[j] += slope[k] * x[start + k, j]
    for j in range(d):
        w_bar[j] /= n
    return total / n, b_bar / n


def logistic(w: np.ndarray, b: np.ndarray, x: np.ndarray, sign: np.ndarray) -> Runner:
    w_bar, bias = np.empty_like(w), float(b)

    def run() -> Result:
        value, b_bar = _logistic(w, bias, x, sign, w_bar)
        return value, w_bar, b_bar

    return run


@jit
def _softmax_columns(z, bias, target, scale, b_bar):
    """Cross entropy as in `_cross_entropy`, of a transposed tile: loops over samples are vectorised."""
    classes, n = z.shape
    largest, sums = np.full(n, -1e300), np.zeros(n)
    total = 0.0
    for j in range(classes):
        row, shift = z[j], bias[j]
        for i in range(n):
            row[i] += shift
            total -= row[i] * target[i, j]
    # Short loops: with more arrays in one, LLVM gives up to prove them apart.
    for j in range(classes):
        row = z[j]
        for i in range(n):
            largest[i] = max(largest[i], row[i])
    for j in range(classes):
        row = z[j]
        for i in range(n):
            row[i] = exp(max(row[i] - largest[i], -700.0))
            sums[i] += row[i]
    for i in range(n):
        total += largest[i] + log(sums[i])
        sums[i] = scale / sums[i]
    for j in range(classes):
        row, part = z[j], 0.0
        for i in range(n):
            row[i] = row[i] * sums[i] - scale * target[i, j]
            part += row[i]
        b_bar[j] += part
    return total


def softmax(w: np.ndarray, b: np.ndarray, x: np.ndarray, target: np.ndarray) -> Runner:
    n, tile = len(x), 512
    w_bar, b_bar, part = np.empty_like(w), np.empty_like(b), np.empty_like(w.T)
    tiles = [
        (x[i : i + tile], target[i : i + tile], np.empty((len(b), min(tile, n - i))))
        for i in range(0, n, tile)
    ]

    def run() -> Result:
        w_bar[:], b_bar[:], total = 0.0, 0.0, 0.0
        for rows, wanted, z in tiles:
            np.matmul(w.T, rows.T, out=z)
            total += _softmax_columns(z, b, wanted, 1.0 / n, b_bar)
            np.matmul(z, rows, out=part)
            w_bar[:] += part.T
        return total / n, w_bar, b_bar

    return run


# --------------------------------------------------------------------------- Hessian of a network
@jit
def _network(x, target, w, b, v, h, r):
    """Hidden values and residuals."""
    samples, hidden = h.shape
    for s in range(samples):
        r[s] = -target[s]
        for j in range(hidden):
            a = b[j]
            for i in range(x.shape[1]):
                a += x[s, i] * w[i, j]
            h[s, j] = tanh(a)
            r[s] += h[s, j] * v[j]


@jit
def _tangents(x, v, h, r, a_dot, bar_dot, out):
    """Push every direction through the gradient: `a_dot` directions x samples x hidden, in and out.

    `a_dot` holds tangents of what tanh gets; tangents of its adjoint go to `bar_dot`, and those of v's
    gradient into `out`.
    """
    directions, samples, hidden = a_dot.shape
    first = directions - hidden
    scale = 2.0 / samples
    for p in range(directions):
        for j in range(hidden):
            out[p, first + j] = 0.0
        for s in range(samples):
            r_dot = h[s, p - first] if p >= first else 0.0
            for j in range(hidden):
                r_dot += (1.0 - h[s, j] * h[s, j]) * a_dot[p, s, j] * v[j]
            for j in range(hidden):
                slope = 1.0 - h[s, j] * h[s, j]
                h_dot = slope * a_dot[p, s, j]
                out[p, first + j] += scale * (r_dot * h[s, j] + r[s] * h_dot)
                bar_dot[p, s, j] = scale * v[j] * (r_dot * slope - 2.0 * r[s] * h[s, j] * h_dot)
        if p >= first:
            for s in range(samples):
                bar_dot[p, s, p - first] += scale * r[s] * (1.0 - h[s, p - first] ** 2)


def _split(p: np.ndarray, inputs: int, hidden: int) -> tuple[np.ndarray, ...]:
    size = inputs * hidden
    return p[:size].reshape(inputs, hidden), p[size : size + hidden], p[size + hidden :]


def network_hessian(p: np.ndarray, x: np.ndarray, target: np.ndarray) -> Runner:
    """Forward over reverse for all unit directions at once, as differentiators do it."""
    (samples, inputs), count = x.shape, len(p)
    hidden = count // (inputs + 2)
    w, b, v = _split(p, inputs, hidden)
    seeds = np.zeros((count, inputs + 1, hidden))
    seeds.reshape(count, -1)[:, : count - hidden] = np.eye(count)[:, : count - hidden]
    extended = np.hstack([x, np.ones((samples, 1))])
    h, r, out = np.empty((samples, hidden)), np.empty(samples), np.empty((count, count))
    a_dot, bar_dot = np.empty((2, count, samples, hidden))
    products = np.empty((count, inputs + 1, hidden))

    def run() -> Result:
        _network(x, target, w, b, v, h, r)
        np.matmul(extended, seeds, out=a_dot)
        _tangents(x, v, h, r, a_dot, bar_dot, out)
        np.matmul(extended.T, bar_dot, out=products)
        out[:, : count - hidden] = products.reshape(count, -1)
        return (out,)

    return run


@jit
def _second_parts(extended, v, h, r, jacobian, out):
    """Write the Jacobian of residuals, and add what second derivatives of residuals give."""
    samples, hidden = h.shape
    inputs = extended.shape[1]
    first = inputs * hidden
    scale = 2.0 / samples
    bent, straight = np.empty(samples), np.empty(samples)
    for j in range(hidden):
        for s in range(samples):
            slope = 1.0 - h[s, j] * h[s, j]
            straight[s] = scale * r[s] * slope
            bent[s] = -2.0 * h[s, j] * v[j] * straight[s]
        for a in range(inputs):
            total = 0.0
            for s in range(samples):
                total += straight[s] * extended[s, a]
            row = a * hidden + j
            out[row, first + j] += total
            out[first + j, row] += total
            for c in range(a + 1):
                total = 0.0
                for s in range(samples):
                    total += bent[s] * extended[s, a] * extended[s, c]
                out[row, c * hidden + j] += total
                if c < a:
                    out[c * hidden + j, row] += total


@jit
def _residual_jacobian(extended, v, h, jacobian):
    samples, hidden = h.shape
    inputs = extended.shape[1]
    for s in range(samples):
        for a in range(inputs):
            for j in range(hidden):
                slope = (1.0 - h[s, j] * h[s, j]) * v[j]
                jacobian[s, a * hidden + j] = slope * extended[s, a]
        for j in range(hidden):
            jacobian[s, inputs * hidden + j] = h[s, j]


def network_hessian_in_closed_form(p: np.ndarray, x: np.ndarray, target: np.ndarray) -> Runner:
    """Gauss and Newton's product, and the few blocks of second derivatives: not a differentiator's way."""
    (samples, inputs), count = x.shape, len(p)
    hidden = count // (inputs + 2)
    w, b, v = _split(p, inputs, hidden)
    extended = np.hstack([x, np.ones((samples, 1))])
    columns = np.asfortranarray(extended)
    h, r, out = np.empty((samples, hidden)), np.empty(samples), np.empty((count, count))
    jacobian = np.empty((samples, count))

    def run() -> Result:
        _network(x, target, w, b, v, h, r)
        _residual_jacobian(extended, v, h, jacobian)
        np.matmul(jacobian.T, jacobian, out=out)
        out[:] *= 2.0 / samples
        _second_parts(columns, v, h, r, jacobian, out)
        return (out,)

    return run
