"""The sweeps as Python calls them; nopython/sweeping.py is the code.

`forward`, `prepare`, `seed` and `reverse` run without the GIL; `start` and `release` are short and
keep it.
"""

from __future__ import annotations

from .native import callable_at, entry

__all__ = ["forward", "prepare", "release", "reverse", "seed", "start"]

forward = callable_at(entry("forward_entry"), 1, release_gil=True)
start = callable_at(entry("start_entry"), 5, release_gil=False)
prepare = callable_at(entry("prepare_entry"), 2, release_gil=True)
seed = callable_at(entry("seed_entry"), 4, release_gil=True)
reverse = callable_at(entry("reverse_entry"), 2, release_gil=True)
release = callable_at(entry("release_entry"), 3, release_gil=False)
