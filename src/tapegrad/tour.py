"""The tour that ``python -m tapegrad`` takes: five real computations, a few seconds.

`show_tape` prints the tape that a function leaves behind, `check_derivatives` compares its
derivatives to order 3 with finite differences and with exact values, `fit` trains a small network
by gradient descent, `time_gradient` measures the cost of a gradient an operation, and `time_compiled`
that of the same gradient as machine code. Each prints its findings; `tour` runs them in that order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad

__all__ = ["check_derivatives", "fit", "show_tape", "time_compiled", "time_gradient", "tour"]

#: the public names, most of which the op table adds when tapegrad is imported
tg: Any = tapegrad


def _heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _function(x: Any) -> Any:
    return tg.exp(x) * tg.sin(x)


#: its derivatives of order 1 to 3
_EXACT: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda x: np.exp(x) * (np.sin(x) + np.cos(x)),
    lambda x: 2 * np.exp(x) * np.cos(x),
    lambda x: 2 * np.exp(x) * (np.cos(x) - np.sin(x)),
)

#: for each order: step and (multiple of the step, weight) of a central difference
_DIFFERENCES: tuple[tuple[float, tuple[tuple[int, float], ...]], ...] = (
    (1e-5, ((1, 0.5), (-1, -0.5))),
    (1e-4, ((1, 1.0), (0, -2.0), (-1, 1.0))),
    (1e-3, ((2, 0.5), (1, -1.0), (-1, 1.0), (-2, -0.5))),
)


def show_tape() -> None:
    """Print the tape of a function: recorded, then evaluated with its derivative appended."""
    tape = tapegrad.current_tape()
    x = tg.tensor(1.5, requires_grad=True)
    f = _function(x)
    _heading("The tape of f(x) = exp(x) * sin(x)")
    print("Recorded, not yet computed (? pending, * takes part in differentiation):\n")
    print(tape)
    print("\nAfter grad(f, x, create_graph=True): the derivative is a part of the tape as well:\n")
    (first,) = tg.autograd.grad(f, x, create_graph=True)
    first.item()
    print(tape)


def check_derivatives() -> list[tuple[float, float]]:
    """Compare derivatives of order 1 to 3 with exact values and with finite differences.

    Returns
    -------
    list of (float, float)
        For each order the largest error against exact values and against central differences,
        relative to the largest exact value.
    """
    _heading("Its derivatives, at 9 points between -2 and 2")
    points = np.linspace(-2.0, 2.0, 9)
    x = tg.tensor(points, requires_grad=True)
    print("order   value at -2           error to exact   error to finite differences")
    errors = []
    value = _function(x)
    for order, (exact, (step, weights)) in enumerate(
        zip(_EXACT, _DIFFERENCES, strict=True), start=1
    ):
        (value,) = tg.autograd.grad(value.sum(), x, create_graph=True)
        computed = value.detach().numpy()
        true = exact(points)
        scale = float(np.abs(true).max())
        sampled = sum(
            weight * _function(tg.tensor(points + multiple * step)).numpy()
            for multiple, weight in weights
        )
        to_exact = float(np.abs(computed - true).max()) / scale
        to_sampled = float(np.abs(computed - sampled / step**order).max()) / scale
        errors.append((to_exact, to_sampled))
        print(f"{order:5d}   {computed[0]: .15f}  {to_exact:14.1e}   {to_sampled:27.1e}")
    return errors


def fit(steps: int = 600, rate: float = 0.1) -> list[float]:
    """Fit a network of 16 hidden units to 64 noisy points of a sine, by gradient descent.

    Parameters
    ----------
    steps : int
        Updates of the parameters.
    rate : float
        Step length.

    Returns
    -------
    list of float
        The mean squared error before each step.
    """
    _heading("A model fitted by gradient descent")
    tg.manual_seed(0)
    x = tg.linspace(-2.0, 2.0, 64).reshape(-1, 1)
    y = tg.sin(2.0 * x) + 0.1 * tg.randn(64, 1)
    parameters = [
        tg.randn(1, 16, requires_grad=True),
        tg.randn(16, requires_grad=True),
        (0.25 * tg.randn(16, 1)).requires_grad_(),
        tg.zeros(1, requires_grad=True),
    ]
    w1, b1, w2, b2 = parameters
    losses = []
    start = time.perf_counter()
    for _ in range(steps):
        error = tg.tanh(x @ w1 + b1) @ w2 + b2 - y
        loss = (error * error).mean()
        loss.backward()
        losses.append(loss.item())
        with tg.no_grad():
            for w in parameters:
                w -= rate * w.grad
                w.grad.zero_()
    seconds = time.perf_counter() - start
    print("tanh(x @ w1 + b1) @ w2 + b2, 49 parameters, 64 noisy points of sin(2 x)")
    for step in sorted({s for s in (0, 1, 10, 100) if s < steps} | {steps - 1}):
        print(f"step {step:4d}   loss {losses[step]:.6f}")
    print(f"{steps} steps in {seconds:.2f} s, {1e6 * seconds / steps:.0f} us a step")
    return losses


def time_gradient(operations: int = 1000, runs: int = 31) -> dict[str, float]:
    """Measure recording, the forward and the reverse sweep on a chain of scalar operations.

    Parameters
    ----------
    operations : int
        Length of the chain.
    runs : int
        Timed runs, after a few that are not.

    Returns
    -------
    dict
        Median nanoseconds an operation, by phase.
    """
    _heading("What a gradient costs")
    tape = tapegrad.current_tape()
    spans: dict[str, list[float]] = {"record": [], "forward": [], "reverse": []}
    for run in range(runs + 5):
        x = tg.tensor(0.7, requires_grad=True)
        y = tg.tensor(0.5, requires_grad=True)
        z = x
        tape.evaluate()
        start = time.perf_counter()
        for _ in range(operations // 4):
            z = z * y
            z = z + x
            z = tg.sin(z)
            z = z - y
        recorded = time.perf_counter()
        tape.evaluate()
        evaluated = time.perf_counter()
        z.backward()
        swept = time.perf_counter()
        if run >= 5:
            spans["record"].append(recorded - start)
            spans["forward"].append(evaluated - recorded)
            spans["reverse"].append(swept - evaluated)
    medians = {k: 1e9 * statistics.median(v) / operations for k, v in spans.items()}
    print(f"{operations} operations on scalars, median of {runs} runs, ns an operation")
    for phase, nanoseconds in medians.items():
        print(f"{phase:8s} {nanoseconds:7.1f}")
    print(f"{'together':8s} {sum(medians.values()):7.1f}")
    return medians


def time_compiled(operations: int = 1000, runs: int = 31) -> float:
    """Measure value and gradient of the same chain under `jit`.

    Parameters
    ----------
    operations : int
        Length of the chain.
    runs : int
        Timed runs.

    Returns
    -------
    float
        Median nanoseconds an operation.
    """
    _heading("The same, compiled by tg.jit")

    def chain(x: Any, y: Any) -> Any:
        z = x
        for _ in range(operations // 4):
            z = tg.sin(z * y + x) - y
        return z

    step = tg.jit(tg.value_and_grad(chain))
    arguments = np.array(0.7), np.array(0.5)
    start = time.perf_counter()
    step(*arguments)
    first = time.perf_counter() - start
    spans = []
    for _ in range(runs):
        start = time.perf_counter()
        step(*arguments)
        spans.append(time.perf_counter() - start)
    nanoseconds = 1e9 * statistics.median(spans) / operations
    print(f"first call, which records and compiles: {first:.2f} s; later ones, ns an operation")
    print(f"{'compiled':8s} {nanoseconds:7.1f}")
    return nanoseconds


def tour() -> None:
    """Take the whole tour."""
    print(f"tapegrad {tapegrad.__version__}")
    show_tape()  # first, while the tape is empty
    check_derivatives()
    fit()
    time_gradient()
    time_compiled()
    print("\n`python -m tapegrad info` describes this installation.")
