"""Patterns: instructions that differ in their lengths only have programs filled in from one image.

An instruction's *pattern* is its op, its attributes, and its layouts with a letter in the place of each
length (and of each stride of what is not contiguous); equal lengths have one letter. Once a pattern has been
met a few times, a *prototype* is made: an instruction over symbolic lengths (symbolic.py), which goes through
the op's lowering and, when a pass first needs that, through the tracing of its rule and the building of its
programs. What these would write is an `Image`: words that are constants or formulas in the lengths.

The next instruction of the pattern takes its lengths and the places of its words and rows, and has its
programs in some microseconds. Whatever Python code asked about the lengths when the image was made (which
stride is larger, whether BLAS takes a matrix) is asked again; where other answers are frequent there are
further prototypes, one for each. With answers that none has, or where a length was lost on the way, the
instruction is made without a pattern.

Start reading at `fill`; program_table.py calls `fill_programs`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..base.dtypes import DTYPES
from ..base.symbolic import Formulas, Image, SizeLost, Symbolic, imaging
from ..native import abi as nt
from .instruction import (
    ITAB,
    PATTERNS,
    VTAB,
    Instruction,
    add_outputs,
    lowered,
    measure,
    new_number,
    row_of,
)
from .layout import Layout, SymbolicLayout, c_strides, contiguous, intern, is_symbolic
from .program import POOL, STEPS, Holdings, emit, holding
from .table import Op, distinct

__all__ = [
    "LATER", "REFUSALS", "Pattern", "answered", "described", "fill", "fill_programs", "may_have_pattern",
]  # fmt: skip

#: instructions of a pattern before it has a prototype, which takes the time of some of them
LATER = 8
#: operands of an instruction with a pattern, and words of an image
MOST_OPERANDS, MOST_WORDS = 16, 1 << 12
#: patterns that have a prototype at most, and those that are counted
MOST, COUNTED = 256, 4096
#: prototypes of a pattern at most
MOST_BRANCHES = 4

#: why there is no image: the last ones, for tests
REFUSALS: deque[tuple[object, Exception]] = deque(maxlen=8)
Words = Callable[..., "tuple[tuple[int, ...], ...] | None"]

#: how many instructions there were of a pattern that has no prototype yet
_counts: dict[Any, int] = {}
_patterns: dict[Any, _Branches] = {}


class _Filled:
    """An image as a function of lengths, of the address of its words and of the number of its first row."""

    def __init__(
        self, pattern: Pattern, image: Image, since: int, results: list[list[Any]]
    ) -> None:
        self.words, self.rows = len(image.words), len(image.rows)
        if self.words > MOST_WORDS or self.rows > MOST_WORDS // nt.P_WIDTH:
            raise SizeLost("a large program is rarely one of many")
        steps = [word for row in image.rows for word in row]
        self.call: Words = pattern.formulas.compile(
            (*pattern.symbols, image.pool, image.first), since, [image.words, steps, *results]
        )

    def fill(self, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
        """Write words and rows for some lengths, for the instruction that is made; the other results."""
        place = POOL.reserve(self.words) if self.words else 0
        first = STEPS.reserve(self.rows) if self.rows else 0
        answer = self.call(*sizes, POOL.address(place) if self.words else 0, first)
        if answer is None:
            return None
        if self.words:
            POOL.write(place, answer[0])
        if self.rows:
            STEPS.write(first, answer[1])
        return answer[2:]


class _Programs:
    """The image of a variant of VJP programs, and which of the rows have a recipe."""

    def __init__(self, filled: _Filled, recipes: frozenset[int]) -> None:
        self._filled, self._recipes = filled, recipes

    def fill(self, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], frozenset[int]] | None:
        """Write words and steps for some lengths; the rows' words, and which rows have a recipe."""
        parts = self._filled.fill(sizes)
        return None if parts is None else (parts[0], self._recipes)


class _Branches:
    """The patterns of one description: what was asked about lengths has other answers for each."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = list(patterns)
        self._missed = 0 if patterns else LATER
        self._refused = False

    def another(
        self, entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], sizes: tuple[int, ...]
    ) -> Pattern | None:
        """Return a pattern for lengths that no other has an answer for; None if there were few such."""
        self._missed += 1
        if self._missed <= LATER or self._refused or len(self.patterns) >= MOST_BRANCHES:
            return None
        self._missed = 0
        pattern = make_pattern(entry, layouts, attrs, sizes)
        self._refused = pattern is None
        if pattern is not None:
            pattern.branches = self
            self.patterns.append(pattern)
        return pattern


class Pattern:
    """A prototype, and the images of what it runs.

    Attributes
    ----------
    branches : _Branches
        The patterns of the same description.
    formulas : Formulas
    symbols : tuple of Symbolic
        The lengths, in the order of an instruction's `sizes`.
    prototype : Instruction
        It stays as long as the pattern: images refer to words and kernels of it.
    """

    def __init__(
        self, entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], sizes: tuple[int, ...]
    ) -> None:
        self.formulas = formulas = Formulas()
        self.symbols = tuple([formulas.symbol(f"n{i}", n) for i, n in enumerate(sizes)])
        self._images = 0
        letters = _Letters(self.symbols)
        symbolic = tuple([letters.layout(x) for x in layouts])
        chosen = {k: letters.layout(v) if isinstance(v, Layout) else v for k, v in attrs.items()}
        with imaging(self._image()):
            self.prototype = instruction = lowered(entry, symbolic, chosen, None, None)
        with imaging(self._image()) as image:
            with holding(instruction.holdings):
                low, high = emit(instruction.steps)
            parts = [[low, high, instruction.scratch]]
            for out in instruction.outs:
                parts.append([*out.shape])
                parts.append([*out.strides])
        #: dtype and, for those that are contiguous, no strides
        self._outs = [(x.dtype, x.is_contiguous) for x in instruction.outs]
        self._forward = _Filled(self, image, 0, parts)
        #: the questions up to here are asked when an instruction is made
        self._asked = formulas.place
        self._programs: dict[int, _Programs | None] = {}
        self._derived: dict[Any, Any] = {}
        self.branches = _Branches(self)
        self._row: list[Any] | None = None

    def _image(self) -> Image:
        """Return a new image."""
        self._images += 1
        return Image(self.formulas, self._images)

    def instruction(
        self, layouts: tuple[Layout, ...], attrs: dict[str, Any], sizes: tuple[int, ...], key: Any
    ) -> Instruction | None:
        """Make an instruction; None if something that was asked about the lengths has another answer."""
        holdings = Holdings()
        with holding(holdings):
            try:
                parts = self._forward.fill(sizes)
                if parts is None:
                    holdings.give_back()
                    return None
                outs = [
                    contiguous(kind, parts[i]) if dense else intern(kind, parts[i], parts[i + 1])
                    for i, (kind, dense) in zip(range(1, len(parts), 2), self._outs, strict=True)
                ]
                low, high, scratch = parts[0]
                instruction = Instruction(
                    self.prototype.op, layouts, attrs, tuple(outs), scratch, key
                )
                instruction._holdings = holdings
                instruction.pattern, instruction.sizes = self, sizes
                add_outputs(instruction)
                if self._row is None:
                    self._row = row_of(instruction)
                row = self._row.copy()
                measure(instruction, row)
                row[nt.I_STEP_LO], row[nt.I_STEP_HI] = low, high
                ITAB.write(new_number(instruction), row)
            except BaseException:
                holdings.give_back()
                raise
        return instruction

    def fits(self, sizes: tuple[int, ...]) -> bool:
        """Return True if what was asked for the prototype has the same answers for some lengths."""
        return self._forward.call(*sizes, 0, 0) is not None

    def programs(
        self,
        variant: int,
        build: Callable[[Instruction, int], tuple[list[list[Any]], dict[int, Any], bool]],
    ) -> _Programs | None:
        """Return the image of a variant of VJP programs; None if it has none."""
        if variant not in self._programs:
            self._programs[variant] = None
            try:
                with imaging(self._image()), holding(self.prototype.holdings):
                    build(self.prototype, variant)  # now the rule has been traced
                with imaging(self._image()) as image, holding(self.prototype.holdings):
                    rows, recipes, _ = build(self.prototype, variant)
                    filled = _Filled(
                        self, image, self._asked, [[word for row in rows for word in row]]
                    )
                self._programs[variant] = _Programs(filled, frozenset(recipes))
            except Exception as error:
                REFUSALS.append((self.prototype, error))
        return self._programs[variant]

    def derived(self, key: Any, derive: Callable[[Pattern], Any]) -> Any:
        """Return what was derived from the prototype under a key; None where a length was lost."""
        if key not in self._derived:
            self._derived[key] = None
            try:
                with imaging(self._image()), holding(self.prototype.holdings):
                    self._derived[key] = derive(self)
            except Exception as error:
                REFUSALS.append((self.prototype, error))
        return self._derived[key]

    def function(self, results: Sequence[Sequence[Any]]) -> Words:
        """Return words as a function of the lengths; it asks again what was asked about the lengths."""
        return self.formulas.compile(self.symbols, self._asked, results)


class _Letters:
    """Layouts with symbols in the place of lengths, for the order in which `described` numbers them."""

    def __init__(self, symbols: tuple[Symbolic, ...]) -> None:
        self._symbols = symbols
        self._numbers: dict[tuple[bool, int], int] = {}

    def _letter(self, n: int, *, stride: bool) -> Any:
        key = stride, n
        return self._symbols[self._numbers.setdefault(key, len(self._numbers))]

    def layout(self, x: Layout) -> Layout:
        """The layout with letters."""
        shape = tuple([n if n < 2 else self._letter(n, stride=False) for n in x.shape])
        if x.is_contiguous:
            strides = c_strides(shape, x.dtype.itemsize)
        else:
            plain = _PLAIN[x.dtype.code]
            strides = tuple([s if s in plain else self._letter(s, stride=True) for s in x.strides])
        return intern(x.dtype, shape, strides)


#: strides that count as constants
_PLAIN = {kind.code: (0, kind.itemsize, -kind.itemsize) for kind in DTYPES}


def described(
    entry: Op, layouts: tuple[Layout, ...], attributes: Sequence[Any]
) -> tuple[Any, tuple[int, ...]] | None:
    """Return the pattern of an instruction and its lengths; None for what has none.

    `attributes` are as `distinct` gives them.
    """
    numbers: dict[tuple[bool, int], int] = {}
    sizes: list[int] = []
    parts: list[Any] = [entry.code]

    def describe(x: Layout) -> None:
        letters: list[int] = [x.dtype.code, x.ndim]
        for n in x.shape:
            if n > 1:
                key = False, n
                letter = numbers.get(key)
                if letter is None:
                    letter = numbers[key] = len(sizes)
                    sizes.append(n)
                n = -1 - letter
            letters.append(n)
        if not x.is_contiguous:
            plain = _PLAIN[x.dtype.code]
            for s in x.strides:
                if s in plain:
                    letters.append(s)
                    continue
                key = True, s
                letter = numbers.get(key)
                if letter is None:
                    letter = numbers[key] = len(sizes)
                    sizes.append(s)
                letters.append(1 << 62 | letter)
        parts.append(tuple(letters))

    for x in layouts:
        describe(x)
    for value in attributes:
        if isinstance(value, Layout):
            describe(value)
        else:
            parts += type(value), value
    return (tuple(parts), tuple(sizes)) if sizes else None


def may_have_pattern(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> bool:
    """Return False for what has no programs of its own, and for what is symbolic itself."""
    if len(layouts) > MOST_OPERANDS:
        return False
    if entry.kind == nt.LEAF or entry.python or entry.lifted or entry.has_code:
        return False
    return not is_symbolic(layouts) and not isinstance(attrs.get("layout"), SymbolicLayout)


def fill(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], attributes: Any, key: Any
) -> Instruction | None:
    """Make an instruction of a pattern that has an image; None if it has none. The caller holds the lock."""
    known = _known(entry, layouts, attrs, attributes)
    if known is None:
        return None
    branches, sizes = known
    for pattern in branches.patterns:
        instruction = pattern.instruction(layouts, attrs, sizes, key)
        if instruction is not None:
            return instruction
    new = branches.another(entry, layouts, attrs, sizes)
    return None if new is None else new.instruction(layouts, attrs, sizes, key)


def answered(instruction: Instruction, image_of: Callable[[Pattern], Any]) -> Any:
    """Return what an image of an instruction's pattern gives for its lengths.

    Parameters
    ----------
    instruction : Instruction
        The caller holds the lock.
    image_of : callable
        Called with a pattern: its image, with a method `fill` of lengths; None if it has none.

    Returns
    -------
    object
        None if there is no image, or something that it asked about lengths has another answer.
    """
    entry, layouts, attrs = instruction.op, instruction.layouts, instruction.attrs
    pattern: Pattern | None = instruction.pattern
    if pattern is not None:
        sizes, branches = instruction.sizes, pattern.branches
    else:
        # One without a family was counted when it was made.
        known = _known(entry, layouts, attrs, distinct(attrs)) if instruction.family else None
        if known is None:
            return None
        branches, sizes = known
    for other in branches.patterns:
        if other is pattern or other.fits(sizes):
            image = image_of(other)
            if image is None:
                return None
            answer = image.fill(sizes)
            if answer is not None:
                return answer
    new = branches.another(entry, layouts, attrs, sizes)
    image = None if new is None else image_of(new)
    return None if image is None else image.fill(sizes)


def _known(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], attributes: Sequence[Any]
) -> tuple[_Branches, tuple[int, ...]] | None:
    """Return the patterns of an instruction, and its lengths; None for what has none, or few alike so far."""
    if not may_have_pattern(entry, layouts, attrs):
        return None
    description = described(entry, layouts, attributes)
    if description is None:
        return None
    parts, sizes = description
    branches = _patterns.get(parts)
    if branches is None:
        count = _counts.get(parts, 0)
        if count < LATER:
            if len(_counts) >= COUNTED:
                _counts.clear()
            _counts[parts] = count + 1
            return None
        if len(_patterns) >= MOST:
            _patterns.clear()
        branches = _patterns[parts] = _Branches()
    return branches, sizes


def make_pattern(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], sizes: tuple[int, ...]
) -> Pattern | None:
    """Make a prototype and its image; None where a length is lost on the way."""
    try:
        return Pattern(entry, layouts, attrs, sizes)
    except Exception as error:
        REFUSALS.append((entry, error))
        return None


def fill_programs(
    instruction: Instruction, variant: int,
    build: Callable[[Instruction, int], tuple[list[list[Any]], dict[int, Any], bool]],
) -> tuple[int, int, frozenset[int]] | None:  # fmt: skip
    """Write the VJP programs of an instruction from an image.

    Parameters
    ----------
    instruction : Instruction
        One with a pattern, whose rows are being written (`holding`).
    variant : int
    build : callable
        Called with the prototype and the variant: its rows, and by number those with a recipe.

    Returns
    -------
    tuple or None
        The first row, bytes of scratch memory, and rows with a recipe. None if they have to be built.
    """
    # With another answer, words and rows stay with the instruction, unused.
    answer = answered(instruction, lambda pattern: pattern.programs(variant, build))
    if answer is None:
        return None
    words, recipes = answer
    first = VTAB.reserve(len(words) // nt.V_WIDTH)
    VTAB.write(first, words)
    return first, max(words[nt.V_SCRATCH :: nt.V_WIDTH]), recipes


PATTERNS.fill = fill
