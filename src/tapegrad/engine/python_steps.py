"""Python's part of a reverse pass: hooks, Functions, anomaly checks.

The sweep (runtime/reverse_sweep.py) and replay stop at statements that have something of the kind.
`look` calls a tensor's hooks with its cotangent. `take_over` computes the cotangents of a statement's
operands in Python: by the ``backward`` of a Function, or by the op's rule where a hook of the node, or
anomaly detection, wants to see them, or where the rule's residuals were packed (saved_tensors.py).

Both work on a `Pass`: where cotangents come from and go to, in a sweep (`Swept`) or in replay, where
they are recorded (`Replayed`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.dtypes import dtype, int64, legacy_name
from ..native import abi as nt
from ..native.exchange import Change, Exchange
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.layout import byte_offsets
from ..rules.traced_rule import template
from ..tape import anomaly, collector
from ..tape import recording as record
from ..tape.hooks import Hooks
from ..tape.leaf_storage import Storage
from ..tape.memory_views import address_of, array_at
from ..tape.nesting import nested
from ..tape.tape import Tape, slot_of
from ..tape.user_code import call_user
from ..tape.watching import watches
from . import native_entries as sweep
from .edges import edge_places
from .pass_errors import no_memory
from .recorded_pass import Pass
from .reverse_pass import Request
from .saved_tensors import Saved
from .separating import is_separable

__all__ = [
    "Replayed",
    "Swept",
    "call_hooks",
    "no_grad_on",
    "prehooked",
    "replaced",
    "scattered",
]


# --------------------------------------------------------------------------- calling hooks
def _hook_name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__name__", type(hook).__name__)


def _check_value(hook: Callable[..., Any], old: Any, new: Any) -> None:
    """Raise PyTorch's errors for a value that a hook returned in the place of a gradient."""
    if new is None:
        return
    if not record.is_tensor(new):
        raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
    if old is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    _check_kind(hook, old.dtype, old.shape, new)


def _check_kind(hook: Callable[..., Any], kind: dtype, shape: Any, new: TensorHandle) -> None:
    """Raise PyTorch's errors for a gradient that has another dtype or shape after a hook than before."""
    if new.dtype is not kind:
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has changed the type of value (was {legacy_name(kind)} got "
            f"{legacy_name(new.dtype)})"
        )
    if new.shape != shape:
        raise RuntimeError(f"hook '{_hook_name(hook)}' has changed the size of value")


def called(hook: Callable[..., Any], *values: Any) -> Any:
    """Call a hook of a tensor (with its gradient) or a node (with tuples), and return its result.

    Raises
    ------
    RuntimeError
        If it assigns other data to a gradient, of another size or dtype.
    """
    grads = [t for v in values for t in (v if isinstance(v, tuple) else (v,)) if t is not None]
    kinds = [(t.dtype, t.shape) for t in grads]
    new = call_user(hook, *values)
    for t, (kind, shape) in zip(grads, kinds, strict=True):
        _check_kind(hook, kind, shape, t)
    return new


def call_hooks(hooks: dict[int, Callable[..., Any]], ct: TensorHandle) -> AnyTensor:
    """Call a tensor's hooks with its gradient; return the gradient that they leave."""
    for hook in list(hooks.values()):
        new = called(hook, ct)
        if new is not None:
            _check_value(hook, ct, new)
            ct = new
    return ct


def replaced(hook: Callable[..., Any], old: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
    """Check the gradients by which a node's hook replaces `old`; None in one's place takes it away."""
    if new is None:
        return old
    if len(old) == 1 and record.is_tensor(new):
        new = (new,)
    if not isinstance(new, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(new).__name__}'")
    if len(new) != len(old):
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has returned an incorrect number of values (got "
            f"{len(new)}, but expected {len(old)})"
        )
    for a, b in zip(old, new, strict=True):
        _check_value(hook, a, b)
    return new


def prehooked(hooks: Hooks, ct: TensorHandle) -> AnyTensor:
    """The gradient of a node's one output after its prehooks; zeros where they took it away."""
    cts: tuple[Any, ...] = (ct,)
    for hook in list(hooks.before.values()):
        cts = replaced(hook, cts, called(hook, cts))
    gradient: TensorHandle = ct.new_zeros(ct.shape) if cts[0] is None else cts[0]
    return gradient


# --------------------------------------------------------------------------- a pass
class _Taken:
    """The common part of sweep and replay where Python takes a statement over."""

    tape: Tape
    request: Request
    #: `function` statement -> cotangents of its outputs that came by
    cotangents: dict[int, dict[int, TensorHandle]]

    def __init__(self, request: Request) -> None:
        self.request, self.tape = request, request.tape
        self.cotangents = {}
        self._kept: set[Storage] = set()

    def wanted(self, slot: int) -> bool:
        return bool(self.request.needed[self.request.root[slot]])

    def kept(self, k: int) -> Storage | None:
        """Storage that keeps the gradient of slot `k` (`retain_grad`), if it is still referred to.

        Of a view whose memory was written, that since the write, if the pass comes by.
        """
        reference = self.tape.retained.get(k)
        storage: Storage | None = None if reference is None else reference()
        if storage is None or storage in self._kept:
            return None
        self._kept.add(storage)
        return storage

    def runs(self, k: int) -> bool:
        """Return True if the node of statement `k` is run, and its hooks with it."""
        return not self.request.raw or any(self.wanted(slot) for slot in self.tape.args_of(k))

    def rule(self, k: int, i: int, ct: TensorHandle, values: dict[int, int] | None) -> int:
        """Record the op's rule for one operand; the slot of the cotangent."""
        raise NotImplementedError

    def derivatives(self, k: int, ct: TensorHandle) -> list[AnyTensor | None]:
        """The cotangents of a statement's operands, by the op's rule."""
        tape = self.tape
        values: dict[int, int] | None = None
        packed = tape.contexts.get(k)
        if isinstance(packed, Saved):
            packed.place = (tape, k)
            self.request.attached.contexts.append(packed)
            values = packed.values(tape, k)
        cotangents: list[TensorHandle | None] = []
        results = template(tape.instruction_of(k)).results
        for i, slot in enumerate(tape.args_of(k)):
            if results[i] is None or not self.wanted(slot):
                cotangents.append(None)
                continue
            new = self.rule(k, i, ct, values)
            cotangents.append(record.result_tensor(tape, new))
        return cotangents

    def derive(self, k: int, ct: TensorHandle) -> list[AnyTensor | None]:
        """The cotangents of the operands of statement `k`, its hooks included."""
        if not anomaly.is_on():
            return self._derive(k, ct)
        with anomaly.inducing(self.tape, k):
            return self._derive(k, ct)

    def _derive(self, k: int, ct: TensorHandle) -> list[AnyTensor | None]:
        tape = self.tape
        instruction = tape.instruction_of(k)
        hooks = tape.hooks.get(k)
        cts: tuple[Any, ...] = (ct,)
        if instruction.op.name == "function_output":
            anchor = tape.args_of(k)[0]
            self.cotangents.setdefault(anchor, {})[instruction.attrs["number"]] = ct
            return [record.as_operand(0.0, instruction.layouts[0].dtype), None]
        context = tape.contexts[k] if instruction.op.name == "function" else None
        if context is not None:
            hooks = context.hooks
            incoming = self.cotangents.pop(k, {})
            cts = tuple(incoming.get(j) for j in range(context.count))
        for hook in () if hooks is None else list(hooks.before.values()):
            cts = replaced(hook, cts, called(hook, cts))
        if context is None:
            undefined: list[TensorHandle | None] = [None] * len(tape.args_of(k))
            cotangents = undefined if cts[0] is None else self.derivatives(k, cts[0])
        else:
            self.request.attached.contexts.append(context)
            incoming = {j: g for j, g in enumerate(cts) if g is not None}
            cotangents = context.run(tape, k, incoming, self.is_replayed)
        if hooks is not None and hooks.after:
            places = edge_places(tape, k)
            inputs = tuple([cotangents[i] for i in places])
            for hook in list(hooks.after.values()):
                inputs = replaced(hook, inputs, called(hook, inputs, cts))
            for i, new in zip(places, inputs, strict=True):
                cotangents[i] = new
        anomaly.check(tape, k, cotangents)
        return cotangents

    is_replayed = False

    def of_view(self, k: int, ct: TensorHandle) -> tuple[AnyTensor, AnyTensor | None]:
        """Call the hooks of a view's node: the view's gradient, or another one for its operand."""
        hooks = self.tape.hooks.get(k)
        is_view = self.tape.instruction_of(k).op.kind == nt.VIEW
        if hooks is None or not is_view or not self.runs(k):
            return ct, None
        ct = prehooked(hooks, ct)
        if not hooks.after:
            return ct, None
        first = scattered(self.tape, k, ct)
        inputs: tuple[Any, ...] = (first,)
        for hook in list(hooks.after.values()):
            inputs = replaced(hook, inputs, called(hook, inputs, (ct,)))
        if inputs[0] is None:
            return ct.new_zeros(ct.shape), None
        return ct, None if inputs[0] is first else inputs[0]


def keep_gradient(storage: Storage, ct: TensorHandle) -> None:
    """Leave a gradient in the ``grad`` of a tensor that retains it."""
    storage.grad = ct if storage.grad is None else storage.grad + ct


def scattered(tape: Tape, k: int, ct: TensorHandle) -> AnyTensor:
    """The gradient of the operand of a view `k`, from that of the view."""
    parent = tape.args_of(k)[0]
    whole, part = tape.instruction_of(parent).out, tape.instruction_of(k).out
    places = byte_offsets(whole)
    order = np.argsort(places, kind="stable")
    offsets = byte_offsets(part) + int(tape.address[k] - tape.address[parent])
    index = order[np.searchsorted(places[order], offsets)]
    zeros: Any = record.leaf_tensor(np.zeros(whole.size, whole.dtype.np), whole.dtype)
    gradient = zeros.index_add(0, record.leaf_tensor(index, int64), ct.reshape(-1))
    return gradient.reshape(whole.shape)


class Swept(_Taken):
    """Callbacks in a reverse sweep."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._rules: Pass | None = None

    def run(self, reason: int) -> None:
        """Do the work that the sweep stopped for, let it go on, and so forth until it is through."""
        request, tape = self.request, self.tape
        with nested(tape), no_grad_on(tape):
            while reason != nt.DONE:
                tape.state[nt.S_GRAD_MODE] = False  # a hook may have left another behind
                statement = request.words[nt.R_NEXT]
                if reason == nt.NEEDS_HOOKS:
                    self._look(statement)
                else:
                    self._take_over(statement)
                reason = request.advance(sweep.run)

    def _memory(self, slot: int) -> np.ndarray:
        """The adjoint of a slot, in place."""
        tape = self.tape
        root = int(self.request.root[slot])
        if tape.instruction_of(slot).op.kind in (nt.WRITE, nt.ACCUMULATE):
            slot = root  # hooks at a write are the base's
        offset = int(tape.address[slot]) - int(tape.address[root])
        address = int(self.request.adjoint[root]) + offset
        return array_at(address, tape.instruction_of(slot).out)

    def _look(self, k: int) -> None:
        """Call a tensor's hooks, keep its gradient, and note if its node has hooks as well."""
        tape = self.tape
        # A view that has no adjoint of its own is one that the pass does not come by.
        if is_separable(self.request, k) or not watches(tape, k):
            return
        kind = tape.instruction_of(k).out.dtype
        hooks, storage = tape.hooks.get(k), self.kept(k)
        if hooks is None:
            if storage is not None:
                keep_gradient(storage, record.leaf_tensor(self._memory(k).copy(), kind))
            return
        ct = call_hooks(hooks.tensor, record.leaf_tensor(self._memory(k).copy(), kind))
        array = ct._array()
        if storage is not None:
            keep_gradient(storage, record.leaf_tensor(array.copy(), kind))
        new, instead = self.of_view(k, ct)
        # Also a hook that writes into the gradient it was given has changed it.
        self._memory(k)[...] = 0 if instead is not None else array if new is ct else new._array()
        if instead is not None:
            self._seed(tape.args_of(k)[0], instead)
        if hooks.takes_over():
            self.request.words[nt.R_SEEN] = -k

    def _take_over(self, k: int) -> None:
        tape = self.tape
        ct = record.leaf_tensor(self._memory(k).copy(), tape.instruction_of(k).out.dtype)
        for slot, new in zip(tape.args_of(k), self.derive(k, ct), strict=True):
            if new is not None and self.wanted(slot):
                self._seed(slot, new)
        adjoint, layout = self.request.adjoint, tape.instruction_of(k).out
        if layout.span > nt.SMALL:
            collector.give_back(tape.pointer, int(adjoint[k]), layout.span)
        adjoint[k] = 0
        self.request.words[nt.R_NEXT] = k - 1

    def _seed(self, slot: int, ct: TensorHandle) -> None:
        """Add a cotangent to a slot's adjoint."""
        layout = self.tape.instruction_of(slot).out
        array = ct._array()
        if array.shape != layout.shape:
            array = np.broadcast_to(array, layout.shape)
        array = np.ascontiguousarray(array, layout.dtype.np)
        arguments = slot, address_of(array), self.request.copy_of(layout)
        if sweep.seed(self.tape.pointer, self.request.pointer, *arguments) != 0:
            no_memory()

    def rule(self, k: int, i: int, ct: TensorHandle, values: dict[int, int] | None) -> int:
        """Record the op's rule for one operand; the slot of the cotangent."""
        if self._rules is None:
            self._rules = Pass(self.request)
        return self._rules.rule(k, i, record.operand(self.tape, ct), values)


class Replayed(_Taken):
    """Callbacks in replay: cotangents are recorded, and differentiable again."""

    is_replayed = True

    def __init__(self, rules: Pass) -> None:
        super().__init__(rules.request)
        self.rules = rules

    def _tensor(self, slot: int) -> AnyTensor:
        return record.result_tensor(self.tape, slot)

    def looks(self, k: int) -> bool:
        """Return True if hooks or `retain_grad` wait for the adjoint of slot `k`."""
        watched = bool(self.tape.flags[k] & nt.WATCHED)
        return watched and not is_separable(self.request, k) and watches(self.tape, k)

    def takes_over(self, k: int) -> bool:
        """Return True if Python is to compute the cotangents of statement `k`'s operands."""
        hooks = self.tape.hooks.get(k)
        python = self.tape.instruction_of(k).op.python or k in self.tape.contexts
        seen = python or anomaly.checks_nan() or (hooks is not None and hooks.takes_over())
        return seen and self.runs(k)

    def look_leaf(self, slot: int, ct: int) -> int:
        """Call a leaf's hooks; return the slot of the cotangent that they leave."""
        storage = self.tape.leaves.get(slot)
        hooks = None if storage is None else storage.hooks
        if hooks is None or not (hooks.tensor or hooks.before):
            return ct
        new = call_hooks(hooks.tensor, self._tensor(ct))
        return record.operand(self.tape, new if self.request.raw else prehooked(hooks, new))

    def look(self, k: int, ct: int) -> int:
        """Call a tensor's hooks; return the slot of the cotangent that they leave."""
        hooks, storage = self.tape.hooks.get(k), self.kept(k)
        new = self._tensor(ct)
        if hooks is not None:
            new = call_hooks(hooks.tensor, new)
        if storage is not None:
            keep_gradient(storage, new.view_as(new) if hooks is not None else new)
        new, instead = self.of_view(k, new)
        if instead is None:
            return record.operand(self.tape, new)
        self.rules.add(self.tape.args_of(k)[0], record.operand(self.tape, instead))
        return self.rules.zeros(self.tape.instruction_of(k).out)

    def take_over(self, k: int, ct: int) -> list[int | None]:
        """Slots of the cotangents of the operands of statement `k`."""
        cotangents = self.derive(k, self._tensor(ct))
        slots: list[int | None] = []
        for slot, new in zip(self.tape.args_of(k), cotangents, strict=True):
            if new is None or not self.wanted(slot):
                slots.append(None)
                continue
            layout = self.tape.instruction_of(slot).out
            new = record.cast(new, layout.dtype)
            if new.shape != layout.shape:
                new = new.expand(layout.shape)
            slots.append(record.operand(self.tape, new))
        return slots

    def rule(self, k: int, i: int, ct: TensorHandle, values: dict[int, int] | None) -> int:
        """Record the op's rule for one operand; the slot of the cotangent."""
        return self.rules.rule(k, i, slot_of(self.tape, ct), values)


class no_grad_on(Exchange):
    """Context manager: results recorded on a tape are passive (or, with `mode`, active)."""

    def __init__(self, tape: Tape, mode: bool = False) -> None:
        super().__init__()
        self.tape, self.mode = tape, mode

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of the tape's grad mode."""
        state = self.tape.state
        return ((state, nt.S_GRAD_MODE, state[nt.S_GRAD_MODE], self.mode),), None
