"""Python loops in compiled functions are loops of their code, in derivatives too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.jit_compiler.compiled_tape import CompiledTape, optimised
from tapegrad.jit_compiler.loop_program import text
from tapegrad.jit_compiler.loops import TEMPORARY, Loop, accesses

ROUNDS = 40
BODIES: dict[str, Callable[[Any, int], Any]] = {
    "constants": lambda a, i: a * 1.5 + a.sin() * 0.1,
    # the first coefficient is 1, and simplified away
    "coefficients": lambda a, i: a * (1 + 1e-3 * i) + a.sin() * 0.1,
    "quotient": lambda a, i: a / (1 + a.abs()),
    "both": lambda a, i: (a * (1 + 1e-3 * i) + a.sin() * 0.1) / (1 + a.abs()),
    "sum": lambda a, i: a + a.sum() * 0.01,
    "shifted": lambda a, i: tg.cat([a[1:], a[:1]]) * 0.9 + a * 0.05,
    "written": lambda a, i: tg.stack([a[0] * a[1], a[2] - a[0], a[1] * 0.5]),
}


def looped(body: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    def function(a: Any) -> Any:
        for i in range(ROUNDS):
            a = body(a, i)
        return (a * a).sum()

    return function


@pytest.mark.parametrize("shape", [(3,), ()])
@pytest.mark.parametrize("name", BODIES)
def test_derivatives_of_loops_are_loops(name: str, shape: tuple[int, ...]) -> None:
    if not shape and name in ("sum", "shifted", "written"):
        pytest.skip("it has elements")
    f = looped(BODIES[name])
    x = np.linspace(0.3, 0.9, 3).reshape(3)[: shape[0] if shape else 1].reshape(shape or ())
    tapes = [tg.trace(f)(x)]
    tapes += [tapes[0].gradient(), tapes[0].pushforward()]
    tapes.append(tapes[1].gradient())
    for tape, most in zip(tapes, (60, 120, 120, 600), strict=True):
        assert text(optimised(tape)).count("\n") < most
        arrays = [np.asarray(x + 0.01 * k) for k in range(len(tape.inputs))]
        results = CompiledTape(tape).run(arrays)
        for found, expected in zip(results, tape.run([tg.tensor(a) for a in arrays]), strict=True):
            np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rounds", range(1, 24))
def test_lengths_around_those_from_which_on_there_is_a_loop(rounds: int) -> None:
    def f(a: Any) -> Any:
        for i in range(rounds):
            a = (a * (1 + 0.1 * i)).sin() / (1 + a.abs())
        return a.sum()

    x = np.array([0.3, -0.4])
    program = tg.hessian(f)
    found = tg.jit(program)(x)
    np.testing.assert_allclose(found, program(tg.tensor(x)).numpy(), rtol=1e-11, atol=1e-13)


WITHOUT_END = """
import numpy as np
import tapegrad as tg

def f(x):
    s = x * 0.1
    for _ in range(3):
        s = tg.tanh(x / (2 + tg.cos((s * x) / (2 + tg.cos(x / (2 + tg.cos(s)))))))
    s = s + s
    a, b = s * 0.5, s * 0.3
    for _ in range(6):
        a = (0.5 / (2 + (a + b) ** 2)).clamp(-2, 2)
    return (a * 2 - b).float(), s.logsumexp(0), tg.log1p(tg.sigmoid(s).abs()).clamp(-0.8, 1.1)

x = np.linspace(0, 0.1, 16)
for a, b in zip(tg.jit(f)(x), f(tg.tensor(x))):
    np.testing.assert_allclose(a, b.numpy(), rtol=1e-6)
"""


def test_llvm_comes_to_an_end(tmp_path: Path) -> None:
    """A pass of LLVM 22 took for ever for loops of 16 iterations."""
    environment = {**os.environ, "TAPEGRAD_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", WITHOUT_END], check=True, timeout=300, env=environment)


def test_loops_over_elements_are_loops() -> None:
    """In derivatives as well, where rounds add to what others have written."""

    def rosenbrock(x: Any) -> Any:
        total = 0.0
        for i in range(len(x) - 1):
            total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
        return total

    x = np.linspace(0.1, 0.9, 200)
    tape = tg.trace(tg.value_and_grad(rosenbrock))(x)
    assert text(optimised(tape)).count("\n") < 120
    for a, b in zip(tape.compiled()(x), tape(x), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12)


def test_adjoints_of_columns_are_filled_where_they_are_used() -> None:
    """They are numbers of one loop, and no arrays of zeros that another loop fills."""

    def f(x: Any) -> Any:
        a, b, c = x[:, 0], x[:, 1], x[:, 2]
        y = (a[:, None] * x[:, :2]).sin()
        return (y[:, 0] * b + c * c * a * y[:, 1]).sum()

    n = 3000
    tape = tg.trace(f)(tg.zeros(n, 3)).gradient()
    program = optimised(tape)
    long = [node for node in program.nodes if isinstance(node, Loop) and node.extent == n]
    assert len(long) == 1
    places = (u.access.buffer for node in program.nodes for u in accesses(node))
    assert all(x.span < 1000 for x in places if x.role == TEMPORARY)
    x = np.random.default_rng(0).normal(size=(n, 3))
    for found, right in zip(tape.compiled()(x), tape(x), strict=True):
        np.testing.assert_allclose(found, right.numpy(), rtol=1e-12)
