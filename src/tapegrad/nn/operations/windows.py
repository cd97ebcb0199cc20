"""Windows: views of an input with dimensions for the positions of a kernel, and for its elements.

Convolutions multiply them (convolution.py), pooling reduces them (pooling.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...tensors.operators import top_level

__all__ = ["as_tuple", "check_input", "output_length", "padded", "windows"]


def as_tuple(name: str, argument: str, value: Any, count: int) -> tuple[int, ...]:
    """Return a number for each dimension, from one for all or a sequence.

    Raises
    ------
    RuntimeError, TypeError
        For a sequence of another length, or of what is no int.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = tuple(value)
        if len(numbers) == 1:
            numbers *= count
        if len(numbers) != count:
            raise RuntimeError(
                f"{name}: {argument} should be one int, or a tuple of {count} ints, but got {list(value)}"
            )
    else:
        numbers = (value,) * count
    if any(isinstance(n, bool) or not hasattr(n, "__index__") for n in numbers):
        raise TypeError(f"{name}(): argument '{argument}' must be tuple of ints, not {value!r}")
    return tuple([int(n) for n in numbers])


def check_input(name: str, input: Any, dims: int, words: str) -> tuple[Any, bool]:
    """Return an input with a batch dimension, and if it had none.

    Raises
    ------
    RuntimeError
        For another number of dimensions.
    """
    if input.ndim == dims + 1:
        return input.unsqueeze(0), True
    if input.ndim != dims + 2:
        raise RuntimeError(words.format(name=name, shape=list(input.shape), ndim=input.ndim))
    return input, False


def output_length(
    length: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool = False
) -> int:
    """Return the number of positions of a kernel; with `ceil` one may begin inside and end outside."""
    room = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil else room // stride) + 1
    if (
        ceil and (count - 1) * stride >= length + padding
    ):  # it would begin in the padding at the end
        count -= 1
    return count


def padded(
    input: Any, amounts: Sequence[tuple[int, int]], value: float, mode: str = "constant"
) -> Any:
    """Return an input with its last dimensions padded, by (before, after) each."""
    if not any(before or after for before, after in amounts):
        return input
    flat = [n for pair in reversed(amounts) for n in pair]
    if mode == "constant":
        return top_level("pad")(input, flat, "constant", value)
    return top_level("pad")(input, flat, mode)


def windows(
    input: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Any:
    """Return a view of shape (batch, channels, positions..., kernel...)."""
    for i, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        input = input.unfold(2 + i, gap * (size - 1) + 1, step)
        if gap > 1:
            input = input[..., ::gap]
    return input


def volume(sizes: Sequence[int]) -> int:
    """Return the product of lengths."""
    return math.prod(sizes)
