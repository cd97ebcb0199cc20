"""Signatures of public functions: they bind arguments, check their types and word PyTorch's errors.

A function is declared by its ``def``, whose annotations are names of `KINDS`, with ``| None`` where
None is taken. One that PyTorch overloads has PyTorch's list of forms, too, without the first argument
(unless it is not a tensor in all of them)::

    @declared("(*, Dtype? dtype=None)", "(Dims? dim, bool keepdim=False, *, Dtype? dtype=None)")
    def sum(input: Tensor, dim: Dims | None = UNSET, keepdim: bool = False, ...

`keywords.checked` puts a layer around such a function, which asks a `Signature` where it sees a
combination of types for the first time; a signature is not even read before that. The rules, and the
oddities, are those of PyTorch's argument parser.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..base import devices, dtypes
from ..base.errors import kind_of, must_be, type_name_of
from ..base.symbolic import Symbolic
from ..tape import readout
from ..tape import recording as record
from ..tape.recording import layout_of
from .arguments import OVERFLOW, is_array, named_conversion, unpack_error
from .registry import FORMS

__all__ = [
    "NUMPY_NAMES",
    "UNSET",
    "Dims",
    "Dtype",
    "Ints",
    "Number",
    "Operand",
    "Signature",
    "Tensor",
    "Tensors",
]

#: an argument that was not given, where None says something else
UNSET: Any = type("_Unset", (), {"__repr__": lambda self: "unset"})()

# Annotations of declared functions. The class Tensor is above this package.
Tensor: TypeAlias = Any
Tensors: TypeAlias = Any
Number: TypeAlias = Any
Operand: TypeAlias = Any
Dims: TypeAlias = int | Sequence[int]
Ints: TypeAlias = Sequence[int]
Dtype: TypeAlias = dtypes.dtype | type | np.dtype[Any]

#: NumPy's name of an argument -> PyTorch's
NUMPY_NAMES = {
    "axis0": "dim0", "axis1": "dim1",
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
}  # fmt: skip
_LIMIT = 2**63


# --------------------------------------------------------------------------- kinds of arguments
def is_int(value: Any) -> bool:
    """Return True for what PyTorch takes for an int."""
    if record.is_tensor(value):
        return layout_of(value).dtype is dtypes.int64 and not layout_of(value).ndim
    return hasattr(type(value), "__index__") and not isinstance(value, bool | np.bool_ | np.ndarray)


def _is_number(value: Any) -> bool:
    if record.is_tensor(value):
        return not layout_of(value).ndim and not value.requires_grad
    return record.is_number(value)


def is_length(value: Any) -> bool:
    """Return True for what PyTorch takes for an int in a list of them: arrays of one integer, too."""
    if isinstance(value, np.ndarray):
        return not value.ndim and value.dtype.kind in "iu"
    return is_int(value)


def _are_ints(value: Any) -> bool:
    if not isinstance(value, tuple | list):
        return is_int(value)
    if value and isinstance(value[0], np.ndarray):
        return is_length(value[0])
    return not value or hasattr(type(value[0]), "__index__")


def _are_numbers(value: Any) -> bool:
    return isinstance(value, tuple | list) and (not value or _is_number(value[0]))


#: name of a kind -> PyTorch's word for it, and the check; of a sequence, it is that of the first element
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Dims": ("tuple of ints", _are_ints),
    "Device": ("torch.device", lambda value: isinstance(value, str | devices.device)),
    "Dtype": ("torch.dtype", lambda value: isinstance(value, dtypes.dtype | type | np.dtype)),
    "Generator": ("torch.Generator", lambda value: True),  # `stream_of` looks at it
    "Layout": ("torch.layout", lambda value: isinstance(value, devices.layout)),
    "MemoryFormat": ("torch.memory_format", lambda value: isinstance(value, devices.memory_format)),
    "Number": ("Number", _is_number),
    "Operand": ("Tensor", lambda value: record.is_tensor(value) or record.is_number(value)),
    "Ints": ("tuple of ints", lambda value: isinstance(value, tuple | list) and _are_ints(value)),
    "Scalars": ("tuple of Scalars", _are_numbers),
    "Tensor": ("Tensor", lambda value: record.is_tensor(value)),
    "Tensors": ("tuple of Tensors", lambda value: isinstance(value, tuple | list)),
    "Any": ("object", lambda value: True),
    "bool": ("bool", lambda value: isinstance(value, bool)),
    "float": ("float", _is_number),
    "int": ("int", is_int),
    "str": ("str", lambda value: isinstance(value, str)),
}


class _Parameter(NamedTuple):
    kind: str
    name: str
    default: str | None  # as PyTorch prints it; None where an argument is required
    nullable: bool
    keyword_only: bool


class _Form(tuple[_Parameter, ...]):
    """The parameters of one way to call a function; prints as PyTorch prints it."""

    __slots__ = ()

    def __str__(self) -> str:
        words, starred = [], False
        for p in self:
            if p.keyword_only and not starred:
                words.append("*")
                starred = True
            default = "" if p.default is None else f" = {p.default}"
            words.append(f"{KINDS[p.kind][0]} {p.name}{default}")
        return f"({', '.join(words)})"

    @property
    def least(self) -> int:
        return sum(p.default is None for p in self)


def _parse(form: str) -> Iterable[_Parameter]:
    """Parameters of a form like ``(Dims? dim, bool keepdim=False, *, Tensor? out=None)``."""
    keyword_only = False
    for part in filter(None, form[1:-1].split(", ")):
        kind, _, rest = part.partition(" ")
        name, _, default = rest.partition("=")
        if kind == "*":
            keyword_only = True
        else:
            nullable = kind.endswith("?")
            yield _Parameter(kind.rstrip("?"), name, default or None, nullable, keyword_only)


def _parameters_of(function: Callable[..., Any]) -> Iterable[_Parameter]:
    """Parameters of a ``def``."""
    for p in inspect.signature(function).parameters.values():
        kind, _, none = p.annotation.partition(" | ")
        default = None if p.default is p.empty else str(p.default)
        yield _Parameter(kind, p.name, default, bool(none), p.kind is p.KEYWORD_ONLY)


# --------------------------------------------------------------------------- matching
class Signature:
    """The forms in which a function may be called.

    Parameters
    ----------
    name : str
        For error texts.
    function : callable
        The declared function.
    method : bool
        The first argument is the tensor whose method is called; texts do not count it.
    out : bool
        There is a keyword ``out``.
    """

    def __init__(self, name: str, function: Callable[..., Any], *, method: bool, out: bool) -> None:
        self.name, self.function, self.method, self.out = name, function, method, out

    @property
    def gathered(self) -> int:
        """Position of the integers that may also come one by one, as all positional arguments; or 0."""
        inner: Any = inspect.unwrap(self.function)
        kinds = list(inner.__annotations__.values())[: inner.__code__.co_argcount]
        alone = len(kinds) == 1 + self.method and kinds[-1].startswith("Ints")
        return len(kinds) if alone else 0

    @functools.cached_property
    def forms(self) -> list[_Form]:
        """The forms, read when something has to be checked for the first time."""
        first, *rest = _parameters_of(self.function)
        forms = [list(_parse(text)) for text in FORMS[self.function]]
        if not forms:
            forms = [[*rest, _Parameter("Any", "out", "None", True, True)] if self.out else rest]
        if any(p.name == first.name for form in forms for p in form):  # whole
            if not self.method:
                return [_Form(form) for form in forms]
            forms = [form[1:] for form in forms if form[0].kind == "Tensor"]
        if self.method:
            return [_Form(p for p in form if p.name != "out") for form in forms]
        return [_Form((first, *form)) for form in forms]

    def check(self, args: Sequence[Any], options: dict[str, Any]) -> tuple[dict[str, str], bool]:
        """Match arguments with the forms.

        Returns
        -------
        names : dict
            Parameters that keywords of another name stand for; and ``out``, if it is there.
        settled : bool
            All arguments of the same types match.

        Raises
        ------
        TypeError
            PyTorch's, if they match no form.
        """
        if self.method:
            if not args:
                raise TypeError(f"unbound method Tensor.{self.name}() needs an argument")
            if not record.is_tensor(args[0]):
                raise must_be(self.name, "input", 1, "Tensor", args[0])
            args = args[1:]
        failures: list[_NoMatch] = []
        for form in self.forms:
            try:
                return self._match(form, args, options)
            except _NoMatch as error:
                failures.append(error)
        for failure in failures:  # a number read out of what is differentiated: that says so
            readout.option(failure.number, f"{self.name}({failure.argument}=...)")
        count = len(args) + len(options)
        likely = [
            failure
            for form, failure in zip(self.forms, failures, strict=True)
            if len(failures) == 1 or form.least <= count <= len(form)
        ]
        if len(likely) != 1:
            raise _no_form(self.name, self.forms, args, options)
        raise TypeError(*likely[0].args) from None

    def converted(
        self, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments with Tensors for arrays and numbers, if they match a form so; None if not.

        What an in-place function writes to stays as it is: a copy of it would be written.
        """
        first = 1 if self.method or (self.name[-1] == "_" and self.name[:2] != "__") else 0
        values = dict(enumerate(args)) | options
        if not any(is_array(value) for value in values.values()):
            return None
        for numbers in (False, True):  # a number is another parameter's, if it can be
            for form in self.forms:
                changed = self._conversions(form, values, first, numbers=numbers)
                if changed:
                    taken = tuple([changed.get(i, value) for i, value in enumerate(args)])
                    named = {key: changed.get(key, value) for key, value in options.items()}
                    try:
                        self._match(form, taken[self.method :], named)
                    except _NoMatch:
                        continue
                    return taken, named
        return None

    def at_places(self, args: tuple[Any, ...], places: Sequence[int]) -> tuple[Any, ...]:
        """Return the arguments with Tensors for the arrays and numbers in some places."""
        taken = list(args)
        for i in places:
            taken[i] = named_conversion(self.name, f"{i + 1}", args[i], args)
        return tuple(taken)

    def _conversions(
        self, form: _Form, values: dict[Any, Any], first: int, *, numbers: bool
    ) -> dict[Any, Any]:
        """Return Tensors for arrays (and numbers) where a form has Tensors, by place or keyword."""
        changed: dict[Any, Any] = {}
        operands, has_tensor = [], False
        for i, p in enumerate(form, self.method):
            if p.kind not in ("Tensor", "Operand") or i < first:
                continue
            for key in (i, p.name, *(key for key, name in NUMPY_NAMES.items() if name == p.name)):
                value = values.get(key)
                has_tensor = has_tensor or record.is_tensor(value)
                if key not in values or not is_array(value):
                    continue
                if isinstance(value, np.ndarray) or (numbers and p.kind == "Tensor"):
                    changed[key] = named_conversion(self.name, p.name, value, [*values.values()])
                elif p.kind == "Operand":
                    operands.append(key)
        if numbers and operands and not changed and not has_tensor:
            changed[operands[0]] = named_conversion(self.name, "input", values[operands[0]], ())
        return changed

    def reword(self, args: Sequence[Any], options: dict[str, Any]) -> None:
        """Raise PyTorch's TypeError for arguments that a function stumbled over, if they are wrong."""
        try:
            self.check(args, options)
        except TypeError as error:
            raise error from None

    def _match(
        self, form: _Form, args: Sequence[Any], options: dict[str, Any]
    ) -> tuple[dict[str, str], bool]:
        if self.method and not form and (args or options):  # in CPython's words
            words = f"arguments ({len(args)} given)" if not options else "keyword arguments"
            raise _NoMatch(f"TensorBase.{self.name}() takes no {words}")
        most = sum(not p.keyword_only for p in form)
        if len(args) > most:
            raise self._too_many(form.least, most, len(args))
        names, settled = {}, True
        for i, p in enumerate(form):
            if i < len(args):
                value, place = args[i], i + 1
            else:
                aliases = [alias for alias, name in NUMPY_NAMES.items() if name == p.name]
                keys = [key for key in (p.name, *aliases) if key in options]
                if not keys:
                    if p.default is None:
                        raise self._missing(form[i:])
                    continue
                value, place, names[keys[0]] = options[keys[0]], 0, p.name
            word, fits = KINDS[p.kind]
            if not ((value is None and p.nullable) or fits(value)):
                raise self._misfit(p, place, word, value)
            if isinstance(value, tuple | list) and p.kind in ("Dims", "Ints"):
                self._check_elements(p.name, value)
            settled = settled and not (
                p.kind in ("Dims", "Number", "int") and record.is_tensor(value)
            )
        if len(names) < len(options):
            raise self._extra(form, len(args), options)
        return {key: name for key, name in names.items() if key != name or key == "out"}, settled

    # ----------------------------------------------------------------------- texts
    def _error(self, text: str) -> _NoMatch:
        return _NoMatch(f"{self.name}() {text}")

    def _too_many(self, least: int, most: int, count: int) -> _NoMatch:
        if least != most:
            return self._error(
                f"takes from {least} to {most} positional arguments but {count} were given"
            )
        plural, were = "" if most == 1 else "s", "was" if count == 1 else "were"
        return self._error(f"takes {most} positional argument{plural} but {count} {were} given")

    def _missing(self, rest: Iterable[_Parameter]) -> _NoMatch:
        names = [f'"{p.name}"' for p in rest if p.default is None]
        plural = "s" if len(names) == 1 else ""  # PyTorch has it the wrong way round
        return self._error(
            f"missing {len(names)} required positional argument{plural}: {', '.join(names)}"
        )

    def _misfit(self, p: _Parameter, place: int, word: str, value: Any) -> _NoMatch:
        error = must_be(self.name, p.name, place, word, value)
        if place and p.kind in ("Dims", "Ints") and isinstance(value, tuple | list):
            element = f"but found element of type {type_name_of(value[0])} at pos 0"
            return _NoMatch(f"{str(error).rpartition(',')[0]}, {element}")
        mismatch = _NoMatch(*error.args)
        if p.kind in ("Number", "float"):
            mismatch.number, mismatch.argument = value, p.name
        return mismatch

    def _extra(self, form: _Form, count: int, options: dict[str, Any]) -> _NoMatch:
        names = [p.name for p in form]
        for key in options:
            if key not in names:
                return self._error(f"got an unexpected keyword argument '{key}'")
            if key in names[:count]:
                return self._error(f"got multiple values for argument '{key}'")
        raise AssertionError

    def _check_elements(self, argument: str, values: Sequence[Any]) -> None:
        for i, value in enumerate(values):
            if type(value) is Symbolic:  # while a rule is traced
                continue
            try:
                if -_LIMIT <= operator.index(value) < _LIMIT:
                    continue
                reason = OVERFLOW
            except TypeError:
                reason = f"type must be tuple of ints,but got {type_name_of(value)}"
            raise unpack_error(self.name, argument, i, reason)


class _NoMatch(TypeError):
    """Arguments do not match a form; `number` is what came where a number belongs."""

    number: Any = None
    argument = ""


def _no_form(
    name: str, forms: Iterable[_Form], args: Sequence[Any], options: dict[str, Any]
) -> TypeError:
    """Return PyTorch's error for arguments that match none of several forms."""
    options = dict(reversed(options.items()))  # the order in which its hash table has them
    positional = [kind_of(value) for value in args]
    named = [f"{key}={kind_of(value)}" for key, value in options.items()]
    got = ", ".join(positional + named) + (", " if named and not positional else "")
    listed = "".join(f" * {form}\n{_hint(str(form), args, options)}" for form in forms)
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({got}), but expected one of:\n"
        f"{listed}"
    )


def _hint(form: str, args: Sequence[Any], options: dict[str, Any]) -> str:
    """Return PyTorch's line on why a form did not match, or nothing.

    PyTorch splits what it prints: the star is a parameter, a default is its parameter's name, and the
    line is there if as many arguments were given.
    """
    parts = [part.rpartition(" ") for part in form[1:-1].split(", ")]
    if len(parts) != len(args) + len(options):
        return ""
    start = "      didn't match because some of the"
    keywords = [part[2] for part in parts[len(args) :]]
    unknown = [key for key in options if key not in keywords]
    if unknown:
        return f"{start} keywords were incorrect: {', '.join(unknown)}\n"
    words = []
    for i, (expected, _, key) in enumerate(parts):
        value, named = (args[i], "") if i < len(args) else (options[key], f"{key}=")
        kind = shown = type_name_of(value)
        if isinstance(value, tuple | list):
            listed = ", ".join(map(type_name_of, value))
            shown += f" of [{listed}]" if isinstance(value, list) else f" of ({listed})"
        words.append(f"{named}{shown}" if kind == expected else f"!{named}{shown}!")
    return f"{start} arguments have invalid types: ({', '.join(words)}{'' if args else ', '})\n"
