"""Globals, variables of functions around, and attributes: the values that a function uses and was not given.

Tensors among them are inputs of its tape, looked up anew at each call where the function finds them:
another tensor may be there by then. Other values are constants of the tape; those that can be found are
compared.

`uses` finds what a function may use: the globals that its code names, its variables, and what is inside of
these (items of containers, attributes that the code names), of the functions that it may call as well. Each
comes with `Check`s: if the objects on the way to it are what they were, it is what it was.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tape import recording as record

__all__ = ["Check", "Surroundings"]

#: how deep containers and functions are looked into, and how many values at most
DEPTH, MOST = 4, 4096
_SIMPLE = (int, float, bool, str, bytes, complex, type(None))
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)

Getter = Callable[[], Any]


def _same(value: Any) -> Any:
    return value


def _item(getter: Getter, key: Any) -> Any:
    return getter()[key]


def _member(getter: Getter, name: str) -> Any:
    return getattr(getter(), name)


class Check(NamedTuple):
    """A place in memory, as native code looks at it, and the object that was there.

    Attributes
    ----------
    kind : int
        0 for an item of a dict, 1 for the contents of a cell, 2 for an item of a list.
    owner : dict, cell or list
    key : object
        Of a dict's item, or the index of a list's.
    value : object
    """

    kind: int
    owner: Any
    key: Any
    value: Any


class _Use(NamedTuple):
    """A value that a function may use, a function that looks it up anew, and the checks on the way."""

    getter: Getter
    value: Any
    checks: tuple[Check, ...]


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
        for getter, value, path in _uses(function):
            if record.is_tensor(value):
                by_id.setdefault(id(value), getter)
            elif type(value) in _SIMPLE or isinstance(value, (*_FUNCTIONS, np.ndarray)):
                self._constants.append((getter, value))
                for check in path:
                    key = id(check.key) if check.kind < 2 else check.key
                    checks.setdefault((check.kind, id(check.owner), key), check)
        self.checks = list(checks.values()) if not captured else None
        self._getters: list[Getter] = []
        self._known: list[tuple[int, bool]] = []
        for tensor in captured:
            known = by_id.get(id(tensor))
            self._getters.append(known if known is not None else functools.partial(_same, tensor))
            self._known.append((record.layout_of(tensor).id, record.is_active(tensor)))

    def tensors(self) -> list[Any] | None:
        """The captured tensors as they are now; None if something is not as it was."""
        for getter, value in self._constants:
            try:
                now = getter()
            except Exception:
                return None
            if now is value:
                continue
            if type(now) not in _SIMPLE or type(now) is not type(value) or repr(now) != repr(value):
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
        if not isinstance(f, types.FunctionType) and not isinstance(f, type):
            uses.append(_Use(functools.partial(_same, f), f, ()))
        if code is not None and not _is_library(code):
            scope = code.__globals__
            for name in sorted(names):
                if name in scope:
                    getter = functools.partial(scope.__getitem__, name)
                    uses.append(_Use(getter, scope[name], (Check(0, scope, name, scope[name]),)))
            for cell in code.__closure__ or ():
                try:
                    value = cell.cell_contents
                except ValueError:
                    continue
                uses.append(
                    _Use(
                        functools.partial(getattr, cell, "cell_contents"),
                        value,
                        (Check(1, cell, None, value),),
                    )
                )
        elif code is not None:  # a transform: what it was given is in its variables
            for cell in code.__closure__ or ():
                try:
                    value = cell.cell_contents
                except ValueError:
                    continue
                if callable(value) and not isinstance(value, type):
                    stack.append((value, depth))
        for use in uses:
            for part in _inside(use, 0, names):
                count += 1
                if count > MOST:
                    return
                if part.value is not f:
                    yield part
                if _may_be_called(part.value):
                    stack.append((part.value, depth + 1))


def _plain_function(f: Any) -> types.FunctionType | None:
    """The Python function that a call of an object runs, if there is one."""
    if isinstance(f, types.MethodType):
        f = f.__func__
    if isinstance(f, types.FunctionType):
        return f
    call = vars(type(f)).get("__call__")
    return call if isinstance(call, types.FunctionType) else None


def _is_library(function: types.FunctionType) -> bool:
    return (function.__module__ or "").split(".")[0] in ("tapegrad", "numpy")


def _may_be_called(value: Any) -> bool:
    if isinstance(value, type | types.ModuleType) or record.is_tensor(value):
        return False
    return isinstance(value, types.FunctionType | types.MethodType | functools.partial) or (
        _plain_function(value) is not None and hasattr(value, "__dict__")
    )


def _names(function: types.FunctionType) -> Iterator[str]:
    """Names of globals and attributes that a function's code uses, with the functions defined in it."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield from code.co_names
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]


def _inside(use: _Use, depth: int, names: set[str]) -> Iterator[_Use]:
    """Iterate over a value, and what is inside of it."""
    yield use
    getter, value, checks = use
    if (
        depth >= DEPTH
        or isinstance(value, types.ModuleType | type | np.ndarray)
        or record.is_tensor(value)
    ):
        return
    parts: list[_Use] = []
    if isinstance(value, tuple):
        parts = [_Use(functools.partial(_item, getter, i), x, checks) for i, x in enumerate(value)]
    elif type(value) is list:
        parts = [
            _Use(functools.partial(_item, getter, i), x, (*checks, Check(2, value, i, x)))
            for i, x in enumerate(value)
        ]
    elif type(value) is dict:
        parts = [
            _Use(functools.partial(_item, getter, k), x, (*checks, Check(0, value, k, x)))
            for k, x in value.items()
        ]
    elif isinstance(value, functools.partial):
        parts = [
            _Use(functools.partial(_member, getter, n), getattr(value, n), checks)
            for n in ("func", "args", "keywords")
        ]
    elif isinstance(value, types.MethodType):
        parts = [_Use(functools.partial(_member, getter, "__self__"), value.__self__, checks)]
        names = (
            names | set(_names(value.__func__))
            if isinstance(value.__func__, types.FunctionType)
            else names
        )
    elif type(getattr(value, "__dict__", None)) is dict and not isinstance(
        value, types.FunctionType
    ):
        members = vars(value)
        parts = [
            _Use(functools.partial(_member, getter, n), x, (*checks, Check(0, members, n, x)))
            for n, x in members.items()
            if n in names or record.is_tensor(x)
        ]
        for name in names:
            method = getattr(type(value), name, None)
            if isinstance(method, types.FunctionType):
                parts.append(_Use(functools.partial(_same, method), method, checks))
    for part in parts:
        yield from _inside(part, depth + 1, names)
