"""Padding: `pad`, with a constant or with elements of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.shape import padded_shape
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_ints, constant_like, float_of
from ..indexing.index_arrays import positions
from ..registry import declared
from ..signature import Ints, Tensor

__all__: list[str] = []


def _places(mode: str, length: int, before: int, after: int) -> np.ndarray:
    """Return the positions in a dimension of the elements of the padded one."""
    places = np.arange(-before, length + after)
    if mode == "circular":
        return places % max(length, 1)
    if mode == "replicate":
        return places.clip(0, length - 1)
    folded = np.abs(places)
    return np.where(folded >= length, 2 * (length - 1) - folded, folded)


def _padded_with_elements(input: Any, shape: Any, sides: tuple[int, ...], mode: str) -> Any:
    """Pad the last dimensions with elements of the input, one dimension after another."""
    count = len(sides) // 2
    if not 1 <= count <= 3 or len(shape) not in (count + 1, count + 2):
        raise NotImplementedError(
            f"Padding size {len(sides)} is not supported for {len(shape)}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    for i in range(count):
        before, after = sides[2 * i], sides[2 * i + 1]
        length = shape[-1 - i]
        if mode == "reflect" and max(before, after) >= length:
            raise RuntimeError(
                f"Argument #{2 * count + 2}: Padding size should be less than the corresponding input "
                f"dimension, but got: padding ({before}, {after}) at dimension {len(shape) - 1 - i} of input "
                f"{list(shape)}"
            )
        if mode == "circular" and max(before, after) > length:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if length + before + after < 1 or (mode != "constant" and length == 0):
            raise RuntimeError(
                f"input ({'WHD'[i]}: {length}) is too small. Calculated output {'WHD'[i]}: "
                f"{length + before + after}"
            )
    for i in range(count):
        before, after = sides[2 * i], sides[2 * i + 1]
        if before or after:
            dim = len(shape) - 1 - i
            at = positions(_places(mode, shape[dim], before, after))
            input = record.apply(TABLE["index_select"], (input, at), dims=(dim,))
    return input


@declared(method=False)
def pad(input: Tensor, pad: Ints, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad with a constant, or with elements (PyTorch has this as ``torch.nn.functional.pad``).

    Parameters
    ----------
    input : Tensor
    pad : sequence of int
        Elements (before, after) of the last dimension, then of the one before it, and so on;
        negative numbers take away.
    mode : {"constant", "reflect", "replicate", "circular"}
        But for the first, elements are those reflected at the ends, the one there, or those from the
        other end, and `pad` is for the last dimensions of inputs with one or two more.
    value : float, optional
        0 if not given.
    """
    sides = as_ints(pad)
    shape = layout_of(input).shape
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(sides) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if mode != "constant":
        if value not in (None, 0):
            raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
        return _padded_with_elements(input, shape, sides, mode)
    if len(sides) > 2 * len(shape):
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(sides)} and input of dimension {len(shape)}"
        )
    for i in range(len(sides) // 2):
        if shape[-1 - i] + min(sides[2 * i], 0) + min(sides[2 * i + 1], 0) < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
    assert min(padded_shape(shape, sides), default=0) >= 0
    if value is not None and not record.is_number(value):
        value = float_of("pad", "value", 4, value, "float")
    fill = constant_like(input, 0 if value is None else value)
    return record.apply(TABLE["constant_pad_nd"], (input, fill), pad=sides)


@declared(method=False)
def constant_pad_nd(input: Tensor, pad: Ints, value: float = 0) -> Tensor:
    """Pad with a constant: `pad` under the name of PyTorch's op."""
    return _pad(input, pad, value=value)


_pad = pad  # there are arguments of that name
