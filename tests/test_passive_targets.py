"""Results that were computed without gradients, over which something active is written later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tapegrad as tg
from tapegrad.tape.verifier import verify

Function = Callable[[tg.Tensor], tg.Tensor]


def _passive(x: tg.Tensor) -> tg.Tensor:
    with tg.no_grad():
        return x * 0.5


def added(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    b.add_(x)
    return b.sum()


def divided(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    b.div_(x * x)
    return b.sum()


def assigned(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    b[0] = x[1] * 3
    return b.sum()


def part(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    b[:1].mul_(x[1:])
    return (b * b).sum()


def used_before(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    y = b + x
    b.copy_(x * x)
    return (y + b).sum()


def running(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    for _ in range(3):
        b.mul_(0.5).add_(x)
    return b.sum()


def computed_before(x: tg.Tensor) -> tg.Tensor:
    b = _passive(x)
    assert b.tolist() == [1.0, 1.5]
    b += x
    return b.sum()


def detached(x: tg.Tensor) -> tg.Tensor:
    b = (x * 0.5).detach().clone()
    b += x
    return b.sum()


#: gradients at [2, 3]
GRADIENTS: dict[Function, list[float]] = {
    added: [1.0, 1.0],
    divided: [-0.25, -1 / 9],  # -2 b x / x**4, with b = x / 2 held
    assigned: [0.0, 3.0],
    part: [0.0, 6.0],  # of (1 x1)**2 by x1; the other element is passive
    used_before: [5.0, 7.0],
    running: [1.75, 1.75],
    computed_before: [1.0, 1.0],
    detached: [1.0, 1.0],
}


@pytest.mark.parametrize("function", GRADIENTS, ids=lambda f: f.__name__)
def test_nothing_flows_into_what_they_were_computed_from(function: Function) -> None:
    want = pytest.approx(GRADIENTS[function])
    x = tg.tensor([2.0, 3.0], requires_grad=True)
    y = function(x)
    assert tg.autograd.grad(y, x, retain_graph=True)[0].tolist() == want
    assert tg.autograd.grad(y, x, create_graph=True)[0].tolist() == want
    assert (
        tg.autograd.grad(y, x, tg.ones(1), is_grads_batched=True, retain_graph=True)[0][0].tolist()
        == want
    )
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == want
    assert tg.grad(function)(tg.tensor([2.0, 3.0])).tolist() == want
    rows = tg.vmap(tg.grad(function))(tg.tensor([[2.0, 3.0], [2.0, 3.0]]))
    assert rows[1].tolist() == want


@pytest.mark.parametrize("function", GRADIENTS, ids=lambda f: f.__name__)
def test_they_are_as_in_pytorch(function: Function) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    before = tg.no_grad
    try:
        tg.no_grad = torch.no_grad  # type: ignore[misc]
        function(x).backward()
    finally:
        tg.no_grad = before  # type: ignore[misc]
    assert x.grad.tolist() == pytest.approx(GRADIENTS[function])


def test_a_result_whose_operands_were_dropped_has_none_to_lose() -> None:
    x = tg.tensor([2.0, 3.0], requires_grad=True)
    b = _passive(x)
    tape = tg.current_tape()
    tape.evaluate()
    tape.collect()  # a stub from here on
    y = x.reshape(2, 1) * 3  # its operands lie where those of the stub would
    z = y.expand(2, 4).sum()
    b.add_(x)
    verify(tape)
    assert tg.autograd.grad(b.sum() + z, x)[0].tolist() == [13.0, 13.0]


def test_a_result_that_has_lost_its_operands_is_collected_like_others() -> None:
    x = tg.tensor([2.0, 3.0], requires_grad=True)
    b = _passive(x)
    b.add_(x)  # no pass has come by yet, so that what it keeps is not known
    tape = tg.current_tape()
    for _ in range(2):
        tape.evaluate()
        tape.collect()
        verify(tape)
    assert tg.autograd.grad(b.sum(), x)[0].tolist() == [1.0, 1.0]


def test_the_node_of_a_write_has_none_for_them() -> None:
    x = tg.tensor([2.0, 3.0], requires_grad=True)
    b = _passive(x)
    b.add_(x)
    assert b.grad_fn is not None
    (first, _), (second, _) = b.grad_fn.next_functions
    assert first is None
    assert second is not None
    assert second.name() == "AccumulateGrad"
