"""Structure of the source: layers, the op table, who uses numba, sizes of files, docstrings."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import tapegrad
from tapegrad import native as nt
from tapegrad.ops.table import BY_CODE, TABLE

SOURCE = Path(tapegrad.__file__).parent
#: what a file may import is what stands before it; names in one row may import each other's package
LAYERS = [
    ("errors", "locks", "importing", "symbolic"), ("dtypes",), ("store", "words", "entries"), ("native",),
    ("nopython",), ("layouts",),
    ("kernels",), ("programs",), ("ops",), ("families",), ("instructions",), ("patterns",), ("calls",),
    ("handle",), ("exchange",), ("sweep",), ("versions",), ("buffers", "constants"), ("collector",),
    ("arrays",), ("hook_cycles",), ("values",), ("tape",),
    ("ending",), ("hooks", "edges"), ("threads", "storage"), ("user_code", "nesting"), ("final_callbacks",),
    ("fuse",), ("traced_rule",), ("adjoint_programs",), ("lane_programs",), ("vjp_programs",),
    ("strip_code",), ("strip_rules",),
    ("strip_sweeps",), ("strips",), ("crossing",), ("mirrors",), ("record",), ("messages",), ("views",),
    ("watching",), ("readout",), ("saved",), ("saved_tensor",), ("inference",),
    ("anomaly",), ("detaching",), ("separating",),
    ("request",), ("lanes",), ("templates",), ("lifting",), ("slices",), ("traces",), ("duals",),
    ("plain",), ("replay",),
    ("callbacks",), ("accumulation",), ("engine",), ("tangents",), ("node_names",), ("node",), ("display",),
    ("devices", "cuda", "testing"), ("verify",), ("functions",),
    ("autograd_methods", "operators"), ("tensor_type",), ("trees",), ("autograd",), ("func",),
    ("transforms",), ("utils",), ("active",), ("tour",),
    ("other_names",), ("__init__",), ("__main__",),
]  # fmt: skip
#: imports upwards that are meant: (file, module) -> why
UPWARDS = {
    ("native", "nopython"): "compiles it, by name, when the store has no code",
    ("native", "programs"): "the lock only",
}
LIMIT = 450


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def module(path: Path) -> str:
    """First part of a file's name inside the package."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def rank(name: str) -> int:
    for i, names in enumerate(LAYERS):
        if name in names:
            return i
    raise AssertionError(f"{name} is in no layer: add it to LAYERS where it belongs")


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path: Path) -> list[tuple[str, int]]:
    """Modules of the package that a file imports when it runs, with the line."""
    found: list[tuple[str, int]] = []
    package = list(path.relative_to(SOURCE).parent.parts)

    def visit(node: ast.AST) -> None:
        if type_checking(node):
            return
        if isinstance(node, ast.ImportFrom):
            names = (node.module or "").split(".") if node.module else []
            if node.level:
                absolute = package[: len(package) - node.level + 1] + names
            elif names[:1] == ["tapegrad"]:
                absolute = names[1:]
            else:
                return
            for target in [absolute[0]] if absolute else [a.name for a in node.names]:
                if (SOURCE / target).is_dir() or (SOURCE / f"{target}.py").exists():
                    found.append((target, node.lineno))
        elif isinstance(node, ast.Import):
            found.extend(
                (a.name.split(".")[1], node.lineno)
                for a in node.names
                if a.name.startswith("tapegrad.")
            )
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
@pytest.mark.smoke
def test_imports_point_down(path: Path) -> None:
    own = module(path)
    for target, line in imports(path):
        if target == own or (own, target) in UPWARDS:
            continue
        assert rank(target) < rank(own), f"line {line}: {own} must not import {target}"


@pytest.mark.smoke
def test_every_module_has_a_layer() -> None:
    for path in files():
        rank(module(path))
    known = {module(p) for p in files()}
    assert {n for names in LAYERS for n in names} <= known | {"__init__", "__main__"}


def test_layers_are_computed_from_the_source() -> None:
    """The reader of imports sees what there is to see."""
    assert ("tape", 0) not in imports(SOURCE / "tape.py")
    targets = {t for t, _ in imports(SOURCE / "engine.py")}
    assert {"record", "tape", "replay"} <= targets
    assert "tensor_type" not in targets, "imported for type checking only"


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
    users = {module(p) for p in files() if {"numba", "llvmlite"} & third_party(p)}
    assert "native" in users
    allowed = {"native", "calls", "nopython", "active", "handle", "__main__", "tour", "devices"}
    assert users <= allowed
    jitted = {
        module(p)
        for p in files()
        if "numba" in third_party(p)
    }  # fmt: skip
    assert jitted <= {"native", "nopython", "active", "__main__", "tour", "devices"}


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
@pytest.mark.smoke
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
        if module(path) in ("ops", "traced_rule"):
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
