"""Questions about tensors, dtypes and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base import dtypes
from ..base.devices import CPU, device, strided
from ..base.dtypes import dtype
from ..tape import recording as record
from ..tape.recording import layout_of
from .arguments import as_tensors
from .registry import declared, public
from .signature import Dtype, Operand, Tensor

__all__ = ["can_cast", "is_nonzero", "is_same_size", "promote_types", "result_type"]


# --------------------------------------------------------------------------- dtypes
@declared(
    "(Tensor tensor, Tensor other)", "(Number scalar, Tensor tensor)",
    "(Tensor tensor, Number other)", "(Number scalar1, Number scalar2)", method=False, out=False,
)  # fmt: skip
def result_type(tensor: Operand, other: Operand) -> dtype:
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
    return record.result_dtype((tensor, other))


@declared(method=False, out=False)
def promote_types(type1: Dtype, type2: Dtype) -> dtype:
    """Return the smallest dtype that holds the values of two.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.promote_types(tg.int64, tg.float32)
    torch.float32
    """
    return dtypes.result_type(dtypes.as_dtype(type1), dtypes.as_dtype(type2))


@declared(method=False, out=False)
def can_cast(from_: Dtype, to: Dtype) -> bool:
    """Return True if numbers of one dtype may be written into a tensor of the other.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.can_cast(tg.float64, tg.float32), tg.can_cast(tg.float64, tg.int64)
    (True, False)
    """
    return dtypes.category(dtypes.as_dtype(from_)) <= dtypes.category(dtypes.as_dtype(to))


# --------------------------------------------------------------------------- tensors
@public(out=False)
def get_default_device() -> device:
    """Return the device of new tensors: ``device(type='cpu')``."""
    return CPU


@declared(out=False)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Return True if two tensors have the same shape."""
    return bool(input.shape == other.shape)


@public(method=True)
def is_nonzero(input: Any) -> bool:
    """Return True if the one element of a tensor is not zero.

    Raises
    ------
    RuntimeError
        If there is not exactly one.
    """
    (input,) = as_tensors("is_nonzero", (input,))
    return bool(input)


# --------------------------------------------------------------------------- answers in one line
def _question(
    name: str, doc: str, answer: Callable[[Any], Any], method: bool = True, function: bool = True,
    prop: bool = False, result: str = "bool",
) -> None:  # fmt: skip
    """Add a function, method or property of a tensor that is no more than its answer, of type `result`."""

    @public(method=method, function=function, prop=prop, name=name, out=False, doc=doc)
    def ask(input: Any) -> Any:
        return answer(*as_tensors(name, (input,)))

    ask.__annotations__["return"] = result


_question(
    "is_floating_point", "Return True if the dtype is a floating one.",
    lambda x: x.dtype.is_floating_point,
)  # fmt: skip
_question(
    "is_signed", "Return True if the dtype has negative numbers.", lambda x: x.dtype.is_signed
)
_question("is_complex", "Return True if the dtype is a complex one.", lambda x: x.dtype.is_complex)
for _name in ("is_conj", "is_neg", "is_distributed"):
    _question(_name, "Return False: no tensor is.", lambda x: False)
for _name in ("is_pinned", "is_shared"):
    _question(_name, "Return False: no tensor is.", lambda x: False, function=False)
for _name in ("resolve_conj", "resolve_neg"):
    _question(
        _name,
        "Return the tensor: its numbers are as they lie in memory.",
        lambda x: x,
        result="Tensor",
    )
_question(
    "get_device", "Return -1, which stands for the CPU.", lambda x: -1, function=False, result="int"
)
_question(
    "device",
    "Device of the tensor: ``device(type='cpu')``.",
    lambda x: CPU,
    prop=True,
    result="device",
)
_question(
    "layout", "Form in which its elements are stored: ``torch.strided``.", lambda x: strided,
    prop=True, result="layout",
)  # fmt: skip
_question("itemsize", "Bytes of one element.", lambda x: x.dtype.itemsize, prop=True, result="int")
_question(
    "nbytes",
    "Bytes of all elements.",
    lambda x: layout_of(x).size * x.dtype.itemsize,
    prop=True,
    result="int",
)
_question("is_cpu", "True: all tensors are on the CPU.", lambda x: True, prop=True)
for _name in (
    "is_cuda", "is_sparse", "is_sparse_csr", "is_nested", "is_quantized", "is_mkldnn", "is_meta", "is_mps",
    "is_xpu", "is_vulkan", "is_ipu", "is_xla", "is_maia",
):  # fmt: skip
    _question(_name, "False: tensors are dense, on the CPU.", lambda x: False, prop=True)
