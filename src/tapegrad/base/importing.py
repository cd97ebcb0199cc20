"""Imports that no interrupt can leave half done.

A module whose import was interrupted is gone from `sys.modules`, but not all that it did: its C extensions
and its entries in registries elsewhere stay, and a second import may fail for good. Signal handlers run in
the main thread only, so packages that are imported late are imported in another one.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

__all__ = ["imported"]


def imported(name: str) -> ModuleType:
    """Return a module, imported if need be where no interrupt comes."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    if threading.current_thread() is not threading.main_thread():
        return importlib.import_module(name)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            importlib.import_module(name)
        except BaseException as error:  # for the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run, name=f"import {name}", daemon=True)
    thread.start()
    thread.join()  # an interrupt ends the waiting; the import goes on
    if failures:
        raise failures[0]
    return sys.modules[name]
