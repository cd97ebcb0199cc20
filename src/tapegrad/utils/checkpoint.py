"""PyTorch's ``torch.utils.checkpoint``, built on `tapegrad.autograd.checkpoint`."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from ..autograd.checkpoint import NOT_PASSED, CheckpointError, checkpoint, noop_context_fn
from ..base.errors import UnsupportedError

__all__ = [
    "CheckpointError", "CheckpointPolicy", "checkpoint", "checkpoint_sequential",
    "create_selective_checkpoint_contexts", "noop_context_fn", "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]  # fmt: skip


def checkpoint_sequential(
    functions: Sequence[Callable[[Any], Any]], segments: int, input: Any,
    use_reentrant: bool | None = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """Run functions one after the other, and keep values only between segments of them.

    Parameters
    ----------
    functions : sequence of callable
        Each takes the result of the one before.
    segments : int
        Number of segments. The last one is not checkpointed.
    input : object
        Argument of the first function.
    use_reentrant : bool, optional
        As of `checkpoint`.
    **kwargs
        ``preserve_rng_state``, as of `checkpoint`.

    Returns
    -------
    object
        Result of the last function.

    Raises
    ------
    ValueError
        For other keywords.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> y = checkpoint_sequential([tg.sin, tg.exp, tg.sum], 2, x, use_reentrant=False)
    >>> y.backward()
    >>> x.grad
    tensor([ 1.2534, -1.0331])
    """
    if use_reentrant is None:
        text = NOT_PASSED.format(".checkpoint_sequential", "In version 2.9 a call")
        warnings.warn(text, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions)
    size = len(steps) // segments

    def segment(start: int, stop: int) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for step in steps[start:stop]:
                value = step(value)
            return value

        return run

    last = size * (segments - 1)
    for start in range(0, last, size) if size else ():
        input = checkpoint(
            segment(start, start + size), input, use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )  # fmt: skip
    return segment(last, len(steps))(input)


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Accept PyTorch's switch: here a function always runs to its end in backward.

    PyTorch can stop it when all that backward needs has been computed. Gradients are the same.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.utils.checkpoint.set_checkpoint_early_stop(False):
    ...     y = tg.utils.checkpoint.checkpoint(tg.exp, a, use_reentrant=False)
    >>> y
    tensor([2.7183, 7.3891], grad_fn=<CheckpointFunctionBackward>)
    """
    yield


@contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Accept PyTorch's switch; switching it on is not supported.

    Raises
    ------
    UnsupportedError
        If `enabled` is True.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.utils.checkpoint.set_checkpoint_debug_enabled(False):
    ...     y = tg.utils.checkpoint.checkpoint(tg.exp, a, use_reentrant=False)
    >>> y.requires_grad
    True
    """
    if enabled:
        raise UnsupportedError(
            "set_checkpoint_debug_enabled(True) is not supported; print(tapegrad.current_tape()) in the "
            "checkpointed function"
        )
    yield


class CheckpointPolicy(enum.Enum):
    """PyTorch's answers of a policy for selective checkpoints.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.utils.checkpoint.CheckpointPolicy.MUST_SAVE.name
    'MUST_SAVE'
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> NoReturn:
    """Raise: the operations to save cannot be chosen one by one.

    Raises
    ------
    UnsupportedError
        Always; it says what to do instead.
    TypeError
        PyTorch's, for anything that is no policy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> kept = a.exp()  # not in a checkpoint: saved
    >>> tg.utils.checkpoint.checkpoint(tg.sin, kept, use_reentrant=False)
    tensor([0.4108, 0.8939], grad_fn=<CheckpointFunctionBackward>)
    """
    if not callable(policy_fn_or_list) and not isinstance(policy_fn_or_list, list):
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    raise UnsupportedError(
        "create_selective_checkpoint_contexts is not supported: a checkpoint computes all of its "
        "function again. Checkpoint the parts before and behind what is to be saved, each by itself"
    )
