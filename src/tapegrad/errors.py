"""Exceptions of tapegrad's own.

Where PyTorch has an error, tapegrad raises the same type with the same text. These two are for what
PyTorch does not have.
"""

from __future__ import annotations

__all__ = ["TapeError", "UnsupportedError"]


class TapeError(RuntimeError):
    """The tape's arrays are not what they must be, or a tensor is on the wrong tape."""


class UnsupportedError(NotImplementedError):
    """tapegrad does not do this; the text says what to do instead."""


#: what is said of a handle that is on no tape
NOT_INITIALISED = "this tensor was not initialised; make tensors with tapegrad.tensor(...)"
