"""The store of compiled code: a folder of files that processes share.

A file (``*.tgo``) has a line of JSON (names and symbols, sizes, a checksum), then object code. Its name
holds a hash of all that the code depends on, so that a file is right or not there. Files are written
whole or not at all, and nobody deletes one. native.py says what goes in, and loads what comes out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["cache_folder", "path_of", "read", "write"]


@cache
def cache_folder() -> Path:
    """Folder of compiled code: ``TAPEGRAD_CACHE_DIR``, or ``tapegrad`` in the user's cache folder."""
    chosen = os.environ.get("TAPEGRAD_CACHE_DIR")
    if chosen:
        folder = Path(chosen)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "tapegrad" / "cache"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "tapegrad"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapegrad"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="tapegrad-"))
    return folder


def path_of(label: str, text: str) -> Path:
    """Where the code is kept that has a label and depends on `text`."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return cache_folder() / f"{label}-{digest}.tgo"


def read(path: Path) -> tuple[dict[str, str], list[bytes]] | None:
    """Symbols by name and object code; None where the file is missing or damaged."""
    try:
        data = path.read_bytes()
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        if hashlib.sha256(rest).hexdigest() != head["sha256"]:
            return None
        codes, start = [], 0
        for size in head["sizes"]:
            codes.append(rest[start : start + size])
            start += size
        return head["symbols"], codes
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, symbols: Mapping[str, str], codes: list[bytes]) -> None:
    """Write a file, if the disk lets us."""
    body = b"".join(codes)
    head = {
        "symbols": dict(symbols),
        "sizes": [len(c) for c in codes],
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(json.dumps(head).encode() + b"\n" + body)
        os.replace(file.name, path)  # whole or not at all: other processes may be reading
    except OSError:
        pass  # a full or read-only disk costs time, nothing else
