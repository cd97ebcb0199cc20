"""PyTorch's ``torch.autograd.graph``: nodes, edges, hooks over several tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..engine import node
from ..engine import saved_tensors as saved
from ..engine.edges import GradientEdge
from ..engine.node import Node
from ..engine.reverse_pass import innermost
from ..native.exchange import Change, Exchange, Exchanged
from ..ops.instruction import Instruction
from ..tape import recording as record
from ..tape import versions
from ..tape.current import current_tape
from ..tape.hooks import RemovableHandle, Table
from ..tape.tape import Tape
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Return the edge that a tensor's gradient comes along.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> y = a * a
    >>> tg.autograd.grad(y.sum(), tg.autograd.graph.get_gradient_edge(y))
    (tensor([1., 1.]),)
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    return GradientEdge(*node.edge_of(tensor))


class _MultiHandle(RemovableHandle):
    """Removes the hooks of several tensors at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__(Table())
        self._handles = tuple(handles)

    def remove(self) -> None:
        """Take all of them away."""
        for handle in self._handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all"
) -> RemovableHandle:
    """Call a function once the gradients of several tensors are known.

    Parameters
    ----------
    tensors : sequence of Tensor
    fn : callable
        With ``mode="all"``, ``fn(grads)`` with a gradient (or None) a tensor, when those that the pass
        reaches have all come; with ``mode="any"``, ``fn(grad)`` with the first.
    mode : {"all", "any"}

    Returns
    -------
    RemovableHandle

    Raises
    ------
    AssertionError
        PyTorch's, if a tensor does not require grad.

    Notes
    -----
    In mode "all" the call comes when the last of `tensors`, in the order of the graph, got its gradient,
    or at the end of the pass if it does not reach all of them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> b = tg.tensor([3.0], requires_grad=True)
    >>> handle = tg.autograd.graph.register_multi_grad_hook((a, b), print)
    >>> (a * b).sum().backward()
    [tensor([3., 3.]), tensor([3.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    for t in tensors:
        assert t.requires_grad, "Expected gradient function to be set"
    state = _Arrived(tuple(tensors), fn, mode)

    def hook(i: int) -> Callable[[Tensor], None]:
        return lambda grad: state.seen(i, grad)

    return _MultiHandle([t.register_hook(hook(i)) for i, t in enumerate(tensors)])


class _Arrived:
    """A multi-grad hook; the gradients that it has got in a pass are in the pass's notes."""

    def __init__(self, tensors: Sequence[Tensor], fn: Callable[..., None], mode: str) -> None:
        self.count, self.fn, self.mode = len(tensors), fn, mode

    def seen(self, i: int, grad: Tensor) -> None:
        """Note a gradient, and call the function when it is time."""
        attached = innermost(current_tape()).attached
        noted: dict[int, Tensor] | None = attached.notes.get(self)
        grads = {} if noted is None else noted
        first = noted is None or i in grads
        if noted is None:
            attached.notes[self] = grads
            attached.ends.append(lambda: self._ended(grads))
        elif first:  # another sweep of the same pass
            grads.clear()
        grads[i] = grad
        if self.mode == "any":
            if first:
                call_user(self.fn, grad)
        elif len(grads) == self.count:
            self._call(grads)

    def _call(self, grads: dict[int, Tensor]) -> None:
        call_user(self.fn, [grads.get(j) for j in range(self.count)])

    def _ended(self, grads: dict[int, Tensor]) -> None:
        if self.mode == "all" and len(grads) < self.count:
            self._call(grads)


def increment_version(tensor: Any) -> None:
    """Count an in-place write to a tensor, or to each of several, that happened unseen.

    Raises
    ------
    RuntimeError
        PyTorch's, for anything else.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.ones(2)
    >>> tg.autograd.graph.increment_version(x)
    >>> x._version
    1
    """
    tensors = (tensor,) if isinstance(tensor, Tensor) else tensor
    if not isinstance(tensors, Iterable):
        raise RuntimeError("increment_version expect a Iterable[Tensor] as input")
    for t in tensors:
        if not isinstance(t, Tensor):
            raise RuntimeError(
                "increment_version expects each element of the iterable to be a tensor"
            )
        record.adopt(t)
        tape = current_tape()
        with tape.lock:
            versions.note_write_from_python(tape, record.operand(tape, t))


class _HookMode(Exchange):
    """A context manager made of one that can be entered once."""

    def _make(self) -> Exchange:
        raise NotImplementedError

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes that one makes which is entered now."""
        return self._make().changes()


class saved_tensors_hooks(_HookMode):
    """Context manager: hooks pack what is saved for backward, and unpack it there.

    A tensor that an operation saves (an operand or result that its derivative needs) is passed to
    `pack_hook` when the operation is recorded. A backward pass calls `unpack_hook` with what that
    returned, whenever it needs the value. Tensors for `autograd.Function.save_for_backward` go through
    the hooks, too. The hooks are this thread's; those of the innermost context are used.

    Parameters
    ----------
    pack_hook : callable
        ``pack_hook(tensor) -> object``. It runs under `no_grad` and must not write to the tensor.
    unpack_hook : callable
        ``unpack_hook(object) -> Tensor``, of the shape that was packed.

    Raises
    ------
    RuntimeError
        Inside `disable_saved_tensors_hooks`, on entry.

    Notes
    -----
    Which tensors an operation saves is an implementation's own affair; where tapegrad's operation is
    PyTorch's and has the same formula for its derivative, they are the same. Operations recorded under
    hooks keep what the hook returned and not the value, until a backward pass frees them; that they were
    changed in place since is not noticed, as in PyTorch. The tensor that `pack_hook` was given loses its
    graph (``requires_grad`` becomes False) when the hook is done, unless it is a leaf. Recording and
    backward of such operations go through Python.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), tg.tensor):
    ...     y = (x.exp() * 0 + x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        super().__init__()
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def _make(self) -> Exchange:
        for hook in (self.pack_hook, self.unpack_hook):
            if not callable(hook):
                raise TypeError(
                    f"saved_tensors_hooks(): hooks must be callable, not {type(hook).__name__}"
                )
        return saved.pushed(saved.PackingHooks(self.pack_hook, self.unpack_hook))


class save_on_cpu(_HookMode):
    """Context manager of PyTorch that moves what is saved to the CPU: it is there already.

    Parameters
    ----------
    pin_memory : bool
    device_type : str

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.autograd.graph.save_on_cpu():
    ...     y = (a * a).sum()
    >>> y.backward()
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__()
        self.pin_memory = pin_memory

    def _make(self) -> Exchange:
        return Exchanged()


class disable_saved_tensors_hooks(_HookMode):
    """Context manager: `saved_tensors_hooks` raise a RuntimeError.

    Parameters
    ----------
    error_message : str
        The text of the error.

    Raises
    ------
    RuntimeError
        With that text, if such hooks are active on entry.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
    ...     y = (a * a).sum()
    >>> y
    tensor(5., grad_fn=<SumBackward0>)
    """

    def __init__(self, error_message: str) -> None:
        super().__init__()
        self.error_message = error_message

    def _make(self) -> Exchange:
        if not isinstance(self.error_message, str):
            kind = type(self.error_message).__name__
            raise TypeError(f"disable_saved_tensors_hooks(): error_message must be str, not {kind}")
        return saved.disabled(self.error_message)


class _SavedCopies(saved.PackingHooks):
    """Copies of what statements save, which keep the graph of that moment."""

    def __init__(self) -> None:
        super().__init__(lambda t: t.detach().clone(), lambda t: t)

    def places(self, tape: Tape, instruction: Instruction, k: int) -> list[int]:
        """Add the operands where the result is saved: its derivatives are made of theirs."""
        places = super().places(tape, instruction, k)
        count = len(instruction.layouts)
        return [*range(count), count] if count in places else places

    def keep_origin(self, tape: Tape, slot: int, packed: saved.Packed) -> None:
        """Keep a copy with the operand's graph. That of a result would keep the statement itself."""
        if tape.grad_mode and tape.is_active(slot):
            with saved.suspended():
                packed.origin = record.new_tensor(tape, slot, tape.instruction_of(slot).out).clone()


class allow_mutation_on_saved_tensors(_HookMode):
    """Context manager: what is saved for backward may be written in place; backward uses the old values.

    PyTorch copies a saved tensor when it is written; here each is copied when it is saved, and so what
    was recorded may be differentiated after the context, too. Entering returns an object whose
    ``clear()`` does nothing, for code that calls PyTorch's.

    Raises
    ------
    RuntimeError
        On entry, inside another one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.clone()
    ...     z = (y * y).sum()
    ...     _ = y.zero_()
    >>> z.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __enter__(self) -> allow_mutation_on_saved_tensors:
        if isinstance(current_tape().saving, _SavedCopies):
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        super().__enter__()
        return self

    def _make(self) -> Exchange:
        return saved.pushed(_SavedCopies())

    def clear(self) -> None:
        """Do nothing: copies go with the statements that they were made for."""
