"""The tape after memory was used up: what is dropped is given back, and passes go on."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import resource
import numpy as np, tapegrad as tg
from tapegrad.tape.verifier import verify

x = tg.tensor(1.5, requires_grad=True)
(x * x * 2.0 + 1).backward()
big = tg.tensor(np.ones(1000), requires_grad=True)
(big * 2).sum().backward()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
kept, y = [], x
try:
    while True:
        {statement}
except MemoryError:
    pass
del y, kept
for _ in range(3):
    z = tg.tensor(2.0, requires_grad=True)
    (z * z).backward()
    assert z.grad.item() == 4.0
tape = tg.current_tape()
tape.evaluate()
tape.collect()
verify(tape)
assert tape.count < 50, tape.count
w = tg.tensor(np.full(1000, 2.0), requires_grad=True)
(w * w).sum().backward()
assert w.grad.tolist() == [4.0] * 1000
print("usable")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
@pytest.mark.parametrize(
    "statement",
    ["kept.append((big * 1.5).exp())", "y = y * 1.0000001", "kept.append(big[1:] + 1)"],
    ids=["large results", "a long chain", "views"],
)
def test_the_tape_is_usable_after_memory_was_used_up(statement: str) -> None:
    code = textwrap.dedent(PROGRAM).format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "usable\n", done.stderr
