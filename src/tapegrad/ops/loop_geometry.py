"""The geometry of loops: "do this for every element of that shape" as loops around a kernel.

`loop_geometry` makes one inner loop for the kernel and as few outer loops as possible.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["loop_geometry", "loops_in_order"]


def loop_geometry(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Order and merge the dimensions of an elementwise loop.

    Parameters
    ----------
    shape : sequence of int
        The iteration space.
    strides : sequence of sequences of int
        For each operand its byte strides over that space.

    Returns
    -------
    count : int
        Length of the inner loop.
    inner : tuple of int
        Stride of each operand in the inner loop.
    outer_shape : tuple of int
    outer_strides : tuple of tuples
        For each outer dimension the stride of each operand.
    """
    if 0 in shape:
        return 0, (0,) * len(strides), (), ()
    dims = [(n, tuple(s[axis] for s in strides)) for axis, n in enumerate(shape) if n != 1]
    # Largest strides outermost, as NumPy's iterator does; stable, so C order stays C order.
    dims.sort(key=lambda d: -sum(abs(s) for s in d[1]))
    merged: list[tuple[int, tuple[int, ...]]] = []
    for n, step in dims:
        if merged:
            m, previous = merged[-1]
            if all(p == s * n for p, s in zip(previous, step, strict=True)):
                merged[-1] = (m * n, step)
                continue
        merged.append((n, step))
    if not merged:
        return 1, (0,) * len(strides), (), ()
    count, inner = merged.pop()
    return count, inner, tuple(n for n, _ in merged), tuple(s for _, s in merged)


def loops_in_order(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return what `loop_geometry` does, with all dimensions as they are: an outer one at least."""
    missing = max(2 - len(shape), 0)
    *outer, count = (1,) * missing + tuple(shape)
    steps = [(0,) * missing + tuple(s) for s in strides]
    *outer_strides, inner = zip(*steps, strict=True)
    if 0 in outer:
        count, outer = 0, [1] * len(outer)
    return count, inner, tuple(outer), tuple(outer_strides)
