"""Functions that look up what a function uses, and their names as a reader of it would write them.

A getter is one of these functions, bound by `functools.partial` to another getter (of the object that the
value is in) and a key; or ``scope.get`` of a global, or `getattr` of a function, or of a cell, with the
variable's name behind: these are called more often than all others, and are builtin functions. So the whole
way to a value is in its getter, and `name_of` tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "ABSENT", "Getter", "bytes_of", "content", "item", "items", "length", "member", "name_of", "names_of",
    "of_class", "same", "type_of", "variable",
]  # fmt: skip

Getter = Callable[[], Any]


class _Absent:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def same(value: Any) -> Any:
    """Return the value."""
    return value


def item(getter: Getter, key: Any) -> Any:
    """Return an item of a container."""
    return getter()[key]


def member(getter: Getter, name: str) -> Any:
    """Return an attribute."""
    return getattr(getter(), name, ABSENT)


def variable(getter: Getter, name: str) -> Any:
    """Return an attribute that is in the object's own dict."""
    return vars(getter()).get(name, ABSENT)


def of_class(getter: Getter, name: str) -> Any:
    """Return the member of a class, or of the class of an object; descriptors as they are."""
    value = getter()
    for part in (value if isinstance(value, type) else type(value)).__mro__:
        if name in vars(part):
            return vars(part)[name]
    return ABSENT


def type_of(getter: Getter) -> Any:
    """Return the type."""
    return type(getter())


def length(getter: Getter) -> Any:
    """Return the number of items."""
    return len(getter())


def items(getter: Getter) -> Any:
    """Return the items, or keys, in their order."""
    return tuple(getter())


def names_of(getter: Getter) -> Any:
    """Return the names of the attributes in the object's own dict, in their order."""
    return tuple(vars(getter()))


def content(getter: Getter) -> Any:
    """Return the bytes of an object that is a buffer."""
    return bytes(getter())


def bytes_of(getter: Getter) -> Any:
    """Return shape and dtype of an array, and its elements."""
    array = getter()
    elements = tuple(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()
    return str(array.dtype), array.shape, elements


_PARTS = {
    type_of: "the type of", length: "the length of", items: "the items of", content: "the bytes of",
    names_of: "the attributes of", bytes_of: "the elements of",
}  # fmt: skip


def name_of(getter: Any) -> str:
    """Return the name of what a getter looks up: "global `rate`", "attribute `model.rate`"."""
    function, args = getter.func, getter.args
    if function in _PARTS:
        return f"{_PARTS[function]} {name_of(*args)}"
    if function is same:
        return f"`{_path(getter)}`"
    if function is item:
        kind = "item"
    elif function is getattr and len(args) > 2:
        kind = "variable"
    else:
        kind = "attribute" if function is getattr or function in _ATTRIBUTES else "global"
    return f"{kind} `{_path(getter)}`"


_ATTRIBUTES = member, variable, of_class


def _path(getter: Any) -> str:
    """Return a value as an expression."""
    function, args = getter.func, getter.args
    if function is same:
        return getattr(args[0], "__name__", f"{type(args[0]).__name__}()")
    if function is getattr:
        return str(args[2]) if len(args) > 2 else f"{args[0].__name__}.{args[1]}"
    if function in _PARTS:
        return _path(args[0])
    if function is item:
        key = repr(args[1]) if isinstance(args[1], int | str) else "..."
        return f"{_path(args[0])}[{key}]"
    return f"{_path(args[0])}.{args[1]}" if function in _ATTRIBUTES else str(args[0])
