"""JAX's call style (`tg.grad` ...): nested arguments, arrays and floats, against exact values."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.func import jax_style as transforms
from tapegrad.tape import pytree as trees


def numbers(tree: Any) -> Any:
    """Tensors of a tree as lists and numbers; every leaf must be a passive tensor."""

    def plain(t: Any) -> Any:
        assert isinstance(t, tg.Tensor)
        assert not t.requires_grad
        return t.tolist()

    return trees.tree_map(plain, tree)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Model:
    weight: Any
    bias: Any
    name: str = dataclasses.field(default="m", metadata={"static": True})


@dataclasses.dataclass(frozen=True)
class Frozen:
    inner: Model
    scale: float

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Model):
            raise TypeError("only a Model will do")


# --------------------------------------------------------------------------- what may be an argument
@pytest.mark.parametrize(
    ("function", "argument", "expected"),
    [
        (lambda x: x**3, 2.0, 12.0),
        (lambda x: x**3, np.float64(2.0), 12.0),
        (lambda x: (x * x).sum(), np.array([1.0, 2.0]), [2.0, 4.0]),
        (lambda x: x[0] * x[1], [2.0, 3.0], [3.0, 2.0]),
        (lambda x: x[0] * x[1], (2.0, 3.0), (3.0, 2.0)),
        (lambda x: x["a"] * x["b"][0], {"b": [3.0], "a": 2.0}, {"b": [2.0], "a": 3.0}),
        (lambda x: x.first * x.second, Pair(2.0, 3.0), Pair(3.0, 2.0)),
        (lambda x: x.weight * x.bias, Model(2.0, 3.0, "n"), Model(3.0, 2.0, "n")),
        (
            lambda x: x.inner.weight * x.inner.bias * x.scale,
            Frozen(Model(2.0, 3.0), 5.0),
            Frozen(Model(15.0, 10.0), 6.0),
        ),
        (lambda x: x[0] * x[2], [2.0, None, 3.0], [3.0, None, 2.0]),
        (lambda x: x[0] * x[1], collections.deque([2.0, 3.0]), collections.deque([3.0, 2.0])),
    ],
)  # fmt: skip
def test_gradients_have_the_structure_of_the_argument(
    function: Any, argument: Any, expected: Any
) -> None:
    found, spec = trees.flatten(tg.grad(function)(argument), none_is_leaf=False)
    assert trees.unflatten(spec, numbers(found)) == expected


def test_dictionaries_keep_their_order() -> None:
    found = tg.grad(lambda p: p["z"] * p["a"] * p["m"])({"z": 1.0, "a": 2.0, "m": 3.0})
    assert list(found) == ["z", "a", "m"]


def test_other_arguments_are_left_alone_but_for_arrays() -> None:
    seen: list[Any] = []

    def f(x: Any, flag: bool, data: Any, *, options: Any) -> Any:
        seen.append((flag, type(data["x"]), data["n"], type(options["y"]), options["s"]))
        return (x * data["x"]).sum() if flag else x.sum()

    g = tg.grad(f)(
        np.ones(2), True, {"x": np.array([2.0, 3.0]), "n": 4}, options={"y": np.ones(1), "s": "t"}
    )
    assert g.tolist() == [2.0, 3.0]
    assert seen == [(True, tg.Tensor, 4, tg.Tensor, "t")]


def test_dtypes_are_kept() -> None:
    assert tg.grad(lambda x: (x * x).sum())(np.ones(2, np.float32)).dtype is tg.float32
    assert tg.grad(lambda x: (x * x).sum())(np.float32(2)).dtype is tg.float32


def test_arrays_are_not_written_to() -> None:
    x = np.array([1.0, 2.0])
    tg.grad(lambda a, b: (a * b.mul_(3)).sum())(np.ones(2), x)
    assert x.tolist() == [1.0, 2.0]


def test_tensors_of_the_caller_stay_as_they_are() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    g = tg.grad(lambda a: (a**3).sum())(x)
    assert x.grad is None
    assert tg.autograd.grad(g.sum(), x)[0].tolist() == [6.0, 12.0]


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        ("a", TypeError, "not str; close over other values"),
        (object(), TypeError, "not object"),
        (3, RuntimeError, "only Tensors of floating point dtype can require gradients"),
        (np.array([1, 2]), RuntimeError, "only Tensors of floating point dtype"),
        ({}, TypeError, "nothing to differentiate"),
        (None, TypeError, "nothing to differentiate"),
    ],
)
def test_what_cannot_be_differentiated(argument: Any, error: type, text: str) -> None:
    for transform in (tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian):
        with pytest.raises(error, match=text):
            transform(lambda x: tg.tensor(1.0))(argument)


def test_what_functions_may_return() -> None:
    assert tg.grad(lambda x: 3.0)(2.0).item() == 0.0
    assert tg.jacobian(lambda x: np.array([1.0, 2.0]))(2.0).tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="scalar Tensor, got tensor with 1 dims"):
        tg.grad(lambda x: x)(np.ones(2))
    with pytest.raises(RuntimeError, match="to return a Tensor, got <class 'list'>"):
        tg.grad(lambda x: [x])(1.0)
    with pytest.raises(TypeError, match="the result of a function that is differentiated must"):
        tg.grad(lambda x: "a")(1.0)
    with pytest.raises(TypeError, match="must return a pair"):
        tg.grad(lambda x: x, has_aux=True)(1.0)


# --------------------------------------------------------------------------- each of them
@pytest.mark.smoke
def test_value_and_grad() -> None:
    value, gradient = tg.value_and_grad(lambda x, y: x * y * y, argnums=(1, 0))(2.0, 3.0)
    assert (value.item(), numbers(gradient)) == (18.0, (12.0, 9.0))
    value, gradient = tg.value_and_grad(lambda x, y: x * y * y, argnums=[1])(2.0, 3.0)
    assert (value.item(), numbers(gradient)) == (18.0, (12.0,))


def test_aux_may_be_anything() -> None:
    def f(x: Any) -> Any:
        return x**2, {"tensor": x * 3, "text": "t", "number": 5, "none": None}

    gradient, aux = tg.grad(f, has_aux=True)(2.0)
    assert gradient.item() == 4.0
    assert aux["tensor"].item() == 6.0
    assert not aux["tensor"].requires_grad
    assert (aux["text"], aux["number"], aux["none"]) == ("t", 5, None)
    (value, aux), gradient = tg.value_and_grad(f, has_aux=True)(2.0)
    assert (value.item(), aux["text"], gradient.item()) == (4.0, "t", 4.0)
    rows, aux = tg.jacobian(lambda x: ([x, x * x], "t"), has_aux=True)(3.0)
    assert (numbers(rows), aux) == ([1.0, 6.0], "t")


def test_jacobian_is_output_by_input() -> None:
    x = {"a": np.array([1.0, 2.0]), "b": 3.0}
    found = tg.jacobian(lambda p: [p["a"] * p["b"], p["b"] ** 2])(x)
    assert numbers(found) == [
        {"a": [[3.0, 0.0], [0.0, 3.0]], "b": [1.0, 2.0]},
        {"a": [0.0, 0.0], "b": 6.0},
    ]


@pytest.mark.smoke
def test_hessian_is_input_by_input() -> None:
    found = tg.hessian(lambda p, q: p["a"] ** 2 * q + q**3, argnums=(0, 1))({"a": 2.0}, 3.0)
    assert numbers(found) == ({"a": ({"a": 6.0}, 4.0)}, ({"a": 4.0}, 18.0))


def test_hvp() -> None:
    def rosenbrock(x: Any) -> Any:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    x, v = np.linspace(0.2, 1.4, 7), np.linspace(-1, 1, 7)
    whole = tg.hessian(rosenbrock)(x).numpy()
    np.testing.assert_allclose(tg.hvp(rosenbrock, x, v).numpy(), whole @ v, rtol=1e-12)
    (alone,) = tg.hvp(rosenbrock, (x,), (v,))
    np.testing.assert_allclose(alone.numpy(), whole @ v, rtol=1e-12)
    two = tg.hvp(lambda a, b: a * b["c"] ** 2, (2.0, {"c": 3.0}), (1.0, {"c": 10.0}))
    assert numbers(two) == (60.0, {"c": 46.0})
    assert tg.hvp(lambda a: a.sum(), np.ones(2), np.ones(2)).tolist() == [0.0, 0.0]


@pytest.mark.smoke
def test_vjp_and_jvp() -> None:
    value, pull = tg.vjp(lambda x, y: {"p": x * y, "s": x + y}, 2.0, 3.0)
    assert numbers(value) == {"p": 6.0, "s": 5.0}
    assert numbers(pull({"p": 1.0, "s": 10.0})) == (13.0, 12.0)
    assert numbers(pull({"p": tg.tensor(0.0), "s": np.float64(1.0)})) == (1.0, 1.0)
    with pytest.raises(TypeError, match="structure of the output"):
        pull(1.0)
    value, tangent = tg.jvp(lambda p: {"p": p[0] * p[1]}, ([2.0, 3.0],), ([1.0, 10.0],))
    assert (numbers(value), numbers(tangent)) == ({"p": 6.0}, {"p": 23.0})
    assert tg.jvp(lambda x: (x, "t"), (2.0,), (1.0,), has_aux=True)[2] == "t"
    assert tg.vjp(lambda x: (x, "t"), 2.0, has_aux=True)[2] == "t"
    with pytest.raises(TypeError, match="must be tuples or lists"):
        tg.jvp(lambda x: x, 2.0, 1.0)
    with pytest.raises(TypeError, match="the same structure"):
        tg.jvp(lambda x: x, (2.0,), (1.0, 2.0))
    with pytest.raises(TypeError, match="the same structure"):
        tg.hvp(lambda x: x, 2.0, (1.0,))


def test_they_nest_with_each_other_and_with_func() -> None:
    f = lambda x: tg.sin(x) * x  # noqa: E731
    second = 2 * math.cos(0.4) - 0.4 * math.sin(0.4)
    for nested in (
        tg.grad(tg.grad(f)), tg.jacobian(tg.grad(f)), tg.grad(tg.func.grad(f)), tg.hessian(f),
        lambda x: tg.func.grad(tg.grad(f))(tg.tensor(x)), lambda x: tg.hvp(f, x, 1.0),
        lambda x: tg.jvp(tg.grad(f), (x,), (1.0,))[1], lambda x: tg.vjp(tg.grad(f), x)[1](1.0)[0],
    ):  # fmt: skip
        assert nested(0.4).item() == pytest.approx(second, rel=1e-14)
    batch = tg.vmap(tg.grad(f))(tg.tensor([0.4, 0.4]))
    assert batch.tolist() == pytest.approx([math.sin(0.4) + 0.4 * math.cos(0.4)] * 2)


@pytest.mark.smoke
def test_a_model_is_fitted() -> None:
    stream = np.random.default_rng(0)
    x = stream.standard_normal((50, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.3

    def loss(model: Model, x: Any, y: Any) -> Any:
        return ((x @ model.weight + model.bias - y) ** 2).mean()

    model = Model(np.zeros(3), 0.0)
    for _ in range(300):
        g = tg.grad(loss)(model, x, y)
        model = Model(model.weight - 0.1 * g.weight, model.bias - 0.1 * g.bias)
    np.testing.assert_allclose(model.weight.numpy(), [1.0, -2.0, 0.5], rtol=1e-6)
    assert model.bias.item() == pytest.approx(0.3, rel=1e-6)


def test_public_names() -> None:
    for name in transforms.__all__:
        assert getattr(tg, name) is getattr(transforms, name)
        assert name in tg.__all__


# --------------------------------------------------------------------------- high orders
def wave(x: Any, lib: Any = tg) -> Any:
    return lib.tanh(lib.sin(x) * lib.exp(x))


@pytest.mark.parametrize("at", [-1.3, -0.2, 0.3, 0.8])
def test_derivatives_to_the_eighth_agree_with_mpmath(at: float) -> None:
    with mpmath.workdps(60):
        exact = [
            float(c * mpmath.factorial(n))
            for n, c in enumerate(mpmath.taylor(lambda t: wave(t, mpmath), mpmath.mpf(at), 8))
        ]
    derivative: Any = wave
    for n in range(1, 9):
        derivative = tg.grad(derivative)
        assert derivative(at).item() == pytest.approx(exact[n], rel=1e-9), f"order {n}"


def test_derivatives_of_a_function_of_a_vector_to_the_eighth() -> None:
    """Along a line: the derivatives of ``wave(a @ x)`` are those of `wave` times powers of ``a @ v``."""
    a, x, v = np.array([0.4, -0.3, 0.7]), np.array([0.5, 0.2, 0.6]), np.array([1.0, 0.5, -0.25])

    def f(t: Any) -> Any:
        return wave((tg.tensor(a) * t).sum()) + (t**3).sum() * t[0]

    def exact(s: Any) -> Any:
        point = [mpmath.mpf(float(p)) + s * mpmath.mpf(float(q)) for p, q in zip(x, v, strict=True)]
        inner = mpmath.fsum(mpmath.mpf(float(c)) * p for c, p in zip(a, point, strict=True))
        return wave(inner, mpmath) + mpmath.fsum(p**3 for p in point) * point[0]

    with mpmath.workdps(60):
        taylor = mpmath.taylor(exact, 0, 8)
        expected = [float(c * mpmath.factorial(n)) for n, c in enumerate(taylor)]
    directional: Any = f
    for n in range(1, 9):
        directional = (lambda g: lambda t: (tg.grad(g)(t) * tg.tensor(v)).sum())(directional)
        assert directional(tg.tensor(x)).item() == pytest.approx(expected[n], rel=1e-9), (
            f"order {n}"
        )
