"""The passes as Python calls them; the code is in native/runtime/.

`run` and `seed` run without the GIL; `record` appends statements, and keeps it as the short ones do.
"""

from __future__ import annotations

from ..native.builtin_calls import native_call

__all__ = [
    "find",
    "gradient",
    "largest",
    "push",
    "record",
    "refers_below",
    "release",
    "replay",
    "run",
    "seed",
]

find = native_call("find_entry")
run = native_call("run_pass")
record = native_call("record_entry")
seed = native_call("seed")
largest = native_call("largest_entry")
gradient = native_call("gradient_entry")
replay = native_call("replay")
push = native_call("push")
refers_below = native_call("refers_below")
release = native_call("release_entry")
