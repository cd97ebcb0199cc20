"""What a function uses that it was not given: globals, variables of the functions around it, attributes.

Tensors among that are inputs of its tape, looked up anew at each call where the function finds them: another tensor
may be there by then. Other values are constants of the tape; those that can be found are compared.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..tape import recording as record

__all__ = ["Surroundings"]

#: how deep containers and attributes are looked into, and how many values at most
DEPTH, MOST = 4, 4096
_SIMPLE = (int, float, bool, str, bytes, complex, type(None))

Getter = Callable[[], Any]


class _Global:
    """Looks a global up."""

    def __init__(self, scope: dict[str, Any], name: str) -> None:
        self.place = 0, scope, name
        self._scope, self._name = scope, name

    def __call__(self) -> Any:
        return self._scope[self._name]


class _Cell:
    """Looks the variable of a function around up."""

    def __init__(self, cell: types.CellType) -> None:
        self.place = 1, cell, None
        self._cell = cell

    def __call__(self) -> Any:
        return self._cell.cell_contents


class Surroundings:
    """The tensors that a function captured, and the constants that it may have used.

    Parameters
    ----------
    function : callable
    captured : sequence of Tensor
        In the order of the tape's inputs.
    """

    def __init__(self, function: Callable[..., Any], captured: Sequence[Any]) -> None:
        found = list(_values(function))
        by_id: dict[int, Getter] = {}
        #: the same as words for native code: (0, dict, key, object), (1, cell, None, object); None if it is more
        self.places: list[tuple[int, Any, Any, Any]] | None = []
        self._constants: list[tuple[Getter, Any]] = []
        for getter, value in found:
            if record.is_tensor(value):
                by_id.setdefault(id(value), getter)
            elif type(value) in _SIMPLE or isinstance(value, types.FunctionType | np.ndarray):
                self._constants.append((getter, value))
                place = getattr(getter, "place", None)
                if place is None:
                    self.places = None
                elif self.places is not None:
                    self.places.append((*place, value))
        if captured:
            self.places = None
        self._getters: list[Getter] = []
        self._known: list[tuple[int, bool]] = []
        for tensor in captured:
            getter = by_id.get(id(tensor))
            self._getters.append(getter if getter is not None else (lambda tensor=tensor: tensor))
            self._known.append((record.layout_of(tensor).id, record.is_active(tensor)))

    def tensors(self) -> list[Any] | None:
        """The captured tensors as they are now; None if something is not as it was."""
        for getter, value in self._constants:
            try:
                now = getter()
            except Exception:
                return None
            if now is not value and (
                type(now) not in _SIMPLE or type(now) is not type(value) or now != value
            ):
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


def _values(function: Any) -> Iterator[tuple[Getter, Any]]:
    """Values that a function may use, each with a function that looks it up anew."""
    seen: set[int] = set()
    stack: list[tuple[Any, int]] = [(function, 0)]
    count = 0
    while stack:
        f, depth = stack.pop()
        f = getattr(f, "_func", f)
        if isinstance(f, types.MethodType):
            stack.append((f.__func__, depth))
            owner = f.__self__
            for item in _inside(lambda owner=owner: owner, owner, depth, set(_names(f.__func__))):
                yield item
            continue
        f = getattr(f, "__wrapped__", f)
        if not isinstance(f, types.FunctionType) or id(f) in seen or depth > DEPTH:
            continue
        seen.add(id(f))
        if f.__module__ and f.__module__.split(".")[0] in ("tapegrad", "numpy"):
            continue
        names = set(_names(f))
        scope = f.__globals__
        places: list[tuple[Getter, Any]] = []
        for name in sorted(names):
            if name in scope:
                places.append((_Global(scope, name), scope[name]))
        for cell in f.__closure__ or ():
            try:
                places.append((_Cell(cell), cell.cell_contents))
            except ValueError:
                continue
        for getter, value in places:
            for item in _inside(getter, value, depth, names):
                count += 1
                if count > MOST:
                    return
                yield item
                if isinstance(item[1], types.FunctionType | types.MethodType):
                    stack.append((item[1], depth + 1))


def _names(function: types.FunctionType) -> Iterator[str]:
    """Names of globals and attributes that a function's code uses, with the functions defined in it."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield from code.co_names
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]


def _inside(
    getter: Getter, value: Any, depth: int, names: set[str]
) -> Iterator[tuple[Getter, Any]]:
    """A value, and what is inside of it."""
    yield getter, value
    if (
        depth >= DEPTH
        or isinstance(value, types.ModuleType | type | np.ndarray)
        or record.is_tensor(value)
    ):
        return
    if isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _inside((lambda g=getter, i=i: g()[i]), part, depth + 1, names)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _inside((lambda g=getter, k=key: g()[k]), part, depth + 1, names)
    elif hasattr(value, "__dict__") and not isinstance(value, types.FunctionType):
        for name, part in vars(value).items():
            if name in names or record.is_tensor(part):
                yield from _inside(
                    (lambda g=getter, n=name: getattr(g(), n)), part, depth + 1, names
                )
