"""Break the code on purpose, one place at a time, and see whether the tests notice.

Lines are drawn by seed, evenly over the packages and over the kinds of change. Each change is made in a
copy of the tree, never in the checkout, and the test files that are likely to see it (`TESTS`) are run there
up to the first failure. A change that no test notices has survived: it is equivalent to the code before,
or a test is missing. Native code is left alone unless asked for, as each change to it compiles anew.

    python tools/mutate.py --count 50 --seed 1                      # some lines of every package
    python tools/mutate.py --count 50 --seed 1 --pick 3 17 --tests tests/test_*.py   # survivors, all tests
"""

from __future__ import annotations

import argparse
import ast
import copy
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("src/tapegrad")
#: compiled code, apart from the user's, as a change may write what is wrong
CACHE = Path(tempfile.gettempdir()) / "tapegrad-mutated"
#: what numba compiles ahead of time, or all compiled code depends on
NATIVE = re.compile(
    r"native/(runtime/|abi|machine_code|words|expressions|translator)|scalar_tape/(native_|abi)|ops/kernels/"
)
#: test files likely to see a change, by the start of a file's name; the first match holds
TESTS = {
    "base": "dtypes promotion index_errors questions format engine",
    "native": "tape readout elementary_kernels ops_special imports",
    "ops": "ops_special pointwise product shaping reduction indexing patterns passes",
    "tape": "tape engine readout passes hooks inplace view_writes saved_tensors replay ending",
    "rules": "patterns fuse replay passes lanes ops_special tangents",
    "engine": "engine passes plain lanes hooks saved_tensors inference_mode replay tangents",
    "scalar_tape": "njit_expressions njit_sums njit_orders njit_ops njit",
    "transforms": "batched_views vmap_writes lanes transforms grids checkpointed_loop vmap",
    "functions/shape": "shaping view_scatters ops_special keywords",
    "functions/creation": "creation keywords arguments vmap_randomness",
    "functions/indexing": "indexing inplace inplace_methods gathering scatter_reduce view_scatters masked",
    "functions": "pointwise product reduction comparison distances differences creation questions keywords",
    "tensors": "format attributes tape func transforms torch_behaviour",
    "autograd": "functional func function forward_ad grad_modes gradcheck checkpoint forward_mode",
    "func": "func transforms torch_modules transform_freedoms transform_guards vmap_randomness vmap",
    "utils": "checkpoint steady_loops",
    "njit_compiler": "njit_expressions njit_functions njit_creation njit_assigning njit_sums njit_blocks "
    "njit_errors checkpointed_loop njit",
    "": "main gradcheck keywords attributes imports",
}  # fmt: skip
TIMES = itertools.count(1)
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutation(NamedTuple):
    """A part of a file to be replaced."""

    path: str
    kind: str
    node: ast.expr | ast.stmt
    after: ast.expr | ast.stmt

    def __str__(self) -> str:
        before, after = (ast.unparse(n).split("\n")[0] for n in (self.node, self.after))
        return f"{self.path}:{self.node.lineno}  {self.kind}:  {before}  ->  {after}"

    def applied(self, text: str) -> str:
        """Return the text of the file with the change; lines below may move up."""
        lines = text.encode().splitlines(keepends=True)
        node, new = self.node, ast.unparse(self.after)
        first, last = node.lineno - 1, node.end_lineno - 1
        new = f"({new})" if isinstance(node, ast.expr) else new
        head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        return b"".join([*lines[:first], head + new.encode() + tail, *lines[last + 1 :]]).decode()


def changed(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node: ast.AST, inside: bool) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Changes of a node itself: the kind, the part that goes, and what takes its place."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield "operator", node, changed(node, op=SWAPS[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        swapped = [SWAPS[type(node.ops[0])](), *node.ops[1:]]
        yield "comparison", node, changed(node, ops=swapped)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition", node.test, ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "constant", node, ast.Constant(node.value + 1)
    if isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield "result", node, ast.Return(ast.Constant(None))
    dropped = isinstance(node, ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )  # dropping the assignment of a name is an error of another kind
    if isinstance(node, ast.Assign):
        dropped = not any(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    if inside and dropped:
        yield "statement", node, ast.Pass()


def mutations(path: str, node: ast.AST, inside: bool = False) -> Iterator[Mutation]:
    """All changes to a file; texts, annotations and what is only read by a type checker stay."""
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ):
        return
    for kind, part, after in variants(node, inside):
        yield Mutation(path, kind, part, after)
    inside = inside or isinstance(node, ast.FunctionDef | ast.Lambda)
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from mutations(path, child, inside)


def drawn(count: int, seed: int, packages: list[str], native: bool) -> list[Mutation]:
    """Draw changes by turns of the packages, each of a kind that is drawn first."""
    rng, found = random.Random(seed), {}
    for file in sorted((ROOT / SOURCE).rglob("*.py")):
        name = file.relative_to(ROOT / SOURCE).as_posix()
        package = name.split("/")[0] if "/" in name else "."
        if (native or not NATIVE.match(name)) and (not packages or package in packages):
            kinds = found.setdefault(package, {})
            for each in mutations(str(SOURCE / name), ast.parse(file.read_text())):
                kinds.setdefault(each.kind, []).append(each)
    picked: list[Mutation] = []
    while found and len(picked) < count:
        for kinds in found.values():
            mutation = rng.choice(kinds[rng.choice(sorted(kinds))])
            picked += [mutation] if mutation not in picked else []
    return picked[:count]


def likely_tests(path: str) -> list[str]:
    name = str(Path(path).relative_to(SOURCE))
    names = next(tests for start, tests in TESTS.items() if name.startswith(start))
    return [f"tests/test_{each}.py" for each in names.split()]


def run(tree: Path, command: list[str], limit: float) -> tuple[int | None, str]:
    """Return the exit code, None beyond the time limit, and the output of a command in the copy."""
    paths = os.pathsep.join(str(tree / part) for part in ("src", "tests"))
    environment = {**os.environ, "PYTHONPATH": paths, "TAPEGRAD_CACHE_DIR": str(CACHE)}
    with subprocess.Popen(
        [sys.executable, *command], cwd=tree, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=limit)
            return process.returncode, output
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that a test started
            if isinstance(error, subprocess.TimeoutExpired):
                return None, ""
            raise


def verdict(tree: Path, mutation: Mutation, tests: list[str], limit: float) -> str:
    """Run tests on the tree with a change, and put the file back."""
    target, original = tree / mutation.path, ROOT / mutation.path
    target.write_text(mutation.applied(original.read_text()))
    command = ["-m", "pytest", "-x", "-q", "-p", "no:benchmark", "-p", "no:cacheprovider"]
    # Bytecode goes by a file's size and time, so this change needs a time that no other one has.
    os.utime(target, (0, next(TIMES)))
    code, output = run(tree, [*command, *tests], limit)
    shutil.copy2(original, target)
    if code in (0, None):
        return "SURVIVED" if code == 0 else f"KILLED by the time limit of {limit:.0f} s"
    failed = re.findall(r"^(?:FAILED|ERROR) ([^\s\[]+)", output, re.MULTILINE)
    if not failed:
        return f"KILLED before the first test: {output.splitlines()[-1]}"
    again, _ = run(tree, [*command, failed[0]], limit)
    return f"KILLED by {failed[0]}" if again == 0 else f"UNKNOWN: {failed[0]} fails as it is"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--packages", nargs="*", default=[], help="names of packages, . for the rest"
    )
    parser.add_argument("--native", action="store_true", help="change native code, too")
    parser.add_argument("--pick", nargs="*", type=int, help="numbers of the drawn changes to make")
    parser.add_argument("--tests", nargs="*", help="test files instead of the likely ones")
    parser.add_argument("--limit", type=float, default=900, help="seconds for a change")
    parser.add_argument("--list", action="store_true", help="draw only")
    chosen = parser.parse_args()
    picked = list(enumerate(drawn(chosen.count, chosen.seed, chosen.packages, chosen.native)))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        if not chosen.list:
            for name in ("src", "tests", "docs", "notebooks"):
                shutil.copytree(ROOT / name, tree / name)
            for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
                shutil.copy2(ROOT / name, tree / name)
            code, output = run(tree, ["-c", "import tapegrad"], 3600)  # compiles
            assert code == 0, output
        for number, mutation in picked:
            if chosen.pick is None or number in chosen.pick:
                print(f"{number}  {mutation}", flush=True)
                if not chosen.list:
                    tests = chosen.tests or likely_tests(mutation.path)
                    print("   ", verdict(tree, mutation, tests, chosen.limit), flush=True)


if __name__ == "__main__":
    main()
