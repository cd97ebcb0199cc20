"""The sweeps as Python calls them; the code is in runtime/.

`prepare`, `seed` and `reverse` run without the GIL; `start` and `release` are short and
keep it.
"""

from __future__ import annotations

from ..native.builtin_calls import native_call

__all__ = [
    "back",
    "gradient",
    "largest",
    "leaves",
    "plain",
    "prepare",
    "push",
    "record",
    "release",
    "replay",
    "reverse",
    "seed",
    "start",
    "units",
]

start = native_call("start_entry")
prepare = native_call("prepare_entry")
seed = native_call("seed_entry")
largest = native_call("largest_entry")
units = native_call("units_entry")
reverse = native_call("reverse_entry")
gradient = native_call("gradient_entry")
plain = native_call("plain_entry")
record = native_call("record_entry")
leaves = native_call("leaves_entry")
back = native_call("back_entry")
replay = native_call("replay_entry")
push = native_call("push_entry")
release = native_call("release_entry")
