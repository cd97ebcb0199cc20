"""Arguments that creation functions share: sizes, dtype, device, layout, requires_grad; and memory.

`factory` checks the keyword arguments, `allocate`
makes an array or raises PyTorch's error for a size that no memory holds.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base import dtypes
from ..base.devices import check_device, layout
from ..base.dtypes import as_dtype, get_default_dtype
from ..base.errors import must_be
from ..base.torch_messages import check_bool
from ..tape import readout
from ..tape import recording as record
from .arguments import as_ints
from .registry import ShownSignature, declared

__all__ = [
    "OPTIONS",
    "Options",
    "allocate",
    "check_place",
    "check_requires_grad",
    "factory",
    "number_of",
    "read_dtype",
    "scalar_of",
    "size_of",
]  # fmt: skip

_LIMIT = 2**63


# --------------------------------------------------------------------------- sizes
def size_of(name: str, size: Any) -> tuple[int, ...]:
    """Return lengths of dimensions, which the function's signature has checked, as ints."""
    return checked(name, as_ints(size))


def checked(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape, or raise PyTorch's error for a negative length."""
    for n in shape:
        if n < 0:
            if name == "zeros":
                raise RuntimeError("zeros: Dimension size must be non-negative.")
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(shape)}"
            )
    return shape


def allocate(shape: tuple[int, ...], kind: dtypes.dtype, *, zero: bool = False) -> np.ndarray:
    """Make a C-contiguous array, of zeros or uninitialised.

    Raises
    ------
    RuntimeError
        If no memory holds it.
    """
    size = math.prod(shape) * kind.itemsize
    if size >= _LIMIT:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    if size == 0 and math.prod(n for n in shape if n) * kind.itemsize >= _LIMIT:
        raise RuntimeError("Stride calculation overflowed")
    try:
        return np.zeros(shape, kind.np) if zero else np.empty(shape, kind.np)
    except (MemoryError, ValueError):  # NumPy's ValueError says that the array is too big
        raise RuntimeError(
            f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes. "
            "Error code 12 (Cannot allocate memory)"
        ) from None


# --------------------------------------------------------------------------- keyword arguments
def read_dtype(name: str, value: Any) -> dtypes.dtype:
    """Return a dtype argument as a dtype.

    Raises
    ------
    TypeError
        If it is not one, or one that tapegrad does not have.
    """
    if isinstance(value, dtypes.dtype):
        return value
    if isinstance(value, type | np.dtype):
        return as_dtype(value)
    raise must_be(name, "dtype", 0, "torch.dtype", value)


def check_requires_grad(name: str, value: Any, kind: dtypes.dtype | None) -> bool:
    """Return a requires_grad argument, or raise PyTorch's error for a dtype that cannot be active."""
    if value is None and name not in ("tensor", "new_tensor"):
        return False
    check_bool(name, "requires_grad", 0, value)
    if value and kind is not None and not kind.is_inexact:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return bool(value)


class Options(NamedTuple):
    """Checked keyword arguments of a creation function."""

    #: None until `or_kind`, where the dtype depends on other arguments
    kind: Any
    requires_grad: bool

    def or_kind(self, default: dtypes.dtype) -> Options:
        """Return the options, with a default dtype where none was given."""
        if self.kind is not None:
            return self
        return Options(default, check_requires_grad("", self.requires_grad, default))

    def leaf(self, array: np.ndarray) -> Any:
        """Make a leaf over an array of this dtype."""
        return record.leaf_tensor(array, self.kind, requires_grad=self.requires_grad)


#: the keywords that all of them take, as `declared` reads parameters, and as PyTorch lists them in forms
_KEYWORDS = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    for name, default, kind in (
        ("dtype", None, "Dtype | None"), ("layout", None, "Layout | None"),
        ("device", None, "Device | None"), ("pin_memory", False, "bool | None"),
        ("requires_grad", False, "bool | None"),
    )
]  # fmt: skip
OPTIONS = ", ".join(f"{p.annotation.partition(' ')[0]}? {p.name}={p.default}" for p in _KEYWORDS)


def factory(
    *forms: str,
    default: dtypes.dtype | None = None,
    late: bool = False,
    like: bool = False,
    **where: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function that makes tensors, by `declared`, with the keywords that all of them take.

    These are dtype, layout, device, pin_memory and requires_grad; the function gets them as `options`.

    Parameters
    ----------
    *forms : str
        Those of `declared`, with `OPTIONS` for these keywords.
    default : dtype, optional
        The dtype where none is given: the default dtype if left out.
    late : bool
        Whether the function finds a default itself (`Options.or_kind`).
    like : bool
        Whether the first argument is a tensor, whose dtype is the default.
    **where
        Arguments of `public`.
    """

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        name = f.__name__ = f.__qualname__ = where.get("name") or f.__name__

        @functools.wraps(f)
        def call(
            *args: Any, dtype: Any = None, layout: Any = None, device: Any = None,
            pin_memory: Any = False, requires_grad: Any = False, **named: Any,
        ) -> Any:  # fmt: skip
            if layout is not None or device is not None or pin_memory:
                check_place(name, layout, device, pin_memory)
            kind: dtypes.dtype | None = None
            if dtype is not None:
                kind = read_dtype(name, dtype)
            elif like:
                kind = (args[0] if args else named["input"]).dtype
            elif not late:
                kind = default or get_default_dtype()
            if requires_grad is not False:
                requires_grad = check_requires_grad(name, requires_grad, kind)
            return f(*args, options=Options(kind, requires_grad), **named)

        call.__wrapped__ = ShownSignature(f, _with_keywords)  # type: ignore[assignment]
        return declared(*forms, **{"method": False, **where})(call)

    return register


def _with_keywords(shown: inspect.Signature) -> inspect.Signature:
    """Put the common keywords into a signature, in the place of `options`."""
    parameters = [p for p in shown.parameters.values() if p.name != "options"]
    return shown.replace(parameters=[*parameters, *_KEYWORDS])


def check_place(name: str, layout_: Any, device: Any, pin_memory: Any) -> None:
    """Raise unless a tensor can have this layout and be in this memory."""
    if layout_ is not None and not isinstance(layout_, layout):
        raise must_be(name, "layout", 0, "torch.layout", layout_)
    check_device(name, device)
    if pin_memory:
        raise RuntimeError(
            "Cannot access accelerator device when none is available: leave pin_memory out"
        )


def scalar_of(name: str, label: str, position: int, value: Any) -> complex | float | int | bool:
    """Return a Number argument, which may be complex, as a Python number."""
    if isinstance(value, complex | np.complexfloating):
        return complex(value)
    if record.is_tensor(value) and value.dtype.is_complex and value.ndim == 0:
        return complex(value)
    return number_of(name, label, position, value)


def number_of(name: str, label: str, position: int, value: Any) -> float | int | bool:
    """Return a Number argument as a Python number.

    Raises
    ------
    TypeError
        If it is none; 0-d tensors are.
    """
    value = readout.option(value, f"{name}({label}=...)")
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float):
        raise must_be(name, label, position, "Number", value)
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    return value
