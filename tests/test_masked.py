"""`mask_zero_cotangents`: zero cotangents give zeros, in sweeps, replays, and with many lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_derivatives import derivatives, directions_for
from op_samples import cases, public_rows

import tapegrad as tg
from tapegrad.autograd import grad, mask_zero_cotangents
from tapegrad.autograd.jacobian_products import push
from tapegrad.ops.table import Op

#: functions with a branch that is not taken at 0, and their gradients there
GUARDED = {
    "sqrt": (lambda x: tg.where(x > 0, x.sqrt(), x), 1.0),
    "log": (lambda x: tg.where(x > 0, x.log(), x * 2), 2.0),
    "reciprocal": (lambda x: tg.where(x != 0, 1 / x, x), 1.0),
    "power": (lambda x: tg.where(x > 0, x**0.5 * x**-1.5, 3 * x), 3.0),
    "chain": (lambda x: tg.where(x > 0, (x.log().exp() / x).sqrt(), -x), -1.0),
    "two": (lambda x: tg.where(x > 0, tg.atan2(x, x) / x.sqrt(), x), 1.0),
}


def leaf(*values: float) -> Any:
    return tg.tensor(list(values), requires_grad=True)


@pytest.mark.parametrize("name", GUARDED)
def test_the_branch_that_is_not_taken_counts_as_zero(name: str) -> None:
    function, at_zero = GUARDED[name]
    x = leaf(0.0, 2.0)
    (plain,) = grad(function(x).sum(), x)
    assert np.isnan(plain.tolist()[0])
    with mask_zero_cotangents():
        (masked,) = grad(function(x).sum(), x)
    assert masked.tolist()[0] == at_zero
    assert masked.tolist()[1] == plain.tolist()[1]


@pytest.mark.parametrize("name", GUARDED)
def test_at_the_second_order_and_by_replay(name: str) -> None:
    function, at_zero = GUARDED[name]
    x, alone = leaf(0.0, 2.0), leaf(2.0)
    with mask_zero_cotangents():
        (g,) = grad(function(x).sum(), x, create_graph=True)
        assert g.tolist()[0] == at_zero
        (h,) = grad(g.sum(), x)
    (g,) = grad(function(alone).sum(), alone, create_graph=True)
    np.testing.assert_allclose(h.tolist(), [0.0, grad(g.sum(), alone)[0].item()], atol=1e-12)


def test_with_lanes() -> None:
    x = leaf(0.0, 2.0, 3.0)
    y = tg.where(x > 0, x.sqrt(), x)
    with mask_zero_cotangents():
        (found,) = grad(y, x, tg.eye(3), is_grads_batched=True)
    np.testing.assert_allclose(found.numpy(), np.diag([1, 0.5 / 2**0.5, 0.5 / 3**0.5]))


def test_backward_and_transforms() -> None:
    x = leaf(0.0, 4.0)
    with mask_zero_cotangents():
        tg.where(x > 0, x.sqrt(), x).sum().backward()
        found = tg.grad(lambda a: tg.where(a > 0, a.sqrt(), a).sum())(tg.tensor([0.0, 4.0]))
    assert x.grad is not None
    assert x.grad.tolist() == found.tolist() == [1.0, 0.25]


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_hooks_and_anomaly_detection_see_masked_cotangents() -> None:
    seen: list[Any] = []
    x = leaf(0.0, 4.0)
    root = x.sqrt()
    root.grad_fn.register_hook(lambda inputs, _: seen.append(inputs[0].tolist()))
    y = tg.where(x > 0, root, x).sum()
    with mask_zero_cotangents():
        assert grad(y, x)[0].tolist() == [1.0, 0.25]
    assert seen == [[0.0, 0.25]]
    with tg.autograd.detect_anomaly(), mask_zero_cotangents():
        assert grad(tg.where(x > 0, x.sqrt(), x).sum(), x)[0].tolist() == [1.0, 0.25]


def test_the_mode_ends_and_nests_and_decorates() -> None:
    def at_zero() -> float:
        x = leaf(0.0)
        return float(grad(tg.where(x > 0, x.sqrt(), x).sum(), x)[0].item())

    with mask_zero_cotangents():
        assert at_zero() == 1.0
        with mask_zero_cotangents(False):
            assert np.isnan(at_zero())
        assert at_zero() == 1.0
    assert np.isnan(at_zero())
    assert mask_zero_cotangents()(at_zero)() == 1.0
    assert np.isnan(at_zero())
    with pytest.raises(TypeError, match="written with parentheses"):
        mask_zero_cotangents(at_zero)  # type: ignore[arg-type]


SMOOTH = [e for e in public_rows() if e.vjp is not None]


@pytest.mark.parametrize("entry", SMOOTH, ids=lambda e: e.name)
def test_cotangents_that_are_not_zero_are_as_ever(entry: Op) -> None:
    rng = np.random.default_rng(3)
    for case in cases(entry)[:6]:
        if not any(case.active):
            continue
        directions = directions_for(case, rng, 2)
        for swept in (False, True):
            want = derivatives(case, case.arrays, directions, swept=swept)
            with mask_zero_cotangents():
                have = derivatives(case, case.arrays, directions, swept=swept)
            for x, y in zip(want[1], have[1], strict=True):
                np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12, err_msg=str(case))


def safe_root(x: Any) -> Any:
    return tg.where(x > 0, x.sqrt(), x)


def test_forward_mode_masks_what_reverse_mode_masks() -> None:
    """Passes that are linearised in their seed begin where no cotangent is zero by chance."""
    x, v = tg.tensor([0.0, 4.0]), tg.tensor([3.0, 8.0])
    jacobian = [[1.0, 0.0], [0.0, 0.25]]

    def total(x: Any) -> Any:
        return (2 * safe_root(x) + x * x).sum()

    with mask_zero_cotangents():
        assert tg.func.jacrev(safe_root)(x).tolist() == jacobian
        assert tg.func.jacfwd(safe_root)(x).tolist() == jacobian
        assert tg.func.jvp(safe_root, (x,), (v,))[1].tolist() == [3.0, 2.0]
        assert tg.func.linearize(safe_root, x)[1](v).tolist() == [3.0, 2.0]
        assert tg.autograd.functional.jvp(safe_root, x, v)[1].tolist() == [3.0, 2.0]
        (both,) = tg.func.jacfwd(lambda x: (tg.stack([x, -x]),))(tg.tensor(2.0))
        assert both.tolist() == [1.0, -1.0]
        one, other = tg.func.jvp(lambda x: (x, -x), (v,), (v,))[1]
        assert (one.tolist(), other.tolist()) == ([3.0, 8.0], [-3.0, -8.0])
        want = [2 * 3.0, (2 - 2 / 32) * 8.0]
        assert tg.autograd.functional.vhp(total, x, v)[1].tolist() == want
        assert tg.autograd.functional.hvp(total, x, v)[1].tolist() == want
        batched = tg.func.vmap(tg.func.jacfwd(safe_root))(tg.stack([x, x]))
        assert batched.tolist() == [jacobian] * 2


@pytest.mark.parametrize("entry", SMOOTH, ids=lambda e: e.name)
def test_tangents_that_are_masked_are_as_ever(entry: Op) -> None:
    rng = np.random.default_rng(4)
    for case in cases(entry)[:2]:
        leaves, outs = case.run()
        inputs = [x for x, on in zip(leaves, case.active, strict=True) if on]
        outputs = [y for y in outs if y.requires_grad]
        if not inputs or not outputs:
            continue
        along = [tg.tensor(rng.normal(size=tuple(x.shape))) for x in inputs]
        want = push(outputs, inputs, along)
        with mask_zero_cotangents():
            have = push(outputs, inputs, along)
        for x, y in zip(want, have, strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12, err_msg=str(case))
