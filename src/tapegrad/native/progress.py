"""Messages of work that takes long: on stderr in a terminal or notebook, else through ``logging``."""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Progress"]

#: seconds after which work is mentioned
_SILENCE = 1.0
#: whether this thread is at work already, of which other work is a part that says nothing
_THREAD = threading.local()


class Progress:
    """Context manager around work in steps, which is mentioned once it has taken a second.

    In a terminal or a notebook a line on stderr says what is done and how much of it (a bar of tqdm where
    that is installed); elsewhere ``logging.getLogger("tapegrad")`` gets a message at the start and the end.
    Whatever is wrong with a terminal, a bar or a handler of messages, the work goes on.

    Parameters
    ----------
    work : str
        ``"compiling native code"``.
    total : int
        Number of steps.
    note : str
        Said once, behind it.
    """

    def __init__(self, work: str, total: int, note: str = "") -> None:
        self.work, self.total, self.note = work, total, note
        self._done, self._bar, self._shown = 0, None, False
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        self._is_part = getattr(_THREAD, "works", False)
        self._timer = threading.Timer(_SILENCE, self._show)
        if not self._is_part:
            _THREAD.works = self._timer.daemon = True
            with suppress(RuntimeError):  # no more threads, or the interpreter ends
                self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_part:
            return
        _THREAD.works = False
        self._timer.cancel()
        with self._lock, suppress(Exception):
            if self._bar is not None:
                self._bar.close()
            elif self._shown and _is_seen():
                _write("\n")
            elif self._shown:
                _logger().info("%s: done", self.work)

    def step(self) -> None:
        """One more step is done."""
        with self._lock, suppress(Exception):
            self._done += 1
            if self._bar is not None:
                self._bar.update()
            elif self._shown and _is_seen() and self.total > 1:
                _write(f"\r{self._line()}")

    def _line(self) -> str:
        steps = f", {self._done} of {self.total}" if self.total > 1 else ""
        return f"tapegrad: {self.work}{steps}{self.note}"

    def _show(self) -> None:
        with self._lock, suppress(Exception):
            self._shown = True
            if not _is_seen():
                message = "%s: %d steps%s"
                _logger().info(message, self.work, self.total, self.note)
                return
            if self.total > 1:
                self._bar = _bar(f"tapegrad: {self.work}{self.note}", self.total, self._done)
            if self._bar is None:
                _write(self._line())


def _logger() -> Any:
    import logging  # 2 ms that an import which compiles nothing does without

    return logging.getLogger("tapegrad")


def _is_seen() -> bool:
    """Return True in a terminal or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):  # no stderr, or a closed one
        return False


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass


def _bar(text: str, total: int, done: int) -> Any:
    """Make a bar of tqdm; None where it is not installed."""
    try:
        return importlib.import_module("tqdm.auto").tqdm(total=total, initial=done, desc=text)
    except Exception:  # tqdm is the user's: whatever is wrong with it, it is only a bar
        return None
