"""Tape files, altered at random: each is refused, or holds a tape that runs.

``python tests/fuzz/tape_files.py 100000`` alters files that many times, in processes that are watched for
crashes. Half of the alterations are of bytes; the others are of what the arrays hold, with a digest that is
right again, as somebody would make them who means harm. A tape that is not refused is run, on arrays between
pages that may not be touched, differentiated and verified.
"""

from __future__ import annotations

import ctypes
import dataclasses
import io
import json
import mmap
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.base.errors import TapeError
from tapegrad.tape import recording as record
from tapegrad.tape.tape import Tape
from tapegrad.tape.verifier import verify
from tapegrad.transforms import tape_file

#: what running a tape that was altered may raise
ALLOWED = (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError, MemoryError)
NUMBERS = (
    0,
    1,
    2,
    3,
    5,
    8,
    16,
    24,
    -1,
    -2,
    -8,
    64,
    1000,
    1 << 31,
    1 << 40,
    -(1 << 40),
    (1 << 63) - 1,
)
MOST_BYTES = 1 << 22
#: what is put into a text
POOL: list[Any] = [
    0, 1, 2, 3, -1, 7, 1 << 40, 0.5, -0.0, True, False, None, "x", "sum", "index", [], [0], [1, 0], {},
    {"layout": 0},
]  # fmt: skip


def _written(x: Any, i: Any) -> Any:
    c = tg.zeros(4)
    c[1:] = x * 2
    c[0] = x[i[0]]
    return c.cumsum(0)


def functions() -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Functions with arguments, whose tapes have statements of all kinds."""
    x, m, i = np.array([0.5, 1.5, 2.5]), np.arange(6.0).reshape(2, 3) / 7, np.array([2, -1])
    return [
        (lambda x, i: {"a": [tg.sin(x)[i], None], "b": x[[0, 0, 2]]}, (x, i)),
        (lambda x, i: _written(x, i), (x, i)),
        (lambda m, x: (m @ x, (m.t() @ m).softmax(0), m.sum(1, keepdim=True)), (m, x)),
        (
            lambda m: (*m.max(1), m.sort(0)[0], m.triu(), m.flip(0), m.mean(), m.to(tg.float32)),
            (m,),
        ),
        (lambda m, i: tg.where(m > 0.3, m, m * m).gather(1, i.expand(2, 2)), (m, np.array([1, 0]))),
        (lambda x: tg.cat([x, tg.stack([x[0], x[1]])]).repeat(2).diag_embed(), (x,)),
        (lambda m: m.var(0).logsumexp(0), (m,)),
    ]


def files() -> list[bytes]:
    """Files of tapes, and of tapes that are made of them."""
    tapes = []
    for function, args in functions():
        tape = tg.trace(function)(*args)
        tapes += [
            tape,
            tape.gradient(),
            tape.pushforward(),
            tape.batched(0, 2),
            tape.batched(0, 2).gradient(),
        ]
    return list(map(tape_file.to_bytes, tapes))


def altered_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with other bytes, fewer, or more."""
    kind, at = rng.integers(4), int(rng.integers(len(data)))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
    if kind == 2:
        return data[:at] + data[at + int(rng.integers(1, 99)) :]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        changed[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(changed)


def _changed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat = array.reshape(-1).copy()
    kind = rng.integers(6)
    if kind == 0 and flat.size:
        return np.delete(flat, rng.integers(flat.size))
    if kind == 1 and flat.size:
        return np.insert(flat, rng.integers(flat.size), flat[rng.integers(flat.size)])
    if kind == 2:
        return flat.astype(rng.choice([np.float64, np.int64, np.uint8, np.float32, np.int32]))
    for _ in range(int(rng.integers(1, 3))):
        if flat.size:
            value = (
                rng.choice(NUMBERS)
                if rng.random() < 0.7
                else flat[rng.integers(flat.size)] + rng.integers(-2, 3)
            )
            with np.errstate(all="ignore"):
                flat[rng.integers(flat.size)] = np.asarray(value).astype(flat.dtype)
    return flat.reshape(array.shape)


def _changed_json(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one part changed."""
    if isinstance(value, dict) and value:
        key = str(rng.choice(list(value)))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _changed_json(value[key], rng)}
    if isinstance(value, list) and value:
        place = int(rng.integers(len(value)))
        if rng.random() < 0.1:
            return value[:place] + value[place + 1 :]
        return [_changed_json(x, rng) if i == place else x for i, x in enumerate(value)]
    return POOL[int(rng.integers(len(POOL)))]


def altered_arrays(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with other contents, and the digest of these."""
    members = dict(np.load(io.BytesIO(data), allow_pickle=False))
    del members["digest"]
    names = list(members)
    for _ in range(int(rng.integers(1, 3))):
        name = str(rng.choice(names))
        if name == "text" or rng.random() < 0.3:
            try:
                text = json.loads(members["text"].tobytes())
            except ValueError:
                continue
            members["text"] = np.frombuffer(json.dumps(_changed_json(text, rng)).encode(), np.uint8)
        elif name != "format" or rng.random() < 0.1:
            members[name] = _changed(members[name], rng)
    head = members.pop("format")
    members["digest"] = tape_file._digest(members)
    members["format"] = head
    file = io.BytesIO()
    np.savez(file, **members)
    return file.getvalue()


class _Guarded:
    """Memory between pages that may not be touched: reading beyond an array is a crash, which is seen."""

    PAGE = 1 << 12

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.block = mmap.mmap(-1, 3 * self.PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.block))
        for page in (0, 2):
            assert libc.mprotect(ctypes.c_void_p(address + page * self.PAGE), self.PAGE, 0) == 0

    def array(self, values: np.ndarray, *, at_end: bool) -> np.ndarray:
        """A copy of an array at one end of the memory, or anywhere if it is too large."""
        if not 0 < values.nbytes <= self.PAGE:
            return values.copy()
        offset = 2 * self.PAGE - values.nbytes if at_end else self.PAGE
        placed = np.frombuffer(self.block, values.dtype, values.size, offset).reshape(values.shape)
        placed[...] = values
        return placed


_guards: list[_Guarded] = []


def guarded(values: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Copies of arrays between pages that may not be touched."""
    while len(_guards) < len(values):
        _guards.append(_Guarded())
    return [g.array(x, at_end=bool(rng.integers(2))) for g, x in zip(_guards, values, strict=False)]


def run(tape: Any, rng: np.random.Generator) -> None:
    """Run a tape on random inputs, and its gradient; whatever it raises must be an error of Python's."""
    values = [rng.uniform(-4, 4, x.shape).astype(x.dtype.np) for x in tape.inputs]
    placed = guarded([*values, *tape.arrays], rng)
    tape = dataclasses.replace(tape, arrays=tuple(placed[len(values) :]))
    inputs = [
        record.leaf_tensor(x, layout.dtype, requires_grad=active)
        for x, layout, active in zip(placed, tape.inputs, tape.active, strict=False)
    ]
    try:
        results = tape.run(inputs)
        for y in results:
            y.detach().numpy(force=True)
        active = [y for y in results if y.requires_grad]
        if active:
            tg.autograd.backward(active, [tg.ones_like(y) for y in active])
    except ALLOWED:
        pass
    try:
        if any(tape.active):
            for y in tape.gradient().run(inputs):
                y.detach().numpy(force=True)
    except ALLOWED:
        pass
    current = tg.current_tape()
    current.collect()
    verify(current)


def fuzz(count: int, seed: int, made: list[bytes] | None = None) -> Counter[str]:
    """Alter files `count` times; how often what happened."""
    outcomes: Counter[str] = Counter()
    made = made or files()
    rng = np.random.default_rng(seed)
    Tape.check, before = verify, Tape.check
    try:
        for k in range(count):
            data = made[int(rng.integers(len(made)))]
            alter = altered_arrays if k % 2 else altered_bytes
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                wrong = alter(data, rng)
                try:
                    tape = tape_file.from_bytes(wrong, MOST_BYTES)
                except TapeError as error:
                    outcomes[str(error).split(":")[-1].strip()[:24]] += 1
                    continue
                outcomes["ran"] += 1
                run(tape, rng)
    finally:
        Tape.check = before
    return outcomes


def main() -> None:
    """Run in processes of so many alterations each, and report those that crashed."""
    total, each, first = int(sys.argv[1]), 2000, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    outcomes: Counter[str] = Counter()
    for seed in range(first, first + -(-total // each)):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            status = 1
            try:
                os.write(writer, json.dumps(fuzz(min(each, total), seed)).encode())
                status = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            report = pipe.read()
        _, status = os.waitpid(child, 0)
        if status:
            print(f"seed {seed}: status {status}")
        outcomes.update(json.loads(report or "{}"))
    for text, number in outcomes.most_common(40):
        print(f"{number:8} {text}")
    print(f"{sum(outcomes.values()):8} in all")


if __name__ == "__main__":
    main()
