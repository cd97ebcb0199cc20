"""Every row of the op table under jit: what it gives without, with gradients, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_samples import Case, _tg_view, cases, public_rows, results_of

import tapegrad as tg
from tapegrad.jit_compiler.jitted import jit
from tapegrad.tape import pytree as trees

CASES = [case for entry in public_rows() for case in cases(entry)]


def weighted(values: list[Any]) -> Any:
    """One number of results: a sum with weights."""
    total: Any = 0.0
    for i, y in enumerate(values):
        if y.dtype.is_floating_point:
            weights = np.cos(np.arange(y.numel()) + i).reshape(tuple(y.shape))
            total = total + (y * tg.tensor(weights, dtype=y.dtype)).sum()
    return total


def program(case: Case) -> Callable[..., list[Any]]:
    """The case as a function of its arrays."""

    def run(*leaves: Any) -> list[Any]:
        args, kwargs = case._fill((case.args, case.kwargs), iter(leaves), _tg_view)
        return results_of(case.call(*args, **kwargs))

    return run


def gradients(case: Case, order: int) -> Callable[..., list[Any]]:
    """Results of the case, and derivatives up to an order, as a function of its arrays."""
    run = program(case)
    active = [i for i, a in enumerate(case.active) if a]

    def differentiated(*leaves: Any) -> list[Any]:
        values = run(*leaves)
        results = list(values)
        wanted = [leaves[i] for i in active]
        for n in range(order):
            total = weighted(values)
            if not wanted or not getattr(total, "requires_grad", False):
                break
            found = tg.autograd.grad(total, wanted, create_graph=n < order - 1, allow_unused=True)
            values = [g for g in found if g is not None]
            results += values
        return results

    def entry(*arrays: Any) -> list[Any]:
        leaves = [
            tg.as_tensor(a).detach().requires_grad_() if i in active else tg.as_tensor(a)
            for i, a in enumerate(arrays)
        ]
        return [y.detach() for y in differentiated(*leaves)]

    return entry


def agree(case: Case, function: Callable[..., Any], rtol: float = 1e-12) -> None:
    expected = [y.numpy() for y in function(*[tg.tensor(a) for a in case.arrays])]
    compiled = jit(function)
    for _ in range(2):
        found = compiled(*case.arrays)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            scale = np.abs(b[np.isfinite(b)]).max(initial=0) if b.dtype.kind == "f" else 0
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(scale, 1))


@pytest.mark.parametrize("case", CASES, ids=map(repr, CASES))
def test_values(case: Case) -> None:
    agree(case, program(case))


@pytest.mark.parametrize("case", CASES, ids=map(repr, CASES))
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(case: Case, order: int) -> None:
    agree(case, gradients(case, order))


@pytest.mark.parametrize("case", CASES, ids=map(repr, CASES))
def test_float32(case: Case) -> None:
    single = case.in_dtype(np.float32)
    agree(single, gradients(single, 1), 2e-5)


@pytest.mark.parametrize("case", CASES, ids=map(repr, CASES))
def test_simplified(case: Case) -> None:
    if case.row == "masked_select":
        pytest.skip("its shape depends on values")
    tape = tg.trace(program(case))(*case.arrays)
    for made in (tape, tape.gradient()) if any(tape.active) else (tape,):
        short = made.simplified()
        short.verify()
        assert len(short) <= len(made)
        pairs = zip(
            trees.leaves(made(*case.arrays)), trees.leaves(short(*case.arrays)), strict=True
        )
        for a, b in pairs:
            if a is None:
                assert b is None
            else:
                assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
