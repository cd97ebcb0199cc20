"""Calls of `nn.functional` that are compared with PyTorch's.

A case is the expression of a call, in which `F` is ``torch.nn.functional``, and letters are tensors of
`ARRAYS`, each of which requires grad if it is of floating point and the name is no capital.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_random = np.random.RandomState(0)


def _normal(*shape: int) -> np.ndarray:
    return _random.standard_normal(shape)


#: 0, both kinks of the piecewise functions, and others
_KINKS = np.array([[0.0, -0.0, 3.0, -3.0, 6.0, 1.0], [-1.0, 0.5, -0.5, 0.3, 2.5, -7.0]])
ARRAYS: dict[str, np.ndarray] = {
    "x": _normal(4, 5), "y": _normal(4, 5), "k": _KINKS, "v": _normal(5), "u": _normal(5), "s": np.array(0.7),
    "w": _normal(3, 5), "b": _normal(3), "z": _normal(2, 3, 4), "q": _normal(2, 3, 4, 4),
    "p": _random.uniform(0.05, 0.95, (4, 5)), "P": _random.uniform(0.0, 1.0, (4, 5)),
    "W": _random.uniform(0.1, 2.0, 5), "N": _random.uniform(0.1, 2.0, (4, 5)), "c": _normal(3),
    "C": np.array([0, 3, 1, 4]), "I": np.array([0, -100, 1, 4]), "D": _random.randint(0, 3, (2, 4)),
    "M": _random.randint(0, 3, (2, 4, 4)), "S": np.sign(_normal(4, 5)), "R": np.sign(_normal(4)),
    "E": np.array([[0.0, 1.0, 0.0, 1.0, 1.0]]), "f": np.array([0.0, 1.0, 0.3, 1.0, 0.0]).reshape(1, 5),
    "L": np.array([[3, 0, -1, 1, -1], [0, -1, 2, -1, 1], [1, 4, 2, -1, -1], [4, 3, 2, 1, 0]]),
    "T": np.array([[1, 0, 2], [2, 2, 0]]), "d": _normal(4, 6), "K": _random.poisson(2.0, (4, 5)) * 1.0,
    "i": _normal(2, 4, 7, 6), "g": _normal(6, 4, 3, 2), "h": _normal(6, 2, 3, 3), "a": _normal(6),
    "l": _normal(2, 4, 9), "m": _normal(6, 4, 3), "o": _normal(4, 3, 3, 2), "e": _normal(3, 2, 5, 4),
    "t": _random.randint(-2, 3, (2, 3, 6, 7)) * 1.0, "r": _normal(2, 3, 5, 4), "n": _normal(2, 3, 5, 4),
    "j": np.abs(_normal(4, 5)) + 0.3, "A": np.tril(np.ones((5, 5))) != 0, "B": np.array([0, 1, 1, 0, 1]) != 0,
}  # fmt: skip

ACTIVATIONS = [
    "relu({})", "relu6({})", "leaky_relu({})", "leaky_relu({}, 0.2)", "elu({})", "elu({}, 0.7)",
    "celu({}, 1.3)",
    "selu({})", "gelu({})", "gelu({}, approximate='tanh')", "silu({})", "mish({})", "softplus({})",
    "softplus({}, 2.0, 3.0)", "hardtanh({})", "hardtanh({}, -0.5, 0.3)", "hardsigmoid({})", "hardswish({})",
    "hardshrink({})", "softshrink({}, 0.3)", "tanhshrink({})", "softsign({})", "threshold({}, 0.3, 7.0)",
    "logsigmoid({})", "sigmoid({})", "tanh({})", "rrelu({})", "softmax({}, 1)", "log_softmax({}, -1)",
    "softmin({}, 0)", "glu({}, 1)", "normalize({})", "normalize({}, 1.0, 0)", "normalize({}, float('inf'))",
]  # fmt: skip
IN_PLACE = [
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "silu", "mish", "hardtanh", "hardsigmoid",
    "hardswish",
    "threshold",
]  # fmt: skip
_REDUCED = [
    "mse_loss(x, y{})", "mse_loss(x, y, weight=N{})", "l1_loss(x, y{})", "smooth_l1_loss(x, y{})",
    "smooth_l1_loss(x, y, beta=0.4{})", "smooth_l1_loss(x, y, beta=0.0{})", "huber_loss(x, y{})",
    "huber_loss(x, y, delta=0.4{})", "binary_cross_entropy(p, P{})", "binary_cross_entropy(p, P, weight=N{})",
    "binary_cross_entropy(p, j.clamp(0, 1){})", "binary_cross_entropy(f, E{})",
    "binary_cross_entropy_with_logits(x, P{})", "binary_cross_entropy_with_logits(x, p, pos_weight=W{})",
    "binary_cross_entropy_with_logits(x, P, N, pos_weight=W{})", "cross_entropy(x, C{})",
    "cross_entropy(x, C, W{})", "cross_entropy(x, I{})", "cross_entropy(x, I, W, label_smoothing=0.2{})",
    "cross_entropy(x, C, label_smoothing=0.1{})", "cross_entropy(x, C, ignore_index=3{})",
    "cross_entropy(x, P{})", "cross_entropy(x, p, W, label_smoothing=0.2{})", "cross_entropy(v, C[1]{})",
    "cross_entropy(z, D{})", "cross_entropy(z, D, label_smoothing=0.2{})", "cross_entropy(q, M{})",
    "cross_entropy(z, z.softmax(1){})", "cross_entropy(v, v.softmax(0){})",
    "nll_loss(F.log_softmax(x, 1), C{})", "nll_loss(x, I, W{})", "nll_loss(v, C[1]{})",
    "nll_loss(z, D, W[:3]{})",
    "kl_div(x, P{})", "kl_div(x, p{})", "kl_div(x, y, log_target=True{})", "poisson_nll_loss(x, K{})",
    "poisson_nll_loss(j, K, log_input=False, full=True{})", "gaussian_nll_loss(x, y, j, full=True{})",
    "hinge_embedding_loss(x, S{})", "margin_ranking_loss(x, y, S, 0.3{})", "soft_margin_loss(x, S{})",
    "cosine_embedding_loss(x, y, R, 0.1{})", "triplet_margin_loss(x, y, p{})",
    "triplet_margin_loss(x, y, p, swap=True, margin=2.0{})", "multi_margin_loss(x, C{})",
    "multi_margin_loss(x, C, p=2, weight=W{})", "multilabel_margin_loss(x, L{})",
    "multilabel_soft_margin_loss(x, P{})",
]  # fmt: skip
LOSSES = [
    case.format(f", reduction={kind!r}") for case in _REDUCED for kind in ("mean", "sum", "none")
] + ["kl_div(x, P, reduction='batchmean')"]
LAYERS = [
    "linear(x, w, b)", "linear(x, w)", "linear(z, z.mean(0))", "linear(v, w, b)", "linear(x, w, b.sum())",
    "bilinear(x, d, torch.ones(3, 5, 6, dtype=x.dtype) * s, b)", "embedding(T, w)",
    "embedding(T, w, padding_idx=2)",
    "embedding_bag(T, w)", "embedding_bag(T, w, mode='sum')", "embedding_bag(T, w, mode='max')",
    "one_hot(T, 4)",
    "prelu(z, b)", "prelu(x, s.reshape(1))", "layer_norm(x, (5,))", "layer_norm(x, (5,), v, u)",
    "layer_norm(z, (3, 4), z[0], z[1], 0.1)", "rms_norm(x, (5,), v)", "group_norm(i, 2)",
    "group_norm(r, 3, b, c)", "instance_norm(r)", "batch_norm(x, None, None, v, u, True)",
    "batch_norm(r, c.detach(), b.detach().exp(), b, c)", "batch_norm(z, None, None, training=True, eps=0.1)",
    "cosine_similarity(x, y)", "pairwise_distance(x, y)", "dropout(x, 0.5, False)", "dropout(x, 1.0)",
    "scaled_dot_product_attention(q, q.exp(), q.sin())",
    "scaled_dot_product_attention(z, z.exp(), z.cos(), scale=0.3)",
    "scaled_dot_product_attention(q, q.exp(), q.sin(), is_causal=True)",
    "scaled_dot_product_attention(x, y, p, x @ y.T)",
    "pad(q, (1, 2))", "pad(q, (1, 2, 0, 3), value=2.0)", "pad(q, (1, 2, 0, 3), 'reflect')",
    "pad(q, (1, 2, 2, 3), 'replicate')", "pad(q, (1, 2, 2, 3), 'circular')", "pad(q, (-1, 0))",
    "pad(z, (2, 1), 'reflect')",
]  # fmt: skip
CONVOLUTIONS = [
    "conv2d(i, g)", "conv2d(i, g, a)", "conv2d(i, g, a, 2)", "conv2d(i, g, a, (2, 1), (1, 2))",
    "conv2d(i, g, a, 1, 2, 2)", "conv2d(i, g, a, padding='same')", "conv2d(i, g, padding='valid')",
    "conv2d(i, g, padding='same', dilation=2)", "conv2d(i, h, a, groups=2)", "conv2d(i, h, None, 2, 1, 2, 2)",
    "conv2d(i[0], g, a)", "conv1d(l, m, a)", "conv1d(l, m, None, 2, 1, 3)", "conv1d(l[0], m)",
    "conv1d(l, m[:4, :1], groups=4)",
    "conv3d(i.unsqueeze(2), g.unsqueeze(2), a)", "conv_transpose2d(i, o)", "conv_transpose2d(i, o, c, 2)",
    "conv_transpose2d(i, o, c, (2, 3), 1, (1, 2))", "conv_transpose2d(i, o, None, 1, 1, 0, 1, 2)",
    "conv_transpose2d(i, o, None, 2, 0, 1, 2)", "conv_transpose1d(l, o[:, :, 0], c, 2)",
]  # fmt: skip
POOLING = [
    "max_pool2d(t, 2)", "max_pool2d(t, 3, 2, 1)", "max_pool2d(t, (3, 2), (1, 2), (1, 0))",
    "max_pool2d(t, 2, 2, 0, 2)", "max_pool2d(t, 2, ceil_mode=True)", "max_pool2d(t, 3, 2, 1, ceil_mode=True)",
    "max_pool2d(t, 2, return_indices=True)", "max_pool2d(t, 3, 2, 1, 2, True, True)", "max_pool2d(t, 6)",
    "max_pool2d(t[0], 2)", "max_pool1d(l, 3)", "max_pool1d(l, 3, 1, 1, return_indices=True)",
    "max_pool3d(t.unsqueeze(2), (1, 2, 2))", "avg_pool2d(q, 2)", "avg_pool2d(t, 3, 2, 1)",
    "avg_pool2d(t, 3, 2, 1, count_include_pad=False)", "avg_pool2d(t, 3, 2, 1, ceil_mode=True)",
    "avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False)", "avg_pool2d(t, 2, divisor_override=3)",
    "avg_pool2d(t, (2, 3), (1, 2))", "avg_pool1d(l, 2)", "avg_pool1d(l, 3, 2, 1)",
    "avg_pool3d(t.unsqueeze(2), (1, 2, 2))", "adaptive_avg_pool2d(t, 3)", "adaptive_avg_pool2d(t, (4, None))",
    "adaptive_avg_pool2d(t, 1)", "adaptive_avg_pool1d(l, 4)", "adaptive_max_pool2d(r, (2, 3))",
    "adaptive_max_pool1d(l, 2)", "lp_pool2d(j[None, None], 2, 2)", "unfold(q, 2)",
    "unfold(q, (2, 3), 1, 1, 2)",
    "fold(F.unfold(q, 2), (4, 4), 2)", "fold(F.unfold(r, (2, 3), 1, 1, 2), (5, 4), (2, 3), 1, 1, 2)",
]  # fmt: skip

#: calls that are errors; the texts are PyTorch's
ERRORS = [
    "linear(x, w.T)", "linear(x, w, v)", "mse_loss(x, v[:3])", "huber_loss(x, y, delta=0.0)",
    "smooth_l1_loss(x, y, beta=-1.0)", "mse_loss(x, y, reduction='median')", "cross_entropy(x, C[:3])",
    "cross_entropy(x, C + 3)", "cross_entropy(x, C - 1)", "cross_entropy(x, C.to(x.dtype))",
    "cross_entropy(x, C, W[:2])",
    "cross_entropy(x, C, label_smoothing=1.5)", "nll_loss(x, C[:, None])", "nll_loss(z, C)",
    "nll_loss(x, C + 3)",
    "cross_entropy(z, D[:1])", "cross_entropy(z, D[:, :3])", "binary_cross_entropy(x, P)",
    "binary_cross_entropy(p, P[:2])", "binary_cross_entropy_with_logits(x, P[:2])", "dropout(x, 1.5)",
    "dropout(x, -0.1)", "layer_norm(x, (4,))", "layer_norm(x, (5,), v[:4])", "layer_norm(x, ())",
    "batch_norm(x, None, None)", "batch_norm(x[:1], None, None, training=True)",
    "batch_norm(x, v[:3], v[:3])",
    "group_norm(i, 3)", "embedding(T * 1.0, w)", "embedding(T, v)", "conv2d(i, g[:, :3])",
    "conv2d(i, g, a[:2])",
    "conv2d(x, g)", "conv2d(i, g, stride=0)", "conv2d(i, g, padding=-1)",
    "conv2d(i, g, padding='full')", "conv2d(i, g, padding='same', stride=2)", "conv2d(i[:, :, :2], g)",
    "conv2d(i, h, groups=4)", "conv_transpose2d(i, g)", "conv_transpose2d(i, o, output_padding=1)",
    "max_pool2d(x, 2)", "max_pool2d(t, 2, padding=2)", "max_pool2d(t, 20)", "max_pool2d(t, 0)",
    "max_pool2d(t, 2, dilation=0)", "avg_pool2d(t, 2, divisor_override=0)",
    "glu(x, 1)", "softshrink(x, -1.0)", "prelu(z, v)", "prelu(z, w)", "gelu(x, approximate='fast')",
    "hardtanh(x, 1.0, -1.0)", "one_hot(T, 2)", "pad(x, (1, 1), 'reflected')", "cosine_similarity(x, v[:3])",
    "margin_ranking_loss(x, y, R)", "gaussian_nll_loss(x, y, -j)", "multi_margin_loss(x, C, p=3)",
    "triplet_margin_loss(x, y, p, margin=-1.0)",
    "scaled_dot_product_attention(x, y, p, A, is_causal=True)",
]  # fmt: skip


def tensors(library: Any, kind: str, case: str) -> dict[str, Any]:
    """The tensors that a case names, of a library and a floating dtype, by letter."""
    dtype = getattr(library, kind)
    made = {}
    for name in sorted({*re.findall(r"\b[a-zA-Z]\b", case)} & ARRAYS.keys()):
        array = ARRAYS[name]
        t = library.from_numpy(np.array(array))
        t = t.to(dtype) if array.dtype.kind == "f" else t
        made[name] = t.requires_grad_() if array.dtype.kind == "f" and name.islower() else t
    return made


def run(library: Any, case: str, kind: str) -> tuple[Any, dict[str, Any]]:
    """The result of a case, and the tensors that it was called with."""
    values = tensors(library, kind, case)
    scope = {**values, "F": library.nn.functional, "torch": library}
    return eval(f"F.{case}", scope), values
