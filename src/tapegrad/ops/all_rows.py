"""Imports every family, so that the table is complete."""

from . import cast, elementwise, view

__all__ = ["cast", "elementwise", "view"]
