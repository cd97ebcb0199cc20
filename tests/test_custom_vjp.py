"""`tg.custom_vjp`, `tg.stop_gradient`, `tg.checkpoint`, `tg.jacrev` and `tg.jacfwd`: JAX's call style."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

A = np.array([0.5, 1.0, 2.0])


def cubic() -> Any:
    """x**3, whose derivative is told to be 3 x**2, by a residual that is computed."""

    @tg.custom_vjp
    def f(x: Any) -> Any:
        return x**3

    f.defvjp(lambda x: (x**3, 3 * x**2), lambda slope, g: (g * slope,))
    return f


def test_derivatives_of_any_order() -> None:
    f = cubic()
    assert f(2.0) == 8.0
    assert tg.grad(f)(2.0).item() == 12.0
    assert tg.grad(tg.grad(f))(2.0).item() == 12.0
    assert tg.grad(tg.grad(tg.grad(f)))(2.0).item() == 6.0
    x = tg.tensor(A, requires_grad=True)
    f(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * A**2)
    assert tg.jvp(f, (2.0,), (1.0,))[1].item() == 12.0
    np.testing.assert_allclose(tg.vmap(tg.grad(f))(A).numpy(), 3 * A**2)
    np.testing.assert_allclose(tg.jacrev(f)(A).numpy(), np.diag(3 * A**2))
    np.testing.assert_allclose(tg.jacfwd(f)(A).numpy(), np.diag(3 * A**2))
    np.testing.assert_allclose(tg.hessian(lambda x: f(x).sum())(A).numpy(), np.diag(6 * A))


def test_the_given_derivative_is_used_and_the_function_where_nothing_is_differentiated() -> None:
    calls = []

    @tg.custom_vjp
    def f(x: Any, y: Any) -> Any:
        calls.append("f")
        return x * y

    def fwd(x: Any, y: Any) -> Any:
        calls.append("fwd")
        return x * y, (x, y)

    def bwd(residuals: Any, g: Any) -> Any:
        calls.append("bwd")
        _, y = residuals
        return 10 * g * y, None

    f.defvjp(fwd, bwd)
    assert f(2.0, y=3.0) == 6.0
    assert calls == ["f"]
    calls.clear()
    assert [g.item() for g in tg.grad(f, argnums=(0, 1))(2.0, 3.0)] == [30.0, 0.0]
    assert calls == ["fwd", "bwd"]
    assert tg.grad(tg.grad(f), argnums=1)(2.0, 3.0).item() == 10.0  # bwd is differentiated


def test_nested_arguments_and_outputs_and_constants() -> None:
    @tg.custom_vjp
    def f(p: Any, n: int) -> Any:
        return {"value": p["w"] ** n, "sum": p["w"].sum() + p["b"]}

    def bwd(residuals: Any, g: Any) -> Any:
        p, n, name = residuals
        assert (n, name, p["n"]) == (3, "cube", 7)
        w = p["w"]
        return {"w": g["value"] * n * w ** (n - 1) + g["sum"], "b": g["sum"], "n": None}, None

    f.defvjp(lambda p, n: (f(p, n), (p, n, "cube")), bwd)
    p = {"w": A, "b": 1.0, "n": 7}
    g = tg.grad(lambda p: f(p, 3)["value"].sum() + 2 * f(p, 3)["sum"])(p)
    np.testing.assert_allclose(g["w"].numpy(), 3 * A**2 + 2)
    assert (g["b"].item(), g["n"]) == (2.0, None)

    def power_bwd(n: int, x: Any, g: Any) -> Any:
        return (n * x ** (n - 1) * g,)

    power = tg.custom_vjp(lambda n, x: x**n, nondiff_argnums=0)
    power.defvjp(lambda n, x: (x**n, x), power_bwd)
    assert tg.grad(lambda x: power(3, x))(2.0).item() == 12.0


def test_errors() -> None:
    f = tg.custom_vjp(lambda x: x)
    with pytest.raises(AttributeError, match=r"No VJP defined .*defvjp\(fwd, bwd\)"):
        f(1.0)
    f.defvjp(lambda x: x, lambda r, g: (g,))
    with pytest.raises(TypeError, match="must return a pair"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x * 1, None), lambda r, g: g)
    with pytest.raises(TypeError, match="for each of the 1 differentiated"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x * 1, None), lambda r, g: (g, g))
    with pytest.raises(TypeError, match="got 2"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x * 1, None), lambda r, g: ([g],))
    with pytest.raises(TypeError, match="of the structure of the arguments"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x * 1, None), lambda r, g: (tg.ones(3),))
    with pytest.raises(TypeError, match=r"of the shapes .* got \[3\] for \[\]"):
        tg.grad(f)(1.0)


def test_stop_gradient() -> None:
    assert tg.grad(lambda x: x * tg.stop_gradient(x))(3.0).item() == 3.0
    nested = tg.stop_gradient({"a": tg.tensor(1.0, requires_grad=True), "b": "text", "c": A})
    assert not nested["a"].requires_grad
    assert nested["b"] == "text"
    assert nested["c"] is A


def test_checkpoint_runs_the_function_again() -> None:
    runs = []

    @tg.checkpoint
    def f(x: Any, scale: float = 1.0) -> Any:
        runs.append(1)
        return tg.exp(tg.sin(x)) * scale

    assert tg.grad(lambda x: f(x, scale=2.0))(0.0).item() == 2.0
    assert len(runs) == 2
    assert f.__name__ == "f"


def test_jacobians_of_nested_arguments() -> None:
    def f(p: Any) -> Any:
        return {"y": p["a"] * p["b"]}

    p = {"a": A, "b": 2.0, "n": 3}
    for transform in (tg.jacrev, tg.jacfwd, tg.jacobian):
        j = transform(f)(p)["y"]
        np.testing.assert_allclose(j["a"].numpy(), 2 * np.eye(3))
        np.testing.assert_allclose(j["b"].numpy(), A)
        assert j["n"] is None
    value, aux = tg.jacfwd(lambda x: (x * x, {"x": x}), has_aux=True)(A)
    np.testing.assert_allclose(value.numpy(), np.diag(2 * A))
    assert aux["x"].tolist() == A.tolist()
