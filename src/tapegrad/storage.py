"""What a leaf owns beside its slot: its memory and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .hooks import Hooks
from .layouts import LAYOUTS, Layout

if TYPE_CHECKING:
    from .tensor_type import Tensor

__all__ = ["Storage", "layout_of", "storage_of"]


class Storage:
    """What a leaf (or a tensor whose gradient is retained) owns beside its slot.

    Attributes
    ----------
    array : numpy.ndarray or None
        A leaf's memory.
    grad : Tensor or None
    hooks : Hooks or None
        Of a leaf.
    leaf : bool
        Whether this belongs to a leaf (otherwise to a tensor with `retain_grad`).
    requires_grad : bool
        Set where a leaf began to require grad after it was made: whether it does now.
    of_view : bool
        Set, to True, where that leaf was a view.
    mirrored : object
        Set where a leaf's elements would share memory: that memory (mirrors.py).
    moment : Tensor or None
        Of a node's tensor: the last write before the node was asked for, or the tensor itself.
    source : object
        Keeps alive what the array's memory belongs to.
    """

    __slots__ = (
        "__weakref__", "array", "grad", "hooks", "leaf", "mirrored", "moment", "of_view",
        "requires_grad", "source",
    )  # fmt: skip
    mirrored: Any
    of_view: bool
    requires_grad: bool

    def __init__(self, array: np.ndarray | None, *, leaf: bool, source: Any = None) -> None:
        self.array = array
        self.grad: Tensor | None = None
        self.hooks: Hooks | None = None
        self.leaf = leaf
        self.moment: Tensor | None = None
        self.source = source


def storage_of(tensor: Tensor) -> Storage | None:
    """The storage of a leaf or of a tensor that retains its gradient."""
    try:
        return tensor._meta
    except AttributeError:  # native recording leaves it unset
        return None


def layout_of(tensor: Tensor) -> Layout:
    """How a tensor lies in memory."""
    return LAYOUTS[tensor._layout_id]
