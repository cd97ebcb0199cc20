"""Random programs: value and derivatives against torch, and the same with collections in between.

Programs are those of the fuzzer (tests/fuzz), which runs many more of them by hand. A failing example prints
its text.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fuzz import derivatives, functions, statements
from fuzz.program import KINDS, Program
from fuzz.script import Outcome, outcome
from fuzz.verdict import STALE

import tapegrad as tg
from tapegrad.tape.tape import Tape
from tapegrad.tape.verifier import verify

try:
    import torch
except ImportError:
    torch = None

#: kinds that run no pass in the middle
PLAIN = [k for k in KINDS if k[0].__module__ in (functions.__name__, statements.__name__)]
assert len(PLAIN) + 5 < len(KINDS), derivatives.__name__


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("part", range(4))
def test_random_programs_agree_with_torch(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    from fuzz.beside import run

    verdicts = list(run("suite", range(60 * part, 60 * (part + 1))))
    assert "WRONG" not in verdicts, capsys.readouterr().out
    assert verdicts.count("same") > 30, verdicts


def check_same(program: Program, found: Outcome, expected: Outcome, rtol: float = 0.0) -> None:
    """Compare what two runs in tapegrad left, bit for bit unless told otherwise."""
    text = program.script.text()
    assert [type(e) for e in found.errors] == [type(e) for e in expected.errors], text
    assert found.parts.keys() == expected.parts.keys(), text
    for name, part in expected.parts.items():
        other = found.parts[name]
        if isinstance(part, Exception):
            assert type(part) is type(other), (name, text)
            continue
        for a, b in zip(other, part, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=f"{name}\n{text}")


@pytest.mark.parametrize(("length", "examples"), [(12, 60), (40, 15)])
def test_collecting_between_statements_changes_nothing(length: int, examples: int) -> None:
    tape = tg.current_tape()
    for i in range(examples):
        rng = random.Random(f"between {i}")
        program = Program(rng, length)
        expected = program.finish()

        def between(rng: random.Random = rng) -> None:
            drawn = rng.random()
            if drawn < 0.3:
                tape.collect()
                verify(tape)
            elif drawn < 0.5:
                tape.evaluate()

        check_same(program, outcome(program.script, tg, between), expected)


def test_collecting_inside_any_call_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots get other numbers wherever the collector may run, not only where tapes are full."""
    make_room = Tape._make_room
    drawn = random.Random(3)
    often = [0.0]

    def eager(self: Tape, statements: int, args: int, collect: bool) -> None:
        if collect and self is tg.current_tape() and drawn.random() < often[0]:
            self.collect()
        make_room(self, statements, args, collect)

    monkeypatch.setattr(Tape, "_make_room", eager)
    for i in range(150):
        often[0] = 0.0
        program = Program(random.Random(f"inside {i}"), 10)
        expected = program.finish()
        often[0] = 0.3
        check_same(program, outcome(program.script, tg), expected)


@pytest.mark.parametrize(("length", "examples"), [(12, 50), (30, 10)])
def test_packing_what_is_saved_changes_nothing(length: int, examples: int) -> None:
    """Copies of residuals, made by hooks, in the place of the residuals: views, writes and all."""
    hooks = tg.autograd.graph.saved_tensors_hooks(
        lambda t: t.numpy(force=True).copy(), lambda v: tg.tensor(v)
    )
    compared = 0
    for i in range(examples):
        program = Program(random.Random(f"packed {i}"), length, kinds=PLAIN)
        expected = program.finish()
        with hooks:
            packed: Any = outcome(program.script, tg)
        text = program.script.text()
        if (
            STALE in str(expected.end()) or ".data." in text
        ):  # copies do not change with what is saved
            continue
        check_same(program, packed, expected, 1e-10)
        compared += 1
    assert compared > examples / 2
