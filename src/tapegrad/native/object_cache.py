"""The store of compiled code: folders of files that processes share.

A file (``*.tgo``) has a line of JSON (size, digest), then an object file. Its name holds a hash of all that
the code depends on, its functions' names hold that hash, too, and the digest is one of the name and the code:
a file is right, or it is as if it were not there. Files are written whole or not at all. What others could
have written is not loaded.

One folder is written to; others are only read: those in ``TAPEGRAD_CACHE_PATH``, what came with the package,
and the system's. machine_code.py compiles their content and loads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from . import object_files
from .targets import SHIPPED, Target, target

try:
    import fcntl
except ImportError:  # Windows: processes may compile the same twice
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "Stored", "cache_folder", "can_lock", "check", "claim", "clear", "files", "folders", "limit", "name_of",
    "prune", "read", "write",
]  # fmt: skip

#: megabytes of code that are kept; beyond it those that nobody has used for longest go
LIMIT = 256
#: seconds to wait for a process that is compiling the same
PATIENCE = 60.0
_DAY = 86400.0
_SUFFIX = ".tgo"
#: first part of the names of files that are being written
_PART = ".tapegrad-"


class Stored(NamedTuple):
    """Code from the store.

    Attributes
    ----------
    path : pathlib.Path
    code : bytes
        An object file.
    """

    path: Path
    code: bytes


# --------------------------------------------------------------------------- folders
def _chosen() -> Path:
    """``TAPEGRAD_CACHE_DIR``, or ``tapegrad`` in the user's cache folder.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    chosen = os.environ.get("TAPEGRAD_CACHE_DIR")
    if chosen:
        return _absolute(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "tapegrad" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapegrad"
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (_absolute(chosen) if chosen else Path.home() / ".cache") / "tapegrad"


def _absolute(text: str) -> Path:
    """A folder that stays where it is while the program goes to others; ``~`` is the user's home.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    return Path(os.path.abspath(Path(text).expanduser()))


def _temporary() -> Path:
    """A folder among the temporary files."""
    user = getattr(os, "getuid", lambda: "user")()
    return Path(tempfile.gettempdir()) / f"tapegrad-{user}"


def _fault(status: os.stat_result) -> str | None:
    """Return why code that has this status is not to be trusted; None if it is the user's or root's own."""
    if not hasattr(os, "getuid"):
        return None
    user = os.getuid()
    if status.st_uid not in (user, 0):
        return f"belongs to user {status.st_uid}"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by others"
    own_group = status.st_gid == os.getgid() == user  # a group of one user
    if status.st_mode & stat.S_IWGRP and not own_group and status.st_gid != 0:
        return "can be written by a group"
    return None


@cache
def _warn(text: str) -> None:
    """Warn once of each text, at the line outside of the package that led here, an import mostly."""
    frame = sys._getframe(1)
    inside = __name__.partition(".")[0], "importlib"
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame = frame.f_back
    warnings.warn_explicit(text, RuntimeWarning, frame.f_code.co_filename, frame.f_lineno)


def _warn_of(place: Path, reason: str) -> None:
    """Warn of code that is not used."""
    _warn(
        f"compiled code in {place} is not used, as it {reason}; remove it, or set TAPEGRAD_CACHE_DIR"
    )


def _refusal(folder: Path) -> str | None:
    """Return why a folder is not used; None if it can be.

    Raises
    ------
    OSError
        If there is no such folder.
    """
    status = os.lstat(folder) if folder == _temporary() else os.stat(folder)
    return _fault(status) if stat.S_ISDIR(status.st_mode) else "is no folder"


@cache
def _writable() -> tuple[Path | None, tuple[Path, ...]]:
    """The folder that is written to, or None, and those before it that can only be read.

    It is created when the first file is written.
    """
    readable: list[Path] = []
    for folder_of in (_chosen, _temporary):
        with suppress(OSError, RuntimeError, ValueError):  # no home, a path that is none
            folder = folder_of()
            existing = folder
            while not os.path.lexists(existing) and existing != existing.parent:
                existing = existing.parent
            if existing == folder:
                reason = _refusal(folder)
                if reason is not None:
                    _warn_of(folder, reason)
                    continue
            if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
                return folder, tuple(readable)
            if existing == folder:
                readable.append(folder)
            elif folder_of is _chosen and os.environ.get("TAPEGRAD_CACHE_DIR"):
                _warn(
                    f"TAPEGRAD_CACHE_DIR={folder} cannot be created: {existing} cannot be written"
                )
    return None, tuple(readable)


def _create(folder: Path) -> None:
    """Create a folder, unless it is there.

    Raises
    ------
    OSError
        If it cannot be, or somebody else was faster.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _refusal(folder) is not None:
        raise PermissionError(folder)


@cache
def _others() -> tuple[Path, ...]:
    """Folders that are only read, but for what came with the package."""
    places = [p for p in os.environ.get("TAPEGRAD_CACHE_PATH", "").split(os.pathsep) if p]
    trusted: list[Path] = []
    for text in [*places, os.path.join(sys.prefix, "share", "tapegrad")]:
        try:
            place = _absolute(text)
            status = os.stat(place)
        except (OSError, RuntimeError, ValueError):
            continue
        reason = _fault(status)
        if reason is not None:
            _warn_of(place, reason)
        elif stat.S_ISDIR(status.st_mode):
            trusted.append(place)
    return tuple(trusted)


def folders() -> tuple[Path, ...]:
    """Folders where code is looked for, in this order."""
    return _folders_for(target())


@cache
def _folders_for(target: Target) -> tuple[Path, ...]:
    """Folders where code for a target is looked for."""
    writable, readable = _writable()
    first = () if writable is None else (writable,)
    return (SHIPPED / target.name, *first, *readable, *_others())


def cache_folder() -> Path | None:
    """Folder that compiled code is written to; None where nothing can be written."""
    return _writable()[0]


# --------------------------------------------------------------------------- files
def name_of(label: str, text: str) -> str:
    """Name of the file that code is kept in that has a label and depends on `text`."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{label}-{digest}{_SUFFIX}"


def _digest(name: str, code: bytes) -> str:
    return hashlib.sha256(name.encode() + b"\n" + code).hexdigest()


def read(name: str, symbols: list[str]) -> Stored | None:
    """Code that has functions of some names; None where it is missing, damaged, or of others."""
    for folder in folders():
        path = folder / name
        code = _read(path, symbols, trusted=folder.parent == SHIPPED)
        if code is not None:
            return Stored(path, code)
    return None


def _read(path: Path, symbols: list[str], *, trusted: bool) -> bytes | None:
    """The code of a file; the package's own is as right as its Python code, and may be a link as that."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe
    try:
        number = os.open(path, flags | (0 if trusted else getattr(os, "O_NOFOLLOW", 0)))
    except (OSError, ValueError):
        return None
    try:
        with open(number, "rb") as file:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                return None
            reason = None if trusted else _fault(status)
            if reason is not None:
                _warn_of(path, reason)
                return None
            line, code = file.readline(1000), file.read()
        head = json.loads(line)
        if head["size"] != len(code) or head["sha256"] != _digest(path.name, code):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not object_files.defines(code, symbols):
        return None
    if not trusted and time.time() - status.st_mtime > _DAY:
        with suppress(OSError):
            os.utime(path)  # `prune` takes those that nobody uses
    return code


def write(name: str, code: bytes, folder: Path | None = None) -> None:
    """Write a file, if the disk lets us."""
    folder, temporary = folder or cache_folder(), ""
    if folder is None:
        return
    head = {"size": len(code), "sha256": _digest(name, code)}
    try:
        _create(folder)
        _prune_now_and_then(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_PART, delete=False) as file:
            temporary = file.name
            file.write(json.dumps(head).encode() + b"\n" + code)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / name)  # whole or not at all: other processes may be reading
    except OSError:  # a full or read-only disk costs time, nothing else
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)


# --------------------------------------------------------------------------- one process compiles
@cache
def _lock_file() -> int | None:
    folder = cache_folder()
    if fcntl is None or folder is None:
        return None
    try:
        _create(folder)
        return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def can_lock() -> bool:
    """Return True if processes can share the work."""
    return _lock_file() is not None


@contextmanager
def claim(name: str, patience: float = PATIENCE) -> Iterator[bool]:
    """Context manager: the right to compile a file; False if another process has it for too long.

    A byte of one file is locked for each name, so that nothing is left when a process dies.
    """
    number, place = _lock_file(), int(name.rpartition("-")[2][:8], 16)
    if number is None:
        yield True
        return
    until, held = time.monotonic() + patience, False
    while not held:
        try:
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            held = True
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= until:
                break
            time.sleep(0.02)
        except OSError:  # a file system without locks
            break
    try:
        yield held
    finally:
        if held:
            with suppress(OSError):
                fcntl.lockf(number, fcntl.LOCK_UN, 1, place)


# --------------------------------------------------------------------------- housekeeping
def files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The files of a folder, those last that were used last."""
    known = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX) or entry.name.startswith(_PART):
                with suppress(OSError):
                    known.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return sorted(known, key=lambda item: item[1].st_mtime)


def limit() -> int:
    """Bytes that are kept: ``TAPEGRAD_CACHE_LIMIT`` in megabytes, or `LIMIT`."""
    text = os.environ.get("TAPEGRAD_CACHE_LIMIT") or str(LIMIT)
    try:
        megabytes = float(text)
    except ValueError:
        megabytes = 0.0
    if not megabytes > 0:  # NaN, too
        _warn_of_limit(text)
        megabytes = LIMIT
    return int(min(megabytes * 2**20, sys.maxsize))


@cache
def _warn_of_limit(text: str) -> None:
    """Warn once of a limit that is none."""
    warnings.warn(
        f"TAPEGRAD_CACHE_LIMIT={text} is no number of megabytes above 0: {LIMIT} are kept",
        RuntimeWarning,
        stacklevel=3,
    )


def _removed(path: Path) -> bool:
    """Remove a file; return True if it went."""
    with suppress(OSError):
        path.unlink()
        return True
    return False


def prune(folder: Path, size: int | None = None) -> int:
    """Remove files that nobody used for longest until `size` bytes are left; how many went.

    What processes that died were writing goes as well.
    """
    size = limit() if size is None else size
    known = files(folder)
    total, count, now = sum(status.st_size for _, status in known), 0, time.time()
    for path, status in known:
        stale = path.name.startswith(_PART) and now - status.st_mtime > _DAY / 24
        if (total > size or stale) and _removed(path):
            total -= status.st_size
            count += 1
    return count


def check(folder: Path) -> list[Path]:
    """Remove files that are damaged; which they were."""
    bad = []
    for path, _ in files(folder):
        if path.suffix != _SUFFIX:  # being written
            continue
        damaged = path.is_symlink() or _read(path, [], trusted=True) is None
        if damaged and _removed(path):
            bad.append(path)
    return bad


def clear(folder: Path) -> int:
    """Remove all files of a folder; how many went."""
    return sum(_removed(path) for path, _ in files(folder))


_pruned: list[Any] = []


def _prune_now_and_then(folder: Path) -> None:
    """Prune a folder at the first file that a process writes."""
    if not _pruned:
        _pruned.append(folder)
        prune(folder)
