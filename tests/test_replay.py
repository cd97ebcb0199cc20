"""Replay: derivatives of derivatives, to any order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.tape.tape import Tape
from tapegrad.tape.verifier import verify

try:
    import torch
except ImportError:
    torch = None


def nth(function: Callable[[Any], Any], at: float, n: int) -> list[float]:
    """Value and derivatives of a function of a number."""
    x = tg.tensor(at, requires_grad=True)
    y = function(x)
    found = [y.item()]
    for _ in range(n):
        (y,) = tg.autograd.grad(y, x, create_graph=True)
        found.append(y.item())
    return found


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (lambda x: x.exp(), lambda k: math.exp(0.6)),
        (lambda x: x.sin(), lambda k: math.sin(0.6 + k * math.pi / 2)),
        (lambda x: x.log(), lambda k: (-1) ** (k - 1) * math.factorial(k - 1) / 0.6**k),
        (lambda x: 1 / x, lambda k: (-1) ** k * math.factorial(k) / 0.6 ** (k + 1)),
        (lambda x: x**5, lambda k: math.perm(5, k) * 0.6 ** (5 - k) if k <= 5 else 0.0),
        (lambda x: x.exp() * x, lambda k: math.exp(0.6) * (0.6 + k)),
        (lambda x: (x * 2).exp(), lambda k: 2**k * math.exp(1.2)),
        (lambda x: x.sqrt(), lambda k: math.prod(0.5 - i for i in range(k)) * 0.6 ** (0.5 - k)),
    ],
)
def test_derivatives_of_high_order(
    function: Callable[[Any], Any], exact: Callable[[int], float]
) -> None:
    found = nth(function, 0.6, 6)
    for k in range(1, 7):
        assert found[k] == pytest.approx(exact(k), rel=1e-10, abs=1e-10), f"order {k}"


def hessian(function: Callable[[Any], Any], at: np.ndarray) -> np.ndarray:
    x = tg.tensor(at, requires_grad=True)
    (g,) = tg.autograd.grad(function(x), x, create_graph=True)
    flat = g.reshape(-1)
    rows = [
        tg.autograd.grad(flat[i], x, retain_graph=True)[0].numpy().ravel()
        for i in range(flat.numel())
    ]
    return np.array(rows)


def test_hessian_of_a_quadratic_form() -> None:
    a = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, -1.0], [1.0, 1.0, 4.0]])
    m = tg.tensor(a)
    found = hessian(lambda x: x @ m @ x, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, a + a.T, rtol=1e-14)


@pytest.mark.smoke
def test_hessian_of_rosenbrock_in_three_ways() -> None:
    at = np.array([0.3, -0.5, 1.2, 0.8])

    def vectorised(x: Any) -> Any:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    def items(x: Any) -> Any:
        s = 0.0
        for i in range(3):
            s = s + 100 * (x[i + 1] - x[i] * x[i]) ** 2 + (1 - x[i]) ** 2
        return s

    def written(x: Any) -> Any:
        y = tg.zeros(3)
        for i in range(3):
            y[i] = 100 * (x[i + 1] - x[i] ** 2) ** 2
        y += (1 - x[:-1]) ** 2
        return y.sum()

    want = np.zeros((4, 4))
    for i in range(3):
        want[i, i] += 1200 * at[i] ** 2 - 400 * at[i + 1] + 2
        want[i, i + 1] -= 400 * at[i]
        want[i + 1, i] -= 400 * at[i]
        want[i + 1, i + 1] += 200
    for function in (vectorised, items, written):
        np.testing.assert_allclose(hessian(function, at), want, rtol=1e-12, atol=1e-11)


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize(
    "make",
    [
        lambda lib, x: x.T, lambda lib, x: x[1], lambda lib, x: x[:, ::2],
        lambda lib, x: x.expand(2, 2, 3), lambda lib, x: x.reshape(-1)[1:5],
        lambda lib, x: x.T[1:].unsqueeze(0), lambda lib, x: x.sum(0, keepdim=True).expand(3, 3),
        lambda lib, x: x.transpose(0, 1)[::2, 1], lambda lib, x: x.squeeze(),
        lambda lib, x: lib.cat([x, x.T.reshape(2, 3)], 1)[:, 1:4],
        lambda lib, x: lib.stack([x[0], x[1] * x[0]], 1),
        lambda lib, x: x[lib.tensor([1, 0, 1])], lambda lib, x: x.flip(1).cumsum(1),
        lambda lib, x: x.diagonal(), lambda lib, x: x.clone().T.contiguous(),
    ],
)  # fmt: skip
def test_third_order_through_views(make: Callable[[Any, Any], Any]) -> None:
    at = np.array([[0.3, 0.7, -0.4], [1.1, -0.6, 0.2]])
    found = []
    for lib in (tg, torch):
        x = lib.tensor(at, dtype=lib.float64, requires_grad=True)
        y = (make(lib, x).sin() * make(lib, x * x).exp()).sum()
        values = []
        for order in range(3):
            (g,) = lib.autograd.grad(y, x, create_graph=order < 2)
            values.append(g.detach().numpy())
            weights = lib.tensor(np.cos(np.arange(6.0)).reshape(2, 3), dtype=lib.float64)
            y = (g * weights).sum()
        found.append(values)
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_hessian_vector_products_in_both_ways() -> None:
    at = np.linspace(0.2, 1.4, 7)
    x = tg.tensor(at, requires_grad=True)
    v = tg.tensor(np.cos(at), requires_grad=True)
    s = (x.exp() * x.sin()).sum() + x.prod()
    (g,) = tg.autograd.grad(s, x, create_graph=True)
    (reverse,) = tg.autograd.grad((g * v).sum(), x, retain_graph=True)
    u = tg.ones(7, requires_grad=True)
    (gu,) = tg.autograd.grad(g, x, u, create_graph=True)
    (forward,) = tg.autograd.grad((gu * v.detach()).sum(), u)
    np.testing.assert_allclose(reverse.numpy(), forward.numpy(), rtol=1e-12)


@pytest.mark.smoke
def test_gradient_with_respect_to_the_seed() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    u = tg.tensor([3.0, 4.0], requires_grad=True)
    (g,) = tg.autograd.grad(x * x, x, u, create_graph=True)
    assert g.tolist() == [6, 16]
    du, dx = tg.autograd.grad(g.sum(), [u, x])
    assert du.tolist() == [2, 4]
    assert dx.tolist() == [6, 8]


def test_gradients_by_gradient_descent_through_gradient_descent() -> None:
    """The derivative of an inner optimisation with respect to its step size."""

    def after(step: Any) -> Any:
        w = tg.tensor([3.0, -2.0], requires_grad=True)
        for _ in range(5):
            (g,) = tg.autograd.grad(((w - 1) ** 2).sum(), w, create_graph=True)
            w = w - step * g
        return (w**2).sum()

    step = tg.tensor(0.1, requires_grad=True)
    (found,) = tg.autograd.grad(after(step), step)
    h = 1e-6
    want = (after(tg.tensor(0.1 + h)).item() - after(tg.tensor(0.1 - h)).item()) / (2 * h)
    assert found.item() == pytest.approx(want, rel=1e-6)


def test_replay_keeps_the_graph_and_first_order_does_not() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    s = (x * x * x).sum()
    (g,) = tg.autograd.grad(s, x, create_graph=True)
    assert g.requires_grad
    assert g.grad_fn is not None
    (again,) = tg.autograd.grad(s, x, create_graph=True)
    assert again.tolist() == g.tolist()
    (h,) = tg.autograd.grad(g.sum(), x, retain_graph=True)
    assert not h.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        h.sum().backward()
    g.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6, 12]
    with pytest.raises(RuntimeError, match="second time"):
        g.sum().backward()


def test_replay_without_keeping_the_graph() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    s = (x * x * x).sum()
    (g,) = tg.autograd.grad(s, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        tg.autograd.grad(s, x)
    assert g.tolist() == [3, 12]


def test_replay_in_no_grad_still_records() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    y = x**3
    with tg.no_grad():
        (g,) = tg.autograd.grad(y, x, create_graph=True)
    assert g.requires_grad
    assert tg.autograd.grad(g, x)[0].item() == 12


def test_replay_while_the_tape_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots that were read before recording the seeds may have other numbers afterwards."""
    make_room = Tape._make_room

    def eager(self: Tape, statements: int, args: int, collect: bool) -> None:
        if collect and self is tg.current_tape():
            self.collect()
        make_room(self, statements, args, collect)

    for count in (1, 2, 7):
        garbage = [tg.tensor([float(i), 1.0]) * 3.0 for i in range(count)]
        other = tg.tensor([1.0, 1.0], requires_grad=True)
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        y = x * x
        s = (y * y * other).sum()
        targets = [x, y, other]
        monkeypatch.setattr(Tape, "_make_room", eager)
        del garbage
        g, h, k = tg.autograd.grad(s, targets, create_graph=True)
        monkeypatch.undo()
        assert [g.tolist(), h.tolist(), k.tolist()] == [[4, 32], [2, 8], [1, 16]]
        (hh,) = tg.autograd.grad(g.sum(), x)
        assert hh.tolist() == [12, 48]


def test_replay_when_the_tape_is_full() -> None:
    """The tape grows and collects at any statement of the pass."""
    tape = tg.current_tape()
    for room in range(0, 80, 3):
        tape.collect()
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        z = (x * x).exp()
        s = (z * x[0]).sum()
        one = tg.tensor(1.0)
        while tape.count < int(tape.state[nt.S_CAPACITY]) - room:
            one * 2.0
        (g,) = tg.autograd.grad(s, x, create_graph=True)
        (h,) = tg.autograd.grad((g * g).sum(), x)
        if room == 0:
            first = h.tolist()
        assert h.tolist() == first
    verify(tape)


def test_second_order_of_a_long_chain() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y * 1.0001 + x * 1e-4
    (g,) = tg.autograd.grad(y * y, x, create_graph=True)
    (h,) = tg.autograd.grad(g, x)
    slope = y.item()  # linear in x
    assert g.item() == pytest.approx(2 * slope * slope, rel=1e-9)
    assert h.item() == pytest.approx(2 * slope * slope, rel=1e-9)


def test_float32_stays_float32() -> None:
    x = tg.tensor([1.0, 2.0], dtype=tg.float32, requires_grad=True)
    (g,) = tg.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = tg.autograd.grad(g.sum(), x)
    assert g.dtype is h.dtype is tg.float32
    assert h.tolist() == [6, 12]


@pytest.mark.smoke
def test_zero_derivatives() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (g,) = tg.autograd.grad((x * 3).sum(), x, create_graph=True)
    assert g.tolist() == [3, 3]
    if g.requires_grad:
        (h,) = tg.autograd.grad(g.sum(), x, allow_unused=True)
        assert h is None or h.tolist() == [0, 0]


def test_a_cotangent_that_was_written_in_place_is_whole_wherever_it_goes() -> None:
    """The adjoint of `h` is a buffer; the copy of it passes on to `x`, to a hook and to a Function."""

    class Seen(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            return a.clone()

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            seen.append(ct)
            return ct

    seen: list[Any] = []
    x = tg.tensor([0.3, 0.7], requires_grad=True)
    for make in (lambda: x.clone(), lambda: Seen.apply(x)):
        h = make()
        h.register_hook(seen.append)
        y = h[0] * h[1] + h[0].sin()
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        for whole in (g, *seen):
            (second,) = tg.autograd.grad(whole, x, tg.tensor([1.0, 1.0]), retain_graph=True)
            np.testing.assert_allclose(second.tolist(), [1 - np.sin(0.3), 1.0])
        seen.clear()
