"""`checkpointed_loop`: a long loop of a compiled body, differentiated in bounded memory.

The steps are taken in *chunks*. Forwards, no step is recorded; states at the beginning of some chunks
are kept (snapshots). Backwards, a chunk is recorded as one strip and swept, the last first; the steps
between it and the snapshot before are computed again. Which states to keep follows the binomial schedule
of Griewank and Walther (revolve, ACM TOMS 26, 2000), which computes the fewest steps again that can be.

The reverse pass runs on a separate tape, so that memory which it drops is free at once.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.function import Function
from ..autograd.grad_mode import is_grad_enabled, recording
from ..autograd.gradients import grad
from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..functions.registry import FUNCTIONS
from ..tape.current import current_tape, recording_on
from ..tape.recording import leaf_tensor
from ..tape.tape import Tape
from ..tensors.tensor import Tensor
from .compiled import Compiled, njit
from .containers import rebuilt
from .python_call import recorded_call

__all__ = ["checkpointed_loop", "split"]

#: bytes that a recorded statement takes with its adjoint, at most
STATEMENT_BYTES = 48
#: bytes of a chunk's statements that the caches still hold, mostly
CHUNK_BYTES = 1 << 22
#: bytes of a snapshot beside its numbers
SNAPSHOT_BYTES = 256


def _reversible(snapshots: int, repeats: int) -> int:
    """Chunks that can be reversed from so many states, none computed more often than that."""
    return math.comb(snapshots + repeats, snapshots) if repeats >= 0 else 0


def split(chunks: int, snapshots: int) -> int:
    """Return how many of `chunks` to go before the next snapshot is taken.

    There is the state at their beginning, and room for `snapshots` (at least 1) more.
    """
    repeats = 1
    while _reversible(snapshots + 1, repeats) < chunks:
        repeats += 1
    # The least step after which the other snapshots can do the rest.
    return max(1, chunks - _reversible(snapshots, repeats), _reversible(snapshots + 1, repeats - 2))


@functools.cache
def _advance(body: Compiled) -> Compiled:
    """`count` steps of a body."""

    def advance(state, count, args):  # type: ignore[no-untyped-def]
        for _ in range(count):
            state = body(state, *args)
        return state

    loop: Compiled = njit(advance)
    return loop


_local = threading.local()


def _reverse_tape() -> Tape:
    """The tape of this thread's reverse passes over loops."""
    tape: Tape | None = getattr(_local, "tape", None)
    if tape is None:
        tape = _local.tape = Tape()
    return tape


class _Schedule:
    """One call: its loop, the structure of its states, and the chunks and snapshots that memory allows."""

    def __init__(self, body: Compiled, state: Any, n: int, args: Any, memory: int) -> None:
        self.loop, self.n, self.memory = _advance(body), n, memory
        self.is_tuple = isinstance(state, tuple)
        self.like = state
        self.args = args
        self.steps = 1
        self.snapshots = 1
        #: the parts of the last state
        self.last: list[Any] = []

    def items(self, state: Any) -> list[Any]:
        """The parts of a state."""
        return list(state) if self.is_tuple else [state]

    def state(self, items: Sequence[Any]) -> Any:
        """A state of its parts."""
        return rebuilt(self.like, items) if self.is_tuple else items[0]

    def run(self, items: Sequence[Any], first: int, last: int, args: Any) -> list[Any]:
        """Go from one chunk to another without recording."""
        count = min(last * self.steps, self.n) - min(first * self.steps, self.n)
        return self.items(self.loop.primal(self.state(items), count, args))

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.n // self.steps)

    def measure(self, items: Sequence[Any], args: Any) -> None:
        """Choose the length of chunks and the number of snapshots."""
        with recording_on(_reverse_tape()), recording():
            leaves = [_leaf(x) for x in items]
            before = self.loop.recorded
            self.loop(self.state(leaves), 1, tuple(map(_leaf, args)))
            statements = max(self.loop.recorded - before, 1)
        size = SNAPSHOT_BYTES + sum(np.asarray(x).nbytes for x in items)
        budget = max(self.memory - 2 * size, 0)
        self.steps = max(1, min(budget // 2, CHUNK_BYTES) // (STATEMENT_BYTES * statements))
        self.snapshots = max(1, min(self.chunks, budget // 2 // size))


def _is_float(x: Any) -> bool:
    return isinstance(x, float | np.floating) or (isinstance(x, np.ndarray) and x.dtype.kind == "f")


def _leaf(x: Any) -> Any:
    """A leaf with a value that can be differentiated by."""
    if not _is_float(x):
        return x
    return leaf_tensor(np.array(x, np.float64), float64, requires_grad=True)


def _primal_of(x: Any) -> Any:
    """The value of a Tensor: a number or an array."""
    if not isinstance(x, Tensor):
        return x
    return x.item() if not x.ndim else np.array(x.detach().numpy())


def checkpointed_loop(
    body: Callable[..., Any], state: Any, n: int, *args: Any, memory: int = 1 << 26
) -> Any:
    """Apply ``state = body(state, *args)`` `n` times, and differentiate it in bounded memory.

    Parameters
    ----------
    body : callable
        A function under `njit`, or one that can be. What depends on its arguments must come to it as
        arguments.
    state : Tensor, float, numpy.ndarray or tuple of them
        Where the loop begins; `body` returns the same structure.
    n : int
        Number of steps.
    *args
        Further arguments of every step, Tensors among them.
    memory : int
        Bytes that the reverse pass may take (beside results): for recorded steps, and for states from
        which steps are computed again. Less memory takes more time: the steps are computed again
        as often as the binomial schedule (revolve) of that many states says.

    Returns
    -------
    Tensor or tuple
        The last state.

    Raises
    ------
    ValueError
        For a negative `n` or `memory` below one step's.
    UnsupportedError
        In a backward pass with ``create_graph=True``: second derivatives are not computed; call a
        function under `njit` that has the loop inside.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.njit
    ... def step(x, rate):
    ...     return x - 0.01 * rate * x
    >>> x = tg.tensor(1.0, requires_grad=True)
    >>> rate = tg.tensor(2.0, requires_grad=True)
    >>> y = tg.checkpointed_loop(step, x, 100, rate)
    >>> y.backward()
    >>> x.grad
    tensor(0.1326)
    """
    if n < 0:
        raise ValueError(f"checkpointed_loop: the number of steps must not be negative, got {n}")
    compiled = body if isinstance(body, Compiled) else njit(body)
    items = list(state) if isinstance(state, tuple) else [state]
    for x in (*items, *args):
        if isinstance(x, tuple | list):
            raise TypeError(
                "checkpointed_loop: state and arguments are tensors, numbers and arrays, or (the state) "
                f"a tuple of those; got a nested {type(x).__name__}"
            )
    if n == 0:
        return state
    if current_tape().abstract:

        def loop(state: Any, *args: Any) -> Any:
            return checkpointed_loop(compiled, state, n, *args, memory=memory)

        call = recorded_call(loop, f"checkpointed_loop of {compiled!r}", (state, *args), {})
        if call is not None:
            return call[0]
    schedule = _Schedule(compiled, state, int(n), args, int(memory))
    outputs = _Loop.apply(schedule, len(items), *items, *args)
    remaining = iter(outputs if isinstance(outputs, tuple) else (outputs,))
    results = [next(remaining) if _is_float(x) else x for x in schedule.last]
    return schedule.state(results)


class _Loop(Function):
    """The one statement that a loop leaves on the tape."""

    generate_vmap_rule = True

    @staticmethod
    def forward(ctx: Any, schedule: _Schedule, count: int, *inputs: Any) -> Any:
        """Run to the end, and keep the states that the schedule begins with."""
        values = [_primal_of(x) for x in inputs]
        values = [float(x) if isinstance(x, np.floating) else x for x in values]
        items, args = values[:count], tuple(values[count:])
        # The first step shows the types that the state comes to.
        stepped = schedule.items(schedule.loop.primal(schedule.state(items), 1, args))
        items = [
            float(x) if isinstance(x, int) and _is_float(y) else x
            for x, y in zip(items, stepped, strict=True)
        ]
        schedule.measure(items, args)
        ctx.schedule, ctx.args, ctx.kept = schedule, args, [(0, items)]
        low, free = 0, schedule.snapshots - 1
        while free > 0 and schedule.chunks - low > 1:
            middle = low + split(schedule.chunks - low, free)
            items = schedule.run(items, low, middle, args)
            ctx.kept.append((middle, items))
            low, free = middle, free - 1
        schedule.last = schedule.run(items, low, schedule.chunks, args)
        return tuple(FUNCTIONS["tensor"](x, dtype=float64) for x in schedule.last if _is_float(x))

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        """Go through the chunks, the last first."""
        schedule: _Schedule = ctx.schedule
        if is_grad_enabled():
            raise UnsupportedError(
                "checkpointed_loop has no second derivatives; call a function under tg.njit that has "
                "the loop inside, whose derivatives are recorded to any order"
            )
        adjoints = [np.array(_primal_of(ct), np.float64) for ct in cts]
        sums: list[Any] = [0.0] * len(ctx.args)
        with recording_on(_reverse_tape()), recording():
            high, used = schedule.chunks, len(ctx.kept)
            for low, items in reversed(ctx.kept):
                used -= 1
                free = schedule.snapshots - 1 - used
                adjoints = _reverse(schedule, low, high, items, free, adjoints, ctx.args, sums)
                high = low
        remaining = iter(adjoints)
        first = ctx.kept[0][1]
        gradients = [next(remaining) if _is_float(x) else None for x in first] + [
            s if _is_float(x) else None for s, x in zip(sums, ctx.args, strict=True)
        ]
        needed = ctx.needs_input_grad[2:]
        return None, None, *(
            FUNCTIONS["tensor"](np.asarray(g), dtype=float64) if wanted and g is not None else None
            for g, wanted in zip(gradients, needed, strict=True)
        )  # fmt: skip


def _reverse(
    schedule: _Schedule, low: int, high: int, items: list[Any], free: int, adjoints: list[Any], args: Any,
    sums: list[Any],
) -> list[Any]:  # fmt: skip
    """Adjoints at chunk `low` of those at `high`, from the state at `low` and `free` snapshots."""
    while high - low > 1:
        if free == 0:
            last = schedule.run(items, low, high - 1, args)
            adjoints = _reverse_chunk(schedule, high - 1, last, adjoints, args, sums)
            high -= 1
            continue
        middle = low + split(high - low, free)
        reached = schedule.run(items, low, middle, args)
        adjoints = _reverse(schedule, middle, high, reached, free - 1, adjoints, args, sums)
        high = middle
    return _reverse_chunk(schedule, low, items, adjoints, args, sums)


def _reverse_chunk(
    schedule: _Schedule,
    number: int,
    items: list[Any],
    adjoints: list[Any],
    args: Any,
    sums: list[Any],
) -> list[Any]:
    """Record a chunk and sweep it."""
    count = min((number + 1) * schedule.steps, schedule.n) - number * schedule.steps
    leaves, arg_leaves = [_leaf(x) for x in items], tuple(map(_leaf, args))
    results = schedule.items(schedule.loop(schedule.state(leaves), count, arg_leaves))
    outputs, seeds = [], []
    remaining = iter(adjoints)
    for x in results:
        if isinstance(x, Tensor) and x.dtype is float64:
            seed = next(remaining)
            if x.requires_grad:
                outputs.append(x)
                seeds.append(FUNCTIONS["tensor"](seed))
    inputs = [x for x in (*leaves, *arg_leaves) if isinstance(x, Tensor)]
    cotangents = grad(outputs, inputs, seeds, allow_unused=True)
    gradients = iter(
        [
            np.zeros(x.shape) if g is None else g.numpy()
            for g, x in zip(cotangents, inputs, strict=True)
        ]
    )
    state_adjoints = [next(gradients) for x in leaves if isinstance(x, Tensor)]
    for i, x in enumerate(arg_leaves):
        if isinstance(x, Tensor):
            sums[i] = sums[i] + next(gradients)
    return state_adjoints
