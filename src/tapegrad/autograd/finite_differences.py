"""Central differences of a user's function: what `gradcheck` compares derivatives with.

The function gets the tensors that the user gave, whose memory is changed for each difference and put
back: so it may also have captured them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..functions.maths.complex_numbers import view_as_complex, view_as_real
from ..tape.recording import is_tensor
from ..tape.user_code import call_user

__all__ = ["as_tuple", "numerical_columns", "numerical_product"]


def as_tuple(values: Any) -> tuple[Any, ...]:
    """A function's arguments or results as a tuple."""
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def of_parts(
    func: Callable[..., Any], inputs: tuple[Any, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function, and its arguments, with real and imaginary parts in the place of complex tensors.

    Derivatives of complex functions are linear in these, be the functions holomorphic or not.
    """
    complex_ = [is_tensor(x) and x.dtype.is_complex for x in inputs]

    def parts_of(x: Any) -> Any:
        parts = view_as_real(x.detach()).clone()
        return parts.requires_grad_() if x.requires_grad else parts

    def call(*args: Any) -> tuple[Any, ...]:
        wholes = [view_as_complex(x) if c else x for x, c in zip(args, complex_, strict=True)]
        outputs = as_tuple(func(*wholes))
        return tuple(
            [view_as_real(y) if is_tensor(y) and y.dtype.is_complex else y for y in outputs]
        )

    return call, tuple([parts_of(x) if c else x for x, c in zip(inputs, complex_, strict=True)])


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
        Flat, one an output; None for an output that is no floating tensor.

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
        _Value(y) if is_tensor(y) and y.dtype.is_inexact else None
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
