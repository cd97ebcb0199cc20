"""Machine code: compiled once, kept on disk, loaded by every process; structures shared with Python.

Start reading at `abi.py` (the structures that both sides share, field by field), then `machine_code.py`
(`entry` gives the address of an entry point, `kernel_address` that of a kernel). `runtime/` is the code, in
Python's text, of which `translator.py` makes LLVM's; `object_cache.py` keeps what LLVM makes of that.
"""
