"""Pooling, and windows as columns, as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from ..operations import pooling
from ..operations.windows import as_tuple
from .stateless import Stateless

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d",
    "AvgPool2d", "AvgPool3d", "Fold", "LPPool1d", "LPPool2d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Unfold",
]  # fmt: skip

_SIZE = Stateless.REQUIRED


class _Windows(Stateless):
    """Windows as far from each other as they are long, unless there is a stride."""

    stride: Any
    kernel_size: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.stride is None:
            self.stride = self.kernel_size


class _MaxPool(_Windows):
    options: ClassVar[dict[str, Any]] = {
        "kernel_size": _SIZE, "stride": None, "padding": 0, "dilation": 1, "return_indices": False,
        "ceil_mode": False,
    }  # fmt: skip

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """`max_pool1d`: maxima of windows."""

    function = pooling.max_pool1d


class MaxPool2d(_MaxPool):
    """`max_pool2d`: maxima of windows of images."""

    function = pooling.max_pool2d


class MaxPool3d(_MaxPool):
    """`max_pool3d`: maxima of windows of volumes."""

    function = pooling.max_pool3d


class AvgPool1d(_Windows):
    """`avg_pool1d`: means of windows."""

    function = pooling.avg_pool1d
    options: ClassVar[dict[str, Any]] = {
        "kernel_size": _SIZE, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True,
    }  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kernel_size", "stride", "padding"):
            setattr(self, name, as_tuple("AvgPool1d", name, getattr(self, name), 1))

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(_Windows):
    options: ClassVar[dict[str, Any]] = {
        "kernel_size": _SIZE, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True,
        "divisor_override": None,
    }  # fmt: skip

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """`avg_pool2d`: means of windows of images."""

    function = pooling.avg_pool2d


class AvgPool3d(_AvgPool):
    """`avg_pool3d`: means of windows of volumes."""

    function = pooling.avg_pool3d


class LPPool1d(Stateless):
    """`lp_pool1d`: p-th roots of the sums of p-th powers of windows."""

    function = pooling.lp_pool1d
    options: ClassVar[dict[str, Any]] = {
        "norm_type": _SIZE,
        "kernel_size": _SIZE,
        "stride": None,
        "ceil_mode": False,
    }


class LPPool2d(Stateless):
    """`lp_pool2d`: p-th roots of the sums of p-th powers of windows of images."""

    function = pooling.lp_pool2d
    options: ClassVar[dict[str, Any]] = {
        "norm_type": _SIZE,
        "kernel_size": _SIZE,
        "stride": None,
        "ceil_mode": False,
    }


class AdaptiveAvgPool1d(Stateless):
    """`adaptive_avg_pool1d`: means of so many parts."""

    function, options = pooling.adaptive_avg_pool1d, {"output_size": _SIZE}


class AdaptiveAvgPool2d(Stateless):
    """`adaptive_avg_pool2d`: means of so many parts of images."""

    function, options = pooling.adaptive_avg_pool2d, {"output_size": _SIZE}


class AdaptiveMaxPool1d(Stateless):
    """`adaptive_max_pool1d`: maxima of so many parts."""

    function = pooling.adaptive_max_pool1d
    options: ClassVar[dict[str, Any]] = {"output_size": _SIZE, "return_indices": False}

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """`adaptive_max_pool2d`: maxima of so many parts of images."""

    function = pooling.adaptive_max_pool2d


class Unfold(Stateless):
    """`unfold`: windows of images as columns."""

    function = pooling.unfold
    options: ClassVar[dict[str, Any]] = {
        "kernel_size": _SIZE,
        "dilation": 1,
        "padding": 0,
        "stride": 1,
    }


class Fold(Stateless):
    """`fold`: columns of windows, added up to images."""

    function = pooling.fold
    options: ClassVar[dict[str, Any]] = {
        "output_size": _SIZE, "kernel_size": _SIZE, "dilation": 1, "padding": 0, "stride": 1,
    }  # fmt: skip
