"""`tapegrad.autograd.functional` beside `torch.autograd.functional`: results, flags, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from beside_torch import Case, same

import tapegrad as tg


def vec(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values or (0.3, 0.7)))


def leaf(lib: Any, *values: float) -> Any:
    return vec(lib, *values).requires_grad_()


def field(lib: Any) -> Any:
    return lambda x: lib.stack([x[0] * x[1], x[0].sin(), x[1] ** 3])


def two(lib: Any) -> Any:
    """Two arguments, two results of different shapes."""
    return lambda x, y: (x * y.sum(), (x * x).sum() + y.prod())


def energy(lib: Any) -> Any:
    return lambda x, y: (x.exp() * y).sum() + (y**3).sum()


def single(lib: Any) -> Any:
    return lambda x: (x.sin() * x * x[0]).sum()


def named(cases: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


CALLS: dict[str, Any] = {
    "vjp": lambda m, x, **o: m.autograd.functional.vjp(field(m), x, vec(m, 1.0, 2.0, 3.0), **o),
    "vjp of two": lambda m, x, **o: m.autograd.functional.vjp(
        two(m), (x, vec(m, 2.0, 5.0)), (vec(m, 1.0, 2.0), m.tensor(3.0)), **o
    ),
    "vjp of a scalar": lambda m, x, **o: m.autograd.functional.vjp(single(m), x, **o),
    "jvp": lambda m, x, **o: m.autograd.functional.jvp(field(m), x, vec(m, 1.0, 2.0), **o),
    "jvp of two": lambda m, x, **o: m.autograd.functional.jvp(
        two(m), (x, vec(m, 2.0, 5.0)), (vec(m, 1.0, 2.0), vec(m)), **o
    ),
    "jacobian": lambda m, x, **o: m.autograd.functional.jacobian(field(m), x, **o),
    "jacobian of two": lambda m, x, **o: m.autograd.functional.jacobian(
        two(m), (x, vec(m, 2.0, 5.0)), **o
    ),
    "jacobian of one in two": lambda m, x, **o: m.autograd.functional.jacobian(
        lambda a, b: a * b, (x, vec(m, 2.0, 5.0)), **o
    ),
    "jacobian of a tuple of one": lambda m, x, **o: m.autograd.functional.jacobian(
        lambda a: (a * a,), (x,), **o
    ),
    "jacobian of a matrix": lambda m, x, **o: m.autograd.functional.jacobian(
        lambda a: a.reshape(1, 2).mT @ a.reshape(1, 2), x, **o
    ),
    "hessian": lambda m, x, **o: m.autograd.functional.hessian(single(m), x, **o),
    "hessian of two": lambda m, x, **o: m.autograd.functional.hessian(
        energy(m), (x, vec(m, 2.0, 5.0)), **o
    ),
    "vhp": lambda m, x, **o: m.autograd.functional.vhp(single(m), x, vec(m, 1.0, 2.0), **o),
    "vhp of two": lambda m, x, **o: m.autograd.functional.vhp(
        energy(m), (x, vec(m, 2.0, 5.0)), (vec(m, 1.0, 2.0), vec(m)), **o
    ),
    "hvp": lambda m, x, **o: m.autograd.functional.hvp(single(m), x, vec(m, 1.0, 2.0), **o),
    "hvp of two": lambda m, x, **o: m.autograd.functional.hvp(
        energy(m), (x, vec(m, 2.0, 5.0)), (vec(m, 1.0, 2.0), vec(m)), **o
    ),
}


def by_hand() -> dict[str, list[Any]]:
    """Values and derivatives of the calls from formulas, in the order of the results' tensors."""
    x, y, v = np.array([0.3, 0.7]), np.array([2.0, 5.0]), np.array([1.0, 2.0])
    (a, b), sin, cos, e, one = x, np.sin(x), np.cos(x), np.exp(x), np.eye(2)
    field, d_field = [a * b, sin[0], b**3], np.array([[b, a], [cos[0], 0], [0, 3 * b * b]])
    two = [x * 7, x @ x + 10]
    d_two = [one * 7, np.outer(x, [1, 1]), 2 * x, y[::-1]]
    energy = e @ y + (y**3).sum()
    h_energy = [np.diag(e * y), np.diag(e), np.diag(e), np.diag(6 * y)]
    single = a * (sin @ x)
    d_single = np.array([2 * a * sin[0] + a * a * cos[0] + b * sin[1], a * (sin[1] + b * cos[1])])
    mixed = sin[1] + b * cos[1]
    h_single = np.array([
        [2 * sin[0] + 4 * a * cos[0] - a * a * sin[0], mixed],
        [mixed, a * (2 * cos[1] - b * sin[1])],
    ])  # fmt: skip
    product = [h_energy[0] @ v + h_energy[1] @ x, h_energy[2] @ v + h_energy[3] @ x]
    return {
        "vjp": [field, d_field.T @ [1, 2, 3]],
        "vjp of two": [*two, v @ d_two[0] + 3 * d_two[2], v @ d_two[1] + 3 * d_two[3]],
        "vjp of a scalar": [single, d_single],
        "jvp": [field, d_field @ v],
        "jvp of two": [*two, d_two[0] @ v + d_two[1] @ x, d_two[2] @ v + d_two[3] @ x],
        "jacobian": [d_field],
        "jacobian of two": d_two,
        "jacobian of one in two": [np.diag(y), np.diag(x)],
        "jacobian of a tuple of one": [np.diag(2 * x)],
        "jacobian of a matrix": [np.einsum("ik,j->ijk", one, x) + np.einsum("i,jk->ijk", x, one)],
        "hessian": [h_single],
        "hessian of two": h_energy,
        "vhp": [single, v @ h_single],
        "vhp of two": [energy, *product],
        "hvp": [single, h_single @ v],
        "hvp of two": [energy, *product],
    }


BY_HAND = by_hand()


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
@pytest.mark.parametrize("active", [False, True], ids=["passive", "active"])
@pytest.mark.parametrize("create_graph", [False, True], ids=["", "create_graph"])
@pytest.mark.parametrize("name", CALLS)
def test_values(name: str, create_graph: bool, active: bool, strict: bool) -> None:
    def call(m: Any) -> Any:
        x = leaf(m) if active else vec(m)
        return CALLS[name](m, x, create_graph=create_graph, strict=strict)

    for t, value in zip(flattened(call(tg)), BY_HAND[name], strict=True):
        np.testing.assert_allclose(t.detach().numpy(), value, rtol=1e-13, err_msg=name)
        assert t.requires_grad or not create_graph
    same(call)


@named({k: v for k, v in CALLS.items() if "jacobian" in k or "hessian" in k})
def test_vectorized_is_the_same(case: Any) -> None:
    same(lambda m: case(m, vec(m), vectorize=True))
    same(lambda m: case(m, leaf(m), vectorize=True, create_graph=True))


def values(found: Any) -> Any:
    """Passive tensors in tuples: torch's forward mode leaves lists, and Hessians that require grad."""
    return tuple(map(values, found)) if isinstance(found, tuple | list) else found.detach()


@named({k: v for k, v in CALLS.items() if "jacobian" in k})
def test_forward_jacobians(case: Any) -> None:
    same(lambda m: values(case(m, vec(m), vectorize=True, strategy="forward-mode")))
    same(lambda m: values(case(m, leaf(m), vectorize=True, strategy="forward-mode")))


@named({k: v for k, v in CALLS.items() if "hessian" in k})
def test_forward_hessians(case: Any) -> None:
    options = {"vectorize": True, "outer_jacobian_strategy": "forward-mode"}
    same(lambda m: values(case(m, vec(m), **options)))
    assert not flattened(case(tg, vec(tg), **options))[0].requires_grad


@named(CALLS)
def test_results_can_be_differentiated(case: Any) -> None:
    def by_argument(m: Any) -> Any:
        x = leaf(m)
        flat = flattened(case(m, x, create_graph=True))
        total = sum((t * t).sum() for t in flat)
        return m.autograd.grad(total, x)

    same(by_argument)


def flattened(value: Any) -> list[Any]:
    return [t for v in value for t in flattened(v)] if isinstance(value, tuple) else [value]


@named(CALLS)
def test_grad_stays_and_so_does_the_grad_mode(case: Any) -> None:
    x = leaf(tg)
    case(tg, x, create_graph=True)
    assert x.grad is None
    with tg.no_grad():
        case(tg, x)
        assert not tg.is_grad_enabled()
    same(lambda m: in_no_grad(m, lambda: case(m, leaf(m))))
    same(lambda m: in_no_grad(m, lambda: case(m, leaf(m), create_graph=True)))


def in_no_grad(lib: Any, f: Any) -> Any:
    with lib.no_grad():
        return f()


def test_nothing_of_a_call_stays_on_the_tape() -> None:
    before = len(tg.current_tape().leaves)
    for case in CALLS.values():
        found = flattened(case(tg, vec(tg), create_graph=True))
        sum(t.sum() for t in found).backward()  # type: ignore[attr-defined]
    assert len(tg.current_tape().leaves) == before


INDEPENDENT: dict[str, Case] = {
    "vjp": lambda m, **o: m.autograd.functional.vjp(lambda x, y: x * 2, (vec(m), vec(m)), vec(m), **o),
    "vjp constant": lambda m, **o: m.autograd.functional.vjp(lambda x: m.ones(2), vec(m), vec(m), **o),
    "vjp linear": lambda m, **o: m.autograd.functional.vjp(lambda x: x * 2, vec(m), vec(m), **o),
    "jvp": lambda m, **o: m.autograd.functional.jvp(
        lambda x, y: x * 2, (vec(m), vec(m)), (vec(m), vec(m)), **o
    ),
    "jvp constant": lambda m, **o: m.autograd.functional.jvp(lambda x: m.ones(2), vec(m), vec(m), **o),
    "jvp of some": lambda m, **o: m.autograd.functional.jvp(lambda x: (x, m.ones(2)), vec(m), vec(m), **o),
    "jacobian": lambda m, **o: m.autograd.functional.jacobian(lambda x, y: x * x, (vec(m), vec(m)), **o),
    "jacobian constant": lambda m, **o: m.autograd.functional.jacobian(lambda x: m.ones(2), vec(m), **o),
    "jacobian linear": lambda m, **o: m.autograd.functional.jacobian(lambda x: x * 2, vec(m), **o),
    "hessian": lambda m, **o: m.autograd.functional.hessian(lambda x, y: (x**3).sum(), (vec(m), vec(m)), **o),
    "hessian linear": lambda m, **o: m.autograd.functional.hessian(lambda x: x.sum(), vec(m), **o),
    "hessian constant": lambda m, **o: m.autograd.functional.hessian(lambda x: m.ones(()), vec(m), **o),
    "hessian square": lambda m, **o: m.autograd.functional.hessian(lambda x: (x * x).sum(), vec(m), **o),
    "vhp": lambda m, **o: m.autograd.functional.vhp(
        lambda x, y: (x**3).sum(), (vec(m), vec(m)), (vec(m), vec(m)), **o
    ),
    "vhp linear": lambda m, **o: m.autograd.functional.vhp(lambda x: x.sum(), vec(m), vec(m), **o),
    "vhp by parts": lambda m, **o: m.autograd.functional.vhp(
        lambda x, y: (x**3).sum() + y.sum(), (vec(m), vec(m)), (vec(m), vec(m)), **o
    ),
    "hvp": lambda m, **o: m.autograd.functional.hvp(
        lambda x, y: (x**3).sum(), (vec(m), vec(m)), (vec(m), vec(m)), **o
    ),
    "hvp linear": lambda m, **o: m.autograd.functional.hvp(lambda x: x.sum(), vec(m), vec(m), **o),
    "hvp by parts": lambda m, **o: m.autograd.functional.hvp(
        lambda x, y: (x**3).sum() + y.sum(), (vec(m), vec(m)), (vec(m), vec(m)), **o
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("create_graph", "strict"), list(itertools.product([False, True], repeat=2))
)
@named(INDEPENDENT)
def test_independence_gives_zeros_or_strictly_an_error(
    case: Any, create_graph: bool, strict: bool
) -> None:
    same(lambda m: case(m, create_graph=create_graph, strict=strict))


ERRORS: dict[str, Case] = {
    "list": lambda m: m.autograd.functional.vjp(lambda x: x, [vec(m)]),
    "number in a tuple": lambda m: m.autograd.functional.jvp(lambda x, y: x, (vec(m), [3.0])),
    "integers": lambda m: m.autograd.functional.jacobian(lambda x: x * 2, m.tensor([1, 2])),
    "number returned": lambda m: m.autograd.functional.jacobian(lambda x: 3.0, vec(m)),
    "list returned": lambda m: m.autograd.functional.vjp(lambda x: [x], vec(m)),
    "None returned": lambda m: m.autograd.functional.vjp(lambda x: (x, None), vec(m)),
    "no v": lambda m: m.autograd.functional.vjp(lambda x: x, vec(m)),
    "no v for jvp": lambda m: m.autograd.functional.jvp(lambda x: x, vec(m)),
    "no v for vhp": lambda m: m.autograd.functional.vhp(lambda x: x.sum(), vec(m)),
    "no v for hvp": lambda m: m.autograd.functional.hvp(lambda x: x.sum(), vec(m)),
    "v's shape": lambda m: m.autograd.functional.vjp(lambda x: x, vec(m), m.ones(3)),
    "v's shape in a tuple": lambda m: m.autograd.functional.vjp(
        lambda x: (x, x), vec(m), (vec(m), m.ones(3))
    ),
    "v's length": lambda m: m.autograd.functional.vjp(lambda x: (x, x), vec(m), vec(m)),
    "too many v": lambda m: m.autograd.functional.jvp(lambda x: x, vec(m), (vec(m), vec(m))),
    "v's type": lambda m: m.autograd.functional.vjp(lambda x: x, vec(m), "a"),
    "strategy": lambda m: m.autograd.functional.jacobian(lambda x: x, vec(m), strategy="sideways"),
    "hessian's strategy": lambda m: m.autograd.functional.hessian(
        lambda x: x.sum(), vec(m), outer_jacobian_strategy="sideways"
    ),
    "forward and strict": lambda m: m.autograd.functional.jacobian(
        lambda x: x, vec(m), strategy="forward-mode", strict=True
    ),
    "forward and graph": lambda m: m.autograd.functional.jacobian(
        lambda x: x, vec(m), strategy="forward-mode", create_graph=True
    ),
    "forward by loop": lambda m: m.autograd.functional.jacobian(lambda x: x, vec(m), strategy="forward-mode"),
    "vectorized and strict": lambda m: m.autograd.functional.jacobian(
        lambda x: x, vec(m), vectorize=True, strict=True
    ),
    "hessian of a vector": lambda m: m.autograd.functional.hessian(lambda x: x * x, vec(m)),
    "hessian of a tuple": lambda m: m.autograd.functional.hessian(lambda x: (x.sum(),), vec(m)),
    "vhp of a vector": lambda m: m.autograd.functional.vhp(lambda x: x, vec(m), vec(m)),
    "hvp of a tuple": lambda m: m.autograd.functional.hvp(lambda x: (x.sum(),), vec(m), vec(m)),
}  # fmt: skip


@named(ERRORS)
def test_errors(case: Case) -> None:
    found = same(case, up_to="<class")
    assert isinstance(found, str), "this should have raised"


def test_one_element_needs_no_vector() -> None:
    for name in ("vjp", "jvp", "vhp", "hvp"):
        same(
            lambda m, name=name: getattr(m.autograd.functional, name)(
                lambda x: (x**3).sum(), m.tensor([2.0])
            )
        )


def test_empty_shapes() -> None:
    assert tg.autograd.functional.jacobian(lambda x: x.sin(), tg.ones(0)).shape == (0, 0)
    found = tg.autograd.functional.jacobian(lambda x: x[:0], tg.ones(2))
    assert found.shape == (0, 2)
