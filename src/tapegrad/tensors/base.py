"""The C type under Tensor. Its stub, base.pyi, shows type checkers what Tensor gets at run time."""

from __future__ import annotations

from .operators import make_base

__all__ = ["Base"]

Base = make_base()
