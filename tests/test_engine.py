"""The reverse sweep: arguments, seeds, accumulation, what is visited; against torch where installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

LIBS = [tg] if torch is None else [tg, torch]


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Any:
    if torch is not None:
        torch.set_default_dtype(torch.float64)
    yield
    if torch is not None:
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def x() -> Any:
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def numeric(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences."""
    grad = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[i] = 1e-6
        grad[i] = (function(at + step) - function(at - step)) / 2e-6
    return grad


# --------------------------------------------------------------------------- gradients
PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda x: ((x * 2 + 1).exp() * 0.01).sum(),
    "diamond": lambda x: ((x * x) * (x * x).sin() + (x * x).exp() * 1e-3).sum(),
    "same operand twice": lambda x: (x * x * x).sum(),
    "many uses": lambda x: (x + x + x + x * x + x / (x * x + 1)).sum(),
    "broadcast row": lambda x: (x.reshape(3, 1) * x).sum(),
    "broadcast scalar": lambda x: (x * x[0] + x[1]).sum(),
    "views": lambda x: (x[1:] * x[:-1]).sum() + x.reshape(3, 1).T.mean(),
    "expanded": lambda x: (x.expand(4, 3) * x.expand(4, 3)).sum(),
    "written": lambda x: _written(x),
    "reduced": lambda x: (x - x.mean()).pow(2).sum() / x.sum(),
    "product": lambda x: (x.reshape(3, 1) @ x.reshape(1, 3)).tanh().sum(),
    "indexed": lambda x: (x[tg.tensor([0, 0, 2])] * x).sum(),
    "joined": lambda x: (tg.cat([x, x * x]) * tg.cat([x.exp(), x])).sum(),
    "where": lambda x: tg.where(x > 1.5, x * x, x.sin()).sum(),
    "detached": lambda x: (x * x.detach() + x).sum() - (x.detach() * x.detach() / 2).sum(),
}


def _written(x: Any) -> Any:
    y = x * 1
    y[0] = x[1] * x[2]
    y[1:] *= x[:2]
    y += x.sin()
    return (y * y).sum()


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_against_differences(name: str) -> None:
    function = PROGRAMS[name]
    at = np.array([0.7, 1.8, -0.4])
    x = tg.tensor(at, requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    want = numeric(lambda v: function(tg.tensor(v)).item(), at)
    if name == "detached":  # differences see what detach() hides
        want = at + 1
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", PROGRAMS)
def test_paths_of_the_engine_agree(name: str) -> None:
    """backward, grad, a retained graph, seeds, inputs=, replay: the same bits."""
    x = tg.tensor([0.7, 1.8, -0.4], requires_grad=True)
    function = PROGRAMS[name]
    function(x).backward()
    first = x.grad.tolist()
    x.grad = None
    s = function(x)
    s.backward(retain_graph=True)
    assert x.grad.tolist() == first
    assert tg.autograd.grad(s, x, retain_graph=True)[0].tolist() == first
    assert tg.autograd.grad([s], [x], [tg.tensor(1.0)], retain_graph=True)[0].tolist() == first
    x.grad = None
    s.backward(tg.tensor(1.0), retain_graph=True, inputs=[x])
    assert x.grad.tolist() == first
    replayed = tg.autograd.grad(s, x, create_graph=True)[0]
    np.testing.assert_allclose(replayed.detach().numpy(), first, rtol=1e-13, atol=1e-15)
    x.grad = None
    tg.autograd.backward([s], [tg.tensor(2.0)])
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array(first), rtol=1e-13)


@pytest.mark.smoke
def test_a_gradient_is_linear_in_its_seed(x: Any) -> None:
    y = x * x
    seeds = [tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 5.0, 0.0]), tg.tensor([2.0, 3.0, 4.0])]
    grads = [tg.autograd.grad(y, x, s, retain_graph=True)[0].numpy() for s in seeds]
    np.testing.assert_array_equal(grads[0], [2, 0, 0])
    np.testing.assert_array_equal(grads[1], [0, 20, 0])
    np.testing.assert_array_equal(grads[2], [4, 12, 24])


def test_seeds_of_other_layouts(x: Any) -> None:
    y = x.reshape(3, 1) * x
    seed = tg.tensor(np.arange(9.0).reshape(3, 3))
    want = tg.autograd.grad(y, x, seed.T.clone(), retain_graph=True)[0].tolist()
    assert tg.autograd.grad(y, x, seed.T, retain_graph=True)[0].tolist() == want
    ones = tg.ones(1, 1).expand(3, 3)
    assert tg.autograd.grad(y, x, ones, retain_graph=True)[0].tolist() == [12, 12, 12]
    assert tg.autograd.grad(y.T[1:], x, seed[1:], create_graph=True)[0].shape == (3,)


@pytest.mark.smoke
def test_several_roots(x: Any) -> None:
    a, b = x * 2, (x * x).sum()
    tg.autograd.backward([a, b], [tg.ones(3), None])
    assert x.grad.tolist() == [4, 6, 8]
    (g,) = tg.autograd.grad([x * 2, x * 3, (x * x).sum()], x, [tg.ones(3), tg.ones(3), None])
    assert g.tolist() == [7, 9, 11]


@pytest.mark.smoke
def test_the_same_root_or_input_twice(x: Any) -> None:
    s = (x * x).sum()
    (g,) = tg.autograd.grad([s, s], x, retain_graph=True)
    assert g.tolist() == [4, 8, 12]
    g, h = tg.autograd.grad(s, [x, x], retain_graph=True)
    assert g.tolist() == h.tolist() == [2, 4, 6]
    y = x * 2
    g, h, k = tg.autograd.grad((y * y).sum(), [y, x, y], retain_graph=True)
    assert g.tolist() == k.tolist() == [4, 8, 12]
    assert h.tolist() == [8, 16, 24]
    assert g is not k
    g.zero_()
    assert k.tolist() == [4, 8, 12]


def test_a_root_that_is_a_leaf_or_an_input(x: Any) -> None:
    x.backward(tg.tensor([1.0, 2.0, 3.0]))
    assert x.grad.tolist() == [1, 2, 3]
    (g,) = tg.autograd.grad(x, x, tg.ones(3))
    assert g.tolist() == [1, 1, 1]
    y = x * 2
    g, h = tg.autograd.grad(y, [y, x], tg.ones(3))
    assert g.tolist() == [1, 1, 1]
    assert h.tolist() == [2, 2, 2]


def test_a_root_inside_the_graph_of_another(x: Any) -> None:
    y = x * x
    z = y.sum()
    tg.autograd.backward([z, y], [None, tg.tensor([1.0, 0.0, 0.0])], retain_graph=True)
    assert x.grad.tolist() == [4, 4, 6]


def test_leaves_between_the_statements_of_a_graph() -> None:
    """Leaves and numbers made before, between and after; only some take part."""
    made = [tg.tensor(float(i + 1), requires_grad=i % 3 != 1) for i in range(9)]
    y = made[0] * 2.5
    for t in made[1:]:
        extra = tg.tensor(3.0, requires_grad=True)
        y = y * t + 0.5 if t.requires_grad else y + t * extra.detach()
    y.backward(retain_graph=True)
    for i, t in enumerate(made):
        assert (t.grad is not None) == (i % 3 != 1)
    for graph in (False, True):
        for i in (0, 2, 8):
            (g,) = tg.autograd.grad(y, made[i], retain_graph=True, create_graph=graph)
            assert g.item() == made[i].grad.item()


def test_only_what_is_asked_for_is_computed(x: Any) -> None:
    w = tg.tensor([1.0, 1.0, 1.0], requires_grad=True)
    s = (x * w).sum()
    s.backward(inputs=[w])
    assert x.grad is None
    assert w.grad is not None
    assert w.grad.tolist() == [1, 2, 3]
    y = x * 2
    (y * y).sum().backward(inputs=y)
    assert y.grad.tolist() == [4, 8, 12]
    assert x.grad is None


@pytest.mark.smoke
def test_unused_inputs(x: Any) -> None:
    other = tg.tensor(1.0, requires_grad=True)
    s = (x * x).sum()
    with pytest.raises(RuntimeError, match="at index 1 appears to not have been used"):
        tg.autograd.grad(s, [x, other])
    g, h = tg.autograd.grad(s, [x, other], allow_unused=True, retain_graph=True)
    assert g.tolist() == [2, 4, 6]
    assert h is None
    g, h = tg.autograd.grad(s, [x, other], materialize_grads=True, retain_graph=True)
    assert h.item() == 0
    later = x * 3
    assert tg.autograd.grad(s, later, allow_unused=True, retain_graph=True) == (None,)
    assert tg.autograd.grad(s, later, allow_unused=True, create_graph=True) == (None,)
    assert list(tg.autograd.grad(s, {"x": x})) == ["x"]


def test_untouched_is_not_zero() -> None:
    """0 * inf stays NaN; a branch that nothing flows into costs and gives nothing."""
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    (x.log() * 0).sum().backward()
    assert x.grad is not None
    assert np.isnan(x.grad.numpy()[0])
    y = tg.tensor([0.0, 1.0], requires_grad=True)
    dead = y.log()
    (y * 2).sum().backward()
    assert y.grad is not None
    assert y.grad.tolist() == [2, 2]
    assert dead.tolist() == [-np.inf, 0]


@pytest.mark.smoke
def test_mixed_dtypes() -> None:
    def run(lib: Any) -> Any:
        a = lib.tensor([1.0, 2.0], dtype=lib.float32, requires_grad=True)
        b = lib.tensor([3.0, 4.0], dtype=lib.float64, requires_grad=True)
        n = lib.tensor([2, 3])
        s = (a * b * n + a * 2).sum() + (a.to(lib.float64) ** 2).sum()
        s.backward()
        return str(s.dtype), str(a.grad.dtype), a.grad.tolist(), str(b.grad.dtype), b.grad.tolist()

    found = [run(lib) for lib in LIBS]
    assert found[0][:2] == ("torch.float64", "torch.float32")
    for other in found[1:]:
        assert found[0] == other


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64], ids=str)
@pytest.mark.parametrize("size", [1, 100, 257, 3000, 100_000])
def test_sizes_around_those_of_arenas_and_tiles(dtype: Any, size: int) -> None:
    values = np.linspace(0.5, 1.5, size)
    x = tg.tensor(values, dtype=dtype, requires_grad=True)
    y = x.sin() * x + x / 2
    z = y[size // 2 :]
    (y.sum() + (z * z).sum()).backward()
    assert x.grad is not None
    v = values.astype(dtype.np)
    outer = np.ones(size, dtype.np)
    outer[size // 2 :] += 2 * (np.sin(v) * v + v / 2)[size // 2 :]
    want = outer * (np.cos(v) * v + np.sin(v) + 0.5)
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-5 if dtype is tg.float32 else 1e-12)


# --------------------------------------------------------------------------- errors
def messages() -> dict[str, Callable[[Any], Any]]:
    def no_grad_fn(lib: Any) -> Any:
        lib.tensor([1.0]).backward()

    def second_root_without(lib: Any) -> Any:
        x = lib.tensor([1.0], requires_grad=True)
        lib.autograd.backward([x * 2, lib.tensor(1.0)])

    def not_scalar(lib: Any) -> Any:
        (lib.ones(2, requires_grad=True) * 2).backward()

    def wrong_shape(lib: Any) -> Any:
        x = lib.ones(3, requires_grad=True)
        (x * 2).backward(lib.ones(2))

    def not_a_tensor(lib: Any) -> Any:
        (lib.ones(1, requires_grad=True) * 2).backward("a")

    def input_without_grad(lib: Any) -> Any:
        x = lib.ones(1, requires_grad=True)
        lib.autograd.grad(x * 2, lib.ones(1))

    def unused(lib: Any) -> Any:
        x = lib.ones(1, requires_grad=True)
        lib.autograd.grad(x * 2, lib.ones(1, requires_grad=True))

    def no_inputs(lib: Any) -> Any:
        (lib.ones(1, requires_grad=True) * 2).backward(inputs=[])

    def grad_without_inputs(lib: Any) -> Any:
        lib.autograd.grad(lib.ones(1, requires_grad=True) * 2, [])

    def freed(lib: Any) -> Any:
        x = lib.ones(1, requires_grad=True)
        y = x * x
        y.backward()
        y.backward()

    def materialize(lib: Any) -> Any:
        x = lib.ones(1, requires_grad=True)
        lib.autograd.grad(x * 2, x, allow_unused=False, materialize_grads=True)

    def grad_of_other_shape(lib: Any) -> Any:
        x = lib.ones(3, requires_grad=True)
        x.grad = lib.ones(2)

    def grad_of_other_kind(lib: Any) -> Any:
        lib.ones(3, requires_grad=True).grad = "a"

    def integers(lib: Any) -> Any:
        lib.tensor([1, 2], requires_grad=True)

    def requires_grad_of_integers(lib: Any) -> Any:
        lib.tensor([1, 2]).requires_grad_()

    return {n: f for n, f in locals().items() if callable(f)}


MESSAGES = messages()


@pytest.mark.parametrize("name", MESSAGES)
def test_errors_are_torchs(name: str) -> None:
    found = []
    for lib in LIBS:
        with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
            MESSAGES[name](lib)
        found.append((type(caught.value).__name__, str(caught.value)))
    assert all(f == found[0] for f in found), found


@pytest.mark.smoke
def test_errors_leave_the_graph_as_it_was(x: Any) -> None:
    s = (x * x).sum()
    for call in (
        lambda: s.backward(tg.ones(2)), lambda: s.backward("a"), lambda: s.backward(inputs=[]),
        lambda: tg.autograd.grad(s, tg.ones(1)), lambda: tg.autograd.grad(s, []),
        lambda: tg.autograd.grad(s, tg.ones(1, requires_grad=True)),
        lambda: tg.autograd.grad(s, [x, tg.ones(1, requires_grad=True)], create_graph=True),
    ):  # fmt: skip
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            call()
    assert x.grad is None
    s.backward()
    assert x.grad.tolist() == [2, 4, 6]


def test_op_without_a_derivative_says_so() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    from tapegrad.ops.table import TABLE

    assert not (x > 1).requires_grad
    none = [e for e in TABLE.values() if e.vjp is None and e.kind == 1 and e.result != "bool"]
    for entry in none[:20]:
        function = getattr(tg, entry.torch or "", None)
        if function is None or entry.arity != 1:
            continue
        try:
            y = function(x)
        except Exception:
            continue
        assert not y.requires_grad, entry.name


def test_backward_reaches_its_leaves_whatever_others_there_are() -> None:
    leaves = [tg.tensor(float(i), requires_grad=True) for i in range(300)]
    hooked = tg.tensor(1.0, requires_grad=True)
    hooked.register_hook(lambda g: 10 * g)
    (leaves[3] * leaves[7] + leaves[299]).backward()
    got = {i: leaf.grad.item() for i, leaf in enumerate(leaves) if leaf.grad is not None}
    assert got == {3: 7.0, 7: 3.0, 299: 1.0}
    total = sum((leaf * leaf for leaf in leaves), tg.tensor(0.0)) * hooked
    total.backward()
    assert hooked.grad.item() == 10 * sum(i * i for i in range(300))
    assert leaves[7].grad.item() == 3.0 + 14.0
    leaves[5].backward()
    assert leaves[5].grad.item() == 11.0


@pytest.mark.parametrize(
    ("product", "gradient"),
    [
        (lambda x, a: x * a, [3.0, 4.0]), (lambda x, a: a * x, [3.0, 4.0]),
        (lambda x, a: x @ a, [3.0, 4.0]), (lambda x, a: a @ x, [3.0, 4.0]),
        (lambda x, a: x / a, [1 / 3, 1 / 4]), (lambda x, a: x**a, [3.0, 32.0]),
        (lambda x, a: a / x, [-3.0, -1.0]),
    ],
)  # fmt: skip
def test_an_array_that_is_written_later_changes_no_gradient(
    product: Callable[..., Any], gradient: list[float]
) -> None:
    """Operators copy arrays: what a pass needs of them is not the caller's memory."""
    x, a = tg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])
    y = product(x, a).sum()
    a *= 10
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), gradient)
