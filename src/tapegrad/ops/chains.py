"""Elementwise ops that are not one loop of NumPy's: chains of loops, and kernels of our own.

`composed` makes a lowering from a body that calls loops one after the other, such as

    composed(lambda c, x: c(np.reciprocal, c(np.sqrt, x)))

The body runs once for given layouts; the chain that it builds runs tile by tile, temporaries
staying in the first-level cache. A body may name a kernel of kernels/pointwise.py instead
of a ufunc.

Rows made here have a `body`: their one step may become part of a longer chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_, dtype
from ..native.ufunc_loops import LibraryUfunc, fastest_loop, native_kernel_address
from .kernels import pointwise as pointwise_kernels
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import (
    POOL,
    ChainNode,
    Operand,
    Step,
    address_operand,
    arg,
    chain_scratch,
    chain_step,
    constant,
)  # fmt: skip
from .table import Lowered, Lowering, Op, op, out_operand

__all__ = ["Chain", "Value", "composed", "composed_op"]

_TRUTHS = {
    np.less, np.less_equal, np.equal, np.not_equal, np.greater, np.greater_equal, np.isnan,
    np.isinf, np.isfinite, np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
}  # fmt: skip


class Value(NamedTuple):
    """A value inside a chain: an operand (reference >= 0) or the result of a node (-1 - number)."""

    reference: int
    dtype: dtype


class Chain:
    """A chain under construction; calling it appends a node.

    Attributes
    ----------
    kind : dtype
        What Python numbers become.
    attrs : dict
        The op's attributes.
    """

    def __init__(self, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> None:
        self.attrs = attrs
        self.kind = layouts[-1].dtype
        self.shape = broadcast_shapes(*(x.shape for x in layouts))
        self._operands = [arg(i, broadcast_strides(x, self.shape)) for i, x in enumerate(layouts)]
        self._nodes: list[ChainNode] = []
        self._count = len(layouts)

    def number(self, value: float, kind: dtype | None = None) -> Value:
        """Make a constant, of another dtype than `kind` if one is given."""
        kind = kind or self.kind
        address = constant(value, kind.np)
        operand = address_operand(address, len(self.shape))
        if operand not in self._operands:
            self._operands.append(operand)
        return Value(self._operands.index(operand), kind)

    def __call__(
        self,
        function: np.ufunc | LibraryUfunc | str,
        *inputs: Value | float,
        data: tuple[int, ...] = (),
        result: dtype | None = None,
    ) -> Value:
        """Append a node.

        Parameters
        ----------
        function : numpy.ufunc, LibraryUfunc or str
            Whose loop it runs, or the name of a native kernel without its dtype.
        *inputs : Value or float
            At most 4.
        data : tuple of int
            What a native kernel reads through its data pointer.
        result : dtype, optional
            Of the result, if it is neither that of the last input nor a truth value of NumPy's.
        """
        values = [x if isinstance(x, Value) else self.number(x) for x in inputs]
        result = result or (bool_ if function in _TRUTHS else values[-1].dtype)
        if isinstance(function, str):
            address = native_kernel_address(function, values[-1].dtype)
            kernel = address, POOL.put(data)
        else:
            kernel = fastest_loop(function, (*(v.dtype for v in values), result))
        references = tuple(v.reference for v in values)
        self._nodes.append(ChainNode(kernel, references, result.itemsize))
        return Value(-len(self._nodes), result)

    def where(self, condition: Value, x: Value | float, y: Value | float) -> Value:
        """Append a node that takes `x` where the condition holds and `y` elsewhere."""
        return self("where", condition, x, y)

    def lowered(self, result: Value) -> Lowered:
        """Return the chain as the lowering of an op; `result` is its last node's."""
        assert result.reference == -len(self._nodes), "the last node gives the result"
        out = contiguous(result.dtype, self.shape)
        place = out_operand(self._count, out)
        if len(self._nodes) == 1:
            (node,) = self._nodes
            operands: list[Operand] = [self._operands[i] for i in node.inputs]
            return Lowered((out,), (Step(node.kernel, self.shape, (*operands, place)),))
        step = chain_step(self.shape, self._nodes, [*self._operands, place], 0)
        return Lowered((out,), (step,), chain_scratch(self._nodes))


def composed(body: Callable[..., Value]) -> Lowering:
    """Lowering of an elementwise op that runs a chain.

    Parameters
    ----------
    body : callable
        ``body(chain, *operands)`` appends the nodes and returns the last one's value.
    """

    def lower(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
        chain = Chain(layouts, attrs)
        operands = [Value(i, x.dtype) for i, x in enumerate(layouts)]
        return chain.lowered(body(chain, *operands))

    return lower


def composed_op(name: str, body: Callable[..., Value], **row: Any) -> Op:
    """Add a row that `composed` lowers."""
    return op(name, lower=composed(body), body=body, **row)


__all__ += ["pointwise_kernels"]
