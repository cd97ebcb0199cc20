"""Ops that read and write elements at index tensors.

Advanced indices arrive here as *one* int64 operand: the indices of the indexed dimensions, raveled
into positions in these dimensions (as if they were one dimension in C order). functions/indexing/getitem.py
checks and normalises the values when it records, and passes a constant of its own, so that no
kernel here ever meets an index out of range. Where there are no values yet, a statement ``checked_index``
does that when it is computed. Any other use of these rows must see to that too.

The derivative of reading is adding to zeros and the other way round.

Start reading at `indexed_shape` and `lower_index`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..base.dtypes import dtype
from ..native.ufunc_loops import native_kernel_address
from .kernels import indexing as index_kernels
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import POOL, Operand, Step, arg, zero_step
from .table import Failure, Lowered, Op, copy_loop, op, out_operand

__all__ = ["index_kernels", "indexed_shape"]


_READ, _WRITE = 0, 1


# --------------------------------------------------------------------------- geometry
def indexed_shape(
    shape: Sequence[int], dims: Sequence[int], index: Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """Shape of ``x[indices]`` and where the index's dimensions stand in it.

    They take the place of the indexed dimensions if these are neighbours, and otherwise come first
    (NumPy's and PyTorch's rule).
    """
    neighbours = dims[-1] - dims[0] == len(dims) - 1
    at = dims[0] if neighbours else 0
    rest = [n for i, n in enumerate(shape) if i not in dims]
    return (*rest[:at], *index, *rest[at:]), at


def places(layout: Layout, dims: Sequence[int], direction: int) -> int:
    """Return data of a kernel: how positions in dimensions `dims` become byte offsets."""
    merged: list[tuple[int, int]] = []  # (length, stride), the last dimension first
    for d in reversed(dims):
        n, s = layout.shape[d], layout.strides[d]
        if merged and s == merged[-1][0] * merged[-1][1]:
            merged[-1] = (n * merged[-1][0], merged[-1][1])
        else:
            merged.append((n, s))
    return POOL.put((direction, len(merged), *[word for pair in merged for word in pair]))


def kernel_of(kind: dtype, *, add: bool) -> int:
    """Address of the kernel that copies or adds elements of a dtype."""
    if add:
        return native_kernel_address("index_add", kind)
    return native_kernel_address(f"index_copy_{kind.itemsize}")


def index_step(
    layout: Layout, indexed: Operand, dims: Sequence[int],
    index: Layout, positions: Operand, plain: Operand, *, direction: int, add: bool = False,
) -> Step:  # fmt: skip
    """Return the step between indexed memory and plain values over ``x[indices]``.

    Parameters
    ----------
    layout : Layout
        Of the indexed memory.
    indexed, positions, plain : Operand
        The strides of `plain` run over the shape of ``x[indices]``; those of the other two are
        worked out here.
    dims : sequence of int
    index : Layout
        Of the positions.
    direction : int
    add : bool
    """
    shape, at = indexed_shape(layout.shape, dims, index.shape)
    rest = [s for i, s in enumerate(layout.strides) if i not in dims]
    strides = [*rest[:at], *(0,) * index.ndim, *rest[at:]]
    where = [*(0,) * at, *index.strides, *(0,) * (len(rest) - at)]
    other = list(plain.strides)
    outer = list(shape)
    run, run_own, run_other = 1, 0, 0
    while len(outer) > at + index.ndim:  # a run: last dimensions that merge in both
        n, s, o = outer[-1], strides[-1], other[-1]
        if run > 1 and n != 1 and (s != run * run_own or o != run * run_other):
            break
        if run == 1 and n != 1:
            run_own, run_other = s, o
        run *= n
        for stack in (outer, strides, where, other):
            stack.pop()
    return Step(
        (kernel_of(layout.dtype, add=add), places(layout, dims, direction)),
        tuple(outer),
        (
            indexed._replace(strides=tuple(strides)),
            positions._replace(strides=tuple(where)),
            plain._replace(strides=tuple(other)),
        ),
        core=(run,),
        core_strides=(run_own, run_other),
    )


# --------------------------------------------------------------------------- x[indices]
def lower_index(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, positions): elements of x at positions in ``attrs["dims"]``."""
    x, index = layouts
    dims = attrs["dims"]
    out = contiguous(x.dtype, indexed_shape(x.shape, dims, index.shape)[0])
    step = index_step(x, arg(0, ()), dims, index, arg(1, ()), out_operand(2, out), direction=_READ)
    return Lowered((out,), (step,))


def lower_index_backward(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (ct, positions): zeros of ``attrs["shape"]`` to which ct is added at positions."""
    ct, index = layouts
    out = contiguous(ct.dtype, attrs["shape"])
    target = out_operand(2, out)
    step = index_step(
        out, target, attrs["dims"], index, arg(1, ()), arg(0, ct.strides), direction=_WRITE,
        add=True,
    )  # fmt: skip
    return Lowered((out,), (zero_step(target, out.span), step))


def lower_index_put(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, values, positions): x with values, broadcast, written or added at positions."""
    x, values, index = layouts
    dims = attrs["dims"]
    out = contiguous(x.dtype, x.shape)
    target = out_operand(3, out)
    shape = indexed_shape(x.shape, dims, index.shape)[0]
    plain = arg(1, broadcast_strides(values, shape))
    copy = Step(copy_loop(x.dtype), x.shape, (arg(0, x.strides), target))
    step = index_step(
        out, target, dims, index, arg(2, ()), plain, direction=_WRITE, add=attrs["accumulate"]
    )
    return Lowered((out,), (copy, step))


def index_vjp(ct: Any, x: Any, index: Any, out: Any, dims: tuple[int, ...]) -> tuple[Any, None]:
    """Add the cotangent where the elements came from."""
    return ct._apply("index_backward", index, shape=tuple(x.shape), dims=dims), None


def index_put_vjp(
    ct: Any, x: Any, values: Any, index: Any, out: Any, dims: tuple[int, ...], accumulate: bool
) -> tuple[Any, Any, None]:
    """Give values the cotangent of their place; what was overwritten has no influence."""
    kept = ct if accumulate else ct._apply("index_put", 0, index, dims=dims, accumulate=False)
    return kept, ct._apply("index", index, dims=dims), None


def lower_checked_index(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]
) -> Lowered:  # fmt: skip
    """Index values, checked when they are computed: non-negative ones below ``attrs["n"]``."""
    (index,) = layouts
    n = attrs["n"]
    out = contiguous(index.dtype, index.shape)
    kernel = native_kernel_address("check_index"), POOL.put((n, -n if attrs["wraps"] else 0))
    operands = arg(0, index.strides), out_operand(1, out)
    return Lowered((out,), (Step(kernel, index.shape, operands, checked=True),))


# --------------------------------------------------------------------------- gather, scatter
def along_step(
    layout: Layout, indexed: Operand, dim: int, index: Layout, positions: Operand, plain: Operand,
    *, direction: int, add: bool = False,
) -> Step:  # fmt: skip
    """Return the step of gather and scatter: positions along `dim`, over the index's shape."""
    strides = tuple(0 if i == dim else s for i, s in enumerate(layout.strides))
    data = places(layout, (dim,) if layout.ndim else (), direction)
    if not layout.ndim:
        data = POOL.put((direction, 1, 1, 0))
    return Step(
        (kernel_of(layout.dtype, add=add), data),
        index.shape,
        (
            indexed._replace(strides=strides[: index.ndim] if layout.ndim else (0,) * index.ndim),
            positions._replace(strides=index.strides),
            plain,
        ),
        core=(1,),
        core_strides=(0, 0),
    )


def lower_gather(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, index): ``out[i, j] = x[index[i, j], j]`` for ``dim=0``."""
    x, index = layouts
    out = contiguous(x.dtype, index.shape)
    step = along_step(
        x, arg(0, ()), attrs["dim"], index, arg(1, ()), out_operand(2, out), direction=_READ
    )
    return Lowered((out,), (step,))


def lower_gather_backward(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (ct, index): zeros of ``attrs["shape"]`` to which ct is added at the index."""
    ct, index = layouts
    out = contiguous(ct.dtype, attrs["shape"])
    target = out_operand(2, out)
    step = along_step(
        out, target, attrs["dim"], index, arg(1, ()), arg(0, ct.strides), direction=_WRITE, add=True
    )
    return Lowered((out,), (zero_step(target, out.span), step))


def lower_scatter(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, add: bool = False
) -> Lowered:
    """Operands (x, index, source): x with the source written or added at the index along a dim."""
    x, index, source = layouts
    out = contiguous(x.dtype, x.shape)
    target = out_operand(3, out)
    copy = Step(copy_loop(x.dtype), x.shape, (arg(0, x.strides), target))
    plain = arg(2, broadcast_strides(source, index.shape))
    step = along_step(
        out, target, attrs["dim"], index, arg(1, ()), plain, direction=_WRITE, add=add
    )
    return Lowered((out,), (copy, step))


def gather_vjp(ct: Any, x: Any, index: Any, out: Any, dim: int) -> tuple[Any, None]:
    """Add the cotangent where the elements came from."""
    return ct._apply("gather_backward", index, shape=tuple(x.shape), dim=dim), None


def scatter_vjp(
    ct: Any, x: Any, index: Any, source: Any, out: Any, dim: int
) -> tuple[Any, None, Any]:
    """Give the source the cotangent of its place; what was overwritten has no influence."""
    return ct._apply("scatter", index, 0, dim=dim), None, ct._apply("gather", index, dim=dim)


# --------------------------------------------------------------------------- masks
def lower_masked_fill(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, mask, value): x, broadcast with the mask, and the 0-d value where it is set."""
    x, mask = layouts[:2]
    shape = broadcast_shapes(x.shape, mask.shape)
    out = contiguous(x.dtype, shape)
    target = out_operand(3, out)
    copy = Step(copy_loop(x.dtype), shape, (arg(0, broadcast_strides(x, shape)), target))
    put = Step(
        (native_kernel_address(f"masked_put_{x.dtype.itemsize}"), 0),
        shape,
        (arg(1, broadcast_strides(mask, shape)), arg(2, (0,) * len(shape)), target),
    )
    return Lowered((out,), (copy, put))


def masked_fill_vjp(ct: Any, x: Any, mask: Any, value: Any, out: Any) -> tuple[Any, None, Any]:
    """Give the operand the cotangent outside the mask, the value that inside."""
    return ct._apply("masked_fill", mask, 0), None, ct._apply("masked_fill", ~mask, 0)


# --------------------------------------------------------------------------- rows
#: what was recorded without values; where there are some, it is a constant (index_arrays.py)
op(
    "checked_index",
    lower=lower_checked_index,
    torch=None,
    private=True,
    failure=Failure("an index is out of bounds", IndexError),
)
op("index", of_complex="plain", arity=2, lower=lower_index, vjp=index_vjp, torch=None)
op("index_backward", of_complex="plain", arity=2, lower=lower_index_backward, torch=None, vjp=(
    lambda ct, x, index, out, shape, dims: (ct._apply("index", index, dims=dims), None)
))  # fmt: skip
op(
    "index_put",
    of_complex="plain",
    arity=3,
    lower=lower_index_put,
    vjp=index_put_vjp,
    torch=None,
    in_place=True,
)
for _name in ("index_select", "take", "masked_select"):
    op(_name, of_complex="plain", arity=2, lower=lower_index, vjp=index_vjp)
for _name in ("index_add", "index_copy", "index_fill"):
    op(_name, of_complex="plain", arity=3, lower=lower_index_put, vjp=index_put_vjp, in_place=True)
op("gather", of_complex="plain", arity=2, lower=lower_gather, vjp=gather_vjp)
op("gather_backward", of_complex="plain", arity=2, lower=lower_gather_backward, torch=None, vjp=(
    lambda ct, x, index, out, shape, dim: (ct._apply("gather", index, dim=dim), None)
))  # fmt: skip
op("scatter", of_complex="plain", arity=3, lower=lower_scatter, vjp=scatter_vjp, in_place=True)
op("scatter_value", of_complex="plain", arity=3, lower=lower_scatter, vjp=scatter_vjp, torch="scatter",
   grad_fn="ScatterBackward1")  # fmt: skip
op("scatter_add", of_complex="plain", arity=3, lower=partial(lower_scatter, add=True), in_place=True,
   vjp=lambda ct, x, index, source, out, dim: (ct, None, ct._apply("gather", index, dim=dim))
)  # fmt: skip
op(
    "masked_fill",
    of_complex="plain",
    arity=3,
    lower=lower_masked_fill,
    vjp=masked_fill_vjp,
    in_place=True,
)
op("masked_fill_tensor", of_complex="plain", arity=3, lower=lower_masked_fill, vjp=masked_fill_vjp,
   torch="masked_fill", grad_fn="MaskedFillBackward1")  # fmt: skip
