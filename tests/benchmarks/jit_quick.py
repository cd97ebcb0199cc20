"""Print limit, eager tapegrad, `tg.jit` and JAX for rows whose names contain a word, in a minute.

    python tests/benchmarks/jit_quick.py rosenbrock "n = 1e3"     # rows with one of the words
    python tests/benchmarks/jit_quick.py chain --contenders limit tg.jit casadi --seconds 5

Figures are multiples of the limit, of the least of interleaved rounds: other processes disturb them least.
"""

import argparse
import gc
import os
import sys
from pathlib import Path

for variable in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    # Before NumPy and numba are imported.
    os.environ[f"{variable}_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "src")]

from time import perf_counter

import numpy as np

from jit_contenders import Entry
from jit_rows import ENTRIES
from racing import ROUND_SECONDS, Runner, absence, timed

MIN_ROUNDS = 3
SHOWN = ("limit", "tapegrad", "tg.jit", "jax")


def disagreement(result: tuple, expected: tuple) -> float:
    """Return the largest difference of two results, beside the largest number of the part."""
    worst = 0.0
    for part, right in zip(result, expected, strict=True):
        difference = np.max(np.abs(np.asarray(part, np.float64) - right), initial=0.0)
        worst = max(worst, difference / (np.max(np.abs(right), initial=0.0) or 1.0))
    return worst


def figures(entry: Entry, names: list[str], seconds: float) -> list[str]:
    task = entry.task()
    cells = dict.fromkeys(names, "-")
    runners: dict[str, Runner] = {}
    firsts, least, repeats, expected = {}, {}, {}, None
    for name in names:
        if name not in entry.names or absence(name) is not None:
            continue
        try:
            start = perf_counter()
            run = task.setup(name)()
            result = run()
            firsts[name] = perf_counter() - start
            getattr(run, "settle", int)()
        except Exception as error:  # a row must not hide the others
            cells[name] = f"{type(error).__name__}: {error}".partition("\n")[0][:40]
            continue
        result = tuple(np.array(part, np.float64) for part in result)
        expected = result if expected is None else expected
        off = disagreement(result, expected)
        if off > entry.rtol:
            cells[name] = f"WRONG by {off:.0e}"
            continue
        runners[name], least[name] = run, timed(run)
        repeats[name] = max(1, int(ROUND_SECONDS / 2 / least[name]))
    end, rounds = perf_counter() + seconds, 0
    gc.collect()
    while perf_counter() < end or rounds < MIN_ROUNDS:
        rounds += 1
        for name, run in runners.items():
            least[name] = min(least[name], timed(run, repeats[name]))
    base = least.get("limit", float("nan"))
    for name, time in least.items():
        if name == "limit":
            cells[name] = f"{time * 1e6:.4g} us"
        else:
            cells[name] = f"{time / base:.3g} [{firsts[name]:.2f} s]"
    return [cells[name] for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="of rows or sizes; none: all rows")
    parser.add_argument("--contenders", nargs="+", default=list(SHOWN))
    parser.add_argument("--seconds", type=float, default=1.0, help="of rounds, a row")
    parser.add_argument("--list", action="store_true", help="names of the rows, and who runs")
    options = parser.parse_args()
    words = [word.lower() for word in options.words]
    chosen = [
        e for e in ENTRIES if not words or any(w in f"{e.row}, {e.size}".lower() for w in words)
    ]
    if options.list:
        for entry in chosen:
            print(f"{entry.row}, {entry.size}: {', '.join(entry.names)}")
        return
    header = [*options.contenders, "aim"]
    print(f"{'':52}" + "".join(f"{name:>20}" for name in header) + "   [first call]")
    for entry in chosen:
        cells = [*figures(entry, options.contenders, options.seconds), f"{entry.aim:g}"]
        label = f"{entry.row}, {entry.size}"
        print(f"{label:52}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
