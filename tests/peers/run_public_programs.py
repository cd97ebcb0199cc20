"""Runs PyTorch's own tutorials on autograd with tapegrad in torch's place, and compares with torch.

    python tests/peers/run_public_programs.py [folder or URL] [--only WORD] [--runs N]

The folder is a checkout of https://github.com/pytorch/tutorials; by default the files come from there. The
programs run as they are, with ``sys.modules["torch"] = tapegrad``, each in a process of its own, and print a
table: whether it ran, whether the numbers that it printed are torch's, its time, and that over torch's,
without and with the imports; then what is missing, or the first numbers that differ, or texts that do. Both
libraries draw the same random numbers (`program_surroundings.py`) and compute in float64, and what would be
downloaded is replaced by small random stand-ins. Times are those of the fastest of some fresh processes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SOURCE = "https://raw.githubusercontent.com/pytorch/tutorials/main"


class Program(NamedTuple):
    """A file, and what is taken out of it because it needs a graphics card."""

    path: str
    edits: tuple[tuple[str, str], ...] = ()


#: in all programs, for both libraries: one precision, and no graphics card
COMMON = (
    (r"\btorch\.float(?:32)?\b(?!\()", "torch.float64"),
    (r"\.float\(\)", ".double()"),
    (r"""(device\s*=\s*)(['"])cuda\2""", r"\1'cpu'"),
)

PROGRAMS = [
    Program("beginner_source/blitz/autograd_tutorial.py"),
    Program("beginner_source/blitz/tensor_tutorial.py"),
    Program("beginner_source/blitz/neural_networks_tutorial.py"),
    Program("beginner_source/basics/tensorqs_tutorial.py"),
    Program("beginner_source/basics/autogradqs_tutorial.py"),
    Program("beginner_source/basics/buildmodel_tutorial.py"),
    Program("beginner_source/basics/optimization_tutorial.py"),
    Program("beginner_source/basics/quickstart_tutorial.py"),
    Program("beginner_source/basics/saveloadrun_tutorial.py"),
    Program("beginner_source/introyt/tensors_deeper_tutorial.py"),
    Program("beginner_source/introyt/autogradyt_tutorial.py"),
    Program("beginner_source/introyt/modelsyt_tutorial.py"),
    Program("beginner_source/examples_tensor/polynomial_tensor.py"),
    Program("beginner_source/examples_autograd/polynomial_autograd.py"),
    Program("beginner_source/examples_autograd/polynomial_custom_function.py"),
    Program("beginner_source/examples_nn/polynomial_nn.py"),
    Program("beginner_source/examples_nn/polynomial_optim.py"),
    Program("beginner_source/examples_nn/polynomial_module.py"),
    Program("beginner_source/examples_nn/dynamic_net.py"),
    Program("beginner_source/understanding_leaf_vs_nonleaf_tutorial.py"),
    Program("intermediate_source/autograd_saved_tensors_hooks_tutorial.py"),
    Program("intermediate_source/visualizing_gradients_tutorial.py"),
    Program("intermediate_source/forward_ad_usage.py"),
    Program("intermediate_source/jacobians_hessians.py"),
    Program("intermediate_source/per_sample_grads.py"),
    Program("intermediate_source/ensembling.py"),
    Program("intermediate_source/neural_tangent_kernels.py"),
    Program("intermediate_source/custom_function_conv_bn_tutorial.py"),
    Program("intermediate_source/custom_function_double_backward_tutorial.rst"),
    Program("intermediate_source/parametrizations.py"),
    Program(
        "intermediate_source/optimizer_step_in_backward_tutorial.py",
        (
            (r"\.cuda\(\)", ""),
            (r"(?m)^.*torch\.cuda\.memory.*$", ""),
            (r"(?ms)^with open\(.*?^$", ""),
        ),
    ),
]


# --------------------------------------------------------------------------- programs
def text_of(program: Program, source: str) -> str:
    """Read a program; of a page of text, its blocks of code."""
    if "://" in source:
        with urllib.request.urlopen(f"{source.rstrip('/')}/{program.path}", timeout=60) as answer:
            text = answer.read().decode()
    else:
        text = (Path(source) / program.path).read_text()
    if program.path.endswith(".rst"):
        blocks = re.findall(
            r"^\.\. code(?:-block)?:: python\n((?:\n|[ \t]+.*\n)+)", text, re.MULTILINE
        )
        text = "\n".join(textwrap.dedent(block) for block in blocks)
    for pattern, replacement in (*COMMON, *program.edits):
        text = re.sub(pattern, replacement, text)
    return text


def run(text: str, name: str, library: str, limit: float) -> dict[str, Any]:
    """Run a program in a process of its own; return what `program_surroundings.py` says of it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / name).write_text(text)
        paths = [str(HERE.parent.parent / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg"}
        command = [
            sys.executable,
            str(HERE / "program_surroundings.py"),
            library,
            name,
            "report.json",
        ]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=place,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return {
                "error": f"takes longer than {limit:g} s",
                "output": "",
                "seconds": limit,
                "all": limit,
            }
        total = time.perf_counter() - start
        if not (place / "report.json").exists():
            return {"error": done.stderr.strip()[-200:], "output": "", "seconds": 0.0, "all": total}
        report: dict[str, Any] = json.loads((place / "report.json").read_text())
        return report | {"all": total}


# --------------------------------------------------------------------------- comparison
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\w)", re.IGNORECASE)
_TIMING = re.compile(
    r"\b(seconds?|secs?|ms|us|[mn]?sec|time[ds]?|timeit|faster|runs? per|Measurement)\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def last_digit(text: str) -> float:
    """Value of one in the last digit of a number as it is printed."""
    digits, _, power = text.lower().partition("e")
    _, point, decimals = digits.partition(".")
    return float(10.0 ** (int(power or 0) - (len(decimals) if point else 0)))


def differences(ours: str, theirs: str) -> tuple[list[str], list[str]]:
    """Lines with other numbers than torch's, up to two in the last digit, and those with other texts.

    Lines about times are left out.
    """
    lines = [
        [line.strip() for line in text.splitlines() if line.strip() and not _TIMING.search(line)]
        for text in (ours, theirs)
    ]
    numbers, texts = [], []
    for a, b in zip(*lines, strict=False):
        a, b = (_ADDRESS.sub("0x", line) for line in (a, b))
        found, wanted = _NUMBER.findall(a), _NUMBER.findall(b)
        same = len(found) == len(wanted) and all(
            abs(float(x) - float(y))
            <= 2.01 * max(last_digit(x), last_digit(y)) + 1e-6 * abs(float(y)) + 1e-12
            for x, y in zip(found, wanted, strict=True)
        )
        message = f"{a[:90]!r} for {b[:90]!r}"
        if not same:
            numbers.append(message)
        elif _NUMBER.sub("#", a).split() != _NUMBER.sub("#", b).split():
            texts.append(message)
    if len(lines[0]) != len(lines[1]):
        numbers.append(f"{len(lines[0])} lines for {len(lines[1])}")
    return numbers, texts


def best(reports: list[dict[str, Any]], key: str) -> float:
    """The least time of some runs."""
    return min(float(report[key]) for report in reports)


class Outcome(NamedTuple):
    """A program's row of the table."""

    runs: bool
    same: bool = False
    seconds: float = 0.0
    ratio: float = 0.0
    ratio_with_imports: float = 0.0
    note: str = ""

    def text(self, name: str) -> str:
        """Format the row."""
        figures = [
            f"{value:.2f}" if self.seconds else ""
            for value in (self.seconds, self.ratio, self.ratio_with_imports)
        ]
        words = "yes" if self.runs else "no", "same" if self.same else ""
        return "{:44}  {:4}  {:7}  {:>7}  {:>10}  {:>12}  {}".format(
            name[:44], *words, *figures, self.note
        )


def compared(text: str, name: str, runs: int, limit: float) -> Outcome:
    """Run a program with both libraries in turn."""
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for _ in range(runs):
        for library, reports in (("tapegrad", ours), ("torch", theirs)):
            if not reports or not reports[0]["error"]:
                reports.append(run(text, name, library, limit))
    error, other = ours[0]["error"].replace("\n", " "), theirs[0]["error"].replace("\n", " ")
    if error or other:
        return Outcome(not error, note=f"{error}{f' (torch: {other})' if other else ''}")
    numbers, texts = differences(ours[0]["output"], theirs[0]["output"])
    lines = numbers or texts
    return Outcome(
        True,
        not numbers,
        best(ours, "seconds"),
        best(ours, "seconds") / best(theirs, "seconds"),
        best(ours, "all") / best(theirs, "all"),
        "; ".join(lines[:2]) + (f"; {len(lines)} lines" if len(lines) > 2 else ""),
    )


def main() -> int:
    """Run all programs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", default=SOURCE)
    parser.add_argument("--only", default="", help="programs with this in their path")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of each, of which the fastest counts"
    )
    parser.add_argument("--limit", type=float, default=600, help="seconds that a run may take")
    options = parser.parse_args()
    print(f"{'program':44}  runs  numbers  seconds  time/torch  with imports  note")
    outcomes = []
    for program in PROGRAMS:
        if options.only not in program.path:
            continue
        name = Path(program.path).stem + ".py"
        try:
            text = text_of(program, options.source)
        except OSError as error:
            outcome = Outcome(False, note=f"not there: {error}")
        else:
            outcome = compared(text, name, options.runs, options.limit)
        outcomes.append(outcome)
        print(outcome.text(name)[:330], flush=True)
    counts = {
        "run": sum(x.runs for x in outcomes),
        "give torch's numbers": sum(x.same for x in outcomes),
        "are no slower": sum(0 < x.ratio <= 1 for x in outcomes),
    }
    words = ", ".join(f"{number} {word}" for word, number in counts.items())
    print(f"{len(outcomes)} programs: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
