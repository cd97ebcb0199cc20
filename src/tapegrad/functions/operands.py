"""Operands of elementwise functions: checks with PyTorch's errors, and promotion."""

from __future__ import annotations

from typing import Any

from ..base.dtypes import FLOATING, category, dtype, scalar_name
from ..base.errors import must_be
from ..ops.table import Op
from ..tape import recording as record

__all__ = [
    "check_binary", "check_divisor", "check_floating", "integer_binary", "is_integral", "no_kernel",
    "promoted",
]  # fmt: skip


def check_binary(name: str, a: Any, b: Any) -> None:
    """Raise PyTorch's TypeError unless one of two operands is a tensor."""
    if not (record.is_tensor(a) or record.is_tensor(b)):
        raise must_be(name, "input", 1, "Tensor", a)


def promoted(values: tuple[Any, ...]) -> tuple[list[Any], dtype]:
    """Tensors of the dtype that tensors and numbers promote to."""
    kind = record.result_dtype(values)
    return [record.as_operand(v, kind) for v in values], kind


def no_kernel(name: str, kind: dtype) -> NotImplementedError:
    """Return PyTorch's error of a function that has no kernel for a dtype; it names the kernel."""
    return NotImplementedError(f"\"{name}\" not implemented for '{scalar_name(kind)}'")


def check_floating(kernel: str, kind: dtype) -> None:
    """Raise PyTorch's error of a kernel for floating dtypes unless it is one."""
    if not kind.is_floating_point:
        raise no_kernel(kernel, kind)


def integer_binary(entry: Op, a: Any, b: Any) -> Any:
    """Record an op on integers, unknown to native recording."""
    (x, y), _ = promoted((a, b))
    return record.apply(entry, (x, y))


def check_divisor(other: Any) -> None:
    """Raise for an integer divisor that is zero; its value is needed now."""
    zero = (other._array() == 0).any() if record.is_tensor(other) else other == 0
    if zero:
        raise RuntimeError("ZeroDivisionError")


def is_integral(kind: dtype) -> bool:
    """Return True for a dtype of whole numbers, or bool."""
    return category(kind) < FLOATING
