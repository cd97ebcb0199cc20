"""Globals, variables of functions around, and attributes: the values that a function uses and was not given.

Tensors among them are inputs of its tape, looked up anew at each call where the function finds them:
another tensor may be there by then. Other values are constants of the tape, and are compared: with what is
inside of them where they can change in place.

`uses` (used_values.py) finds what a function may use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np

from ..tape import recording as record
from .lookups import Getter, bytes_of, name_of, same
from .signatures import Signature, Static
from .used_values import ELEMENTS, Check, uses

__all__ = ["Check", "Surroundings"]

#: bytes of an array from which on it is not compared if the tape reads its memory itself
LARGE = 1 << 20
_SIMPLE = (int, bool, str, bytes)
#: types of values that are printed
_SHOWN = (*_SIMPLE, float, complex, type(None), np.generic)


class Surroundings:
    """The tensors that a function captured, and the constants that it may have used.

    Parameters
    ----------
    function : callable
    captured : sequence of Tensor
        In the order of the tape's inputs.
    arrays : sequence of ndarray
        Constants of the tape, of which some are memory of the surroundings.
    signature : Signature
        Static arguments are objects with attributes.

    Attributes
    ----------
    checks : list of Check or None
        If they all hold, nothing has changed; None if that cannot be said so.
    """

    def __init__(
        self, function: Callable[..., Any], captured: Sequence[Any], arrays: Sequence[np.ndarray],
        signature: Signature,
    ) -> None:  # fmt: skip
        self._parts = function, arrays, signature
        shared = {a.ctypes.data for a in arrays}
        places: dict[int, list[Getter]] = {}
        self._constants: list[tuple[Getter, Any]] = []
        self._tensors: list[tuple[Getter, tuple[int, bool]]] = []
        checks: dict[Any, Check] | None = {}
        seen: dict[int, Any] = {}
        objects = [x.value for x in signature.leaves if isinstance(x, Static)]
        for use in uses(function, objects):
            value, path = use.value, None if use.checks is None else list(use.checks)
            if record.is_tensor(value):
                places.setdefault(id(value), []).append(use.getter)
                self._tensors.append((use.getter, _described(value)))
                seen[id(value)] = value
                if checks is not None:
                    checks = None if path is None else checks | _by_place(path)
                continue
            if isinstance(value, np.ndarray):
                is_compared = value.nbytes <= LARGE or value.ctypes.data not in shared
                if is_compared:
                    getter, kept = functools.partial(bytes_of, use.getter), bytes_of(use.getter)
                    self._constants.append((getter, kept))
                if not value.flags.c_contiguous or value.dtype.hasobject:
                    path = None
                elif path is not None and is_compared:
                    path.append(Check(ELEMENTS, value, value.nbytes, kept[2]))
            self._constants.append((use.getter, value))
            if path is None:
                checks = None
            elif checks is not None:
                checks |= _by_place(path)
        if any(id(t) not in seen for t in captured):
            checks = None
        self.checks = None if checks is None else list(checks.values())
        #: tensors that the function may see, those that it has captured first, in their order
        self.seen = list({**{id(t): t for t in captured}, **seen}.values())
        self._captured = [
            (places.get(id(t), [functools.partial(same, t)]), _described(t)) for t in captured
        ]

    def renewed(self, captured: Sequence[Any]) -> Surroundings:
        """Return the same, with checks for other tensors in the place of those that were captured."""
        function, arrays, signature = self._parts
        return Surroundings(function, captured, arrays, signature)

    def visible(self) -> list[Any]:
        """Return all tensors that the function may use, as they are now; none if something has changed."""
        captured = self.tensors()
        return [] if captured is None else [*captured, *(getter() for getter, _ in self._tensors)]

    def tensors(self) -> list[Any] | None:
        """The captured tensors as they are now; None if something is not as it was."""
        try:
            if not all(_is_same(getter(), value) for getter, value in self._constants):
                return None
            if not all(_described(getter()) == known for getter, known in self._tensors):
                return None
            result = []
            for getters, known in self._captured:
                tensor = getters[0]()
                if _described(tensor) != known or any(g() is not tensor for g in getters[1:]):
                    return None
                result.append(tensor)
        except Exception:  # it is not there any more
            return None
        return result

    def change(self) -> str:
        """Return what is not as it was, in words."""
        for getter, value in self._constants:
            try:
                now = getter()
            except Exception:
                return f"{name_of(getter)} is not there any more"
            if not _is_same(now, value):
                if isinstance(value, _SHOWN) and isinstance(now, _SHOWN):
                    return f"{name_of(getter)} is {_shown(now)}, not {_shown(value)}"
                return f"{name_of(getter)} changed"
        for getter, known in self._tensors:
            try:
                if _described(getter()) == known:
                    continue
            except Exception:
                return f"{name_of(getter)} is no tensor any more"
            return f"{name_of(getter)} has another shape or dtype, or requires grad or not"
        for getters, _ in self._captured:
            for getter in getters[1:]:
                if getter() is not getters[0]():
                    both = name_of(getters[0]), name_of(getter)
                    return f"{both[0]} and {both[1]} are not the same tensor any more"
        return "something that the function uses changed"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _described(tensor: Any) -> tuple[int, bool]:
    return record.layout_of(tensor).id, record.is_active(tensor)


def _by_place(checks: Sequence[Check]) -> dict[Any, Check]:
    return {(c.kind, id(c.owner), _number(c.key)): c for c in checks}


def _number(key: Any) -> int:
    return key if type(key) is int else id(key)


def _is_same(now: Any, value: Any) -> bool:
    """Return True if a value is what it was: the same object, or one that cannot be told from it."""
    if now is value:
        return True
    kind = type(value)
    if type(now) is not kind:
        return False
    if kind is tuple:
        return len(now) == len(value) and (
            all(map(is_, now, value)) or all(map(_is_same, now, value))
        )
    if kind in (float, complex, range, slice) or isinstance(
        value, np.generic
    ):  # NaN is itself, and -0.0 is not 0.0
        return repr(now) == repr(value)
    return kind in _SIMPLE and bool(now == value)
