"""Symbolic sizes: numbers that remember their formulas, and the questions asked about them.

A shape with a `Symbolic` in the place of each length goes through the op table, through rules and builders as
any other; the resulting words are formulas in the lengths. `Formulas.compile` turns these into a function of
the lengths, with all questions on the way (``n == m``, ``n < 4096``) as conditions: it returns None for
lengths for which an answer would be another one.

A symbolic size is no int. Where it would become one (``int(n)``, ``range(n)``, an array, a native call) it
raises `SizeLost`; so nothing that depends on a length can pass for a constant.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

__all__ = [
    "Formulas",
    "Image",
    "SizeLost",
    "Symbolic",
    "current_image",
    "hint",
    "home_of",
    "imaging",
]


class SizeLost(TypeError):
    """A symbolic size would have become a plain number."""


def _is_number(other: Any) -> bool:
    """Return True for a number that formulas take, False for anything that is no number."""
    if type(other) in (int, float, bool, Symbolic):
        return True
    if isinstance(other, int | float | np.generic):
        raise SizeLost(f"a symbolic size meets a {type(other).__name__}")
    return False


def _binary(symbol: str, function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Any:
    def method(self: Symbolic, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        a, b = (other, self) if swapped else (self, other)
        return self.home.combined(symbol, function, a, b)

    return method


def _comparison(symbol: str, function: Callable[[Any, Any], bool]) -> Any:
    def method(self: Symbolic, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        return self.home.asked(symbol, function, self, other)

    return method


class Symbolic:
    """A number with its formula.

    Attributes
    ----------
    home : Formulas
    name : str
        Name of the number in the formulas.
    value : int or float
        The number for the lengths that the formulas were made with.
    """

    __slots__ = ("home", "name", "value")

    def __init__(self, home: Formulas, name: str, value: Any) -> None:
        self.home = home
        self.name = name
        self.value = value

    __add__ = __radd__ = _binary("+", operator.add)
    __mul__ = __rmul__ = _binary("*", operator.mul)
    __sub__ = _binary("-", operator.sub)
    __rsub__ = _binary("-", operator.sub, swapped=True)
    __floordiv__ = _binary("//", operator.floordiv)
    __rfloordiv__ = _binary("//", operator.floordiv, swapped=True)
    __mod__ = _binary("%", operator.mod)
    __rmod__ = _binary("%", operator.mod, swapped=True)
    __truediv__ = _binary("/", operator.truediv)
    __rtruediv__ = _binary("/", operator.truediv, swapped=True)
    __and__ = __rand__ = _binary("&", operator.and_)
    __or__ = __ror__ = _binary("|", operator.or_)
    __lshift__ = _binary("<<", operator.lshift)
    __rshift__ = _binary(">>", operator.rshift)
    __lt__ = _comparison("<", operator.lt)
    __le__ = _comparison("<=", operator.le)
    __gt__ = _comparison(">", operator.gt)
    __ge__ = _comparison(">=", operator.ge)
    __eq__ = _comparison("==", operator.eq)
    __ne__ = _comparison("!=", operator.ne)
    # Equal formulas are the same object. So a look-up by value does not find a symbolic size.
    __hash__ = object.__hash__

    def __neg__(self) -> Any:
        return self.home.combined("-", operator.sub, 0, self)

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __bool__(self) -> bool:
        return bool(self != 0)

    def _lost(self, *_: Any) -> NoReturn:
        raise SizeLost(f"a symbolic size ({self.value}) would become a plain number")

    __index__ = __int__ = __float__ = __complex__ = __round__ = __trunc__ = _lost
    __pow__ = __rpow__ = _lost

    def __repr__(self) -> str:
        return f"{self.name}={self.value}"


def hint(word: Any) -> Any:
    """Return the number that a word is for the lengths that its formula was made with."""
    return word.value if type(word) is Symbolic else word


def home_of(words: Sequence[Any]) -> Formulas | None:
    """Return the formulas that one of some words belongs to, None if all are numbers."""
    if Symbolic not in map(type, words):
        return None
    home: Formulas = next(word.home for word in words if type(word) is Symbolic)
    return home


def _bits(value: float, size: int) -> int:
    """The word at which a number lies as a float of 8 or 4 bytes."""
    if size == 8:
        return int(struct.unpack("<q", struct.pack("<d", value))[0])
    return int(np.float32(value).view(np.int32))


class Formulas:
    """Formulas in some lengths, in the order in which they were needed, and the questions asked meanwhile.

    Attributes
    ----------
    layouts : dict
        Layouts with these formulas, by dtype, shape and strides in numbers (layout.py).
    slots : dict
        For a rule's tape: the offset of the view, or the number, that a slot is.
    """

    def __init__(self) -> None:
        #: (name, text, names it is made of), or ("", question, names)
        self._lines: list[tuple[str, str, tuple[str, ...]]] = []
        self._known: dict[str, Any] = {}
        self._count = 0
        self.layouts: dict[Any, Any] = {}
        self.slots: dict[int, Symbolic] = {}

    def symbol(self, name: str, value: int) -> Symbolic:
        """Return a number that functions get as an argument."""
        return Symbolic(self, name, value)

    @property
    def place(self) -> int:
        """Number of lines so far."""
        return len(self._lines)

    def _operands(self, *operands: Any) -> tuple[str, ...]:
        names = []
        for x in operands:
            if type(x) is Symbolic:
                if x.home is not self:
                    raise SizeLost("sizes of two patterns meet")
                names.append(x.name)
        return tuple(names)

    def combined(self, symbol: str, function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
        """Return a number made of two."""
        if symbol == "*":
            for x, y in ((a, b), (b, a)):
                if type(x) is int and x in (0, 1):
                    return y if x else 0
        elif symbol in "+-" and type(b) is int and b == 0:
            return a
        elif symbol == "+" and type(a) is int and a == 0:
            return b
        names = self._operands(a, b)
        text = " ".join((_formula_text(a), symbol, _formula_text(b)))
        return self._value(text, function(hint(a), hint(b)), names)

    def bits(self, number: Symbolic, size: int) -> Symbolic:
        """Return the word at which a number lies as a float of 8 or 4 bytes."""
        text = f"_bits({number.name}, {size})"
        return self._value(text, _bits(number.value, size), (number.name,))

    def _value(self, text: str, value: Any, names: tuple[str, ...]) -> Symbolic:
        known: Symbolic | None = self._known.get(text)
        if known is None:
            self._count += 1
            known = self._known[text] = Symbolic(self, f"v{self._count}", value)
            self._lines.append((known.name, text, names))
        return known

    def asked(self, symbol: str, function: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
        """Answer a comparison, which holds from here on."""
        if a is b:
            return function(0, 0)
        text = f"{_formula_text(a)} {symbol} {_formula_text(b)}"
        answer: bool | None = self._known.get(text)
        if answer is None:
            answer = self._known[text] = function(hint(a), hint(b))
            self._lines.append(
                ("", f"if {'not ' * answer}{text}: return None", self._operands(a, b))
            )
        return answer

    def compile(
        self, arguments: Sequence[Symbolic], since: int, results: Sequence[Sequence[Any]]
    ) -> Callable[..., tuple[tuple[int, ...], ...] | None]:
        """Return a function of numbers that returns sequences of words, or None.

        Parameters
        ----------
        arguments : sequence of Symbolic
        since : int
            The line from which on answers are checked; those before hold.
        results : sequence of sequences of (int or Symbolic)
        """
        needed: set[str] = set()
        for words in results:
            needed.update(self._operands(*words))
            if any(isinstance(hint(word), float) for word in words):
                raise SizeLost("a fraction is no word")
        lines = []
        for i in range(len(self._lines) - 1, -1, -1):
            name, text, names = self._lines[i]
            if name in needed or (not name and i >= since):
                needed.update(names)
                lines.append(f"{name} = {text}" if name else text)
        known = {x.name for x in arguments} | {name for name, _, _ in self._lines}
        if not needed <= known:
            raise SizeLost("an address of another image")
        body = "".join(f"    {line}\n" for line in reversed(lines))
        parts = "".join(
            f"({''.join(_formula_text(w) + ', ' for w in words)}), " for words in results
        )
        text = f"def words({', '.join(x.name for x in arguments)}):\n{body}    return ({parts})\n"
        names_of_text: dict[str, Any] = {"_bits": _bits, "inf": math.inf, "nan": math.nan}
        exec(compile(text, "<sizes>", "exec"), names_of_text)
        function: Callable[..., Any] = names_of_text["words"]
        return function


def _formula_text(word: Any) -> str:
    if type(word) is Symbolic:
        return word.name
    return f"({word!r})"


class Image:
    """Entries for the tables of programs, with addresses and row numbers to be filled in.

    Attributes
    ----------
    pool, first : Symbolic
        Where its words will be, and the number of its first row.
    words : list
        Words for the pool.
    rows : list of list
        Steps.
    """

    def __init__(self, formulas: Formulas, number: int) -> None:
        self.pool = formulas.symbol(f"pool{number}", 0)
        self.first = formulas.symbol(f"first{number}", 0)
        self.words: list[Any] = []
        self.rows: list[list[Any]] = []

    def put(self, words: Sequence[Any]) -> Any:
        """Add words; their address."""
        place = self.pool + 8 * len(self.words)
        self.words += words
        return place

    def emit(self, rows: list[list[Any]]) -> tuple[Any, Any]:
        """Add steps; the range of their rows."""
        low = len(self.rows)
        self.rows += rows
        return self.first + low, self.first + len(self.rows)


#: the image that is being drawn, innermost last; under the lock
_images: list[Image] = []


class imaging:
    """Context manager: words and steps with symbolic sizes go into an image. The caller holds the lock."""

    def __init__(self, image: Image) -> None:
        self.image = image

    def __enter__(self) -> Image:
        _images.append(self.image)
        return self.image

    def __exit__(self, *_: object) -> None:
        _images.pop()


def current_image() -> Image:
    """Return the image that is being drawn.

    Raises
    ------
    SizeLost
        If there is none: a symbolic size went where it does not belong.
    """
    if not _images:
        raise SizeLost("a symbolic size outside of an image")
    return _images[-1]
