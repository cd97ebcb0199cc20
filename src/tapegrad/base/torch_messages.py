"""PyTorch's texts that more than one place needs."""

from __future__ import annotations

import operator
import warnings
from typing import Any

from .errors import must_be

__all__ = [
    "FREED", "NO_GRAD_FN", "OVERLAP", "as_flag", "check_bool", "check_grad_assignment", "warn_non_leaf_grad",
]  # fmt: skip

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a "
    "single memory location. Please clone() the tensor before performing the operation."
)
FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they "
    "have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)
NO_GRAD_FN = "element {} of tensors does not require grad and does not have a grad_fn"
_STALE = (
    "one of the variables needed for gradient computation has been modified by an inplace operation: "
    "[{kind} {shape}]{origin} is at version {version}; expected version {expected} instead. Hint: "
)
_STALE_HINTS = (
    "enable anomaly detection to find the operation that failed to compute its gradient, with "
    "torch.autograd.set_detect_anomaly(True, check_nan=False).",
    "the backtrace further above shows the operation that failed to compute its gradient. The "
    "variable in question was changed in there or anywhere later. Good luck!",
)
LEAF_IN_PLACE = "a leaf Variable that requires grad is being used in an in-place operation."
LEAF_VIEW_IN_PLACE = (
    "a view of a leaf Variable that requires grad is being used in an in-place operation."
)


def check_bool(name: str, argument: str, position: int, value: object) -> None:
    """Raise PyTorch's TypeError unless an option is a bool."""
    if not isinstance(value, bool):
        raise must_be(name, argument, position, "bool", value)


def as_flag(value: Any) -> bool:
    """Return an option of a pass as a bool: a bool, or an integer, as PyTorch takes it.

    Raises
    ------
    TypeError
        PyTorch's, for anything else.
    """
    return value if isinstance(value, bool) else bool(operator.index(value))


def stale(traced: bool) -> str:
    """Text for a residual that was changed in place, with fields to fill in."""
    return _STALE + _STALE_HINTS[traced]


def warn_non_leaf_grad() -> None:
    """Warn that ``.grad`` of a tensor that is not a leaf stays None."""
    warnings.warn(
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
        "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
        "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you "
        "access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead. See "
        "github.com/pytorch/pytorch/pull/30531 for more informations.",
        UserWarning,
        stacklevel=3,
    )


def check_grad_assignment(tensor: Any, value: Any) -> None:
    """Raise PyTorch's errors for a gradient that does not fit."""
    if not hasattr(value, "_layout_id"):
        raise TypeError(
            f"assigned grad expected to be a Tensor or None but got grad of type "
            f"{type(value).__name__}"
        )
    if value is tensor:
        raise RuntimeError("can't assign Variable as its own grad")
    if value.dtype is not tensor.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{value.dtype.name}' to a tensor with "
            f"dtype '{tensor.dtype.name}'. The gradient must match the tensor's dtype"
        )
    if value.shape != tensor.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of size "
            f"'{list(tensor.shape)}'. Please ensure that the gradient and the tensor are the same "
            "size"
        )
