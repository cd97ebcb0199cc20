"""The tape: its arrays, printer, verifier, collector and statistics."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alone import alone

import tapegrad as tg
from tapegrad.base.errors import TapeError
from tapegrad.native import abi as nt
from tapegrad.ops.instruction import GONE, INSTRUCTIONS, leaf
from tapegrad.ops.layout import contiguous
from tapegrad.tape import ending
from tapegrad.tape.printer import format_tape
from tapegrad.tape.tape import Tape, slot_of, tape_at
from tapegrad.tape.verifier import verify


def place(tensor: Any) -> tuple[Tape, int]:
    tape = tape_at(tensor._state)
    return tape, slot_of(tape, tensor)


@pytest.fixture
def tape() -> Tape:
    current = tg.current_tape()
    current.collect()
    return current


# --------------------------------------------------------------------------- recording
@pytest.mark.smoke
def test_recording_is_lazy(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0])
    before = tape.done
    y = x * 2 + 1
    _, slot = place(y)
    assert tape.done <= before + 2  # leaf and constants come with their values
    assert tape.address[slot] == 0
    assert y.shape == (2,)
    assert tape.address[slot] == 0, "a shape needs no value"
    assert y.tolist() == [3, 5]
    assert tape.address[slot] != 0
    assert tape.done == tape.count


@pytest.mark.smoke
def test_arrays_of_a_statement(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.tensor([3.0, 4.0])
    z = x * y
    slots = [place(t)[1] for t in (x, y, z)]
    assert tape.args_of(slots[2]) == slots[:2]
    made = tape.instruction_of(slots[2])
    assert made.op.name == "mul"
    assert [i.shape for i in made.layouts] == [(2,), (2,)]
    assert tape.flags[slots[0]] & nt.ACTIVE
    assert not tape.flags[slots[1]] & nt.ACTIVE
    assert tape.flags[slots[2]] & nt.ACTIVE
    assert tape.root[slots[2]] == tape.base[slots[2]] == slots[2]


def test_shapes_and_instructions_are_interned(tape: Tape) -> None:
    a, b = tg.tensor([1.0, 2.0]), tg.tensor([5.0, 6.0])
    assert a.shape is b.shape
    first, second = place(a + b)[1], place(b + a)[1]
    assert tape.instruction[first] == tape.instruction[second]
    count = len(INSTRUCTIONS)
    for _ in range(50):
        a = a + b
    assert len(INSTRUCTIONS) == count


@pytest.mark.smoke
def test_views_alias_their_base(tape: Tape) -> None:
    x = tg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    y = x * 1
    views = [y[1], y[:, 1:], y.T, y.reshape(-1), y.unsqueeze(0), y[1][2:], y.expand(2, 3, 4)]
    tape.evaluate()
    _, base = place(y)
    first = tape.address[base]
    span = tape.instruction_of(base).out.span
    for v in views:
        _, slot = place(v)
        assert tape.base[slot] == tape.root[slot] == base
        assert first <= tape.address[slot] < first + span
    d = y.detach()
    _, slot = place(d)
    assert tape.base[slot] == base
    assert tape.root[slot] == slot


def test_equal_numbers_share_a_constant(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0])
    y = x * 1.25
    count = len(tape)
    z = x + 1.25
    assert len(tape) == count + 1
    w = z * 1.25 - y / 1.25
    assert len(tape) == count + 4
    assert w.tolist() == [(1 + 1.25) * 1.25 - 1, (2 + 1.25) * 1.25 - 2]
    assert len({place(x * v)[1] for v in (0.0, -0.0)}) == 2
    assert np.signbit((x * -0.0).numpy()).all()
    assert not np.signbit((x * 0.0).numpy()).any()


def test_constants_survive_a_collection(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0])
    y = x * 7.5
    for _ in range(3):
        tape.collect()
        y = y + 7.5
        z = tg.tensor([1.0], dtype=tg.float32) * 7.5
    assert y.tolist() == [30, 37.5]
    assert z.tolist() == [7.5]


def test_many_numbers() -> None:
    x = tg.tensor(0.0, requires_grad=True)
    y = x
    for i in range(3000):
        y = y + i * 0.5
    assert y.item() == sum(i * 0.5 for i in range(3000))


@pytest.mark.parametrize("n", [10, 4094, 4095, 4096, 4097, 20000])
@alone
def test_capacity_grows(n: int) -> None:
    x = tg.tensor(1.5, requires_grad=True)
    kept = [x]
    for _ in range(n):
        kept.append(kept[-1] + x)
    verify(tg.current_tape()) if n < 5000 else None
    assert kept[-1].item() == 1.5 * (n + 1)
    assert kept[n // 2].item() == 1.5 * (n // 2 + 1)
    kept[-1].backward()
    assert x.grad is not None
    assert x.grad.item() == n + 1
    assert int(tg.current_tape().state[nt.S_HANDLE_COUNT]) > n


def test_operands_grow_beyond_two_a_statement() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    parts = [x * float(i) for i in range(300)]
    y = tg.cat(parts)
    z = tg.cat([y, *parts])
    z.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2 * sum(range(300))]


def test_bytes_a_statement(tape: Tape) -> None:
    before = tape.stats()  # what other tests have left
    x = tg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(1500):
        y = y * 1.01
        y = y.sin()
    stats = tape.stats()
    statements = stats["statements"] - before["statements"]
    assert statements >= 3000
    assert (stats["bytes"] - before["bytes"]) / statements <= 64
    assert stats["pending"] > 0
    y.item()
    stats = tape.stats()
    assert stats["pending"] == 0
    statements = stats["statements"] - before["statements"]
    assert (stats["bytes"] - before["bytes"]) / statements <= 64


# --------------------------------------------------------------------------- printing
@pytest.mark.smoke
def test_printed_tape(tape: Tape) -> None:
    gc.collect()  # what other tests left in cycles would make the text so long that it is cut
    tape.collect()
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * 3).sum()
    text = str(tape)
    assert "?" in text, "pending"
    lines = text.splitlines()
    assert lines[0].startswith("tape: ")
    for word in ("slot", "op", "operands", "dtype", "shape", "bytes", "value"):
        assert word in lines[1]
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    slots = [place(t)[1] for t in (x, y)]
    assert rows[f"%{slots[0]}"][1].startswith("leaf*")
    assert "float64" in rows[f"%{slots[0]}"]
    total = rows[f"%{slots[1]}"]
    assert total[1].startswith("sum")
    y.item()
    shown = [line for line in str(tape).splitlines() if line.split()[0] == f"%{slots[1]}"]
    assert shown[0].split()[-1] == "9"
    assert "statements" in repr(tape)
    tape.collect()
    assert len(format_tape(tape, limit=len(tape)).splitlines()) == len(tape) + 2


# --------------------------------------------------------------------------- the verifier
def _program() -> tuple[Tape, dict[str, int], list[Any]]:
    """A tape with something of everything, evaluated."""
    tape = tg.current_tape()
    tape.collect()
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2.5
    v = y[1:]
    w = y + x
    w[:2] = v
    n = tg.tensor([1, 2, 3])
    values, order = w.sort()
    big = tg.ones(3, 400) * 2
    tape.evaluate()
    kept = [x, y, v, w, n, values, order, big]
    names = ["x", "y", "v", "w", "n", "values", "order", "big"]
    slots = {name: place(t)[1] for name, t in zip(names, kept, strict=True)}
    slots["mul"] = slots["y"]
    verify(tape)
    return tape, slots, kept


def _set(name: str, slot: str, value: Callable[[Tape, dict[str, int]], int]) -> Any:
    def corrupt(tape: Tape, slots: dict[str, int]) -> None:
        getattr(tape, name)[slots[slot]] = value(tape, slots)

    return corrupt


def _state(field: int, value: Callable[[Tape], int]) -> Any:
    def corrupt(tape: Tape, slots: dict[str, int]) -> None:
        tape.state[field] = value(tape)

    return corrupt


def _operand(slot: str, number: int, value: Callable[[Tape, dict[str, int]], int]) -> Any:
    def corrupt(tape: Tape, slots: dict[str, int]) -> None:
        tape.arg[tape.arg_start[slots[slot]] + number] = value(tape, slots)

    return corrupt


def _handle(value: Callable[[Tape], int]) -> Any:
    def corrupt(tape: Tape, slots: dict[str, int]) -> None:
        live = int(np.flatnonzero(tape._handles > 0)[0])
        tape._handles[live] = value(tape)

    return corrupt


def _flag(slot: str, flag: int) -> Any:
    return _set("flags", slot, lambda t, s: int(t.flags[s[slot]]) | flag)


def _free_list(tape: Tape, slots: dict[str, int]) -> None:
    free = int(tape.state[nt.S_HANDLE_FREE])
    tape._handles[free] = -2 - -1  # cut off


def _disown(tape: Tape, slots: dict[str, int]) -> None:
    for name in ("owned", "leaves"):
        getattr(tape, name, {}).pop(slots["x"], None)


def _ended(tape: Tape, slots: dict[str, int]) -> int:
    """The number of an instruction that has ended."""
    number = leaf(contiguous(tg.float64, (7, 3, 1, 2))).id  # which no statement is of
    ending.end_unneeded(recent=False)
    assert INSTRUCTIONS[number] is GONE
    return number


CORRUPTIONS: dict[str, tuple[Any, str]] = {
    "done beyond count": (_state(nt.S_DONE, lambda t: t.count + 1), "counts"),
    "done is zero": (_state(nt.S_DONE, lambda t: 0), "counts"),
    "count beyond capacity": (_state(nt.S_COUNT, lambda t: int(t.state[nt.S_CAPACITY]) + 1), "counts"),
    "operands beyond capacity": (
        _state(nt.S_ARG_COUNT, lambda t: int(t.state[nt.S_ARG_CAPACITY]) + 1), "operand counts",
    ),
    "array elsewhere": (_state(nt.S_ROOT, lambda t: t.pointer), "pointer to root"),
    "arg_start falls": (_set("arg_start", "w", lambda t, s: 0), "fall|operands"),
    "sentinel": (_state(nt.S_ARG_COUNT, lambda t: int(t.state[nt.S_ARG_COUNT]) - 1), "sentinel"),
    "unknown instruction": (
        _set("instruction", "mul", lambda t, s: len(INSTRUCTIONS)), "instruction numbers",
    ),
    "instruction that ended": (_set("instruction", "mul", _ended), "ended"),
    "negative instruction": (_set("instruction", "mul", lambda t, s: -1), "instruction numbers"),
    "root behind": (_set("root", "mul", lambda t, s: s["w"]), "root comes first"),
    "base behind": (_set("base", "v", lambda t, s: s["w"]), "base comes first"),
    "root of a root": (_set("root", "w", lambda t, s: s["v"]), "root of root|own root"),
    "base of a base": (_set("base", "w", lambda t, s: s["v"]), "base of base|own root"),
    "table elsewhere": (_state(nt.S_HANDLES, lambda t: t.pointer), "handle table"),
    "number of handles": (
        _state(nt.S_HANDLE_COUNT, lambda t: int(t.state[nt.S_HANDLE_COUNT]) + 1), "live handles",
    ),
    "handle of slot 0": (_handle(lambda t: 0), "slot 0"),
    "handle beyond": (_handle(lambda t: t.count), "beyond the tape"),
    "free list": (_free_list, "free list"),
    "operand behind": (_operand("mul", 0, lambda t, s: s["w"]), "before its use"),
    "operand negative": (_operand("mul", 0, lambda t, s: -1), "before its use"),
    "operand of another layout": (_operand("values", 0, lambda t, s: s["n"]), "layout of operand"),
    "computed value with another root": (_set("root", "big", lambda t, s: s["x"]), "own root"),
    "view outside its operand's base": (_set("base", "v", lambda t, s: s["x"]), "base|within"),
    "active integers": (_flag("n", nt.ACTIVE), "floating"),
    "stub with operands": (_flag("mul", nt.STUB), "stub"),
    "view beyond its base": (
        _set("address", "v", lambda t, s: int(t.address[s["v"]]) + 8), "within its base",
    ),
    "small value elsewhere": (
        _set("address", "mul", lambda t, s: t.pointer), "arena|within",
    ),
    "external memory nobody keeps": (_disown, "alive"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_verifier_finds_corrupted_arrays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tape, "check", None)
    corrupt, text = CORRUPTIONS[name]
    tape, slots, kept = _program()
    arrays = ("instruction", "arg_start", "arg", "address", "root", "base", "flags", "_handles")
    state, saved = list(tape.state), {a: getattr(tape, a).copy() for a in arrays}
    dicts = {d: dict(getattr(tape, d)) for d in ("owned", "leaves") if hasattr(tape, d)}
    try:
        corrupt(tape, slots)
        with pytest.raises(TapeError, match=f"tape verifier: slot .*({text})"):
            verify(tape)
    finally:
        for i, word in enumerate(state):
            tape.state[i] = word
        for a, value in saved.items():
            getattr(tape, a)[:] = value
        for d, value in dicts.items():
            setattr(tape, d, value)
    verify(tape)
    assert len(kept) == 8


def test_every_check_of_the_verifier_is_tripped() -> None:
    """The table above has a corruption for each `_must` text."""
    import inspect
    import re

    from tapegrad.tape import verifier as module

    source = inspect.getsource(module)
    texts = re.findall(r'_must\([^"]*?f?"([^"]+)"', source, re.DOTALL)
    assert len(texts) > 15
    patterns = [text for _, text in CORRUPTIONS.values()]
    filled = [t.replace("{name}", "root").replace("{i}", "0") for t in texts]
    missing = [t for t in filled if not any(re.search(p, t) for p in patterns)]
    assert missing == ["tape verifier: slot {slot}: {invariant}"], missing


# --------------------------------------------------------------------------- the collector
def test_collecting_drops_what_no_handle_needs(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    base = len(tape)
    for _ in range(100):
        x * 2 + 1
    tape.collect()
    assert len(tape) <= base + 2  # the numbers at most
    y = (x * 2).sum()
    tape.collect()
    assert len(tape) <= base + 4
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]


def test_collecting_keeps_operands_of_pending_statements(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0])
    y = (x + 1) * (x + 2)
    del x
    tape.collect()
    tape.collect()
    assert y.tolist() == [6, 12]


def test_collecting_passive_values_drops_their_operands(tape: Tape) -> None:
    before = len(tape)
    y = tg.tensor([1.0])
    for _ in range(1000):
        y = y * 1.0 + 1.0
    assert y.item() == 1001
    tape.collect()
    assert len(tape) <= before + 2


@pytest.mark.smoke
def test_collecting_keeps_a_graph_without_its_tensors(tape: Tape) -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def loss() -> Any:
        a = x * x
        b = a.exp()
        c = a[1:] * b[:-1]
        c[0] = a[0]
        return c.sum()

    value = loss()
    expected = value.item()
    for _ in range(3):
        tape.collect()
    assert value.item() == expected
    value.backward()
    assert x.grad is not None
    first = x.grad.tolist()
    x.grad = None
    loss().backward()
    assert x.grad.tolist() == first


@pytest.mark.smoke
def test_freed_residuals_go(tape: Tape) -> None:
    x = tg.tensor(np.ones(100_000), requires_grad=True)
    y = x.exp().exp().exp().sum()
    y.backward()
    owned = int(tape.state[nt.S_OWNED_BYTES])
    assert owned > 2 * 100_000 * 8
    tape.collect()
    assert int(tape.state[nt.S_OWNED_BYTES]) <= 100_000 * 8
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_node_keeps_the_graph_alive(tape: Tape) -> None:
    x = tg.tensor([1.0], requires_grad=True)
    y = x * 2
    node = y.grad_fn
    del y
    tape.collect()
    assert node is not None
    assert node.name() == "MulBackward0"
    assert node.next_functions[0][0].variable is x
    assert node != (x * 2).grad_fn
    verify(tape)


def test_collections_are_counted(tape: Tape) -> None:
    before = tape.stats()["collections"]
    tape.collect()
    assert tape.stats()["collections"] == before + 1
