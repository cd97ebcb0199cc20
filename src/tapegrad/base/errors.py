"""Exceptions of tapegrad's own.

Where PyTorch has an error, tapegrad raises the same type with the same text. These two are for what
PyTorch does not have.
"""

from __future__ import annotations

__all__ = ["TapeError", "UnsupportedError", "kind_of"]


class TapeError(RuntimeError):
    """The tape's arrays are not what they must be, or a tensor is on the wrong tape."""


class UnsupportedError(NotImplementedError):
    """tapegrad does not do this; the text says what to do instead."""


def kind_of(value: object) -> str:
    """Return the name of an argument's type for an error's text, and that its protocol is not called."""
    name = type(value).__name__
    if not hasattr(type(value), "__torch_function__"):
        return name
    return (
        f"{name} ({name} has a __torch_function__, which tapegrad does not call: pass the Tensor "
        f"inside of it, or call a method of {name})"
    )


#: what is said of a handle that is on no tape
NOT_INITIALISED = "this tensor was not initialised; make tensors with tapegrad.tensor(...)"
