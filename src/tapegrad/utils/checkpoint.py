"""PyTorch's import path of `tapegrad.autograd.checkpoint`."""

from __future__ import annotations

from ..autograd.checkpoint import CheckpointError, checkpoint

__all__ = ["CheckpointError", "checkpoint"]
