"""``python -m fuzz``, in the folder ``tests``: random programs beside torch, for as long as one likes.

Programs run in worker processes, of which each ends with a crash; the next one goes on behind it. A program
that differs is shrunk and printed, with the seed it is drawn from.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import subprocess
import sys
import time
from collections.abc import Sequence

from .beside import run
from .program import MISSING

#: programs of a worker
CHUNK = 500
#: how lines begin by which a worker says which program it runs, and what came of it
MARK, VERDICT = "@ ", "= "

Counts = collections.Counter[str]


def work(options: argparse.Namespace) -> None:
    """Run programs in this process, and say what comes of them."""
    numbers = range(options.start, options.start + options.count)
    mark = lambda number: print(f"{MARK}{number}", flush=True)  # noqa: E731
    for verdict in run(options.seed, numbers, options.seconds, mark):
        print(f"{VERDICT}{verdict}", flush=True)
    for name in MISSING:
        print(f"{VERDICT}missing: {name}")


def watch(options: argparse.Namespace, start: int, count: int, end: float) -> Counts:
    """Run programs in workers, a new one behind each program that crashes; return counts of verdicts."""
    counts: Counts = collections.Counter()
    last = start + count
    while start < last and time.monotonic() < end:
        words = [
            "--worker",
            "--seed",
            options.seed,
            "--start",
            str(start),
            "--count",
            str(last - start),
        ]
        words += ["--seconds", str(end - time.monotonic())]
        command = [sys.executable, "-X", "faulthandler", "-m", "fuzz", *words]
        here, texts = start, collections.deque[str](maxlen=40)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                if line.startswith(MARK):
                    here = int(line.removeprefix(MARK))
                    texts.clear()
                elif line.startswith(VERDICT):
                    counts[line.removeprefix(VERDICT).strip()] += 1
                    print("".join(texts), end="", flush=True)
                    texts.clear()
                else:
                    texts.append(line)
        if worker.returncode == 0:
            break
        counts["CRASH"] += 1
        print(f"\n=== seed {options.seed!r}, program {here}: exit status {worker.returncode}")
        print("".join(texts), flush=True)
        start = here + 1
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Read arguments, run, and print counts."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="number of programs")
    parser.add_argument("--start", type=int, default=0, help="number of the first program")
    parser.add_argument(
        "--seed", default="0", help="word that programs are drawn from, with numbers"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="end after so many seconds")
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options)
        return 0
    begin = time.monotonic()
    counts: Counts = collections.Counter()
    last = options.start + options.count
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(watch, options, first, min(CHUNK, last - first), begin + options.seconds)
            for first in range(options.start, last, CHUNK)
        ]
        for task in tasks:
            counts.update(task.result())
    missing = {word: counts.pop(word) for word in list(counts) if word.startswith("missing")}
    print(f"\n{sum(counts.values())} programs in {time.monotonic() - begin:.0f} s")
    for word, count in (*counts.most_common(), *missing.items()):
        print(f"{count:8d}  {word}")
    return int(counts["WRONG"] + counts["CRASH"] > 0)


if __name__ == "__main__":
    sys.exit(main())
