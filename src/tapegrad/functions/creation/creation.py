"""Making tensors from data, and filled ones.

Every function makes a leaf over an array of its own (`from_numpy` and `as_tensor` share an
ndarray's memory). Their common parts are options.py (sizes and keyword arguments) and from_data.py
(Python data to arrays). Ranges are made in ranges.py, random tensors in random.py,
``Tensor(...)`` and its kin in legacy.py.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...base import dtypes
from ...base.devices import check_device
from ...base.dtypes import bool_, c_name, from_numpy_dtype, scalar_name
from ...tape import recording as record
from ..options import (
    OPTIONS,
    Options,
    allocate,
    check_place,
    check_requires_grad,
    checked,
    factory,
    read_dtype,
    scalar_of,
    size_of,
)
from ..registry import public
from ..signature import Ints, Number, Tensor
from .from_data import array_of, check_array
from .legacy import legacy_tensor

__all__ = ["as_tensor", "asarray", "from_numpy", "legacy_tensor", "sized", "tensor"]


# --------------------------------------------------------------------------- from data
@public(out=False)
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Make a leaf of a copy of data.

    Parameters
    ----------
    data : number, sequence, ndarray or Tensor
    dtype : dtype, optional
        By default that of the data; the default dtype for Python floats.
    device : optional
        Nothing but the CPU.
    requires_grad : bool
        Whether operations on it are differentiated.
    pin_memory : bool
        Must be False.

    Raises
    ------
    ValueError
        For ragged sequences.
    TypeError, RuntimeError
        For data that is no number, and for integers that are to require grad.

    Examples
    --------
    >>> tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if record.is_tensor(data):
        _warn_copy("torch.tensor")
    return _from_data("tensor", data, dtype, device, requires_grad, pin_memory)


def _from_data(
    name: str, data: Any, dtype: Any, device: Any, requires_grad: Any, pin_memory: Any = False,
    default: dtypes.dtype | None = None,
) -> Any:  # fmt: skip
    check_place(name, None, device, pin_memory)
    array, kind = array_of(data, default if dtype is None else read_dtype(name, dtype))
    return Options(kind, check_requires_grad(name, requires_grad, kind)).leaf(array)


def _warn_copy(name: str) -> None:
    warnings.warn(
        "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() "
        f"or sourceTensor.detach().clone().requires_grad_(True), rather than {name}(sourceTensor).",
        UserWarning,
        stacklevel=3,
    )


@public(out=False)
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """Return a tensor that shares an ndarray's memory.

    Writes to either are seen by both. An ndarray that must not be written is copied instead.

    Raises
    ------
    TypeError
        For a dtype that tapegrad does not have.
    ValueError
        For negative strides, foreign byte order, or elements that lie across their alignment.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {_full_name(ndarray)})")
    check_array(ndarray, None)
    kind = from_numpy_dtype(ndarray.dtype)
    if any(stride % kind.itemsize for stride in ndarray.strides) or not ndarray.flags.aligned:
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy "
            "array to reallocate the memory."
        )
    if not ndarray.flags.writeable:
        return record.leaf_tensor(np.array(ndarray, kind.np, order="C"), kind)
    return record.leaf_tensor(np.asarray(ndarray), kind, visible=True)


def _full_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


@public(out=False)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Make a tensor of data, without a copy where that can be.

    Parameters
    ----------
    data : number, sequence, ndarray or Tensor
        A tensor of the right dtype is returned itself, an ndarray shares its memory.
    dtype, device
        As in `tensor`.
    """
    check_device("as_tensor", device)
    kind = None if dtype is None else read_dtype("as_tensor", dtype)
    if record.is_tensor(data):
        return data if kind is None else record.cast(data, kind)
    if isinstance(data, np.ndarray) and (kind is None or data.dtype == kind.np):
        return from_numpy(data)
    return _from_data("as_tensor", data, kind, None, False)


@public(out=False)
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Make a tensor of an object, sharing memory if possible, or as `copy` says.

    Parameters
    ----------
    obj : number, sequence, ndarray or Tensor
    dtype, device
        As in `tensor`.
    copy : bool, optional
        True: always copy; False: share or raise.
    requires_grad : bool
        Whether the result requires grad; a tensor that does already is detached if not.
    """
    check_device("asarray", device)
    kind = None if dtype is None else read_dtype("asarray", dtype)
    is_tensor = record.is_tensor(obj)
    if not is_tensor and not isinstance(obj, np.ndarray):
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        return _from_data("asarray", obj, kind, None, requires_grad)
    source_kind = obj.dtype if is_tensor else from_numpy_dtype(obj.dtype)
    kind = kind or source_kind
    check_requires_grad("asarray", requires_grad, kind)
    if kind is not source_kind and copy is False:
        raise ValueError(
            f"can't alias tensor with dtype '{scalar_name(source_kind)}' into dtype '{scalar_name(kind)}'."
        )
    if not is_tensor:
        result = from_numpy(obj) if kind is source_kind and not copy else _from_data(
            "asarray", obj, kind, None, False
        )  # fmt: skip
        return result.requires_grad_(requires_grad)
    if kind is not source_kind:
        obj = record.cast(obj, kind)
    elif copy:
        obj = obj.clone()
    if obj.requires_grad != requires_grad:
        obj = obj.detach()
        obj.requires_grad_(requires_grad)
    return obj


@factory(out=False)
def scalar_tensor(s: Number, *, options: Options) -> Tensor:
    """Make a 0-d tensor of a number, of the default dtype if none is given."""
    return options.leaf(_filled_array((), options.kind, scalar_of("scalar_tensor", "s", 1, s)))


# --------------------------------------------------------------------------- filled
def _filled_array(shape: tuple[int, ...], kind: dtypes.dtype, value: Any) -> np.ndarray:
    plain_zero = type(value) is not complex and value == 0 and math.copysign(1, value) > 0
    array = allocate(shape, kind, zero=plain_zero)
    if not plain_zero:
        with np.errstate(all="ignore"):
            array.fill(_converted(value, kind))
    return array


def _converted(value: Any, kind: dtypes.dtype) -> Any:
    """Convert a number to a dtype, or raise PyTorch's error where it does not fit."""
    if kind.is_complex:
        return complex(value)
    fits = type(value) is not complex or kind is bool_
    if fits and kind.np.kind in "iu":
        limits = np.iinfo(kind.np)
        fits = limits.min <= value < limits.max + 1
    if not fits:
        name = f"{kind.name}_t" if kind.np.kind in "iu" else c_name(kind)
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")
    if kind is bool_:
        return bool(value)
    return int(value) if kind.np.kind in "iu" else float(value)


Maker = Callable[[tuple[int, ...], dtypes.dtype], np.ndarray]


_KEYWORDS = "\n\nKeywords: dtype, layout, device, pin_memory, requires_grad, as in `tensor`."


def sized(name: str, make: Maker, contents: str) -> None:
    """Add ``name(*size)``, ``name_like(input)`` and the method ``new_name(*size)``.

    Parameters
    ----------
    name : str
    make : callable
        Makes the array from a shape and a dtype.
    contents : str
        Description of the elements, for the docstrings.
    """
    contents, new_name = f"Make a tensor of {contents}, of", f"new_{name}"

    @factory(name=name, doc=f"{contents} the given lengths of dimensions.{_KEYWORDS}")
    def plain(size: Ints, *, options: Options) -> Tensor:
        return options.leaf(make(size_of(name, size), options.kind))

    @factory(
        like=True, name=f"{name}_like", doc=f"{contents} the shape and dtype of `input`.{_KEYWORDS}"
    )
    def like(input: Tensor, *, options: Options, memory_format: Any = None) -> Tensor:
        return options.leaf(make(tuple(input.shape), options.kind))

    @factory(
        like=True, method=True, function=False, name=new_name,
        doc=f"{contents} this tensor's dtype.{_KEYWORDS}",
    )  # fmt: skip
    def new(self: Tensor, size: Ints, *, options: Options) -> Tensor:
        return options.leaf(make(size_of(new_name, size), options.kind))


sized("zeros", lambda shape, kind: allocate(shape, kind, zero=True), "zeros")
sized("ones", lambda shape, kind: _filled_array(shape, kind, 1), "ones")
sized("empty", lambda shape, kind: allocate(shape, kind), "uninitialised numbers")


def _full(name: str, size: Any, fill_value: Any, options: Options) -> Any:
    shape = size_of(name, size)
    value = scalar_of(name, "fill_value", 2, fill_value)
    options = options.or_kind(record.result_dtype((value,)))
    return options.leaf(_filled_array(shape, options.kind, value))


@factory(late=True)
def full(size: Ints, fill_value: Number, *, options: Options) -> Tensor:
    """Make a tensor of one number; its dtype is the number's if none is given.

    Parameters
    ----------
    size : sequence of int
    fill_value : number
    dtype, layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    return _full("full", size, fill_value, options)


@factory(like=True)
def full_like(
    input: Tensor, fill_value: Number, *, options: Options, memory_format: Any = None
) -> Tensor:
    """Make a tensor of one number, of the shape and dtype of `input`."""
    return _full("full_like", tuple(input.shape), fill_value, options)


@factory(like=True, method=True, function=False)
def new_full(input: Tensor, size: Ints, fill_value: Number, *, options: Options) -> Tensor:
    """Make a tensor of one number, of this tensor's dtype."""
    return _full("new_full", size, fill_value, options)


@public(method=True, function=False)
def new_tensor(
    input: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Make a leaf of a copy of data, of this tensor's dtype if none is given."""
    if record.is_tensor(data):
        _warn_copy("tensor.new_tensor")
    return _from_data(
        "new_tensor", data, dtype, device, requires_grad, pin_memory, default=input.dtype
    )


@factory(
    f"(int n, *, Tensor? out=None, {OPTIONS})", f"(int n, int m, *, Tensor? out=None, {OPTIONS})"
)
def eye(n: int, m: int | None = None, *, options: Options) -> Tensor:
    """Make a matrix with ones on the diagonal and zeros elsewhere.

    Parameters
    ----------
    n : int
        Rows.
    m : int, optional
        Columns, by default as many.
    dtype, layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    sizes = []
    for label, count in (("n", n), ("m", n if m is None else m)):
        size = operator.index(count)
        if size < 0:
            raise RuntimeError(f"{label} must be greater or equal to 0, got {size}")
        sizes.append(size)
    if math.prod(sizes) >= 2**63:
        raise RuntimeError("numel: integer multiplication overflow")
    array = allocate(checked("eye", tuple(sizes)), options.kind, zero=True)
    np.fill_diagonal(array, 1)
    return options.leaf(array)
