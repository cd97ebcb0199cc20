"""The part of `Tensor` that is PyTorch's autograd: leaves, gradients, versions.

A method that reads a slot of another thread's tape holds that tape's lock; one that changes a tensor
takes it over first (`record.adopt`).
"""

from __future__ import annotations

import warnings
import weakref
from typing import Any

from ..base import torch_messages as messages
from ..base.errors import UnsupportedError
from ..engine import inference, node
from ..engine import reverse as engine
from ..engine.tensor_hooks import hooks_of, watched
from ..functions.arguments import from_array, is_array
from ..native import abi as nt
from ..native.handle_type import AnyTensor, status_of
from ..ops.layout import Layout
from ..ops.table import TABLE
from ..tape import mirrors, readout, versions, views, watching
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.hooks import RemovableHandle
from ..tape.leaf_storage import Storage, layout_of, own_leaf, storage_of
from ..tape.tape import Tape, slot_of, tape_at
from ..transforms import duals
from ..transforms.trace import Trace

__all__ = ["AutogradMethods"]


class AutogradMethods:
    """Mixin of `Tensor`."""

    __slots__ = ()
    _meta: Storage | None

    def _place(self: Any) -> tuple[Tape, int]:
        """Return its tape and its slot there, which holds while the tape's lock is held."""
        tape = tape_at(self._state)
        return tape, slot_of(tape, self)

    @property
    def requires_grad(self: Any) -> bool:
        """True if operations on it are differentiated."""
        status = status_of(self)
        if status < 0:
            tape_at(self._state)  # raises: there is no tape
        return bool(status & 1) and (not duals.running() or duals.requires_grad(self))

    @requires_grad.setter
    def requires_grad(self: Any, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        if value != self.requires_grad:
            if value:
                readout.guard("requires_grad_")
            self._require_grad(value)

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        """Change whether a leaf requires grad, from now on; return the tensor.

        Raises
        ------
        RuntimeError
            For a tensor that is not a leaf, or not of a floating dtype.
        """
        messages.check_bool("requires_grad_", "requires_grad", 1, requires_grad)
        readout.guard("requires_grad_")
        if self.requires_grad != requires_grad:
            self._require_grad(requires_grad)
        return self

    def _require_grad(self: Any, requires_grad: bool) -> None:
        """Change whether a leaf requires grad."""
        if requires_grad and not inference.may_require_grad(self):
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
            )
        if not self.is_leaf:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if not self.dtype.is_inexact:
            raise RuntimeError(
                "only Tensors of floating point dtype can require gradients"
                if requires_grad
                else "only leaves change requires_grad"
            )
        self._become_leaf(active=requires_grad)

    def _become_leaf(self: Any, *, active: bool) -> None:
        """Give the handle a leaf slot of its own over the same memory, from here on."""
        record.adopt(self)
        trace = current_tape()
        if active and isinstance(trace, Trace):  # which knows no values, but whose value it has
            copied = trace.copy(self)
            record.bind_to(self, trace, slot_of(trace, copied), layout_of(self))
            own_leaf(self, copied._meta)
            return
        storage = storage_of(self)
        if self.requires_grad and self.is_leaf and storage is not None and self._is_in_graph():
            self._note_earlier(storage)
        tape, slot = self._place()
        layout = layout_of(self)
        if storage is None or not storage.leaf:
            visible = int(tape.flags[tape.base[slot]]) & nt.VISIBLE
            array = tape.expose(slot, layout)
            tape.flags[tape.base[slot]] &= (~nt.VISIBLE | visible) & 0xFF
            storage = Storage(array, leaf=True)
            self._meta = storage
        tape.make_room()
        slot = slot_of(tape, self)
        tape.evaluate()
        if active and layout.overlaps:
            self._become(*mirrors.mirror(tape, record.new_tensor(tape, slot, layout), True))
            return
        assert storage.array is not None
        if views.state_of(tape, slot).is_view:
            storage.of_view = True
        elif tape.base[slot] == slot:  # views of it that there are already know it by this
            tape.owned[slot] = storage
        storage.requires_grad = active
        fresh = tape.bind(storage.array, layout, active=active, keep=storage)
        tape.base[fresh] = tape.base[slot]
        tape.flags[fresh] |= tape.flags[slot] & nt.VISIBLE
        own_leaf(self, storage)
        watching.rebind(self, tape, fresh)

    def _become(self: Any, slot: int, layout: Layout, storage: Storage) -> None:
        """Let the handle be another leaf, with the gradient that it has."""
        old = storage_of(self)
        if old is not None:
            storage.grad, storage.hooks = old.grad, old.hooks
        record.bind_to(self, current_tape(), slot, layout)
        own_leaf(self, storage)

    @property
    def is_leaf(self: Any) -> bool:
        """True if the user made it, or it needs no gradient."""
        status = status_of(self)
        if status < 0:
            tape_at(self._state)  # raises: there is no tape
        if status == 3:  # it requires grad, or something active was written to a view of it
            tape = tape_at(self._state)
            with tape.lock:
                slot = slot_of(tape, self)
                return tape.wants_grad(slot) or versions.last_write(tape, slot) <= slot
        return bool(status != 1) or (duals.running() and not duals.requires_grad(self))

    @property
    def grad(self: Any) -> AnyTensor | None:
        """Accumulated gradient."""
        storage = storage_of(self)
        if storage is None:
            if not self.is_leaf:
                messages.warn_non_leaf_grad()
            return None
        return storage.grad

    @grad.setter
    def grad(self: Any, value: AnyTensor | None) -> None:
        storage = storage_of(self)
        if value is not None:
            messages.check_grad_assignment(self, value)
        if storage is None:
            storage = self._meta = Storage(None, leaf=False)
        storage.grad = value

    @grad.deleter
    def grad(self: Any) -> None:
        self.grad = None

    @property
    def grad_fn(self: Any) -> node.Node | None:
        """The statement that computed it, under PyTorch's name; None for a leaf."""
        return node.kept_node(self)

    def is_inference(self: Any) -> bool:
        """Return True if its memory was made in `inference_mode`."""
        return inference.is_inference(self)

    @property
    def volatile(self: Any) -> bool:
        """Removed from PyTorch in 0.4; False, with a warning."""
        warnings.warn("volatile was removed (Variable.volatile is always False)", stacklevel=2)
        return False

    def backward(
        self: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
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
        if readout.RUNNING.inputs:
            readout.guard("backward")
        if gradient is not None and not record.is_tensor(gradient):
            (gradient,) = (from_array(gradient),) if is_array(gradient) else tuple(gradient)
        if duals.LEVELS.levels:
            duals.check_roots((self,))
        engine.backward(
            (self,), (gradient,), retain_graph=retain_graph, create_graph=create_graph,
            inputs=inputs,
        )  # fmt: skip

    def register_hook(self: Any, hook: Any) -> RemovableHandle:
        """Call a function with this tensor's gradient whenever that is computed.

        Parameters
        ----------
        hook : callable
            ``hook(grad) -> Tensor or None``; a Tensor takes the gradient's place.

        Returns
        -------
        RemovableHandle

        Raises
        ------
        RuntimeError
            If the tensor does not require grad.
        """
        return hooks_of(self).add("tensor", hook)

    def register_post_accumulate_grad_hook(self: Any, hook: Any) -> RemovableHandle:
        """Call a function with this leaf once its ``grad`` has been accumulated.

        Raises
        ------
        RuntimeError
            If the tensor does not require grad, or is not a leaf.
        """
        hooks = hooks_of(self)
        if not self.is_leaf:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        return hooks.add("accumulated", (weakref.ref(self), hook))

    @property
    def retains_grad(self: Any) -> bool:
        """True for a non-leaf that keeps its gradient."""
        tape = tape_at(self._state)
        with tape.lock:
            storage = None if self.is_leaf else storage_of(self)
            return storage is not None and any(r() is storage for r in list(tape.retained.values()))

    def retain_grad(self: Any) -> None:
        """Let ``backward`` leave this tensor's gradient in `grad` though it is not a leaf."""
        readout.guard("retain_grad")
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf:
            return
        tape, slot = watched(self)
        storage = storage_of(self)
        if storage is None:
            storage = self._meta = Storage(None, leaf=False)
        # Once the tensor is gone, its gradient cannot be asked for.
        tape.retained[slot] = weakref.ref(storage)

    @property
    def _version(self: Any) -> int:
        """Number of in-place writes to the memory."""
        tape = tape_at(self._state)
        with tape.lock:
            slot = slot_of(tape, self)
            inference.untracked_version(tape, slot)
            return versions.version_of(tape, slot)

    @property
    def output_nr(self: Any) -> int:
        """Number of the output of its node that it is."""
        tape = tape_at(self._state)
        with tape.lock:
            return views.output_number(tape, slot_of(tape, self))

    def _is_view(self: Any) -> bool:
        """Return True for a view, other than by ``detach()`` or ``data``."""
        tape = tape_at(self._state)
        with tape.lock:
            is_view = views.state_of(tape, slot_of(tape, self)).is_view
            return is_view and not inference.is_inference(self)

    @property
    def _base(self: Any) -> AnyTensor | None:
        """The tensor that it is a view of, as a new object; None if it is no view."""
        tape = tape_at(self._state)
        with tape.lock:
            view = views.state_of(tape, slot_of(tape, self))
            if not view.is_view:
                return None
            base = record.new_tensor(tape, view.base, tape.instruction_of(view.base).out)
            base._meta = tape.leaves.get(view.base)
            return base

    def data_ptr(self: Any) -> int:
        """Return the address of the first element.

        It says whether two tensors share memory, now: later the tape may move its memory. That of a
        tensor without elements is 0.
        """
        if not layout_of(self).size:
            return 0
        tape = tape_at(self._state)
        with tape.lock:
            return int(tape.memory(slot_of(tape, self), layout_of(self)).ctypes.data)

    @property
    def data(self: Any) -> AnyTensor:
        """A passive alias; writes through it do not count as new versions.

        Assigning gives the tensor other memory, with its version, gradient and hooks as they were.
        """
        return record.view(TABLE["data"], self, self.shape, layout_of(self).strides)

    @data.setter
    def data(self: Any, value: AnyTensor) -> None:
        record.check_tensors("data", (value,))
        active = self.requires_grad
        fits = self.is_leaf and (value.dtype.is_inexact or not active)
        if value.dtype is not self.dtype and not fits:
            raise RuntimeError(
                "Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have "
                "incompatible tensor type."
            )
        record.adopt(self)
        record.adopt(value)
        if not self.is_leaf:
            self._take_value(value)
            return
        tape, slot = value._place()
        same = tape.base[slot] == tape.base[slot_of(tape, self)]
        if same and layout_of(value) is layout_of(self):
            return  # ``x.data -= y``: it is this memory already
        visible = int(tape.flags[tape.base[slot]]) & nt.VISIBLE
        array = tape.expose(slot, layout_of(value))
        tape.flags[tape.base[slot]] &= (~nt.VISIBLE | visible) & 0xFF
        storage, layout = Storage(array, leaf=True), layout_of(value)
        if active and self._is_in_graph():
            self._keep_earlier(storage, layout)
        tape.make_room()
        version = versions.version_of(tape, slot_of(tape, self))
        if active and layout.overlaps:
            source = record.new_tensor(tape, slot_of(tape, value), layout)
            fresh, layout, storage = mirrors.mirror(tape, source, True)
        else:
            fresh = tape.bind(array, layout, active=active, keep=storage)
            tape.flags[fresh] |= visible
        self._become(fresh, layout, storage)
        if version:
            tape.versions[fresh] = version

    def _is_in_graph(self: Any) -> bool:
        """Return True for a leaf that something differentiated, and still there, was computed from."""

        def is_used() -> bool:
            tape, slot = self._place()
            users = watching.users(tape, slot)
            live = (tape.flags[users] & nt.FREED) == 0
            return bool((live & ((tape.flags[tape.root[users]] & nt.ACTIVE) != 0)).any())

        if is_used():
            self._place()[0].collect()
            return is_used()
        return False

    def _keep_earlier(self: Any, storage: Storage, layout: Layout) -> None:
        """Let a leaf in a graph have other memory; its earlier self in the graph has its gradient, too.

        Raises
        ------
        UnsupportedError
            For data of another shape or dtype, or with elements that share memory.
        """
        if layout.shape != self.shape or layout.dtype is not self.dtype or layout.overlaps:
            raise UnsupportedError(
                f"data of shape {list(layout.shape)} and {layout.dtype} for a leaf of shape "
                f"{list(self.shape)} and {self.dtype} from which something was computed; assign it before "
                "that, or when that is gone"
            )
        self._note_earlier(storage)
        tape = current_tape()
        for t in storage.earlier:  # their memory stays that of the storage before
            t._meta = tape.leaves[slot_of(tape, t)] = storage

    def _note_earlier(self: Any, storage: Storage) -> None:
        """Keep the tensor that a leaf is in a graph, with its gradient, before it becomes another slot."""
        tape, slot = self._place()
        earlier = record.new_tensor(tape, slot, layout_of(self))
        earlier._meta, tape.has_earlier = storage, True
        candidates = [*getattr(storage_of(self), "earlier", ()), earlier]
        storage.earlier = [t for t in candidates if t._is_in_graph()]

    def _take_value(self: Any, value: AnyTensor) -> None:
        """Let a result have another value, and the derivatives that it had.

        Raises
        ------
        UnsupportedError
            For a value of another shape.
        """
        if value.shape != self.shape:
            raise UnsupportedError(
                f"data of shape {list(value.shape)} for a result of shape {list(self.shape)}; assign to "
                "the data of leaves, or compute a new tensor"
            )
        tape = current_tape()
        version, mode = versions.version_of(tape, slot_of(tape, self)), tape.grad_mode
        tape.state[nt.S_GRAD_MODE] = True
        try:
            changed = record.apply(TABLE["unpacked"], (self, record.view(
                TABLE["detach"], value, value.shape, layout_of(value).strides
            )))  # fmt: skip
        finally:
            tape.state[nt.S_GRAD_MODE] = mode
        slot = slot_of(tape, changed)
        record.bind_to(self, tape, slot, layout_of(changed))
        if version:
            tape.versions[slot] = version
