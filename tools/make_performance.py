"""Turn a pytest-benchmark JSON into `docs/performance.md`.

    python tools/make_performance.py benchmarks.json            # write the page
    python tools/make_performance.py benchmarks.json --check    # and fail where an aim is missed

Every number of the page comes from the JSON. A benchmark carries what the page needs in its
`extra_info` (see `tests/benchmarks/conftest.py`): the contender's name, its first call, the work
that one run stands for, and aims; or, for what is not a time, a `measure`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

PREAMBLE = """\
# Performance

This page is made by a script from the results of the benchmark suite; nothing in it is typed in.
To make it anew, on a machine that does nothing else:

    python -m pytest tests/benchmarks --benchmark-json=benchmarks.json
    python tools/make_performance.py benchmarks.json

with `python -m pip install ".[bench,peers,compiled-peers]"` before. Timed peers are those that are installed.

Each table is one workload: value and gradients of one function, in float64, on one thread pinned to
one core. All contenders run in one process, in interleaved rounds of 10 ms or more, after their values and
gradients were found equal; times are medians. **limit** is a hand-written numba gradient with its buffers
allocated beforehand, or NumPy's BLAS. Absolute times are for orientation; the ratios are what carries over to
another machine. *First call* includes what a contender compiles or loads at its first use of a
workload; a cache on disk may have served it.
"""


#: contenders that are no peers
OURS = ("limit", "closed form", "tapegrad", "tg.jit")
COMPILED = """\
Value and gradient of each row (or what it names), for sizes in the order of the row. The limit is a time,
with a call from Python; all else are multiples of it, and lower is better. *Other* is the best of those that
are neither tapegrad nor JAX: """


class Verdict(NamedTuple):
    """An aim, what was measured for it, and whether that meets it (None: could not be judged)."""

    group: str
    text: str
    figure: str
    met: bool | None

    def cell(self) -> str:
        return {True: "met", False: "**missed**", None: "not measured"}[self.met]


def seconds(value: float) -> str:
    units = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))
    unit, scale = next((pair for pair in units if value * pair[1] >= 1.0), units[-1])
    return f"{value * scale:.3g} {unit}" if value * scale < 999.5 else f"{value * scale:.0f} {unit}"


def ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


class Results:
    """The benchmarks of one JSON, by group and contender, in the order in which they ran."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.groups: dict[str, dict[str, dict[str, Any]]] = {}
        for entry in document["benchmarks"]:
            contender = entry["extra_info"]["contender"]
            self.groups.setdefault(entry["group"], {})[contender] = entry

    def median(self, group: str, name: str) -> float | None:
        entry = self.groups.get(group, {}).get(name)
        return None if entry is None else float(entry["stats"]["median"])

    def against(self, group: str, name: str, other: str) -> float | None:
        mine, theirs = self.median(group, name), self.median(group, other)
        return None if mine is None or theirs is None else mine / theirs

    def best_peer(self, group: str, but: tuple[str, ...] = ()) -> str | None:
        """Return the fastest contender that is neither tapegrad nor written by hand."""
        names = [name for name in self.groups[group] if name not in (*OURS, *but)]
        return min(names, key=lambda name: self.median(group, name) or 0.0, default=None)

    def judge(self, group: str, name: str, aim: dict[str, Any]) -> Verdict:
        """Hold one contender of a race against one aim (see `Aim` in `racing.py`)."""
        entry = self.groups[group][name]
        if aim["to"] is None or aim["to"] == "first call":
            first = aim["to"] is not None
            value = entry["extra_info"]["first_call"] if first else self.median(group, name)
            figure = "-" if value is None else seconds(value)
        elif aim["to"] == "best peer":
            peer = self.best_peer(group)
            value = peer and self.against(group, name, peer)
            figure = "-" if value is None else f"{ratio(value)} of {peer}'s"
        elif aim["to"] in self.groups:
            base = self.groups[aim["to"]].get(name)
            value = base and (
                entry["stats"]["median"]
                / entry["extra_info"]["work"]
                / (base["stats"]["median"] / base["extra_info"]["work"])
            )
            figure = f"{ratio(value)} times"
        else:
            value = self.against(group, name, aim["to"])
            figure = "-" if value is None else f"{ratio(value)} of {aim['to']}'s"
            if value is not None and value < 1:
                figure += f" (1/{1 / value:.3g})"
        met = None if value is None else value <= aim["at_most"]
        return Verdict(group, aim["text"], figure, met)

    def verdicts(self, group: str) -> Iterator[Verdict]:
        for name, entry in self.groups[group].items():
            for aim in entry["extra_info"]["aims"]:
                yield self.judge(group, name, aim)
            measure = entry["extra_info"].get("measure")
            if measure and measure["at_most"] is not None:
                yield Verdict(
                    f"{group} ({name})",
                    f"at most {measure['at_most']} {measure['unit']}",
                    f"{measure['value']:.3g} {measure['unit']}",
                    measure["value"] <= measure["at_most"],
                )

    def race(self, group: str) -> Iterator[str]:
        """Yield the table of a timed group, the fastest first."""
        rows = []
        entries = self.groups[group]
        for name in sorted(entries, key=lambda name: entries[name]["stats"]["median"]):
            stats, extra = entries[name]["stats"], entries[name]["extra_info"]
            first, work = extra.get("first_call"), extra.get("work")
            rows.append(
                [
                    name,
                    "-" if first is None else seconds(first),
                    seconds(stats["median"]),
                    f"{seconds(stats['q1'])} to {seconds(stats['q3'])}",
                    str(stats["rounds"]),
                    "-" if work is None else seconds(stats["median"] / work),
                    ratio(self.against(group, name, "limit")),
                    ratio(self.against(group, name, "torch")),
                ]
            )
        header = ["", "first call", "median", "quartiles", "rounds", "an op or item"]
        yield from table([*header, "÷ limit", "÷ torch"], rows)

    def compiled(self) -> Iterator[str]:
        """Yield the table of compiled code: a line a row, its sizes side by side."""
        rows: dict[str, list[tuple[str, float, str]]] = {}
        for group, entries in self.groups.items():
            place = next(iter(entries.values()))["extra_info"].get("row")
            if place is not None:
                rows.setdefault(place[0], []).append((place[1], place[2], group))
        if not rows:
            return
        others: set[str] = set()
        lines = []
        for row, sizes in rows.items():
            cells: list[list[str]] = [[] for _ in range(7)]
            for _, aim, group in sizes:
                limit = self.median(group, "limit")
                other = self.best_peer(group, but=("jax",))
                others.update(filter(None, [other]))
                figures = [
                    self.against(group, name, "limit") for name in ("jax", other, "tapegrad")
                ]
                jit = self.groups[group].get("tg.jit")
                cells[0].append("-" if limit is None else seconds(limit))
                cells[1].append(ratio(figures[0]))
                cells[2].append("-" if other is None else f"{other} {ratio(figures[1])}")
                cells[3].append(ratio(figures[2]))
                cells[4].append(ratio(self.against(group, "tg.jit", "limit")))
                cells[5].append(f"{aim:g}")
                cells[6].append("-" if jit is None else seconds(jit["extra_info"]["first_call"]))
            label = f"{row}: {' / '.join(size for size, *_ in sizes)}"
            lines.append([label, *(" / ".join(cell) for cell in cells)])
        yield "## Compiled code"
        yield ""
        yield f"{COMPILED}{', '.join(sorted(others)) or 'none was run'}."
        yield ""
        header = [
            "",
            "limit",
            "jax.jit",
            "other",
            "tapegrad eager",
            "tg.jit",
            "aim",
            "tg.jit's first call",
        ]
        yield from table(header, lines)

    def measures(self, group: str) -> Iterator[str]:
        """Yield the table of a group whose figures are not times."""
        rows = []
        for name, entry in self.groups[group].items():
            measure = entry["extra_info"]["measure"]
            rows.append([name, f"{measure['value']:,.3g} {measure['unit']}"])
        yield from table(["", "measured"], rows)

    def environment(self) -> Iterator[str]:
        machine, commit = self.document["machine_info"], self.document["commit_info"]
        cpu = machine["cpu"]
        versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
        state = " with uncommitted changes" if commit.get("dirty") else ""
        processor = cpu.get("brand_raw") or machine["processor"] or machine["machine"]
        yield "## Where this was measured"
        yield ""
        yield f"- Processor: {processor}, {cpu.get('count', '?')} cores, {machine['machine']}"
        yield f"- System: {machine['system']} {machine['release']}"
        yield f"- Versions: {versions}"
        yield f"- When: {self.document['datetime'][:10]}"
        if commit.get("id"):
            yield f"- Commit: {commit['id'][:12]}{state}"
        yield ""

    def page(self) -> str:
        lines = [PREAMBLE, *self.environment(), "## Aims", ""]
        verdicts = [verdict for group in self.groups for verdict in self.verdicts(group)]
        lines += table(
            ["workload", "aim", "measured", ""],
            [[v.group, v.text, v.figure, v.cell()] for v in verdicts],
        )
        lines += [*self.compiled(), "## Workloads", ""]
        for group, entries in self.groups.items():
            measured = any("measure" in entry["extra_info"] for entry in entries.values())
            lines += [f"### {group[0].upper()}{group[1:]}", ""]
            lines += self.measures(group) if measured else self.race(group)
        return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("json", type=Path, help="written by pytest's --benchmark-json")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an aim is missed")
    arguments = parser.parse_args()
    results = Results(json.loads(arguments.json.read_text(encoding="utf-8")))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(results.page(), encoding="utf-8")
    missed = [v for group in results.groups for v in results.verdicts(group) if v.met is False]
    for verdict in missed:
        print(f"missed: {verdict.group}: {verdict.text}: {verdict.figure}", file=sys.stderr)
    return int(arguments.check and bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
