"""Inference mode: which tensors are inference tensors, and what is refused with them outside."""

from __future__ import annotations

import gc
import threading

import pytest

import tapegrad as tg

SAVED = "Inference tensors cannot be saved for backward"
WRITTEN = "Inplace update to inference tensor outside InferenceMode is not allowed"


def inference(values=(1.0, 2.0, 3.0)):
    with tg.inference_mode():
        return tg.tensor(list(values))


def test_mode_is_told_and_put_back():
    assert not tg.is_inference_mode_enabled()
    with tg.inference_mode():
        assert tg.is_inference_mode_enabled()
        assert not tg.is_grad_enabled()
        with tg.inference_mode(False):
            assert not tg.is_inference_mode_enabled()
            assert tg.is_grad_enabled()
        assert tg.is_inference_mode_enabled()
        assert not tg.is_grad_enabled()
    assert not tg.is_inference_mode_enabled()
    assert tg.is_grad_enabled()


@pytest.mark.parametrize("outer", [tg.no_grad, tg.enable_grad])
def test_grad_mode_around_is_put_back(outer):
    with outer():
        before = tg.is_grad_enabled()
        with tg.inference_mode():
            pass
        assert tg.is_grad_enabled() == before


def test_mode_is_put_back_after_an_error():
    with pytest.raises(ValueError, match="x"), tg.inference_mode():
        raise ValueError("x")
    assert not tg.is_inference_mode_enabled()
    assert tg.is_grad_enabled()


def test_grad_mode_is_told_but_records_nothing_in_inference_mode():
    with tg.inference_mode():
        x = tg.tensor([1.0], requires_grad=True)
        with tg.enable_grad():
            assert tg.is_grad_enabled()
            y = x * 2
        assert not tg.is_grad_enabled()
        tg.set_grad_enabled(True)
        assert tg.is_grad_enabled()
        assert not (x * 2).requires_grad
    assert tg.is_grad_enabled()
    assert not y.requires_grad
    assert (tg.tensor([1.0], requires_grad=True) * 2).requires_grad


@pytest.mark.parametrize("decorate", [
    tg.inference_mode, lambda f: tg.inference_mode()(f), lambda f: tg.inference_mode(mode=True)(f),
])  # fmt: skip
def test_decorator(decorate):
    @decorate
    def f(x):
        assert tg.is_inference_mode_enabled()
        return x * x

    y = f(tg.tensor([3.0], requires_grad=True))
    assert tg.is_inference(y)
    assert not y.requires_grad
    assert y.tolist() == [9.0]
    assert f(y).tolist() == [81.0]


@pytest.mark.smoke
def test_what_is_an_inference_tensor():
    normal = tg.tensor([1.0, 2.0])
    with tg.inference_mode():
        created, computed, view = tg.ones(2), normal * 2, normal[:1]
        again, written = created[0], normal.add_(1)
        active = tg.ones(2, requires_grad=True)
    assert [t.is_inference() for t in (created, computed, again, active)] == [True] * 4
    assert [t.is_inference() for t in (normal, view, written)] == [False] * 3
    assert active.requires_grad
    assert tg.is_inference(created)
    assert not tg.is_inference(normal)


def test_what_is_made_of_an_inference_tensor_outside():
    x = inference()
    aliases = [x[0], x.view(3, 1), x.detach(), x.data, x.expand(2, 3)]
    assert all(t.is_inference() for t in aliases)
    copies = [x.clone(), x + 1, x * x, x.sum(), x.to(tg.float32), tg.tensor(x.tolist())]
    assert not any(t.is_inference() for t in copies)
    with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
        _ = x._version
    assert x.clone()._version == 0


@pytest.mark.parametrize("write", [
    lambda x: x.add_(1), lambda x: x.mul_(2), lambda x: x.zero_(), lambda x: x.fill_(1.0),
    lambda x: x.copy_(tg.ones(3)), lambda x: x.__setitem__(0, 5.0), lambda x: x[1:].add_(1),
    lambda x: x.detach().add_(1), lambda x: x.exp_(), lambda x: x.index_put_((tg.tensor([0]),), tg.ones(1)),
    lambda x: x.__setitem__(x > 1, 0.0), lambda x: x.__iadd__(1),
])  # fmt: skip
@pytest.mark.parametrize("computed", [False, True])
def test_writes_are_refused_outside(write, computed):
    x = inference()
    if computed:
        with tg.inference_mode():
            x = x * 1
    with pytest.raises(RuntimeError, match=WRITTEN):
        write(x)
    assert x.tolist() == [1.0, 2.0, 3.0]
    with tg.inference_mode():
        write(x)
    assert x.is_inference()


def test_normal_tensors_take_the_values_of_inference_tensors():
    x = inference()
    a = tg.zeros(3)
    a.copy_(x).mul_(x)
    assert a.tolist() == [1.0, 4.0, 9.0]
    assert not a.is_inference()
    b = tg.zeros(3, requires_grad=True)
    c = b.clone()
    c.copy_(x)
    c.sum().backward()
    assert b.grad.tolist() == [0.0, 0.0, 0.0]
    assert c.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("use", [
    lambda w, x: w * x, lambda w, x: x * w, lambda w, x: w / x, lambda w, x: w @ x, lambda w, x: x**w,
    lambda w, x: w.clone().mul_(x), lambda w, x: tg.dot(x, w), lambda w, x: tg.maximum(w, x),
    lambda w, x: tg.where(x > 1, w * 2, x * w), lambda w, x: w * x[0], lambda w, x: tg.outer(w, x),
    lambda w, x: tg.einsum("i,i->", w, x),
])  # fmt: skip
def test_what_backward_would_need_is_refused(use):
    w, x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True), inference()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=SAVED):
            use(w, x)
    use(w, x.clone()).sum().backward()
    with tg.no_grad():
        use(w, x)
    use(w.detach(), x)
    assert w.grad is not None


def test_what_backward_does_not_need_is_not():
    w, x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True), inference()
    y = (w + x).sum() + (2 * w - x).sum() + tg.cat([w, x]).sum()
    y.backward()
    assert w.grad.tolist() == [4.0, 4.0, 4.0]


def test_an_inference_leaf_gets_a_gradient():
    with tg.inference_mode():
        x = tg.ones(2, requires_grad=True)
    (x + tg.ones(2)).backward(tg.tensor([2.0, 3.0]))
    assert x.grad.tolist() == [2.0, 3.0]


def test_requires_grad_is_refused_outside():
    x = inference()
    message = "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed"
    with pytest.raises(RuntimeError, match=message):
        x.requires_grad_()
    with pytest.raises(RuntimeError, match=message):
        x.requires_grad = True
    x.requires_grad_(False)
    with tg.inference_mode():
        assert x.requires_grad_().requires_grad


def test_functions_do_not_save_inference_tensors():
    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * x

        @staticmethod
        def backward(ctx, ct):
            return 2 * ct * ctx.saved_tensors[0], None

    w, x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True), inference()
    with pytest.raises(RuntimeError, match=SAVED):
        Square.apply(w, x)
    Square.apply(w, x.clone()).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0, 6.0]


def test_numbers_are_not_inference_tensors():
    """Python numbers are kept on the tape, also those that were used first in inference mode."""
    with tg.inference_mode():
        tg.ones(2) * 17.25
    x = tg.tensor([2.0], requires_grad=True)
    (17.25 * x * 17.25).sum().backward()
    assert x.grad.tolist() == [17.25**2]


def test_collection_keeps_the_book():
    outside = tg.ones(3)
    with tg.inference_mode():
        first = tg.ones(3) * 2
        for _ in range(3):
            for _ in range(3000):
                last = first * 2
            tg.current_tape().collect()
            assert first.is_inference()
            assert last.is_inference()
            assert not outside.is_inference()
    later = [tg.ones(3) + i for i in range(50)]
    gc.collect()
    tg.current_tape().collect()
    assert first.is_inference()
    assert last.is_inference()
    assert not any(t.is_inference() for t in [outside, *later])
    del first, last
    tg.current_tape().collect()
    assert not tg.current_tape().inference


def test_transforms_differentiate_in_inference_mode():
    with tg.inference_mode():
        x = tg.tensor([1.0, 2.0])
        w = x + 1
        g = tg.func.grad(lambda t: (t * t * w).sum())(x)
        h = tg.func.hessian(lambda t: (t * t * w).sum())(x)
        j = tg.autograd.functional.jacobian(lambda t: t * t, x)
        assert tg.is_inference_mode_enabled()
        assert not tg.is_grad_enabled()
    assert g.tolist() == [4.0, 12.0]
    assert h.tolist() == [[4.0, 0.0], [0.0, 6.0]]
    assert j.tolist() == [[2.0, 0.0], [0.0, 4.0]]


def test_functions_in_transforms_in_inference_mode():
    """`Function.apply` switches recording off for forward, and on again as it was."""

    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, ct):
            return ct * 2

    with tg.inference_mode():
        x = tg.tensor([1.0])
        g = tg.func.grad(lambda t: (Double.apply(t) * t.sin().asin()).sum())(x)
    assert g.item() == pytest.approx(4.0)


def test_the_mode_is_of_one_thread():
    seen = []
    with tg.inference_mode():
        thread = threading.Thread(target=lambda: seen.append(tg.ones(1).is_inference()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_a_generator_keeps_its_mode():
    @tg.inference_mode()
    def values():
        for _ in range(2):
            yield tg.ones(1)

    for value in values():
        assert not tg.is_inference_mode_enabled()
        assert value.is_inference()


def test_beside_torch():
    torch = pytest.importorskip("torch")

    def outcomes(lib):
        with lib.inference_mode():
            x = lib.ones(3)
        w = lib.ones(3, requires_grad=True)
        uses = [
            lambda: (x * 2).is_inference(), lambda: x[0].is_inference(), lambda: x.clone().is_inference(),
            lambda: x.add_(1), lambda: w + x, lambda: lib.cat([w, x]), lambda: x.requires_grad_(),
            lambda: w.clone().copy_(x).requires_grad, lambda: x.detach().is_inference(),
        ]  # fmt: skip
        result = []
        for use in uses:
            try:
                value = use()
                result.append(value if isinstance(value, bool) else "tensor")
            except RuntimeError as error:
                result.append(str(error).splitlines()[0])
        return result

    assert outcomes(tg) == outcomes(torch)
    assert outcomes(tg)[:3] == [False, True, False]


@pytest.mark.parametrize("take", [lambda a: a.view_as(a), lambda a: a[1:], lambda a: a.view(3, 1)])
def test_views_taken_in_inference_mode_are_not_written_outside(take):
    a = tg.ones(3, requires_grad=True).clone()
    with tg.inference_mode():
        view = take(a)
    tg.current_tape().collect()
    with pytest.raises(
        RuntimeError, match="A view was created in inference mode and is being modified"
    ):
        view.add_(2)
    a.add_(2)
    message = (
        "A view was created in inference mode and its base or another view of its base has been"
    )
    with pytest.raises(RuntimeError, match=message):
        _ = view.grad_fn
    b = tg.ones(3)
    with tg.inference_mode():
        view = take(b)
    view.add_(2)
    assert b.tolist()[1:] == [3.0, 3.0]


def test_shapes_are_changed_in_place_in_inference_mode():
    with tg.inference_mode():
        x = tg.ones(1, 2, 3)
        x.transpose_(0, 1)
        assert x.is_inference()
        assert tuple(x.shape) == (2, 1, 3)
    with pytest.raises(RuntimeError, match=WRITTEN):
        x.transpose_(0, 1)
    assert not x[0]._is_view()


@pytest.mark.parametrize(
    "take",
    [
        lambda a: a[1:], lambda a: a.unbind()[1], lambda a: a.split(2)[1], lambda a: a.chunk(2)[0],
        lambda a: a.view(2, 2).t()[0],
    ],
)  # fmt: skip
def test_views_that_were_made_in_inference_mode_say_so(take):
    base = tg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True) * 1
    with tg.inference_mode():
        view = take(base)
    with pytest.raises(RuntimeError, match=r"^A view was created in inference mode and is being"):
        view.mul_(2)
    with tg.no_grad():
        quiet = take(base)
        view.mul_(2)
    with pytest.raises(RuntimeError, match=r"^A view was created in inference mode and its base"):
        _ = view.grad_fn
    with pytest.raises(RuntimeError, match=r"^A view was created in no_grad mode and is being"):
        quiet.mul_(2)
