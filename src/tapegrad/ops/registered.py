"""Rows that are added while a program runs: ufuncs of others, with their users' rules (`registered_ops.py`).

An elementwise ufunc is a chain of one loop (chains.py), a generalised one a step whose kernel has core
dimensions. What the ufunc's loop reads is the business of whoever made it; shapes are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_, dtype, float32, float64
from ..native import abi as nt
from ..native.ufunc_loops import ufunc_loop
from .chains import Chain, Value, composed
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import Operand, Step, arg
from .table import BY_CODE, Lowered, Op, op, out_operand

__all__ = ["LAST_CODE", "MOST_OPERANDS", "Core", "core_of", "registered_op", "result_kinds"]

#: operands that a step has room for, beside the result
MOST_OPERANDS = nt.MAX_OPERANDS - 1
#: inputs that a node of a chain has room for
_CHAINED = 4
#: behind it native recording, and functions of one Tensor (tensors/plain_calls.py), have codes of their own
LAST_CODE = nt.ENTER_CODE - nt.NUMBER_PROTOCOL - 1 - nt.PLAIN_CODES
_DIM = re.compile(r"[A-Za-z_]\w*|\d+")


class Core(NamedTuple):
    """The core dimensions of a generalised ufunc.

    Attributes
    ----------
    names : tuple of str
        In the order in which a loop gets their lengths.
    operands : tuple of tuple of int
        For each operand, and the result behind them, the numbers of its dimensions.
    """

    names: tuple[str, ...]
    operands: tuple[tuple[int, ...], ...]


def core_of(signature: str) -> Core:
    """Read a ufunc's signature, such as ``"(m,n),(n)->(m)"``.

    Raises
    ------
    ValueError
        For dimensions that may be missing, and for one of the result only.
    """
    if "?" in signature:
        raise ValueError(f"its signature {signature} has a dimension that may be missing")
    inputs, result = signature.replace(" ", "").split("->")
    groups = [*re.findall(r"\(([^)]*)\)", inputs), result.strip("()")]
    names: list[str] = []
    operands = []
    for number, group in enumerate(groups):
        dims = _DIM.findall(group)
        new = [d for d in dict.fromkeys(dims) if d not in names]
        if new and number == len(groups) - 1:
            raise ValueError(f"its signature {signature} has a dimension of the result only")
        names += new
        operands.append(tuple(map(names.index, dims)))
    return Core(tuple(names), tuple(operands))


def result_kinds(ufunc: np.ufunc) -> dict[dtype, dtype]:
    """Return the dtype of the result for each floating dtype of operands that a ufunc has a loop for."""
    kinds: dict[dtype, dtype] = {}
    for kind in (float64, float32):
        for result in (kind, bool_):
            try:
                ufunc_loop(ufunc, (kind,) * ufunc.nin + (result,))
            except TypeError:
                continue
            kinds.setdefault(kind, result)
    return kinds


def _lower_loop(ufunc: np.ufunc, kinds: dict[dtype, dtype]) -> Callable[..., Lowered]:
    def lower(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
        """One step: more operands than a node of a chain has."""
        kind = layouts[-1].dtype
        shape = broadcast_shapes(*(x.shape for x in layouts))
        out = contiguous(kinds[kind], shape)
        operands = [arg(i, broadcast_strides(x, shape)) for i, x in enumerate(layouts)]
        kernel = ufunc_loop(ufunc, (kind,) * len(layouts) + (out.dtype,))
        return Lowered((out,), (Step(kernel, shape, (*operands, out_operand(len(layouts), out))),))

    return lower


def _lengths(entry: Op, core: Core, layouts: tuple[Layout, ...]) -> list[Any]:
    """Lengths of the core dimensions of operands.

    Raises
    ------
    RuntimeError
        If operands do not fit each other.
    """
    shapes = ", ".join(str(list(x.shape)) for x in layouts)
    lengths: list[Any] = [int(name) if name.isdigit() else None for name in core.names]
    for number, (x, dims) in enumerate(zip(layouts, core.operands, strict=False)):
        if x.ndim < len(dims):
            raise RuntimeError(
                f"{entry.name}(): operand {number} has {x.ndim} dimensions, where its signature has "
                f"{len(dims)} (operands of shape {shapes})"
            )
        for dim, n in zip(dims, x.shape[x.ndim - len(dims) :], strict=True):
            if lengths[dim] is None:
                lengths[dim] = n
            elif lengths[dim] != n:
                raise RuntimeError(
                    f"{entry.name}(): dimension {core.names[dim]} of operand {number} is {n}, and "
                    f"{lengths[dim]} elsewhere (operands of shape {shapes})"
                )
    return lengths


def _lower_core(ufunc: np.ufunc, core: Core) -> Callable[..., Lowered]:
    def lower(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
        """One step with core dimensions."""
        kind = layouts[-1].dtype
        lengths = _lengths(entry, core, layouts)
        leads = [x.ndim - len(dims) for x, dims in zip(layouts, core.operands, strict=False)]
        batch = broadcast_shapes(*(x.shape[:n] for x, n in zip(layouts, leads, strict=True)))
        out = contiguous(kind, (*batch, *[lengths[d] for d in core.operands[-1]]))
        operands: list[Operand] = []
        strides: list[int] = []
        for number, (x, lead) in enumerate(zip((*layouts, out), (*leads, len(batch)), strict=True)):
            missing = (0,) * (len(batch) - lead)
            steps = [
                0 if n == 1 else s for n, s in zip(x.shape[:lead], x.strides[:lead], strict=True)
            ]
            operands.append(arg(number, (*missing, *steps)))
            strides += x.strides[lead:]
        kernel = ufunc_loop(ufunc, (kind,) * len(operands))
        step = Step(kernel, batch, tuple(operands), tuple(lengths), tuple(strides))
        return Lowered((out,), (step,))

    return lower


def registered_op(
    name: str, ufunc: np.ufunc, kinds: dict[dtype, dtype], vjp: Callable[..., Any] | None
) -> Op:
    """Add the row of a ufunc. The caller holds the lock of the table.

    Raises
    ------
    RuntimeError
        If there are too many.
    """
    if len(BY_CODE) > LAST_CODE:
        raise RuntimeError(
            f"register_op(): there is room for {LAST_CODE} ops, and they are all in use"
        )
    smooth = any(kind is not bool_ for kind in kinds.values())
    row: dict[str, Any] = {
        "arity": ufunc.nin, "torch": None, "private": True, "result": "float",
        "vjp": vjp if smooth else None, "grad_fn": f"{name}Backward",
    }  # fmt: skip
    if ufunc.signature is not None:
        core = core_of(ufunc.signature)
        return op(name, lower=_lower_core(ufunc, core), core=core.operands, **row)
    if ufunc.nin > _CHAINED:
        return op(name, lower=_lower_loop(ufunc, kinds), **row)

    def body(c: Chain, *operands: Value) -> Value:
        return c(ufunc, *operands, result=kinds[c.kind])

    return op(name, lower=composed(body), body=body, **row)
