"""Files of closed tapes: what is saved runs as before, and what was altered is refused."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest
from fuzz import tape_files
from op_samples import cases, public_rows
from test_closed_tapes import READ, function_of, same

import tapegrad as tg
from tapegrad.base.errors import TapeError
from tapegrad.ops.table import TABLE, Op
from tapegrad.transforms import tape_file
from tapegrad.transforms.tape_check import check_op


@pytest.fixture(autouse=True)
def _as_outside_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the check of files looks at what is loaded."""
    monkeypatch.setattr(tg.ClosedTape, "check", None)


ROWS = [e for e in public_rows() if e.name not in READ]


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.name)
def test_what_is_saved_is_what_is_loaded(entry: Op) -> None:
    """With its derivatives and batches; and it gives the same bits."""
    for case in cases(entry)[:3]:
        tape = tg.trace(function_of(case))(*case.arrays)
        tapes = [tape]
        if case.arrays:
            tapes.append(tape.batched(0, 2))
        if any(case.active):
            tapes += [tape.gradient(), tape.pushforward(), tapes[1].gradient()]
        for one in tapes:
            data = tape_file.to_bytes(one)
            loaded = tape_file.from_bytes(data)
            assert loaded.segment == one.segment
            assert tape_file.to_bytes(loaded) == data
        loaded = tape_file.from_bytes(tape_file.to_bytes(tape))
        for x, y in zip(loaded(*case.arrays), tape(*case.arrays), strict=True):
            same(x, y, case)


PARTS: dict[str, Callable[[Any], Any]] = {
    "svd": lambda z: sum(abs(part).sum() for part in tg.linalg.svd(z, full_matrices=False)),
    "eigh": lambda z: tg.linalg.eigh(z + z.mH)[0] + abs(tg.linalg.eigh(z + z.mH)[1]),
    "eig": lambda z: tg.linalg.eigvals(z.real) + abs(tg.linalg.eig(z.real)[1]),
    "slogdet": lambda z: tg.linalg.slogdet(z)[0] + tg.linalg.slogdet(z)[1],
    "swapaxes_": lambda z: (z * 2).swapaxes_(0, 1),
    "t_": lambda z: (z * 2).t_(),
    "unsqueeze_": lambda z: (z * 2).unsqueeze_(0),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_complex_matrices_and_views_in_place_are_loaded(name: str) -> None:
    z = np.array([[1 + 2j, 0.5, 3j], [0.3, 2 - 1j, 1], [1j, 0.2, 4]])
    tape = tg.trace(lambda z: abs(PARTS[name](z)).sum())(z)
    for one in (tape, tape.gradient()):
        loaded = tape_file.from_bytes(tape_file.to_bytes(one))
        for x, y in zip(*[optree.tree_leaves(t(z)) for t in (loaded, one)], strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_a_file_runs_where_the_function_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "norm.tape"
    function = lambda d: {"norm": (d["x"] ** 2).sum().sqrt(), "none": None}  # noqa: E731
    tg.trace(function)({"x": np.ones(2)}).save(path)
    program = f"""
import tapegrad as tg
tape, x = tg.load_tape({str(path)!r}), {{"x": tg.tensor([2.0, 0.0])}}
print(tape(x)["norm"].item(), tape.gradient()(x)[1]["x"].tolist())
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "2.0 [1.0, 0.0]"


def test_pickle_and_copies() -> None:
    tape = tg.trace(lambda x: x * tg.tensor([1.0, 2.0]), lines=True)(np.ones(2))
    assert copy.copy(tape) is tape
    assert copy.deepcopy([tape])[0] is tape
    loaded = pickle.loads(pickle.dumps(tape))
    assert str(loaded) == str(tape)
    assert tape.diff(loaded) == ""


def test_what_holds_python_objects_is_refused_with_its_name() -> None:
    def with_key(x: Any) -> Any:
        return {(1, 2): x}

    with pytest.raises(TapeError, match=r"dict key of type tuple"):
        tape_file.to_bytes(tg.trace(with_key)(1.0))
    with pytest.raises(TapeError, match="among arguments or results cannot be saved"):
        tape_file.to_bytes(tg.trace(lambda x: x.max(0))(np.ones(2)))
    for name in ("function", "function_output", "strip_data", "unpacked"):
        with pytest.raises(
            TapeError, match=f"{name}: the tape has a statement that holds Python objects"
        ):
            check_op(TABLE[name])
    with pytest.raises(TapeError, match="leaf is no statement"):
        check_op(TABLE["leaf"])


# --------------------------------------------------------------------------- what is refused
Members = dict[str, Any]


def altered(tape: Any, change: Callable[[Members], object]) -> bytes:
    """A file of a tape whose members were changed, with the digest of what they are now; text is JSON."""
    members: Members = dict(np.load(io.BytesIO(tape_file.to_bytes(tape)), allow_pickle=False))
    head = members.pop("format")
    del members["digest"]
    members["text"] = json.loads(members["text"].tobytes())
    change(members)
    members["text"] = np.frombuffer(json.dumps(members["text"]).encode(), np.uint8)
    members["digest"] = tape_file._digest(members)
    members["format"] = members.pop("head", head)
    file = io.BytesIO()
    np.savez(file, **members)
    return file.getvalue()


def put(name: str, place: int, value: int) -> Callable[[Members], object]:
    def change(members: Members) -> None:
        members[name][place] = value

    return change


def attribute(number: int, name: str, value: Any) -> Callable[[Members], object]:
    return lambda members: members["text"]["attributes"][number].update({name: value})


def _sliced(x: Any) -> Any:
    return x[1:] * 2


def _indexed(x: Any) -> Any:
    return x[[2, 0]]


def _summed(x: Any) -> Any:
    return x.sum(0)


HOSTILE: list[tuple[Callable[..., Any], Callable[[Members], object], str]] = [
    (_sliced, lambda m: m.update(head=np.array([1, 1])), "is no tape"),
    (_sliced, lambda m: m.update(head=np.array([tape_file.MAGIC, 2])), "reads version 1"),
    (_sliced, lambda m: m.pop("leaves"), "leaves is missing"),
    (_sliced, put("statements", 5, 16), "view beyond its operand"),  # offset of the slice
    (_sliced, put("statements", 5, -8), "view between elements"),
    (_sliced, put("statements", 5, 4), "view between elements"),
    (_sliced, put("statements", 7, 1), "does not come before it"),
    (_sliced, put("statements", 7, -2), "another layout"),
    (_sliced, put("layouts", 2, -3), "negative or huge"),
    (_sliced, put("layouts", 2, 1 << 45), "negative or huge"),
    (_sliced, put("results", 0, 9), "a result that is not there"),
    (_sliced, lambda m: m["text"].update(ops=["alias", "slice", "muls"]), "there is no op muls"),
    (_sliced, lambda m: m["text"].update(ops=["alias", "slice", "function"]), "holds Python objects"),
    (_sliced, lambda m: m["text"].update(arguments=["tuple", 0, 0]), "other inputs than arguments"),
    (_sliced, lambda m: m["text"].update(results=["set", 0]), "other containers"),
    (_indexed, lambda m: m["array0"].__setitem__(0, 3), "positions that nothing has checked"),
    (_indexed, lambda m: m["array0"].__setitem__(0, -1), "positions that nothing has checked"),
    (_indexed, attribute(1, "dims", [1]), r"index has dims=\(1,\)"),
    (_indexed, attribute(1, "dims", [0, 0]), r"index has dims=\(0, 0\)"),
    (_indexed, lambda m: m["leaves"].__setitem__(3, 0), "another layout"),
    (_summed, attribute(1, "dim", [3]), r"sum has dim=\(3,\)"),
    (_summed, attribute(1, "keepdim", 1), "sum has keepdim=1"),
    (_summed, lambda m: m.update(array0=np.zeros(2, object)), "is of dtype object"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_hostile_files_are_refused(case: int) -> None:
    function, change, message = HOSTILE[case]
    tape = tg.trace(function)(np.ones(3))
    with pytest.raises(TapeError, match=message):
        tape_file.from_bytes(altered(tape, change))


def test_a_file_that_was_cut_or_altered_is_refused(tmp_path: Path) -> None:
    data = tape_file.to_bytes(tg.trace(_sliced)(np.ones(3)))
    path = tmp_path / "tape.npz"
    for wrong in (
        data[:-1],
        data[: len(data) // 2],
        b"",
        b"nonsense",
        data.replace(b"slice", b"Slice"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(TapeError, match="damaged"):
            tg.load_tape(path)
    with pytest.raises(FileNotFoundError):
        tg.load_tape(tmp_path / "none.npz")


def test_a_tape_that_needs_too_much_memory_is_refused() -> None:
    tape = tg.trace(lambda x: x.repeat(1000) * 2)(np.ones(1000))
    with pytest.raises(TapeError, match="take more than 1000000 bytes"):
        tape_file.from_bytes(tape_file.to_bytes(tape), 1_000_000)


def test_a_write_into_an_argument_or_a_number_is_refused() -> None:
    def written(x: Any) -> Any:
        c = tg.zeros(3)
        c[1:] = x[1:]
        return c

    tape = tg.trace(written)(np.ones(3))
    target = 15  # the operand of the slice that is written: the clone of the constant
    data = altered(tape, put("statements", target, -1))
    with pytest.raises(TapeError, match="writes into what is not the tape's own"):
        tape_file.from_bytes(data)


def test_fuzzed_files() -> None:
    """A few hundred of the 100,000 that ``python tests/fuzz/tape_files.py 100000`` makes."""
    assert tape_files.fuzz(400, 1)["ran"] > 0
