"""Patterns: what an image fills in for other lengths is what lowering, tracing and building give for them."""

from __future__ import annotations

import ctypes
import gc
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fast_paths import fast_paths
from op_samples import cases, public_rows

import tapegrad as tg
from tapegrad.base.errors import UnsupportedError
from tapegrad.base.symbolic import Formulas, SizeLost
from tapegrad.native import abi as nt
from tapegrad.ops import instruction as instructions
from tapegrad.ops import patterns
from tapegrad.ops.instruction import ITAB, VTAB, Instruction, instruction, lowered
from tapegrad.ops.layout import LAYOUTS, Layout, SymbolicLayout, c_strides, contiguous, intern
from tapegrad.ops.patterns import Pattern, described
from tapegrad.ops.program import ADDRESS, STEPS
from tapegrad.ops.table import TABLE, Op, distinct
from tapegrad.rules import program_table as vjp_programs
from tapegrad.rules import replay_table as templates
from tapegrad.rules.program_table import build
from tapegrad.tape import ending
from tapegrad.tape.verifier import verify_tables


# --------------------------------------------------------------------------- symbolic sizes
def test_formulas_are_functions_of_the_lengths() -> None:
    home = Formulas()
    n, m = home.symbol("n", 6), home.symbol("m", 4)
    results = [n * m, n + 3, 2 - n, n // m, n % m, (n * 8 + 63) & ~63, n << 32 | m, -n, abs(2 - n)]
    assert n > m
    assert n % m == 2
    words = home.compile((n, m), 0, [results, [1, n]])
    assert words(6, 4) == ((24, 9, -4, 1, 2, 64, 6 << 32 | 4, -6, 4), (1, 6))
    assert words(14, 12) == ((168, 17, -12, 1, 2, 128, 14 << 32 | 12, -14, 12), (1, 14))
    assert words(4, 6) is None, "n > m was asked"
    assert words(7, 4) is None, "n % m == 2 was asked"


def test_what_was_asked_before_is_not_checked_again() -> None:
    home = Formulas()
    n = home.symbol("n", 6)
    assert n < 10
    since = home.place
    assert n < 10
    assert n != 7
    words = home.compile((n,), since, [[n + 1]])
    assert words(100) == ((101,),)
    assert words(7) is None


LOSSES: dict[str, Callable[[Any], Any]] = {
    "int": int, "float": float, "range": range, "zeros": np.zeros, "hex": hex, "index": [1, 2, 3].__getitem__,
    "repeat": lambda n: [0] * n, "array": lambda n: np.array(n, np.float64), "power": lambda n: n**2,
    "NumPy's": lambda n: n == np.int64(3), "shift": lambda n: 1 >> np.int64(n), "length": lambda n: Size(n),
    "struct": lambda n: struct.pack("<q", n), "word": lambda n: Formulas().compile((), 0, [[n / 2]]),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_length_does_not_become_a_number(name: str) -> None:
    with pytest.raises(TypeError):  # SizeLost, or NumPy's
        LOSSES[name](Formulas().symbol("n", 2))


class Size:
    """Something whose length is symbolic."""

    def __init__(self, n: Any) -> None:
        self.n = n
        len(self)

    def __len__(self) -> int:
        return self.n  # type: ignore[no-any-return]


def test_sizes_of_two_patterns_do_not_meet() -> None:
    with pytest.raises(SizeLost):
        Formulas().symbol("n", 2) + Formulas().symbol("m", 3)


# --------------------------------------------------------------------------- what is filled in
def _broadcast(n: int) -> tuple[Instruction, bytes]:
    """The instruction of ``x * y`` at a length, and the bytes of both gradients."""
    rng = np.random.default_rng(n)
    x, y = (tg.tensor(rng.uniform(0.5, 2, s), requires_grad=True) for s in ((n, 400), (400,)))
    (x * y * y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    layouts = contiguous(tg.float64, (n, 400)), contiguous(tg.float64, (400,))
    made = instruction(TABLE["mul"], layouts)
    return made, x.grad.numpy().tobytes() + y.grad.numpy().tobytes()


@fast_paths
def test_programs_that_were_filled_in_become_hot() -> None:
    for n in range(401, 401 + patterns.LATER + 2):
        made, bits = _broadcast(n)
    assert made.pattern is not None
    first = int(ITAB.rows[made.id, nt.I_VJP])
    for _ in range(40):
        assert _broadcast(n) == (made, bits)
    assert VTAB.rows[first : first + 2, nt.V_HOT].any(), "compiled in the meantime"


def test_patterns_end_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST", 3)
    monkeypatch.setattr(patterns, "LATER", 0)
    for k in range(1, 9):
        for n in (5, 7):
            x = tg.ones(n, k, requires_grad=True)
            x.sum(0).sum().backward()
            assert x.grad is not None
            assert x.grad.tolist() == [[1.0] * k] * n
            tg.logsumexp(x.reshape(*[1] * k, n, k), -1).sum().backward()
        ending.end_unneeded(recent=False)
        verify_tables()
    assert len(patterns._patterns) <= 3


def test_patterns_that_are_dropped_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbolic layouts and what they are worked out from go with the prototypes."""
    monkeypatch.setattr(patterns, "MOST", 8)
    monkeypatch.setattr(patterns, "LATER", 0)

    def symbolic() -> int:
        tg.current_tape().collect()
        gc.collect()
        for _ in range(2):
            ending.end_unneeded(recent=False)
            gc.collect()
        return sum(type(x) is SymbolicLayout for x in LAYOUTS)

    counts = []
    for k in range(60):
        for n in (5, 7):
            x = tg.ones(2, n, requires_grad=True)
            tg.roll(x.t(), k + 1, 0).sum().backward()
        if k % 20 == 19:
            counts.append(symbolic())
    assert counts[-1] <= counts[0] + 60, counts
    verify_tables()


def test_other_answers_have_images_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which stride is larger depends on both lengths: either order is filled in, in every pass."""
    slowly: list[tuple[int, str]] = []

    def count(where: Any, name: str, op_of: Any) -> None:
        function = getattr(where, name)
        monkeypatch.setattr(
            where, name, lambda *args: slowly.append((n, op_of(*args))) or function(*args)
        )

    count(instructions, "lowered", lambda entry, *_: entry.name)
    count(vjp_programs, "_rows", lambda made, _: made.op.name)
    count(templates, "drafted", lambda made, _: made.op.name)
    tg.current_tape().collect()
    ending.end_unneeded(recent=False)
    for n in range(2, 60):
        shape = (n, 31) if n % 2 else (31, n)
        base = np.arange(float(n * 31)).reshape(shape) / 100
        x = tg.tensor(base, requires_grad=True)
        (g,) = tg.autograd.grad((x.t() * x.t() * x.t()).sum(), x, create_graph=True)
        (gg,) = tg.autograd.grad(g.sum(), x)
        np.testing.assert_allclose(g.detach().numpy(), 3 * base**2, rtol=1e-14)
        np.testing.assert_allclose(gg.numpy(), 6 * base, rtol=1e-14)
    verify_tables()
    late = {name for n, name in slowly if n > 57}
    assert "mul" in {name for _, name in slowly}
    assert not late - {"leaf"}, slowly


def test_what_was_asked_about_lengths_is_asked_again() -> None:
    """A product takes a copy of a strided operand from some size on: both sides of that are right."""
    for n in (2, 3, 4, 5, 70, 6, 80):
        base = np.arange(2.0 * n * n).reshape(n, 2 * n)
        x = tg.tensor(base, requires_grad=True)
        y = tg.tensor(base[:, :n].copy(), requires_grad=True)
        (x[:, ::2] @ y).sum().backward()
        assert x.grad is not None
        right = np.zeros((n, 2 * n))
        right[:, ::2] = base[:, :n].sum(1)
        np.testing.assert_array_equal(x.grad.numpy(), right)


# --------------------------------------------------------------------------- images
def _words(address: int, count: int) -> list[int]:
    return list((ctypes.c_int64 * count).from_address(address)) if count else []


def _chain(address: int) -> Any:
    count = _words(address, 1)[0]
    words = _words(address, 3 + 11 * count)
    nodes = [words[3 + 10 * i : 13 + 10 * i] for i in range(count)]
    data = [_words(node[1], 1) if node[1] else None for node in nodes]
    return words[1], [[*node[:1], *node[2:]] for node in nodes], data, words[3 + 10 * count :]


def _program(low: int, high: int, itemsize: int) -> list[Any]:
    """What steps do, whatever places their words have."""
    steps = []
    for row in STEPS.rows[low:high].tolist():
        count = row[nt.P_NOPS]
        refs = row[nt.P_REF : nt.P_REF + count]
        offsets = [
            ctypes.string_at(offset, itemsize) if ref == ADDRESS else offset
            for ref, offset in zip(refs, row[nt.P_OFFSET : nt.P_OFFSET + count], strict=True)
        ]
        steps.append(
            [row[nt.P_KIND], row[nt.P_KERNEL], row[nt.P_COUNT], row[nt.P_ONDIM], refs, offsets]
        )
        if row[nt.P_KIND] == nt.STEP_ZERO:
            continue
        dims, strides, outer = row[nt.P_DIMS], row[nt.P_STRIDES], row[nt.P_ODIMS]
        many = row[nt.P_ONDIM]
        steps[-1] += [
            _words(dims, (strides - dims) // 8), _words(strides, (outer - strides) // 8),
            _words(outer, many), _words(row[nt.P_OSTRIDES], many * count),
        ]  # fmt: skip
        if row[nt.P_KIND] == nt.STEP_TILES:
            steps[-1].append(_chain(row[nt.P_DATA]))
        elif row[nt.P_DATA]:
            steps[-1].append(_words(row[nt.P_DATA], 1))
    return steps


def _forward(made: Instruction) -> Any:
    row = ITAB.rows[made.id].tolist()
    itemsize = min(x.dtype.itemsize for x in (*made.layouts, *made.outs))
    places = (nt.I_STEP_LO, nt.I_STEP_HI, nt.I_VSCRATCH)
    words = [w for i, w in enumerate(row[: nt.I_VJP]) if i not in places]
    return words, made.outs, _program(row[nt.I_STEP_LO], row[nt.I_STEP_HI], itemsize)


def _backward(made: Instruction, variant: int) -> Any:
    build(made, variant)
    itemsize = min(x.dtype.itemsize for x in (*made.layouts, *made.outs))
    first = int(ITAB.rows[made.id, nt.I_VJP + variant])
    programs = []
    for row in VTAB.rows[first : first + max(len(made.layouts), 1)].tolist():
        for column in (nt.V_ASSIGN, nt.V_ACCUMULATE):
            programs.append(_program(row[column] & 0xFFFFFFFF, row[column] >> 32, itemsize))
        programs.append([row[nt.V_SCRATCH], *row[nt.V_MASK : nt.V_WORK]])
    return programs


def _numbers(value: Any) -> list[Any]:
    """The numbers in some attributes."""
    if isinstance(value, dict):
        value = tuple(value.values())
    return [n for v in value for n in _numbers(v)] if isinstance(value, tuple) else [value]


def _builds(made: Instruction) -> bool:
    try:
        build(made)
    except (RuntimeError, IndexError, ValueError):
        return False
    return True


def _other(x: Layout, change: Callable[[int], int], strides: Callable[[int], int]) -> Layout:
    """A layout of the same pattern."""
    shape = tuple(n if n < 2 else change(n) for n in x.shape)
    if x.is_contiguous:
        return intern(x.dtype, shape, c_strides(shape, x.dtype.itemsize))
    item = x.dtype.itemsize
    return intern(
        x.dtype, shape, tuple(s if s in (0, item, -item) else strides(s) for s in x.strides)
    )


CHANGES: list[tuple[Callable[[int], int], Callable[[int], int]]] = [
    (lambda n: n, lambda s: s),
    (lambda n: n + 1, lambda s: 2 * s),
    (lambda n: 50 - n, lambda s: 16 * s),
    (lambda n: 40 * n + 3, lambda s: s + 8),
    (lambda n: n * n + n, lambda s: 8 * s * s),
]


def check(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> int:
    """Compare with lowering and building; how many lengths were filled in."""
    parts, sizes = described(entry, layouts, distinct(attrs))  # type: ignore[misc]
    pattern = Pattern(entry, layouts, attrs, sizes)
    differentiable = entry.vjp is not None or entry.kind != nt.COMPUTE
    variants = (0, nt.MASKED) if differentiable else ()
    count = 0
    for change, strides in CHANGES:
        others = tuple([_other(x, change, strides) for x in layouts])
        chosen = {
            k: _other(v, change, strides) if isinstance(v, Layout) else v for k, v in attrs.items()
        }
        again = described(entry, others, distinct(chosen))
        if again is None or again[0] != parts:
            continue
        if not set(again[1]).isdisjoint(_numbers(attrs)):
            continue  # a length that is a constant, too: more may be equal than the pattern says
        filled = pattern.instruction(others, chosen, again[1], None)
        try:
            slow = lowered(entry, others, chosen, None, None)
            for variant in variants:
                build(slow, variant)
        except (RuntimeError, IndexError, ValueError):  # attributes that do not fit
            assert filled is None or not _builds(filled)
            continue
        if filled is None:
            assert change is not CHANGES[0][0], "not even for the lengths that it was made with"
            continue
        assert filled.pattern is pattern
        assert slow.pattern is None
        assert _forward(filled) == _forward(slow), (entry, others, attrs)
        if entry.vjp is not None or entry.kind != nt.COMPUTE:
            for variant in (0, nt.MASKED):
                assert _backward(filled, variant) == _backward(slow, variant), (
                    entry,
                    others,
                    attrs,
                )
            if entry.kind == nt.COMPUTE:
                drawn = templates.filled(filled, variant)
                right = templates.drafted(slow, variant)
                asked = drawn is None and change is not CHANGES[0][0]
                assert drawn == right or asked, (entry, others, attrs)
        assert ITAB.rows[filled.id, nt.I_VSCRATCH] == ITAB.rows[slow.id, nt.I_VSCRATCH]
        count += 1
    return count


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Instructions that might have a pattern, as they are made; none of them is filled in."""
    calls: list[Any] = []

    def fill(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *_: Any) -> None:
        if patterns.may_have_pattern(entry, layouts, attrs):
            calls.append((entry, layouts, attrs))

    monkeypatch.setattr(patterns.PATTERNS, "fill", fill)
    yield calls
    verify_tables()


def _run(entry: Op) -> None:
    """Record a row's cases, with their derivatives to order 2."""
    for case in cases(entry):
        leaves, results = case.run()
        inputs = [x for x in leaves if x.requires_grad]
        outputs = [r for r in results if r.requires_grad]
        if not outputs:
            continue
        total = sum([r.sum() for r in outputs])
        first = tg.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
        again = [(g * g).sum() for g in first if g is not None and g.requires_grad]
        if again:
            tg.autograd.grad(sum(again), inputs, allow_unused=True)


@pytest.mark.parametrize("entry", public_rows(), ids=lambda e: e.name)
def test_images_are_what_lowering_gives(entry: Op, collected: list[Any]) -> None:
    tg.current_tape().collect()
    ending.end_unneeded(recent=False)
    _run(entry)
    seen = set()
    for made, layouts, attrs in list(collected):
        answer = described(made, layouts, distinct(attrs))
        if answer is None or answer[0] in seen:
            continue
        seen.add(answer[0])
        patterns.REFUSALS.clear()
        if patterns.make_pattern(made, layouts, attrs, answer[1]) is not None:
            check(made, layouts, attrs)
        refused = [
            error for _, error in patterns.REFUSALS if not isinstance(error, UnsupportedError)
        ]
        assert not refused, f"{made.name} {layouts} {attrs}"
