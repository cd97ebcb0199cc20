"""The values that a function may use without being given them.

`uses` walks from the globals that a function's code names, its variables and defaults, into containers, and
into the attributes of objects, classes and modules that the code names; and from there into the functions
that it may call. Each value comes with a function that looks it up anew, and with `Check`s: if the objects on
the way to it are what they were, it is what it was.
"""

from __future__ import annotations

import builtins
import collections
import ctypes
import enum
import functools
import gc
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..native import abi as nt
from ..tape import recording as record
from .lookups import (
    ABSENT,
    Getter,
    content,
    item,
    items,
    length,
    member,
    names_of,
    of_class,
    same,
    type_of,
    variable,
)

__all__ = ["ELEMENTS", "ITEM", "Check", "Use", "uses"]

#: how deep objects and functions are looked into, and how many values at most
DEPTH, MOST = 8, 1 << 15
#: items from which on those of a list are one value
MANY = 256
_SIMPLE = (int, float, bool, str, bytes, complex, type(None))
#: attribute of a class whose objects are modules (nn/modules/members.py): the method that a call of one runs
CALLED = "_call_of_jit"
#: special methods that a function does not call by an operator
_UNCALLED = ("__init__", "__new__", "__repr__", "__str__", "__del__", "__setattr__", "__delattr__")
_LIBRARIES = {
    "tapegrad",
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "optree",
    "torch",
} | sys.stdlib_module_names
_LIBRARIES -= {"__main__"}

#: kinds of checks (native/runtime/compiled_tapes.py)
ITEM, CELL, PLACE, WORD, ELEMENTS, LENGTH, ENTRIES, POINTERS = range(8)


class Check(NamedTuple):
    """A place in memory, as native code looks at it, and what was there.

    Attributes
    ----------
    kind : int
        `ITEM` of a dict, contents of a `CELL`, `PLACE` in a list, `WORD` of an object that refers to
        another one or is its `LENGTH`, `ELEMENTS` of an array, all items of a dict (`ENTRIES`) or of a list
        (`POINTERS`).
    owner : object
    key : object
        Of a dict's item, the index of a list's, bytes to a word, the number of bytes of elements or pointers,
        that of a dict's items.
    value : object
        `ABSENT` for none.
    kept : object
        What numbers in `value` are addresses of.
    """

    kind: int
    owner: Any
    key: Any
    value: Any
    kept: Any = None

    def row(self) -> tuple[int, int, int, int]:
        """The check as native code reads it: addresses and numbers."""
        key = id(self.key) if self.kind in (ITEM, CELL) else self.key
        if self.kind == LENGTH:
            value = self.value
        elif self.kind in (ELEMENTS, ENTRIES, POINTERS):
            value = id(self.value) + bytes.__basicsize__ - 1
        else:
            value = 0 if self.value is ABSENT else id(self.value)
        return (WORD if self.kind == LENGTH else self.kind), id(self.owner), key, value


class Use(NamedTuple):
    """A value that a function may use, a function that looks it up anew, and the checks on the way.

    Checks are None if native code cannot see that it is the same.
    """

    getter: Getter
    value: Any
    checks: tuple[Check, ...] | None


# --------------------------------------------------------------------------- functions
def uses(function: Any, arguments: Iterable[Any] = ()) -> Iterator[Use]:
    """Iterate over values that a function may use, and over those inside of static arguments."""
    return _Walk().run(function, [x for x in arguments if not isinstance(x, _SIMPLE)])


class _Walk:
    """A walk through the values; `stack` has functions that may be called."""

    def __init__(self) -> None:
        self.stack: list[tuple[Any, int]] = []
        #: what was looked into, which is kept so that numbers stay theirs
        self.seen: dict[Any, Any] = {}
        #: all that the functions name
        self.names: set[str] = set()

    def run(self, function: Any, arguments: Sequence[Any]) -> Iterator[Use]:
        self.stack.append((function, 0))
        return islice(self._uses(arguments), MOST)

    def _uses(self, arguments: Sequence[Any]) -> Iterator[Use]:
        while self.stack or arguments:
            if not self.stack:
                for x in arguments:
                    yield from self._inside(
                        Use(functools.partial(same, x), x, ()), 0, self.names, 0
                    )
                arguments = ()
                continue
            f, depth = self.stack.pop()
            if ("function", id(f)) not in self.seen and depth <= DEPTH:
                self.seen["function", id(f)] = f
                yield from self._of_function(f, depth)

    def _of_function(self, f: Any, depth: int) -> Iterator[Use]:
        code = _plain_function(f)
        names = _names(code) if code is not None else set()
        self.names |= names
        wrapped = getattr(f, "__wrapped__", None)
        if wrapped is not None:
            self.stack.append((wrapped, depth))
        if f is not code:
            yield from self._inside(Use(functools.partial(same, f), f, ()), 0, names, depth)
        if code is None:
            return
        # A transform has the name and the module of what it was given, which is in its variables.
        if _is_library(code.__globals__.get("__name__")):
            for name, cell in zip(code.__code__.co_freevars, code.__closure__ or (), strict=True):
                value = _contents(cell)
                if callable(value) and not isinstance(value, type):
                    self.stack.append((value, depth))
                elif value is not ABSENT:
                    yield from self._inside(_of_cell(cell, name, value), 0, names, depth)
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            part = getattr(code, name)
            offset = _offset(name)
            word = Check(WORD, code, offset or 0, ABSENT if part is None else part)
            path = (word,) if offset else None
            use = Use(functools.partial(getattr, code, name), part, path)
            yield from self._inside(use, 0, names, depth)
        scope = code.__globals__
        for name in sorted(names):
            value = scope.get(name, ABSENT)
            if value is not ABSENT or hasattr(builtins, name):
                getter = functools.partial(scope.get, name, ABSENT)
                use = Use(getter, value, (Check(ITEM, scope, name, value),))
                yield from self._inside(use, 0, names, depth)
        for name, cell in zip(code.__code__.co_freevars, code.__closure__ or (), strict=True):
            value = _contents(cell)
            if value is not ABSENT:
                yield from self._inside(_of_cell(cell, name, value), 0, names, depth)

    # ----------------------------------------------------------------------- what is inside
    def _inside(self, use: Use, depth: int, names: set[str], calls: int) -> Iterator[Use]:
        """Iterate over a value, or what is inside of it."""
        getter, value, _ = use
        if _may_be_called(value):
            self.stack.append((value, calls + 1))
        if record.is_tensor(value):
            yield use
            if "grad" in names and value.is_leaf and depth < DEPTH:
                part = Use(functools.partial(member, getter, "grad"), value.grad, None)
                yield from self._inside(part, depth + 1, names, calls)
            return
        if isinstance(value, (*_SIMPLE, np.ndarray, types.CodeType, enum.Enum)) or depth >= DEPTH:
            yield use
            return
        key = id(value), frozenset(names)
        if key in self.seen:
            yield use
            return
        self.seen[key] = value
        parts = list(self._parts(use, names))
        if not parts or isinstance(value, type | types.FunctionType | types.ModuleType):
            yield use
        below = (
            0 if hasattr(type(value), CALLED) else depth + 1
        )  # modules nest as deep as they like
        for part, is_final in parts:
            if is_final:
                yield part
            else:
                yield from self._inside(part, below, names, calls)

    def _parts(self, use: Use, names: set[str]) -> Iterator[tuple[Use, bool]]:
        """Iterate over the parts of a value, and if they are not to be looked into."""
        getter, value, checks = use

        def derived(function: Callable[..., Any], *more: Check, known: bool = True) -> Use:
            path = (*checks, *more) if known and checks is not None else None
            return Use(functools.partial(function, getter), function(getter), path)

        def part(
            function: Callable[..., Any], key: Any, x: Any, *more: Check, known: bool = True
        ) -> Use:
            path = (*checks, *more) if known and checks is not None else None
            return Use(functools.partial(function, getter, key), x, path)

        if isinstance(value, list | tuple | collections.deque):
            is_list = isinstance(value, list)
            yield derived(type_of), True
            size = (Check(LENGTH, value, nt.HEADER, len(value)),) if is_list else ()
            simple = len(value) > MANY and all(isinstance(x, _SIMPLE) for x in value)
            known = not isinstance(value, collections.deque)
            if simple and is_list:
                size = (*size, _addresses(POINTERS, value, 8 * len(value), value))
            yield derived(items if simple else length, *size, known=known), True
            for i, x in enumerate(() if simple else value):
                yield (
                    part(
                        item, i, x, *((Check(PLACE, value, i, x),) if is_list else ()), known=known
                    ),
                    False,
                )
        elif isinstance(value, Mapping):
            yield derived(type_of), True
            known = type(value) is dict
            entries = [part for pair in value.items() for part in pair]
            more = (_addresses(ENTRIES, value, len(value), entries),) if known else ()
            yield derived(items, *more, known=known), True
            for k, x in value.items():
                yield part(item, k, x, *more, known=known), False
        elif isinstance(value, set | frozenset):
            yield derived(items, known=isinstance(value, frozenset)), True
        elif isinstance(value, bytearray | memoryview):
            yield derived(content, known=False), True
        elif isinstance(value, functools.partial):
            for name in ("func", "args", "keywords"):
                yield part(member, name, getattr(value, name)), False
        elif isinstance(value, types.MethodType):
            names |= (
                _names(value.__func__) if isinstance(value.__func__, types.FunctionType) else set()
            )
            yield part(member, "__func__", value.__func__), False
            yield part(member, "__self__", value.__self__), False
        elif isinstance(value, types.ModuleType):
            if not _is_library(value.__name__):
                for name in sorted(names & vars(value).keys()):
                    x = vars(value)[name]
                    yield part(variable, name, x, Check(ITEM, vars(value), name, x)), False
        elif isinstance(value, type):
            yield from self._of_class(value, use, names)
        elif not isinstance(value, types.FunctionType):
            yield derived(type_of), True
            yield from self._of_class(type(value), use, names)
            members: Any = getattr(value, "__dict__", None)
            if type(members) is not dict:
                yield use, True
            elif hasattr(type(value), CALLED):  # a module, whose methods use all of its attributes
                entries = [part for pair in members.items() for part in pair]
                more = (_addresses(ENTRIES, members, len(members), entries),)
                yield derived(names_of, *more), True
                names = {*names, *members}
            asks = not names.isdisjoint(("hasattr", "getattr", "vars", "__dict__"))
            for name in sorted(names) if type(members) is dict else ():
                x = members.get(name, ABSENT)
                if x is not ABSENT or asks or hasattr(type(value), name):
                    yield part(variable, name, x, Check(ITEM, members, name, x)), False

    def _of_class(self, kind: type, use: Use, names: set[str]) -> Iterator[tuple[Use, bool]]:
        """Iterate over what a class has by the names, of which there are more in its methods."""
        mro = [c for c in kind.__mro__ if not _is_library(c.__module__)]
        looked: set[str] = set()
        while True:
            special = {n for c in mro for n in vars(c) if n[:2] == "__" and n not in _UNCALLED}
            path = {n for n in names | special if any(n in vars(c) for c in mro)} - looked
            if not path:
                break
            looked |= path
            for name in path:
                for function in _functions(of_class(functools.partial(same, kind), name)):
                    names |= _names(function)
        for name in sorted(looked):
            x: Any = ABSENT
            more: list[Check] | None = []
            for c in kind.__mro__:
                scope = _scope(c)
                x = vars(c).get(name, ABSENT)
                if scope is None:
                    more = None
                elif more is not None:
                    more.append(Check(ITEM, scope, name, x))
                if x is not ABSENT:
                    break
            known = use.checks is not None and more is not None
            checks = (*use.checks, *more) if known else None  # type: ignore[misc]
            getter = functools.partial(of_class, use.getter, name)
            if isinstance(x, types.MemberDescriptorType):
                getter = functools.partial(member, use.getter, name)
                x, checks = getattr(use.value, name, ABSENT), None
            functions = list(_functions(x))
            self.stack += [(f, 1) for f in functions]
            is_plain = isinstance(
                x, property | classmethod | staticmethod | functools.cached_property
            )
            yield Use(getter, x, checks), is_plain or bool(functions) or name[:2] == "__"


def _functions(value: Any) -> Iterator[types.FunctionType]:
    """The functions of a class's member."""
    parts = [value]
    if isinstance(value, property):
        parts = [value.fget]
    elif isinstance(value, classmethod | staticmethod):
        parts = [value.__func__]
    elif isinstance(value, functools.cached_property):
        parts = [value.func]
    for part in parts:
        if isinstance(part, types.FunctionType) and not _is_library(part.__module__):
            yield part


@functools.cache
def _scope(kind: type) -> Any:
    """The dict of a class, as it is; None if that cannot be had."""
    path = [x for x in gc.get_referents(vars(kind)) if type(x) is dict]
    return path[0] if len(path) == 1 and path[0].keys() == vars(kind).keys() else None


@functools.cache
def _offset(name: str) -> int | None:
    """Bytes to the word of a function that refers to an attribute, or is 0 for None; None if not found."""

    def probe(a: Any = "a", *, b: Any = "b") -> None:
        """Have defaults."""

    words = (ctypes.c_int64 * (object.__sizeof__(probe) // 8)).from_address(id(probe))[:]
    place = id(getattr(probe, name))
    return 8 * words.index(place) if words.count(place) == 1 else None


def _of_cell(cell: types.CellType, name: str, value: Any) -> Use:
    """The use of a variable of a function around."""
    getter = functools.partial(getattr, cell, "cell_contents", name)
    return Use(getter, value, (Check(CELL, cell, None, value),))


def _addresses(kind: int, owner: Any, key: int, objects: Iterable[Any]) -> Check:
    """A check of the addresses of all objects that a container has."""
    kept = tuple(objects)
    return Check(kind, owner, key, np.array([*map(id, kept)], np.int64).tobytes(), kept)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def _plain_function(f: Any) -> types.FunctionType | None:
    """The Python function that a call of an object runs, if there is one."""
    if isinstance(f, types.MethodType):
        f = f.__func__
    if isinstance(f, types.FunctionType):
        return f
    if hasattr(type(f), CALLED):
        return _plain_function(getattr(f, getattr(type(f), CALLED)))
    call = vars(type(f)).get("__call__")
    return call if isinstance(call, types.FunctionType) else None


def _is_library(module: str | None) -> bool:
    return (module or "").split(".")[0] in _LIBRARIES


def _may_be_called(value: Any) -> bool:
    if isinstance(value, type | types.ModuleType) or record.is_tensor(value):
        return False
    return isinstance(value, types.FunctionType | types.MethodType | functools.partial) or (
        hasattr(value, "__dict__") and callable(value)
    )


def _names(function: types.FunctionType) -> set[str]:
    """Names of globals and attributes that a function's code uses, with the functions defined in it.

    Texts count as names: they may be given to ``getattr``.
    """
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        names.update(c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return names
