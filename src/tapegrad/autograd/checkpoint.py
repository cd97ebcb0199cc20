"""Checkpoints: a function whose values are not kept, but computed again when backward needs them.

`checkpoint` runs the function on copies, searches the statements recorded for active leaves that it
captured, and drops them all but one (`CheckpointFunction`), whose operands are the active arguments and
those leaves. Its ``backward`` runs the function again and differentiates that. Where the
backward pass is recorded itself, that computation of gradients is checkpointed in its turn, so there are
derivatives of any order.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from ..base.errors import UnsupportedError
from ..engine.saved_tensors import suspended
from ..functions.creation.generator import default_generator
from ..native import abi as nt
from ..native.exchange import Change, Exchange, Exchanged
from ..ops.instruction import INSTRUCTIONS
from ..tape import collector
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import storage_of
from ..tape.readout import Differentiated, depends_on_inputs
from ..tape.tape import Tape, slot_of
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from .function import Function
from .grad_mode import is_grad_enabled, no_grad, recording
from .jacobian_products import forget_leaves, private_leaf, pull, zeros_for_none

__all__ = ["NOT_PASSED", "CheckpointError", "checkpoint", "noop_context_fn"]

#: the function to be run again: flat tensors in, flat tensors out
TensorFunction: TypeAlias = "Callable[[Sequence[Tensor]], list[Tensor]]"


class CheckpointError(RuntimeError):
    """A checkpointed function did something else when it ran again.

    Examples
    --------
    >>> import tapegrad as tg
    >>> issubclass(tg.utils.checkpoint.CheckpointError, RuntimeError)
    True
    """


def noop_context_fn() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return two context managers that do nothing.

    Examples
    --------
    >>> import tapegrad as tg
    >>> first, again = tg.utils.checkpoint.noop_context_fn()
    >>> with first:
    ...     print("nothing happens")
    nothing happens
    """
    return nullcontext(), nullcontext()


NOT_PASSED = (
    "torch.utils.checkpoint{}: the use_reentrant parameter should be passed explicitly. {} without "
    "use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
    "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more "
    "details on the differences between the two variants."
)
_INCOMPATIBLE = (
    "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an "
    "`inputs` parameter to .backward(). To resolve this error, you can either set "
    "use_reentrant=False, or call .backward() without passing the `inputs` argument."
)


class _Within(threading.local):
    """The passes of a thread that checkpoints run for passes around them."""

    depth = 0


_within = _Within()


def _pass_within(tape: Tape) -> Exchange:
    """Return a context manager: the next pass counts as a part of the one around it."""
    depth = tape.passes + 1 if _is_whole_pass(tape) else 0
    return Exchanged((vars(_within), "depth", _within.depth, depth))


def _is_whole_pass(tape: Tape) -> bool:
    """Return True if the pass under way is, in the end, for all leaves."""
    request = tape.requests[-1]() if tape.requests else None
    return request is None or request.leaves or tape.passes == _within.depth


@contextmanager
def _without_hooks(leaves: Sequence[Any]) -> Iterator[None]:
    """Take leaves' hooks away: they are called with the whole gradient, by the pass around."""
    storages = [s for s in map(storage_of, leaves) if s is not None]
    hooks = [s.hooks for s in storages]
    try:
        for s in storages:
            s.hooks = None
        yield
    finally:
        for s, leaf_hooks in zip(storages, hooks, strict=True):
            s.hooks = leaf_hooks


def _check_reentrant(kwargs: dict[str, Any], contexts: bool) -> None:
    """Raise for arguments that PyTorch's reentrant checkpoints do not take.

    Raises
    ------
    ValueError
        PyTorch's.
    """
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if contexts:
        raise ValueError(
            "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
        )


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn, determinism_check: str = "default",
    debug: bool = False, early_stop: bool = True, preserve_rng_state: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """Run a function without keeping what its backward needs; backward runs it again.

    Parameters
    ----------
    function : callable
        Runs once now and once in each backward pass. Active tensors come to it as arguments, or are
        leaves that it captures (parameters).
    *args, **kwargs
        Its arguments: nested containers of tensors and anything else.
    use_reentrant : bool, optional
        PyTorch has two implementations; here is one, which does as its ``use_reentrant=False``.
        With True, features that PyTorch's other one lacks raise: `autograd.grad`, ``backward(inputs=)``,
        keyword arguments, `context_fn`; and without an argument that requires grad, the results require
        none. Not giving it warns, and means True, as in PyTorch.
    context_fn : callable
        Returns two context managers: for the first run, and for the runs in backward.
    determinism_check : {"default", "none"}
        Whether the results of both runs must have the same shapes and dtypes.
    debug : bool
        Not supported.
    early_stop : bool
        Accepted: PyTorch's second run ends with the last value that backward needs, this one with the
        function.
    preserve_rng_state : bool
        Whether random functions give the second run the numbers of the first.

    Returns
    -------
    object
        The result of `function`.

    Raises
    ------
    UnsupportedError
        If the function captures a tensor that requires grad and is not a leaf; pass it as an argument.
    ValueError
        For arguments that do not go with ``use_reentrant=True``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.autograd.checkpoint import checkpoint
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda a: (a.exp() * a).sum(), x, use_reentrant=False).backward()
    >>> x.grad
    tensor([ 5.4366, 22.1672])
    """
    if use_reentrant is None:
        warnings.warn(
            NOT_PASSED.format("", "Starting in PyTorch 2.9, calling checkpoint"), stacklevel=2
        )
        use_reentrant = True
    if use_reentrant:
        _check_reentrant(kwargs, debug or context_fn is not noop_context_fn)
    if debug:
        raise UnsupportedError(
            "checkpoint(debug=True) is not supported; print(tapegrad.current_tape()) in the function"
        )
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check should be one of ['default', 'none'], but got '{determinism_check}'"
        )
    first, again = context_fn()
    if not is_grad_enabled():
        with first:
            return call_user(function, *args, **kwargs)
    arguments, spec = trees.flatten((args, kwargs))
    active = {i: x for i, x in enumerate(arguments) if record.is_tensor(x) and record.is_active(x)}
    if use_reentrant and not active:
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2
        )
        with no_grad():
            return call_user(function, *args)
    constants = [None if i in active else x for i, x in enumerate(arguments)]
    state = default_generator.numpy.bit_generator.state
    result: Any = None
    runs = 0

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        nonlocal result, runs
        rest = iter(tensors)
        call_leaves = [next(rest) if i in active else x for i, x in enumerate(constants)]
        call_args, call_kwargs = trees.unflatten(spec, call_leaves)
        runs += 1
        with (
            first if runs == 1 else again,
            _random_from(state if preserve_rng_state and runs > 1 else None),
        ):
            returned = call_user(function, *call_args, **call_kwargs)
        if runs == 1:
            result = returned
        return [y for y in trees.leaves(returned) if record.is_tensor(y)]

    positions = list(active)
    outputs = iter(
        _checkpointed(run, list(active.values()), determinism_check == "default", use_reentrant)
    )
    active = dict.fromkeys(positions)  # the statement keeps the arguments, this function must not
    returned, result = result, None
    tape = current_tape()
    if tape.is_full:
        tape.collect()
    return trees.tree_map(lambda y: next(outputs) if record.is_tensor(y) else y, returned)


@contextmanager
def _random_from(state: Any) -> Iterator[None]:
    """Let random functions begin at a state (unless it is None), and put theirs back."""
    bits = default_generator.numpy.bit_generator
    before = bits.state
    if state is not None:
        bits.state = state
    try:
        yield
    finally:
        if state is not None:
            bits.state = before


def _checkpointed(
    run: TensorFunction, tensors: Sequence[Any], check: bool, reentrant: bool = False
) -> list[Tensor]:
    """Run on copies of `tensors`, and keep one statement of it."""
    tape = current_tape()
    with _leaf_copies(tensors) as copies:
        marker = record.scalar_tensor(0.0)  # of the slot where the run begins
        with suspended():  # statements recorded now are dropped, and save nothing
            outputs = run(copies)
        captured = _captured_leaves(tape, slot_of(tape, marker), {slot_of(tape, t) for t in copies})
    active = [j for j, y in enumerate(outputs) if record.is_active(y)]
    results = [y.detach() for y in outputs]
    if not active:
        return results
    shapes = [(y.shape, y.dtype) for y in outputs] if check else None
    recorded = CheckpointFunction.apply(
        _Rerun(run, len(tensors), active, shapes, reentrant),
        [results[j] for j in active],
        *tensors,
        *captured,
    )
    for j, y in zip(active, recorded, strict=True):
        results[j] = y
    return results


class _leaf_copies(Exchange):
    """Context manager: leaves of one's own with the values of tensors, while grad mode is on."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        super().__init__()
        self._tensors, self._differentiated = tensors, Differentiated()
        self._leaves: list[Tensor] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes of both, and the leaves, which stand for what they are copies of."""
        with recording():
            self._leaves = copies = [private_leaf(t._array(), t) for t in self._tensors]
            for t, leaf in zip(self._tensors, copies, strict=True):
                if depends_on_inputs((t,)):
                    self._differentiated.tensors.append(leaf)
        self._tensors = ()
        return (*recording().changes()[0], *self._differentiated.changes()[0]), copies

    def ending(self) -> None:
        """Let the leaves go."""
        leaves, self._leaves = self._leaves, []
        forget_leaves(leaves)


class _Rerun:
    """A checkpointed function with its notes of the first run, to be run again."""

    def __init__(
        self, run: TensorFunction, count: int, active: list[int], shapes: list[tuple[Any, Any]] | None,
        reentrant: bool,
    ) -> None:  # fmt: skip
        self.run, self.count, self.active, self.shapes = run, count, active, shapes
        self.reentrant = reentrant

    def outputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs that can be differentiated, computed again."""
        values = self.run(tensors)
        if self.shapes is not None and [(y.shape, y.dtype) for y in values] != self.shapes:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different "
                f"metadata than during the forward pass.\nfirst: {self.shapes}\n"
                f"again: {[(y.shape, y.dtype) for y in values]}."
            )
        return [values[j] for j in self.active]


class CheckpointFunction(Function):
    """The one statement that is kept of a checkpointed function."""

    generate_vmap_rule = True

    @staticmethod
    def forward(ctx: Any, again: _Rerun, values: list[Tensor], *tensors: Any) -> Any:
        """Hand out the values; keep the operands."""
        ctx.again = again
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(values)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        """Run again, and differentiate."""
        again: _Rerun = ctx.again
        if again.reentrant and not _is_whole_pass(current_tape()):
            raise RuntimeError(_INCOMPATIBLE)
        operands = ctx.saved_tensors
        args, captured = operands[: again.count], operands[again.count :]
        seeded = [j for j, ct in enumerate(cts) if ct is not None]
        recorded = is_grad_enabled()

        def gradients(tensors: Sequence[Tensor]) -> list[Tensor]:
            primals, seeds = tensors[: again.count], tensors[again.count :]
            outputs = again.outputs(primals)
            wanted: list[Any] = [*primals, *captured]
            with _pass_within(current_tape()), _without_hooks(captured):
                grads = pull([outputs[j] for j in seeded], wanted, seeds, create_graph=recorded)
            return zeros_for_none(grads, wanted)

        tape = current_tape()
        limit = tape.state[nt.S_COLLECT_AT]
        primals_and_seeds = [*args, *(cts[j] for j in seeded)]
        if recorded:
            return None, None, *_checkpointed(gradients, primals_and_seeds, check=True)
        with _leaf_copies(primals_and_seeds) as copies:
            results = gradients(copies)
        del copies
        if tape.state[nt.S_OWNED_BYTES] > limit:
            # Free the values computed again; the pass goes on, and one around it may be a replay.
            if tape.passes == 1:
                collector.trim(tape)
            else:
                tape.collect()
        tape.state[nt.S_COLLECT_AT] = limit
        return None, None, *results


def _captured_leaves(tape: Tape, marker: int, excluded: set[int]) -> list[Tensor]:
    """The active leaves that statements behind `marker` have as operands, without those `excluded`.

    Raises
    ------
    UnsupportedError
        If another active slot from before is among the operands.
    """
    with tape.lock:
        first, count = marker + 1, tape.count
        if first >= count:
            return []
        starts = tape.arg_start[first : count + 1].astype(np.int64)
        numbers, which = np.unique(tape.instruction[first:count], return_inverse=True)
        widths = np.array([len(INSTRUCTIONS[k].layouts) for k in numbers])[which]
        positions = np.arange(starts[0], starts[-1])
        # A view has its offset behind its operand, which is no slot.
        within = positions - np.repeat(starts[:-1], np.diff(starts))
        operands = tape.arg[positions[within < np.repeat(widths, np.diff(starts))]]
        slots = np.unique(operands)
        slots = slots[(tape.flags[tape.root[slots]] & nt.ACTIVE) != 0]
        leaf_slots = []
        for slot in slots.tolist():
            instruction = tape.instruction_of(slot)
            if instruction.op.kind == nt.LEAF:
                if slot not in excluded and slot in tape.leaves:
                    leaf_slots.append(slot)
            elif slot < first:
                raise UnsupportedError(
                    "a checkpointed function captures a tensor that requires grad and is not a leaf "
                    f"(a result of {instruction.op.name}, of shape {list(instruction.out.shape)}); "
                    "pass it as an argument"
                )
    return [record.tensor_at(tape, slot) for slot in leaf_slots]
