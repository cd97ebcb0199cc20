"""`np.concatenate` and its like on tuples of arrays some of which are active."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ..types import arrays_of, is_active
from .arrays import empty
from .functions import overload

__all__: list[str] = []


def _joining_text(arrays: Any, axis: int | None, vector: str = "") -> str | None:
    """The text that joins a tuple of arrays along an axis (None: as ``axis`` says), element by element.

    Vectors count as a "row" or "column" where `vector` says so; else all are vectors, or all matrices.
    """
    kinds = list(arrays) if isinstance(arrays, types.BaseTuple) else []
    if not arrays_of(*kinds, ndim=(1, 2)) or (not vector and len({k.ndim for k in kinds}) > 1):
        return None
    parts = range(len(kinds))
    if not vector and kinds[0].ndim == 1:
        sizes = " + ".join(f"len(arrays[{p}])" for p in parts)
        lines = ["if axis != 0 and axis != -1:", "    raise ValueError('axis is out of bounds')"]
        lines = [f"out, start = empty(({sizes},)), 0", *(lines if axis is None else ())]
        for p in parts:
            lines += [f"for i in range(len(arrays[{p}])):", f"    out[start + i] = arrays[{p}][i]"]
            lines.append(f"start += len(arrays[{p}])")
        return _indented(lines)
    axis_text = "axis" if axis is None else str(axis)
    lines = [f"down = {axis_text} == 0 or {axis_text} == -2"]
    if axis is None:
        lines += ["if axis < -2 or axis > 1:", "    raise ValueError('axis is out of bounds')"]
    elements = []
    for p, kind in enumerate(kinds):
        a = f"arrays[{p}]"
        shape, element = f"{a}.shape", f"{a}[i, j]"
        if kind.ndim == 1:
            row = vector == "row"
            shape, element = (f"(1, {a}.size)", f"{a}[j]") if row else (f"({a}.size, 1)", f"{a}[i]")
        elements.append(element)
        lines.append(f"m{p}, n{p} = {shape}")
        lines.append(f"if (n{p} != n0) if down else (m{p} != m0):")
        lines.append(
            "    raise ValueError('arrays to join must have the same shape but for the axis')"
        )
    rows, cols = (" + ".join(f"{x}{p}" for p in parts) for x in "mn")
    lines.append(f"out, r, c = empty((({rows}) if down else m0, n0 if down else ({cols}))), 0, 0")
    for p in parts:
        lines += [f"for i in range(m{p}):", f"    for j in range(n{p}):"]
        lines += [f"        out[r + i, c + j] = {elements[p]}"]
        lines.append(f"r, c = (r + m{p}, c) if down else (r, c + n{p})")
    return _indented(lines)


def _indented(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _function_of(arguments: str, body: str | None) -> Any:
    """A function of a text; None without one."""
    scope: dict[str, Any] = {"empty": empty}
    if body is None:
        return None
    exec(f"def joined({arguments}):\n{body}    return out\n", scope)
    return scope["joined"]


@overload(np.concatenate)
def _ol_concatenate(arrays: Any, axis: Any = 0) -> Any:
    return _function_of("arrays, axis=0", _joining_text(arrays, None))


@overload(np.stack)
def _ol_stack(arrays: Any, axis: Any = 0) -> Any:
    if not isinstance(arrays, types.BaseTuple) or not arrays_of(*arrays, ndim=(1,)):
        return None
    rows, columns = _joining_text(arrays, 0, "row"), _joining_text(arrays, 1, "column")
    if isinstance(axis, types.Integer) and not isinstance(axis, types.IntegerLiteral):
        return None
    number = (
        axis
        if isinstance(axis, int)
        else getattr(axis, "literal_value", getattr(axis, "value", None))
    )
    chosen = rows if number in (0, -2) else columns if number in (1, -1) else None
    return _function_of("arrays, axis=0", chosen)


for _function, _axis, _vector in (
    (np.vstack, 0, "row"), (np.hstack, 1, ""), (np.column_stack, 1, "column"),
):  # fmt: skip

    def _joining(axis: int, vector: str) -> Any:
        def implementation(tup: Any) -> Any:
            text = _joining_text(tup, axis, vector)
            return _function_of("tup", None if text is None else f"    arrays = tup\n{text}")

        return implementation

    overload(_function)(_joining(_axis, _vector))


@overload(np.append)
def _ol_append(arr: Any, values: Any) -> Any:
    if not is_active(arr) and not is_active(values):
        return None
    if not isinstance(arr, types.Array):
        return None
    if isinstance(values, types.Array):
        return lambda arr, values: np.concatenate(
            (arr.reshape(arr.size), values.reshape(values.size))
        )

    def append(arr, values):  # type: ignore[no-untyped-def]
        out = empty((arr.size + 1,))
        for i in range(arr.size):
            out[i] = arr.flat[i]
        out[arr.size] = values
        return out

    return append
