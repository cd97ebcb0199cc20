"""Error texts for functions that numba cannot compile: cause, the user's line and, last, what to do.

numba's own text has ten to a hundred lines, most of them about candidates that did not match. It stays in the
`__context__` of the error that is raised.
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["came_from_compiler", "explanation", "instead", "name_of", "note_place"]

#: where no line of the user's is
_PACKAGES = str(Path(__file__).parents[1].resolve()) + os.sep
_DOCS = "docs/njit.md lists what is"


class _Explained(NamedTuple):
    """What went wrong, and what to do."""

    cause: str
    help: str


# --------------------------------------------------------------------------- where
class _Place(NamedTuple):
    """A line of the user's, and the name of what it calls, where that is known."""

    file: str
    line: int
    called: str = ""

    @property
    def source(self) -> str:
        """The line."""
        return linecache.getline(self.file, self.line).strip()


def _is_users(file: str) -> bool:
    path = os.path.realpath(file)
    return not path.startswith(_PACKAGES) and f"{os.sep}numba{os.sep}" not in path


_LINES = (r'File "([^"\n]+)", line (\d+):', r"(?:at|from) (\S+) \((\d+)\)")


def _place(error: BaseException, text: str) -> _Place | None:
    """The line that could not be compiled: as the text says, or as the compiler's frames do."""
    for pattern in _LINES:
        found = [(file, int(line)) for file, line in re.findall(pattern, text) if _is_users(file)]
        if found:
            return _Place(os.path.abspath(found[0][0]), found[0][1])  # the outermost
    place: _Place | None = getattr(error, _PLACE, None)
    return place


#: attribute of an error where `note_place` keeps it
_PLACE = "_tapegrad_place"


def note_place(error: BaseException) -> None:
    """Keep, with an error, the line of the user's that was lowered to machine code."""
    for frame in _frames(error):
        lowering, statement = frame.f_locals.get("self"), frame.f_locals.get("inst")
        loc = getattr(statement, "loc", None)
        if frame.f_code.co_name == "lower_inst" and loc is not None and _is_users(loc.filename):
            called = _called(lowering, getattr(statement, "value", None))
            setattr(error, _PLACE, _Place(os.path.abspath(loc.filename), loc.line, called))
            return


def _frames(error: BaseException) -> list[Any]:
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _called(lowering: Any, value: Any) -> str:
    """The name of a function that a statement of the IR calls."""
    kind = lowering.typeof(value.func.name) if getattr(value, "op", "") == "call" else None
    return name_of(getattr(kind, "typing_key", None))


def name_of(function: Any) -> str:
    """Return a function's name as users write it."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "")
    if module.startswith("numpy"):
        return f"np{module[5:]}.{name}"
    return f"{module}.{name}" if module == "math" else name


def came_from_compiler(error: BaseException) -> bool:
    """Return True if an error was raised while numba compiled: it may be of any type."""
    if isinstance(error, MemoryError):
        return False
    return any(frame.f_code.co_name == "_compile_for_args" for frame in _frames(error))


# --------------------------------------------------------------------------- numba's types in words
def _in_words(text: str) -> str:
    """Replace numba's names of types."""
    text = re.sub(
        r"(readonly )?active array\(active\[\w+\], (\d+)d, \w\)", r"\1active \2-d array", text
    )
    text = text.replace("readonly active", "read-only active")
    text = re.sub(r"active\[\w+\]", "active number", text)
    text = re.sub(
        r"(?:readonly )?[aA]rray\((\w+), (\d+)d, \w(?:, [^()]*)?\)", r"\2-d array of \1", text
    )
    text = re.sub(r"Literal\[str\]\((.*?)\)", r"'\1'", text)
    return re.sub(r"Literal\[\w+\]\((.*?)\)", r"\1", text)


_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "contains": "in",
}  # fmt: skip
#: what stands for functions that are not recorded
_INSTEAD = {
    "np.tile": "np.concatenate, or a loop",
    "np.argsort": "np.argsort(tg.value(x)), whose result is an index",
    "np.linalg.lstsq": "np.linalg.solve(a.T @ a, a.T @ b)",
    "np.linalg.matrix_power": "a loop of @",
    "np.linalg.pinv": "np.linalg.solve or np.linalg.inv",
    "np.linalg.slogdet": "np.linalg.det, or the diagonal of np.linalg.cholesky",
    "np.einsum": "@, np.dot, np.outer and loops",
    "np.tensordot": "@ on arrays that were reshaped",
    "np.unique": "np.unique(tg.value(x)), which has no derivative",
    "np.nansum": "a loop that leaves out what is NaN",
    "np.add": "x[...] = x + y", "np.multiply": "x[...] = x * y", "np.subtract": "x[...] = x - y",
    "math.gamma": "math.exp(math.lgamma(x)), or tg.lgamma on the Tensor outside",
}  # fmt: skip


# --------------------------------------------------------------------------- what went wrong
def _read_only(found: Any, place: _Place | None) -> _Explained:
    name = re.match(r"(\w+)\s*(?:\[|\.|[-+*/%]*=)", place.source if place else "")
    x = name[1] if name else "x"
    return _Explained(
        f"{x} is an argument, which is read-only", f"Copy it first: {x} = {x}.copy()."
    )


def _put_into_numbers(found: Any, place: _Place | None) -> _Explained:
    integers = re.match(r"u?int|bool", found[1])
    what = "integers" if integers else "plain numbers"
    how = (
        "Make it without a dtype, so that it holds floats."
        if integers
        else "Make it with np.zeros, np.ones, np.full, np.eye or np.array, which hold active numbers: "
        "np.array(b) is such a copy of b."
    )
    return _Explained(f"an active number is put into an array of {what}", how)


def _global(found: Any, place: _Place | None) -> _Explained:
    name, kind = found[1], found[2]
    if kind == "function":
        return _Explained(
            f"{name} is a plain Python function",
            f"Put @tg.njit on {name}, so that it is compiled, too.",
        )
    return _Explained(
        f"{name} is of type {kind}, which numba does not take from outside",
        "Give the function what it needs as arguments: numbers, arrays, Tensors and tuples of them.",
    )


def _unified(found: Any, place: _Place | None) -> _Explained:
    one, other, name = _in_words(found[1]), _in_words(found[2]), found[3].split(".")[0]
    what = "the result" if name.startswith("$") else name
    return _Explained(
        f"{what} is {one} in one place and {other} in another",
        "A variable has one type: floats (1.0 and not an array), or arrays of the same dimensions.",
    )


def _module_attribute(found: Any, place: _Place | None) -> _Explained:
    name = f"{found[2].replace('numpy', 'np', 1)}.{found[1]}"
    return _Explained(f"numba does not know {name}", instead(name))


def _attribute(found: Any, place: _Place | None) -> _Explained:
    owner = _in_words(found[2])
    return _Explained(
        f"{owner} has no attribute {found[1]!r} here",
        f"{_DOCS} recorded of arrays; tg.value(x) is a plain array, without derivatives.",
    )


def _bytecode(found: Any, place: _Place | None) -> _Explained:
    return _Explained(found[1].rstrip("."), "Write it without; numba does not compile this.")


def _raised(found: Any, place: _Place | None) -> _Explained:
    cause, _, rest = _in_words(found[1]).partition("; ")
    return _Explained(cause, rest[:1].upper() + rest[1:] + ("" if rest.endswith(".") else "."))


def _call(found: Any, place: _Place | None) -> _Explained:
    own, given = found[1], _in_words(found[2])
    written = re.findall(rf"((?:\w+\.)*{re.escape(own)})\(", place.source if place else "")
    name = max(written, key=len, default=f"np.{own}" if hasattr(np, own) else own)
    if own == "getitem":
        return _Explained(
            f"an index is not an integer: {given}", "int(i) reads the value of an active number."
        )
    if own == "range" and "active" in given:
        return _Explained("range() takes integers", "int(n) reads the value of an active number.")
    if own in _SYMBOLS:
        return _Explained(
            f"there is no {_SYMBOLS[own]} of ({given})",
            f"{_DOCS} recorded; text, complex numbers and lists of active numbers have no arithmetic.",
        )
    if "active" not in given:
        return _Explained(f"numba has no {name}({given})", f"{_DOCS} compiled and recorded.")
    return _Explained(f"{name}({given}) is not recorded", instead(name))


def instead(name: str) -> str:
    """Return what to do instead of calling a function that is not recorded."""
    instead = _INSTEAD.get(name.replace("numpy.", "np."))
    if instead:
        return f"{name} is not recorded; use {instead}."
    return (
        f"{name} is not recorded; use loops and what docs/njit.md lists, or tg.value(x) where no "
        "derivative is wanted."
    )


def _pyobject(found: Any, place: _Place | None) -> _Explained:
    return _Explained(
        "an argument is of a type that numba does not take",
        "Pass numbers, arrays, Tensors, and tuples or named tuples of them.",
    )


#: by the first pattern that numba's text has
_PATTERNS: list[tuple[str, Callable[[Any, _Place | None], _Explained]]] = [
    (r"(?:NumbaTypeError|TypingError): ([^\n]+; [^\n]+)\n *raised from \S*tapegrad", _raised),
    (r"^tg\.njit: ([^\n]+; [^\n]+)", _raised),
    (r"Cannot modify readonly array", _read_only),
    (r">>> (?:setitem|in_place_\w+)\((?:readonly )?array\((\w+), .*?active", _put_into_numbers),
    (r"non-precise type pyobject", _pyobject),
    (r"Untyped global name '(\w+)':? ?Cannot determine Numba type of <class '(?:\w+\.)*(\w+)'>", _global),
    (r"NameError: (name '\w+' is not defined)", lambda found, place: _Explained(
        found[1], "Define it before the function is called.")),
    (r"Cannot unify (.+?) and (.+?) for '(.+?)'", _unified),
    (r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'", _module_attribute),
    (r"Use of unsupported NumPy function 'numpy\.([\w.]+)'()", lambda found, place: _Explained(
        f"numba does not know np.{found[1]}", instead(f"np.{found[1]}"))),
    (r"Unknown attribute '(\w+)' of type ([^\n]+)", _attribute),
    (r"^(.+?)\.? Raised from \S+ \(\d+\)", _bytecode),
    (r"No implementation of function .*?>>> (\w+)\(([^\n]*)\)\n", _call),
]  # fmt: skip


def _argument(function: Any, text: str) -> _Explained | None:
    """An argument of a type that numba has no idea of."""
    pattern = r"- argument (\d+): [Cc]annot determine Numba type of <class '([\w.]+)'>"
    found = re.findall(pattern, text)
    if not found:
        return None
    names = list(inspect.signature(function).parameters)
    number, kind = int(found[-1][0]), found[-1][1].split(".")[-1]  # numba keeps errors, and appends
    name = names[number] if number < len(names) else f"number {number}"
    how = "Pass numbers, arrays, Tensors, and tuples or named tuples of them."
    if kind == "dict":
        how = f"Pass its values as arguments ({function.__name__}(**{name})), or as a named tuple."
    elif kind == "function":
        how = "Put @tg.njit on that function."
    return _Explained(f"the argument {name} is of type {kind}, which numba does not take", how)


def _first_lines(text: str) -> str:
    """Return what numba says first, without the names of its passes."""
    text = re.split(r"^(?:During|File|There are)", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [_in_words(line.strip()) for line in text.splitlines() if line.strip()]
    return " ".join([line for line in lines if not line.startswith("Failed in")][:2])


def explanation(function: Any, error: BaseException, *, records: bool) -> str:
    """Return the text that says why numba could not compile a function, some five lines.

    Parameters
    ----------
    function : function
        As the user wrote it.
    error : Exception
        Of numba's compiler.
    records : bool
        Whether it was compiled to record, with Tensors among the arguments.
    """
    text, name = str(error), function.__name__
    told = _argument(function, text)
    place = None if told else _place(error, text)
    for pattern, explain in _PATTERNS:
        found = (
            None
            if told
            else re.search(pattern, text, re.DOTALL if ">>>" in pattern else re.MULTILINE)
        )
        if found:
            told = explain(found, place)
    if told is None and place is not None and place.called:
        told = _Explained(f"{place.called} is not recorded", instead(place.called))
    if told is None:
        told = _Explained(
            _first_lines(text) or f"numba's compiler failed with {type(error).__name__}",
            f"{_DOCS} recorded; {name}.primal(...) computes without derivatives.",
        )
    where: list[str] = []
    if place is not None:
        where = [f'  File "{place.file}", line {place.line}, in {name}()']
        where += [f"    {place.source}"] if place.source else []
    verb = "record" if records else "compile"
    return "\n".join([f"tg.njit cannot {verb} {name}(): {told.cause}", *where, told.help])
