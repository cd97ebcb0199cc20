"""Central differences of a user's function: what `gradcheck` compares derivatives with.

The function gets the tensors that the user gave, whose memory is changed for each difference and put
back: so it may also have captured them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tape.recording import is_tensor
from ..tape.user_code import call_user

__all__ = ["along", "as_tuple", "columns"]


def as_tuple(values: Any) -> tuple[Any, ...]:
    """A function's arguments or results as a tuple."""
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def along(
    func: Callable[..., Any], inputs: Sequence[Any], index: int, direction: np.ndarray, eps: float,
    where: tuple[int, ...] | None = None,
) -> list[np.ndarray | None]:  # fmt: skip
    """Derivatives of the outputs as input `index` moves along `direction`.

    Parameters
    ----------
    func : callable
    inputs : sequence
    index : int
    direction : numpy.ndarray
        Of the input's shape, or of the shape of the element `where`.
    eps : float
        The input moves by this times `direction`, both ways.
    where : tuple of int, optional
        The element that moves; all of them if None.

    Returns
    -------
    list of (numpy.ndarray or None)
        Flat, one an output; None for what is not a floating tensor.

    Raises
    ------
    AssertionError
        If shapes or dtypes change with the input; PyTorch's texts.
    """
    x = inputs[index]
    with _moved(x, -eps * direction, where):
        before = _values(func, inputs)
    with _moved(x, eps * direction, where):
        after = _values(func, inputs)
    found: list[np.ndarray | None] = []
    for a, b in zip(before, after, strict=True):
        if a is None or b is None:
            found.append(None)
            continue
        at = "" if where is None else f"on index {where} "
        for what in ("shape", "dtype"):
            if getattr(a, what) != getattr(b, what):
                raise AssertionError(
                    f"Expected `func` to return outputs with the same {what} when inputs are perturbed "
                    f"{at}by {eps}, but got: {what}s {getattr(a, what)} and {getattr(b, what)}."
                )
        with np.errstate(all="ignore"):
            found.append(((b.array - a.array) / (2 * eps)).ravel())
    return found


def columns(
    func: Callable[..., Any], inputs: Sequence[Any], index: int, eps: float
) -> list[np.ndarray | None]:
    """Transposed Jacobians, (elements of the input, elements of the output), one an output."""
    x = inputs[index]
    one = np.ones((), x.dtype.np)
    found = [along(func, inputs, index, one, eps, where) for where in np.ndindex(*x.shape)]
    if not found:
        outputs = _values(func, inputs)
        return [None if y is None else np.zeros((0, y.array.size)) for y in outputs]
    return [
        None if parts[0] is None else np.stack([p for p in parts if p is not None])
        for parts in zip(*found, strict=True)
    ]


class _Value:
    """An output as it is now."""

    def __init__(self, y: Any) -> None:
        self.shape, self.dtype, self.array = y.shape, y.dtype, y._array()


def _values(func: Callable[..., Any], inputs: Sequence[Any]) -> list[_Value | None]:
    return [
        _Value(y) if is_tensor(y) and y.dtype.is_floating_point else None
        for y in as_tuple(call_user(func, *inputs))
    ]


@contextmanager
def _moved(x: Any, step: np.ndarray, where: tuple[int, ...] | None) -> Iterator[None]:
    """Let a tensor's memory be another for a while, behind the back of its version."""
    alias = x.data
    part: Any = ... if where is None else where
    old = alias[part].clone()
    try:
        alias[part] = old + x.new_tensor(step)
        yield
    finally:
        alias[part] = old
