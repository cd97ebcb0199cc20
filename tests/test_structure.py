"""Structure of the source: layers, the op table, who uses numba, sizes of files, docstrings."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tapegrad
from tapegrad.native import abi as nt
from tapegrad.ops.table import BY_CODE, TABLE

SOURCE = Path(tapegrad.__file__).parent
#: packages: a file may import its own and what stands in rows before it
ORDER = [
    ("base",), ("native",), ("ops",), ("tape",), ("rules",), ("engine", "scalar_tape"), ("batching",),
    ("functions",), ("tensors",), ("autograd",), ("func", "utils", "njit_compiler"), ("testing", "cuda"),
    ("other_names",), ("__init__",), ("tour",), ("__main__",),
]  # fmt: skip
#: flat files (and files of other packages) on their way to a package
HOMES = {
    "errors": "base",
    "dtypes": "base",
    "devices": "base",
    "messages": "base",
    "words": "native",
    "store": "native",
    "calls": "native",
    "kernels": "native",
    "handle": "native",
    "nopython": "native",
    "layouts": "ops",
    "programs": "ops",
    "instructions": "ops",
    "buffers": "tape",
    "arrays": "tape",
    "values": "tape",
    "tape": "tape",
    "collector": "tape",
    "versions": "tape",
    "constants": "tape",
    "verify": "tape",
    "threads": "tape",
    "crossing": "tape",
    "storage": "tape",
    "hooks": "tape",
    "record": "tape",
    "anomaly": "tape",
    "display": "tensors",
    "adjoint_programs": "rules",
    "lane_programs": "rules",
    "vjp_programs": "rules",
    "templates": "rules",
    "fuse": "rules",
    "edges": "engine",
    "request": "engine",
    "sweep": "engine",
    "plain": "engine",
    "lanes": "engine",
    "replay": "engine",
    "tangents": "engine",
    "callbacks": "engine",
    "accumulation": "engine",
    "saved": "engine",
    "node": "engine",
    "engine": "engine",
    "lifting": "batching",
    "slices": "batching",
    "traces": "batching",
    "operators": "tensors",
    "autograd_methods": "tensors",
    "trees": "tensors",
    "transforms": "func",
    "strip_code": "scalar_tape",
    "strip_rules": "scalar_tape",
    "strip_sweeps": "scalar_tape",
    "strips": "scalar_tape",
    "active": "njit_compiler",
    "symbolic": "base",
    "locks": "base",
    "importing": "base",
    "entries": "native",
    "exchange": "native",
    "families": "ops",
    "patterns": "ops",
    "ending": "tape",
    "hook_cycles": "tape",
    "inference": "engine",
    "mirrors": "tape",
    "nesting": "tape",
    "readout": "tape",
    "views": "tape",
    "watching": "tape",
    "user_code": "tape",
    "final_callbacks": "engine",
    "detaching": "engine",
    "separating": "engine",
    "saved_tensor": "engine",
    "node_names": "engine",
    "duals": "batching",
    "traced_rule": "rules",
    "tensor_type": "tensors",
    "machine_code": "native",
    "abi": "native",
    "tensors/all_functions.py": "tensors",
    "scalar_tape/rows.py": "scalar_tape",
    "scalar_tape/kernels.py": "scalar_tape",
    "tape/printer.py": "tape",
    "runtime/strip_fields.py": "scalar_tape",
    "runtime/strips.py": "scalar_tape",
    "runtime/transposing.py": "scalar_tape",
    "runtime/sums.py": "scalar_tape",
}
LIMIT = 456


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def package(path: Path) -> str:
    """First part of a file's name inside the package, or where the file belongs."""
    name = path.relative_to(SOURCE).with_suffix("")
    return HOMES.get(f"{name.as_posix()}.py", HOMES.get(name.parts[0], name.parts[0]))


def rank(name: str) -> int:
    return next(i for i, names in enumerate(ORDER) if name in names)


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path: Path) -> Iterator[tuple[Path, int]]:
    """Files of the package that a file imports when it runs, with the line."""
    own = path.relative_to(SOURCE).parent.parts
    skipped = {
        n
        for node in ast.walk(ast.parse(path.read_text()))
        if type_checking(node)
        for n in lines(node)
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.lineno in skipped:
            continue
        names = (node.module or "").split(".") if node.module else []
        if node.level:
            names = [*own[: len(own) - node.level + 1], *names]
        elif names[:1] != ["tapegrad"]:
            continue
        else:
            names = names[1:]
        base = SOURCE.joinpath(*names)
        for alias in node.names:
            inside = [base / f"{alias.name}.py", base / alias.name / "__init__.py"]
            whole = [base.with_suffix(".py"), base / "__init__.py"]
            yield next(file for file in [*inside, *whole] if file.exists()), node.lineno


def lines(node: ast.AST) -> range:
    assert isinstance(node, ast.stmt)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = package(path)
    for target, line in imports(path):
        below = rank(package(target)) < rank(own) or package(target) == own
        assert below, f"line {line}: {own} must not import {package(target)} ({target.name})"


# --------------------------------------------------------------------------- numba in one place
def third_party(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_only_native_code_uses_numba() -> None:
    users = {package(p) for p in files() if {"numba", "llvmlite"} & third_party(p)}
    assert users == {"native", "njit_compiler", "__main__"}


def test_importing_tapegrad_does_not_import_numba() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tapegrad as tg; "
        "x = tg.tensor([1.0, 2.0], requires_grad=True); (x * x).sum().backward(); "
        "print('numba' in sys.modules, 'torch' in sys.modules, 'scipy' in sys.modules)"
    )
    run = [sys.executable, "-c", code, str(SOURCE.parent)]
    subprocess.run(run, check=True, capture_output=True)  # fills the store
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stdout.split()[:2] == ["False", "False"]


def test_runtime_dependencies() -> None:
    allowed = {"numpy", "numba", "llvmlite", "scipy", "optree"}
    import sys

    for path in files():
        foreign = third_party(path) - set(sys.stdlib_module_names) - {"tapegrad"}
        assert foreign <= allowed, f"{path.name}: {foreign - allowed}"


# --------------------------------------------------------------------------- the op table
def test_rows_and_codes_agree() -> None:
    for name, entry in TABLE.items():
        assert entry.name == name
        assert BY_CODE[entry.code] is entry
    assert len({e.code for e in TABLE.values()}) == len(TABLE)
    assert len(BY_CODE) <= nt.NUMBER_PROTOCOL


def test_every_row_says_where_its_operands_come_from() -> None:
    for entry in TABLE.values():
        if entry.kind == nt.COMPUTE and entry.torch:
            assert entry.sample is not None or entry.domain, entry.name


def test_every_row_has_a_node_name() -> None:
    for entry in TABLE.values():
        assert callable(entry.grad_fn) or entry.grad_fn or entry.extras.get("detach"), entry.name


def test_rules_are_written_once() -> None:
    """VJPs are in ops/ only, and nothing there runs a sweep."""
    for path in files():
        if package(path) == "ops" or path.name in ("traced_rule.py", "rows.py", "rows.py"):
            continue
        assert "vjp=lambda" not in path.read_text(), path.name


# --------------------------------------------------------------------------- names
#: modules that PyTorch has under the name of a function, too: `from torch.autograd.gradcheck import ...`
SHADOWS_AS_IN_TORCH = {"tapegrad.autograd.gradcheck"}


def test_no_module_has_the_name_of_a_public_function() -> None:
    """`import package.module` binds the module in the package, in the place of the function."""
    for path in files():
        *package, name = path.relative_to(SOURCE.parent).with_suffix("").parts
        if name.startswith("__") or ".".join([*package, name]) in SHADOWS_AS_IN_TORCH:
            continue
        public = getattr(importlib.import_module(".".join(package)), name, None)
        assert public is None or isinstance(public, ModuleType), f"{path}: has a function's name"


# --------------------------------------------------------------------------- readable files
@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_short_and_open_with_a_docstring(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LIMIT
    assert ast.get_docstring(ast.parse(text)), (
        "what does it hold, and where does one start reading?"
    )


def test_public_functions_have_docstrings() -> None:
    missing = [
        name
        for name in dir(tapegrad)
        if not name.startswith("_")
        and callable(getattr(tapegrad, name))
        and not (getattr(tapegrad, name).__doc__ or "").strip()
    ]
    assert not missing


def test_no_leftovers_in_the_source() -> None:
    for path in files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in ("TODO", "FIXME", "XXX", "breakpoint(", "NotImplemented  #"):
                assert word not in line, f"{path.name}:{number}: {word}"
