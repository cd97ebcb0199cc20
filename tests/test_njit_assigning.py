"""Arrays that are assigned to parts of active arrays in compiled functions, beside NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

rng = np.random.default_rng(7)


def part(out, y):
    out[1:3] = y


def all_of(out, y):
    out[...] = y


def everything(out, y):
    out[:] = y


def column(out, y):
    out[:, 1] = y


def row(out, y):
    out[-1] = y


def steps(out, y):
    out[::2, ::-1] = y


def middle(out, y):
    out[..., 1:3] = y


def added(out, y):
    out[1:, 1:] += y


def shifted(out, y):
    out[1:] = out[:-1]


def reversed_(out, y):
    out[:] = out[::-1]


def transposed(out, y):
    out[:] = out.T


def by_indices(out, y):
    out[np.array([2, 0])] = y


def nothing(out, y):
    out[3:3] = y


CASES: list[tuple[Callable[..., None], tuple[int, ...], tuple[int, ...]]] = [
    (part, (4,), (2,)), (part, (4,), (1,)), (part, (4, 3), (2, 3)), (part, (4, 3), (3,)),
    (part, (4, 3), (2, 1)), (part, (4,), (1, 1, 2)),
    (all_of, (3, 4), (3, 4)), (all_of, (3, 4), (4,)), (all_of, (2, 3, 4), (3, 1)),
    (everything, (5,), (5,)), (everything, (2, 2), (1, 2)),
    (column, (3, 4), (3,)), (row, (3, 4), (4,)), (steps, (3, 4), (2, 4)), (middle, (2, 3, 4), (3, 2)),
    (added, (3, 3), (2, 2)), (added, (3, 3), (2,)),
    (shifted, (5,), (1,)), (shifted, (4, 2), (1,)), (reversed_, (5,), (1,)), (transposed, (3, 3), (1,)),
    (by_indices, (3, 2), (2,)), (nothing, (4,), (1,)), (nothing, (4,), (0,)),
]  # fmt: skip


def made(change: Callable[..., None]) -> Callable[..., Any]:
    """A function of what was there and what is assigned, which `change` does."""
    inner = tg.njit(change)

    def run(x, y):
        out = x.copy()
        inner(out, y)
        return out

    return run


def one_of(begin: str, choices: list[str], **names: Any) -> Any:
    """A function that does `begin`, and one of many things with it: compiled together they take a third."""
    lines = ["def run(x, y, which):", f"    out = {begin}"]
    for number, choice in enumerate(choices):
        lines += [f"    if which == {number}:", f"        {choice}"]
    scope: dict[str, Any] = {"np": np, **names}
    exec("\n".join([*lines, "    return out"]), scope)
    return tg.njit(scope["run"])


@functools.cache
def compiled(change: Callable[..., None]) -> Any:
    return tg.njit(change)


@functools.cache
def assigning(begin: str, *ndim: int) -> tuple[Any, list[Callable[..., None]]]:
    """All that `CASES` does with arrays of these numbers of dimensions, and what is done by which number."""
    found = [change for change, *shapes in CASES if (*map(len, shapes),) == ndim]
    changes = list(dict.fromkeys(found))
    names = {change.__name__: compiled(change) for change in changes}
    return one_of(begin, [f"{name}(out, y)" for name in names], **names), changes


@pytest.mark.parametrize(("change", "shape", "given"), CASES)
@pytest.mark.parametrize("active", ["both", "x", "y"])
def test_as_numpy_assigns(
    change: Callable[..., None], shape: tuple[int, ...], given: tuple[int, ...], active: str
) -> None:
    x, y = rng.normal(size=shape), rng.normal(size=given)
    weights = rng.normal(size=shape)

    def plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = x.copy()
        change(out, y)
        return out

    leaves = [
        tg.tensor(v, requires_grad=True) if active in (name, "both") else v
        for name, v in (("x", x), ("y", y))
    ]
    # Where `x` is passive, the active array is one that the function makes itself.
    begin = "np.zeros(x.shape); out += x" if active == "y" else "x.copy()"
    function, changes = assigning(begin, x.ndim, y.ndim)
    out = function(*leaves, changes.index(change))
    np.testing.assert_array_equal(np.asarray(out.detach()), plain(x, y))
    if not out.requires_grad:
        return
    (out * tg.tensor(weights)).sum().backward()
    for leaf, v, others in zip(
        leaves, (x, y), (lambda d: (d, 0 * y), lambda d: (0 * x, d)), strict=True
    ):
        if isinstance(leaf, tg.Tensor):
            wanted = np.zeros(v.shape)
            for k in np.ndindex(v.shape):  # what is assigned is linear in both
                unit = np.zeros(v.shape)
                unit[k] = 1.0
                wanted[k] = (plain(*others(unit)) * weights).sum()
            found = leaf.grad.numpy() if leaf.grad is not None else np.zeros(v.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "shape", "given"),
    [(part, (4,), (3,)), (all_of, (3, 4), (3,)), (row, (3, 4), (2, 4)), (column, (3, 4), (4,))],
)
def test_shapes_that_do_not_fit(change, shape, given) -> None:
    x, y = (
        tg.tensor(np.ones(shape), requires_grad=True),
        tg.tensor(np.ones(given), requires_grad=True),
    )
    before = len(tg.current_tape())
    with pytest.raises(ValueError, match="broadcast"):
        tg.njit(made(change))(x, y)
    assert len(tg.current_tape()) == before


def test_integers_are_assigned_as_numbers() -> None:
    @tg.njit
    def run(x, k):
        out = x * 1.0
        out[1:] = k
        return out

    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    out = run(x, np.array([7, 8]))
    assert out.tolist() == [1.0, 7.0, 8.0]
    out.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


# --------------------------------------------------------------------------- memory in common
IN_PLACE = {
    1: [
        "m[1:] += m[:-1]", "m[:-1] += m[1:]", "m[1:] *= m[:-1]", "m[1:] /= m[:-1]", "m[1:] **= m[:-1]",
        "m += m[::-1]", "m[::-1] -= m", "v = m[1:]; v += m[:-1]", "v = m; v *= v",
        "m -= m[-1]", "m[1:] += m[:-1] + m[1:]", "m[1:] = m[:-1]", "m[:] = m[::-1]",
        "m[1:] = m[:-1] * m[1:]", "m[np.array([1, 2, 3])] = m[:3]", "m[0], m[1] = m[1], m[0]",
    ],
    2: [
        "m[1:, 1:] += m[:-1, :-1]", "m[:-1, :-1] += m[1:, 1:]", "m[:, 1:] += m[:, :-1]", "m *= m.T",
        "m += m[0]", "m -= m[:, 0:1]", "m[:, 0] += m[0]", "m.T[0] += m[0]", "m /= m[0, 0]",
        "r = m.reshape(9); r[1:] += r[:-1]", "m[:] = m.T", "m[1:, 1:] = m[:-1, :-1]", "m[:, ::-1] = m",
        "m[1:] = m[0]", "m[1:, 1:] += m[:-1, :-1] * 2.0", "m[0], m[1] = m[1].copy(), m[0].copy()",
    ],
}  # fmt: skip


@functools.cache
def in_place(ndim: int) -> Any:
    return one_of("x.copy(); m = out", IN_PLACE[ndim])


@pytest.mark.parametrize(
    ("ndim", "statement"), [(n, text) for n, all_of_n in IN_PLACE.items() for text in all_of_n]
)
def test_overlapping_memory_means_what_it_means_to_numba(ndim, statement) -> None:
    """In-place operators write each element before they read the next; an assignment copies first."""
    run, which = in_place(ndim), IN_PLACE[ndim].index(statement)
    shape = (6,) if ndim == 1 else (3, 3)
    at = 1.0 + rng.random(shape)
    x = tg.tensor(at, requires_grad=True)
    out = run(x, None, which)
    np.testing.assert_allclose(out.detach().numpy(), run.primal(at, None, which), rtol=1e-14)
    weights = rng.random(shape)
    (out * tg.tensor(weights)).sum().backward()
    for k in np.ndindex(*shape):
        off = np.zeros(shape)
        off[k] = 1e-6
        above, below = run.primal(at + off, None, which), run.primal(at - off, None, which)
        slope = ((above - below) * weights).sum() / 2e-6
        assert x.grad.numpy()[k] == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("statement", ["m += y", "m -= y", "m[:2] *= y", "m /= y[0]"])
def test_an_operand_that_does_not_fit_in_place(statement) -> None:
    """As in NumPy; numba by itself writes some of it."""
    scope: dict[str, Any] = {"np": np}
    exec(f"def run(x, y):\n    m = x.copy()\n    {statement}\n    return m\n", scope)
    run = tg.njit(scope["run"])
    x, y = np.ones((1, 3)), np.ones((2, 3))
    if statement == "m /= y[0]":
        assert run(tg.tensor(x, requires_grad=True), y).tolist() == [[1.0, 1.0, 1.0]]
        return
    for given in (tg.tensor(y), tg.tensor(y, requires_grad=True)):
        with pytest.raises(ValueError, match=r"fit|broadcast"):
            run(tg.tensor(x, requires_grad=True), given)
