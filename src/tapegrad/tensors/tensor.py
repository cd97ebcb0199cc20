"""Tensor: a thin handle of a slot.

The class is made of four parts: the C type of handle_type.py, whose number protocol records natively,
with one builtin method an elementwise row of the op table (operators.py); the functions of
`functions/` that register as methods; PyTorch's autograd (autograd_methods.py); and, here, its
attributes and the ways to read its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from ..base.dtypes import FLOATING, category, dtype, get_default_dtype
from ..base.errors import UnsupportedError
from ..base.size import Size
from ..functions import registry
from ..functions.copies import converted_class
from ..functions.creation import legacy
from ..functions.help_texts import HELP, with_example
from ..functions.indexing import inplace_methods
from ..native import abi as nt
from ..native.handle_type import status_of
from ..ops.layout import LAYOUTS
from ..scalar_tape import rows as strip_rows
from ..tape import ending, readout
from ..tape import recording as record
from ..tape.leaf_storage import Storage, layout_of
from ..tape.printer import format_tape
from ..tape.tape import Tape, slot_of, tape_at
from . import all_functions, printing
from .autograd_methods import AutogradMethods
from .base import Base
from .operators import FUNCTIONS, METHODS

__all__ = ["FUNCTIONS", "Tensor"]


def _real(number: complex, kind: str) -> float:
    """A number without its imaginary part, which has to be zero."""
    if type(number) is complex:
        if number.imag:
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        return number.real
    return number  # type: ignore[return-value]


class Tensor(Base, AutogradMethods):
    """A value on a tape, under PyTorch's interface.

    ``Tensor(data)`` makes a tensor of the default dtype from nested sequences, and ``Tensor(2, 3)``
    an uninitialised one of that shape, as PyTorch's legacy constructor does; use `tensor` instead.

    Attributes
    ----------
    shape : Size
    dtype : dtype
    requires_grad : bool
        Whether operations on it are differentiated.
    is_leaf : bool
        Whether the user made it (or it needs no gradient).
    grad : Tensor or None
        Accumulated gradient of a leaf, or of a tensor that was told to `retain_grad`.
    grad_fn : Node or None
        The statement that computed it, under PyTorch's name.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_meta")
    _meta: Storage | None

    __hash__ = object.__hash__
    # NumPy asks for the functions of numpy/protocols.py
    __array_priority__ = 1000

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse protocols of PyTorch's that nothing would call: native code records operations.

        Raises
        ------
        UnsupportedError
            For a class that has one of them.
        """
        super().__init_subclass__(**options)
        for name in ("__torch_function__", "__torch_dispatch__"):
            if hasattr(cls, name):
                raise UnsupportedError(
                    f"{cls.__name__}.{name} would not be called: tapegrad's operations do not look for it. "
                    "Override the methods and operators of the class, or wrap a Tensor in a class of its own"
                )

    def __new__(cls, *data: Any, **options: Any) -> Tensor:
        """Make a tensor of the default dtype from data or a shape."""
        tensor: Tensor = converted_class(legacy.legacy_tensor(*data, **options), cls)
        return tensor

    # ------------------------------------------------------------------ attributes
    @property
    def shape(self) -> Size:
        """Lengths of the dimensions."""
        return LAYOUTS[self._layout_id].shape

    @property
    def dtype(self) -> dtype:
        """The element type."""
        return LAYOUTS[self._layout_id].dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return LAYOUTS[self._layout_id].ndim

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter([self[i] for i in range(self.shape[0])])

    def __reversed__(self) -> Tensor:
        """Flip the first dimension."""
        return self.flip(0) if self.shape else self

    # ------------------------------------------------------------------ values
    def _array(self) -> np.ndarray:
        """A copy of the value."""
        tape = tape_at(self._state)
        with tape.lock:  # or its own thread could give the slot another number
            return tape.value(slot_of(tape, self), layout_of(self))

    def item(self) -> float | int | bool:
        """Return the value of a one-element tensor as a Python number.

        Raises
        ------
        RuntimeError
            If there is not exactly one element.
        """
        layout = layout_of(self)
        if layout.size != 1:
            raise RuntimeError(
                f"a Tensor with {layout.size} elements cannot be converted to Scalar"
            )
        tape = tape_at(self._state)
        with tape.lock:
            number: Any = tape.number(slot_of(tape, self), layout.dtype)
        return number  # of complex ones, too; the type is the one that PyTorch says

    def tolist(self) -> Any:
        """Return the values as nested lists (a number for a 0-d tensor)."""
        return self._array().tolist()

    def __float__(self) -> float:
        if status_of(self) & 1:
            readout.check(self, "float()")
        return float(_real(self.item(), "double"))

    def __int__(self) -> int:
        if status_of(self) & 1:
            readout.check(self, "int()", warns=False)
        return int(_real(self.item(), "int64_t"))

    def __bool__(self) -> bool:
        size = layout_of(self).size
        if size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        if size > 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.item())

    def __index__(self) -> int:
        layout = layout_of(self)
        if layout.size != 1 or category(layout.dtype) >= FLOATING:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(_real(self.item(), "int64_t"))

    def __complex__(self) -> complex:
        if status_of(self) & 1:
            readout.check(self, "complex()")
        return complex(self.item())

    def __contains__(self, element: Any) -> bool:
        if not record.is_tensor(element) and not record.is_number(element):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return bool((self == element).any())

    def _print_options(self) -> dict[str, Any]:
        """Facts that printing needs beside the values."""
        try:
            node = self.grad_fn
            node_name = None if node is None else node.name()
        except RuntimeError:  # a view of memory written in a way that makes its node ambiguous
            node_name = "Invalid"
        return {
            "dtype": self.dtype,
            "default_dtype": get_default_dtype(),
            "requires_grad": self.requires_grad,
            "grad_fn": node_name,
        }

    def __repr__(self) -> str:
        return printing.format_tensor(self._array(), **self._print_options())

    def __format__(self, spec: str) -> str:
        return printing.format_spec(self._array(), spec, **self._print_options())


def _attach() -> None:
    """Put the op table's functions and the registered methods on the class."""
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
    for name, method in registry.METHODS.items():
        if name not in METHODS and name != "__getitem__":  # that one starts in native code
            setattr(Tensor, name, method)
    for name in inplace_methods.drop_missing(Tensor):
        delattr(Tensor, name)
    for name, getter in registry.PROPERTIES.items():
        setattr(Tensor, name, property(getter))
    for kind in (Tensor, AutogradMethods):
        for name, member in list(vars(kind).items()):
            if isinstance(member, property) and f"Tensor.{name}" in HELP:
                doc = with_example(member.__doc__, f"Tensor.{name}")
                setattr(kind, name, property(member.fget, member.fset, member.fdel, doc))
            elif isinstance(member, FunctionType):
                member.__doc__ = with_example(member.__doc__, f"Tensor.{name}")


_attach()
Tape.formatter = format_tape
_ = (all_functions, ending, strip_rows)  # imported for their registrations
record.set_tensor_type(Tensor)
nt.GLOBALS[nt.G_TENSOR] = id(Tensor)
