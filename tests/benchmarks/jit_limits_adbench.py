"""Hand-written values and gradients of `jit_programs.py`: the workloads of ADBench."""

import math

import numpy as np

from racing import Result, Runner
from vector_maths import exp, inlined, jit, log, sine_and_cosine, tanh


# --------------------------------------------------------------------------- Gaussian mixture
@jit
def _mixture_parts(icf, q, d):
    """Unpack the triangles."""
    for k in range(icf.shape[0]):
        at = d
        for column in range(d):
            q[k, column, column] = exp(icf[k, column])
            for row in range(column + 1, d):
                q[k, row, column] = icf[k, at]
                at += 1


@jit
def _mixture_terms(x, q, means, biases, z, terms, largest):
    """Fill z = Q (x - mean), by the triangle, and the exponents of a tile of the data's transpose."""
    clusters, d, n = z.shape
    largest[:] = -1e300
    for k in range(clusters):
        row = terms[k]
        row[:] = 0.0
        for a in range(d):
            line, first, column, shift = z[k, a], q[k, a, 0], x[0], 0.0
            for b in range(a + 1):
                shift += q[k, a, b] * means[k, b]
            for i in range(n):
                line[i] = first * column[i] - shift
            for b in range(1, a, 2):
                q0, q1, x0, x1 = q[k, a, b], q[k, a, b + 1], x[b], x[b + 1]
                for i in range(n):
                    line[i] += q0 * x0[i] + q1 * x1[i]
            if a % 2:
                q0, x0 = q[k, a, a], x[a]
                for i in range(n):
                    line[i] += q0 * x0[i]
            for i in range(n):
                row[i] += line[i] * line[i]
        bias = biases[k]
        for i in range(n):
            row[i] = bias - 0.5 * row[i]
            largest[i] = max(largest[i], row[i])


@jit
def _mixture_sums(x, z, terms, largest, sums, weights, shifts, products):
    """Add a tile's responsibilities, and sums of r z and r z x; return its log-likelihood."""
    clusters, d, n = z.shape
    sums[:] = 0.0
    for k in range(clusters):
        row = terms[k]
        for i in range(n):
            row[i] = exp(max(row[i] - largest[i], -700.0))
            sums[i] += row[i]
    total = 0.0
    for i in range(n):
        total += largest[i] + log(sums[i])
        sums[i] = 1.0 / sums[i]
    for k in range(clusters):
        row, weight = terms[k], 0.0
        for i in range(n):
            row[i] *= sums[i]
            weight += row[i]
        weights[k] += weight
        for a in range(d):
            line, shift = z[k, a], 0.0
            for i in range(n):
                line[i] *= row[i]
                shift += line[i]
            shifts[k, a] += shift
            whole = (a + 1) // 4 * 4
            for b in range(0, whole, 4):
                x0, x1, x2, x3 = x[b], x[b + 1], x[b + 2], x[b + 3]
                p0, p1, p2, p3 = 0.0, 0.0, 0.0, 0.0
                for i in range(n):
                    p0 += line[i] * x0[i]
                    p1 += line[i] * x1[i]
                    p2 += line[i] * x2[i]
                    p3 += line[i] * x3[i]
                products[k, a, b] += p0
                products[k, a, b + 1] += p1
                products[k, a, b + 2] += p2
                products[k, a, b + 3] += p3
            for b in range(whole, a + 1):
                x0, p0 = x[b], 0.0
                for i in range(n):
                    p0 += line[i] * x0[i]
                products[k, a, b] += p0
    return total


@jit
def _mixture_end(alphas, means, icf, q, products, weights, shifts, n, bars):
    """From sums over the data to gradients; returns what they do not contain of the value."""
    alphas_bar, means_bar, icf_bar = bars
    clusters, d = means.shape
    largest, total, prior = alphas.max(), 0.0, 0.0
    for k in range(clusters):
        total += math.exp(alphas[k] - largest)
    for k in range(clusters):
        alphas_bar[k] = weights[k] - n * math.exp(alphas[k] - largest) / total
        at = d
        for column in range(d):
            m, diagonal = means[k, column], q[k, column, column]
            slope = products[k, column, column] - shifts[k, column] * m
            icf_bar[k, column] = weights[k] - slope * diagonal - diagonal * diagonal + 1.0
            prior += 0.5 * diagonal * diagonal - icf[k, column]
            bar = diagonal * shifts[k, column]
            for row in range(column + 1, d):
                icf_bar[k, at] = shifts[k, row] * m - products[k, row, column] - icf[k, at]
                prior += 0.5 * icf[k, at] * icf[k, at]
                bar += icf[k, at] * shifts[k, row]
                at += 1
            means_bar[k, column] = bar
    return -n * (largest + math.log(total)) - prior


TILE = 256  # data


def gmm(alphas: np.ndarray, means: np.ndarray, icf: np.ndarray, x: np.ndarray) -> Runner:
    """Tile by tile of the data: a quarter less time than with BLAS, which knows no small triangles."""
    (clusters, d), n = means.shape, len(x)
    columns = [np.ascontiguousarray(x[i : i + TILE].T) for i in range(0, n, TILE)]
    spaces = {
        size: (np.empty((clusters, d, size)), np.empty((clusters, size)), *np.empty((2, size)))
        for size in {column.shape[1] for column in columns}
    }
    q, products = np.zeros((clusters, d, d)), np.empty((clusters, d, d))
    weights, shifts = np.empty(clusters), np.empty((clusters, d))
    bars = np.empty_like(alphas), np.empty_like(means), np.empty_like(icf)

    def run() -> Result:
        _mixture_parts(icf, q, d)
        biases = alphas + icf[:, :d].sum(1)
        products[:], weights[:], shifts[:], total = 0.0, 0.0, 0.0, 0.0
        for column in columns:
            z, terms, largest, sums = spaces[column.shape[1]]
            _mixture_terms(column, q, means, biases, z, terms, largest)
            total += _mixture_sums(column, z, terms, largest, sums, weights, shifts, products)
        total += _mixture_end(alphas, means, icf, q, products, weights, shifts, n, bars)
        return (total, *bars)

    return run


# --------------------------------------------------------------------------- bundle adjustment
@jit
def _reprojection(
    cameras, points, weights, features, seen_by, seen, to_camera, to_point, to_weight
):
    for i in range(weights.size):
        r, p = cameras[seen_by[i]], points[seen[i]]
        weight, focal, k1, k2 = weights[i], r[6], r[9], r[10]
        angle = math.sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
        inverse = 1.0 / angle
        a, b, c = r[0] * inverse, r[1] * inverse, r[2] * inverse
        s, co = sine_and_cosine(angle)
        x, y, z = p[0] - r[3], p[1] - r[4], p[2] - r[5]
        m = 1.0 - co
        # the rotation's matrix, by Rodrigues' formula
        r00, r01, r02 = co + m * a * a, m * a * b - s * c, m * a * c + s * b
        r10, r11, r12 = m * a * b + s * c, co + m * b * b, m * b * c - s * a
        r20, r21, r22 = m * a * c - s * b, m * b * c + s * a, co + m * c * c
        u = r00 * x + r01 * y + r02 * z
        v = r10 * x + r11 * y + r12 * z
        w = 1.0 / (r20 * x + r21 * y + r22 * z)
        px, py = u * w, v * w
        r2 = px * px + py * py
        scale = 1.0 + r2 * (k1 + k2 * r2)
        growth = 2.0 * (k1 + 2.0 * k2 * r2)
        # derivatives of the projection by the turned point
        wf = weight * focal
        xx, xy, yy = (
            wf * (scale + growth * px * px),
            wf * growth * px * py,
            wf * (scale + growth * py * py),
        )
        j00, j01, j02 = xx * w, xy * w, -(xx * px + xy * py) * w
        j10, j11, j12 = xy * w, yy * w, -(xy * px + yy * py) * w
        # what the angle and the axis change of the turned point
        dot = a * x + b * y + c * z
        ca, cb, cc = b * z - c * y, c * x - a * z, a * y - b * x
        ta, tb, tc = (
            co * ca + s * (a * dot - x),
            co * cb + s * (b * dot - y),
            co * cc + s * (c * dot - z),
        )
        md = m * dot
        for e in range(2):
            ja, jb, jc = (j00, j01, j02) if e == 0 else (j10, j11, j12)
            out = to_camera[i, e]
            by_angle = ja * ta + jb * tb + jc * tc
            along = ja * a + jb * b + jc * c
            ga = m * along * x + md * ja + s * (y * jc - z * jb)
            gb = m * along * y + md * jb + s * (z * ja - x * jc)
            gc = m * along * z + md * jc + s * (x * jb - y * ja)
            ga, gb, gc = ga * inverse, gb * inverse, gc * inverse
            left = by_angle - (ga * a + gb * b + gc * c)
            out[0], out[1], out[2] = ga + left * a, gb + left * b, gc + left * c
            dx = ja * r00 + jb * r10 + jc * r20
            dy = ja * r01 + jb * r11 + jc * r21
            dz = ja * r02 + jb * r12 + jc * r22
            out[3], out[4], out[5] = -dx, -dy, -dz
            along_plane = px if e == 0 else py
            out[6] = weight * scale * along_plane
            out[7] = weight if e == 0 else 0.0
            out[8] = weight if e == 1 else 0.0
            out[9] = wf * r2 * along_plane
            out[10] = wf * r2 * r2 * along_plane
            to_point[i, e, 0], to_point[i, e, 1], to_point[i, e, 2] = dx, dy, dz
            to_weight[i, e] = along_plane * scale * focal + r[7 + e] - features[i, e]


def reprojection(*arguments: np.ndarray) -> Runner:
    n = len(arguments[2])
    blocks = np.empty((n, 2, 11)), np.empty((n, 2, 3)), np.empty((n, 2))

    def run() -> Result:
        _reprojection(*arguments, *blocks)
        return blocks

    return run


# --------------------------------------------------------------------------- long short-term memory
WIDTH = 16  # of a padded row of ADBench's 14 bits


@inlined
def _sigmoid(x):
    return 1.0 / (1.0 + exp(-x))


@jit
def _cells(x, p, old, new):
    """One layer: p four weights, four biases; new f, a, o, d, tanh(c), c, h; x is replaced by h."""
    for i in range(WIDTH):
        h = old[96 + i]
        f = _sigmoid(x[i] * p[i] + p[64 + i])
        a = _sigmoid(h * p[16 + i] + p[80 + i])
        o = _sigmoid(x[i] * p[32 + i] + p[96 + i])
        d = tanh(h * p[48 + i] + p[112 + i])
        c = old[80 + i] * f + a * d
        bent = tanh(c)
        new[i], new[16 + i], new[32 + i], new[48 + i] = f, a, o, d
        new[64 + i], new[80 + i], new[96 + i] = bent, c, o * bent
        x[i] = o * bent


@jit
def _cells_back(x, x_in, p, g, old, new, state):
    """Adjoints: x of the layer's output, then of its input `x_in`; `state` of h and c of the layer."""
    for i in range(WIDTH):
        f, a, o, d, bent = new[i], new[16 + i], new[32 + i], new[48 + i], new[64 + i]
        out_bar = x[i] + state[i]
        inner = state[16 + i] + out_bar * o * (1.0 - bent * bent)
        state[16 + i] = inner * f
        f_bar = inner * old[80 + i] * f * (1.0 - f)
        a_bar = inner * d * a * (1.0 - a)
        o_bar = out_bar * bent * o * (1.0 - o)
        d_bar = inner * a * (1.0 - d * d)
        state[i] = a_bar * p[16 + i] + d_bar * p[48 + i]
        x[i] = f_bar * p[i] + o_bar * p[32 + i]
        g[i] += f_bar * x_in[i]
        g[16 + i] += a_bar * old[96 + i]
        g[32 + i] += o_bar * x_in[i]
        g[48 + i] += d_bar * old[96 + i]
        g[64 + i] += f_bar
        g[80 + i] += a_bar
        g[96 + i] += o_bar
        g[112 + i] += d_bar


@jit
def _readout(x, p, gold, mask, out):
    """Return a step's loss; p the readout's weights and biases, `out` the adjoint of its result."""
    s, picked, weight = 2.0, 0.0, 0.0
    for i in range(WIDTH):
        y = x[i] * p[16 + i] + p[32 + i]
        out[i] = exp(y) * mask[i]
        s += out[i]
        weight += gold[i]
        picked += gold[i] * y
    share = weight / s
    for i in range(WIDTH):
        out[i] = gold[i] - out[i] * share
    return picked - weight * log(s)


@jit
def _readout_back(x, top, p, g, out):
    for i in range(WIDTH):
        g[16 + i] += out[i] * top[96 + i]
        g[32 + i] += out[i]
        x[i] = out[i] * p[16 + i]


@jit
def _lstm(main, extra, start, sequence, mask, kept, outs, bars):
    """Every row is flat with parts of WIDTH, whose constant offsets let LLVM see that they are apart."""
    layers, steps = main.shape[0], sequence.shape[0] - 1
    main_bar, extra_bar, state = bars
    x, x_in = np.empty(WIDTH), np.empty(WIDTH)
    total = 0.0
    for k in range(layers):
        for i in range(WIDTH):
            kept[0, k, 96 + i], kept[0, k, 80 + i] = start[2 * k, i], start[2 * k + 1, i]
    for t in range(steps):
        for i in range(WIDTH):
            x[i] = sequence[t, i] * extra[i]
        for k in range(layers):
            _cells(x, main[k], kept[t, k], kept[t + 1, k])
        total += _readout(x, extra, sequence[t + 1], mask, outs[t])
    main_bar[:], extra_bar[:], state[:] = 0.0, 0.0, 0.0
    for t in range(steps - 1, -1, -1):
        _readout_back(x, kept[t + 1, layers - 1], extra, extra_bar, outs[t])
        for k in range(layers - 1, -1, -1):
            for i in range(WIDTH):
                x_in[i] = kept[t + 1, k - 1, 96 + i] if k else sequence[t, i] * extra[i]
            _cells_back(x, x_in, main[k], main_bar[k], kept[t, k], kept[t + 1, k], state[k])
        for i in range(WIDTH):
            extra_bar[i] += x[i] * sequence[t, i]
    return total


def lstm(main: np.ndarray, extra: np.ndarray, start: np.ndarray, sequence: np.ndarray) -> Runner:
    (count, bits), layers = sequence.shape, len(start) // 2

    def padded(part: np.ndarray) -> np.ndarray:
        return np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, WIDTH - bits)])

    start, sequence, mask = padded(start), padded(sequence), padded(np.ones(bits))
    rows, others = np.zeros((layers, 8, WIDTH)), np.zeros((3, WIDTH))
    flat_rows, flat_others = rows.reshape(layers, -1), others.reshape(-1)
    kept, outs = np.zeros((count, layers, 7 * WIDTH)), np.zeros((count, WIDTH))
    bars = np.zeros_like(flat_rows), np.zeros_like(flat_others), np.zeros((layers, 2 * WIDTH))
    scale = -1.0 / ((count - 1) * bits)

    def run() -> Result:
        rows[:, :, :bits] = main.reshape(layers, 8, bits)
        others[:, :bits] = extra
        total = _lstm(flat_rows, flat_others, start, sequence, mask, kept, outs, bars)
        main_bar = (bars[0].reshape(layers, 8, WIDTH)[:, :, :bits] * scale).reshape(main.shape)
        return total * scale, main_bar, bars[1].reshape(3, WIDTH)[:, :bits] * scale

    return run
