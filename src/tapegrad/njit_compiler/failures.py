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

#: folder of this package, in which no line is the user's
_PACKAGES = str(Path(__file__).parents[1].resolve()) + os.sep
_DOCS = "docs/njit.md lists what is"


class _Explained(NamedTuple):
    """Cause and remedy of a failure."""

    cause: str
    help: str


# --------------------------------------------------------------------------- lines
class _SourceLine(NamedTuple):
    """A line of the user's, and the name of the function that it calls, where that is known."""

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


def _place(error: BaseException, text: str) -> _SourceLine | None:
    """The line that could not be compiled: as the text says, or as the compiler's frames do."""
    for pattern in _LINES:
        lines = [(file, int(line)) for file, line in re.findall(pattern, text) if _is_users(file)]
        if lines:
            return _SourceLine(os.path.abspath(lines[0][0]), lines[0][1])  # the outermost
    place: _SourceLine | None = getattr(error, _PLACE, None)
    return place


#: attribute of an error where `note_place` keeps it
_PLACE = "_tapegrad_place"


def note_place(error: BaseException, lowering_frame: str) -> None:
    """Keep, with an error, the line of the user's that was lowered to machine code.

    `lowering_frame` is the name of numba's function that does so (numba_api.py).
    """
    for frame in _frames(error):
        lowering, statement = frame.f_locals.get("self"), frame.f_locals.get("inst")
        loc = getattr(statement, "loc", None)
        if frame.f_code.co_name == lowering_frame and loc is not None and _is_users(loc.filename):
            called = _called(lowering, getattr(statement, "value", None))
            setattr(error, _PLACE, _SourceLine(os.path.abspath(loc.filename), loc.line, called))
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


def came_from_compiler(error: BaseException, compiling_frame: str) -> bool:
    """Return True if an error was raised while numba compiled: it may be of any type.

    `compiling_frame` is the name of numba's function that compiles (numba_api.py).
    """
    if isinstance(error, MemoryError):
        return False
    return any(frame.f_code.co_name == compiling_frame for frame in _frames(error))


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
#: substitutes for functions that are not recorded
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
    "math.gamma": "math.exp(math.lgamma(x)), or tg.special.gamma on the Tensor outside",
}  # fmt: skip


# --------------------------------------------------------------------------- causes
def _read_only(match: Any, place: _SourceLine | None) -> _Explained:
    name = re.match(r"(\w+)\s*(?:\[|\.|[-+*/%]*=)", place.source if place else "")
    x = name[1] if name else "x"
    return _Explained(
        f"{x} is an argument, which is read-only", f"Copy it first: {x} = {x}.copy()."
    )


def _put_into_numbers(match: Any, place: _SourceLine | None) -> _Explained:
    integers = re.match(r"u?int|bool", match[1])
    contents = "integers" if integers else "plain numbers"
    remedy = (
        "Make it without a dtype, so that it holds floats."
        if integers
        else "Make it with np.zeros, np.ones, np.full, np.eye or np.array, which hold active numbers: "
        "np.array(b) is such a copy of b."
    )
    return _Explained(f"an active number is put into an array of {contents}", remedy)


def _global(match: Any, place: _SourceLine | None) -> _Explained:
    name, kind = match[1], match[2]
    if kind == "function":
        return _Explained(
            f"{name} is a plain Python function",
            f"Put @tg.njit on {name}, so that it is compiled, too.",
        )
    return _Explained(
        f"{name} is of type {kind}, which numba does not take from outside",
        "Give the function what it needs as arguments: numbers, arrays, Tensors and tuples of them.",
    )


def _unified(match: Any, place: _SourceLine | None) -> _Explained:
    one, other, name = _in_words(match[1]), _in_words(match[2]), match[3].split(".")[0]
    subject = "the result" if name.startswith("$") else name
    return _Explained(
        f"{subject} is {one} in one place and {other} in another",
        "A variable has one type: floats (1.0 and not an array), or arrays of the same dimensions.",
    )


def _module_attribute(match: Any, place: _SourceLine | None) -> _Explained:
    name = f"{match[2].replace('numpy', 'np', 1)}.{match[1]}"
    return _Explained(f"numba does not know {name}", instead(name))


def _attribute(match: Any, place: _SourceLine | None) -> _Explained:
    owner = _in_words(match[2])
    return _Explained(
        f"{owner} has no attribute {match[1]!r} here",
        f"{_DOCS} recorded of arrays; tg.value(x) is a plain array, without derivatives.",
    )


def _bytecode(match: Any, place: _SourceLine | None) -> _Explained:
    return _Explained(match[1].rstrip("."), "Write it without; numba does not compile this.")


def _raised(match: Any, place: _SourceLine | None) -> _Explained:
    cause, _, rest = _in_words(match[1]).partition("; ")
    return _Explained(cause, rest[:1].upper() + rest[1:] + ("" if rest.endswith(".") else "."))


def _call(match: Any, place: _SourceLine | None) -> _Explained:
    function, arguments = match[1], _in_words(match[2])
    written = re.findall(rf"((?:\w+\.)*{re.escape(function)})\(", place.source if place else "")
    name = max(written, key=len, default=f"np.{function}" if hasattr(np, function) else function)
    if function == "getitem":
        return _Explained(
            f"an index is not an integer: {arguments}",
            "int(i) reads the value of an active number.",
        )
    if function == "range" and "active" in arguments:
        return _Explained("range() takes integers", "int(n) reads the value of an active number.")
    if function in _SYMBOLS:
        return _Explained(
            f"there is no {_SYMBOLS[function]} of ({arguments})",
            f"{_DOCS} recorded; text, complex numbers and lists of active numbers have no arithmetic.",
        )
    if "active" not in arguments:
        return _Explained(f"numba has no {name}({arguments})", f"{_DOCS} compiled and recorded.")
    return _Explained(f"{name}({arguments}) is not recorded", instead(name))


def instead(name: str) -> str:
    """Return a remedy for the call of a function that is not recorded."""
    substitute = _INSTEAD.get(name.replace("numpy.", "np."))
    if substitute:
        return f"{name} is not recorded; use {substitute}."
    if name.startswith("scipy.special."):
        substitute = name.replace("scipy", "tg", 1)
        return f"{name} is not recorded; use {substitute} on the Tensor outside, or under tg.jit."
    if name.startswith("tapegrad."):
        return f"{name} is a function of Tensors; call it outside of the function, or use tg.jit."
    return (
        f"{name} is not recorded; use loops and what docs/njit.md lists, or tg.value(x) where no "
        "derivative is wanted."
    )


def _pyobject(match: Any, place: _SourceLine | None) -> _Explained:
    return _Explained(
        "an argument is of a type that numba does not take",
        "Pass numbers, arrays, Tensors, and tuples or named tuples of them.",
    )


#: by the first pattern that numba's text has
_PATTERNS: list[tuple[str, Callable[[Any, _SourceLine | None], _Explained]]] = [
    (r"(?:NumbaTypeError|TypingError): ([^\n]+; [^\n]+)\n *raised from \S*tapegrad", _raised),
    (r"^tg\.njit: ([^\n]+; [^\n]+)", _raised),
    (r"Cannot modify readonly array", _read_only),
    (r">>> (?:setitem|in_place_\w+)\((?:readonly )?array\((\w+), .*?active", _put_into_numbers),
    (r"non-precise type pyobject", _pyobject),
    (r"Untyped global name '(\w+)':? ?Cannot determine Numba type of <class '(?:\w+\.)*(\w+)'>", _global),
    (r"NameError: (name '\w+' is not defined)", lambda match, place: _Explained(
        match[1], "Define it before the function is called.")),
    (r"Cannot unify (.+?) and (.+?) for '(.+?)'", _unified),
    (r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'", _module_attribute),
    (r"Use of unsupported NumPy function 'numpy\.([\w.]+)'()", lambda match, place: _Explained(
        f"numba does not know np.{match[1]}", instead(f"np.{match[1]}"))),
    (r"Unknown attribute '(\w+)' of type ([^\n]+)", _attribute),
    (r"^(.+?)\.? Raised from \S+ \(\d+\)", _bytecode),
    (r"No implementation of function .*?>>> (\w+)\(([^\n]*)\)\n", _call),
]  # fmt: skip


def _argument(function: Any, text: str) -> _Explained | None:
    """Explain an argument of a type that numba does not know."""
    pattern = r"- argument (\d+): [Cc]annot determine Numba type of <class '([\w.]+)'>"
    matches = re.findall(pattern, text)
    if not matches:
        return None
    names = list(inspect.signature(function).parameters)
    number, kind = (
        int(matches[-1][0]),
        matches[-1][1].split(".")[-1],
    )  # numba keeps errors, and appends
    name = names[number] if number < len(names) else f"number {number}"
    remedy = "Pass numbers, arrays, Tensors, and tuples or named tuples of them."
    if kind == "dict":
        remedy = (
            f"Pass its values as arguments ({function.__name__}(**{name})), or as a named tuple."
        )
    elif kind == "function":
        remedy = "Put @tg.njit on that function."
    return _Explained(f"the argument {name} is of type {kind}, which numba does not take", remedy)


def _first_lines(text: str) -> str:
    """Return the first lines of numba's text, without the names of its passes."""
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
    explained = _argument(function, text)
    place = None if explained else _place(error, text)
    for pattern, explain in _PATTERNS:
        match = (
            None
            if explained
            else re.search(pattern, text, re.DOTALL if ">>>" in pattern else re.MULTILINE)
        )
        if match:
            explained = explain(match, place)
    if explained is None and place is not None and place.called:
        explained = _Explained(f"{place.called} is not recorded", instead(place.called))
    if explained is None:
        explained = _Explained(
            _first_lines(text) or f"numba's compiler failed with {type(error).__name__}",
            f"{_DOCS} recorded; {name}.primal(...) computes without derivatives.",
        )
    location: list[str] = []
    if place is not None:
        location = [f'  File "{place.file}", line {place.line}, in {name}()']
        location += [f"    {place.source}"] if place.source else []
    verb = "record" if records else "compile"
    return "\n".join(
        [f"tg.njit cannot {verb} {name}(): {explained.cause}", *location, explained.help]
    )
