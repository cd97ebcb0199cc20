"""Kernels that fail: what is raised, what is left behind, and how work goes on.

These tests bring their own rows, whose kernels fail where they should; those of linear algebra are in
test_linalg.py.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.native.ufunc_loops import native_kernel, native_kernel_address
from tapegrad.native.words import p64, pf64
from tapegrad.ops.instruction import VTAB
from tapegrad.ops.layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from tapegrad.ops.program import STEPS, Step, arg
from tapegrad.ops.table import TABLE, Failure, Lowered, Op, op, out_operand
from tapegrad.rules import fusion as fuse
from tapegrad.tape import recording as record
from tapegrad.tape.verifier import verify


class SingularError(RuntimeError):
    """An error of a row's own."""


# --------------------------------------------------------------------------- the rows
def failing_quotient(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Divide, and fail where the divisor is zero."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        divisor = pf64(a[1] + i * s[1])[0]
        if divisor == 0:
            return i + 1
        pf64(a[2] + i * s[2])[0] = pf64(a[0] + i * s[0])[0] / divisor
    return 0


def failing_inverse(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Invert matrices of two rows, and fail for a singular one."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        x, out = a[0] + i * s[0], a[1] + i * s[1]
        p, q = pf64(x)[0], pf64(x + s[3])[0]
        r, t = pf64(x + s[2])[0], pf64(x + s[2] + s[3])[0]
        determinant = p * t - q * r
        if determinant == 0:
            return i + 1
        pf64(out)[0], pf64(out + s[5])[0] = t / determinant, -q / determinant
        pf64(out + s[4])[0], pf64(out + s[4] + s[5])[0] = -r / determinant, p / determinant
    return 0


for _kernel in (failing_quotient, failing_inverse):
    native_kernel(_kernel, checked=True)


def lower_quotient(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(layouts[0].dtype, broadcast_shapes(*(x.shape for x in layouts)))
    operands = [arg(i, broadcast_strides(x, out.shape)) for i, x in enumerate(layouts)]
    kernel = native_kernel_address("failing_quotient"), 0
    step = Step(kernel, out.shape, (*operands, out_operand(2, out)), checked=True)
    return Lowered((out,), (step,))


def lower_inverse(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    operands = arg(0, x.strides[:-2]), arg(1, out.strides[:-2])
    kernel, inner = (native_kernel_address("failing_inverse"), 0), x.strides[-2:] + out.strides[-2:]
    step = Step(kernel, x.shape[:-2], operands, x.shape[-2:], inner, checked=True)
    return Lowered((out,), (step,))


def call(name: str, *tensors: Any) -> Any:
    return record.apply(TABLE[name], tensors)


def _inverse_vjp(ct: Any, x: Any, out: Any) -> Any:
    turned = out.transpose(-1, -2)
    return -(turned @ ct @ turned)


@pytest.fixture(autouse=True, scope="module")
def _rows() -> Iterator[None]:
    """Have the rows in the table while this file is tested."""
    broken = Failure("division by zero")
    op(
        "quotient_t", lower=lower_quotient, arity=2, torch=None, failure=broken,
        vjp=lambda ct, x, y, out: (ct / y, -ct * out / y), function="quotient_t",
    )  # fmt: skip
    op(
        "inverse_t", lower=lower_inverse, torch=None, vjp=_inverse_vjp,
        failure=Failure("the matrix is singular", SingularError),
    )  # fmt: skip
    # Their derivatives have a kernel that fails: with lanes, and without.
    op(
        "late_t", loop=np.square, torch=None,
        vjp=lambda ct, x, out: call("quotient_t", ct * 2 * out, x),
    )  # fmt: skip
    op(
        "late_once_t", loop=np.square, torch=None,
        vjp=lambda ct, x, out: ct * call("quotient_t", 2 * out, x),
    )  # fmt: skip
    op(
        "late_inverse_t", loop=np.square, torch=None,
        vjp=lambda ct, x, out: 2 * call("inverse_t", call("inverse_t", x)) * ct,
    )  # fmt: skip
    yield
    for name in ("quotient_t", "inverse_t", "late_t", "late_once_t", "late_inverse_t"):
        del TABLE[name]


@pytest.fixture(autouse=True)
def _verified() -> Iterator[None]:
    """Whatever failed, the tape is as it should be, and works."""
    yield
    tape = tg.current_tape()
    verify(tape)
    works()
    tape.collect()
    verify(tape)
    works()


def works() -> None:
    x = leaf([1.0, 2.0, 4.0])
    y = call("quotient_t", x, x * x)
    assert y.tolist() == [1.0, 0.5, 0.25]
    y.sum().backward()
    assert x.grad.tolist() == [-1.0, -0.25, -0.0625]
    matrix = leaf([[2.0, 0.0], [0.0, 4.0]])
    (inverse,) = tg.autograd.grad(call("inverse_t", matrix).sum(), [matrix])
    assert inverse.tolist() == [[-0.25, -0.125], [-0.125, -0.0625]]
    (late,) = tg.autograd.grad(call("late_t", x).sum(), [x])
    assert late.tolist() == [2.0, 4.0, 8.0]


def leaf(values: Any) -> Any:
    return tg.tensor(np.array(values, float), requires_grad=True)


#: the third of four matrices is singular
def matrices(n: int = 4, bad: int = 2) -> np.ndarray:
    found = np.random.default_rng(1).standard_normal((n, 2, 2)) + 3 * np.eye(2)
    found[bad] = [[1, 2], [2, 4]]
    return found


QUOTIENT = "quotient_t: (Batch element 1): division by zero (operands of shape [3], [3])"
INVERSE = "inverse_t: (Batch element 2): the matrix is singular (operands of shape [4, 2, 2])"


def raises(text: str, error: type[Exception] = RuntimeError) -> Any:
    return pytest.raises(error, match=f"^{re.escape(text)}$")


def divided() -> tuple[Any, Any]:
    """Return a leaf, and what cannot be computed of it."""
    x = leaf([1.0, 0.0, 2.0])
    return x, call("quotient_t", x, x)


# --------------------------------------------------------------------------- forward
def test_the_error_comes_with_the_value_and_again_with_each_read() -> None:
    x, y = divided()
    for _ in range(3):
        with raises(QUOTIENT):
            y.tolist()
    assert x.tolist() == [1.0, 0.0, 2.0]


def test_a_row_names_its_error() -> None:
    y = call("inverse_t", leaf(matrices()))
    with raises(INVERSE, SingularError):
        y.tolist()
    with raises("inverse_t: the matrix is singular (operands of shape [2, 2])", SingularError):
        call("inverse_t", leaf(matrices()[2])).tolist()


def test_what_comes_before_is_done_and_what_depends_on_it_raises_the_same() -> None:
    x = leaf([1.0, 0.0, 2.0])
    before = x * 2
    y = call("quotient_t", x, x)
    after = y.exp().sum()
    part = y[0]
    apart = x + 1
    with raises(QUOTIENT):
        after.item()
    for value in (after, part, y):
        with raises(QUOTIENT):
            value.tolist()
    assert before.tolist() == [2.0, 0.0, 4.0]
    assert apart.tolist() == [2.0, 1.0, 3.0]
    del y, part
    tg.current_tape().collect()
    with raises(QUOTIENT):
        after.item()
    with raises(QUOTIENT):  # what is recorded later as well
        (after * 2).item()


def test_the_reason_survives_the_operands() -> None:
    x = leaf([1.0, 0.0, 2.0]).detach()
    y = call("quotient_t", x, x)
    with raises(QUOTIENT):
        y.tolist()
    z = y + 1
    assert tg.tensor(1.0).item() == 1.0
    tg.current_tape().evaluate()  # which poisons `z`, and has nothing to say about it
    del y, x
    tg.current_tape().collect()
    with raises(QUOTIENT):
        z.tolist()


def test_each_failure_has_its_own_text() -> None:
    _, y = divided()
    z = call("inverse_t", leaf(matrices()))
    both = y.sum() + z.sum()
    with raises(QUOTIENT):
        both.item()
    with raises(INVERSE, SingularError):
        z.sum().item()
    with raises(QUOTIENT):
        both.item()


@pytest.mark.parametrize("turn", [False, True])
def test_elements_are_counted_in_the_order_of_the_shape(turn: bool) -> None:
    values = np.ones((3, 4, 5))
    values[1, 2, 3] = 0
    x = leaf(values.transpose(2, 0, 1).copy()).permute(1, 2, 0) if turn else leaf(values)
    with raises(
        "quotient_t: (Batch element 33): division by zero (operands of shape [], [3, 4, 5])"
    ):
        call("quotient_t", tg.tensor(1.0), x).tolist()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), ()])
def test_empty_and_zero_dimensional_operands(shape: tuple[int, ...]) -> None:
    x = leaf(np.full(shape, 2.0))
    y = call("quotient_t", x, x)
    assert y.shape == shape
    assert y.tolist() == np.ones(shape).tolist()
    y.sum().backward()
    if not shape:
        with raises("quotient_t: division by zero (operands of shape [], [])"):
            call("quotient_t", x, x - 2).item()


def test_every_length_is_checked() -> None:
    """Neither families of instructions nor patterns lose the check."""
    for n in range(2, 30):
        x = leaf(np.arange(n) - 1.0)
        with raises(
            f"quotient_t: (Batch element 1): division by zero (operands of shape [{n}], [{n}])"
        ):
            call("quotient_t", x, x).tolist()
        values = np.arange(n) - 1.0
        assert call("quotient_t", x, x + n).tolist() == (values / (values + n)).tolist()


def test_memory_is_given_back() -> None:
    tape = tg.current_tape()
    x = leaf(np.arange(5000.0))
    assert (x + 0).sum().item() == 12497500
    tape.collect()
    before = tape.state[nt.S_OWNED_BYTES]
    y = call("quotient_t", x, x)
    with pytest.raises(RuntimeError, match="division by zero"):
        y.tolist()
    assert tape.state[nt.S_OWNED_BYTES] == before


def test_what_is_evaluated_at_once_is_not_recorded() -> None:
    x = leaf([1.0, 0.0, 2.0])
    x.detach().numpy()  # visible outside from now on
    count = len(tg.current_tape())
    with raises(QUOTIENT):
        call("quotient_t", x, x)
    assert len(tg.current_tape()) == count


def test_a_pass_through_what_failed_raises() -> None:
    x, y = divided()
    total = (y * x).sum()
    for _ in range(2):
        with raises(QUOTIENT):
            total.backward(retain_graph=True)
        with raises(QUOTIENT):
            tg.autograd.grad(total, [x], retain_graph=True)
        with raises(QUOTIENT):
            tg.autograd.grad(total, [x], create_graph=True)
        with raises(QUOTIENT):
            tg.autograd.grad(y, [x], tg.ones(2, 3), is_grads_batched=True)
    assert x.grad is None


def test_a_write_of_what_failed_does_not_happen() -> None:
    x, y = divided()
    target = x.clone()
    target[:2].copy_(y[1:])
    for _ in range(2):
        with raises(QUOTIENT):
            target.sum().backward()
    assert x.grad is None


def test_threads() -> None:
    _, y = divided()
    seen: list[str] = []

    def read() -> None:
        try:
            y.tolist()
        except RuntimeError as error:
            seen.append(str(error))
        works()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(20):
        works()
    for t in threads:
        t.join()
    assert seen == [QUOTIENT] * 3
    with raises(QUOTIENT):
        y.tolist()


# --------------------------------------------------------------------------- reverse
LATE = QUOTIENT[:-1] + "; in the derivative of {}, operands of shape [3])"


def _swept(x: Any, y: Any) -> Any:
    y.backward(retain_graph=True)


def _grad(x: Any, y: Any) -> Any:
    tg.autograd.grad(y, [x], retain_graph=True)


def _of_result(x: Any, y: Any) -> Any:
    middle = y * 1
    tg.autograd.grad(middle.sum(), [x], tg.tensor(2.0), retain_graph=True)


def _hooked(x: Any, y: Any) -> Any:
    z = y * 2
    z.register_hook(lambda g: g * 2)
    z.backward(retain_graph=True)


def _batched(x: Any, y: Any) -> Any:
    tg.autograd.grad(y.expand(20) * 1, [x], tg.eye(20), is_grads_batched=True, retain_graph=True)


def _functional(x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        tg.autograd.grad([y, y * 2], [x], retain_graph=True)


@pytest.mark.parametrize("name", ["late_t", "late_once_t"])
@pytest.mark.parametrize(
    "run", [_swept, _grad, _of_result, _hooked, _batched, _functional], ids=lambda f: f.__name__
)
def test_a_sweep_stops_and_leaves_all_as_it_was(name: str, run: Callable[..., Any]) -> None:
    x = leaf([1.0, 0.0, 2.0])
    x.grad = tg.tensor([1.0, 1.0, 1.0])
    y = call(name, x * 1).sum()
    assert y.item() == 5.0
    for _ in range(3):
        with raises(LATE.format(name)):
            run(x, y)
        assert x.grad.tolist() == [1.0, 1.0, 1.0]
        assert y.item() == 5.0
        works()


def test_memory_of_a_sweep_is_given_back() -> None:
    tape = tg.current_tape()
    x, w = leaf(np.arange(5000.0)), leaf(np.ones(5000))
    y = call("late_t", x * 1) * 2
    for hooked in (False, True):
        z = (y * w).exp() * 0
        if hooked:
            z.register_hook(lambda g: g * 1)
        total = z.sum()
        total.item()
        pooled = []
        for _ in range(6):
            with pytest.raises(RuntimeError, match="division by zero"):
                total.backward(retain_graph=True)
            pooled.append(tape.state[nt.S_POOL])
        assert len(set(pooled[1:])) == 1


@pytest.mark.parametrize("name", ["late_t", "late_once_t"])
def test_recorded_derivatives_fail_when_they_are_read(name: str) -> None:
    x = leaf([1.0, 0.0, 2.0])
    y = call(name, x).sum()
    (g,) = tg.autograd.grad(y, [x], create_graph=True)
    for _ in range(2):
        with raises(QUOTIENT):
            g.tolist()
        with raises(QUOTIENT):
            (g * g).sum().backward()
    x = leaf([1.0, 4.0, 2.0])
    (g,) = tg.autograd.grad(call(name, x).sum(), [x], create_graph=True)
    (h,) = tg.autograd.grad(g.sum(), [x])
    assert g.tolist() == [2.0, 8.0, 4.0]
    assert h.tolist() == [2.0] * 3


def test_an_error_of_a_row_in_a_derivative() -> None:
    x = leaf(matrices())
    text = INVERSE[:-1] + "; in the derivative of late_inverse_t, operands of shape [4, 2, 2])"
    for _ in range(2):
        with raises(text, SingularError):
            call("late_inverse_t", x).sum().backward()


@pytest.mark.parametrize("name", ["late_t", "late_once_t"])
def test_jacobians(name: str) -> None:
    x = leaf([1.0, 0.0, 2.0])
    for vectorize in (False, True):
        with raises(LATE.format(name)):
            tg.autograd.functional.jacobian(lambda t: call(name, t), x, vectorize=vectorize)
        found = tg.autograd.functional.jacobian(
            lambda t: call(name, t), leaf([1.0, 3.0, 2.0]), vectorize=vectorize
        )
        np.testing.assert_allclose(found.numpy(), np.diag([2.0, 6.0, 4.0]))


@pytest.mark.parametrize("name", ["late_t", "late_once_t"])
def test_masked_cotangents(name: str) -> None:
    x = leaf([1.0, 0.0, 2.0])
    with tg.autograd.mask_zero_cotangents(), raises(LATE.format(name)):
        call(name, x).sum().backward()


# --------------------------------------------------------------------------- programs
def test_a_checked_step_is_not_fused() -> None:
    def run(start: float) -> Any:
        x = leaf(np.linspace(start, 2, 64))
        inner = call("late_t", call("quotient_t", x, x * x) - 1) * x
        return tg.autograd.grad(inner.sum(), [x])[0].tolist()

    before = run(1.5)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^quotient_t: \(Batch element 0\).* of late_t"):
            run(1.0)
        assert run(1.5) == before
        VTAB.rows[: VTAB.count, nt.V_WORK] = 1 << 60
        fuse.heat(force=True)
    kinds = STEPS.rows[: STEPS.count, nt.P_KIND]
    assert (kinds == nt.STEP_CHECKED).sum() >= 2


# --------------------------------------------------------------------------- transforms
def test_vmap() -> None:
    x = leaf(matrices())
    lifted = tg.vmap(lambda m: call("inverse_t", m))
    with raises(INVERSE, SingularError):
        lifted(x).tolist()
    good = leaf(matrices()[:2])
    np.testing.assert_allclose(lifted(good).detach().numpy(), np.linalg.inv(good.detach().numpy()))
    with raises(
        "quotient_t: (Batch element 4): division by zero (operands of shape [3, 2], [3, 2])"
    ):
        tg.vmap(lambda t: call("quotient_t", t, t))(
            tg.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
        ).tolist()


def test_vmap_of_gradients() -> None:
    per_sample = tg.vmap(tg.func.grad(lambda t: call("late_t", t).sum()))
    good = per_sample(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert good.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    with raises(
        "quotient_t: (Batch element 2): division by zero (operands of shape [2, 2], [2, 2])"
    ):
        per_sample(tg.tensor([[1.0, 2.0], [0.0, 4.0]])).tolist()


def test_forward_mode() -> None:
    x = tg.tensor([1.0, 0.0, 2.0])
    with pytest.raises(RuntimeError, match=r"^quotient_t: \(Batch element 1\)"):
        tg.func.jvp(lambda t: call("quotient_t", tg.ones(3), t), (x,), (x + 1,))[1].tolist()
    with pytest.raises(RuntimeError, match=r"^quotient_t: \(Batch element 1\)"):
        tg.func.jvp(lambda t: call("late_once_t", t), (x,), (x + 1,))[1].tolist()


# --------------------------------------------------------------------------- anomaly detection
def _warned(function: Callable[[], Any], text: str) -> str:
    with warnings.catch_warnings(record=True) as caught, raises(text):
        warnings.simplefilter("always")
        function()
    return "\n".join(str(w.message) for w in caught)


def test_anomaly_detection_names_the_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = tg.autograd.set_detect_anomaly(True, check_nan=False)
    with mode:
        x = leaf([1.0, 0.0, 2.0])
        y = call("quotient_t", x, x)  # the line that is named
        said = _warned(y.tolist, QUOTIENT)
        assert "Error detected in QuotientTBackward0" in said
        assert "the line that is named" in said
        z = call("late_t", x)  # the line whose derivative fails
        said = _warned(lambda: z.sum().backward(), LATE.format("late_t"))
        assert "Error detected in LateTBackward0" in said
        assert "the line whose derivative fails" in said


@pytest.mark.parametrize("create_graph", [False, True])
def test_anomaly_detection_that_looks_for_nan(create_graph: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = tg.autograd.set_detect_anomaly(True)
    with mode:
        x = leaf([1.0, 0.0, 2.0])
        z = call("late_t", x)  # the line whose derivative fails
        total = z.sum()
        said = _warned(lambda: tg.autograd.grad(total, [x], create_graph=create_graph), QUOTIENT)
        assert "Error detected in QuotientTBackward0" in said
        assert "induced by LateTBackward0" in said
        assert "the line whose derivative fails" in said
