"""Storage of leaves: the memory and the gradient that a leaf has beside its slot."""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.layout import LAYOUTS, Layout
from .hooks import Hooks

__all__ = [
    "Storage", "layout_of", "leaf_of", "own_leaf", "storage_of", "summed", "with_earlier",
]  # fmt: skip


class Storage:
    """Memory, gradient and hooks of a leaf (or of a tensor whose gradient is retained).

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
    owner : weakref.ref or None
        To the tensor of a leaf that requires grad, which the user has.
    node : weakref.ref or None
        To the node of a leaf.
    earlier : list of Tensor
        Set where a leaf in a graph was given other data: its tensors there.
    source : object
        Owner of the array's memory, which stays alive with it.
    """

    __slots__ = (
        "__weakref__", "array", "earlier", "grad", "hooks", "leaf", "mirrored", "moment", "node", "of_view",
        "owner", "requires_grad", "source",
    )  # fmt: skip
    earlier: list[TensorHandle]
    mirrored: Any
    of_view: bool
    requires_grad: bool

    def __init__(self, array: np.ndarray | None, *, leaf: bool, source: Any = None) -> None:
        self.array = array
        self.grad: AnyTensor = None
        self.hooks: Hooks | None = None
        self.leaf = leaf
        self.moment: TensorHandle | None = None
        self.node: weakref.ref[Any] | None = None
        self.owner: weakref.ref[TensorHandle] | None = None
        self.source = source


def own_leaf(tensor: TensorHandle, storage: Storage) -> None:
    """Give a leaf's storage to the tensor that stands for it wherever the graph shows it."""
    tensor._meta = storage
    storage.owner = weakref.ref(tensor)


def leaf_of(storage: Storage) -> AnyTensor | None:
    """The tensor that a leaf's storage belongs to, if it is there."""
    tensor = None if storage.owner is None else storage.owner()
    return tensor if tensor is not None and storage_of(tensor) is storage else None


def storage_of(tensor: TensorHandle) -> Storage | None:
    """The storage of a leaf or of a tensor that retains its gradient."""
    try:
        return tensor._meta
    except AttributeError:  # native recording leaves it unset
        return None


def with_earlier(leaves: Sequence[TensorHandle]) -> tuple[list[AnyTensor], list[int]]:
    """Leaves, each with its tensors in graphs before it was given other data; and their numbers."""
    groups = [[x, *getattr(storage_of(x), "earlier", ())] for x in leaves]
    return [x for group in groups for x in group], [len(group) for group in groups]


def summed(
    gradients: Sequence[TensorHandle | None], counts: Sequence[int]
) -> list[AnyTensor | None]:
    """The sum of the gradients of each group of `with_earlier`."""
    parts, sums = iter(gradients), []
    for count in counts:
        present: list[Any] = [g for g in islice(parts, count) if g is not None]
        sums.append(functools.reduce(operator.add, present) if present else None)
    return sums


def layout_of(tensor: TensorHandle) -> Layout:
    """Return the layout of a tensor in memory.

    Raises
    ------
    TypeError
        For an object that is no Tensor, as methods get it that are called through the class.
    """
    try:
        return LAYOUTS[tensor._layout_id]
    except AttributeError:
        raise TypeError(f"expected a Tensor, but got {type(tensor).__name__}") from None
