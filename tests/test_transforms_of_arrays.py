"""Transforms take arrays and floats, and hand what is not differentiated through; errors name the leaf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
import tapegrad.autograd.forward_ad as fwAD
from tapegrad.autograd import functional

A = np.array([1.0, 2.0])


def square(x: Any) -> Any:
    return (x * x).sum()


def numbers(tree: Any) -> Any:
    if isinstance(tree, tuple | list):
        return [numbers(x) for x in tree]
    return tree.tolist() if tg.is_tensor(tree) else tree


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: tg.func.grad(square)(A), [2.0, 4.0]),
        (lambda: tg.func.grad_and_value(square)(A), [[2.0, 4.0], 5.0]),
        (lambda: tg.func.grad(lambda x: x**3)(2.0), 12.0),
        (lambda: tg.func.vjp(lambda x: x * x, A)[1](np.ones(2)), [[2.0, 4.0]]),
        (lambda: tg.func.jvp(lambda x: x * x, (A,), (np.ones(2),)), [[1.0, 4.0], [2.0, 4.0]]),
        (lambda: tg.func.jvp(lambda x: x * x, (3.0,), (1.0,)), [9.0, 6.0]),
        (lambda: tg.func.linearize(lambda x: x * x, A)[1](np.ones(2)), [2.0, 4.0]),
        (lambda: tg.func.jacrev(lambda x: x * x)(A), [[2.0, 0.0], [0.0, 4.0]]),
        (lambda: tg.func.jacfwd(lambda x: x * x)(A), [[2.0, 0.0], [0.0, 4.0]]),
        (lambda: tg.func.jacfwd(square, randomness="different")(A), [2.0, 4.0]),
        (lambda: tg.func.hessian(square)(A), [[2.0, 0.0], [0.0, 2.0]]),
        (lambda: tg.vmap(lambda x, y: x * y)(A, tg.tensor([3.0, 4.0])), [3.0, 8.0]),
        (lambda: tg.vmap(square, in_dims=1)(np.ones((2, 3))), [2.0, 2.0, 2.0]),
        (lambda: tg.vmap(lambda x, y: x * y, in_dims=(0, None))(A, 2.0), [2.0, 4.0]),
        (lambda: tg.vmap(lambda x, y: x * y, in_dims=(0, None))(A, A), [[1.0, 2.0], [2.0, 4.0]]),
        (lambda: tg.vmap(tg.grad(square))(np.ones((2, 2))), [[2.0, 2.0], [2.0, 2.0]]),
        (lambda: functional.vjp(lambda x: x * x, A, np.ones(2)), [[1.0, 4.0], [2.0, 4.0]]),
        (lambda: functional.jvp(lambda x: x * x, A, np.ones(2)), [[1.0, 4.0], [2.0, 4.0]]),
        (lambda: functional.jacobian(lambda x: x * x, A), [[2.0, 0.0], [0.0, 4.0]]),
        (lambda: functional.hessian(square, A), [[2.0, 0.0], [0.0, 2.0]]),
        (lambda: functional.vhp(square, A, np.ones(2)), [5.0, [2.0, 2.0]]),
        (lambda: functional.hvp(square, A, np.ones(2)), [5.0, [2.0, 2.0]]),
        (lambda: tg.hvp(square, A, np.ones(2)), [2.0, 2.0]),
        (lambda: tg.jvp(square, (A,), (A,)), [5.0, 10.0]),
        (lambda: tg.hessian(square)(A), [[2.0, 0.0], [0.0, 2.0]]),
    ],
)  # fmt: skip
def test_transforms_take_arrays(call: Any, expected: Any) -> None:
    assert numbers(call()) == expected


def test_cotangents_and_tangents_may_be_arrays() -> None:
    x = tg.tensor(A, requires_grad=True)
    assert tg.autograd.grad(x * x, x, A)[0].tolist() == [2.0, 8.0]
    (x * x).backward(A)
    assert x.grad.tolist() == [2.0, 8.0]
    with fwAD.dual_level():
        assert fwAD.unpack_dual(fwAD.make_dual(A, A) ** 2).tangent.tolist() == [2.0, 8.0]


@dataclass
class Model:
    weights: Any
    order: int
    name: str


def loss(p: Any) -> Any:
    return (p["w"] ** p["n"]).sum() * len(p["name"])


PARAMETERS = {
    "w": A,
    "n": 2,
    "name": "ab",
    "f": len,
    "none": None,
    "flag": True,
    "i": np.array([0]),
}
GRADIENT = {
    "w": [4.0, 8.0],
    "n": None,
    "name": None,
    "f": None,
    "none": None,
    "flag": None,
    "i": None,
}


def plain(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: numbers(value) for key, value in tree.items()}


def test_other_leaves_of_containers_pass_through() -> None:
    assert plain(tg.grad(loss)(PARAMETERS)) == GRADIENT
    assert plain(tg.func.grad(loss)(PARAMETERS)) == GRADIENT
    assert plain(tg.vjp(loss, PARAMETERS)[1](1.0)[0]) == GRADIENT
    assert plain(tg.func.vjp(loss, PARAMETERS)[1](tg.tensor(1.0))[0]) == GRADIENT
    assert plain(tg.jacobian(loss)(PARAMETERS)) == GRADIENT
    assert plain(tg.func.jacrev(loss)(PARAMETERS)) == GRADIENT
    assert plain(tg.func.jacfwd(loss)(PARAMETERS)) == GRADIENT
    assert plain(tg.hvp(loss, PARAMETERS, PARAMETERS)) == GRADIENT
    assert numbers(tg.jvp(loss, (PARAMETERS,), (PARAMETERS,))) == [10.0, 20.0]
    assert numbers(tg.func.jvp(loss, (PARAMETERS,), (PARAMETERS,))) == [10.0, 20.0]
    hessian = tg.hessian(loss)(PARAMETERS)
    assert numbers(hessian["w"]["w"]) == [[4.0, 0.0], [0.0, 4.0]]
    assert hessian["n"] is None
    assert hessian["w"]["name"] is None


def test_what_passes_through_arrives_as_it_is() -> None:
    seen: list[Any] = []

    def f(p: Any) -> Any:
        seen.append(p)
        return p["w"].sum()

    tg.grad(f)(PARAMETERS)
    assert seen[0]["n"] == 2
    assert type(seen[0]["n"]) is int
    assert seen[0]["f"] is len
    assert seen[0]["flag"] is True
    assert seen[0]["none"] is None
    assert tg.is_tensor(seen[0]["i"])  # as arrays of other arguments
    assert seen[0]["i"].dtype is tg.int64


def test_dataclasses_and_nested_containers() -> None:
    model = Model(A, 3, "cubic")
    gradient = tg.grad(lambda m: (m.weights**m.order).sum())(model)
    assert (numbers(gradient.weights), gradient.order, gradient.name) == ([3.0, 12.0], None, None)
    nested = tg.grad(lambda a: a[0][1] * a[1]["n"] * a[0][1])([(3, 2.0), {"n": 5}])
    assert numbers(nested) == [[None, 20.0], {"n": None}]


def test_vmap_hands_leaves_without_slices_through() -> None:
    got = tg.vmap(lambda p: p["w"] ** p["n"])({"w": A, "n": 2, "name": "ab"})
    assert got.tolist() == [1.0, 4.0]
    with pytest.raises(ValueError, match="cannot vmap over non-Tensor arguments"):
        tg.vmap(lambda x, n: x * n)(A, 2)
    with pytest.raises(ValueError, match="at least one Tensor to vmap over"):
        tg.vmap(lambda p: p["n"])({"n": 2})


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        (3, RuntimeError, r"args\[0\] is an int: make it a float"),
        (np.array([1, 2]), RuntimeError, r"args\[0\] is of dtype torch.int64: make it a float"),
        ("a", TypeError, r"args\[0\] must be made of Tensors, .* not str"),
        (None, TypeError, r"args\[0\] is of type NoneType"),
        ({"n": 3, "s": ["a"]}, TypeError, r"args\[0\]\['n'\] is of type int, args\[0\]\['s'\]\[0\] is"),
        ({}, TypeError, "they are empty"),
    ],
)  # fmt: skip
def test_errors_name_the_leaf(argument: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        tg.grad(lambda x: x)(argument)
    with pytest.raises(error, match=text.replace(r"args\[0\]", r"args\[1\]")):
        tg.grad(lambda y, x: x, argnums=1)(1.0, argument)


def test_arguments_of_transforms_are_copied() -> None:
    array = np.array([1.0, 2.0])
    _, pull = tg.func.vjp(lambda x: x * x, array)
    array[:] = 100.0
    assert numbers(pull(tg.ones(2))) == [[2.0, 4.0]]


def test_structures_of_tangents_are_compared() -> None:
    with pytest.raises(TypeError, match="must have the same structure"):
        tg.jvp(loss, (PARAMETERS,), ({"w": A},))
    with pytest.raises(RuntimeError, match="the same python structure"):
        tg.func.jvp(loss, (PARAMETERS,), ({"w": A},))
    with pytest.raises(TypeError, match="must have the same structure"):
        tg.hvp(square, A, (A, A))
