"""The switch of the native fast paths.

A fast path is a shorter way to what general code does as well: native recording, whole passes in one native
call, replay and tangents by native templates, plans of batches, compiled groups of steps. With
``TAPEGRAD_FAST_PATHS=0`` in the environment all are refused, and everything goes the general way: tests run
so to show that they change nothing.
"""

from __future__ import annotations

import os

__all__ = ["REFUSED"]

#: True if fast paths are refused, for the life of the process
REFUSED = os.environ.get("TAPEGRAD_FAST_PATHS") == "0"
