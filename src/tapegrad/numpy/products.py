"""NumPy's products and integrals on Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .operands import as_operand, as_tensor, axes_of, function, promoted, refused, written

__all__ = [
    "cross", "dot", "einsum", "gradient", "inner", "kron", "outer", "tensordot", "trapezoid", "vdot",
]  # fmt: skip


def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Product over the last dimension of `a` and the last but one of `b`, as `numpy.dot`."""
    x, y = promoted("dot", a, b)
    if not x.ndim or not y.ndim:
        result = x * y
    elif y.ndim <= 2:
        result = function("matmul")(x, y)
    else:
        result = function("tensordot")(x, y, ([x.ndim - 1], [y.ndim - 2]))
    return written("dot", result, out)


def vdot(a: Any, b: Any, /) -> Any:
    """Product of all elements, as `numpy.vdot`."""
    x, y = (t.reshape(-1) for t in promoted("vdot", a, b))
    return function("matmul")(x.conj(), y)


def inner(a: Any, b: Any, /) -> Any:
    """Product over the last dimensions, as `numpy.inner`."""
    x, y = promoted("inner", a, b)
    if not x.ndim or not y.ndim:
        return x * y
    return function("tensordot")(x, y, ([x.ndim - 1], [y.ndim - 1]))


def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Products of all pairs, as `numpy.outer`."""
    x, y = (t.reshape(-1) for t in promoted("outer", a, b))
    return written("outer", function("outer")(x, y), out)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Product over some dimensions, as `numpy.tensordot`."""
    x, y = promoted("tensordot", a, b)
    if isinstance(axes, int):
        return function("tensordot")(x, y, axes)
    pairs = [[int(p)] if np.ndim(p) == 0 else [int(q) for q in p] for p in axes]
    return function("tensordot")(x, y, tuple(pairs))


def einsum(
    subscripts: Any, /, *operands: Any, out: Any = None, optimize: Any = False, **options: Any
) -> Any:
    """Einstein's sum, as `numpy.einsum`."""
    if options:
        raise refused("einsum", f"its option {next(iter(options))!r} is not supported")
    if not isinstance(subscripts, str):
        parts = [subscripts, *operands]
        labels = parts[1::2] + ([parts[-1]] if len(parts) % 2 else [])
        tensors = promoted("einsum", *parts[: len(parts) - len(parts) % 2 : 2])
        listed = [x for pair in zip(tensors, labels, strict=False) for x in pair]
        return written("einsum", function("einsum")(*listed, *labels[len(tensors) :]), out)
    tensors = promoted("einsum", *operands)
    return written("einsum", function("einsum")(subscripts, *tensors), out)


def kron(a: Any, b: Any) -> Any:
    """Kronecker's product, as `numpy.kron`."""
    return function("kron")(*promoted("kron", a, b))


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """Cross product of vectors of three elements, as `numpy.cross`."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = promoted("cross", a, b)
    x, y = x.movedim(axisa, -1), y.movedim(axisb, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise refused("cross", f"vectors have three elements, not {x.shape[-1]} and {y.shape[-1]}")
    tensors = function("broadcast_tensors")(x, y)
    return function("cross")(*tensors, dim=-1).movedim(-1, axisc)


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Integral by the trapezoidal rule, as `numpy.trapezoid`."""
    values = as_tensor(y, "trapezoid")
    if x is None:
        return function("trapezoid")(values, dx=dx, dim=axis)
    return function("trapezoid")(values, as_tensor(x, "trapezoid"), dim=axis)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences, as `numpy.gradient`."""
    x, axes = as_tensor(f, "gradient"), axes_of(axis)
    places = (
        list(range(x.ndim)) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    )
    if len(varargs) not in (0, 1, len(places)):
        raise TypeError("invalid number of arguments")
    spacings = [1.0] * len(places) if not varargs else list(varargs) * (len(places) // len(varargs))
    results = []
    for place, spacing in zip(places, spacings, strict=True):
        given: Any = as_operand(spacing, "gradient")
        given = [given] if getattr(given, "ndim", 0) else float(spacing)
        results += function("gradient")(x, spacing=given, dim=place, edge_order=edge_order)
    return results[0] if len(results) == 1 else tuple(results)
