"""vmap in one run: every row of the op table lifted, and compared with runs on the slices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_samples import Case, _tg_view, cases, public_rows, results_of, tg_leaf

import tapegrad as tg
from tapegrad.func import batching
from tapegrad.ops.table import Op

#: rows whose results have a shape that depends on values, or whose function reads a value
READS = {"masked_select"}
SIZE = 3


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No function runs once a slice."""

    def alone(self: Any, output: Any) -> None:
        raise AssertionError("the function ran on a slice")

    with monkeypatch.context() as patch:
        patch.setattr(batching._Outputs, "add", alone)
        yield


def rows(entries: list[Op]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda e: e.name)


# --------------------------------------------------------------------------- every row
def function_of(case: Case) -> Callable[..., list[Any]]:
    """A case as a function of its operands."""

    def function(*leaves: Any) -> list[Any]:
        args, kwargs = case._fill((case.args, case.kwargs), iter(leaves), _tg_view)
        return [y + 0 for y in results_of(case.call(*args, **kwargs))]

    return function


def slices_of(case: Case, which: tuple[bool, ...]) -> list[Any]:
    """The operands, some of them once a slice, with other values in each."""
    rng = np.random.default_rng(5)
    made = []
    for array, on, batched in zip(case.arrays, case.active, which, strict=True):
        if not batched:
            made.append(array)
            continue
        parts = [array + on * rng.uniform(-0.01, 0.01, array.shape) for _ in range(SIZE)]
        made.append(np.stack(parts).astype(array.dtype))
    return made


def choices(case: Case) -> list[tuple[bool, ...]]:
    """Which operands are batched: all, and each alone."""
    n = len(case.arrays)
    found = [(True,) * n, *(tuple(i == j for j in range(n)) for i in range(n))]
    return list(dict.fromkeys(found))


def weighted(outs: list[Any]) -> Any:
    """A number that depends on all floating results."""
    total: Any = 0.0
    for y in outs:
        if y.dtype.is_floating_point:
            weights = np.linspace(0.5, 1.5, y.numel()).reshape(tuple(y.shape))
            total = total + (y * tg.tensor(weights, dtype=y.dtype)).sum()
    return total


def loop(function: Callable[..., list[Any]], leaves: list[Any], dims: list[Any]) -> list[Any]:
    runs = [
        function(*[x if d is None else x[i] for x, d in zip(leaves, dims, strict=True)])
        for i in range(SIZE)
    ]
    return [tg.stack(parts) for parts in zip(*runs, strict=True)]


def agree(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype is b.dtype and a.shape == b.shape
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11, equal_nan=True
        )


def gradient_of(function: Callable[..., list[Any]], active: tuple[int, ...]) -> Any:
    def gradients(*leaves: Any) -> list[Any]:
        found = tg.func.grad(lambda *own: weighted(function(*own)), argnums=active)(*leaves)
        return list(found)

    return gradients


SMOOTH = [e for e in public_rows() if e.name not in READS]


@rows(SMOOTH)
def test_rows_agree_with_runs_on_slices(entry: Op, at_once: None) -> None:
    for case in cases(entry):
        for which in choices(case):
            if not any(which):
                continue
            function = function_of(case)
            arrays = slices_of(case, which)
            dims = [0 if b else None for b in which]
            plain = [tg_leaf(a, active=False) for a in arrays]
            found = tg.func.vmap(function, in_dims=tuple(dims))(*plain)
            agree(found, loop(function, plain, dims))


@rows([e for e in SMOOTH if e.vjp is not None])
def test_derivatives_of_rows_agree(entry: Op, at_once: None) -> None:
    for case in cases(entry):
        if not case.deep or not any(case.active):
            continue
        function = function_of(case)
        active = tuple(i for i, on in enumerate(case.active) if on)
        for which in choices(case):
            arrays = slices_of(case, which)
            dims = [0 if b else None for b in which]
            if not any(which):
                continue
            plain = [tg_leaf(a, active=False) for a in arrays]
            first = gradient_of(function, active)
            mapped = tg.func.vmap(first, in_dims=tuple(dims))
            agree(mapped(*plain), loop(first, plain, dims))
            second = gradient_of(first, active)
            agree(tg.func.vmap(second, in_dims=tuple(dims))(*plain), loop(second, plain, dims))
            around(function, arrays, dims)


def around(function: Callable[..., list[Any]], arrays: list[np.ndarray], dims: list[Any]) -> None:
    """Gradients through the mapped function, of first and second order."""
    results = []
    for run in (
        lambda *leaves: tg.func.vmap(function, in_dims=tuple(dims))(*leaves),
        lambda *leaves: loop(function, list(leaves), dims),
    ):
        leaves = [tg_leaf(a) for a in arrays]
        wanted = [x for x in leaves if x.requires_grad]
        value = weighted(run(*leaves))
        if not getattr(value, "requires_grad", False):
            results.append([])
            continue
        first = tg.autograd.grad(value, wanted, create_graph=True, materialize_grads=True)
        total = weighted(list(first))
        second = []
        if total.requires_grad:
            second = list(tg.autograd.grad(total, wanted, materialize_grads=True))
        results.append([*first, *second])
    agree(*results)


assert itertools
