"""`Size`, the tuple that a tensor's shape is."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

from .symbolic import SizeLost

__all__ = ["Size"]


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple of ints that prints as PyTorch's.

    Slices, sums and multiples of a Size are Sizes; it equals the plain tuple.

    Parameters
    ----------
    sizes : iterable of int, optional
        Lengths of the dimensions. NumPy integers become Python's.

    Examples
    --------
    >>> Size([4, 3])
    torch.Size([4, 3])
    >>> Size([4, 3])[1:]
    torch.Size([3])
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = ()) -> Size:
        """Check and convert the sizes."""
        sizes = tuple(sizes)
        try:
            return tuple.__new__(cls, map(operator.index, sizes))
        except SizeLost:
            if isinstance(sizes, tuple | list):
                return tuple.__new__(cls, sizes)
            raise
        except TypeError:
            for i, size in enumerate(sizes):
                if not hasattr(type(size), "__index__"):
                    raise TypeError(
                        f"torch.Size() takes an iterable of 'int' "
                        f"(item {i} is '{type(size).__name__}')"
                    ) from None
            raise

    def numel(self) -> int:
        """Return the number of elements of a tensor of this shape."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    # `tuple.__new__` skips the check where the parts come from a Size.

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> Size: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> int | Size:
        item = tuple.__getitem__(self, key)
        return tuple.__new__(Size, item) if isinstance(item, tuple) else item

    def __add__(self, other: tuple[Any, ...], /) -> Size:
        if not isinstance(other, tuple):
            if hasattr(other, "__radd__"):
                return NotImplemented
            raise TypeError(
                f"can only concatenate tuple (not {type(other).__name__}) to torch.Size"
            )
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: tuple[Any, ...], /) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(tuple.__add__(other, self))

    def __mul__(self, times: SupportsIndex, /) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, times))

    __rmul__ = __mul__
