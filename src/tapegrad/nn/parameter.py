"""`Parameter` and `Buffer`: tensors that a module takes into its state when they are assigned to it.

Both are subclasses of Tensor without methods that native code calls, so operations on them are recorded as
those of any Tensor, and return Tensors.
"""

from __future__ import annotations

from typing import Any

from ..tape import recording as record
from ..tape.leaf_storage import Storage, layout_of, own_leaf, storage_of
from ..tape.tape import slot_of, tape_at
from ..tensors.tensor import Tensor

__all__ = ["Buffer", "Parameter"]


def _taken_over(cls: type[Tensor], tensor: Tensor) -> Any:
    """Return an instance of a subclass in the place of a leaf that nobody else has."""
    instance: Any = object.__new__(cls)
    tape = tape_at(tensor._state)
    record.bind_to(instance, tape, slot_of(tape, tensor), layout_of(tensor))
    storage: Storage | None = storage_of(tensor)
    if storage is not None and storage.owner is not None:
        own_leaf(instance, storage)
    else:
        instance._meta = storage
    return instance


def _as_tensor(cls: type[Tensor], data: Any) -> Any:
    """Return the data of a new parameter or buffer; an empty tensor for None."""
    if data is None:
        return Tensor()
    if not isinstance(data, Tensor):
        raise TypeError(
            f"{cls.__name__}: data has to be a Tensor, but got {type(data).__name__}; tensor(data) makes one"
        )
    return data


class Parameter(Tensor):
    """A tensor that belongs to a module's parameters where it is assigned to one.

    Parameters
    ----------
    data : Tensor
        Its memory is shared, as that of ``data.detach()``.
    requires_grad : bool

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad import nn
    >>> nn.Parameter(tg.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        """Make a leaf over the memory of `data`."""
        leaf = _as_tensor(cls, data).detach()
        parameter: Parameter = _taken_over(cls, leaf.requires_grad_(requires_grad))
        return parameter

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that belongs to a module's buffers where it is assigned to one.

    Parameters
    ----------
    data : Tensor
        Its memory is shared.
    persistent : bool
        Whether it is in the module's `state_dict`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad import nn
    >>> module = nn.Module()
    >>> module.mean = nn.Buffer(tg.zeros(2))
    >>> list(module.state_dict())
    ['mean']
    """

    __slots__ = ()
    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        """Make a tensor over the memory of `data`."""
        source = _as_tensor(cls, data)
        leaf = source.detach()
        buffer: Buffer = _taken_over(cls, leaf.requires_grad_(source.requires_grad))
        buffer.persistent = persistent
        return buffer
