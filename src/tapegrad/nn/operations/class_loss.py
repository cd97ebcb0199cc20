"""Losses of classes: `cross_entropy`, `nll_loss`, and those of several labels an example."""

from __future__ import annotations

import math
from typing import Any

from ...base.dtypes import int64, scalar_name, uint8
from ...tape.current import current_tape
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from .loss import reduced, reduction_of

__all__ = [
    "cross_entropy", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
]  # fmt: skip

_where, _logsigmoid, _log_softmax = (top_level(n) for n in ("where", "logsigmoid", "log_softmax"))


# --------------------------------------------------------------------------- classes by number
def _has_ignored(target: Any, classes: int, ignore_index: int) -> bool:
    """Return True if some targets may be ones to ignore.

    Raises
    ------
    IndexError
        For a target that is no class.
    """
    if current_tape().abstract:  # a trace has no values; `gather` looks at them later
        return True
    values = target._array()
    if not values.size:
        return False
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high < classes:
        return low <= ignore_index <= high and bool((values == ignore_index).any())
    kept = values[values != ignore_index]
    wrong = kept[(kept < 0) | (kept >= classes)]
    if wrong.size:
        raise IndexError(f"Target {wrong.ravel()[0]} is out of bounds.")
    return True


def _check_classes(input: Any, target: Any, weight: Any) -> int:
    """Return the dimension of classes, after PyTorch's checks of the shapes."""
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    dim = min(input.ndim - 1, 1)
    classes = input.shape[dim]
    if target.dtype is not int64 and target.dtype is not uint8:
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {scalar_name(target.dtype)}"
        )
    if input.ndim > 1 and target.ndim and input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if input.ndim <= 2 and target.ndim != input.ndim - 1:
        if target.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(
            f"size mismatch (got input: {list(input.shape)}, target: {list(target.shape)})"
        )
    expected = [input.shape[0], *input.shape[2:]] if input.ndim > 1 else []
    if list(target.shape) != expected:
        raise RuntimeError(f"Expected target size {expected}, got {list(target.shape)}")
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            "weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    return dim


def nll_loss(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the negative log-probabilities of the target classes.

    Parameters
    ----------
    input : Tensor
        Log-probabilities of shape (C,), (N, C) or (N, C, d1, ...).
    target : Tensor
        Numbers of classes, of shape (), (N,) or (N, d1, ...).
    weight : Tensor, optional
        Of the classes, by whose sum the mean divides.
    ignore_index : int
        A target that counts for nothing.

    Raises
    ------
    ValueError, RuntimeError, IndexError
        For shapes that do not fit, and targets that are no classes.
    """
    return _negative_logs(
        input, target, weight, ignore_index, reduction_of(size_average, reduce, reduction), 0.0
    )


def _negative_logs(
    logs: Any, target: Any, weight: Any, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """Return `nll_loss` of log-probabilities, mixed by `smoothing` with the loss of all classes alike."""
    dim = _check_classes(logs, target, weight)
    if target.dtype is not int64:
        target = target.to(int64)
    ignored = None
    if _has_ignored(target, logs.shape[dim], ignore_index):
        ignored = target == ignore_index
        target = _where(ignored, target.new_zeros(()), target)
    losses = -logs.gather(dim, target.unsqueeze(dim)).squeeze(dim)
    weights = None
    if weight is not None:
        weights = weight[target]
        losses = losses * weights
    smooth = None
    if smoothing:
        shape = [1] * logs.ndim
        shape[dim] = -1
        smooth = -(logs if weight is None else logs * weight.reshape(shape)).sum(dim)
    if ignored is not None:
        zero = losses.new_zeros(())
        losses = _where(ignored, zero, losses)
        smooth = None if smooth is None else _where(ignored, zero, smooth)
        ones = losses.new_ones(()) if weights is None else weights
        weights = _where(ignored, zero, ones)
    result = reduced_by(losses, weights, reduction)
    if smooth is None:
        return result
    share = smoothing / logs.shape[dim]
    mixed: Tensor = (1 - smoothing) * result + share * reduced_by(smooth, weights, reduction)
    return mixed


def reduced_by(losses: Any, weights: Any, reduction: str) -> Tensor:
    """Return losses, their sum, or their mean by the sum of weights."""
    if weights is None or reduction != "mean":
        return reduced(losses, reduction)
    result: Tensor = losses.sum() / weights.sum()
    return result


def cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return the cross entropy of the softmax of `input` and target classes, or probabilities of them.

    Parameters
    ----------
    input : Tensor
        Of shape (C,), (N, C) or (N, C, d1, ...); the logits.
    target : Tensor
        Numbers of classes, as for `nll_loss`, or probabilities, of the shape of `input`.
    weight : Tensor, optional
        Of the classes.
    ignore_index : int
        A number that counts for nothing.
    label_smoothing : float
        The share of the target that all classes get alike.

    Raises
    ------
    ValueError, RuntimeError, IndexError
        For shapes that do not fit, and targets that are no classes.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    dim = 0 if input.ndim == 1 else 1
    if target.shape == input.shape:
        if not target.dtype.is_floating_point:
            raise RuntimeError(
                f"Expected floating point type for target with class probabilities, got "
                f"{'Long' if target.dtype is int64 else target.dtype.name.capitalize()}"
            )
        return _with_probabilities(input, target, weight, reduction, label_smoothing, dim)
    if input.ndim:
        logs = _log_softmax(input, dim)
    else:
        raise RuntimeError("Expected 1 or more dimensions (got 0)")
    return _negative_logs(logs, target, weight, ignore_index, reduction, label_smoothing)


def _with_probabilities(
    input: Any, target: Any, weight: Any, reduction: str, smoothing: float, dim: int
) -> Tensor:
    classes = input.shape[dim]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            "cross_entropy: weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    logs = _log_softmax(input, dim)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        target = target * weight.reshape(*[1] * dim, classes, *[1] * (input.ndim - dim - 1))
    losses = -(logs * target).sum(dim)
    if reduction != "mean":
        return reduced(losses, reduction)
    result: Tensor = losses.sum() / max(math.prod(losses.shape), 1) if losses.ndim else losses
    return result


# --------------------------------------------------------------------------- several labels
def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the mean over classes of the binary cross entropy of each."""
    reduction = reduction_of(size_average, reduce, reduction)
    losses = -(target * _logsigmoid(input) + (1 - target) * _logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.sum(-1) / input.shape[-1], reduction)


def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the mean over classes of what the target's score is not above each other by a margin."""
    reduction = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    scores = input if input.ndim == 2 else input.unsqueeze(0)
    places = target.reshape(-1, 1)
    gaps = (margin - scores.gather(1, places) + scores).clamp_min(0)
    gaps = gaps if p == 1 else gaps * gaps
    if weight is not None:
        gaps = gaps * weight[places]
    others = top_level("arange")(scores.shape[1]) != places
    losses = _where(others, gaps, gaps.new_zeros(())).sum(1) / scores.shape[1]
    return reduced(losses if input.ndim == 2 else losses[0], reduction)


def multilabel_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """Return the hinge loss of each of an example's labels against each other class; -1 ends the labels."""
    reduction = reduction_of(size_average, reduce, reduction)
    scores, labels = (input, target) if input.ndim == 2 else (input[None], target[None])
    is_label = (labels < 0).to(int64).cumsum(1) == 0
    safe = _where(is_label, labels, labels.new_zeros(()))
    classes = top_level("arange")(scores.shape[1])
    hits = (safe.unsqueeze(2) == classes) & is_label.unsqueeze(2)
    is_other = ~hits.any(1)
    gaps = (1 - (scores.gather(1, safe).unsqueeze(2) - scores.unsqueeze(1))).clamp_min(0)
    counts = is_label.unsqueeze(2) & is_other.unsqueeze(1)
    losses = _where(counts, gaps, gaps.new_zeros(())).sum((1, 2)) / scores.shape[1]
    return reduced(losses if input.ndim == 2 else losses[0], reduction)
