"""Complex numbers as pairs of real ones, in the loops of a tape.

A buffer of complex numbers is one of their parts, twice as many, so that views of parts are places like
others. Copies, sums and products are formulas of parts; everything else is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..base.dtypes import dtype, real_of
from ..ops.instruction import Instruction
from ..ops.layout import broadcast_strides, c_strides
from .formulas import COPY
from .loops import Buffer, Formula, Number
from .repeated import Place

__all__ = ["has_parts", "write_parts"]

_ADD, _SUBTRACT, _MULTIPLY, _NEGATE = (
    Formula(f"row:{name}") for name in ("add", "sub", "mul", "neg")
)
Source = tuple[Any, Sequence[int]]


def has_parts(instruction: Instruction) -> bool:
    """Return True if a statement has complex operands or results."""
    return any(x.dtype.is_complex for x in (*instruction.layouts, *instruction.outs))


class _Parts(NamedTuple):
    """The writing of the parts of one statement's result.

    Attributes
    ----------
    nest : callable
        Adds a nest of loops: ``nest(formula, shape, sources, target, strides, kind)``.
    shape : tuple of int
    kind : dtype
        Of the parts.
    result : Place
    strides : tuple of int
        Of the result.
    """

    nest: Callable[..., None]
    shape: tuple[int, ...]
    kind: dtype
    result: Place
    strides: tuple[int, ...]

    def write(self, formula: Formula, number: int, *sources: Source) -> None:
        """Write the real (0) or imaginary (1) part of the result."""
        target = self.result._replace(offset=self.result.offset + number * self.kind.itemsize)
        self.nest(formula, self.shape, list(sources), target, self.strides, self.kind)

    def product(self, x: Source, y: Source) -> Source:
        """Write a product of parts into memory of its own."""
        size, strides = self.kind.itemsize, c_strides(self.shape, self.kind.itemsize)
        for n in self.shape:
            size *= n
        place = Place(Buffer(self.kind, size), 0)
        self.nest(_MULTIPLY, self.shape, [x, y], place, strides, self.kind)
        return place, strides


def write_parts(
    instruction: Instruction, operands: Sequence[Any], result: Place, nest: Callable[..., None]
) -> bool:
    """Add an elementwise statement on complex numbers as formulas of their parts; False if it has none."""
    name, out = instruction.op.name, instruction.out
    kind = real_of(out.dtype)
    if any(real_of(x.dtype) is not kind for x in instruction.layouts):
        return False
    to = _Parts(nest, tuple(out.shape), kind, result, out.strides)

    def part(i: int, number: int) -> Source:
        """A part of an operand; the imaginary part of a real one is 0."""
        layout, place = instruction.layouts[i], operands[i]
        strides = broadcast_strides(layout, out.shape)
        if not layout.dtype.is_complex and number:
            return Number(0.0, kind), strides
        if isinstance(place, Number):
            return Number(
                complex(place.value).imag if number else complex(place.value).real, kind
            ), strides
        return place._replace(offset=place.offset + number * kind.itemsize), strides

    if name in ("clone", "neg", "to"):
        formula = _NEGATE if name == "neg" else COPY
        for number in range(1 + out.dtype.is_complex):
            to.write(formula, number, part(0, number))
    elif name == "conj":
        to.write(COPY, 0, part(0, 0))
        to.write(_NEGATE, 1, part(0, 1))
    elif name in ("add", "sub"):
        for number in range(2):
            to.write(_ADD if name == "add" else _SUBTRACT, number, part(0, number), part(1, number))
    elif name == "complex":
        for number in range(2):
            to.write(COPY, number, part(number, 0))
    elif name == "mul":
        (a, b), (c, d) = ((part(i, 0), part(i, 1)) for i in range(2))
        to.write(_SUBTRACT, 0, to.product(a, c), to.product(b, d))
        to.write(_ADD, 1, to.product(a, d), to.product(b, c))
    else:
        return False
    return True
