"""Exceptions of tapegrad's own.

Where PyTorch has an error, tapegrad raises the same type with the same text. These two are for
situations that PyTorch does not have.
"""

from __future__ import annotations

__all__ = ["TapeError", "UnsupportedError", "kind_of"]


class TapeError(RuntimeError):
    """Error for arrays of a tape that break its rules, and for a tensor on the wrong tape."""


class UnsupportedError(NotImplementedError):
    """Error for a request that tapegrad does not fulfil; the text says what to do instead."""


def kind_of(value: object) -> str:
    """Return the name of an argument's type for an error's text, and that its protocol is not called."""
    name = type(value).__name__
    if not hasattr(type(value), "__torch_function__"):
        return name
    return (
        f"{name} ({name} has a __torch_function__, which tapegrad does not call: pass the Tensor "
        f"inside of it, or call a method of {name})"
    )


#: the error's text for a handle that is on no tape
NOT_INITIALISED = "this tensor was not initialised; make tensors with tapegrad.tensor(...)"
