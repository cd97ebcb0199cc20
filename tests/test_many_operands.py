"""Ops with many operands or results take a time that goes with their number, and the right values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fast_paths import fast_paths
from work import calls

import tapegrad as tg

SCALAR = tg.tensor(1.5, requires_grad=True)


def _stack(n: int) -> tg.Tensor:
    return tg.stack([SCALAR * i for i in range(n)]).sum()


def _cat(n: int) -> tg.Tensor:
    return tg.cat([(SCALAR * i).reshape(1) for i in range(n)]).sum()


def _hstack(n: int) -> tg.Tensor:
    return tg.hstack([SCALAR * i for i in range(n)]).sum()


def _unbind(n: int) -> tg.Tensor:
    return sum((r * i for i, r in enumerate((SCALAR * tg.ones(n)).unbind())), tg.zeros(()))


def _split(n: int) -> tg.Tensor:
    parts = (SCALAR * tg.ones(n)).split(1)
    return sum((r.sum() * i for i, r in enumerate(parts)), tg.zeros(()))


def _elements(n: int) -> tg.Tensor:
    x = SCALAR * tg.ones(n)
    return sum((x[i] * i for i in range(n)), tg.zeros(()))


FUNCTIONS: dict[str, Callable[[int], tg.Tensor]] = {
    "stack": _stack, "cat": _cat, "hstack": _hstack, "unbind": _unbind, "split": _split,
    "elements": _elements,
}  # fmt: skip


def _backward(f: Callable[[int], tg.Tensor], n: int) -> float:
    (g,) = tg.autograd.grad(f(n), SCALAR)
    return float(g)


def _recorded(f: Callable[[int], tg.Tensor], n: int) -> float:
    (g,) = tg.autograd.grad(f(n), SCALAR, create_graph=True)
    return float(g)


def _forward(f: Callable[[int], tg.Tensor], n: int) -> float:
    def of(x: tg.Tensor) -> tg.Tensor:
        return tg.stack([x * i for i in range(n)])

    _, tangent = tg.func.jvp(of, (tg.tensor(1.5),), (tg.tensor(1.0),))
    return float(tangent.sum())


@fast_paths
@pytest.mark.parametrize("way", [_backward, _recorded, _forward])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_work_and_values(name: str, way: Callable[..., float]) -> None:
    f, n = FUNCTIONS[name], 1500
    result: list[float] = []
    # The first call may make instructions, and so let others end.
    count = min(calls(lambda: result.append(way(f, n))) for _ in range(2))
    assert result == [n * (n - 1) / 2] * 2
    assert count < 600 * n, "calls of Python or C functions: some hundreds an operand"


def test_constants_do_not_meet_in_the_table() -> None:
    """Whole numbers differ in their high bits only; looking one up takes a few steps."""
    from tapegrad.tape.constants import Constants

    numbers = np.arange(4000.0)
    table = Constants({(int(k), 0): i + 1 for i, k in enumerate(numbers.view(np.int64))}).table
    used = table[:, 2] != 0
    assert used.sum() == 4000
    ends = np.flatnonzero(np.diff(np.concatenate([[0], used, [0]])) == -1)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], used, [0]])) == 1)
    assert (ends - starts).max() < 400, "the longest row of places that are taken"


def test_a_tangent_of_a_stack_has_zeros_for_what_does_not_move() -> None:
    a, b = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    out, tangent = tg.func.jvp(
        lambda a: tg.stack([a * a, b, a.flip(0)]), (a,), (tg.tensor([1.0, 10.0]),)
    )
    assert out.tolist() == [[1, 4], [3, 4], [2, 1]]
    assert tangent.tolist() == [[2, 40], [0, 0], [10, 1]]
    _, tangent = tg.func.jvp(
        lambda a: tg.cat([a[::2], b.expand(3, 2)[:, 0], a * 3]), (a,), (tg.tensor([1.0, 10.0]),)
    )
    assert tangent.tolist() == [1, 0, 0, 0, 3, 30]
    h = tg.hessian(lambda a: (tg.stack([a * a, b, a], 1) ** 2).sum())(a)
    assert h.tolist() == [[14, 0], [0, 50]]
