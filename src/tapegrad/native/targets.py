"""Targets of machine code: levels of processors, so that code is the same on all machines of a kind.

Code is made for a level (x86-64-v2, v3, v4: psABI of AMD64), not for the processor at hand: so it can be
shipped, or baked into an image, and runs on each machine of the level or above.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

__all__ = [
    "LEVELS",
    "SHIPPED",
    "Target",
    "has_fma",
    "host_levels",
    "machine_of",
    "target",
    "targeting",
]

#: folder of the code that came with the package, a folder a target
SHIPPED = Path(__file__).parent / "objects"


class Target(NamedTuple):
    """A kind of processors.

    Attributes
    ----------
    name : str
        It stands in the names of files.
    triple : str
        LLVM's name of processor family and system; ``""`` for those of this machine.
    cpu, features : str
        As LLVM has them.
    fma : bool
        Whether it multiplies and adds in one instruction, rounded once.
    """

    name: str
    triple: str
    cpu: str
    features: str
    fma: bool


#: features that a processor of a level has (psABI, "Micro-Architecture Levels")
_FEATURES = {
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
    "x86-64-v3": "avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave",
    "x86-64-v2": "cx16 sahf popcnt sse3 sse4.1 sse4.2 ssse3",
}
#: levels of AMD64 and of ARM64, the best first
LEVELS = {
    # LLVM tunes level 4 for the first processors that had it, with vectors of half the length: exp, sine and
    # tanh take 1.2 to 1.4 times as long so on later ones.
    "x86-64-v4": Target("x86-64-v4", "", "x86-64-v4", "-prefer-256-bit", True),
    "x86-64-v3": Target("x86-64-v3", "", "x86-64-v3", "", True),
    "x86-64-v2": Target("x86-64-v2", "", "x86-64-v2", "", False),
    "arm64": Target("arm64", "", "generic", "+neon", True),
}


def host_levels() -> list[Target]:
    """Return the levels that this processor can run, the best first; itself, where it is none of them."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return [LEVELS["arm64"]]
    features = llvm.get_host_cpu_features()
    levels: list[Target] = []
    for name in reversed(_FEATURES):
        if not all(features.get(feature) for feature in _FEATURES[name].split()):
            break
        levels.insert(0, LEVELS[name])
    if levels:
        return levels
    name, text = llvm.get_host_cpu_name(), features.flatten()
    return [Target(f"{platform.machine()}-{name}", "", name, text, bool(features.get("fma")))]


@cache
def _host() -> Target:
    """The target of this process: the best whose code is shipped, else the best.

    Raises
    ------
    ImportError
        If ``TAPEGRAD_TARGET`` is none that this processor can run.
    """
    levels = host_levels()
    wanted = os.environ.get("TAPEGRAD_TARGET")
    if wanted:
        for level in levels:
            if level.name == wanted:
                return level
        names = ", ".join(level.name for level in levels)
        text = (
            f"TAPEGRAD_TARGET={wanted}: this processor runs code for {names}; name one, or unset it"
        )
        raise ImportError(text, name=__name__.partition(".")[0])
    return next((level for level in levels if (SHIPPED / level.name).is_dir()), levels[0])


_chosen: list[Target] = []


def target() -> Target:
    """Return the target that code is made for now."""
    return _chosen[-1] if _chosen else _host()


@contextmanager
def targeting(other: Target) -> Iterator[None]:
    """Make code for another target meanwhile, which is written to files only."""
    _chosen.append(other)
    try:
        yield
    finally:
        _chosen.pop()


def has_fma() -> bool:
    """Return True if the target multiplies and adds in one instruction, rounded once."""
    return target().fma


@cache
def machine_of(target: Target) -> Any:
    """LLVM's machine of a target."""
    if llvm.llvm_version_info[0] == 22:
        # It looks for checksums in loops of 8, 16 ... iterations, in a time that doubles with each operation.
        llvm.set_option("tapegrad", "-disable-loop-idiom-hashrecognize")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if target.triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        kind = llvm.Target.from_triple(target.triple)
    else:
        kind = llvm.Target.from_default_triple()
    return kind.create_target_machine(cpu=target.cpu, features=target.features, opt=3)
