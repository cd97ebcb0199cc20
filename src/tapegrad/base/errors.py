"""Exceptions of tapegrad's own.

Where PyTorch has an error, tapegrad raises the same type with the same text. These two are for
situations that PyTorch does not have.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "LinAlgError", "OtherRecordingError", "TapeError", "UnsupportedError", "kind_of", "must_be",
    "type_name_of",
]  # fmt: skip


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_TORCH_NAMES = {
    **{name: f"torch.{name}" for name in ("Size", "device", "dtype", "layout", "memory_format")},
    "Generator": "torch._C.Generator",
}


class TapeError(RuntimeError):
    """Error for arrays of a tape that break its rules, and for a tensor on the wrong tape.

    Examples
    --------
    >>> import tapegrad as tg
    >>> issubclass(tg.TapeError, RuntimeError)
    True
    """


class OtherRecordingError(TapeError):
    """Raised where statements that were recorded are not those for the values that there are now."""


class UnsupportedError(NotImplementedError):
    """Error for a request that tapegrad does not fulfil; the text says what to do instead.

    Examples
    --------
    >>> import tapegrad as tg
    >>> try:
    ...     tg.cuda.current_device()
    ... except tg.UnsupportedError as error:
    ...     print(error)
    cuda.current_device(): tapegrad computes on the CPU only
    """


class LinAlgError(np.linalg.LinAlgError, RuntimeError):
    """Error for a matrix that a function of linear algebra cannot take: singular, not positive-definite.

    It is NumPy's error of that name, and a RuntimeError as PyTorch's is.

    Examples
    --------
    >>> import tapegrad as tg
    >>> try:
    ...     tg.linalg.solve(tg.zeros(2, 2), tg.ones(2)).tolist()
    ... except tg.linalg.LinAlgError as error:
    ...     print(error)
    linalg.solve: The solver failed because the input matrix is singular (operands of shape [2, 2], [2])
    """


for _error in (TapeError, UnsupportedError):
    _error.__module__ = __name__.partition(".")[0]  # so tracebacks print a name to catch them by
LinAlgError.__module__ = f"{TapeError.__module__}.linalg"


def type_name_of(value: object) -> str:
    """Return the name that CPython has for a value's type; PyTorch's, for what PyTorch has, too."""
    kind = type(value)
    name, module = kind.__name__, kind.__module__
    if module.startswith("tapegrad."):
        return _TORCH_NAMES.get(name, name)
    if module == "builtins" or kind.__flags__ & _HEAP_TYPE:
        return name
    return f"{module}.{name}"  # types of extension modules are called so


def kind_of(value: object) -> str:
    """Return the name of an argument's type for an error's text, and that its protocol is not called."""
    name = type_name_of(value)
    if not hasattr(type(value), "__torch_function__"):
        return name
    return (
        f"{name} ({name} has a __torch_function__, which tapegrad does not call: pass the Tensor "
        f"inside of it, or call a method of {name})"
    )


def must_be(name: str, argument: str, position: int, kind: str, value: object) -> TypeError:
    """Return PyTorch's error for an argument of another type than `kind`.

    A `position` of 0 stands for an argument that was given by keyword, or by keyword only.
    """
    place = f" (position {position})" if position else ""
    return TypeError(f"{name}(): argument '{argument}'{place} must be {kind}, not {kind_of(value)}")


#: the error's text for a handle that is on no tape
NOT_INITIALISED = "this tensor was not initialised; make tensors with tapegrad.tensor(...)"
