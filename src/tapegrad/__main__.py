"""``python -m tapegrad``: a short tour; ``python -m tapegrad info``: versions, the CPU, and compiled code.

`tour` is in tour.py. `info` prints versions, the CPU and its SIMD features, and the state of the
store of compiled code; it imports numba no more than the rest of tapegrad does.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

import llvmlite.binding as llvm

from . import __version__
from .native import machine_code
from .native import object_cache as store
from .tour import tour

__all__ = ["info", "main"]


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
    sizes = [path.stat().st_size for path in folder.glob("*.tgo")]
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = {
        "tapegrad": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "NumPy": _version("numpy"),
        "numba": _version("numba"),
        "llvmlite": _version("llvmlite"),
        "platform": platform.platform(),
        "CPU": f"{_cpu()} ({llvm.get_host_cpu_name()}), {threads} threads",
        "SIMD features": _simd(),
        "cache folder": str(folder),
        "compiled kernels": f"{len(sizes)} files, {sum(sizes) / 1024:.0f} KiB",
        "in this process": "{loaded} loaded, {compiled} compiled".format(**machine_code.COUNTS),
        "numba imported": "yes" if "numba" in sys.modules else "no",
    }
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")


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
        "what", nargs="?", choices=("tour", "info"), default="tour",
        help="tour (the default), or info: versions, CPU, compiled code",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    {"tour": tour, "info": info}[chosen.what]()


if __name__ == "__main__":
    main()
