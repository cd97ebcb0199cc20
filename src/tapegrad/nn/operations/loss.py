"""Losses: of a prediction and a target, to a number or one for each example.

Classes are in class_loss.py; `reduced` is what all of them end with.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.current import current_tape
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "gaussian_nll_loss",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "poisson_nll_loss", "reduced", "reduction_of", "smooth_l1_loss", "soft_margin_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip

_where, _logsigmoid, _exp, _log = (top_level(n) for n in ("where", "logsigmoid", "exp", "log"))


# --------------------------------------------------------------------------- what they share
def reduction_of(size_average: Any, reduce: Any, reduction: str) -> str:
    """Return the reduction that PyTorch's old arguments ask for, with its warning."""
    if size_average is not None or reduce is not None:
        average = True if size_average is None else size_average
        summed = True if reduce is None else reduce
        reduction = ("mean" if average else "sum") if summed else "none"
        warnings.warn(
            "size_average and reduce args will be deprecated, please use reduction="
            f"'{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(losses: Any, reduction: str) -> Tensor:
    """Return losses, their mean or their sum."""
    result: Tensor = losses
    if reduction == "mean":
        result = losses.mean()
    elif reduction == "sum":
        result = losses.sum()
    return result


def _pair(name: str, input: Any, target: Any) -> None:
    """Raise unless a prediction and a target broadcast; warn where they have to."""
    for argument, place, value in (("input", 1, input), ("target", 2, target)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}(): argument '{argument}' (position {place}) must be Tensor, not "
                f"{type(value).__name__}"
            )
    if input._layout_id != target._layout_id and input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the "
            "same size.",
            stacklevel=3,
        )
        broadcast_shapes(input.shape, target.shape)  # raises PyTorch's error


def _weighted(losses: Any, weight: Any) -> Any:
    return losses if weight is None else losses * weight


def _elementwise(losses: Any, weight: Any, reduction: str) -> Tensor:
    """Weigh losses, reduce them; the mean is by the sum of weights."""
    if weight is None:
        return reduced(losses, reduction)
    if weight.shape != losses.shape:
        raise ValueError("Inputs and weight must have the same size.")
    if reduction == "mean":
        result: Tensor = (losses * weight).sum() / weight.sum()
        return result
    return reduced(losses * weight, reduction)


# --------------------------------------------------------------------------- regression
def mse_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    weight: Any = None,
) -> Tensor:  # fmt: skip
    """Return the squared differences of a prediction and a target."""
    _pair("mse_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    difference = input - target
    return _elementwise(difference * difference, weight, reduction)


def l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    weight: Any = None,
) -> Tensor:  # fmt: skip
    """Return the absolute differences of a prediction and a target."""
    _pair("l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    return _elementwise((input - target).abs(), weight, reduction)


def smooth_l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return absolute differences less ``beta / 2``, or squares where they are below `beta`."""
    _pair("smooth_l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    z = (input - target).abs()
    if beta == 0:
        return reduced(z, reduction)
    difference = input - target
    return reduced(
        _where(z < beta, 0.5 * difference * difference / beta, z - 0.5 * beta), reduction
    )


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """Return half the squared differences; where they are above `delta`, lines of the same slope."""
    _pair("huber_loss", input, target)
    reduction = reduction_of(None, None, reduction)
    if not delta > 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    difference = input - target
    z = difference.abs()
    losses = _where(z <= delta, 0.5 * difference * difference, delta * (z - 0.5 * delta))
    return _elementwise(losses, weight, reduction)


# --------------------------------------------------------------------------- probabilities
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the cross entropy of probabilities and targets; logarithms are at least -100.

    Raises
    ------
    ValueError, RuntimeError
        For another shape of the target, and probabilities outside of [0, 1].
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) "
            "is deprecated. Please ensure they have the same size."
        )
    if target.dtype is not input.dtype:
        raise RuntimeError(
            f"Found dtype {target.dtype.name.capitalize()} but expected {input.dtype.name.capitalize()}"
        )
    if not current_tape().abstract:  # a trace has no values; the logarithms of others are NaN
        values = input._array()
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise RuntimeError("all elements of input should be between 0 and 1")
    losses = record.apply(TABLE["binary_cross_entropy"], (input, target))
    return reduced(_weighted(losses, weight), reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Tensor:  # fmt: skip
    """Return the cross entropy of the sigmoid of `input` and targets.

    Parameters
    ----------
    input, target : Tensor
        Of one shape.
    weight : Tensor, optional
        Of the losses.
    pos_weight : Tensor, optional
        Of the positive examples.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    logs = _logsigmoid(input)
    if pos_weight is not None:
        logs = ((pos_weight - 1) * target + 1) * logs
    losses = (1 - target) * input - logs
    return reduced(_weighted(losses, weight), reduction)


def kl_div(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:  # fmt: skip
    """Return the pointwise divergence ``target * (log(target) - input)`` of log-probabilities.

    Parameters
    ----------
    input : Tensor
        Log-probabilities.
    target : Tensor
        Probabilities, or with `log_target` their logarithms.
    reduction : str
        "batchmean" divides the sum by the length of the first dimension.
    """
    batch = reduction == "batchmean"
    kind = "sum" if batch else reduction_of(size_average, reduce, reduction)
    if kind == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    losses = top_level("xlogy")(target, target) - target * input
    if log_target:
        losses = _exp(target) * (target - input)
    result = reduced(losses, kind)
    if batch and input.ndim:
        result = result / input.shape[0]
    return result


def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: Any = None,
    eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the negative log-likelihood of counts, less its constant (Stirling's, with `full`)."""
    reduction = reduction_of(size_average, reduce, reduction)
    losses = _exp(input) - target * input if log_input else input - target * _log(input + eps)
    if full:
        stirling = target * _log(target) - target + 0.5 * _log(2 * 3.141592653589793 * target)
        losses = losses + _where(target <= 1, target.new_zeros(()), stirling)
    return reduced(losses, reduction)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log-likelihood of normal targets with mean `input` and variance `var`."""
    if not isinstance(var, Tensor):
        var = input.new_full((), var).expand(input.shape)
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif not (input.shape[:-1] == var.shape[:-1] and var.shape[-1] == 1):
            raise ValueError("var is of incorrect size")
    reduction_of(None, None, reduction)
    if not current_tape().abstract and (var._array() < 0).any():
        raise ValueError("var has negative entry/entries")
    clamped = var + (var.detach().clamp(min=eps) - var.detach())
    losses = 0.5 * (_log(clamped) + (input - target) ** 2 / clamped)
    if full:
        losses = losses + 0.9189385332046727  # log(2 pi) / 2
    return reduced(losses, reduction)


# --------------------------------------------------------------------------- margins
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return distances where the target is 1, and what they lack of a margin where it is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    zero = input.new_zeros(())
    near = _where(target != 1, (margin - input).clamp_min(0), zero)
    return reduced(near + _where(target != -1, input, zero), reduction)


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return what ``target * (input1 - input2)`` lacks of a margin."""
    reduction = reduction_of(size_average, reduce, reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def soft_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """Return ``log(1 + exp(-target * input))``."""
    reduction = reduction_of(size_average, reduce, reduction)
    return reduced(top_level("log1p")(_exp(-target * input)), reduction)


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return ``1 - cos`` where the target is 1, and what `cos` is above a margin where it is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    products = (input1 * input2).sum(-1)
    first, second = (input1 * input1).sum(-1) + 1e-12, (input2 * input2).sum(-1) + 1e-12
    cosine = products / (first * second).sqrt()
    zero = cosine.new_zeros(())
    near = _where(target == 1, 1 - cosine, zero)
    return reduced(near + _where(target == -1, (cosine - margin).clamp_min(0), zero), reduction)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return what the distance of an anchor to a negative example is too near, beside that to a positive."""
    reduction = reduction_of(size_average, reduce, reduction)
    if not margin > 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(x: Any, y: Any) -> Any:
        return top_level("pairwise_distance")(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Any = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return `triplet_margin_loss` with another distance."""
    reduction = reduction_of(None, None, reduction)
    distance = top_level("pairwise_distance") if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = top_level("minimum")(far, distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), reduction)
