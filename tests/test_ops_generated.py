"""Tests generated from the op table: values, derivatives of orders 1 to 3, agreement with torch.

A derivative of order k is a vector, the gradient of a directional derivative of order k - 1, so it
is checked against central differences of that one (which the previous step checked). Where torch is
installed, values and first and second derivatives are compared as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_arguments import SAMPLES
from op_derivatives import (
    Arrays,
    derivatives,
    directions_for,
    inner,
    moved,
    torch,
    torch_derivatives,
    zeros_for_none,
)  # fmt: skip
from op_samples import DOMAINS, ROWS, Case, cases, function_of, public_rows, results_of, tg_leaf

import tapegrad as tg
from tapegrad.engine import reverse as engine
from tapegrad.native import abi as nt
from tapegrad.native.ufunc_loops import PREFERRED
from tapegrad.ops.instruction import INSTRUCTIONS, Instruction
from tapegrad.ops.layout import is_symbolic
from tapegrad.ops.table import TABLE, Op, is_inexact
from tapegrad.rules.traced_rule import template

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

SMOOTH = [e for e in public_rows() if e.vjp is not None]
STEP = 1e-3


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Any:
    if torch is None:
        yield
        return
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows(entries: list[Op]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda e: e.name)


# --------------------------------------------------------------------------- derivatives
def check_order(case: Case, order: int, directions: list[Arrays]) -> None:
    """Derivative number `order` against fourth-order central differences of the one before."""
    exact = derivatives(case, case.arrays, directions[: order + 1])
    along = directions[order]

    def below(by: float) -> float:
        points = derivatives(case, moved(case, along, by), directions[:order])
        return inner(points[order - 1], directions[order - 1])

    h = STEP
    slope = (8 * (below(h) - below(-h)) - (below(2 * h) - below(-2 * h))) / (12 * h)
    scale = 1 + sum(float(np.abs(x).sum()) for x in exact[order])
    assert inner(exact[order], along) == pytest.approx(slope, rel=1e-7, abs=2e-8 * scale), (
        f"order {order} of {case}"
    )


@rows(SMOOTH)
def test_derivatives_match_finite_differences(entry: Op) -> None:
    rng = np.random.default_rng(1)
    for case in cases(entry):
        if not any(case.active):
            continue
        directions = directions_for(case, rng, 3)
        for order in (1, 2, 3) if case.deep else (1, 2):
            check_order(case, order, directions)


@rows(SMOOTH)
def test_derivatives_through_packed_values(entry: Op) -> None:
    """Hooks on what statements save, which keep copies, change nothing; nor do layouts."""
    rng = np.random.default_rng(5)
    hooks = tg.autograd.graph.saved_tensors_hooks(
        lambda t: t.numpy(force=True).copy(), lambda v: tg.tensor(v)
    )
    for case in cases(entry):
        if not any(case.active):
            continue
        directions = directions_for(case, rng, 2)
        plain = derivatives(case, case.arrays, directions, swept=True)
        with hooks:
            packed = derivatives(case, case.arrays, directions, swept=True)
        for a, b in zip(plain, packed, strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12, err_msg=str(case))


@rows(SMOOTH)
def test_sweep_agrees_with_replay(entry: Op) -> None:
    """The adjoint programs give what the recorded backward pass gives, at each order."""
    rng = np.random.default_rng(4)
    for case in cases(entry):
        if not any(case.active):
            continue
        directions = directions_for(case, rng, 3 if case.deep else 2)
        replayed = derivatives(case, case.arrays, directions)
        for order in range(1, len(directions)):
            swept = derivatives(case, case.arrays, directions[: order + 1], swept=True)
            for x, y in zip(swept[order], replayed[order], strict=True):
                assert x.shape == y.shape
                scale = 1 + np.abs(y).max(initial=0)
                np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13 * scale, err_msg=str(case))


@rows([e for e in SMOOTH if e.arity > 1])
def test_operands_are_differentiated_alone_or_together(entry: Op) -> None:
    case = cases(entry)[0]
    directions = directions_for(case, np.random.default_rng(5), 1)
    together = iter(derivatives(case, case.arrays, directions, swept=True)[1])
    for number, on in enumerate(case.active):
        if not on:
            continue
        leaves, outs = case.run()
        roots = [(t, v) for t, v in zip(outs, directions[0], strict=True) if t.requires_grad]
        seeds = [tg_leaf(v, active=False) for _, v in roots]
        (alone,) = engine.grad([t for t, _ in roots], [leaves[number]], seeds, allow_unused=True)
        np.testing.assert_array_equal(zeros_for_none([alone], [leaves[number]])[0], next(together))


@rows(SMOOTH)
def test_float32_follows_float64(entry: Op) -> None:
    """Values and two derivatives in float32 are those of float64, to float32's precision."""
    rng = np.random.default_rng(2)
    for case in cases(entry)[:4]:
        if not any(case.active):
            continue
        small = case.in_dtype(np.float32)
        exact = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in small.arrays]
        directions = [
            [np.asarray(v, np.float32).astype(float) for v in d]
            for d in directions_for(case, rng, 2)
        ]
        want = derivatives(case, exact, directions)
        have = derivatives(small, small.arrays, directions)
        for order, (w, h) in enumerate(zip(want, have, strict=True)):
            for x, y in zip(w, h, strict=True):
                if x.dtype.kind == "f" and order == 0:
                    assert y.dtype == np.float32
                bound = 3e-5 * (1 + np.abs(x).max(initial=0))
                np.testing.assert_allclose(y, x, rtol=3e-5, atol=bound, err_msg=f"{case} {order}")


# --------------------------------------------------------------------------- values
def elementwise_rows() -> list[Op]:
    return [e for e in public_rows() if e.loop is not None and e.name not in ROWS]


@rows(elementwise_rows())
def test_values_are_numpys(entry: Op) -> None:
    for case in cases(entry):
        leaves, (out,) = case.run()
        del leaves
        views = [_numpy_operand(a) for a in case.args]
        with np.errstate(all="ignore"):
            want = entry.loop(*views)
        assert tuple(out.shape) == want.shape
        assert out.dtype.np == want.dtype
        if (entry.loop, out.dtype.name) in PREFERRED:  # within 2 ulp: test_elementary_kernels.py
            near_zero = 4e-16 if entry.name.startswith("logaddexp") else 0.0  # where a sum cancels
            found = out.detach().numpy()
            np.testing.assert_allclose(found, want, rtol=5e-16, atol=near_zero, err_msg=str(case))
        else:
            np.testing.assert_array_equal(out.detach().numpy(), want, err_msg=str(case))


def _numpy_operand(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    strides = [s * value.base.itemsize for s in value.strides]
    flat = value.base.reshape(-1)[value.offset :]
    return np.lib.stride_tricks.as_strided(flat, value.shape, strides)


@rows(public_rows())
def test_operands_are_left_alone(entry: Op) -> None:
    for case in cases(entry):
        leaves, outs = case.run()
        for out in outs:
            out.detach().numpy()
        for leaf, before in zip(leaves, case.arrays, strict=True):
            np.testing.assert_array_equal(leaf.detach().numpy(), before)


# --------------------------------------------------------------------------- torch
#: rows whose derivatives torch defines otherwise, and why ours are right
DERIVATIVES_DIFFER: dict[str, str] = {
    name: "torch has none"
    for name in TABLE
    if name.startswith(("special_bessel", "special_modified", "special_scaled_modified"))
}


@needs_torch
@rows([e for e in public_rows() if e.torch is not None or e.name in ROWS])
def test_agrees_with_torch(entry: Op) -> None:
    rng = np.random.default_rng(3)
    compared = 0
    for case in cases(entry, torch):
        if case.torch_call is None:
            continue
        order = 2 if entry.vjp is not None and entry.name not in DERIVATIVES_DIFFER else 0
        directions = directions_for(case, rng, order)
        have = derivatives(case, case.arrays, directions)
        want = torch_derivatives(case, directions)
        for k, (h, w) in enumerate(zip(have, want, strict=True)):
            if w is None:
                continue
            for x, y in zip(h, w, strict=True):
                assert x.shape == y.shape, f"{case}"
                assert k or x.dtype == y.dtype, f"{case}"
                np.testing.assert_allclose(
                    x, y, rtol=1e-9, atol=1e-11, err_msg=f"{case}, derivative {k}"
                )
                compared += 1
    assert compared, f"torch has no function {entry.torch}"


@needs_torch
@rows([e for e in SMOOTH if e.torch is not None or e.name in ROWS])
def test_grad_fn_is_named_as_in_torch(entry: Op) -> None:
    for case in cases(entry, torch):
        if case.torch_call is None or not any(case.active):
            continue
        _, outs = case.run()
        _, others = case.run_torch()
        for ours, theirs in zip(outs, others, strict=True):
            if theirs.grad_fn is None or type(theirs.grad_fn).__name__ == "NotImplemented":
                continue
            if entry.name == "pow" and case.args[1].shape == ():
                continue  # named as with a number, which it is nearly always
            assert ours.grad_fn.name() == theirs.grad_fn.name(), str(case)


@needs_torch
@rows([e for e in TABLE.values() if e.number_names])
def test_names_with_numbers_are_torchs(entry: Op) -> None:
    """What a row calls its node where an operand is a Python number."""
    operators = {
        "sub": lambda a, b: a - b, "div": lambda a, b: a / b, "pow": lambda a, b: a**b,
        "remainder": lambda a, b: a % b,
    }  # fmt: skip
    call = operators.get(entry.name) or function_of(torch, entry.torch or entry.name)
    for position, name in entry.number_names.items():
        operands: list[Any] = [torch.tensor([0.5, 0.7], requires_grad=True)] * 2
        operands[position] = 2.0
        assert call(*operands).grad_fn.name() == name


# --------------------------------------------------------------------------- the table
def test_every_public_row_says_where_its_operands_come_from() -> None:
    for entry in public_rows():
        elementwise = entry.is_elementwise and entry.domain in DOMAINS
        assert entry.name in SAMPLES or entry.name in ROWS or elementwise, entry.name
    assert SAMPLES.keys() <= TABLE.keys()


def test_every_public_function_of_the_table_is_tested() -> None:
    tested = {e.name for e in public_rows()}
    internal = {e.name for e in TABLE.values() if e.kind == nt.COMPUTE and e.name not in tested}
    public = {name for name in internal if TABLE[name].torch and hasattr(tg, TABLE[name].torch)}
    assert not public, "rows with a public function and no sample"


def test_the_table_is_closed() -> None:
    """Whatever a VJP records has a derivative, unless its result is passive by nature."""
    for entry in SMOOTH:
        for case in cases(entry):
            case.run()
    seen: set[int] = set()
    level: list[Instruction] = [
        i for i in INSTRUCTIONS
        if i.op.vjp is not None and TABLE.get(i.op.name) is i.op  # not those of a test
        and not is_symbolic((*i.layouts, *i.outs))  # prototypes of patterns
    ]  # fmt: skip
    for _ in range(3):  # derivatives of derivatives of derivatives
        found: list[Instruction] = []
        for made in level:
            if made.id in seen or made.op.kind != nt.COMPUTE or not is_inexact(made.out):
                continue
            if made.op.replay is not None:  # replayed by a transposition of its own: recorder.py
                continue
            seen.add(made.id)
            if made.attrs.get("complete"):  # QR factors that have no derivative
                continue
            for statement in template(made).statements:
                used = statement.instruction
                closed = used.op.vjp is not None or used.op.kind != nt.COMPUTE
                assert closed or not is_inexact(used.out), (
                    f"the VJP of {made.op.name} uses {used.op.name}, which has none"
                )
                found.append(used)
        level = found
    assert len(seen) > len(SMOOTH) / 2


def test_comparisons_follow_each_other() -> None:
    codes = [TABLE[name].code for name in ("lt", "le", "eq", "ne", "gt", "ge")]
    assert codes == list(range(codes[0], codes[0] + 6))


def test_case_flattens_nested_results() -> None:
    x = tg_leaf(np.ones(2))
    assert len(results_of((x, [x, (x,)]))) == 3
