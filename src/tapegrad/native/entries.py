"""The entry points of native code: the one table of them.

machine_code.py compiles them, or loads them from the store, and gives their addresses (`machine_code.entry`).
Those that Python calls are builtin functions (builtin_calls.py).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ENTRIES", "HELD", "OBJECT", "RELEASED", "Entry"]

#: how Python calls an entry point: with the GIL, or without, so that other threads run meanwhile
HELD, RELEASED = "held", "released"
#: result that is a Python object
OBJECT = "object"
_WORDS = {"i": "int64", "d": "float64"}


class Entry(NamedTuple):
    """An entry point: a function of runtime/ or of strips.

    Attributes
    ----------
    kinds : str
        A letter an argument: ``i`` for an int64, ``d`` for a float64.
    call : str or None
        HELD or RELEASED where Python calls it.
    address : int or None
        Number of an argument of Python's that may be any object, of which the entry gets the address.
    result : str
        ``"int64"``, ``"void"``, or OBJECT.
    """

    kinds: str
    call: str | None = None
    address: int | None = None
    result: str = "int64"

    @property
    def signature(self) -> str:
        """Signature in C."""
        result = "int64" if self.result == OBJECT else self.result
        return f"{result}({', '.join(_WORDS[kind] for kind in self.kinds)})"


#: module, as it is called inside of the package -> name of the function
ENTRIES: dict[str, dict[str, Entry]] = {
    "native.runtime.recording": {
        "binary": Entry("iii"),
        "power": Entry("iiii"),
        "unary": Entry("ii"),
        "fastcall": Entry("iiii"),
        "dealloc": Entry("i", result="void"),
    },
    "native.runtime.plain_calls": {
        "plain_call": Entry("iiii"),
    },
    "native.runtime.appending": {
        "status_entry": Entry("i", call=HELD, address=0),
        "slot_entry": Entry("ii", call=HELD, address=1),
        "room_left_entry": Entry("iiii", call=HELD),
        "data_entry": Entry("i", call=HELD, address=0),
        "append_entry": Entry("iiiii", call=HELD, address=2),
        "append_leaf": Entry("iiii", call=HELD),
        "handle_entry": Entry("iii", call=HELD, result=OBJECT),
        "statement_entry": Entry("ii", call=HELD, address=1, result=OBJECT),
        "bind_entry": Entry("iiii", call=HELD, address=0),
        "memory_entry": Entry("ii", call=HELD, result=OBJECT),
    },
    "native.runtime.segments": {
        "segment_entry": Entry("iii", call=HELD, address=2),
    },
    "native.runtime.indexing": {
        "subscript": Entry("ii"),
    },
    "native.runtime.buffer_protocol": {
        "get_buffer": Entry("iii"),
    },
    "native.runtime.exchanging": {
        "enter": Entry("iiii"),
        "leave": Entry("iiii"),
    },
    "native.runtime.forward_sweep": {
        "forward": Entry("i", call=RELEASED),
    },
    "native.runtime.compiled_tapes": {
        "run_steps": Entry("ii"),
        "run_tape": Entry("ii", call=RELEASED),
        "call_jitted": Entry("iiii"),
    },
    "native.runtime.shares": {
        "run_shares": Entry("iii"),
        "take_part": Entry("i", result="void"),
        "end_workers": Entry("", call=RELEASED),
        "renew_pool": Entry("i", call=HELD),
    },
    "native.runtime.reverse_marking": {
        "largest_entry": Entry("iii", call=HELD),
        "refers_below": Entry("ii", call=HELD),
    },
    "native.runtime.reverse_pass": {
        "find_entry": Entry(12 * "i", call=HELD, address=2),
        "run_pass": Entry("ii", call=RELEASED),
        "record_entry": Entry("ii", call=HELD),
        "release_entry": Entry("iii", call=HELD),
    },
    "native.runtime.adjoints": {
        "seed": Entry("iiiii", call=RELEASED),
    },
    "native.runtime.reverse_sweep": {
        "gradient_entry": Entry("iiiii", call=HELD),
    },
    "native.runtime.reverse_recording": {
        "replay": Entry("iiiiii", call=HELD),
    },
    "native.runtime.tangent_recording": {
        "push": Entry("iiiii", call=HELD),
    },
    "scalar_tape.native_recorder": {
        "open_recorder": Entry("iiiiii", call=HELD),
        "begin_entry": Entry("iiiiii", call=HELD),
        "close_entry": Entry("i", call=HELD),
        "pack_entry": Entry("iiiii", call=RELEASED),
        "adopt_entry": Entry("iiiii", call=HELD),
        "elements_entry": Entry("iiiii", call=HELD),
        "room_entry": Entry("ii"),
        "push_passive": Entry("id"),
        "mixed_entry": Entry("idididi"),
        "block_entry": Entry("ii"),
        "called_entry": Entry("ii"),
    },
    "scalar_tape.native_sums": {
        "sums_entry": Entry("i"),
    },
    "scalar_tape.native_transpose": {
        "transpose_entry": Entry("iiiiii", call=RELEASED),
    },
    "native.runtime.mark_compact": {
        "mark_entry": Entry("iiii", call=HELD),
        "trim_entry": Entry("iiii", call=HELD),
        "drop_entry": Entry("iiiii", call=HELD),
        "used_entry": Entry("ii", call=HELD),
        "compact_entry": Entry("iiiiii", call=HELD),
        "move_entry": Entry("iiii", call=HELD),
        "grow_entry": Entry("iiii", call=HELD),
        "grow_handles_entry": Entry("iii", call=HELD),
        "destroy_entry": Entry("i", call=HELD),
        "give_back_entry": Entry("iii", call=HELD),
    },
}
