"""Runs a case with tapegrad and, where it is installed, with torch in float64, and compares the outcomes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

Case = Callable[[Any], Any]

__all__ = ["assert_close", "outcome", "same", "torch", "uncompared"]

#: cases of the test that is running which had nothing to be compared with; conftest.py says so
uncompared: list[Case] = []


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def plain(value: Any) -> Any:
    """What can be compared between libraries: tensors as dtype, requires_grad and array."""
    if hasattr(value, "requires_grad") and hasattr(value, "detach"):
        kind = str(value.dtype).removeprefix("torch.")
        return {"tensor": (kind, value.requires_grad, np.asarray(value.detach().numpy()))}
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(plain(v) for v in value)]
    return value


def assert_close(a: Any, b: Any, rtol: float = 1e-9) -> None:
    """Compare what `plain` made."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_close(a[key], b[key], rtol)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), (a, b)
        for x, y in zip(a, b, strict=True):
            assert_close(x, y, rtol)
    elif isinstance(a, np.ndarray):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
    elif isinstance(a, float):  # processors compute functions in their own ways
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
    else:
        assert a == b, (a, b)


def outcome(case: Case, lib: Any) -> tuple[str, Any]:
    """What a case returns or, in words, raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", plain(case(lib))
        except Exception as error:
            return type(error).__name__, str(error)


def same(case: Case, *, up_to: str | None = None) -> Any:
    """Compare a case's outcomes; return tapegrad's.

    `up_to` is a word (a pattern) behind which the texts of errors may differ. Without torch a test that
    passes is reported as skipped.
    """
    own, found = outcome(case, tg)
    if torch is None:
        uncompared.append(case)
    else:
        with _float64():
            kind, expected = outcome(case, torch)
        assert own == kind, f"tapegrad {own}: {found}\ntorch    {kind}: {expected}"
        if own == "value":
            assert_close(found, expected)
        else:
            ours, theirs = (
                re.split(up_to, text)[0] if up_to else text for text in (found, expected)
            )
            assert ours == theirs
    return found
