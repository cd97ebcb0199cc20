"""`tg.implicit`: derivatives through roots, fixed points and optima, by the implicit function theorem."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


def newton(a: Any) -> Any:
    x = 1.0
    for _ in range(40):
        x = (x + a / x) / 2
    return x


def square_less(x: Any, a: Any) -> Any:
    return x * x - a


root = tg.implicit(newton, square_less)


def test_values_and_derivatives_of_a_number_to_order_four() -> None:
    assert tg.func.implicit is tg.implicit
    f, expected = root, 2.0
    for factor in (0.5, -0.5, -1.5, -2.5):
        f, expected = tg.grad(f), expected * factor / 4.0
        assert f(4.0).item() == pytest.approx(expected, rel=1e-12)
    assert root(4.0).item() == 2
    forward = tg.jacfwd(tg.jacfwd(tg.jacfwd(root)))(4.0)
    assert forward.item() == pytest.approx(3 / 8 * 4.0**-2.5)
    value, tangent = tg.jvp(root, (4.0,), (3.0,))
    assert (value.item(), tangent.item()) == (2, 0.75)
    assert tg.hessian(root)(4.0).item() == pytest.approx(-1 / 32)


def test_backward_and_keywords() -> None:
    a = tg.tensor(9.0, requires_grad=True)
    root(a=a).backward()
    assert a.grad.item() == pytest.approx(1 / 6)


def test_vmap_jacobian_and_jit_go_around() -> None:
    a = tg.tensor([1.0, 4.0, 9.0])
    np.testing.assert_allclose(tg.vmap(root)(a), [1, 2, 3])
    np.testing.assert_allclose(tg.vmap(tg.grad(root))(a), [1 / 2, 1 / 4, 1 / 6])
    np.testing.assert_allclose(
        tg.vmap(tg.grad(tg.grad(root)))(a), -0.25 * np.array([1, 4, 9]) ** -1.5
    )
    outer = tg.jacobian(lambda a: tg.vmap(root)(a))(a)
    np.testing.assert_allclose(outer, np.diag([1 / 2, 1 / 4, 1 / 6]))

    def read(a: Any) -> float:
        return math.sqrt(a.item())

    reading = tg.implicit(read, square_less)
    np.testing.assert_allclose(tg.vmap(tg.grad(reading))(a), [1 / 2, 1 / 4, 1 / 6])
    slope = tg.jit(tg.grad(reading))
    assert [slope(np.array(v)).item() for v in (4.0, 9.0, 4.0)] == pytest.approx(
        [1 / 4, 1 / 6, 1 / 4]
    )


MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.2, 0.0, 1.5]])
RIGHT = np.array([1.0, 2.0, -1.0])


def solve(p: Any) -> Any:
    x = np.linalg.solve(p["A"].numpy(), p["b"].numpy())
    return {"u": x[:1], "v": (x[1:], "label")[0]}


linear = tg.implicit(solve, lambda x, p: p["A"] @ tg.cat([x["u"], x["v"]]) - p["b"])


def test_containers_against_the_function_that_is_differentiated_itself() -> None:
    def ours(A: Any, b: Any) -> Any:
        x = linear({"A": A, "b": b, "name": "system", "n": 3})
        return tg.cat([x["u"], x["v"]])

    for transform in (tg.jacobian, tg.jacfwd, tg.hessian):
        for argnum in (0, 1):
            mine = transform(ours, argnums=argnum)(MATRIX, RIGHT)
            direct = transform(tg.linalg.solve, argnums=argnum)(tg.tensor(MATRIX), tg.tensor(RIGHT))
            np.testing.assert_allclose(mine, direct, rtol=1e-10, atol=1e-13)
    A, b = (tg.tensor(v, requires_grad=True) for v in (MATRIX, RIGHT))
    assert tg.autograd.gradcheck(ours, (A, b), check_forward_ad=True, check_batched_grad=True)
    assert tg.autograd.gradgradcheck(ours, (A, b))
    gradient = tg.grad(lambda p: linear(p)["u"].sum())({"A": MATRIX, "b": RIGHT, "name": "system"})
    assert gradient["name"] is None


def test_fixed_points() -> None:
    def iterate(a: Any) -> Any:
        x = tg.zeros(2)
        for _ in range(200):
            x = step(x, a)
        return x

    def step(x: Any, a: Any) -> Any:
        return 0.5 * tg.cos(a * x) + tg.stack([x[1], x[0]]) / 4

    fixed = tg.implicit(iterate, step, kind="fixed_point")
    a = tg.tensor([0.7, 1.3])
    np.testing.assert_allclose(tg.jacobian(fixed)(a), tg.jacobian(iterate)(a), rtol=1e-9)
    np.testing.assert_allclose(tg.hessian(fixed)(a), tg.hessian(iterate)(a), rtol=1e-8, atol=1e-12)


def test_optima() -> None:
    data, target = np.arange(6.0).reshape(3, 2) / 5, np.array([1.0, -2.0, 0.5])

    def objective(w: Any, rate: Any) -> Any:
        return ((tg.tensor(data) @ w["w"] - tg.tensor(target)) ** 2).sum() + rate * (
            w["w"] ** 2
        ).sum()

    def descend(rate: Any) -> Any:  # a solver that differentiates, and knows nothing of transforms
        w = tg.zeros(2, requires_grad=True)
        for _ in range(400):
            loss = objective({"w": w}, rate)
            (g,) = tg.autograd.grad(loss, w)
            with tg.no_grad():
                w -= 0.2 * g
        return {"w": w.detach()}

    def direct(rate: Any) -> Any:
        x = tg.tensor(data)
        return tg.linalg.solve(x.mT @ x + rate * tg.eye(2), x.mT @ tg.tensor(target))

    ridge = tg.implicit(descend, objective, kind="optimum")
    rate = tg.tensor(0.7, requires_grad=True)
    (mine,) = tg.autograd.grad(ridge(rate)["w"].sum(), rate, create_graph=True)
    (second,) = tg.autograd.grad(mine, rate)
    assert mine.item() == pytest.approx(tg.grad(lambda r: direct(r).sum())(0.7).item(), rel=1e-6)
    expected = tg.hessian(lambda r: direct(r).sum())(0.7).item()
    assert second.item() == pytest.approx(expected, rel=1e-5)


def test_bounds_by_a_projected_gradient() -> None:
    clipped = tg.implicit(
        lambda a: np.clip(a.numpy(), 0, None),
        lambda x, a: tg.clamp(x - 2 * (x - a), min=0.0),
        kind="fixed_point",
    )
    assert tg.jacobian(clipped)(np.array([1.0, -2.0, 3.0])).tolist() == np.diag([1, 0, 1]).tolist()


def test_solvers_of_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")

    @tg.implicit(condition=lambda x, a, b: x**3 + a * x - b)
    def cubic(a: Any, b: Any) -> Any:
        return optimize.root_scalar(lambda x: x**3 + a.item() * x - b.item(), bracket=(-9, 9))

    a, b = 2.0, 5.0
    x = cubic(a, b).item()
    slope = 3 * x * x + a
    assert [g.item() for g in tg.grad(cubic, argnums=(0, 1))(a, b)] == pytest.approx(
        [-x / slope, 1 / slope]
    )
    brent = tg.implicit(
        lambda a: optimize.brentq(lambda x: x * x - a, 0, 10), lambda x, a: x * x - a
    )
    assert tg.grad(brent)(4.0).item() == pytest.approx(0.25)
    nearest = tg.implicit(
        lambda a: optimize.minimize(lambda x: ((x - a.numpy()) ** 2).sum(), np.zeros(2)),
        lambda x, a: ((x - a) ** 2).sum(), kind="optimum",
    )  # fmt: skip
    np.testing.assert_allclose(tg.jacobian(nearest)(np.ones(2)), np.eye(2), atol=1e-12)
    stopped = tg.implicit(
        lambda a: optimize.minimize(optimize.rosen, np.zeros(3), options={"maxiter": 2}),
        lambda x, a: x - a,
    )
    with pytest.raises(RuntimeError, match=r"did not converge: Maximum number of iterations"):
        stopped(np.ones(3))


def test_minimise_inside_with_tapegrads_own_adapter() -> None:
    pytest.importorskip("scipy")
    from tapegrad.scipy import minimize

    def loss(x: Any, p: Any) -> Any:
        return ((x - p["c"]) ** 4).sum() + p["k"] * (x**2).sum()

    best = tg.implicit(
        lambda p: minimize(loss, np.zeros(2), (p,), "trust-exact", tol=1e-12).x,
        loss,
        kind="optimum",
    )
    p = {"c": np.array([1.0, 2.0]), "k": 0.5}
    gradient = tg.grad(lambda p: (best(p) ** 2).sum())(p)
    h = 1e-4
    up, down = (float((best({**p, "k": 0.5 + s * h}) ** 2).sum()) for s in (1, -1))
    assert gradient["k"].item() == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_wrong_solutions_and_singular_jacobians_raise() -> None:
    wrong = tg.implicit(lambda a: a * 3, lambda x, a: x - 2 * a)
    for call in (wrong, tg.grad(wrong), lambda a: tg.jvp(wrong, (a,), (1.0,))):
        with pytest.raises(
            RuntimeError, match=r"`<lambda>` did not converge: the largest residual .* is 1,"
        ):
            call(1.0)
    # scales do not matter: x is as far away in other units
    tiny = tg.implicit(lambda a: a * 3, lambda x, a: 1e-12 * (x - 2 * a))
    with pytest.raises(RuntimeError, match="did not converge"):
        tiny(1.0)
    assert tg.grad(tg.implicit(lambda a: a * 3, lambda x, a: x - 2 * a, tol=None))(1.0).item() == 2
    double = tg.implicit(lambda a: 0.0 * a, lambda x, a: (x - 0 * a) ** 2)
    for call in (double, tg.grad(double)):
        with pytest.raises(tg.linalg.LinAlgError, match="is singular at the solution"):
            call(1.0)
    line = tg.implicit(lambda a: tg.ones(2) * a, lambda x, a: tg.stack([x.sum() - 2 * a] * 2))
    with pytest.raises(tg.linalg.LinAlgError, match="no derivative"):
        line(1.0)
    nearly = tg.implicit(
        lambda a: tg.ones(2) * a,
        lambda x, a: tg.stack([x.sum() - 2 * a, x[0] + (1 + 1e-16) * x[1] - 2 * a + x[0] * 1e-17]),
    )
    with pytest.raises(tg.linalg.LinAlgError):
        nearly(1.0)
    # badly scaled is not singular
    scaled = tg.implicit(
        lambda a: tg.stack([a * 1e-12, a * 1e12]),
        lambda x, a: x * tg.tensor([1e15, 1e-9]) - 1e3 * a,
    )
    np.testing.assert_allclose(tg.jacobian(scaled)(1.0), [1e-12, 1e12])
    nan = tg.implicit(lambda a: a * math.nan, lambda x, a: x * x - a)
    with pytest.raises(RuntimeError, match=r"`<lambda>` returned nan"):
        nan(1.0)


def test_derivatives_are_not_lost_without_a_word() -> None:
    w = tg.tensor(2.0, requires_grad=True)
    captured = tg.implicit(lambda a: a * 2, lambda x, a: x - a * w)
    for call in (captured, tg.grad(captured)):
        with pytest.raises(
            RuntimeError, match=r"uses a tensor that requires grad and is no parameter"
        ):
            call(1.0)
    solved = tg.implicit(lambda a: a * w, lambda x, a: x - 2 * a)
    with pytest.raises(RuntimeError, match=r"what `<lambda>` returns requires grad"):
        solved(1.0)
    with pytest.raises(RuntimeError, match=r"is no parameter"):
        tg.grad(lambda v: tg.implicit(lambda a: a * 2, lambda x, a: x - a * v)(1.0))(2.0)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="implicit: `condition` is missing"):
        tg.implicit(newton)
    with pytest.raises(TypeError, match="implicit: condition must be a function, not int"):
        tg.implicit(newton, 3)
    with pytest.raises(TypeError, match="implicit: solver must be a function, not float"):
        tg.implicit(2.0, square_less)
    with pytest.raises(
        ValueError, match="kind must be one of root, fixed_point, optimum, not 'max'"
    ):
        tg.implicit(newton, square_less, kind="max")
    with pytest.raises(
        ValueError, match=r"has 1 values for 2 unknowns; a fixed point needs as many"
    ):
        tg.implicit(lambda a: tg.ones(2), lambda x, a: x.sum(), kind="fixed_point")(1.0)
    with pytest.raises(TypeError, match=r"the result of `<lambda>` must be made of .*, not str"):
        tg.implicit(lambda a: "x", lambda x, a: x)(1.0)
    with pytest.raises(TypeError, match="returned no numbers"):
        tg.implicit(lambda a: None, lambda x, a: x)(1.0)


def test_dtypes_and_parameters_that_a_solver_writes() -> None:
    def greedy(a: Any) -> Any:
        a *= 0  # its own copy
        return np.array([2.0, 3.0])

    solve = tg.implicit(greedy, lambda x, a: x - a)
    a = tg.tensor([2.0, 3.0], dtype=tg.float32, requires_grad=True)
    x = solve(a)
    assert x.dtype == tg.float64
    x.sum().backward()
    assert a.dtype == a.grad.dtype == tg.float32
    assert a.tolist() == [2, 3]
    single = tg.implicit(lambda a: a.to(tg.float32), lambda x, a: x - a)
    assert tg.grad(lambda a: single(a).sum())(tg.tensor([1.0, 2.0])).tolist() == [1, 1]


def test_scipy_under_vmap_and_jit() -> None:
    pytest.importorskip("scipy")
    from tapegrad.scipy import minimize

    def loss(x: Any, a: Any) -> Any:
        return ((x - a) ** 2).sum() + (x**4).sum() / 4  # x**3 + 2 x = 2 a

    best = tg.implicit(
        lambda a: minimize(loss, np.zeros(1), (a,), tol=1e-12).x[0], loss, kind="optimum"
    )
    a = tg.tensor([0.5, 1.5, 3.0])
    x = tg.vmap(best)(a)
    np.testing.assert_allclose(x**3 + 2 * x, 2 * a, rtol=1e-6)
    np.testing.assert_allclose(tg.vmap(tg.grad(best))(a), 2 / (3 * x**2 + 2), rtol=1e-6)
    slope = tg.jit(tg.grad(best))
    for k in range(3):
        assert slope(a[k].numpy()) == pytest.approx((2 / (3 * x[k] ** 2 + 2)).item(), rel=1e-6)
