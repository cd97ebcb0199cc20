"""PyTorch's ``torch.autograd.variable``: tensors by their old name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..base.errors import UnsupportedError
from ..engine.reverse_pass import innermost
from ..tape.current import current_tape
from ..tensors.tensor import Tensor

__all__ = ["Variable"]


class _ExecutionEngine:
    """PyTorch's engine object, as far as users call it."""

    @staticmethod
    def queue_callback(callback: Callable[[], None]) -> None:
        """Call a function when the pass under way has ended, and gradients have been accumulated.

        Raises
        ------
        RuntimeError
            If there is no pass under way.
        """
        tape = current_tape()
        if tape.requests and tape.requests[-1]() is not None:
            innermost(tape).attached.finals.append(callback)
        elif tape.finishing:
            tape.finals.append(callback)
        else:
            raise RuntimeError("Final callbacks can only be installed during backward pass.")


class _VariableType(type):
    """``isinstance(tensor, Variable)`` holds, as since PyTorch 0.4 the two are one."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, Tensor)


class Variable(metaclass=_VariableType):
    """PyTorch's old name: ``Variable(tensor)`` returns a Tensor that shares the memory.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.Variable(tg.ones(2), requires_grad=True)
    tensor([1., 1.], requires_grad=True)
    """

    _execution_engine = _ExecutionEngine()

    def __new__(
        cls, data: Any = None, requires_grad: bool = False, volatile: bool | None = None
    ) -> Any:
        """Return a leaf over the data of `data`."""
        if data is None:
            raise UnsupportedError("Variable() without data; use tapegrad.tensor([])")
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        if volatile is not None:
            warnings.warn(
                "volatile was removed and now has no effect. Use `with torch.no_grad():` instead.",
                UserWarning,
                stacklevel=2,
            )
        leaf = data.detach()
        if requires_grad:
            leaf.requires_grad_()
        return leaf
