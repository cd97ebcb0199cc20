"""Rows of the op table under jit on whole numbers and truth values, where they take such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_samples import cases, public_rows
from test_jit_rows import program

import tapegrad as tg

ENTRIES = list(public_rows())


def values(case: Any, kind: type) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Arrays of a dtype, and results of the case without jit; None if it does not take them."""
    arrays = [
        np.round(a).astype(kind) if a.dtype.kind == "f" else a for a in map(np.asarray, case.arrays)
    ]
    try:
        return arrays, [y.numpy() for y in program(case)(*map(tg.tensor, arrays))]
    except (RuntimeError, TypeError, ValueError, IndexError):
        return arrays, None


@pytest.mark.parametrize("kind", [np.int64, np.bool_])
@pytest.mark.parametrize("entry", ENTRIES, ids=[e.name for e in ENTRIES])
def test_rows(entry: Any, kind: type) -> None:
    for case in cases(entry):
        arrays, expected = values(case, kind)
        if expected is None:
            continue
        compiled = tg.jit(program(case))
        for _ in range(2):
            for a, b in zip(compiled(*arrays), expected, strict=True):
                assert a.dtype == b.dtype
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
