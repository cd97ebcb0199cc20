"""Odd calls: public functions and methods, called with arguments that nobody should give them.

A call may return or raise, as long as the error is one for users; it may not crash, hang, corrupt memory
(workers run with debug allocators), change its operands when it raises, or leave the tape, a mode or the
next gradient in disorder. A case is one to three calls on the same tensors, each made plainly or in one of
the `surroundings`; what comes out may be differentiated, and is an operand of the next call.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
import random
import re
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad import testing
from tapegrad.tape.verifier import verify

from .odd_programs import odd_programs
from .odd_values import KEYWORDS, odd_tensors, odd_values, value_for
from .surroundings import PLAIN, surrounded

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
#: texts of errors that are meant: PyTorch's AssertionErrors
MEANT = ("Expected gradient function to be set", "not close", "not equal", "do not match",
         "Setting check_batched_forward_grad", "Expected at least one of check",
         "Expected strategy to be either", "Expected output to be", "mismatch")  # fmt: skip
#: an AttributeError that users can do nothing about
PRIVATE = re.compile(r"has no attribute '_(?!_)")
#: calls from one look at all of the tape to the next
VERIFIED = 8
#: share of calls with arguments that parameters' names suggest
SENSIBLE = 0.6
#: names that change the state of the process, compile for seconds, or print
SKIPPED = {
    "njit", "checkpointed_loop", "set_default_dtype", "set_printoptions", "seed", "manual_seed",
    "set_rng_state", "set_default_device", "set_default_tensor_type", "Tape", "current_tape", "main",
    "breakpoint", "set_num_threads", "save", "load", "tofile", "fork", "Node",
}  # fmt: skip
#: what makes classes and objects
SPECIAL = {"__class__", "__init_subclass__", "__del__", "__new__", "__init__"}

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

#: name, function, and if its first argument should mostly be a Tensor
Target = tuple[str, Callable[..., Any], bool]


def _targets() -> list[Target]:
    targets: list[Target] = [(f.__name__, f, True) for f in OPERATORS]
    folders = [
        ("tg", tg), ("tg.autograd", tg.autograd), ("tg.func", tg.func),
        ("tg.autograd.functional", tg.autograd.functional), ("tg.autograd.graph", tg.autograd.graph),
        ("tg.autograd.forward_ad", tg.autograd.forward_ad), ("tg.utils.checkpoint", tg.utils.checkpoint),
        ("tg.autograd.function", tg.autograd.function), ("tg.testing", testing), ("tg.cuda", tg.cuda),
    ]  # fmt: skip
    for label, folder in folders:
        names = getattr(folder, "__all__", None) or dir(folder)
        for name in names:
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


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[list[str], int, list[str]] | None:
    """Return names of positional parameters, how many of them are needed, and keywords, if they are known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    needed = sum(p.default is p.empty for p in positional)
    names = [p.name for p in positional]
    return names, needed, [p.name for p in parameters if p.kind == p.KEYWORD_ONLY] + names[needed:]


def _values(tensors: list[Any]) -> list[Any]:
    return [t.detach().numpy(force=True).copy() for t in tensors]


def _version(tensor: Any) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)


def _graphs(tensors: list[Any]) -> list[Any]:
    """Return what a write would change beside values."""
    return [(_version(t), t.requires_grad, t.grad_fn and t.grad_fn.name()) for t in tensors]


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


def _modes() -> tuple[Any, ...]:
    """Return all that a call may not leave changed."""
    tape = tg.current_tape()
    return (
        tg.is_grad_enabled(), tape.grad_mode, tg.is_inference_mode_enabled(), tg.is_anomaly_enabled(),
        tape.saving, tg.autograd.is_multithreading_enabled(), len(tape.requests), tape.abstract,
    )  # fmt: skip


#: names of functions that set a mode at once, for good
SWITCHES = (
    "set_grad_enabled",
    "set_detect_anomaly",
    "set_multithreading_enabled",
    "enter_dual_level",
)


def _reset() -> None:
    """Take back what switches may have set."""
    tg.set_grad_enabled(True)
    tg.autograd.set_detect_anomaly(False)
    tg.autograd.set_multithreading_enabled(True)
    while True:
        try:
            tg.autograd.forward_ad.exit_dual_level()
        except RuntimeError:
            return


class Caller:
    """Draws calls, makes them, and looks at what they leave behind."""

    def __init__(self) -> None:
        self.targets = _targets()
        self.cases = 0

    def case(self, rng: random.Random) -> str:
        """Make one to three calls on the same tensors; return a word for how they ended."""
        tensors = odd_tensors()
        texts: list[str] = []
        verdict = ""
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            verdict = self._call(rng, tensors, texts)
            if verdict == "WRONG":
                return verdict
        return self._looked(texts) or verdict

    def _drawn(self, rng: random.Random) -> Target:
        draw = rng.random()
        for name, function, takes_tensor, often in odd_programs(rng):
            draw -= often / 1000
            if draw < 0:
                return name, function, takes_tensor
        return rng.choice(self.targets)

    def _arguments(
        self, target: Target, rng: random.Random, tensors: list[Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        _, function, takes_tensor = target
        others = odd_values()

        def any_value(parameter: str) -> Any:
            if rng.random() < SENSIBLE:
                value = value_for(parameter, rng)
                if value is not NotImplemented:
                    return value
            return rng.choice(tensors if rng.random() < 0.55 else others)

        known = _parameters(function) if rng.random() < 0.8 else None
        names, needed, keywords = known or ([""] * rng.randint(0, 4), 0, KEYWORDS)
        count = rng.randint(needed, min(len(names), needed + 2)) if known else len(names)
        args = [any_value(parameter) for parameter in names[:count]]
        if takes_tensor and (not args or rng.random() < 0.9):
            args[:1] = [rng.choice(tensors)]
        left = [keyword for keyword in keywords if keyword not in names[:count]]
        options = {}
        if left and rng.random() < 0.25:
            keyword = rng.choice(left)
            options[keyword] = any_value(keyword)
        return args, options

    def _call(self, rng: random.Random, tensors: list[Any], texts: list[str]) -> str:
        target = name, function, _ = self._drawn(rng)
        args, options = self._arguments(target, rng, tensors)
        where, surrounding = surrounded(rng)
        texts.append(f"{name}({', '.join(map(_shown, args))}, **{_shown(options)}) {where}")
        before, graphs, modes = _values(tensors), _graphs(tensors), _modes()
        verdict, value, has_returned = "returned", None, False
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                if surrounding is None or not args:
                    value = function(*args, **options)
                else:
                    value = surrounding(lambda t: function(t, *args[1:], **options), args[0])
                has_returned = True  # what is done with a result may raise by itself
                self._used(value, rng)
        except INTERNAL as error:
            says_so = isinstance(error, AssertionError) and name.startswith("tg.testing")
            if not says_so and not any(text in str(error) for text in MEANT):
                return self._wrong(texts, f"{type(error).__name__}: {error}")
            verdict = "raised"
        except AttributeError as error:
            through_class = name.startswith("Tensor.") and not isinstance(args[0], tg.Tensor)
            if PRIVATE.search(str(error)) and not through_class:
                return self._wrong(texts, f"{type(error).__name__}: {error}")
            verdict = "raised"
        except KeyError as error:
            if not options and not any(isinstance(a, dict) for a in args):
                return self._wrong(texts, f"KeyError: {error}")
            verdict = "raised"
        except Exception:
            verdict = "raised"
        if name.endswith(SWITCHES):
            _reset()
        if modes != _modes():
            return self._wrong(texts, f"a mode was changed: {modes} {_modes()}")
        once = where == "" or where in PLAIN
        writes = name.endswith(("backward", ".apply", "hooks", "transforms"))
        leaves_alone = verdict == "raised" and once and not (writes or has_returned)
        if leaves_alone and not (_same(before, _values(tensors)) and graphs == _graphs(tensors)):
            return self._wrong(texts, "operands were changed by a call that raised")
        if isinstance(value, tg.Tensor) and verdict == "returned":
            try:
                value.detach().numpy(force=True)
            except Exception:  # a tensor without a state, or of a level that has ended
                return verdict
            tensors.append(value)
        return verdict

    def _used(self, value: Any, rng: random.Random) -> None:
        """Do with a result what users do."""
        if isinstance(value, tg.Tensor):
            if rng.random() < 0.3:
                repr(value)
            if rng.random() < 0.3 and value.requires_grad and value.numel() < 1000:
                value.sum().backward(retain_graph=True)
        elif hasattr(value, "__exit__") and hasattr(value, "__enter__"):
            with value:
                pass
        elif hasattr(value, "close") and hasattr(value, "send"):
            value.close()

    def _looked(self, texts: list[str]) -> str:
        """Look at the tape, and at a gradient; a verdict if something is wrong."""
        try:
            tape = tg.current_tape()
            tape.evaluate()
            self.cases += 1
            if self.cases % VERIFIED == 0:
                tape.collect()
                verify(tape)
            x = tg.tensor([0.5, 2.0], requires_grad=True)
            (g,) = tg.autograd.grad((x * x * 3).sum(), x)
            if g.tolist() != [3.0, 12.0]:
                return self._wrong(texts, f"the next gradient is {g.tolist()}")
        except Exception as error:
            return self._wrong(texts, f"afterwards: {type(error).__name__}: {error}")
        return ""

    def _wrong(self, texts: list[str], why: str) -> str:
        print("\n=== " + "\n    ".join(texts) + f"\n--- {why}")
        _reset()
        return "WRONG"


def run(
    seed: str, numbers: Iterable[int], seconds: float = 1e9,
    mark: Callable[[int], object] = lambda number: None,
) -> Iterator[str]:  # fmt: skip
    """Run cases until time is up; yield for each ``"returned"``, ``"raised"`` or ``"WRONG"``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end = time.monotonic() + seconds
    caller = Caller()
    for number in numbers:
        if time.monotonic() > end:
            return
        mark(number)
        yield caller.case(random.Random(f"{seed} {number}"))
