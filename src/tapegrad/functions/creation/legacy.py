"""PyTorch's legacy constructors: ``Tensor(...)``, ``FloatTensor(...)``, and the legacy types.

The float type stands for the default dtype, float64 or float32, as PyTorch's stands for its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base import dtypes
from ...base.devices import check_device
from ...base.dtypes import bool_, dtype, float64, get_default_dtype, int64, type_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..keywords import checked
from ..options import allocate, size_of
from ..registry import FUNCTIONS, declared, public
from ..signature import Ints, Tensor
from .from_data import array_of

__all__ = ["TensorType", "legacy_tensor", "type_named"]

_MIXED = (
    "new() received an invalid combination of arguments - got ({}), but expected one of:\n"
    " * (*, torch.device device = None)\n"
    "      didn't match because some of the keywords were incorrect: {}\n"
    " * (torch.Storage storage)\n"
    " * (Tensor other)\n"
    " * (tuple of ints size, *, torch.device device = None)\n"
    " * (object data, *, torch.device device = None)\n"
)


def legacy_tensor(*data: Any, **options: Any) -> Any:
    """Make the tensor ``Tensor(...)``: of data, or uninitialised of a shape, in the default dtype.

    Parameters
    ----------
    *data
        Nothing (an empty tensor); integers or a Size (the shape); a tensor (an alias of it); or
        sequences or an ndarray (its data).
    **options
        ``device`` only.

    Raises
    ------
    TypeError
        For keywords that only `tensor` takes, and for data that is no sequence.
    """
    return _construct(data, options, None)


def _construct(data: tuple[Any, ...], options: dict[str, Any], kind: dtype | None) -> Any:
    """Make a tensor as a legacy constructor does; `kind` is None for ``Tensor``."""
    if "data" in options and not data:
        data = (options.pop("data"),)
    wrong = [key for key in options if key != "device"]
    if wrong:
        got = ", ".join(
            [type(d).__name__ for d in data] + [f"{k}={_type_text(v)}" for k, v in options.items()]
        )
        raise TypeError(_MIXED.format(got, ", ".join(wrong)))
    check_device("new", options.get("device"))
    tensor_kind = kind or get_default_dtype()
    if not data:
        return record.leaf_tensor(np.empty(0, tensor_kind.np), tensor_kind)
    first = data[0]
    if len(data) == 1:
        if record.is_tensor(first):
            if kind is not None and first.dtype is not kind:
                raise TypeError(
                    f"expected a tensor of dtype {kind.name} (got {first.dtype.name}); use "
                    f".to({kind!r})"
                )
            return record.view(TABLE["detach"], first, first.shape, layout_of(first).strides)
        if type(first).__name__ == "Size" or _is_length(first):
            return _uninitialised(first, kind=tensor_kind)
        if isinstance(first, str | bytes):
            raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
        if not hasattr(type(first), "__getitem__") or isinstance(first, dict | np.generic):
            name = type(first).__name__
            shown = f"numpy.{name}" if isinstance(first, np.generic) else name
            raise TypeError(f"new(): data must be a sequence (got {shown})")
        array, _ = array_of(first, tensor_kind)
        return record.leaf_tensor(array, tensor_kind)
    return _uninitialised(*data, kind=tensor_kind)


@declared(function=False, method=False)
def _new(size: Ints, *, kind: Any) -> Any:
    return record.leaf_tensor(allocate(size_of("new", size), kind), kind)


_uninitialised = checked("new", _new, method=False, out=False)


def _type_text(value: Any) -> str:
    name = type(value).__name__
    return "torch.dtype" if isinstance(value, dtype) else name


def _is_length(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class TensorType:
    """A legacy tensor type, e.g. ``FloatTensor``: makes tensors of its dtype and recognises them.

    Parameters
    ----------
    name : str
    kind : dtype or None
        None for the default dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.LongTensor([1, 2])
    tensor([1, 2])
    """

    def __init__(self, name: str, kind: dtype | None) -> None:
        self.__name__ = name
        self._kind = kind

    @property
    def dtype(self) -> dtype:
        """The dtype of its tensors."""
        return self._kind or get_default_dtype()

    def __call__(self, *data: Any, **options: Any) -> Any:
        """Make a tensor, as ``Tensor(...)`` does."""
        return _construct(data, options, self.dtype)

    def __instancecheck__(self, value: object) -> bool:
        return record.is_tensor(value) and value.dtype is self.dtype  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<class 'torch.{self.__name__}'>"


_TYPES = {
    name: TensorType(name, kind)
    for name, kind in (
        ("FloatTensor", None), ("DoubleTensor", float64), ("LongTensor", int64),
        ("BoolTensor", bool_),
    )
}  # fmt: skip
FUNCTIONS.update(_TYPES)


def type_named(name: str) -> dtype:
    """Return the dtype of a legacy type's name, e.g. ``"torch.LongTensor"``.

    Raises
    ------
    ValueError
        If there is no such type.
    """
    short = name.removeprefix("torch.")
    if short == name or short not in _TYPES:
        raise ValueError(f"invalid type: '{name}'")
    return _TYPES[short].dtype


@public(method=True, function=False)
def new(input: Any, *data: Any, **options: Any) -> Tensor:
    """Make a tensor of this tensor's dtype, as ``Tensor(...)`` does."""
    return _construct(data, options, input.dtype)


@public(method=True, function=False, name="type")
def type_(input: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Return the name of the tensor's legacy type, or the tensor in the dtype of another.

    Parameters
    ----------
    input : Tensor
    dtype : dtype, TensorType or str, optional
    non_blocking : bool
        Has no effect.
    """
    if dtype is None:
        return type_name(input.dtype)
    if isinstance(dtype, TensorType):
        return record.cast(input, dtype.dtype)
    if isinstance(dtype, str):
        return record.cast(input, type_named(dtype))
    if isinstance(dtype, dtypes.dtype):
        return record.cast(input, dtype)
    raise TypeError("dtype must be a type, str, or dtype object")
