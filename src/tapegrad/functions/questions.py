"""Questions about tensors and dtypes; functions for complex numbers, which leave real ones as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..base import dtypes
from ..base.dtypes import dtype
from ..base.errors import must_be
from ..tape import recording as record
from ..tape.recording import layout_of
from .maths.reduction import no_overload
from .registry import public

__all__ = ["can_cast", "is_nonzero", "is_same_size", "promote_types", "result_type"]


# --------------------------------------------------------------------------- dtypes
@public()
def result_type(tensor: Any, other: Any) -> dtype:
    """Return the dtype that two tensors or numbers promote to.

    Parameters
    ----------
    tensor, other : Tensor or number
        Tensors with dimensions rank before those without, and these before numbers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.result_type(tg.tensor([1, 2]), 1.0)
    torch.float64
    """
    for value in (tensor, other):
        if not record.is_tensor(value) and not record.is_number(value):
            forms = (
                "(Tensor tensor, Tensor other)", "(Number scalar, Tensor tensor)",
                "(Tensor tensor, Number other)", "(Number scalar1, Number scalar2)",
            )  # fmt: skip
            raise no_overload("result_type", forms, tensor, other)
    return record.result_dtype((tensor, other))


def _check_dtypes(name: str, **named: Any) -> None:
    for position, (argument, value) in enumerate(named.items(), 1):
        if not isinstance(value, dtype):
            raise must_be(name, argument, position, "torch.dtype", value)


@public()
def promote_types(type1: Any, type2: Any) -> dtype:
    """Return the smallest dtype that holds the values of two.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.promote_types(tg.int64, tg.float32)
    torch.float32
    """
    _check_dtypes("promote_types", type1=type1, type2=type2)
    return dtypes.result_type(type1, type2)


@public()
def can_cast(from_: Any, to: Any) -> bool:
    """Return True if numbers of one dtype may be written into a tensor of the other.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.can_cast(tg.float64, tg.float32), tg.can_cast(tg.float64, tg.int64)
    (True, False)
    """
    _check_dtypes("can_cast", from_=from_, to=to)
    return record.category(from_) <= record.category(to)


# --------------------------------------------------------------------------- tensors
@public(method=True)
def is_same_size(input: Any, other: Any) -> bool:
    """Return True if two tensors have the same shape."""
    record.check_tensors("is_same_size", (input, other))
    return bool(input.shape == other.shape)


@public(method=True)
def is_nonzero(input: Any) -> bool:
    """Return True if the one element of a tensor is not zero.

    Raises
    ------
    RuntimeError
        If there is not exactly one.
    """
    record.check_tensors("is_nonzero", (input,))
    return bool(input)


@public(prop=True)
def is_cpu(input: Any) -> bool:
    """True: all tensors are on the CPU."""
    return True


@public(prop=True)
def itemsize(input: Any) -> int:
    """Bytes of one element."""
    return layout_of(input).dtype.itemsize


@public(prop=True)
def nbytes(input: Any) -> int:
    """Bytes of all elements."""
    return layout_of(input).size * layout_of(input).dtype.itemsize


# --------------------------------------------------------------------------- real numbers
def _itself(name: str) -> None:
    """Add a function and method that returns a real tensor as it is."""

    def same(input: Any) -> Any:
        record.check_tensors(name, (input,))
        return input

    same.__name__ = same.__qualname__ = name
    same.__doc__ = "Return the tensor: it is real."
    public(method=name != "real")(same)


for _name in ("real", "conj", "resolve_conj", "resolve_neg"):
    _itself(_name)


@public(prop=True, name="real")
def _real_part(input: Any) -> Any:
    """The tensor: it is real."""
    return input


def _imag(input: Any) -> NoReturn:
    """Raise PyTorch's error: there are no complex numbers."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


public(name="imag")(_imag)
public(prop=True, name="imag")(_imag)


def _no(name: str) -> Callable[[Any], bool]:
    def answer(input: Any) -> bool:
        record.check_tensors(name, (input,))
        return False

    answer.__name__ = answer.__qualname__ = name
    answer.__doc__ = "Return False: no tensor is."
    return answer


for _name in ("is_conj", "is_neg"):
    public(method=True)(_no(_name))
for _name in ("is_distributed", "is_pinned", "is_shared"):
    public(method=True, function=_name == "is_distributed")(_no(_name))
