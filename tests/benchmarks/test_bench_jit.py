"""Compiled code: `tg.jit` beside hand-written gradients and its peers (rows in `jit_rows.py`)."""

from functools import lru_cache

import pytest

from jit_contenders import Entry
from jit_rows import ENTRIES
from racing import Race


@lru_cache(maxsize=1)  # inputs of several races at once would not fit into memory
def race_of(entry: Entry) -> Race:
    return entry.race()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch.func itself
@pytest.mark.parametrize(
    ("entry", "name"),
    [
        pytest.param(entry, name, id=f"{entry.row}-{entry.size}-{name}")
        for entry in ENTRIES
        for name in entry.names
    ],
)
def test_compiled(compete, entry, name):
    compete(race_of(entry), name)
