"""The tape's collector as Python calls it; nopython/collecting.py is the code."""

from __future__ import annotations

from .native import callable_at, entry

__all__ = ["collect", "destroy", "give_back", "grow", "grow_handles", "mark"]

give_back = callable_at(entry("give_back_entry"), 3, release_gil=False)
mark = callable_at(entry("mark_entry"), 3, release_gil=False)
collect = callable_at(entry("compact_entry"), 6, release_gil=False)
grow = callable_at(entry("grow_entry"), 4, release_gil=False)
grow_handles = callable_at(entry("grow_handles_entry"), 3, release_gil=False)
destroy = callable_at(entry("destroy_entry"), 1, release_gil=False)
