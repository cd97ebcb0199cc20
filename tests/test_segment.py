"""Segments: runs of statements that are appended again (tape/segment.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.base.dtypes import float64
from tapegrad.native import abi as nt
from tapegrad.ops.instruction import instruction
from tapegrad.ops.layout import contiguous
from tapegrad.ops.table import TABLE
from tapegrad.tape import recording as record
from tapegrad.tape import segment as segments
from tapegrad.tape.constants import Constants
from tapegrad.tape.segment import Draft, Segment, append, cut
from tapegrad.tape.tape import Tape, slot_of


@pytest.fixture(params=["natively", "singly"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Append in one native call, or statement by statement."""
    monkeypatch.setattr(segments, "REFUSED", request.param == "singly")
    return str(request.param)


def cut_from(function: Callable[[Any], Any], x: Any) -> tuple[Segment, Any]:
    """The segment of what a function records, with `x` as its input, and the function's result."""
    tape = tg.current_tape()
    first = tape.count
    y = function(x)
    segment = cut(tape, [slot_of(tape, y)], first)
    segment.verify()
    assert segment.inputs == (slot_of(tape, x),)
    return segment, y


def appended(segment: Segment, *inputs: Any) -> Any:
    """The result of a segment on other inputs."""
    tape = tg.current_tape()
    (slot,) = append(tape, segment, [slot_of(tape, x) for x in inputs])
    return record.new_tensor(tape, slot, tape.instruction_of(slot).out)


def written(x: Any) -> Any:
    y = x * 2
    y[1:].mul_(x[1:])
    y.add_(1)
    return y


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "elementwise": lambda x: tg.sin(x) * 3 + x / 0.5,
    "views": lambda x: x.reshape(2, 2)[1].sum() + x[::2].t().sum(),
    "several results": lambda x: x.sort()[0] * x.sort()[1] + x.max(0)[0],
    "written": written,
    "numbers": lambda x: sum([x * (0.1 * i) for i in range(60)]),
    "long": lambda x: [x := tg.sin(x) * 0.99 for _ in range(400)][-1],
    "recorded pass": lambda x: tg.autograd.grad(x[0] * x[1] * x[2:].sum(), x, create_graph=True)[0],
    "no statements": lambda x: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_segment_does_what_was_recorded(name: str, way: str) -> None:
    x = tg.tensor([0.3, -1.2, 2.0, 0.7], requires_grad=True)
    segment, _ = cut_from(FUNCTIONS[name], x)
    for values in ([1.0, -0.2, 0.4, 3.0], [5.0, 0.1, 0.2, -1.0]):
        a, b = tg.tensor(values, requires_grad=True), tg.tensor(values, requires_grad=True)
        same, right = appended(segment, a), FUNCTIONS[name](b)
        assert np.array_equal(same.numpy(force=True), right.numpy(force=True))
        assert same._version == right._version
        if right is b:
            continue
        (g,) = tg.autograd.grad(same.sum(), a, create_graph=True)
        (wanted,) = tg.autograd.grad(right.sum(), b, create_graph=True)
        assert np.array_equal(g.numpy(force=True), wanted.numpy(force=True))


def test_both_ways_append_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tg.tensor([0.3, -1.2, 2.0, 0.7], requires_grad=True)
    tape = tg.current_tape()
    for function in FUNCTIONS.values():
        segment, _ = cut_from(function, x)
        columns = []
        for refused in (False, True):
            monkeypatch.setattr(segments, "REFUSED", refused)
            for leaf in segment.leaves:
                if leaf.code != nt.SEG_INPUT:
                    tape.constant_of(leaf.value, leaf.code)
            first = tape.count
            append(tape, segment, [slot_of(tape, x)])
            end = tape.count
            assert end - first == len(segment.steps)
            args = [
                [a if a < first else a - first for a in tape.args_of(k)] for k in range(first, end)
            ]
            owners = [tape.root[first:end].tolist(), tape.base[first:end].tolist()]
            columns.append((
                tape.instruction[first:end].tolist(), args, tape.flags[first:end].tolist(),
                [[k if k < first else k - first for k in each] for each in owners],
                [tape.view_offset(k) for k in range(first, end)],
            ))  # fmt: skip
        assert columns[0] == columns[1]


def test_nothing_happens_without_room_or_a_number() -> None:
    tape = tg.current_tape()
    layout = contiguous(float64, (3,))
    draft = Draft()
    key = Constants.key(np.array(0.123456), float64)
    draft.leaf(2, *key[::-1])
    draft.append(3, instruction(TABLE["mul"], (layout, contiguous(float64, ()))), (1, 2))
    segment = draft.segment([3])
    segment.verify()
    x = tg.ones(3)
    count, words = tape.count, segment.pack(slot_of(tape, x))
    assert key not in tape.constants.slots
    assert segments._append_natively(tape.pointer, segment.address, words) == -1
    assert tape.count == count
    assert appended(segment, x).tolist() == [0.123456] * 3
    capacity, tape.state[nt.S_CAPACITY] = tape.state[nt.S_CAPACITY], tape.count
    try:
        count = tape.count
        assert segments._append_natively(tape.pointer, segment.address, words) == -1
        assert tape.count == count
        assert appended(segment, x).tolist() == [0.123456] * 3  # Python has made room
    finally:
        tape.state[nt.S_CAPACITY] = max(capacity, tape.state[nt.S_CAPACITY])


def test_a_refused_statement_leaves_no_trace() -> None:
    x = tg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    segment, _ = cut_from(lambda x: tg.exp(x + 1) * 2, x)
    with tg.inference_mode():
        secret = tg.ones(4)
    tape = tg.current_tape()
    draft = Draft()
    layout = contiguous(float64, (4,))
    draft.append(10, instruction(TABLE["exp"], (layout,)), (1,))
    draft.append(11, instruction(TABLE["mul"], (layout, layout)), (10, 2))
    segment = draft.segment([11])
    count = tape.count
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        append(tape, segment, [slot_of(tape, x), slot_of(tape, secret)])
    assert tape.count == count


def test_verify_finds_what_is_wrong() -> None:
    x = tg.tensor([0.3, -1.2, 2.0, 0.7], requires_grad=True)
    segment, _ = cut_from(lambda x: x.sum() + x[0], x)
    steps = segment.steps
    for place, step in enumerate(steps):
        later = step._replace(references=(place, *step.references[1:]))
        beyond = step._replace(references=(-9, *step.references[1:]))
        offset = step._replace(offset=0 if step.offset is None else None)
        for wrong in (later, beyond, offset):
            broken = replace(segment, steps=(*steps[:place], wrong, *steps[place + 1 :]))
            with pytest.raises(AssertionError):
                broken.verify()
    with pytest.raises(AssertionError, match="layout"):
        replace(segment, steps=(steps[1], steps[0]._replace(references=(0,)), steps[2])).verify()


def test_hooks_see_the_statements_of_a_segment() -> None:
    x = tg.tensor([0.3, -1.2, 2.0, 0.7], requires_grad=True)
    segment, _ = cut_from(lambda x: tg.exp(x) * x, x)
    packed = []
    with tg.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        y = appended(segment, x)
    assert len(packed) == 3
    (g,) = tg.autograd.grad(y.sum(), x)
    assert np.allclose(g.numpy(), np.exp(x.numpy(force=True)) * (1 + x.numpy(force=True)))


def test_rules_have_any_number_of_operands() -> None:
    """There was a limit at which Python took over."""
    parts = [tg.tensor([float(i)], requires_grad=True) for i in range(100)]
    y = (tg.cat(parts) ** 3).sum()
    first = tg.autograd.grad(y, parts, create_graph=True)
    second = tg.autograd.grad(sum(g.sum() for g in first), parts)
    assert [float(g) for g in second] == [6.0 * i for i in range(100)]


def test_a_segment_goes_to_any_tape() -> None:
    x = tg.tensor([0.3, -1.2, 2.0, 0.7], requires_grad=True)
    segment, _ = cut_from(FUNCTIONS["written"], x)
    other = Tape(256)
    leaf = other.bind(np.arange(4.0), contiguous(float64, (4,)), active=False)
    (slot,) = append(other, segment, [leaf])
    assert other.value(slot, contiguous(float64, (4,))).tolist() == [1.0, 3.0, 9.0, 19.0]
