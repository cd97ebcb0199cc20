"""An in-place call that raises leaves its tensors as they were: values, versions and graphs."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


class Refused(Exception):
    """Raised by a pack hook."""


def _refuse(value: Any) -> Any:
    raise Refused


MODES: dict[str, Callable[[], Any]] = {
    "grad": contextlib.nullcontext,
    "no_grad": tg.no_grad,
    "inference": tg.inference_mode,
    "saving": lambda: tg.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
    "refusing": lambda: tg.autograd.graph.saved_tensors_hooks(_refuse, lambda t: t),
    "mutation": tg.autograd.graph.allow_mutation_on_saved_tensors,
    "dual": tg.autograd.forward_ad.dual_level,
}
METHODS = [
    name for name in dir(tg.Tensor)
    if (name.endswith("_") and not name.startswith("_")) or name in (
        "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__",
        "__iand__", "__ior__", "__ixor__", "__setitem__",
    )
]  # fmt: skip
FUNCTIONS = [
    name for name in dir(tg) if name.endswith("_") and not name.startswith("_") and name != "from_"
]
KEYWORDS = ("alpha", "value", "rounding_mode", "reduce", "accumulate", "beta", "min", "max")


def _numbers(*shape: int, active: bool = True) -> Any:
    array = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape) * 0.1 + 0.15
    return tg.tensor(array, requires_grad=active)


def _targets() -> list[tuple[Any, ...]]:
    """Tensors to write to, each before what it was made from."""
    leaf = _numbers(2, 3)
    result, other = leaf * 2, _numbers(2, 3) * 3
    with tg.no_grad():
        hidden = other[0]
    with tg.inference_mode():
        guarded = tg.ones(2, 3)
    return [
        (leaf * 1.5, leaf), (result[0], result, leaf), (result.view(3, 2), result, leaf), (leaf, leaf),
        (leaf[0], leaf), (other.split(1)[0], other), (hidden, other), (_numbers(2, 3, active=False),),
        ((_numbers(3) * 2).expand(2, 3),), (tg.arange(6).reshape(2, 3),), (_numbers() * 1,),
        (tg.tensor([[True, False, True], [False, True, True]]),), (tg.zeros(0, 3),), (guarded,),
        (tg.ones(2, 3, dtype=tg.float32),), (_numbers(3, 3) * 1.5,),
    ]  # fmt: skip


def _arguments(target: Any) -> list[Any]:
    return [
        _numbers(4, 5) * 1.0, _numbers(2, 3) * 1.0, _numbers(3) * 2, _numbers(2, 1, 3) * 2,
        _numbers() * 2, tg.tensor(2), tg.tensor([0, 1]), tg.tensor([[0, 9, 2], [2, 1, 0]]),
        tg.tensor([True, False]), target, target.detach(), 2, 0, -1, 2.5, True, None, "sum", (0, 1),
        [3, 2], (tg.tensor([0, 1]),), (tg.tensor([0, 9]),), 1j, 10**30, slice(0, 1), Ellipsis,
        np.ones(7), tg.float32, [[1.0, 2.0, 3.0]], object(), tg.tensor([[0, 1, 2], [2, 1, 0]]),
    ]  # fmt: skip


def _state(t: Any) -> tuple[Any, ...]:
    version = None if t.is_inference() else t._version
    node = t.grad_fn
    edges = None if node is None else [n and n.name() for n, _ in node.next_functions]
    values = t.detach().numpy(force=True).tobytes()
    return (
        t.shape, t.dtype, values, version, t.requires_grad, t.is_leaf, node and node.name(), edges,
        t.stride(), t._is_view(),
    )  # fmt: skip


def _failing_calls(name: str, rng: random.Random, count: int) -> Iterator[tuple[Any, ...]]:
    """Make calls; yield what was told of those that raised: tensors and states before."""
    for _ in range(count):
        target, *deps = rng.choice(_targets())
        values = _arguments(target)
        args = rng.sample(values, rng.choice((0, 1, 1, 2, 2, 3)))
        options = {rng.choice(KEYWORDS): rng.choice(values)} if rng.random() < 0.15 else {}
        mode = rng.choice(list(MODES)) if rng.random() < 0.5 else "grad"
        tensors = [target, *deps, *(a for a in args if isinstance(a, tg.Tensor))]
        states = [_state(t) for t in tensors]
        call: Any = getattr(tg.Tensor, name, None) or getattr(tg, name)
        try:
            with MODES[mode](), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                if call(target, *args, **options) is NotImplemented:
                    raise TypeError
        except (RuntimeError, TypeError, ValueError, IndexError, OverflowError, Refused):
            yield mode, args, options, tensors, states


@pytest.mark.parametrize("name", sorted({*METHODS, *FUNCTIONS}))
def test_a_call_that_raises_changes_nothing(name: str) -> None:
    for mode, args, options, tensors, states in _failing_calls(name, random.Random(name), 5):
        assert [_state(t) for t in tensors] == states, (name, mode, args, options)


def test_the_calls_above_do_raise() -> None:
    rng = random.Random(0)
    raised = {name: len([*_failing_calls(name, rng, 20)]) for name in ("mul_", "acos_", "__ipow__")}
    assert min(raised.values()) > 3, raised
    modes = {call[0] for call in _failing_calls("mul_", rng, 200)}
    assert modes == set(MODES)


@pytest.mark.parametrize("refused", [
    lambda y: y.mul_(tg.ones(5)), lambda y: y.__setitem__(0, tg.ones(7)), lambda y: y.add_(1j),
    lambda y: y.index_put_((tg.tensor([0, 9]),), tg.tensor(1.0)), lambda y: y.copy_(tg.ones(4)),
    lambda y: tg.acos_(y, 3), lambda y: y.pow_("x"), lambda y: y.clamp_(),
])  # fmt: skip
def test_gradients_after_a_write_that_raised(refused: Callable[[Any], Any]) -> None:
    x = tg.tensor([0.5, 0.25], requires_grad=True)
    y = x.exp()
    z = (y * y).sum()  # would be stale if the write counted
    with pytest.raises((RuntimeError, TypeError, IndexError, ValueError)):
        refused(y)
    assert y._version == 0
    z.backward()
    assert np.allclose(x.grad.numpy(), 2 * np.exp([1.0, 0.5]))
