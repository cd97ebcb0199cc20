"""Context managers whose entry and exit no interrupt can split.

KeyboardInterrupt (and any exception of a signal handler) comes between two bytecodes, also between those
of ``__enter__`` and ``__exit__``: a mode that is put back there may then stay changed for good. The two
methods of an `Exchange` are native (runtime/exchanging.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from . import abi as nt
from . import handle_type as handle
from . import machine_code

__all__ = ["Change", "Exchange", "Exchanged"]

#: a container, a key of it, the value before and the value meanwhile
Change: TypeAlias = "tuple[Any, Any, Any, Any]"


class Exchange:
    """Context manager: items of containers have other values for a while."""

    __slots__ = ("_notes",)

    def __init__(self) -> None:
        #: changes of entries without an exit so far
        self._notes: list[tuple[Change, ...]] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes, and the object that ``with ... as`` gets; nothing may change here.

        Containers must be such that reading and storing an item runs no Python code.
        """
        raise NotImplementedError

    #: called before the changes are taken back, if set; they are even if that is interrupted
    ending: Callable[[], None] | None = None

    if TYPE_CHECKING:

        def __enter__(self) -> Any: ...
        def __exit__(self, *_: object) -> None: ...


class Exchanged(Exchange):
    """Context manager: changes that are known beforehand."""

    __slots__ = ("_known",)

    def __init__(self, *changes: Change) -> None:
        super().__init__()
        self._known = changes

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return them."""
        return self._known, None


def _entered(exchange: Exchange) -> tuple[Any, ...]:
    changes, result = exchange.changes()
    return exchange._notes, changes, result


handle.register_slow(nt.ENTER_CODE, _entered)
handle.register_slow(nt.LEAVE_CODE, operator.attrgetter("_notes", "ending"))
for _name, _entry in (("__enter__", "enter"), ("__exit__", "leave")):
    _function = handle.builtin(_name, machine_code.entry(_entry), "")
    setattr(Exchange, _name, handle.as_method(_function))
