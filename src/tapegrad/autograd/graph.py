"""PyTorch's ``torch.autograd.graph``: nodes, edges, hooks over several tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import node
from ..errors import UnsupportedError
from ..hooks import RemovableHandle
from ..node import AccumulateGrad, Node
from ..tensor import Tensor

__all__ = [
    "GradientEdge", "Node", "get_gradient_edge", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """An output of a node: what `autograd.grad` takes in the place of a tensor."""

    node: Node
    output_nr: int
    ownership_token: Any = None


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


class save_on_cpu:
    """Context manager of PyTorch that moves what is saved to the CPU: it is there already.

    Parameters
    ----------
    pin_memory : bool
    device_type : str
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        self.pin_memory = pin_memory

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class saved_tensors_hooks:
    """PyTorch's hooks on what statements save: not supported, as the tape saves no tensors.

    Raises
    ------
    UnsupportedError
        Always; recompute with `checkpoint`, or save in a `Function`, instead.
    """

    def __init__(self, pack_hook: Any, unpack_hook: Any) -> None:
        raise UnsupportedError(
            "saved_tensors_hooks: statements refer to values on the tape and save no tensors that "
            "could be packed; use autograd.checkpoint to recompute values, or an autograd.Function "
            "that packs what it saves"
        )
