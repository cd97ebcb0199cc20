"""The op table and its rows.

A row says everything about an op in one place: how its result looks and which kernels compute it
(`lower`), its derivative (`vjp`), PyTorch's name for it, and for which operands it is smooth
(`domain`). Rows are made with `op` by the files of this folder, one a family, and found in `TABLE`.

A VJP is written once, in terms of ops, as ``vjp(ct, *operands, out, **attrs)``; it returns one
cotangent an operand (a single one for an op with one operand), or None where there is none. It does
not sum over broadcast dimensions: the sweep does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from ..base.dtypes import bool_, dtype, real_of
from ..native import abi as nt
from ..native.ufunc_loops import fastest_loop, native_kernel_address, ufunc_loop
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import ARGS, POOL, Operand, Step, arg

__all__ = [
    "BY_CODE",
    "TABLE",
    "Failure",
    "Lowered",
    "Lowering",
    "Op",
    "copy_loop",
    "distinct",
    "elementwise",
    "is_inexact",
    "op",
    "out_operand",
]


class Lowered(NamedTuple):
    """An op on given layouts: layouts of its results, steps, bytes of scratch memory."""

    outs: tuple[Layout, ...]
    steps: tuple[Step, ...]
    scratch: int = 0


class Failure(NamedTuple):
    """Words and class of the error for a kernel that fails (that of a step which is `checked`).

    `attribute` is the name of a statement's attribute that knows its error, by its method `failed`, or is its
    text.
    """

    text: str
    error: type[Exception] = RuntimeError
    attribute: str = ""


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
        For elementwise ops, the dtype of the result: ``"same"``, ``"float"``, ``"bool"``, ``"real"`` for that
        of the parts of complex operands, or ``"bits"`` for what has the same of integers and bools only.
    domain : str
        For elementwise ops: operands for which it is defined and smooth, ``"real"``, ``"positive"`` ...
        The tests draw theirs from there.
    arity : int
        Number of tensor operands, 0 if it varies.
    torch : str or None
        Name of PyTorch's function for the tests, None if it has none.
    aliases : tuple of str
        PyTorch's other names of its function.
    in_place : bool
        Whether PyTorch has a method that writes the result over the first operand. The default is that it has
        one for an elementwise op of its own name.
    second_name : str
        PyTorch's name of the second operand among a node's saved tensors.
    private : bool
        Whether rules and other functions record it only: native recording gives it no function.
    function : str or None
        The function that native recording gives it, if that has another name, or the row is not elementwise.
    body : callable or None
        For elementwise ops that are no ufunc's: what appends the chain of loops (chains.py).
    kernels : dict
        Name of a dtype -> the native kernel that runs in the place of the ufunc's loop.
    sized : bool
        Whether the one loop of an op that is not elementwise is as long as a dense operand (families.py).
    number_names : dict
        Number of an operand -> PyTorch's name of the node where that operand is a Python number.
    number_edges : tuple of int
        Operands for which a node has an edge even where they are Python numbers.
    linear : bool
        Whether it is linear in all operands together: its tangent is the op itself, on tangents.
    programs : callable or None
        Writes the programs of the reverse sweep into rows, one an operand, in the place of those of the rule.
    replay : callable or None
        Records the reverse pass of a statement, in the place of the rule's statements.
    python : bool
        Whether its derivative is Python code.
    has_code : bool
        Whether an attribute is code of its own (compiled.py): then it has no pattern.
    lift : str
        What vmap records for it (batched_statement.py): ``"product"``, ``"added product"``, ``"call"``,
        ``"never"`` for what it refuses, ``"any"`` for what needs nothing of its own.
    lifted : bool
        Whether it is another instruction, for a batch (batched_statement.py).
    scalar : bool
        For chains: whether the scalar tape has an opcode for it, as it has for each ufunc.
    parameters : tuple of str
        Attributes that are whole numbers, for which a statement of the scalar tape has room.
    cheap : bool
        Whether a block of scalar statements computes it again rather than keep its result.
    companion : str or None
        The op that a block computes with it, as its rule reads that, too.
    multiple_views : bool
        For views: whether it is one of several that one call returns.
    rewritten : bool
        For views: whether it is the whole of what was written, rather than a view.
    detaches : bool
        For views: whether no cotangent passes.
    silent : bool
        For views that detach: whether writes through them count as no new version (`Tensor.data`).
    core : tuple of tuple of int
        For a generalised ufunc of others (registered.py): for each operand, and the result, the numbers of
        its core dimensions, as a step has them.
    failure : Failure or None
        For an op whose kernels may fail: what is raised then.
    parts : bool
        Whether it sees the parts of complex numbers as elements, or elements as such parts.
    of_complex : str
        Whether it takes complex operands, and how its rule holds for them: ``"plain"`` as it is,
        ``"holomorphic"`` with conjugates around it (traced_rule.py), as it is the derivative's product with
        the cotangent.
    shown : int or None
        How many operands errors show: those behind them are results of another row.
    """

    name: str
    code: int
    lower: Lowering
    vjp: Callable[..., Any] | None = None
    grad_fn: str | Callable[[Any], str] = ""
    loop: np.ufunc | None = None
    kind: int = nt.COMPUTE
    result: str = "same"
    domain: str = "real"
    arity: int = 1
    torch: str | None = None
    aliases: tuple[str, ...] = ()
    in_place: bool = False
    second_name: str = "other"
    private: bool = False
    function: str | None = None
    body: Callable[..., Any] | None = None
    kernels: dict[str, str] = field(default_factory=dict)
    sized: bool = False
    number_names: dict[int, str] = field(default_factory=dict)
    number_edges: tuple[int, ...] = ()
    linear: bool = False
    programs: Callable[[Any, list[Any]], None] | None = None
    replay: Callable[[Any, int, int], list[tuple[int, int]]] | None = None
    python: bool = False
    has_code: bool = False
    lift: Literal["any", "product", "added product", "call", "never"] = "any"
    lifted: bool = False
    scalar: bool = False
    parameters: tuple[str, ...] = ()
    cheap: bool = False
    companion: str | None = None
    multiple_views: bool = False
    rewritten: bool = False
    detaches: bool = False
    silent: bool = False
    core: tuple[tuple[int, ...], ...] = ()
    failure: Failure | None = None
    parts: bool = False
    of_complex: Literal["", "plain", "holomorphic"] = ""
    shown: int | None = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def module(self) -> str:
        """Module of functions that has its function, beside the top level."""
        return "special" if self.name.startswith("special_") else ""

    @property
    def label(self) -> str:
        """The name of its function for texts: ``linalg.eigh`` for the row ``linalg_eigh_parts``."""
        return self.name.replace("linalg_", "linalg.", 1).removesuffix("_parts")

    @property
    def is_elementwise(self) -> bool:
        """True if each element of the result depends on one element of each operand."""
        return self.loop is not None or self.body is not None


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
    if "in_place" not in row:
        entry.in_place = entry.is_elementwise and entry.torch == name and not entry.private
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
    result = bool_ if entry.result == "bool" else real_of(kind) if entry.result == "real" else kind
    return (kind,) * entry.arity + (result,)


def distinct(attrs: dict[str, Any]) -> list[Any]:
    """Names and values of attributes by turns, as parts of a key: -0.0 equals 0.0, and is another number."""
    return [x for k, v in attrs.items() for x in (k, str(v) if type(v) is float and not v else v)]


def elementwise(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower an op that NumPy's loop of a ufunc computes element by element, or a faster one.

    Where the row's `kernels` name a native kernel for the dtype, that one is used instead.
    """
    assert entry.loop is not None
    kind = layouts[-1].dtype
    types = loop_dtypes(entry, kind)
    shape = broadcast_shapes(*(x.shape for x in layouts))
    out = contiguous(types[-1], shape)
    native = entry.kernels.get(kind.name)
    if native is None:
        kernel = fastest_loop(entry.loop, types)
    else:  # NumPy's is there for what the kernel does not do
        kernel = native_kernel_address(native), POOL.put(fastest_loop(entry.loop, types))
    operands = [arg(i, broadcast_strides(x, shape)) for i, x in enumerate(layouts)]
    operands.append(out_operand(len(layouts), out))
    return Lowered((out,), (Step(kernel, shape, tuple(operands)),))


def copy_loop(kind: dtype) -> tuple[int, int]:
    """Loop that copies elements of dtype `kind`: the ufunc ``positive`` (as bytes for bool)."""
    return ufunc_loop(np.positive, (kind, kind))


def is_inexact(layout: Layout) -> bool:
    """Return True if values of this layout can be active."""
    return layout.dtype.is_inexact
