"""What a row of the op table is.

A row says everything about an op in one place: how its result looks and which kernels compute it
(`lower`), its derivative (`vjp`), PyTorch's name for it, and from where its tests draw operands
(`domain`). Rows are made with `op` by the files of this folder, one a family, and found in `TABLE`.

A VJP is written once, in terms of ops, as ``vjp(ct, *operands, out, **attrs)``; it returns one
cotangent an operand (a single one for an op with one operand), or None where there is none. It does
not sum over broadcast dimensions: the sweep does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_, dtype, float32, float64, int64
from ..native import abi as nt
from ..native.abi import SELECT_CODE
from ..native.ufunc_loops import fastest_loop, native_kernel_address, ufunc_loop
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import ARGS, POOL, Operand, Step, arg

__all__ = ["TABLE", "Lowered", "Op", "distinct", "elementwise", "op", "out_operand"]


class Lowered(NamedTuple):
    """An op on given layouts: layouts of its results, steps, bytes of scratch memory."""

    outs: tuple[Layout, ...]
    steps: tuple[Step, ...]
    scratch: int = 0


Lowering = Callable[["Op", tuple[Layout, ...], dict[str, Any]], Lowered]


@dataclass(slots=True, eq=False)
class Op:
    """A row of the table.

    Attributes
    ----------
    name : str
    code : int
        The opcode.
    lower : callable
        ``lower(op, layouts, attrs)`` checks operands and returns a `Lowered`.
    vjp : callable or None
        The derivative; None if the result does not depend on the operands smoothly.
    grad_fn : str or callable
        PyTorch's name of the node, or a function of the instruction that returns it.
    loop : numpy.ufunc or None
        The ufunc whose loops compute an elementwise op.
    kind : int
        COMPUTE, VIEW, ... (see native/abi.py).
    result : str
        For elementwise ops: ``"same"``, ``"bool"`` or ``"float"``, the dtype of the result.
    expr : str or None
        The op as a numba expression over a, b, c, for fused kernels.
    domain : str
        Where the tests draw operands from: ``"real"``, ``"positive"``, ``"unit"`` ...
    arity : int
        Number of tensor operands, 0 if it varies.
    torch : str or None
        Name of PyTorch's function for the tests, None if it has none.
    multiple_views : bool
        For views: whether it is one of several that one call returns.
    """

    name: str
    code: int
    lower: Lowering
    vjp: Callable[..., Any] | None = None
    grad_fn: str | Callable[[Any], str] = ""
    loop: np.ufunc | None = None
    kind: int = nt.COMPUTE
    result: str = "same"
    expr: str | None = None
    domain: str = "real"
    arity: int = 1
    torch: str | None = None
    multiple_views: bool = False
    sample: Callable[..., Any] | None = None
    doc: str = ""
    extras: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


TABLE: dict[str, Op] = {}
BY_CODE: list[Op | None] = [None, None]


def op(name: str, **row: Any) -> Op:
    """Add a row to the table."""
    assert name not in TABLE, f"op {name} is in the table already"
    row.setdefault("lower", elementwise)
    row.setdefault("grad_fn", name.title().replace("_", "") + "Backward0")
    row.setdefault("torch", name)
    code = row.pop("code", len(BY_CODE))
    entry = Op(name=name, code=code, **row)
    TABLE[name] = entry
    if code < len(BY_CODE):
        BY_CODE[code] = entry
    else:
        BY_CODE.append(entry)
    return entry


def out_operand(nargs: int, layout: Layout, number: int = 0, offset: int = 0) -> Operand:
    """Result `number` of a statement with `nargs` operands, over its own shape."""
    return Operand(ARGS + nargs + number, offset, layout.strides)


def loop_dtypes(entry: Op, kind: dtype) -> tuple[dtype, ...]:
    """Dtypes of operands and result of an elementwise op on operands of dtype `kind`."""
    result = {"same": kind, "bool": bool_, "float": kind}[entry.result]
    return (kind,) * entry.arity + (result,)


def distinct(attrs: dict[str, Any]) -> list[Any]:
    """Names and values of attributes by turns, as parts of a key: -0.0 equals 0.0, and is another number."""
    return [x for k, v in attrs.items() for x in (k, str(v) if type(v) is float and not v else v)]


def elementwise(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower an op that NumPy's loop of a ufunc computes element by element, or a faster one.

    Where ``extras["kernels"]`` names a native kernel for the dtype, that one is used instead.
    """
    assert entry.loop is not None
    kind = layouts[-1].dtype
    types = loop_dtypes(entry, kind)
    shape = broadcast_shapes(*(x.shape for x in layouts))
    out = contiguous(types[-1], shape)
    own = entry.extras.get("kernels", {}).get(kind.name)
    if own is None:
        kernel = fastest_loop(entry.loop, types)
    else:  # NumPy's is there for what the kernel does not do
        kernel = native_kernel_address(own), POOL.put(ufunc_loop(entry.loop, types))
    operands = [arg(i, broadcast_strides(x, shape)) for i, x in enumerate(layouts)]
    operands.append(out_operand(len(layouts), out))
    return Lowered((out,), (Step(kernel, shape, tuple(operands)),))


def copy_loop(kind: dtype) -> tuple[int, int]:
    """Loop that copies elements of dtype `kind`: the ufunc ``positive`` (as bytes for bool)."""
    return ufunc_loop(np.positive, (kind, kind))


def is_float(layout: Layout) -> bool:
    """Whether values of this layout can be active."""
    return layout.dtype in (float64, float32)


def sizes(layouts: Sequence[Layout]) -> str:
    """Shapes of operands, for error texts."""
    return ", ".join(str(list(x.shape)) for x in layouts)


__all__ += [
    "BY_CODE",
    "SELECT_CODE",
    "bool_",
    "copy_loop",
    "float32",
    "float64",
    "int64",
    "is_float",
    "sizes",
]
