"""The store of compiled code: a folder of files that processes share.

A file (``*.tgo``) has a line of JSON (names and symbols, sizes, a digest), then object code. Its name
holds a hash of all that the code depends on, and the digest is one of the name, the line and the code: a
file is right, or it is as if it were not there. Files are written whole or not at all, and never
deleted. machine_code.py compiles their content and loads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

__all__ = ["cache_folder", "folders", "name_of", "read", "write"]


def _chosen() -> Path:
    """``TAPEGRAD_CACHE_DIR``, or ``tapegrad`` in the user's cache folder.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    chosen = os.environ.get("TAPEGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "tapegrad" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapegrad"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapegrad"


def _temporary() -> Path:
    """A folder among the temporary files that only this user can write: code is loaded from it."""
    user = getattr(os, "getuid", lambda: None)()
    folder = Path(tempfile.gettempdir()) / f"tapegrad-{'user' if user is None else user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    others = stat.S_IWGRP | stat.S_IWOTH
    if not stat.S_ISDIR(status.st_mode) or (
        user is not None and (status.st_uid != user or status.st_mode & others)
    ):
        return Path(tempfile.mkdtemp(prefix="tapegrad-"))
    return folder


@cache
def folders() -> tuple[Path, ...]:
    """Folders where code is looked for: the chosen one, and one to write to if that cannot be written."""
    places: list[Path] = []
    for folder_of in (_chosen, _temporary):
        try:
            folder = folder_of()
            folder.mkdir(parents=True, exist_ok=True)
            places.append(folder)
            if os.access(folder, os.W_OK | os.X_OK):
                break
        except (OSError, RuntimeError, ValueError):
            continue  # no home, a read-only disk, a path that is none
    return tuple(places)


def cache_folder() -> Path:
    """Folder that compiled code is written to; one that does not exist where nothing can be written."""
    return folders()[-1] if folders() else Path(os.devnull) / "tapegrad"


def name_of(label: str, text: str) -> str:
    """Name of the file that code is kept in that has a label and depends on `text`."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{label}-{digest}.tgo"


def _digest(name: str, symbols: Mapping[str, str], sizes: Sequence[int], body: bytes) -> str:
    head = json.dumps([name, sorted(symbols.items()), list(sizes)])
    return hashlib.sha256(head.encode() + b"\n" + body).hexdigest()


def read(name: str) -> tuple[dict[str, str], list[bytes]] | None:
    """Symbols by name and object code; None where the file is missing or damaged."""
    for folder in folders():
        content = _read(folder / name)
        if content is not None:
            return content
    return None


def _read(path: Path) -> tuple[dict[str, str], list[bytes]] | None:
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        symbols, sizes = head["symbols"], head["sizes"]
        if _digest(path.name, symbols, sizes, body) != head["sha256"] or sum(sizes) != len(body):
            return None
        codes, start = [], 0
        for size in sizes:
            codes.append(body[start : start + size])
            start += size
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = all(map(_is_object, codes)) and all(
        any(symbol.encode() in code for code in codes) for symbol in symbols.values()
    )
    return (symbols, codes) if whole else None


def _is_object(code: bytes) -> bool:
    """Return True unless LLVM could not read this as object code, which ends the process."""
    if sys.platform in ("darwin", "win32"):
        return len(code) > 64
    if len(code) < 64 or code[:4] != b"\x7fELF":
        return False
    (table,) = struct.unpack_from("=Q", code, 0x28)
    size, count = struct.unpack_from("=HH", code, 0x3A)
    return bool(table + size * count <= len(code))  # the table of sections is the last part


def write(name: str, symbols: Mapping[str, str], codes: Sequence[bytes]) -> None:
    """Write a file, if the disk lets us."""
    body, sizes = b"".join(codes), [len(c) for c in codes]
    head = {
        "symbols": dict(symbols), "sizes": sizes, "sha256": _digest(name, symbols, sizes, body),
    }  # fmt: skip
    path, temporary = cache_folder() / name, ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = file.name
            file.write(json.dumps(head).encode() + b"\n" + body)
        os.replace(temporary, path)  # whole or not at all: other processes may be reading
    except OSError:  # a full or read-only disk costs time, nothing else
        if temporary:
            Path(temporary).unlink(missing_ok=True)
