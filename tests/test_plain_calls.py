"""Functions of one Tensor and options, or of two, that native code records from the second call on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.ops.layout import LAYOUTS
from tapegrad.ops.pairs import PAIRS, pair_of
from tapegrad.tensors import plain_calls

CALLS: dict[str, list[Callable[[Any], Any]]] = {
    "sum": [lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.sum(-1), lambda x: x.sum(0, True),
            lambda x: x.sum(dim=1), lambda x: x.sum(1, keepdim=True), lambda x: x.sum(keepdim=True, dim=1),
            lambda x: x.sum(None), lambda x: x.sum(1, False), lambda x: x.sum((0, 1)),
            lambda x: x.sum(axis=0)],
    "mean": [lambda x: x.mean(1), lambda x: x.mean(dim=0, keepdim=True), lambda x: tg.mean(x, 0)],
    "extremes": [lambda x: x.amax(1), lambda x: x.amin(0, True), lambda x: x.argmax(1),
                 lambda x: x.argmin(0)],
    "truths": [lambda x: (x > 0).any(1), lambda x: (x > 0).all(0), lambda x: (x > 0).all()],
    "scans": [lambda x: x.cumsum(0), lambda x: x.cumsum(1), lambda x: x.cumprod(dim=1),
              lambda x: x.logcumsumexp(1)],
    "softmax": [lambda x: x.softmax(1), lambda x: x.log_softmax(-1), lambda x: tg.softmax(x, dim=0),
                lambda x: x.logsumexp(1), lambda x: x.logsumexp(1, True)],
    "shapes": [lambda x: x.transpose(0, 1), lambda x: x.transpose(-1, 0), lambda x: x.unsqueeze(0),
               lambda x: x.unsqueeze(-1), lambda x: x.unsqueeze(1).squeeze(1), lambda x: x.flatten(),
               lambda x: x.t(),
               lambda x: x.t().flatten(), lambda x: x[1:].transpose(0, 1), lambda x: x[:, 1].unsqueeze(0),
               lambda x: x.diagonal(1), lambda x: x[1:].diagonal(), lambda x: x.movedim(0, 1)],
    "triangles": [lambda x: x.tril(), lambda x: x.tril(-1), lambda x: x.triu(1),
                  lambda x: x.triu(diagonal=1)],
    "products": [lambda x: x[0].dot(x[1]), lambda x: tg.dot(x[0], x[0]), lambda x: x.mm(x.t()),
                 lambda x: x.mv(x[0]), lambda x: x.unsqueeze(0).bmm(x.t().unsqueeze(0))],
}  # fmt: skip
CASES = [(name, i) for name, calls in CALLS.items() for i in range(len(calls))]
A = np.random.default_rng(5).normal(size=(3, 4))


def in_python(call: Callable[[Any], Any], x: tg.Tensor) -> Any:
    """Call it with nothing remembered."""
    PAIRS.keep(np.zeros(1 << 20, np.uint8), np.zeros(len(LAYOUTS), np.uint8))
    return call(x)


def noted(x: tg.Tensor) -> int:
    """Return how many calls on tensors like `x` are remembered."""
    codes = (pair_of(key) for key in PAIRS.entries)
    return sum(code >= nt.OP_PLAIN and a == x._layout_id for code, a, _ in codes)


@pytest.mark.parametrize("kind", [tg.float64, tg.float32, tg.int64, tg.bool, tg.complex128])
@pytest.mark.parametrize(("name", "i"), CASES)
def test_calls_are_those_of_python(name: str, i: int, kind: tg.dtype) -> None:
    call = CALLS[name][i]
    a = A + 1j * A[::-1] if kind is tg.complex128 else A * 3
    x = tg.tensor(a, dtype=kind, requires_grad=kind.is_floating_point or kind is tg.complex128)
    try:
        first = call(x)
    except (RuntimeError, TypeError) as error:  # not of this dtype: at each call
        with pytest.raises(type(error)):
            call(x)
        return
    for mode in (tg.enable_grad(), tg.no_grad()):
        with mode:
            for _ in range(2):
                again = call(x)
                assert (again.dtype, again.shape, again.stride()) == (
                    first.dtype, first.shape, first.stride(),
                )  # fmt: skip
                np.testing.assert_array_equal(again.tolist(), first.tolist())
                assert again.requires_grad == (first.requires_grad and tg.is_grad_enabled())
    assert type(first.grad_fn).__name__ == type(call(x).grad_fn).__name__
    if first.requires_grad:
        slopes = [tg.autograd.grad(y.sin().abs().sum(), x)[0].tolist() for y in (first, call(x))]
        np.testing.assert_array_equal(*slopes)


def test_the_second_call_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tg.tensor(A[:, :2].copy(), requires_grad=True)
    calls = (
        lambda: x.sum(0), lambda: x.softmax(dim=1), lambda: tg.transpose(x, 0, 1), lambda: x.mm(x.t()),
        lambda: x.sum(1, keepdim=True),
    )  # fmt: skip
    for call in calls:
        call()
    monkeypatch.setattr(plain_calls, "_note", lambda *_: pytest.fail("Python was asked again"))
    for call in calls:
        call()


def test_views_share_memory() -> None:
    x = tg.tensor(A.copy())
    for view in (lambda: x.transpose(0, 1), lambda: x[1:].transpose(0, 1), lambda: x.diagonal(1)):
        view()
        y = view()
        assert y._is_view()
        y.add_(1.0)
        np.testing.assert_array_equal(view().tolist(), y.tolist())
    leaf = tg.tensor(A.copy(), requires_grad=True)
    leaf.t()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf.t().add_(1.0)


def test_options_are_told_apart() -> None:
    x = tg.tensor(A, requires_grad=True)
    for _ in range(2):
        assert x.sum(0).shape == (4,)
        with pytest.raises(TypeError, match="invalid combination"):
            x.sum(False)
        assert x.sum(1).shape == (3,)
        assert x.sum(1, True).shape == (3, 1)
        assert x.sum(-2).shape == (4,)
        assert x.triu(0).tolist() == x.triu().tolist() != x.triu(1).tolist()
    with pytest.raises(IndexError):
        x.sum(2)
    with pytest.raises(IndexError):
        x.sum(2)
    with pytest.raises(TypeError):
        x.sum(0, no_such_option=True)
    with pytest.raises(TypeError):
        x.sum(0, dim=0)
    with pytest.raises(TypeError):
        tg.softmax()


def test_other_threads_tapes_and_transforms() -> None:
    x = tg.tensor(A, requires_grad=True)
    x.sum(0), x.softmax(1)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(x.sum(0).tolist()))
    thread.start()
    thread.join()
    assert results == [x.sum(0).tolist()]
    per_row = tg.vmap(lambda r: r.softmax(0).cumsum(0).sum())(x)
    np.testing.assert_allclose(per_row.tolist(), [r.softmax(0).cumsum(0).sum().item() for r in x])
    compiled = tg.jit(lambda t: (t.softmax(1) * t.sum(0)).mean(1).sum())
    assert compiled(x).item() == pytest.approx((x.softmax(1) * x.sum(0)).mean(1).sum().item())
    _, slope = tg.func.jvp(
        lambda t: t.softmax(1).amax(1), (x.detach(),), (tg.ones(3, 4, dtype=tg.float64),)
    )
    np.testing.assert_allclose(slope.tolist(), 0, atol=1e-12)
    with tg.inference_mode():
        assert x.sum(0).is_inference()
    with pytest.warns(UserWarning, match="Anomaly"), tg.autograd.detect_anomaly():
        x.sum(0).sum().backward()


def test_calls_are_forgotten_with_their_layouts() -> None:
    x = tg.tensor(A.copy())
    call = x.sum(0)
    assert noted(x) > 0
    in_python(lambda t: t, x)
    assert noted(x) == 0
    np.testing.assert_array_equal(x.sum(0).tolist(), call.tolist())
