"""How numba compiles a function for active arguments: its own pipeline, and a pass before typing.

The pass puts functions of arrays.py in the place of ``np.zeros`` and its like, as the arrays that these
make shall hold active values.
"""

from __future__ import annotations

from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder

from . import scalars, types

__all__ = ["ActiveCompiler"]


class ActiveCompiler(CompilerBase):  # type: ignore[misc]
    """numba's pipeline for nopython mode."""

    def define_pipelines(self) -> list[Any]:
        """The passes, in order."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.finalize()
        return [manager]


__all__ += ["scalars", "types"]
