"""Globals, variables of functions around, and attributes: the values that a function uses and was not given.

Tensors among them are inputs of its tape, looked up anew at each call where the function finds them:
another tensor may be there by then. Other values are constants of the tape; those that can be found are
compared.

`_uses` finds what a function may use: the globals that its code names, its variables and defaults, what is
inside of these (items of containers, attributes that the code names, of objects, classes and modules), and
what the functions use that it may call. Each comes with `Check`s: if the objects on the way to it are what
they were, it is what it was. Values of libraries are taken not to change.
"""

from __future__ import annotations

import enum
import functools
import gc
import operator
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tape import recording as record

__all__ = ["ABSENT", "Check", "Surroundings"]

#: how deep containers and functions are looked into, how many values at most, the longest container
DEPTH, MOST, LONGEST = 4, 4096, 1024
#: types of which two objects are the same value if they are written alike
_SIMPLE = (int, float, bool, str, bytes, complex, type(None), range, slice, np.generic)
#: packages whose values and functions are not looked at
_LIBRARIES = {
    "tapegrad", "numpy", "scipy", "numba", "llvmlite", "optree", "jax", "jaxlib", "torch", "autograd", "casadi",
    "pandas", "matplotlib", "sklearn", "tqdm", "pytest", *sys.stdlib_module_names,
} - {"__main__"}  # fmt: skip
#: methods that no operator calls
_NOT_IMPLIED = {
    "__init__",
    "__new__",
    "__repr__",
    "__str__",
    "__del__",
    "__hash__",
    "__post_init__",
}
#: in the place of a value that is not there
ABSENT = object()

Getter = Callable[[], Any]


class Check(NamedTuple):
    """A place in memory, as native code looks at it, and the object that was there.

    Attributes
    ----------
    kind : int
        0 for an item of a dict, 1 for the contents of a cell, 2 for an item of a list, 3 for the length of a
        list or dict.
    owner : dict, cell or list
    key : object
        Of a dict's item, or the index of a list's.
    value : object
        A length is a number; `ABSENT` says that there is no such item.
    """

    kind: int
    owner: Any
    key: Any
    value: Any


class _Use(NamedTuple):
    """A value that a function may use, a function that looks it up anew, and the checks on the way.

    The checks are None where native code cannot look.
    """

    getter: Getter
    value: Any
    checks: tuple[Check, ...] | None

    def part(self, getter: Callable[[Any], Any], value: Any, *checks: Check) -> _Use:
        """Return the use of what a function gets out of the value."""
        whole = self.getter
        path = None if self.checks is None else (*self.checks, *checks)
        return _Use(lambda: getter(whole()), value, path)


class Surroundings:
    """The tensors that a function captured, and the constants that it may have used.

    Parameters
    ----------
    function : callable
    captured : sequence of Tensor
        In the order of the tape's inputs.

    Attributes
    ----------
    checks : list of Check or None
        If they all hold, nothing has changed; None if that cannot be said so.
    """

    def __init__(self, function: Callable[..., Any], captured: Sequence[Any]) -> None:
        by_id: dict[int, Getter] = {}
        self._constants: list[tuple[Getter, Any]] = []
        checks: dict[tuple[int, int, int], Check] = {}
        is_native = not captured
        for getter, value, path in _uses(function):
            if record.is_tensor(value):
                by_id.setdefault(id(value), getter)
            elif not _is_looked_into(value):
                self._constants.append((getter, value))
                is_native = is_native and path is not None
                for check in path or ():
                    key = check.key if check.kind == 2 else id(check.key)
                    checks.setdefault((check.kind, id(check.owner), key), check)
        self.checks = list(checks.values()) if is_native else None
        self._getters: list[Getter] = []
        self._known: list[tuple[int, bool]] = []
        for tensor in captured:
            self._getters.append(by_id.get(id(tensor)) or functools.partial(_itself, tensor))
            self._known.append((record.layout_of(tensor).id, record.is_active(tensor)))

    def tensors(self) -> list[Any] | None:
        """The captured tensors as they are now; None if something is not as it was."""
        for getter, value in self._constants:
            try:
                now = getter()
            except Exception:
                return None
            if not _is_same(now, value):
                return None
        result = []
        for getter, known in zip(self._getters, self._known, strict=True):
            try:
                tensor = getter()
            except Exception:
                return None
            if not record.is_tensor(tensor):
                return None
            if (record.layout_of(tensor).id, record.is_active(tensor)) != known:
                return None
            result.append(tensor)
        return result


def _itself(value: Any, *_: Any) -> Any:
    return value


def _is_same(now: Any, before: Any) -> bool:
    """Return True if a constant is what it was: the same object, or a number or text written alike."""
    if now is before:
        return True
    if type(now) is not type(before) or not isinstance(now, _SIMPLE) or isinstance(now, enum.Enum):
        return False
    return repr(now) == repr(before)


def _is_looked_into(value: Any) -> bool:
    """Return True for what is no constant, but consists of such: containers, and objects with attributes."""
    if isinstance(value, enum.Enum | types.FunctionType | type | np.ndarray):
        return False
    return isinstance(value, tuple | list | dict | set | frozenset | types.MethodType) or (
        type(getattr(value, "__dict__", None)) is dict
    )


# --------------------------------------------------------------------------- functions
def _uses(function: Any) -> Iterator[_Use]:
    """Iterate over values that a function may use."""
    seen: set[int] = set()
    stack: list[tuple[Any, int]] = [(function, 0)]
    count = 0
    while stack:
        f, depth = stack.pop()
        if id(f) in seen or depth > DEPTH:
            continue
        seen.add(id(f))
        uses: list[_Use] = []
        code = _plain_function(f)
        names = set(_names(code)) if code is not None else set()
        if not isinstance(f, types.FunctionType | type):
            uses.append(_Use(functools.partial(_itself, f), f, ()))
        wrapped = getattr(f, "__wrapped__", None)
        if callable(wrapped):  # another jit, a cache
            stack.append((wrapped, depth))
        if code is not None and not _is_library(code.__module__):
            uses += _variables(code, names)
        elif code is not None:  # a transform: what it was given is in its variables
            stack += [
                (use.value, depth)
                for use in _cells(code)
                if callable(use.value) and not isinstance(use.value, type)
            ]
        for use in uses:
            for part in _inside(use, 0, names):
                count += 1
                if count > MOST:
                    return
                if part.value is not f:
                    yield part
                if _may_be_called(part.value):
                    stack.append((part.value, depth + 1))


def _variables(function: types.FunctionType, names: set[str]) -> Iterator[_Use]:
    """Iterate over globals that a function's code names, variables of functions around it, and defaults."""
    scope = function.__globals__
    for name in sorted(names & scope.keys()):
        value = scope[name]
        yield _Use(
            functools.partial(scope.__getitem__, name), value, (Check(0, scope, name, value),)
        )
    yield from _cells(function)
    for values in (function.__defaults__, function.__kwdefaults__):
        if values is not None:
            yield _Use(functools.partial(_itself, values), values, ())


def _cells(function: types.FunctionType) -> Iterator[_Use]:
    """Iterate over variables of the functions around a function."""
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
        getter = functools.partial(getattr, cell, "cell_contents")
        yield _Use(getter, value, (Check(1, cell, None, value),))


def _plain_function(f: Any) -> types.FunctionType | None:
    """The Python function that a call of an object runs, if there is one."""
    if isinstance(f, types.MethodType):
        f = f.__func__
    if isinstance(f, types.FunctionType):
        return f
    call = next((vars(c)["__call__"] for c in type(f).__mro__ if "__call__" in vars(c)), None)
    return call if isinstance(call, types.FunctionType) else None


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _may_be_called(value: Any) -> bool:
    if isinstance(value, type | types.ModuleType) or record.is_tensor(value):
        return False
    return isinstance(value, types.FunctionType | types.MethodType | functools.partial) or (
        hasattr(value, "__dict__")
        and (_plain_function(value) is not None or hasattr(value, "__wrapped__"))
    )


def _names(function: types.FunctionType) -> Iterator[str]:
    """Names of globals and attributes that a function's code uses, with the functions defined in it.

    Texts in the code may be such names as well: ``getattr(x, "name")``.
    """
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield from code.co_names
        yield from (c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]


# --------------------------------------------------------------------------- objects
def _inside(use: _Use, depth: int, names: set[str]) -> Iterator[_Use]:
    """Iterate over a value, and what is inside of it."""
    yield use
    value = use.value
    if depth >= DEPTH or isinstance(value, np.ndarray | enum.Enum) or record.is_tensor(value):
        return
    if isinstance(value, types.MethodType) and isinstance(value.__func__, types.FunctionType):
        names = names | set(_names(value.__func__))
    elif not isinstance(value, type | types.ModuleType | types.FunctionType):
        names = _with_methods(type(value), names)
    for part in _parts(use, names):
        yield from _inside(part, depth + 1, names)


def _parts(use: _Use, names: set[str]) -> Iterator[_Use]:
    """Iterate over items of a container, or attributes of an object."""
    value = use.value
    if isinstance(value, tuple):
        for i, x in enumerate(value[:LONGEST]):
            yield use.part(operator.itemgetter(i), x)
    elif isinstance(value, list | dict):
        yield use.part(len, len(value), Check(3, value, None, len(value)))
        if len(value) <= LONGEST:
            kind, items = (0, value.items()) if isinstance(value, dict) else (2, enumerate(value))
            for key, x in list(items):
                yield use.part(operator.itemgetter(key), x, Check(kind, value, key, x))
    elif isinstance(value, set | frozenset):
        text = use.part(_sorted_text, _sorted_text(value))
        yield text if isinstance(value, frozenset) else text._replace(checks=None)
    elif isinstance(value, functools.partial | types.MethodType):
        is_partial = isinstance(value, functools.partial)
        for name in ("func", "args", "keywords") if is_partial else ("__func__", "__self__"):
            yield use.part(operator.attrgetter(name), getattr(value, name))
    elif isinstance(value, types.ModuleType):
        if not _is_library(value.__name__):
            yield from _members(use, vars(value), names)
    elif isinstance(value, type):
        yield from _class_members(use, names)
    elif not isinstance(value, types.FunctionType):
        yield from _attributes(use, names)


def _sorted_text(values: Any) -> str:
    return repr(sorted(map(repr, values)))


def _members(use: _Use, members: dict[str, Any], names: set[str]) -> Iterator[_Use]:
    """Iterate over what a dict of attributes has under some names, and over tensors in it."""
    for name, x in list(members.items()):
        if name in names or record.is_tensor(x):
            yield use.part(operator.attrgetter(name), x, Check(0, members, name, x))


def _functions_of(value: Any) -> list[types.FunctionType]:
    """Functions of what a class has: a method, that of a property, of a class or static method."""
    functions = (value, getattr(value, "fget", None), getattr(value, "__func__", None))
    return [f for f in functions if isinstance(f, types.FunctionType)]


def _with_methods(kind: type, names: set[str]) -> set[str]:
    """Names, with those that an object's methods use which may be called."""
    names, size = set(names), -1
    bases = [vars(base) for base in kind.__mro__ if not _is_library(base.__module__)]
    for members in bases:
        names |= {n for n in members if n[:2] == "__" == n[-2:] and n not in _NOT_IMPLIED}
    while size != len(names):
        size = len(names)
        for members in bases:
            for name in names & members.keys():
                for function in _functions_of(members[name]):
                    names |= set(_names(function))
    return names


def _class_members(use: _Use, names: set[str]) -> Iterator[_Use]:
    """Iterate over what a class, and those that it is derived from, have under some names."""
    for number, base in enumerate(use.value.__mro__):
        if _is_library(base.__module__):
            continue
        members = _dict_of(base)
        for name in sorted(names & members.keys()):
            x = members[name]
            if isinstance(x, types.MemberDescriptorType | types.GetSetDescriptorType):
                continue
            getter = functools.partial(_member_of_class, number, name)
            yield use.part(getter, x, Check(0, members, name, x))
            for function in _functions_of(x):
                if function is not x:
                    yield use.part(functools.partial(_itself, function), function)


def _member_of_class(number: int, name: str, kind: type) -> Any:
    return vars(kind.__mro__[number])[name]


def _dict_of(kind: type) -> dict[str, Any]:
    """The dict of a class, which Python shows through a view only."""
    return next(x for x in gc.get_referents(vars(kind)) if type(x) is dict)


def _attributes(use: _Use, names: set[str]) -> Iterator[_Use]:
    """Iterate over attributes of an object that code names, and over its class."""
    value, kind = use.value, type(use.value)
    if _is_library(kind.__module__) and kind is not types.SimpleNamespace:
        return
    members = getattr(value, "__dict__", None)
    if type(members) is dict:
        yield from _members(use, members, names)
    yield use.part(type, kind)
    for base in kind.__mro__:
        for name in sorted(names & vars(base).keys()):
            x = vars(base)[name]
            if isinstance(x, types.MemberDescriptorType):  # a slot
                if hasattr(value, name):
                    part = use.part(operator.attrgetter(name), getattr(value, name))
                    yield part._replace(checks=None)
            elif type(members) is dict and name not in members and not hasattr(type(x), "__set__"):
                # An object's own attribute would come before that of its class.
                getter = functools.partial(_has_member, name)
                yield use.part(getter, False, Check(0, members, name, ABSENT))


def _has_member(name: str, value: Any) -> bool:
    return name in vars(value)
