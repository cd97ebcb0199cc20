"""``python -m fuzz programs``, ``calls`` or ``interrupts``, in the folder ``tests``.

Cases run in worker processes, of which each ends with a crash; the next one goes on behind it. A program
that differs is shrunk and printed, with the seed that it is drawn from.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from .workers import MARK, VERDICT, say, spread

#: word of the command line -> module, which has `run` and `ENVIRONMENT`
FUZZERS = {
    "programs": "beside",
    "jit": "jit_programs",
    "calls": "calls",
    "interrupts": "interrupts",
}
#: verdicts that are failures
FAILURES = ("WRONG", "CRASH", "HANG")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read arguments, run, and print counts of verdicts."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("fuzzer", choices=FUZZERS)
    parser.add_argument("--count", type=int, default=1000, help="number of cases")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", default="0", help="word that cases are drawn from, with numbers")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after so many seconds")
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    numbers = range(options.start, options.start + options.count)
    module = importlib.import_module(f".{FUZZERS[options.fuzzer]}", __package__)
    if options.worker:
        for verdict in module.run(options.seed, numbers, options.seconds, lambda n: say(MARK, n)):
            say(VERDICT, verdict)
        return 0
    begin = time.monotonic()
    words = [options.fuzzer, "--seed", options.seed]
    counts = spread(words, numbers, options.seconds, options.jobs, module.ENVIRONMENT)
    print(f"\n{sum(counts.values())} {options.fuzzer} in {time.monotonic() - begin:.0f} s")
    for word, count in counts.most_common():
        print(f"{count:8d}  {word}")
    return int(any(counts[word] for word in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
