"""Tensor: a thin handle of a slot.

The class is made of four parts: the C type of handle.py, whose number protocol records natively;
one builtin method an elementwise row of the op table; the functions of `functions/` that register
as methods; and what stands here, which is PyTorch's face of a leaf and of a node of the graph.

Start reading at `_make_base` (how the op table becomes operators), then at the class.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import display, engine, handle, messages, node, record
from . import native as nt
from .display.tape_text import format_tape
from .dtypes import Size, dtype, from_numpy_dtype, get_default_dtype
from .functions import all_functions, legacy, registry
from .layouts import LAYOUTS
from .ops import all_rows
from .ops.table import TABLE, Op
from .record import Storage, layout_of, storage_of
from .tape import Tape, slot_of, tape_at

__all__ = ["FUNCTIONS", "Tensor"]

_OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div",
    "floor_divide": "floor_divide", "remainder": "remainder", "power": "pow",
    "matrix_multiply": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
_UNARY_OPERATORS = {"negative": "neg", "absolute": "abs", "invert": "bitwise_not"}
_COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")  # in CPython's order

#: functions of the op table, by name
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _slow_call(entry: Op) -> Callable[..., Any]:
    """What a call ``tg.add(x, y)`` or ``x.add(y)`` does when native recording does not take it."""
    special = registry.FUNCTIONS.get(entry.name)
    if special is not None:
        return special
    name = entry.name

    def call_unary(input: Any) -> Any:
        record.check_tensors(name, (input,))
        return record.unary(entry, input)

    def call_binary(input: Any, other: Any) -> Any:
        if not record.is_tensor(input):
            if not (record.is_number(input) and record.is_tensor(other)):
                record.check_tensors(name, (input,))
        elif not record.is_tensor(other) and not record.is_number(other):
            raise TypeError(
                f"{name}(): argument 'other' (position 2) must be Tensor, "
                f"not {type(other).__name__}"
            )
        return record.binary(entry, input, other)

    call: Any = call_unary if entry.arity == 1 else call_binary
    call.__name__ = call.__qualname__ = name
    return call  # type: ignore[no-any-return]


def _slow_operator(entry: Op, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same for an operator, which leaves to Python what it does not know."""
    if entry.arity == 1:
        return call

    numbers = entry.name != "matmul"

    def operator(a: Any, b: Any, *modulus: Any) -> Any:
        if modulus:
            raise TypeError("pow() of tensors takes no third argument")
        for value in (a, b):
            if not record.is_tensor(value) and not (numbers and record.is_number(value)):
                if isinstance(value, np.ndarray):
                    from_numpy = registry.FUNCTIONS["as_tensor"]
                    return operator(*(from_numpy(v) if v is value else v for v in (a, b)))
                return NotImplemented
        return call(a, b)

    return operator


def _make_base() -> type:
    """The C type with its operators, and the builtin functions of the op table."""
    thunks = handle.Thunks()
    slots: dict[str, str] = {}
    for protocol, name in _OPERATORS.items():
        target, arity = ("power", 3) if protocol == "power" else ("binary", 2)
        slots[protocol] = thunks.add(target, arity, TABLE[name].code, used=arity)
    for protocol, name in _UNARY_OPERATORS.items():
        slots[protocol] = thunks.add("unary", 1, TABLE[name].code, used=1)
    first = TABLE["lt"].code
    assert [TABLE[name].code - first for name in _COMPARISONS] == list(range(6))
    compare = thunks.add_compare(first)
    rows = {
        entry.extras.get("function", entry.name): entry
        for entry in TABLE.values()
        if entry.extras.get("function")
        or (
            (entry.loop is not None or entry.extras.get("elementwise"))
            and entry.arity in (1, 2)
            and not entry.extras.get("private")
        )
    }
    calls = {
        name: thunks.add("fastcall", 4, entry.code, used=3, drop_first=True)
        for name, entry in rows.items()
    }
    address = thunks.compile()
    for name, thunk in calls.items():
        entry = rows[name]
        call = registry.FUNCTIONS.get(name) or _slow_call(entry)
        handle.register_slow(entry.code, call)
        handle.register_slow(entry.code + handle.NUMBER_PROTOCOL, _slow_operator(entry, call))
        FUNCTIONS[name] = handle.builtin(name, address[thunk], _doc(entry, call))
    handle.register_slow(TABLE["select"].code, registry.METHODS["__getitem__"])
    numbers = {handle.SLOTS[protocol]: address[thunk] for protocol, thunk in slots.items()}
    numbers[handle.TP_RICHCOMPARE] = address[compare]
    return handle.make_handle_type(numbers)


def _doc(entry: Op, call: Callable[..., Any]) -> str:
    if call.__doc__:
        return call.__doc__
    operands = "input" if entry.arity == 1 else "input, other"
    return f"{entry.name}({operands})\n--\n\n" + (entry.doc or f"The op {entry.name}, elementwise.")


_Base: Any = _make_base()


class Tensor(_Base):  # type: ignore[misc]
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
        Whether it was made by the user (or needs no gradient).
    grad : Tensor or None
        Accumulated gradient of a leaf, or of a tensor that was told to `retain_grad`.
    grad_fn : Node or None
        The statement that made it, under PyTorch's name.
    """

    __slots__ = ("__weakref__", "_meta")
    _meta: Storage | None

    __hash__ = object.__hash__
    # ndarray's operators leave mixed expressions to ours
    __array_priority__ = 1000
    __array_ufunc__ = None

    def __new__(cls, *data: Any, **options: Any) -> Tensor:
        """Make a tensor of the default dtype from data or a shape."""
        made: Tensor = legacy.legacy_tensor(*data, **options)
        if cls is Tensor:
            return made
        own: Tensor = object.__new__(cls)
        tape, slot = made._place()
        record.bind_to(own, tape, slot, layout_of(made))
        own._meta = made._meta
        return own

    # ------------------------------------------------------------------ what it is
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

    # ------------------------------------------------------------------ where it is
    def _place(self) -> tuple[Tape, int]:
        """The tape it is on and its slot there."""
        tape = tape_at(self._state)
        return tape, slot_of(tape, self)

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
            return tape.memory(slot_of(tape, self), layout).item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """Return the values as nested lists (a number for a 0-d tensor)."""
        return self._array().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        size = layout_of(self).size
        if size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        if size > 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.item())

    def __index__(self) -> int:
        layout = layout_of(self)
        if layout.size != 1 or layout.dtype.is_floating_point:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __contains__(self, element: Any) -> bool:
        if not record.is_tensor(element) and not record.is_number(element):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return bool((self == element).any())

    def _print_options(self) -> dict[str, Any]:
        """What printing needs to know beside the values."""
        made = self.grad_fn
        return {
            "dtype": self.dtype,
            "default_dtype": get_default_dtype(),
            "requires_grad": self.requires_grad,
            "grad_fn": None if made is None else made.name(),
        }

    def __repr__(self) -> str:
        return display.format_tensor(self._array(), **self._print_options())

    def __format__(self, spec: str) -> str:
        return display.format_spec(self._array(), spec, **self._print_options())

    # ------------------------------------------------------------------ torch's autograd
    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are differentiated."""
        tape, slot = self._place()
        return tape.is_active(slot)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Change whether a leaf requires grad, from now on; return the tensor.

        Raises
        ------
        RuntimeError
            For a tensor that is not a leaf, or not of a floating dtype.
        """
        tape, slot = self._place()
        if tape.is_active(slot) == bool(requires_grad):
            return self
        if not self.is_leaf:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if not self.dtype.is_floating_point:
            raise RuntimeError(
                "only Tensors of floating point dtype can require gradients"
                if requires_grad
                else "only leaves change requires_grad"
            )
        self._become_leaf(active=bool(requires_grad))
        return self

    def _become_leaf(self, *, active: bool) -> None:
        """Give the handle a leaf slot of its own over the same memory, from here on."""
        tape, slot = self._place()
        layout = layout_of(self)
        storage = storage_of(self)
        if storage is None or not storage.leaf:
            seen = int(tape.flags[tape.base[slot]]) & nt.VISIBLE
            array = tape.expose(slot, layout)
            tape.flags[tape.base[slot]] &= (~nt.VISIBLE | seen) & 0xFF
            storage = Storage(array, leaf=True)
            self._meta = storage
        tape.make_room()
        slot = slot_of(tape, self)
        tape.evaluate()
        assert storage.array is not None
        fresh = tape.bind(storage.array, layout, active=active, keep=storage)
        tape.base[fresh] = tape.base[slot]
        tape.flags[fresh] |= tape.flags[slot] & nt.VISIBLE
        record.rebind(self, tape, fresh)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, or needs no gradient."""
        tape, slot = self._place()
        return not tape.is_active(slot) or tape.instruction_of(slot).op.kind == nt.LEAF

    @property
    def grad(self) -> Tensor | None:
        """Accumulated gradient."""
        storage = storage_of(self)
        if storage is None:
            if not self.is_leaf:
                messages.warn_non_leaf_grad()
            return None
        return storage.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        storage = storage_of(self)
        if value is not None:
            messages.check_grad_assignment(self, value)
        if storage is None:
            storage = self._meta = Storage(None, leaf=False)
        storage.grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def grad_fn(self) -> node.Node | None:
        """The statement that made it, under PyTorch's name; None for a leaf."""
        return node.node_of(self)

    @property
    def volatile(self) -> bool:
        """Removed from PyTorch in 0.4; False, with a warning."""
        warnings.warn("volatile was removed (Variable.volatile is always False)", stacklevel=2)
        return False

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Add the gradient of this tensor with respect to the graph's leaves to their ``grad``.

        Parameters
        ----------
        gradient : Tensor, optional
            Cotangent of this tensor's shape; not needed for one element.
        retain_graph : bool, optional
            Keep the residuals for another backward; by default as `create_graph`.
        create_graph : bool
            Record the backward pass, so that it can be differentiated.
        inputs : Tensor or sequence of Tensor, optional
            Accumulate into these only.

        Raises
        ------
        RuntimeError
            PyTorch's errors: nothing requires grad, freed graph, shape mismatch, ...
        """
        engine.backward(
            (self,), (gradient,), retain_graph=retain_graph, create_graph=create_graph,
            inputs=inputs,
        )  # fmt: skip

    @property
    def retains_grad(self) -> bool:
        """Whether a non-leaf keeps its gradient."""
        tape, slot = self._place()
        return not self.is_leaf and slot in tape.retained

    def retain_grad(self) -> None:
        """Let ``backward`` leave this tensor's gradient in `grad` though it is not a leaf."""
        tape, slot = self._place()
        if not tape.is_active(slot):
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf or slot in tape.retained:
            return
        storage = storage_of(self)
        if storage is None:
            storage = self._meta = Storage(None, leaf=False)
        tape.retained[slot] = storage

    @property
    def _version(self) -> int:
        """How often the memory was written in place."""
        tape, slot = self._place()
        return tape.version(slot)

    @property
    def data(self) -> Tensor:
        """A passive alias; writes through it do not count as new versions."""
        return record.view(TABLE["data"], self, self.shape, layout_of(self).strides)

    @data.setter
    def data(self, value: Tensor) -> None:
        record.check_tensors("data", (value,))
        if value.dtype is not self.dtype:
            raise RuntimeError(
                "Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have "
                "incompatible tensor type."
            )
        active = self.requires_grad
        tape, slot = value._place()
        same = value._state == self._state and tape.base[slot] == tape.base[self._place()[1]]
        if same and layout_of(value) is layout_of(self) and self.is_leaf:
            return  # ``x.data -= y``: it is this memory already
        seen = int(tape.flags[tape.base[slot]]) & nt.VISIBLE
        array = tape.expose(slot, layout_of(value))
        tape.flags[tape.base[slot]] &= (~nt.VISIBLE | seen) & 0xFF
        grad = self.grad if self.is_leaf else None
        own = tape_at(self._state)
        storage = Storage(array, leaf=True)
        storage.grad = grad
        layout = layout_of(value)
        own.make_room()
        fresh = own.bind(array, layout, active=active, keep=storage)
        own.flags[fresh] |= seen
        handle.unbind_handle(id(self))
        record.bind_to(self, own, fresh, layout)
        self._meta = storage

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.detach().numpy().copy(), self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
                "because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        copied = _rebuild(self._array(), self.requires_grad)
        memo[id(self)] = copied
        if self.grad is not None:
            copied.grad = _rebuild(self.grad._array(), False)
        return copied


def _rebuild(array: np.ndarray, requires_grad: bool) -> Tensor:
    return record.leaf_tensor(array, from_numpy_dtype(array.dtype), requires_grad=requires_grad)


def _attach() -> None:
    """Put the op table's functions and the registered methods on the class."""
    for name, function in FUNCTIONS.items():
        setattr(Tensor, name, handle.as_method(function))
    for name, method in registry.METHODS.items():
        if name not in FUNCTIONS and name != "__getitem__":  # that one starts in native code
            setattr(Tensor, name, method)
    for name, getter in registry.PROPERTIES.items():
        setattr(Tensor, name, property(getter))


_attach()
Tape.formatter = format_tape
_ = (all_functions, all_rows)  # imported for what they register
record.set_tensor_type(Tensor)
nt.GLOBALS[nt.G_TENSOR] = id(Tensor)
