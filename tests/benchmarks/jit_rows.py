"""The rows of the table of compiled code: workload, sizes, aims in limits, and who runs.

Inputs are made when an entry's race is wanted, as those of 1e7 elements take gigabytes.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import jit_casadi as casadi
import jit_limits as limits
import jit_limits_adbench as adbench
import jit_limits_networks as networks
import jit_programs as programs
import loop_programs
import programs as eager_programs
from jit_contenders import Entry, Task, solving
from jit_transforms import (
    applied,
    derivative,
    double_backward,
    gradients_of_both,
    hessian,
    hessian_vector,
    observation_blocks,
    repeated_grad,
)
from limits import horner as horner_limit
from limits import rosenbrock as rosenbrock_limit

ENTRIES: list[Entry] = []


def add(
    row: str,
    size: str,
    aim: float,
    work: int,
    make: Callable[..., Task],
    *arguments: Any,
    **others: Any,
) -> None:
    ENTRIES.append(Entry(row, size, aim, work, partial(make, *arguments), **others))


def text(n: int) -> str:
    """Return 1e3 for 1000."""
    return f"{n:.0e}".replace("e+0", "e")


def uniform(n: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(n).uniform(low, high, n)


# --------------------------------------------------------------------------- scalars and elements
def chain(ops: int) -> Task:
    blocks = ops // 4
    inputs = np.array(1.0001), np.array(0.9999)
    return Task(
        programs.chain(blocks),
        inputs,
        limit=lambda: limits.chain(*inputs, blocks),
        in_jax=None if ops < 1000 else lambda: programs.chain_in_jax(blocks),
        casadi=casadi.gradients(programs.chain(blocks), *inputs, c=ops <= 1000),
    )


def rosenbrock_loop(n: int) -> Task:
    x = uniform(n, -1.5, 1.5)
    return Task(
        eager_programs.rosenbrock_loop,
        (x,),
        limit=lambda: rosenbrock_limit(x),
        in_jax=programs.rosenbrock_loop_in_jax,
        casadi=casadi.gradients(casadi.looped, x, c=n <= 100),
    )


def rosenbrock(n: int) -> Task:
    x = uniform(n)
    return Task(
        programs.rosenbrock,
        (x,),
        limit=lambda: rosenbrock_limit(x),
        casadi=casadi.gradients(programs.rosenbrock, x, c=True, kind="MX"),
    )


def rosenbrock_hvp(n: int) -> Task:
    x, v = uniform(n), uniform(n + 1)[:n].copy()
    return Task(
        programs.rosenbrock,
        (x,),
        data=(v,),
        limit=lambda: limits.rosenbrock_hvp(x, v),
        transform=hessian_vector,
        recorded=double_backward,
        casadi=casadi.hessian_vector(x, v),
    )


def rosenbrock_hessian(n: int) -> Task:
    x = uniform(n)
    return Task(
        programs.rosenbrock,
        (x,),
        limit=lambda: limits.rosenbrock_hessian(x),
        transform=hessian,
        recorded=applied(hessian),
        casadi=casadi.rosenbrock_hessian(x),
    )


def black_scholes(n: int) -> Task:
    rng = np.random.default_rng(n)
    bounds = (80, 120), (0.1, 0.5), (0.01, 0.06), (0.2, 2.0), (80, 120)
    inputs = tuple(rng.uniform(*bound, n) for bound in bounds)
    return Task(
        programs.black_scholes,
        inputs[:4],
        data=inputs[4:],
        limit=lambda: limits.black_scholes(*inputs),
    )


def horner(n: int) -> Task:
    x = uniform(n)
    return Task(programs.horner, (x,), limit=lambda: horner_limit(x), casadi=casadi.horner(x))


def nth(order: int, n: int = 0) -> Task:
    x = uniform(n, 0.0, 0.5) if n else np.array(0.3)
    return Task(
        programs.curve,
        (x,),
        limit=lambda: limits.nth_derivative(x, order),
        transform=derivative(order, many=n > 0),
        recorded=repeated_grad(order),
        casadi=casadi.derivative(order, x),
    )


SCALES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CASADI = ("jax", "torch", "casadi")
for ops, aim in ((100, 1.1), (1_000, 1.1), (100_000, 1.1)):
    # PyTorch needs a second for 1e5 operations, and autograd two.
    peers = CASADI if ops <= 1_000 else ("jax", "casadi")
    add("scalar chain", f"{text(ops)} ops", aim, ops, chain, ops, peers=peers)
for n, aim in ((100, 8), (1_000, 4), (10_000, 3)):
    # PyTorch's time is quadratic in n.
    peers = CASADI if n <= 1_000 else ("jax", "casadi")
    add(
        "Rosenbrock over x[i] in a Python loop",
        f"n = {text(n)}",
        aim,
        n,
        rosenbrock_loop,
        n,
        peers=peers,
    )
for n, aim in ((1_000, 4), (100_000, 1.5), (1_000_000, 1.3)):
    add(
        "Rosenbrock vectorised", f"n = {text(n)}", aim, n, rosenbrock, n,
        peers=("jax", "torch", "torch.compile", "autograd", *(("casadi",) if n <= 100_000 else ())),
    )  # fmt: skip
for n, aim in ((1_000, 3), (100_000, 1.2), (1_000_000, 1.2)):
    peers = CASADI if n <= 1_000 else ("jax", "torch")
    add("its Hessian-vector product", f"n = {text(n)}", aim, n, rosenbrock_hvp, n, peers=peers)
for n, aim in ((100, 10), (1_000, 8)):
    add("its dense Hessian", f"n = {text(n)}", aim, n, rosenbrock_hessian, n, peers=CASADI)
for n, aim in ((1_000, 1.5), (100_000, 1.2), (1_000_000, 1.2), (10_000_000, 1.3)):
    peers = ("jax", "torch", "torch.compile", *(("autograd",) if n < 10_000_000 else ()))
    add("Black-Scholes with greeks", f"n = {text(n)}", aim, n, black_scholes, n, peers=peers)
for n, aim in ((1_000, 4), (100_000, 1.2), (1_000_000, 1.2), (10_000_000, 1.2)):
    peers = ("jax", "torch", "torch.compile", *(("casadi",) if n <= 100_000 else ()))
    add("cheap elementwise chain", f"n = {text(n)}", aim, n, horner, n, peers=peers)
for order in (1, 3, 6):
    add("n-th derivative", f"order {order}", 3, order, nth, order, peers=CASADI)
# As for one point: this limit's loop over points is vectorised.
add("n-th derivative", "order 6, 1,000 points", 3, 1_000, nth, 6, 1_000, peers=CASADI)


# --------------------------------------------------------------------------- physics
def lorenz(steps: int) -> Task:
    state = np.array(1.0), np.array(1.1), np.array(0.9)
    return Task(
        programs.lorenz(steps),
        state,
        limit=lambda: limits.lorenz(*state, steps),
        in_jax=lambda: loop_programs.lorenz_in_jax(steps),
        casadi=casadi.gradients(casadi.lorenz(steps), *state, c=True, kind="MX"),
    )


def lorenz96(steps: int) -> Task:
    x = programs.FORCING + uniform(100)
    return Task(
        programs.lorenz96(steps),
        (x,),
        limit=lambda: limits.lorenz96(x, steps),
        in_jax=lambda: programs.lorenz96_in_jax(steps),
        casadi=casadi.gradients(casadi.lorenz96(steps), x, c=True, kind="MX"),
    )


def bodies(n: int) -> Task:
    rng = np.random.default_rng(n)
    x, mass = rng.normal(size=(3, n)), rng.uniform(0.5, 1.5, n)
    return Task(programs.bodies, (x,), data=(mass,), limit=lambda: limits.bodies(x, mass))


for steps, aim in ((100, 4), (1_000, 4)):
    peers = CASADI if steps == 100 else ("jax", "casadi")
    add("Lorenz RK4 in a Python loop", f"{steps:,} steps", aim, steps, lorenz, steps, peers=peers)
for steps, aim in ((100, 1.7), (1_000, 1.3)):
    add(
        "Lorenz-96, 100 variables", f"{steps:,} steps", aim, steps, lorenz96, steps,
        peers=CASADI, rtol=1e-7,  # chaos multiplies what rounding has left
    )  # fmt: skip
for n, aim in ((50, 6), (200, 2), (1_000, 2)):
    peers = ("jax", "torch", "torch.compile", "autograd")
    add("n-body", f"{n:,} bodies", aim, n * n, bodies, n, peers=peers)


# --------------------------------------------------------------------------- ADBench
DIMENSION = 10  # of the Gaussian mixtures


def gmm(n: int, clusters: int) -> Task:
    rng, d = np.random.default_rng(n + clusters), DIMENSION
    inputs = (
        rng.normal(size=clusters),
        rng.normal(size=(clusters, d)),
        0.3 * rng.normal(size=(clusters, d + d * (d - 1) // 2)),
    )
    x = rng.normal(size=(n, d))
    return Task(
        programs.gmm,
        inputs,
        data=(x, programs.triangle(d), np.eye(d)),
        limit=lambda: adbench.gmm(*inputs, x),
    )


def bundle_adjustment(cameras: int, points: int, observations: int) -> Task:
    rng = np.random.default_rng(observations)
    camera = np.empty((cameras, 11))
    camera[:, :3] = rng.normal(scale=0.3, size=(cameras, 3))
    camera[:, 3:6] = rng.normal(size=(cameras, 3))
    camera[:, 6] = rng.uniform(300, 500, cameras)
    camera[:, 7:9] = rng.normal(scale=5.0, size=(cameras, 2))
    camera[:, 9:] = rng.normal(scale=1e-2, size=(cameras, 2))
    inputs = (
        camera,
        rng.normal(size=(points, 3)) + np.array([0.0, 0.0, 8.0]),
        rng.uniform(0.5, 1.5, observations),
    )
    data = (
        rng.normal(scale=100.0, size=(observations, 2)),
        rng.integers(cameras, size=observations),
        rng.integers(points, size=observations),
    )
    return Task(
        programs.reprojection,
        inputs,
        data=data,
        limit=lambda: adbench.reprojection(*inputs, *data),
        transform=observation_blocks,
        recorded=gradients_of_both,
        casadi=casadi.observation_blocks(*inputs, *data),
    )


def lstm(count: int) -> Task:
    rng, layers, bits = np.random.default_rng(count), 2, 14
    inputs = rng.normal(size=(2 * layers, 4 * bits)), rng.normal(size=(3, bits))
    data = (
        rng.normal(size=(2 * layers, bits)),
        (rng.random((count, bits)) < 0.5).astype(np.float64),
    )

    def in_jax() -> Callable[..., Any]:
        loss = loop_programs.lstm_in_jax(*data)
        return lambda main, extra, *_: loss(main, extra)

    return Task(
        programs.lstm,
        inputs,
        data=data,
        limit=lambda: adbench.lstm(*inputs, *data),
        in_jax=in_jax,
        casadi=casadi.gradients(casadi.lstm, *inputs, data=data),
    )


for n, clusters, aim in ((1_000, 25, 1.1), (10_000, 25, 1.3), (10_000, 200, 1.5)):
    # PyTorch and autograd keep several arrays of n x K x d numbers: 160 MB each for the last.
    add(
        f"GMM (ADBench, d = {DIMENSION})", f"{n // 1000}k,{clusters}", aim, n * clusters, gmm, n, clusters,
        peers=("jax", "torch", "autograd"),
    )  # fmt: skip
add(
    "bundle adjustment Jacobian (ADBench)", "31,843 observations", 1.5, 31_843,
    bundle_adjustment, 49, 7_776, 31_843, peers=CASADI,
)  # fmt: skip
for count, aim in ((64, 2.5), (1_024, 2.5)):
    peers = CASADI if count == 64 else ("jax", "casadi")
    add("LSTM (ADBench)", f"l2 c{count}", aim, count, lstm, count, peers=peers)


# --------------------------------------------------------------------------- networks
def one_of(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    return np.eye(classes)[rng.integers(classes, size=n)]


def mlp(batch: int, dtype: type) -> Task:
    rng = np.random.default_rng(batch)
    sizes = 784, 256, 128, 10
    inputs: list[np.ndarray] = []
    for fan, out in pairwise(sizes):
        inputs += [rng.normal(size=(fan, out)) / fan**0.5, 0.1 * rng.normal(size=out)]
    data = rng.random((batch, 784)), one_of(rng, batch, 10)
    arguments = [part.astype(dtype) for part in (*inputs, *data)]
    return Task(
        programs.mlp,
        tuple(arguments[:6]),
        data=tuple(arguments[6:]),
        limit=lambda: networks.mlp(*arguments),
    )


def logistic(n: int) -> Task:
    rng = np.random.default_rng(n)
    inputs = rng.normal(size=50) / 7, np.array(0.1)
    data = rng.normal(size=(n, 50)), rng.choice([-1.0, 1.0], n)
    return Task(
        programs.logistic, inputs, data=data, limit=lambda: networks.logistic(*inputs, *data)
    )


def softmax(n: int) -> Task:
    rng = np.random.default_rng(n)
    inputs = rng.normal(size=(50, 10)) / 7, 0.1 * rng.normal(size=10)
    data = rng.normal(size=(n, 50)), one_of(rng, n, 10)
    return Task(programs.softmax, inputs, data=data, limit=lambda: networks.softmax(*inputs, *data))


def network_hessian(inputs: int, hidden: int) -> Task:
    rng = np.random.default_rng(hidden)
    p = 0.3 * rng.normal(size=(inputs + 2) * hidden)
    data = rng.normal(size=(32, inputs)), rng.normal(size=32)
    return Task(
        programs.network_loss(inputs, hidden),
        (p,),
        data=data,
        limit=lambda: networks.network_hessian(p, *data),
        closed_form=lambda: networks.network_hessian_in_closed_form(p, *data),
        transform=hessian,
        recorded=applied(hessian),
        casadi=casadi.network_hessian(inputs, hidden, p, *data),
    )


for batch in (32, 256):
    for dtype in (np.float64, np.float32):
        add(
            "MLP 784-256-128-10", f"batch {batch} {dtype.__name__}", 1.0, batch, mlp, batch, dtype,
            peers=("jax", "torch", "torch.compile", *(("autograd",) if dtype is np.float64 else ())),
            rtol=1e-9 if dtype is np.float64 else 2e-4,
        )  # fmt: skip
for row, make in (
    ("logistic regression, d = 50", logistic),
    ("softmax regression, d = 50", softmax),
):
    for n, aim in ((1_000, 1.2), (100_000, 1.0)):
        add(
            row,
            f"n = {text(n)}",
            aim,
            n,
            make,
            n,
            peers=("jax", "torch", "torch.compile", "autograd"),
        )
for inputs, hidden, aim in ((3, 4, 1.8), (8, 10, 1.5)):
    add(
        "dense Hessian of an MLP loss", f"{(inputs + 2) * hidden} parameters", aim, (inputs + 2) * hidden,
        network_hessian, inputs, hidden, peers=(*CASADI, "closed form"),
    )  # fmt: skip


# --------------------------------------------------------------------------- linear algebra
def gaussian_process(n: int) -> Task:
    rng = np.random.default_rng(n)
    x = np.sort(rng.uniform(0, 10, n))
    inputs = np.array(1.3), np.array(0.8), np.array(0.1)
    squares, y = (x[:, None] - x) ** 2, np.sin(x) + 0.1 * rng.normal(size=n)
    return Task(
        programs.gaussian_process,
        inputs,
        data=(squares, y[:, None], np.eye(n)),
        limit=lambda: limits.gaussian_process(*inputs, squares, y),
        names=solving,
    )


for n in (50, 200, 500):
    add("GP marginal likelihood", f"n = {n}", 1.3, n**3, gaussian_process, n)
