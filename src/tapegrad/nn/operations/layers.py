"""Functions of layers: `linear`, `bilinear`, `embedding`, `dropout`, attention; and `pad`, `one_hot`."""

from __future__ import annotations

import math
from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "alpha_dropout", "bilinear", "dropout", "dropout1d", "dropout2d", "dropout3d", "embedding",
    "embedding_bag", "feature_alpha_dropout", "linear", "one_hot", "pad", "scaled_dot_product_attention",
]  # fmt: skip

linear: Any = top_level("linear")
one_hot: Any = top_level("one_hot")
pad: Any = top_level("pad")
_where: Any = top_level("where")


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """Return ``input1 @ weight[k] @ input2 + bias[k]`` for each k."""
    if input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear(): input1 and input2 have {input1.shape[-1]} and {input2.shape[-1]} features, but "
            f"weight is of shape {list(weight.shape)}"
        )
    result: Tensor = top_level("einsum")("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias


# --------------------------------------------------------------------------- tables
def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Return the rows of a table by their numbers.

    Parameters
    ----------
    input : Tensor
        Numbers of rows, of any shape.
    weight : Tensor
        The table, of shape (rows, features).
    padding_idx : int, optional
        A row that gets no gradient.

    Raises
    ------
    IndexError
        For a number that is no row.
    NotImplementedError
        For `max_norm`, `scale_grad_by_freq` and `sparse`.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError(
            "embedding(): max_norm, scale_grad_by_freq and sparse are not supported; leave them out"
        )
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if input.dtype.is_floating_point or input.dtype.name == "bool":
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, "
            f"Int; but got {input.type()} instead (while checking arguments for embedding)"
        )
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= weight.shape[0]
    result: Any = weight[input]
    if padding_idx is None:
        return result
    kept: Tensor = _where((input == padding_idx).unsqueeze(-1), result.detach(), result)
    return kept


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Return sums, means or maxima of the rows of a table, for bags of one length.

    Parameters
    ----------
    input : Tensor
        Of shape (bags, length).
    weight : Tensor
        The table.
    mode : {"mean", "sum", "max"}
    """
    if input.ndim != 2 or offsets is not None or padding_idx is not None:
        raise NotImplementedError(
            "embedding_bag(): offsets and padding_idx are not supported; give bags of one length, as a matrix"
        )
    rows: Any = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if mode == "max":
        result: Tensor = rows.max(1)[0]
        return result
    if mode not in ("sum", "mean"):
        raise ValueError("mode has to be one of sum, mean or max")
    result = rows.sum(1) if mode == "sum" else rows.mean(1)
    return result


# --------------------------------------------------------------------------- dropout
def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input: Any, p: float, shape: Any) -> Any:
    if p == 1:
        return input * input.new_zeros(shape)
    kept = top_level("bernoulli")(input.new_full(shape, 1 - p))
    return input * (kept / (1 - p))


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set elements to zero with a probability, and divide the others by that of staying.

    Raises
    ------
    ValueError
        For a number that is no probability.
    """
    _check_probability(p)
    if not training or p == 0:
        result: Any = input
    else:
        result = _dropped(input, p, input.shape)
    return input.copy_(result) if inplace and result is not input else result


def _channel_dropout(dims: int) -> Any:
    def function(
        input: Any, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        _check_probability(p)
        result: Any = input
        if training and p:
            batch = input.ndim - 1 - dims  # 1, or 0 for one example alone
            shape = [*input.shape[: batch + 1], *[1] * dims]
            result = _dropped(input, p, shape)
        return input.copy_(result) if inplace and result is not input else result

    function.__name__ = function.__qualname__ = f"dropout{dims}d"
    function.__doc__ = f"Set whole channels, of {dims} dimensions, to zero with a probability."
    return function


dropout1d, dropout2d, dropout3d = map(_channel_dropout, (1, 2, 3))
#: ``-alpha * scale`` of `selu`
_SATURATION = -1.7580993408473766


def _alpha_dropped(input: Any, p: float, shape: Any, inplace: bool) -> Any:
    a = 1 / math.sqrt((1 - p) * (1 + p * _SATURATION**2)) if p < 1 else 0.0
    kept = top_level("bernoulli")(input.new_full(shape, 1 - p))
    result = input * (kept * a) + ((1 - kept) * (_SATURATION * a) - a * _SATURATION * p)
    return input.copy_(result) if inplace else result


def alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Set elements to the lowest value of `selu` with a probability; mean and variance stay."""
    _check_probability(p)
    result: Tensor = _alpha_dropped(input, p, input.shape, inplace) if training and p else input
    return result


def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Do `alpha_dropout` with whole channels."""
    _check_probability(p)
    shape = [*input.shape[:2], *[1] * (input.ndim - 2)]
    result: Tensor = _alpha_dropped(input, p, shape, inplace) if training and p else input
    return result


# --------------------------------------------------------------------------- attention
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Return ``softmax(query @ key.T * scale + mask) @ value``.

    Parameters
    ----------
    query, key, value : Tensor
        Of shape (..., length, features).
    attn_mask : Tensor, optional
        Added to the scores; where it is of bools, scores at False count for nothing.
    dropout_p : float
        Of the weights.
    is_causal : bool
        Whether an element sees only those before it, and itself.
    scale : float, optional
        By default one by the root of the number of features.
    enable_gqa : bool
        Whether there are fewer heads of keys and values, each for several of queries.

    Raises
    ------
    RuntimeError
        For a mask together with `is_causal`.
    """
    if attn_mask is not None and is_causal:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        ones = top_level("ones")(query.shape[-2], key.shape[-2], dtype=query.dtype)
        attn_mask = ones.tril() != 0
    if attn_mask is not None and attn_mask.dtype.name == "bool":
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights: Any = top_level("softmax")(scores, -1)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    result: Tensor = weights @ value
    return result
