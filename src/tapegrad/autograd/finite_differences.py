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

__all__ = ["as_tuple", "numerical_columns", "numerical_product"]


def as_tuple(values: Any) -> tuple[Any, ...]:
    """A function's arguments or results as a tuple."""
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def numerical_product(
    func: Callable[..., Any], inputs: Sequence[Any], index: int, direction: np.ndarray, eps: float,
    element: tuple[int, ...] | None = None,
) -> list[np.ndarray | None]:  # fmt: skip
    """Derivatives of the outputs as input `index` moves along `direction`.

    Parameters
    ----------
    func : callable
    inputs : sequence
    index : int
    direction : numpy.ndarray
        Of the input's shape, or of the shape of the `element`.
    eps : float
        The input moves by this times `direction`, both ways.
    element : tuple of int, optional
        Index of the element that moves; all of them if None.

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
    with _moved(x, -eps * direction, element):
        before = _outputs_now(func, inputs)
    with _moved(x, eps * direction, element):
        after = _outputs_now(func, inputs)
    derivatives: list[np.ndarray | None] = []
    for a, b in zip(before, after, strict=True):
        if a is None or b is None:
            derivatives.append(None)
            continue
        place = "" if element is None else f"on index {element} "
        for attribute in ("shape", "dtype"):
            first, second = getattr(a, attribute), getattr(b, attribute)
            if first != second:
                raise AssertionError(
                    f"Expected `func` to return outputs with the same {attribute} when inputs are "
                    f"perturbed {place}by {eps}, but got: {attribute}s {first} and {second}."
                )
        with np.errstate(all="ignore"):
            derivatives.append(((b.array - a.array) / (2 * eps)).ravel())
    return derivatives


def numerical_columns(
    func: Callable[..., Any], inputs: Sequence[Any], index: int, eps: float
) -> list[np.ndarray | None]:
    """Transposed Jacobians, (elements of the input, elements of the output), one an output."""
    x = inputs[index]
    one = np.ones((), x.dtype.np)
    derivatives = [
        numerical_product(func, inputs, index, one, eps, element)
        for element in np.ndindex(*x.shape)
    ]
    if not derivatives:
        outputs = _outputs_now(func, inputs)
        return [None if y is None else np.zeros((0, y.array.size)) for y in outputs]
    return [
        None if parts[0] is None else np.stack([p for p in parts if p is not None])
        for parts in zip(*derivatives, strict=True)
    ]


class _Value:
    """An output as it is now."""

    def __init__(self, y: Any) -> None:
        self.shape, self.dtype, self.array = y.shape, y.dtype, y._array()


def _outputs_now(func: Callable[..., Any], inputs: Sequence[Any]) -> list[_Value | None]:
    return [
        _Value(y) if is_tensor(y) and y.dtype.is_floating_point else None
        for y in as_tuple(call_user(func, *inputs))
    ]


@contextmanager
def _moved(x: Any, step: np.ndarray, element: tuple[int, ...] | None) -> Iterator[None]:
    """Let a tensor's memory be another for a while, behind the back of its version."""
    alias = x.data
    part: Any = ... if element is None else element
    old = alias[part].clone()
    try:
        alias[part] = old + x.new_tensor(step)
        yield
    finally:
        alias[part] = old
