"""Odd calls: public functions and methods, called with arguments that nobody should give them.

A call may return or raise, as long as the error is one for users; it may not crash, hang, corrupt memory
(workers run with debug allocators), change its operands when it raises, or leave the tape, the grad mode or
the next gradient in disorder.
"""

from __future__ import annotations

import math
import operator
import os
import random
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.verify import verify

__all__ = ["ENVIRONMENT", "run"]

#: environment of workers: allocators that fill, guard and check memory
ENVIRONMENT = {
    **os.environ, "PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "165", "MALLOC_CHECK_": "3",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
#: memory that a worker may have, so that absurd sizes fail at once
MEMORY = 8 << 30
#: errors that say that tapegrad itself is in disorder
INTERNAL = (
    SystemError,
    AssertionError,
    UnboundLocalError,
    NameError,
    StopIteration,
    ReferenceError,
)
#: calls from one look at all of the tape to the next
VERIFIED = 8
#: names that change the state of the process, compile for seconds, or print
SKIPPED = {
    "njit", "checkpointed_loop", "set_default_dtype", "set_printoptions", "seed", "manual_seed",
    "set_rng_state", "set_default_device", "set_default_tensor_type", "Tape", "current_tape", "main",
    "breakpoint", "set_num_threads", "save", "load", "tofile", "fork",
}  # fmt: skip
#: what makes classes and objects
SPECIAL = {"__class__", "__init_subclass__", "__del__", "__new__", "__init__"}


class Strange:
    """An object that answers oddly to whatever it is asked."""

    def __index__(self) -> int:
        raise ValueError("no index")

    def __float__(self) -> float:
        raise ValueError("no float")

    def __len__(self) -> int:
        return 1 << 40

    def __iter__(self) -> Any:
        raise ValueError("no iteration")

    def __bool__(self) -> bool:
        raise ValueError("no truth")


class Subclass(tg.Tensor):
    """A class that derives from Tensor."""


def _raises(*args: object, **kwargs: object) -> object:
    raise ValueError("raised by a user's function")


def _tensors() -> list[Any]:
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    return [
        x, x * 2, x[0], x.T, x.detach(), tg.tensor(1.5, requires_grad=True), tg.tensor(2), tg.zeros(0),
        tg.zeros(0, 3, requires_grad=True), tg.tensor([True, False]), tg.tensor([0, 1, 1]),
        tg.tensor([[0, 1], [1, 0]]), tg.ones(2, 3, dtype=tg.float32), tg.ones(1).expand(3), x.sum(),
        tg.tensor([math.nan, math.inf, -math.inf]), tg.ones(2, 1, 3, 1), tg.tensor([-5, 99]), x[:, 1:],
    ]  # fmt: skip


def _others() -> list[Any]:
    return [
        None, True, False, 0, 1, -1, 2, 3, -7, 5, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 0.0, -0.0, 0.5,
        -1.5, 1e308, math.nan, math.inf, 1j, "", "sum", "float64", "ij,jk->ik", "...", "i->", b"x", (), [],
        {}, set(), (0,), (0, 1), (1, 0), (-1, 2), [2, 3], [[1, 2], [3]], (2, -1), (0, 0), ((0, 1), (1, 2)),
        [None], {"a": 1}, range(3), slice(None), slice(0, 5, -1), slice(None, None, 2), Ellipsis,
        np.ones(3), np.zeros((2, 3), np.float32), np.int64(1), np.float32(2.5), np.array("x"),
        np.array([object()]), np.ones((3, 0)), np.arange(6).reshape(2, 3)[:, ::-1], tg.float64, tg.float32,
        tg.int64, tg.bool, float, int, bool, object, Strange(), Strange, lambda x: x, lambda x: x * 2,
        lambda *a: None, _raises, lambda x: (x, [x]), lambda x: x.sum(), math.sin, tg.sin, tg.Size([2, 3]),
        tg.Generator(), iter([1]), (i for i in range(2)), memoryview(b"abcd"), print, type, NotImplemented,
        Subclass([1.0]) if callable(Subclass) else None, object.__new__(tg.Tensor),
        object.__new__(Subclass),
    ]  # fmt: skip


KEYWORDS = [
    "dim", "keepdim", "dtype", "out", "requires_grad", "axis", "input", "other", "alpha", "value",
    "correction", "unbiased", "device", "retain_graph", "create_graph", "inputs", "gradient", "min",
    "max", "size", "n", "k", "index", "source", "src", "dims", "start", "end", "step", "indices",
    "weights", "allow_unused", "is_grads_batched", "in_dims", "out_dims", "argnums", "has_aux",
    "chunk_size", "descending",
]  # fmt: skip

OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.matmul, operator.and_, operator.or_, operator.xor, operator.lshift,
    operator.rshift, operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge,
    operator.getitem, operator.setitem, operator.delitem, operator.contains, operator.iadd, operator.isub,
    operator.imul, operator.itruediv, operator.ipow, operator.imatmul, operator.iand, operator.neg,
    operator.pos, operator.abs, operator.invert, operator.index, operator.length_hint, divmod, round,
    float, int, bool, complex, len, iter, hash, repr, format, math.floor, math.ceil, math.trunc, list,
    pow, setattr, getattr, delattr, isinstance,
]  # fmt: skip


def _targets() -> list[tuple[str, Callable[..., Any], bool]]:
    """Return name, function, and if its first argument should mostly be a Tensor."""
    targets: list[tuple[str, Callable[..., Any], bool]] = [(f.__name__, f, True) for f in OPERATORS]
    folders = [
        ("tg", tg), ("tg.autograd", tg.autograd), ("tg.func", tg.func),
        ("tg.autograd.functional", tg.autograd.functional), ("tg.autograd.graph", tg.autograd.graph),
        ("tg.autograd.forward_ad", tg.autograd.forward_ad), ("tg.utils.checkpoint", tg.utils.checkpoint),
    ]  # fmt: skip
    for label, folder in folders:
        for name in dir(folder):
            value = getattr(folder, name)
            if not name.startswith("_") and name not in SKIPPED and callable(value):
                targets.append((f"{label}.{name}", value, label == "tg"))
    for name in dir(tg.Tensor):
        is_private = name.startswith("_") and not name.startswith("__")
        if name in SKIPPED or name in SPECIAL or is_private:
            continue
        value = getattr(tg.Tensor, name)
        if callable(value):
            targets.append((f"Tensor.{name}", value, True))
        else:
            targets.append(
                (f"Tensor.{name} =", lambda t, v=None, name=name: setattr(t, name, v), True)
            )
            targets.append((f"Tensor.{name}", lambda t, *_, name=name: getattr(t, name), True))
    return targets


def _is_bound(tensor: Any) -> bool:
    try:
        return tensor.dtype is not None
    except Exception:
        return False


def _values(tensors: list[Any]) -> list[Any]:
    return [t.detach().numpy(force=True).copy() for t in tensors]


def _same(before: list[Any], after: list[Any]) -> bool:
    return all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(before, after, strict=True)
    )


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<repr raises {type(error).__name__}>"
    return " ".join(text.split())[:80]


class Caller:
    """Draws calls, makes them, and looks at what they leave behind."""

    def __init__(self) -> None:
        self.targets = _targets()
        self.calls = 0

    def call(self, rng: random.Random) -> str:
        """Make one call; return a word for how it ended."""
        name, function, takes_tensor = rng.choice(self.targets)
        tensors, others = _tensors(), _others()
        args = [
            rng.choice(tensors if rng.random() < 0.55 else others) for _ in range(rng.randint(0, 4))
        ]
        if takes_tensor and (not args or rng.random() < 0.9):
            args[:1] = [rng.choice(tensors)]
        options = {}
        if rng.random() < 0.25:
            options[rng.choice(KEYWORDS)] = rng.choice(tensors if rng.random() < 0.3 else others)
        text = f"{name}({', '.join(map(_shown, args))}, **{_shown(options)})"
        before, mode = _values(tensors), tg.is_grad_enabled()
        inference = tg.current_tape().grad_mode
        verdict = "returned"
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                value = function(*args, **options)
                if isinstance(value, tg.Tensor) and rng.random() < 0.3:
                    repr(value)
                if hasattr(value, "__exit__") and hasattr(value, "__enter__"):
                    with value:
                        pass
                elif hasattr(value, "close") and hasattr(value, "send"):
                    value.close()
        except INTERNAL as error:
            return self._wrong(text, f"{type(error).__name__}: {error}")
        except KeyError as error:
            verdict = "raised" if options or any(isinstance(a, dict) for a in args) else ""
            if not verdict:
                return self._wrong(text, f"KeyError: {error}")
        except Exception:
            verdict = "raised"
        if verdict == "raised" and not name.startswith(("Tensor.backward", "tg.autograd.backward")):
            bound = [t for t in tensors if _is_bound(t)]
            if len(bound) != len(tensors) or not _same(before, _values(tensors)):
                return self._wrong(text, "operands were changed by a call that raised")
        tg.set_grad_enabled(True)
        tg.autograd.set_detect_anomaly(False)
        if mode != tg.is_grad_enabled() or inference != tg.current_tape().grad_mode:
            return self._wrong(text, "the grad mode was changed")
        return self._looked(text) or verdict

    def _looked(self, text: str) -> str:
        """Look at the tape, and at a gradient; a verdict if something is wrong."""
        try:
            tape = tg.current_tape()
            tape.evaluate()
            self.calls += 1
            if self.calls % VERIFIED == 0:
                tape.collect()
                verify(tape)
            x = tg.tensor([0.5, 2.0], requires_grad=True)
            (g,) = tg.autograd.grad((x * x * 3).sum(), x)
            if g.tolist() != [3.0, 12.0]:
                return self._wrong(text, f"the next gradient is {g.tolist()}")
        except Exception as error:
            return self._wrong(text, f"afterwards: {type(error).__name__}: {error}")
        return ""

    def _wrong(self, text: str, why: str) -> str:
        print(f"\n=== {text}\n--- {why}")
        tg.set_grad_enabled(True)
        return "WRONG"


def run(
    seed: str, numbers: Iterable[int], seconds: float = 1e9,
    mark: Callable[[int], object] = lambda number: None,
) -> Iterator[str]:  # fmt: skip
    """Make calls until time is up; yield for each ``"returned"``, ``"raised"`` or ``"WRONG"``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end = time.monotonic() + seconds
    caller = Caller()
    for number in numbers:
        if time.monotonic() > end:
            return
        mark(number)
        yield caller.call(random.Random(f"{seed} {number}"))
