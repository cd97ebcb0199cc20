"""The libraries that a test's values hold for: PyTorch is skipped, visibly, where it is not installed."""

from __future__ import annotations

LIBRARIES = ["tapegrad", "torch"]
