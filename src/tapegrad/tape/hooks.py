"""Hooks: Python functions that a reverse pass calls with gradients on their way.

A leaf's hooks are in its storage; those of a result and of its node belong to the slot
(``tape.hooks``) and are renumbered with it. python_steps.py calls them.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Hooks", "RemovableHandle", "Table"]

_ids = itertools.count()


class Table(dict[int, Any]):
    """Hooks by the numbers of their handles."""

    __slots__ = ("__weakref__",)


class RemovableHandle:
    """Handle of a registered hook; `remove` takes the hook away again.

    A context manager, too: the hook goes at its end.

    Attributes
    ----------
    id : int
    """

    def __init__(self, hooks: Table) -> None:
        self.id = next(_ids)
        self._hooks = weakref.ref(hooks)  # a handle does not keep its hook

    def remove(self) -> None:
        """Take the hook away; does nothing if it is gone."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one tensor and its node.

    Attributes
    ----------
    tensor : dict
        Called with the tensor's gradient; may return another.
    before : dict
        The node's, called with the gradients of its outputs; may return others.
    after : dict
        The node's, called with the gradients of its inputs and of its outputs; may return others
        of its inputs. For a leaf's node: once the gradient has been accumulated.
    accumulated : dict
        Called with a leaf once its ``grad`` is accumulated.
    """

    __slots__ = ("accumulated", "after", "before", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, Callable[..., Any]] = Table()
        self.before: dict[int, Callable[..., Any]] = Table()
        self.after: dict[int, Callable[..., Any]] = Table()
        #: a weak reference to the leaf comes first
        self.accumulated: dict[int, tuple[Any, Callable[..., Any]]] = Table()

    def add(self, kind: str, hook: Any) -> RemovableHandle:
        """Register a hook under one of the attributes' names."""
        table: Table = getattr(self, kind)
        handle = RemovableHandle(table)
        table[handle.id] = hook
        return handle

    def takes_over(self) -> bool:
        """Return True if the node's derivatives must be seen one by one."""
        return bool(self.before or self.after)

    def __bool__(self) -> bool:
        return bool(self.tensor or self.before or self.after or self.accumulated)
