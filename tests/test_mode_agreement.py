"""Forward and reverse mode at special points, over all rows of the op table, at orders 1 and 2.

The tangents of an op come from the transposition of its rule. A rule that masks what it has multiplied
(``(ct * f(x)).where(mask, 0)``) is transposed to one that multiplies what it has masked, and 0 times
infinity is NaN: so rules mask their factors. Points are zeros of both signs, ties, edges of domains,
infinities, NaN and empty operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_arguments import SAMPLES
from op_samples import ROWS, Case, cases, function_of, is_elementwise, public_rows, tg_leaf

import tapegrad as tg
from tapegrad.autograd.jacobian_products import pull, push
from tapegrad.ops.table import Op

try:
    import torch
except ImportError:
    torch = None

Arrays = list[np.ndarray]
ROWS_WITH_RULES = [e for e in public_rows() if e.vjp is not None]
ELEMENTWISE = [
    e for e in ROWS_WITH_RULES
    if is_elementwise(e) and e.name not in SAMPLES and e.domain != "integer"
]  # fmt: skip
OTHERS = [e for e in ROWS_WITH_RULES if not is_elementwise(e)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


def near(a: np.ndarray, b: np.ndarray, atol: float = 1e-300) -> np.ndarray:
    scale = np.where(np.isfinite(b), np.abs(b), 0)
    close = np.abs(a - b) <= 1e-9 * scale + atol
    found: np.ndarray = close | (a == b) | (np.isnan(a) & np.isnan(b))
    return found


def dense(t: Any, shape: Any) -> np.ndarray:
    return np.zeros(tuple(shape)) if t is None else t.detach().numpy()


# --------------------------------------------------------------------------- element by element
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, -0.5, 0.95, -0.95, 1e-310, 1e300, -1e300, 700.0, -740.0,
     30.0, -40.0, np.inf, -np.inf, np.nan]
)  # fmt: skip
FEWER = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan])

#: (row, what is compared): the points where the modes differ, and why
DIFFER: dict[tuple[str, str], tuple[Callable[..., Any], str]] = {
    ("div", "second"): (lambda x, y: np.abs(y) == 1e-310, "1 / y overflows in one of the orders"),
    ("logit", "all"): (np.isnan, "with eps, clamp's tangent of 0 meets a slope of NaN"),
}


def elementwise_cases(entry: Op) -> Iterator[Case]:
    plain = [(entry.torch or entry.name, [entry.domain] * entry.arity, {})]
    for name, domains, kwargs in ROWS.get(entry.name, plain):
        points = SPECIAL if len(domains) < 3 else FEWER
        args: list[Any] = [a.reshape(-1) for a in np.meshgrid(*[points] * len(domains))]
        if domains[0] == "bool":
            args[0] = args[0] > 0
        call = function_of(tg, name)
        assert call is not None
        yield Case(entry.name, name, call, None, args, kwargs)


def agree(case: Case, order: str, have: Any, want: Any) -> None:
    first = want.shape
    differs, _reason = DIFFER.get((case.row, order), DIFFER.get((case.row, "all"), (None, "")))
    apart = np.zeros(first, bool) if differs is None else differs(*case.arrays)
    if not case.kwargs and case.row == "logit":
        apart = np.zeros(first, bool)
    wrong = ~(near(have, want) | apart)
    points = [tuple(float(v) for v in a[wrong][:5]) for a in case.arrays]
    assert not wrong.sum(), f"{case} {order}: at {points} {have[wrong][:5]}, not {want[wrong][:5]}"


@pytest.mark.parametrize("entry", ELEMENTWISE, ids=lambda e: e.name)
def test_elementwise_modes_agree(entry: Op) -> None:
    for case in elementwise_cases(entry):
        leaves, (out, *_) = case.run()
        inputs = [x for x in leaves if x.requires_grad]
        one = tg.ones(out.shape)
        for x in inputs:
            (g,) = pull([out], [x], [one], create_graph=True, retain_graph=True)
            (t,) = push([out], [x], [one], create_graph=True)
            agree(case, "first", dense(t, x.shape), dense(g, x.shape))
            for z in inputs:
                reverse = None
                if g is not None and g.requires_grad:
                    (reverse,) = pull([g], [z], [one], retain_graph=True)
                    want = dense(reverse, z.shape)
                    agree(case, "second", dense(push([g], [z], [one])[0], z.shape), want)
                want = dense(reverse, z.shape)
                if t is None or not t.requires_grad:
                    agree(case, "second", dense(None, z.shape), want)
                    continue
                agree(case, "second", dense(push([t], [z], [one])[0], z.shape), want)
                (over,) = pull([t], [z], [one], retain_graph=True)
                agree(case, "second", dense(over, z.shape), want)


#: exact derivatives at points where a masked factor is infinite or NaN: (function, point, slope)
EXACT: list[tuple[str, Callable[[Any], Any], float, float]] = [
    ("xlogy in x", lambda x: tg.xlogy(x, tg.zeros(())), 0.0, 0.0),
    ("atan2 in y", lambda y: tg.atan2(y, tg.zeros(())), 0.0, 0.0),
    ("atan2 in x", lambda x: tg.atan2(tg.zeros(()), x), 0.0, 0.0),
    ("logit outside", tg.logit, 1.5, np.nan),
    ("logit at its edge", tg.logit, 0.0, np.inf),
    ("elu at nan", tg.elu, np.nan, np.nan),
    ("abs at nan", tg.abs, np.nan, 0.0),
    ("relu at 0", tg.relu, 0.0, 0.0),
]


@pytest.mark.parametrize(("f", "at", "slope"), [c[1:] for c in EXACT], ids=[c[0] for c in EXACT])
def test_slopes_at_special_points(f: Callable[[Any], Any], at: float, slope: float) -> None:
    x, one = tg.tensor(at), tg.ones(())
    found = [
        tg.func.grad(f)(x),
        tg.func.jvp(f, (x,), (one,))[1],
        tg.func.jacfwd(f)(x),
        tg.func.linearize(f, x)[1](one),
        tg.autograd.functional.jvp(f, x)[1],
    ]
    np.testing.assert_array_equal([t.item() for t in found], [slope] * len(found))


def test_signs_of_nan() -> None:
    nan = tg.tensor([np.nan, -2.0, -0.0, 3.0])
    assert tg.sign(nan).tolist() == [0.0, -1.0, 0.0, 1.0]
    assert tg.sgn(nan).tolist() == [0.0, -1.0, 0.0, 1.0]
    assert tg.heaviside(nan, tg.tensor(0.25)).tolist() == [0.0, 0.0, 0.25, 1.0]
    assert tg.sign(tg.tensor([3, -2, 0])).tolist() == [1, -1, 0]


# --------------------------------------------------------------------------- everything else
#: finite points, where both modes and torch agree; then such as are not
FINITE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as drawn": lambda a: a,
    "zeros": lambda a: a * 0,
    "zeros of both signs": lambda a: a * 0 * np.cos(np.pi * np.arange(a.size)).reshape(a.shape),
    "ones": lambda a: a * 0 + 1,
    "-ones": lambda a: a * 0 - 1,
    "one zero": lambda a: with_one(a, 0.0),
}  # fmt: skip
NOT_FINITE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one inf": lambda a: with_one(a, np.inf),
    "one -inf": lambda a: with_one(a, -np.inf),
    "one nan": lambda a: with_one(a, np.nan),
    "all inf": lambda a: a * 0 + np.inf,
    "all -inf": lambda a: a * 0 - np.inf,
    "all nan": lambda a: a * 0 + np.nan,
}
#: rows whose slopes at ties torch gives to other elements
TIES = {"pick_topk": "which of equal elements come out on top is open"}


#: rows of linear algebra that have values for any finite matrix; of the others, most points are singular
ANY_MATRIX = {"linalg_matrix_exp"}


def points_of(entry: Op, *, finite: bool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Where the derivatives of a row are compared."""
    if entry.name.startswith("linalg_") and entry.name not in ANY_MATRIX:
        return {"as drawn": FINITE["as drawn"]}
    return FINITE if finite else {**FINITE, **NOT_FINITE}


def with_one(a: np.ndarray, value: float) -> np.ndarray:
    a = a.copy()
    if a.size:
        a.reshape(-1)[a.size // 2] = value
    return a


def moved(case: Case, how: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    return [how(a) if on else a for a, on in zip(case.arrays, case.active, strict=True)]


def small_cases(entry: Op, other: Any = None) -> list[Case]:
    """Cases whose whole Jacobian is soon made."""
    small = [
        c for c in cases(entry, other) if any(c.active) and sum(a.size for a in c.arrays) <= 24
    ]
    return small[:6]


def units(t: Any) -> np.ndarray:
    n = int(np.prod(tuple(t.shape), dtype=int))
    return np.eye(n).reshape(n, *t.shape)


def joined(values: Any, like: list[Any]) -> np.ndarray:
    return np.concatenate([dense(t, x.shape).ravel() for t, x in zip(values, like, strict=True)])


def by_rows(outputs: list[Any], inputs: list[Any]) -> np.ndarray:
    rows = [
        joined(pull([y], inputs, [tg_leaf(u, active=False)], retain_graph=True), inputs)
        for y in outputs for u in units(y)
    ]  # fmt: skip
    return np.array(rows).reshape(len(rows), sum(x.numel() for x in inputs))


def by_columns(outputs: list[Any], inputs: list[Any]) -> np.ndarray:
    columns = [
        joined(push(outputs, [x], [tg_leaf(u, active=False)]), outputs)
        for x in inputs for u in units(x)
    ]  # fmt: skip
    return np.array(columns).reshape(len(columns), sum(y.numel() for y in outputs)).T


def by_torch(outputs: list[Any], inputs: list[Any]) -> np.ndarray:
    rows = []
    for y in outputs:
        for u in units(y):
            found = torch.autograd.grad(
                [y], inputs, [torch.tensor(u)], retain_graph=True, allow_unused=True
            )
            rows.append(np.concatenate([
                np.zeros(x.numel()) if g is None else g.numpy(force=True).ravel()
                for g, x in zip(found, inputs, strict=True)
            ]))  # fmt: skip
    return np.array(rows).reshape(len(rows), sum(x.numel() for x in inputs))


def parts(case: Case, arrays: Arrays) -> tuple[list[Any], list[Any]]:
    leaves, outputs = case.run(arrays)
    return [y for y in outputs if y.requires_grad], [x for x in leaves if x.requires_grad]


@pytest.mark.parametrize("entry", OTHERS, ids=lambda e: e.name)
def test_jacobians_agree(entry: Op) -> None:
    for case in small_cases(entry):
        for label, how in points_of(entry, finite=False).items():
            outputs, inputs = parts(case, moved(case, how))
            if not outputs:
                continue
            rows, columns = by_rows(outputs, inputs), by_columns(outputs, inputs)
            same = near(columns, rows, 1e-13)
            if label in NOT_FINITE:
                # 0 * inf is NaN: forward mode has the zeros of a tangent, reverse mode of a cotangent.
                same |= np.isnan(columns) | np.isnan(rows)
            assert same.all(), f"{case}, {label}: {columns[~same][:5]}, not {rows[~same][:5]}"


@pytest.mark.parametrize("entry", OTHERS, ids=lambda e: e.name)
def test_second_derivatives_agree(entry: Op) -> None:
    """The Hessian of ``<ct, f(x)>`` along two directions, by all four ways."""
    rng = np.random.default_rng(3)
    for case in small_cases(entry):
        for label, how in points_of(entry, finite=True).items():
            outputs, inputs = parts(case, moved(case, how))
            if not outputs:
                continue
            cts = [tg_leaf(rng.uniform(0.5, 1.5, tuple(y.shape)), active=False) for y in outputs]
            v, w = (
                [tg_leaf(rng.uniform(-1, 1, tuple(x.shape)), active=False) for x in inputs]
                for _ in range(2)
            )
            gradient = pull(outputs, inputs, cts, create_graph=True, retain_graph=True)
            tangent = push(outputs, inputs, v, create_graph=True)
            want = inner(pull_active(gradient, inputs, w), v)
            have = {
                "forward over reverse": inner(push_active(gradient, inputs, v), w),
                "reverse over forward": inner(pull_active(tangent, inputs, cts), w),
                "forward over forward": inner(push_active(tangent, inputs, w), cts),
            }
            for name, value in have.items():
                same = near(np.array(value), np.array(want), 1e-11)
                assert same, f"{case}, {label}, {name}: {value}, not {want}"


def pull_active(values: list[Any], inputs: list[Any], cts: list[Any]) -> list[Any]:
    chosen = [
        (y, ct) for y, ct in zip(values, cts, strict=True) if y is not None and y.requires_grad
    ]
    if not chosen:
        return [None] * len(inputs)
    ys, seeds = zip(*chosen, strict=True)
    return pull(ys, inputs, seeds, retain_graph=True)


def push_active(values: list[Any], inputs: list[Any], along: list[Any]) -> list[Any]:
    return [
        None if y is None or not y.requires_grad else push([y], inputs, along)[0] for y in values
    ]


def inner(found: list[Any], others: list[Any]) -> float:
    return float(
        sum(
            np.sum(dense(t, u.shape) * u.numpy())
            for t, u in zip(found, others, strict=True)
            if t is not None
        )
    )


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("entry", [e for e in OTHERS if e.torch], ids=lambda e: e.name)
def test_jacobians_at_special_points_are_torchs(entry: Op) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        for case in small_cases(entry, torch):
            if case.torch_call is None:
                continue
            for label, how in points_of(entry, finite=True).items():
                if entry.name in TIES and label != "as drawn":
                    continue
                arrays = moved(case, how)
                outputs, inputs = parts(case, arrays)
                leaves, theirs = case.run_torch(arrays)
                want = by_torch(
                    [y for y in theirs if y.requires_grad], [x for x in leaves if x.requires_grad]
                )
                rows = by_rows(outputs, inputs)
                assert rows.shape == want.shape, (case, label)
                same = near(rows, want, 1e-13)
                assert same.all(), f"{case}, {label}: {rows[~same][:5]}, torch {want[~same][:5]}"
    finally:
        torch.set_default_dtype(torch.float32)


# --------------------------------------------------------------------------- pieces of polynomials
#: functions whose derivatives end, with the orders of which PyTorch knows that they are 0
PIECES: list[tuple[str, Callable[[Any], Any], list[list[float]]]] = [
    ("relu", tg.relu, [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
    ("leaky_relu", tg.leaky_relu, [[0.01, 0.01, 1], [0, 0, 0]]),
    ("square", tg.square, [[-4, 0, 6], [2, 2, 2], [0, 0, 0]]),
    ("power of 2", lambda x: x**2, [[-4, 0, 6], [2, 2, 2], [0, 0, 0]]),
    ("squared relu", lambda x: tg.relu(x) ** 2, [[0, 0, 6], [0, 0, 2], [0, 0, 0]]),
]


@pytest.mark.parametrize("piece", PIECES, ids=lambda p: p[0])
def test_derivatives_of_pieces_end_with_zeros(piece: Any) -> None:
    """Grad of grad is 0 there, and not an error that nothing requires grad."""
    _, f, orders = piece
    x = tg.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    y = f(x).sum()
    for expected in orders:
        (y,) = tg.autograd.grad(y, x, create_graph=True)
        assert y.tolist() == expected
        y = y.sum()


# --------------------------------------------------------------------------- identities and empties
def test_an_empty_vector_that_is_joined_has_a_gradient() -> None:
    nothing, x = tg.tensor([], requires_grad=True), tg.ones(2, 3, requires_grad=True)
    for dim in (0, 1, -1):
        joined = tg.cat([nothing, x, nothing], dim)
        a, b = tg.autograd.grad((joined * 2).sum(), [nothing, x])
        assert joined.shape == (2, 3)
        assert a.shape == (0,)
        assert b.tolist() == [[2.0] * 3] * 2
    assert tg.cat([nothing, nothing], 1).shape == (0,)  # PyTorch does not ask for the dimension
    assert tg.cat([nothing, tg.ones(2, 3)]).requires_grad


def test_power_zero_of_a_matrix_is_on_the_graph() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, np.nan]], requires_grad=True)
    one = tg.matrix_power(x, 0)
    assert one.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert tg.autograd.grad(one.sum(), x)[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert tg.matrix_power(tg.tensor([[5, 6], [7, 8]]), 0).tolist() == [[1, 0], [0, 1]]


def test_products_over_no_dimension_of_numbers() -> None:
    x = tg.tensor(-3.0, requires_grad=True)
    product = tg.tensordot(x, x, 0)
    assert product.shape == ()
    assert tg.autograd.grad(product, x)[0].item() == -6.0
