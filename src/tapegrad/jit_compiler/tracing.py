"""A function's run on its arguments, as a closed tape: `tapegrad.trace`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.dtypes import from_numpy_dtype
from ..base.errors import TapeError
from ..functions.registry import FUNCTIONS
from ..ops.table import TABLE, is_inexact
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.user_code import call_user
from ..transforms.closed_tape import ClosedTape
from ..transforms.closing import ClosedTrace, recording

__all__ = ["as_input", "as_results", "trace"]

_matrix_trace = FUNCTIONS["trace"]


def trace(input: Any, **options: Any) -> Any:
    """Return a function that records another one on its arguments; of a matrix, the sum of its diagonal.

    Parameters
    ----------
    input : callable or Tensor
        A function that takes tensors, arrays and numbers, nested as it likes, and returns such. Or a
        matrix, for which it is PyTorch's function.
    lines : bool
        By keyword: whether the tape knows, and prints, the source line that recorded each statement.

    Returns
    -------
    callable or Tensor
        A function that takes the arguments of `input`, each of which becomes an input, and returns a closed
        tape (`ClosedTape`). Nothing is computed.

    Raises
    ------
    TapeError
        If the function reads a value, writes into its surroundings, or does something else that a tape cannot
        record.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape = tg.trace(lambda x: (x * x).sum())(tg.ones(3))
    >>> tape
    closed tape (in0: float64[3]): 3 statements
      %0: float64[3] = alias(in0)
      %1: float64[3] = mul(%0, %0)
      %2: float64 = sum_all(%1)
      return %2
    >>> tape(tg.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    >>> tg.trace(tg.eye(3))
    tensor(3.)
    """
    if not callable(input) or record.is_tensor(input):
        return _matrix_trace(input, **options)
    return _traced(input, **options)


def _traced(func: Callable[..., Any], *, lines: bool = False) -> Callable[..., ClosedTape]:
    """Return a function that records `func` on its arguments."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> ClosedTape:
        leaves, spec = trees.flatten(args, none_is_leaf=False)
        tensors = [as_input(x) for x in leaves]
        tape = ClosedTrace(
            current_tape(), "trace", "which a tape cannot record; tapegrad.jit can, with a guard",
            notes_lines=lines,
        )  # fmt: skip
        with recording(tape):
            inputs = [
                tape.argument(
                    layout, active=is_inexact(layout), outer=record.operand(tape.outer, x)
                )
                for x in tensors
                for layout in [record.layout_of(x)]
            ]
            output = call_user(func, *trees.unflatten(spec, inputs), **kwargs)
            results, out_spec = as_results(output)
            closed = tape.close(results, spec, out_spec)
        if tape.captured:
            raise TapeError(
                f"trace: the function uses {len(tape.captured)} tensors that it was not given; make them "
                "arguments"
            )
        return closed

    return wrapper


def as_input(value: Any) -> Any:
    """Return an argument as a contiguous tensor.

    Raises
    ------
    TypeError
        If it is no tensor, array or number.
    """
    if not record.is_tensor(value):
        if not isinstance(value, np.ndarray | np.generic | float | int):
            raise TypeError(
                "trace: arguments must be made of Tensors, NumPy arrays and numbers, not "
                f"{type(value).__name__}"
            )
        if isinstance(value, float | int) and not isinstance(value, np.generic):
            return record.scalar_tensor(value)
        array = np.ascontiguousarray(value)
        value = record.leaf_tensor(array.reshape(np.shape(value)), from_numpy_dtype(array.dtype))
    if not record.layout_of(value).is_contiguous:
        value = record.apply(TABLE["clone"], (value,))
    return value


def as_results(output: Any) -> tuple[Sequence[Any], Any]:
    """Tensors of what a function returned, and its structure.

    Raises
    ------
    TypeError
        If a leaf is no tensor or number.
    """
    leaves, spec = trees.flatten(output, none_is_leaf=False)
    results = []
    for x in leaves:
        if not record.is_tensor(x):
            if not isinstance(x, float | int | np.ndarray | np.generic):
                raise TypeError(
                    f"trace: the function must return Tensors, arrays and numbers, not {type(x).__name__}"
                )
            x = as_input(x)
        results.append(x)
    return results, spec


FUNCTIONS["trace"] = trace
