"""Worker processes of fuzzers: one goes on behind what crashed or hung in another.

A worker prints a line that begins with `MARK` before each case, and one with `VERDICT` behind it; what it
prints in between is shown when it matters.
"""

from __future__ import annotations

import collections
import concurrent.futures
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping

__all__ = ["MARK", "VERDICT", "Counts", "say", "spread", "watch"]

#: how lines begin by which a worker says which case it runs, and what came of it
MARK, VERDICT = "@ ", "= "
#: cases of a worker, and seconds without a line after which it hangs
CHUNK, PATIENCE = 2000, 120.0

Counts = collections.Counter[str]


def say(word: str, text: object) -> None:
    """Print a line for the process that waits."""
    print(f"{word}{text}", flush=True)


class _Watchdog:
    """Kills a process that says nothing for long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.has_killed = process, False
        self._heard, self._over = time.monotonic(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def heard(self) -> None:
        """Note that it said something."""
        self._heard = time.monotonic()

    def end(self) -> None:
        """Stop looking."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            if time.monotonic() - self._heard > PATIENCE:
                self.has_killed = True
                self.process.kill()
                return


def watch(
    words: list[str],
    start: int,
    count: int,
    end: float,
    environment: Mapping[str, str] | None = None,
) -> Counts:
    """Run cases in workers, a new one behind each case that crashes; return counts of verdicts.

    Parameters
    ----------
    words : list of str
        Arguments of ``python -m fuzz``; ``--start``, ``--count`` and ``--seconds`` are added.
    start, count : int
        Numbers of the cases.
    end : float
        Time, as ``time.monotonic`` says it, at which no further case begins.
    environment : mapping, optional
    """
    counts: Counts = collections.Counter()
    last = start + count
    while start < last and (left := end - time.monotonic()) > 0:
        numbers = ["--start", str(start), "--count", str(last - start), "--seconds", str(left)]
        command = [sys.executable, "-X", "faulthandler", "-m", "fuzz", *words, "--worker", *numbers]
        here, texts = start - 1, collections.deque[str](maxlen=60)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as worker:
            assert worker.stdout is not None
            dog = _Watchdog(worker)
            for line in worker.stdout:
                dog.heard()
                if line.startswith(MARK):
                    here = int(line.removeprefix(MARK))
                elif line.startswith(VERDICT):
                    counts[line.removeprefix(VERDICT).strip()] += 1
                    print("".join(texts), end="", flush=True)
                    texts.clear()
                else:
                    texts.append(line)
            dog.end()
        if worker.returncode == 0:
            break
        if here < start:
            raise RuntimeError(f"a worker ended before its first case:\n{''.join(texts)}")
        word = "HANG" if dog.has_killed else "CRASH"
        if word == "CRASH" and any("in outcome_in_torch" in line for line in texts):
            word = "torch crashed"
        counts[word] += 1
        print(f"\n=== case {here} of {' '.join(words)}: {word}, exit status {worker.returncode}")
        print("".join(texts), flush=True)
        start = here + 1
    return counts


def spread(
    words: list[str], numbers: range, seconds: float, jobs: int,
    environment: Mapping[str, str] | None = None,
) -> Counts:  # fmt: skip
    """Run cases in several workers at a time."""
    counts: Counts = collections.Counter()
    end = time.monotonic() + seconds
    firsts: Iterable[int] = range(numbers.start, numbers.stop, CHUNK)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(watch, words, first, min(CHUNK, numbers.stop - first), end, environment)
            for first in firsts
        ]
        for task in tasks:
            counts.update(task.result())
    return counts
