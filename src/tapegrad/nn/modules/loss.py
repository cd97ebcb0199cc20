"""Losses as modules: their options are given once, weights are buffers."""

from __future__ import annotations

from typing import Any, ClassVar

from ..operations import class_loss, loss
from .stateless import Loss

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "PoissonNLLLoss",
    "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss",
]  # fmt: skip

_OLD = {"size_average": None, "reduce": None, "reduction": "mean"}


class MSELoss(Loss):
    """`mse_loss`: squared differences."""

    function, options = loss.mse_loss, _OLD


class L1Loss(Loss):
    """`l1_loss`: absolute differences."""

    function, options = loss.l1_loss, _OLD


class SmoothL1Loss(Loss):
    """`smooth_l1_loss`: absolute differences, rounded near zero."""

    function, options = loss.smooth_l1_loss, {**_OLD, "beta": 1.0}


class HuberLoss(Loss):
    """`huber_loss`: squared differences, straight from `delta` on."""

    function, options = loss.huber_loss, {"reduction": "mean", "delta": 1.0}


class CrossEntropyLoss(Loss):
    """`cross_entropy`: of logits and classes, or probabilities."""

    function = class_loss.cross_entropy
    options: ClassVar[dict[str, Any]] = {
        "weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "reduction": "mean",
        "label_smoothing": 0.0,
    }  # fmt: skip


class NLLLoss(Loss):
    """`nll_loss`: of log-probabilities and classes."""

    function = class_loss.nll_loss
    options: ClassVar[dict[str, Any]] = {
        "weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "reduction": "mean",
    }  # fmt: skip


class BCELoss(Loss):
    """`binary_cross_entropy`: of probabilities and targets."""

    function, options = loss.binary_cross_entropy, {"weight": None, **_OLD}


class BCEWithLogitsLoss(Loss):
    """`binary_cross_entropy_with_logits`: of logits and targets."""

    function = loss.binary_cross_entropy_with_logits
    options: ClassVar[dict[str, Any]] = {"weight": None, **_OLD, "pos_weight": None}


class KLDivLoss(Loss):
    """`kl_div`: the divergence of log-probabilities from probabilities."""

    function, options = loss.kl_div, {**_OLD, "log_target": False}


class PoissonNLLLoss(Loss):
    """`poisson_nll_loss`: of rates and counts."""

    function = loss.poisson_nll_loss
    options: ClassVar[dict[str, Any]] = {
        "log_input": True, "full": False, "size_average": None, "eps": 1e-8, "reduce": None,
        "reduction": "mean",
    }  # fmt: skip


class GaussianNLLLoss(Loss):
    """`gaussian_nll_loss`: of means, targets and variances."""

    function, options = loss.gaussian_nll_loss, {"full": False, "eps": 1e-6, "reduction": "mean"}


class HingeEmbeddingLoss(Loss):
    """`hinge_embedding_loss`: of distances and 1 or -1."""

    function, options = loss.hinge_embedding_loss, {"margin": 1.0, **_OLD}


class CosineEmbeddingLoss(Loss):
    """`cosine_embedding_loss`: of two vectors and 1 or -1."""

    function, options = loss.cosine_embedding_loss, {"margin": 0.0, **_OLD}


class MarginRankingLoss(Loss):
    """`margin_ranking_loss`: of two scores and 1 or -1."""

    function, options = loss.margin_ranking_loss, {"margin": 0.0, **_OLD}


class SoftMarginLoss(Loss):
    """`soft_margin_loss`: of scores and 1 or -1."""

    function, options = loss.soft_margin_loss, _OLD


class MultiMarginLoss(Loss):
    """`multi_margin_loss`: the hinge loss of classes."""

    function = class_loss.multi_margin_loss
    options: ClassVar[dict[str, Any]] = {"p": 1, "margin": 1.0, "weight": None, **_OLD}


class MultiLabelMarginLoss(Loss):
    """`multilabel_margin_loss`: the hinge loss of several labels."""

    function, options = class_loss.multilabel_margin_loss, _OLD


class MultiLabelSoftMarginLoss(Loss):
    """`multilabel_soft_margin_loss`: the binary cross entropy of each class."""

    function, options = class_loss.multilabel_soft_margin_loss, {"weight": None, **_OLD}


class TripletMarginLoss(Loss):
    """`triplet_margin_loss`: of an anchor, a positive and a negative example."""

    function = loss.triplet_margin_loss
    options: ClassVar[dict[str, Any]] = {
        "margin": 1.0,
        "p": 2.0,
        "eps": 1e-6,
        "swap": False,
        **_OLD,
    }


class TripletMarginWithDistanceLoss(Loss):
    """`triplet_margin_with_distance_loss`: with a distance of one's own."""

    function = loss.triplet_margin_with_distance_loss
    options: ClassVar[dict[str, Any]] = {
        "distance_function": None, "margin": 1.0, "swap": False, "reduction": "mean",
    }  # fmt: skip
