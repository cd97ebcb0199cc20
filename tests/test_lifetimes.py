"""Lifetimes: constant memory in endless loops, what a backward frees, what keeps a graph alive."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alone import alone

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.tape import memory_views as buffers
from tapegrad.tape.tape import Tape

MEGA = 1 << 20


def resident() -> int:
    """Bytes of memory of this process that are in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tape, "check", None)  # long loops; the fixture of the suite checks the end


def handles() -> int:
    return int(tg.current_tape().state[nt.S_HANDLE_COUNT])


def owned() -> int:
    return int(tg.current_tape().state[nt.S_OWNED_BYTES])


def dropped(w: Any) -> None:
    w * 2 + 1


def evaluated(w: Any) -> None:
    (w * 2 + 1).tolist()


def without_grad(w: Any) -> None:
    with tg.no_grad():
        (w * w).sum()


def without_grad_evaluated(w: Any) -> None:
    with tg.no_grad():
        (w * w).sum().item()


def backward(w: Any) -> None:
    (w * w).sum().backward()


def backward_and_reset(w: Any) -> None:
    w.grad = None
    (w * w).sum().backward()


def grad(w: Any) -> None:
    tg.autograd.grad((w * w).sum(), w)


def second_order(w: Any) -> None:
    (g,) = tg.autograd.grad((w * w * w).sum(), w, create_graph=True)
    tg.autograd.grad(g.sum(), w)


def second_order_dropped(w: Any) -> None:
    tg.autograd.grad((w * w * w).sum(), w, create_graph=True)


def optimiser(w: Any) -> None:
    w.grad = None
    ((w - 1) * (w - 1)).sum().backward()
    with tg.no_grad():
        w -= 0.1 * w.grad


def optimiser_through_data(w: Any) -> None:
    w.grad = None
    ((w - 1) ** 2).sum().backward()
    w.data -= 0.1 * w.grad


def in_place(w: Any) -> None:
    y = w * 1
    y += 1
    y[0] = 2.0
    y.mul_(w.detach())
    y.sum().backward()


def in_place_passive(w: Any) -> None:
    y = tg.zeros(3)
    y += 1
    y[0] = w[0].detach()


def fresh_leaves(w: Any) -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * y * w).sum().backward()


def fresh_numbers(w: Any) -> None:
    fresh_numbers.count += 1  # type: ignore[attr-defined]
    (w * (fresh_numbers.count * 0.1)).sum()  # type: ignore[attr-defined]


fresh_numbers.count = 0  # type: ignore[attr-defined]


def views(w: Any) -> None:
    y = w * 1
    (y[0] + y[1:].sum() + y.reshape(3, 1).T.sum()).backward()


def arrays(w: Any) -> None:
    a = w.detach().numpy()
    tg.tensor(a) + tg.from_numpy(a.copy())
    (w * 2).detach().numpy()


def printed(w: Any) -> None:
    repr(w * 2)


def failed(w: Any) -> None:
    with contextlib.suppress(RuntimeError):
        w.view(7)


def stale(w: Any) -> None:
    y = w * 1
    z = (y * y).sum()
    y.add_(1)
    with contextlib.suppress(RuntimeError):
        z.backward()


def create_graph(w: Any) -> None:
    """``backward(create_graph=True)``; the cycle of `w` and its grad is cut as PyTorch's warning says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((w * w).sin() * w).sum().backward(create_graph=True)
    (w.grad * w).sum().backward()
    w.grad = None


def create_graph_with_hooks(w: Any) -> None:
    y = (w * w).sin()
    y.register_hook(lambda g: g * 2)
    y.grad_fn.register_hook(lambda i, o: None)
    handle = w.register_hook(lambda g: g * g)
    (g,) = tg.autograd.grad((y * w).sum(), w, create_graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (g * g).sum().backward(create_graph=True)
    handle.remove()
    w.grad = None


class Cube(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x * x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        x, y = ctx.saved_tensors
        return ct * 3 * x * x + 0 * y


def create_graph_with_functions(w: Any) -> None:
    y = Cube.apply(Cube.apply(w) * 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y.sum().backward(create_graph=True)
    (w.grad * w).sum().backward()
    Cube.apply(w)
    w.grad = None


def dirty_functions(w: Any) -> None:
    x = w * 1
    InPlace.apply(x)
    (x * x).sum().backward()
    w.grad = None


class InPlace(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        return ct * 2


def packed(w: Any) -> None:
    hooks = tg.autograd.graph.saved_tensors_hooks(lambda t: [t], lambda box: box[0])
    with hooks:
        y = ((w * w).exp() * w).sum()
        Cube.apply(w * w)
        (g,) = tg.autograd.grad(y, w, create_graph=True)
    (g * w).sum().backward()
    w.grad = None


LOOPS: list[Callable[[Any], None]] = [
    dropped, evaluated, without_grad, without_grad_evaluated, backward, backward_and_reset, grad,
    second_order, second_order_dropped, optimiser, optimiser_through_data, in_place,
    in_place_passive, fresh_leaves, fresh_numbers, views, arrays, printed, failed, stale,
    create_graph, create_graph_with_hooks, create_graph_with_functions, dirty_functions, packed,
]  # fmt: skip


@needs_proc
@pytest.mark.parametrize("body", LOOPS, ids=lambda f: f.__name__)
@alone
def test_loops_run_in_constant_memory(body: Callable[[Any], None]) -> None:
    slow = (second_order, second_order_dropped, printed, in_place, arrays, views, failed, stale)
    n = 4_000 if body in slow else 12_000
    if body in LOOPS[-5:]:  # they call Python
        n = 1_200
    w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    tape = tg.current_tape()
    for _ in range(n // 4):
        body(w)
    gc.collect()
    before, count, kept, capacity = (
        resident(), handles(), owned(), int(tape.state[nt.S_CAPACITY])
    )  # fmt: skip
    for _ in range(n):
        body(w)
    gc.collect()
    assert handles() <= count + 2
    assert owned() <= kept + 4096
    assert int(tape.state[nt.S_CAPACITY]) <= max(capacity, 1 << 14)
    assert tape.write_count <= 4 * capacity
    for name in ("owned", "leaves", "retained", "versions", "constants", "hooks", "contexts"):
        assert len(getattr(tape, name, ())) <= 2 * capacity, name
    assert resident() - before < 12 * MEGA, f"{(resident() - before) / MEGA:.1f} MB"
    tape.collect()
    assert len(tape) < 400


@needs_proc
@pytest.mark.parametrize(
    "what", ["backward", "no_grad", "dropped", "grad", "second", "in place", "seen"]
)
@alone
def test_large_arrays_in_constant_memory(what: str) -> None:
    n, size = 300, 100_000
    w = tg.tensor(np.linspace(0.0, 1.0, size), requires_grad=True)

    def body() -> None:
        if what == "no_grad":
            with tg.no_grad():
                (w.exp() * 2 + w).sum().item()
            return
        if what == "seen":
            w.detach().exp().numpy()
            return
        y = w.exp() * 2 + w
        if what == "in place":
            y[1:] *= 0.5
            y += w
        if what == "backward" or what == "in place":
            w.grad = None
            y.sum().backward()
        elif what == "grad":
            tg.autograd.grad(y.sum(), w)
        elif what == "second":
            (g,) = tg.autograd.grad(y.sum(), w, create_graph=True)
            tg.autograd.grad(g.sum(), w)

    for _ in range(20):
        body()
    gc.collect()
    before = resident()
    most = 0
    for i in range(n if what != "second" else n // 3):
        body()
        if i % 20 == 0:
            most = max(most, resident() - before)
    assert most < 100 * MEGA, f"{most / MEGA:.0f} MB"
    tg.current_tape().collect()
    assert owned() <= 8 * size * 8


@pytest.mark.parametrize("what", ["a value", "a gradient"])
def test_large_results_go_back_to_the_pool(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an array saw is used for the next result, unless its tape is another thread's or gone."""
    monkeypatch.setattr(buffers, "SEEN_LIMIT", 1 << 40)  # others may have left much in it

    def array() -> np.ndarray:
        x = tg.tensor(np.linspace(0.0, 1.0, 100_000), requires_grad=True)
        if what == "a value":
            return (x.detach() * 2).numpy()
        (g,) = tg.autograd.grad((x * x).sum(), x)
        return g.numpy()

    def pool() -> int:
        return int(tape.state[nt.S_POOL])

    tape = tg.current_tape()
    tape.collect()
    kept = [array()]
    tape.collect()
    before = pool()
    kept.clear()
    assert pool() - before > 800_000, "given to the pool"
    kept.append(array())
    tape.collect()
    before = pool()
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert pool() == before, "freed by a thread that must not touch the pool"
    kept.append(array())
    tape.collect()
    before = pool()
    tape.busy[nt.BUSY_SWEEP] = True
    try:
        kept.clear()
    finally:
        tape.busy[nt.BUSY_SWEEP] = False
    assert pool() == before, "another thread evaluates, and takes from the pool"
    kept.append(array())
    tape.collect()
    before = pool()
    monkeypatch.setattr(buffers, "SEEN_LIMIT", -1)
    kept.clear()
    assert pool() == before, "there is enough in it"

    def elsewhere() -> None:
        kept.append(array())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    tg.current_tape()  # forgets the tapes of ended threads
    expected = kept[0].copy()
    gc.collect()
    np.testing.assert_array_equal(kept.pop(), expected)


@alone
def test_a_long_graph_is_given_back() -> None:
    w = tg.tensor(1.0, requires_grad=True)
    tape = tg.current_tape()
    for _ in range(3):
        y = w
        for _ in range(50_000):
            y = y * 1.0000001
        y.backward()
        del y
        w.grad = None
    tape.collect()
    assert len(tape) < 1000
    assert int(tape.state[nt.S_CAPACITY]) <= 1 << 16


@alone
def test_tensors_kept_in_a_list_survive() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    kept = []
    for i in range(5_000):
        kept.append((w * float(i)).sum())
        w * 3  # garbage between them
    assert [t.item() for t in kept[::500]] == [3.0 * i for i in range(0, 5_000, 500)]
    total = kept[0]
    for t in kept[1:]:
        total = total + t
    total.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [sum(range(5_000))] * 2


def test_deleting_tensors_keeps_the_graph_of_the_rest() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = y.exp()
    s = (z * y).sum()
    del y, z
    tg.current_tape().collect()
    s.backward()
    assert x.grad is not None
    want = [2 * v * np.exp(v * v) * (1 + v * v) for v in (1.0, 2.0)]
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-14)


def test_leaf_that_only_the_graph_holds() -> None:
    def make() -> Any:
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        return (x * x).sum()

    s = make()
    gc.collect()
    tg.current_tape().collect()
    s.backward()
    assert s.item() == 5


# --------------------------------------------------------------------------- what backward frees
AGAIN = "Trying to backward through the graph a second time"


@pytest.fixture
def x() -> Any:
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x + 2).sum(), lambda x: x.sum(), lambda x: x.mean(), lambda x: (-x).sum(),
        lambda x: (x - x[0]).sum(), lambda x: x[1], lambda x: x.reshape(3, 1).T.sum(),
        lambda x: tg.cat([x, x]).sum(), lambda x: x.expand(4, 3).sum(),
    ],
)  # fmt: skip
def test_statements_without_residuals_are_never_freed(
    x: Any, function: Callable[[Any], Any]
) -> None:
    s = function(x)
    for i in range(1, 4):
        s.backward()
        one = x.grad.tolist() if i == 1 else one  # noqa: F821
        assert x.grad.tolist() == pytest.approx([i * v for v in one])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 3).sum(), lambda x: (x * x).sum(), lambda x: x.exp().sum(),
        lambda x: (x**2).sum(), lambda x: x.prod(), lambda x: x @ x, lambda x: (1 / x).sum(),
        lambda x: x.sigmoid().sum(), lambda x: tg.relu(x).sum(),
    ],
)  # fmt: skip
def test_a_second_backward_through_freed_residuals_raises(
    x: Any, function: Callable[[Any], Any]
) -> None:
    s = function(x)
    s.backward()
    first = x.grad.tolist()
    for call in (s.backward, lambda: tg.autograd.grad(s, x)):
        with pytest.raises(RuntimeError, match=AGAIN):
            call()
    assert x.grad.tolist() == first, "nothing was added"
    function(x).backward()
    assert x.grad.tolist() == pytest.approx([2 * v for v in first])


@pytest.mark.smoke
def test_retain_graph(x: Any) -> None:
    s = (x * x).sum()
    s.backward(retain_graph=True)
    s.backward(retain_graph=True)
    tg.current_tape().collect()
    s.backward()
    assert x.grad.tolist() == [6, 12, 18]
    with pytest.raises(RuntimeError, match=AGAIN):
        s.backward()


def test_grad_frees_only_what_it_visits() -> None:
    x, y = tg.tensor(2.0, requires_grad=True), tg.tensor(3.0, requires_grad=True)
    z = x**2 + y**3
    assert tg.autograd.grad(z, x)[0].item() == 4
    assert tg.autograd.grad(z, y)[0].item() == 27
    for v in (x, y):
        with pytest.raises(RuntimeError, match=AGAIN):
            tg.autograd.grad(z, v)


def test_what_saved_nothing_can_be_used_again(x: Any) -> None:
    y = x + 2
    z = y * y * 3
    tg.autograd.grad(z, x, tg.ones_like(x))
    z = y * y * 3
    (g,) = tg.autograd.grad(z, x, tg.ones_like(x))
    assert g.tolist() == [18, 24, 30]


def test_new_statements_on_freed_ones(x: Any) -> None:
    y = x * x
    y.sum().backward()
    z = y + 1
    assert z.tolist() == [2, 5, 10]
    with pytest.raises(RuntimeError, match=AGAIN):
        z.sum().backward()


@pytest.mark.smoke
def test_two_losses_on_one_tape(x: Any) -> None:
    y = tg.tensor([4.0, 5.0, 6.0], requires_grad=True)
    shared = x + y
    a, b = (x * x).sum() + shared.sum(), (y * y).sum() + shared.sum()
    for loss in (a, b):
        tg.current_tape().collect()
        loss.backward()
    assert x.grad.tolist() == [4, 6, 8]
    assert y.grad is not None
    assert y.grad.tolist() == [10, 12, 14]


def test_two_losses_with_shared_residuals(x: Any) -> None:
    h = x.exp()
    a, b = h.sum(), (h * 2).sum()
    a.backward(retain_graph=True)
    b.backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.exp([1, 2, 3]), rtol=1e-14)


def test_a_failed_backward_changes_nothing(x: Any) -> None:
    y = x * x
    z = y.exp()
    y.sum().backward()
    before = x.grad.tolist()
    with pytest.raises(RuntimeError, match=AGAIN):
        z.sum().backward()
    assert x.grad.tolist() == before
    w = x.sin()
    t = w.exp().sum()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        w.backward(tg.ones(2))
    t.backward()  # nothing of it counts as freed
    assert x.grad.tolist() != before


# --------------------------------------------------------------------------- accumulated gradients
@pytest.mark.smoke
def test_gradients_accumulate_in_place(x: Any) -> None:
    (x * x).sum().backward()
    first = x.grad
    values = first.numpy()
    (x * x).sum().backward()
    assert x.grad is first
    assert values.tolist() == [4, 8, 12]
    assert first._version == 1
    assert first.requires_grad is False
    assert first.is_leaf


def test_gradient_put_in_by_hand(x: Any) -> None:
    x.grad = tg.tensor([1.0, 1.0, 1.0])
    mine = x.grad
    (x * x).sum().backward()
    assert x.grad is mine
    assert mine.tolist() == [3, 5, 7]
    x.grad = None
    assert mine.tolist() == [3, 5, 7]
    computed = tg.tensor([1.0, 2.0, 3.0]) * 2
    x.grad = computed
    (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8, 12]
    view = tg.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])[:, 0]
    x.grad = view
    (x * x).sum().backward()
    assert x.grad.tolist() == [3, 6, 9]


def test_gradient_kept_by_the_user_is_not_overwritten(x: Any) -> None:
    (x * x).sum().backward()
    kept = x.grad
    x.grad = None
    (x * 3).sum().backward()
    assert kept.tolist() == [2, 4, 6]
    assert x.grad.tolist() == [3, 3, 3]


def test_grad_does_not_touch_grad(x: Any) -> None:
    tg.autograd.grad((x * x).sum(), x)
    assert x.grad is None


def test_create_graph_accumulates_out_of_place(x: Any) -> None:
    (x * x).sum().backward()
    first = x.grad
    with pytest.warns(UserWarning, match="create_graph=True"):
        (x * x).sum().backward(create_graph=True)
    assert x.grad is not first
    assert first.tolist() == [2, 4, 6]
    assert x.grad.tolist() == [4, 8, 12]
    assert x.grad.requires_grad
    x.grad = None


def test_retained_gradients(x: Any) -> None:
    y = x * 2
    y.retain_grad()
    z = y * y
    z.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    z.sum().backward(retain_graph=True)
    assert y.grad.tolist() == [4, 8, 12]
    assert z.grad.tolist() == [1, 1, 1]
    (y + 0).sum().backward()
    assert y.grad.tolist() == [5, 9, 13]
    with pytest.raises(RuntimeError, match="can't retain_grad"):
        x.detach().retain_grad()


def test_retained_gradient_after_an_in_place_write(x: Any) -> None:
    """As in torch, it is that of the tensor as it is after the write."""
    y = x * 1
    y.retain_grad()
    y.mul_(3)
    (y * 2).sum().backward()
    assert y.grad.tolist() == [2, 2, 2]
    assert x.grad.tolist() == [6, 6, 6]


def test_gradient_of_a_non_leaf_warns(x: Any) -> None:
    y = x * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert y.grad is None


@needs_proc
@alone
def test_programs_of_ever_new_shapes_stay_small() -> None:
    """Layouts and instructions are interned for ever; what one of them costs is bounded."""
    x = tg.tensor(np.ones(4000), requires_grad=True)

    def use(n: int) -> None:
        (x[:n] * x[:n]).sum().backward()

    for n in range(1, 101):
        use(n)
    before = resident()
    for n in range(101, 1101):
        use(n)
    assert resident() - before < 64 * MEGA, f"{(resident() - before) / MEGA:.1f} MB"


@alone
@pytest.mark.parametrize("with_views", [False, True])
def test_detached_results_do_not_keep_their_graph(with_views: bool) -> None:
    """``losses.append(loss.detach())``: a slot for the value and one for the alias, not the graph."""
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    losses = []
    for _ in range(200):
        loss = ((w * w).sin() * w).sum()
        if with_views:
            with tg.no_grad():
                losses.append(loss.reshape(1)[0])
        else:
            losses.append(loss.detach())
        loss.backward()
        w.grad = None
    del loss
    tape = tg.current_tape()
    tape.collect()
    tape.collect()
    assert len(tape) <= 3 * len(losses) + 3
    assert all(x.item() == losses[0].item() for x in losses)
    del losses
    tape.collect()
    assert len(tape) <= 3
