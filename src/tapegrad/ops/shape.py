"""Ops that move elements: cat, stack, repeat, flip, roll, pad, triangles and diagonals.

Each is a few copies between strided parts of operands and result, which NumPy's own loops do; their
derivatives are views and ops of this file again. Views proper are in view.py, and the names PyTorch
has for more of them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

from ..native.ufunc_loops import native_kernel, native_kernel_address
from ..native.words import memset, p64
from .layout import Layout, contiguous
from .program import POOL, SCRATCH, Operand, Step, arg, zero_step
from .table import Lowered, Op, copy_loop, op, out_operand
from .view import view_op

__all__ = ["diagonal_part", "padded_shape"]

view_op("t", "TBackward0")
view_op("squeeze_dims", "SqueezeBackward2")
view_op("split_with_sizes", "SplitWithSizesBackward0", multiple_views=True)
view_op("unsafe_split", "UnsafeSplitBackward0")  # views that may be written
view_op("unsafe_split_with_sizes", "UnsafeSplitWithSizesBackward0")
view_op("select_scatter", "SelectScatterBackward0")  # the whole of a copy that was written
view_op("slice_scatter", "SliceScatterBackward0")
view_op("diagonal_scatter", "DiagonalScatterBackward0")
view_op("as_strided_scatter", "AsStridedScatterBackward0")


def part(operand: Operand, starts: Sequence[int], strides: Sequence[int]) -> Operand:
    """Return the operand from element `starts` on."""
    offset = sum(i * s for i, s in zip(starts, strides, strict=True))
    return operand._replace(offset=operand.offset + offset)


def copy_step(kind: Any, shape: Sequence[int], source: Operand, target: Operand) -> Step:
    """Copy elements over a shape."""
    return Step(copy_loop(kind), tuple(shape), (source, target))


# --------------------------------------------------------------------------- joining
def lower_cat(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands one behind the other along ``attrs["dim"]``."""
    dim, first = attrs["dim"], layouts[0]
    total = sum(x.shape[dim] for x in layouts)
    out = contiguous(first.dtype, (*first.shape[:dim], total, *first.shape[dim + 1 :]))
    steps, start = [], 0
    for i, x in enumerate(layouts):
        target = out_operand(len(layouts), out, offset=start * out.strides[dim])
        steps.append(copy_step(x.dtype, x.shape, arg(i, x.strides), target))
        start += x.shape[dim]
    return Lowered((out,), tuple(steps))


def cat_vjp(ct: Any, *operands: Any, dim: int) -> tuple[Any, ...]:
    """Each operand takes its part of the cotangent."""
    cotangents, start = [], 0
    for x in operands[:-1]:
        cotangents.append(ct.narrow(dim, start, x.shape[dim]))
        start += x.shape[dim]
    return tuple(cotangents)


def lower_stack(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands of one shape along a new dimension ``attrs["dim"]``."""
    dim, first = attrs["dim"], layouts[0]
    out = contiguous(first.dtype, (*first.shape[:dim], len(layouts), *first.shape[dim:]))
    rest = out.strides[:dim] + out.strides[dim + 1 :]
    steps = [
        copy_step(
            x.dtype, x.shape, arg(i, x.strides), arg(len(layouts), rest, i * out.strides[dim])
        )
        for i, x in enumerate(layouts)
    ]
    return Lowered((out,), tuple(steps))


# --------------------------------------------------------------------------- repeating
def lower_repeat(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """``attrs["repeats"]`` copies along each dimension; leading ones are new."""
    (x,) = layouts
    repeats = attrs["repeats"]
    missing = len(repeats) - x.ndim
    lengths, steps = (1,) * missing + tuple(x.shape), (0,) * missing + x.strides
    out = contiguous(x.dtype, tuple(r * n for r, n in zip(repeats, lengths, strict=True)))
    shape: list[int] = []
    source: list[int] = []
    target: list[int] = []
    for r, n, s, o in zip(repeats, lengths, steps, out.strides, strict=True):
        shape += [r, n]
        source += [0, s]
        target += [o * n, o]
    return Lowered((out,), (copy_step(x.dtype, shape, arg(0, source), arg(1, target)),))


def repeat_vjp(ct: Any, x: Any, out: Any, repeats: tuple[int, ...]) -> Any:
    """Return the copies as leading dimensions, which the sweep sums over."""
    missing = len(repeats) - x.ndim
    lengths = (1,) * missing + tuple(x.shape)
    split = ct.view([n for pair in zip(repeats, lengths, strict=True) for n in pair])
    order = [*range(0, 2 * len(lengths), 2), *range(1, 2 * len(lengths), 2)]
    return split.permute(order)


# --------------------------------------------------------------------------- reordering
def lower_flip(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Elements in reverse order along ``attrs["dims"]``: a copy with negative strides."""
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    dims = attrs["dims"] if x.size else ()
    strides = tuple(-s if i in dims else s for i, s in enumerate(x.strides))
    offset = sum((x.shape[d] - 1) * x.strides[d] for d in dims)
    return Lowered(
        (out,), (copy_step(x.dtype, x.shape, arg(0, strides, offset), out_operand(1, out)),)
    )


def lower_roll(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Shift by ``attrs["shifts"]``, one a dimension: two parts of it change places."""
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    cuts = []
    for n, shift in zip(x.shape, attrs["shifts"], strict=True):
        k = shift % n if n else 0
        cuts.append([(0, k, n - k), (n - k, 0, k)] if k else [(0, 0, n)])
    steps = []
    for pieces in product(*cuts):
        source = part(arg(0, x.strides), [p[0] for p in pieces], x.strides)
        target = part(out_operand(1, out), [p[1] for p in pieces], out.strides)
        steps.append(copy_step(x.dtype, [p[2] for p in pieces], source, target))
    return Lowered((out,), tuple(steps))


def lower_roll_flat(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Shift the elements in C order by ``attrs["shift"]``."""
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    n, item = x.size, x.dtype.itemsize
    k = attrs["shift"] % n if n else 0
    steps, source, scratch = [], arg(0, (item,)), 0
    if not x.is_contiguous:  # put in order first
        source, scratch = Operand(SCRATCH, 0, (item,)), n * item
        steps.append(
            copy_step(x.dtype, x.shape, arg(0, x.strides), source._replace(strides=out.strides))
        )
    for start, to, count in ((0, k, n - k), (n - k, 0, k)):
        target = arg(1, (item,), to * item)
        steps.append(copy_step(x.dtype, (count,), part(source, (start,), (item,)), target))
    return Lowered((out,), tuple(steps), scratch)


# --------------------------------------------------------------------------- padding
def padded_shape(shape: Sequence[int], pad: Sequence[int]) -> tuple[int, ...]:
    """Shape after padding by (before, after) of the last dimension, the one before it, ..."""
    grown = list(shape)
    for i in range(len(pad) // 2):
        grown[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return tuple(grown)


def lower_pad(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, value): x with ``attrs["pad"]`` elements more (or fewer) on each side."""
    x = layouts[0]
    pad = attrs["pad"]
    out = contiguous(x.dtype, padded_shape(x.shape, pad))
    before, after = [0] * x.ndim, [0] * x.ndim
    for i in range(len(pad) // 2):
        before[-1 - i], after[-1 - i] = pad[2 * i], pad[2 * i + 1]
    fill = copy_step(x.dtype, out.shape, arg(1, (0,) * out.ndim), out_operand(2, out))
    shape = [
        max(n + min(b, 0) + min(a, 0), 0) for n, b, a in zip(x.shape, before, after, strict=True)
    ]
    source = part(arg(0, x.strides), [max(-b, 0) for b in before], x.strides)
    target = part(out_operand(2, out), [max(b, 0) for b in before], out.strides)
    steps = [fill] if max(pad, default=0) > 0 else []
    if 0 not in shape:
        steps.append(copy_step(x.dtype, shape, source, target))
    return Lowered((out,), tuple(steps))


def pad_vjp(ct: Any, x: Any, value: Any, out: Any, pad: tuple[int, ...]) -> tuple[Any, None]:
    """Pad the cotangent the opposite way."""
    return ct._apply("constant_pad_nd", 0, pad=tuple(-n for n in pad)), None


# --------------------------------------------------------------------------- triangles, diagonals
@native_kernel
def clear_triangle(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Clear what tril (``data``: item size, k, 0) or triu (1) leave out of contiguous matrices."""
    matrix, d = p64(args)[0], p64(data)
    rows, columns = p64(dims)[1], p64(dims)[2]
    width = columns * d[0]
    for _ in range(p64(dims)[0]):
        for i in range(rows):
            row = matrix + i * width
            if d[2] == 0:
                first = min(max(i + d[1] + 1, 0), columns)
                memset(row + first * d[0], 0, (columns - first) * d[0])
            else:
                memset(row, 0, min(max(i + d[1], 0), columns) * d[0])
        matrix += p64(strides)[0]


def lower_triangle(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, upper: bool
) -> Lowered:
    """Copy, and clear above (tril) or below (triu) the diagonal ``attrs["diagonal"]``."""
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    rows, columns = x.shape[-2:]
    k = max(min(attrs["diagonal"], columns), -rows)
    data = POOL.put((x.dtype.itemsize, k, int(upper)))
    target = out_operand(1, out)
    copy = copy_step(x.dtype, x.shape, arg(0, x.strides), target)
    clear = Step(
        (native_kernel_address("clear_triangle"), data),
        tuple(x.shape[:-2]),
        (target._replace(strides=out.strides[:-2]),),
        core=(rows, columns),
    )
    return Lowered((out,), (copy, clear) if x.size else (copy,))


def diagonal_part(layout: Layout, offset: int, dim1: int, dim2: int) -> tuple[Any, ...]:
    """Shape, strides and byte offset of a diagonal of a layout, as last dimension."""
    n, m = layout.shape[dim1], layout.shape[dim2]
    a, b = layout.strides[dim1], layout.strides[dim2]
    count = max(min(n, m - offset) if offset >= 0 else min(n + offset, m), 0)
    start = (b * offset if offset >= 0 else -a * offset) if count else 0
    rest = [i for i in range(layout.ndim) if i not in (dim1, dim2)]
    shape = (*[layout.shape[i] for i in rest], count)
    return shape, (*[layout.strides[i] for i in rest], a + b), start


def lower_diagonal_copy(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Copy a diagonal."""
    (x,) = layouts
    shape, strides, start = diagonal_part(x, attrs["offset"], attrs["dim1"], attrs["dim2"])
    out = contiguous(x.dtype, shape)
    return Lowered(
        (out,), (copy_step(x.dtype, shape, arg(0, strides, start), out_operand(1, out)),)
    )


def lower_diag_embed(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Zeros of ``attrs["shape"]`` with the operand's last dimension on a diagonal."""
    (x,) = layouts
    out = contiguous(x.dtype, attrs["shape"])
    shape, strides, start = diagonal_part(out, attrs["offset"], attrs["dim1"], attrs["dim2"])
    return Lowered(
        (out,),
        (
            zero_step(out_operand(1, out), out.span),
            copy_step(x.dtype, shape, arg(0, x.strides), arg(1, strides, start)),
        ),
    )


def _diagonal_vjp(ct: Any, x: Any, out: Any, **place: int) -> Any:
    return ct._apply("diag_embed", shape=tuple(x.shape), **place)


# --------------------------------------------------------------------------- rows
op("cat", of_complex="plain", arity=0, lower=lower_cat, vjp=cat_vjp, linear=True)
op(
    "stack", of_complex="plain", arity=0, lower=lower_stack, linear=True,
    vjp=lambda ct, *operands, dim: tuple(ct.select(dim, i) for i in range(len(operands) - 1)),
)  # fmt: skip
op("repeat", of_complex="plain", lower=lower_repeat, vjp=repeat_vjp, torch="tile")
op(
    "flip",
    of_complex="plain",
    lower=lower_flip,
    vjp=lambda ct, x, out, dims: ct._apply("flip", dims=dims),
)
op(
    "roll", of_complex="plain", lower=lower_roll,
    vjp=lambda ct, x, out, shifts: ct._apply("roll", shifts=tuple(-n for n in shifts)),
)  # fmt: skip
op(
    "roll_flat", of_complex="plain", lower=lower_roll_flat, grad_fn="RollBackward0", torch="roll",
    vjp=lambda ct, x, out, shift: ct._apply("roll_flat", shift=-shift),
)  # fmt: skip
op("constant_pad_nd", of_complex="plain", arity=2, lower=lower_pad, vjp=pad_vjp)
for _name in ("tril", "triu"):
    op(
        _name,
        lower=partial(lower_triangle, upper=_name == "triu"),
        in_place=True,
        of_complex="plain",
        vjp=lambda ct, x, out, diagonal, name=_name: ct._apply(name, diagonal=diagonal),
    )
op(
    "diag",
    of_complex="plain",
    lower=lower_diagonal_copy,
    vjp=_diagonal_vjp,
    grad_fn="DiagonalBackward0_copy",
)
op(
    "diag_embed",
    of_complex="plain",
    lower=lower_diag_embed,
    vjp=lambda ct, x, out, shape, offset, dim1, dim2: ct.diagonal(offset, dim1, dim2),
)
