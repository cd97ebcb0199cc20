"""``python -m tapegrad``: a short tour, versions and the machine, and the store of compiled code.

- ``tour`` (the default) is in tour.py.
- ``info`` prints versions, the CPU and its SIMD features, and where compiled code came from.
- ``warm`` compiles everything that is not in the store yet.
- ``cache``, ``cache list``, ``check``, ``prune`` and ``clear`` are about the store.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

import llvmlite.binding as llvm

from . import __version__
from .native import machine_code
from .native import object_cache as store
from .native.helpers import number_of_cores
from .native.targets import target
from .tour import tour
from .warming import units, warm

__all__ = ["cache", "info", "main"]


def _version(package: str) -> str:
    """Version of an installed package, found without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """Name of the CPU: the kernel's where it tells, else the platform's."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _simd() -> str:
    """SIMD features that NumPy found on this CPU."""
    try:
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):  # not a public name: NumPy may move it
        return "unknown to this NumPy"
    return " ".join(name for name, present in features.items() if present) or "none"


def info() -> None:
    """Print versions, the CPU, and the store of compiled code."""
    folder = store.cache_folder()
    sizes = [status.st_size for _, status in store.files(folder)] if folder else []
    rows = {
        "tapegrad": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "NumPy": _version("numpy"),
        "numba": _version("numba"),
        "llvmlite": _version("llvmlite"),
        "platform": platform.platform(),
        "CPU": f"{_cpu()} ({llvm.get_host_cpu_name()}), {number_of_cores()} threads",
        "SIMD features": _simd(),
        "code for": target().name,
        "cache folder": str(folder or "none that can be written"),
        "compiled kernels": f"{len(sizes)} files, {sum(sizes) / 1024:.0f} KiB",
        "in this process": "{loaded} loaded, {compiled} compiled".format(**machine_code.COUNTS),
        "came from": "; ".join(f"{place} ({n})" for place, n in machine_code.ORIGINS.items()),
        "numba imported": "yes" if "numba" in sys.modules else "no",
    }
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")


def cache(action: str) -> None:
    """List, check, prune or clear the store, in the folder that this user writes to.

    Parameters
    ----------
    action : str
        ``"list"`` prints each file, those last that were used last; ``"check"`` removes damaged ones;
        ``"prune"`` removes those that nobody used for longest, until 256 MB are left
        (``TAPEGRAD_CACHE_LIMIT`` in megabytes); ``"clear"`` removes all.
    """
    folder = store.cache_folder()
    if folder is None:
        print("no folder can be written: nothing is kept")
        return
    if action == "list":
        for path, status in store.files(folder):
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
            print(f"{used}  {status.st_size / 1024:8.1f} KiB  {path.name}")
    elif action == "check":
        print(f"{len(store.check(folder))} damaged files removed")
    else:
        count = store.prune(folder) if action == "prune" else store.clear(folder)
        print(f"{count} files removed")
    known = store.files(folder)
    size, limit = sum(status.st_size for _, status in known) / 2**20, store.limit()
    most = f" of at most {limit / 2**20:g}" if limit < sys.maxsize else ""
    print(f"{folder}: {len(known)} files, {size:.1f}{most} MB")
    for place in store.folders():
        if place != folder and place.is_dir():
            print(f"{place}: read only, {len(store.files(place))} files")


def _warm() -> None:
    try:
        count = warm()
    except OSError as error:
        sys.exit(f"python -m tapegrad warm: {error}")
    print(f"{count} units compiled; all {len(units())} are kept")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Raises
    ------
    SystemExit
        With code 2 for arguments that it does not know.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tapegrad",
        description="A short tour of tapegrad on real computations.",
    )
    parser.add_argument("--version", action="version", version=f"tapegrad {__version__}")
    parser.add_argument(
        "what", nargs="?", choices=("tour", "info", "warm", "cache"), default="tour",
        help="tour (the default); info: versions, CPU, compiled code; warm: compile everything; "
        "cache: the store of compiled code",
    )  # fmt: skip
    parser.add_argument(
        "action", nargs="?", choices=("list", "check", "prune", "clear"),
        help="what to do with the cache (by default list)",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    if chosen.what == "cache":
        cache(chosen.action or "list")
        return
    if chosen.action is not None:
        parser.error(f"{chosen.what} takes no {chosen.action}")
    {"tour": tour, "info": info, "warm": _warm}[chosen.what]()


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # ``| head`` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
