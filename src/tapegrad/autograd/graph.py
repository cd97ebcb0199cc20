"""PyTorch's ``torch.autograd.graph``: nodes, edges, hooks over several tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .. import node, saved
from ..edges import GradientEdge
from ..hooks import RemovableHandle
from ..node import AccumulateGrad, Node
from ..tensor import Tensor

__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Return the edge that a tensor's gradient comes along.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    made = tensor.grad_fn
    if made is None:
        return GradientEdge(AccumulateGrad(tensor), 0)
    return GradientEdge(made, node.output_number(made))


class _MultiHandle(RemovableHandle):
    """Removes the hooks of several tensors at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__({})
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

    Notes
    -----
    In mode "all" the call comes when the last of `tensors`, in the order of the graph, got its
    gradient. A tensor that the pass does not reach keeps the call back until a pass reaches it.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    state: dict[str, Any] = {"grads": {}, "called": False}

    def seen(i: int, grad: Tensor) -> None:
        with lock:
            if mode == "any":
                if state["called"] and i not in state["grads"]:
                    state["grads"][i] = grad
                    ready = False
                else:
                    state.update(grads={i: grad}, called=True)
                    ready = True
            else:
                state["grads"][i] = grad
                ready = len(state["grads"]) == len(tensors)
                if ready:
                    grads, state["grads"] = state["grads"], {}
        if ready:
            if mode == "any":
                fn(grad)
            else:
                fn([grads.get(j) for j in range(len(tensors))])

    def hook(i: int) -> Callable[[Tensor], None]:
        return lambda grad: seen(i, grad)

    return _MultiHandle([t.register_hook(hook(i)) for i, t in enumerate(tensors)])


class _HookMode:
    """A context manager made of one that can be entered once."""

    def __init__(self) -> None:
        self._entered: list[AbstractContextManager[None]] = []

    def _make(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def __enter__(self) -> None:
        entered = self._make()
        entered.__enter__()
        self._entered.append(entered)

    def __exit__(self, *_: object) -> None:
        self._entered.pop().__exit__(None, None, None)


class saved_tensors_hooks(_HookMode):
    """Context manager: hooks pack what is saved for backward, and unpack it there.

    What an operation saves (operands and results that its derivative needs) is passed to `pack_hook`
    when it is recorded. A backward pass calls `unpack_hook` with what that returned, whenever it needs
    the value. What `autograd.Function.save_for_backward` is given goes through the hooks, too. The hooks
    are this thread's; those of the innermost context are used.

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

    def _make(self) -> AbstractContextManager[None]:
        return saved.pushed(saved.Hooks(self.pack_hook, self.unpack_hook))


class save_on_cpu(_HookMode):
    """Context manager of PyTorch that moves what is saved to the CPU: it is there already.

    Parameters
    ----------
    pin_memory : bool
    device_type : str
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__()
        self.pin_memory = pin_memory

    def _make(self) -> AbstractContextManager[None]:
        return nullcontext()


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
    """

    def __init__(self, error_message: str) -> None:
        super().__init__()
        self.error_message = error_message

    def _make(self) -> AbstractContextManager[None]:
        return saved.disabled(self.error_message)
