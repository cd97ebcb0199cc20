"""The entry points of native code, and their C signatures.

machine_code.py compiles them, or loads them from the store, and gives their addresses (`machine_code.entry`).
"""

from __future__ import annotations

__all__ = ["ENTRIES"]

#: entry points of native code: module, as it is called inside of the package -> name -> C signature
ENTRIES: dict[str, dict[str, str]] = {
    "native.runtime.recording": {
        "binary": "int64(int64, int64, int64)",
        "power": "int64(int64, int64, int64, int64)",
        "unary": "int64(int64, int64)",
        "fastcall": "int64(int64, int64, int64, int64)",
        "dealloc": "void(int64)",
    },
    "native.runtime.appending": {
        "status_entry": "int64(int64)",
        "slot_entry": "int64(int64, int64)",
        "room_left_entry": "int64(int64, int64, int64, int64)",
        "data_entry": "int64(int64)",
        "append_entry": "int64(int64, int64, int64, int64, int64)",
        "leaf_entry": "int64(int64, int64, int64, int64)",
        "handle_entry": "int64(int64, int64, int64)",
        "bind_entry": "int64(int64, int64, int64, int64)",
    },
    "native.runtime.segments": {"segment_entry": "int64(int64, int64, int64)"},
    "native.runtime.indexing": {"subscript": "int64(int64, int64)"},
    "native.runtime.exchanging": {
        "enter": "int64(int64, int64, int64, int64)",
        "leave": "int64(int64, int64, int64, int64)",
    },
    "native.runtime.forward_sweep": {"forward_entry": "int64(int64)"},
    "native.runtime.reverse_marking": {"largest_entry": "int64(int64, int64, int64)"},
    "native.runtime.reverse_pass": {
        "find_entry": f"int64({', '.join(12 * ['int64'])})",
        "run_entry": "int64(int64, int64)",
        "record_entry": "int64(int64, int64)",
        "release_entry": "int64(int64, int64, int64)",
    },
    "native.runtime.reverse_sweep": {
        "seed_entry": "int64(int64, int64, int64, int64, int64)",
        "gradient_entry": "int64(int64, int64, int64, int64, int64)",
    },
    "native.runtime.reverse_recording": {
        "replay_entry": "int64(int64, int64, int64, int64, int64, int64)"
    },
    "native.runtime.tangent_recording": {"push_entry": "int64(int64, int64, int64, int64)"},
    "scalar_tape.native_recorder": {
        "open_entry": "int64(int64, int64, int64, int64, int64, int64)",
        "begin_entry": "int64(int64, int64, int64, int64, int64, int64)",
        "close_entry": "int64(int64)",
        "pack_entry": "int64(int64, int64, int64, int64, int64)",
        "adopt_entry": "int64(int64, int64, int64, int64, int64)",
        "elements_entry": "int64(int64, int64, int64, int64, int64)",
        "room_entry": "int64(int64, int64)",
        "passive_entry": "int64(int64, float64)",
        "mixed_entry": "int64(int64, float64, int64, float64, int64, float64, int64)",
        "block_entry": "int64(int64, int64)",
    },
    "scalar_tape.native_sums": {"sums_entry": "int64(int64)"},
    "scalar_tape.native_transpose": {
        "transpose_entry": "int64(int64, int64, int64, int64, int64, int64)"
    },
    "native.runtime.mark_compact": {
        "mark_entry": "int64(int64, int64, int64, int64)",
        "trim_entry": "int64(int64, int64, int64, int64)",
        "drop_entry": "int64(int64, int64, int64, int64, int64)",
        "used_entry": "int64(int64, int64)",
        "compact_entry": "int64(int64, int64, int64, int64, int64, int64)",
        "grow_entry": "int64(int64, int64, int64, int64)",
        "grow_handles_entry": "int64(int64, int64, int64)",
        "destroy_entry": "int64(int64)",
        "give_back_entry": "int64(int64, int64, int64)",
    },
}
