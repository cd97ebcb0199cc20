"""Seeded randomness, and a line that says which library the catalogue is checked on."""

import pytest

from .helpers import LIBRARY, torch


def pytest_report_header() -> str:
    """Name the library under test."""
    return f"catalogue: {LIBRARY}"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
