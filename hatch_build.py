"""Compiles the package's native code when a wheel is built (hatchling's build hook).

By default for the processor level of this machine; ``TAPEGRAD_TARGETS`` names others (``all``: each level of
this family of processors), and the build fails where that cannot be had. Without compiled code a wheel works,
too: each user's first import compiles then.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_X86 = ("x86-64-v2", "x86-64-v3", "x86-64-v4")


def _levels() -> list[str]:
    """Names of the levels to build for; none for that of this machine."""
    wanted = os.environ.get("TAPEGRAD_TARGETS", "").split()
    if wanted == ["all"]:
        return ["arm64"] if platform.machine().lower() in ("arm64", "aarch64") else list(_X86)
    return wanted


class CompiledCode(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``tapegrad/native/objects`` to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, in a process of its own; hatchling calls it."""
        if version == "editable":  # sources that change are compiled where they are used
            return
        self._folder = tempfile.TemporaryDirectory(prefix="tapegrad-build-")
        folder = Path(self._folder.name)
        paths = [str(Path(self.root) / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        env |= {"TAPEGRAD_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "tapegrad.warming", str(folder / "objects"), *_levels()]
        self.app.display_info("tapegrad: compiling native code, some 10 s a processor level")
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        self.app.display_info(done.stdout)
        if done.returncode and _levels():
            raise RuntimeError(f"TAPEGRAD_TARGETS={os.environ['TAPEGRAD_TARGETS']}: {done.stderr}")
        if done.returncode:
            self.app.display_warning(done.stderr)
            self.app.display_warning("tapegrad: not compiled; the first import will compile")
            return
        build_data["force_include"][str(folder / "objects")] = "tapegrad/native/objects"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True  # code for this Python, system and family of processors

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the compiled code, which is in the wheel now; hatchling calls it."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
