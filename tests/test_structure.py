"""Structure of the source: layers, the op table, who uses numba, sizes of files, docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from op_arguments import SAMPLES
from op_samples import DOMAINS, ROWS

import tapegrad
from tapegrad.native import abi as nt
from tapegrad.native import machine_code, ufunc_loops
from tapegrad.ops.table import BY_CODE, TABLE, op

SOURCE = Path(tapegrad.__file__).parent
#: floors of packages, and the modules beside them: a file may import its own package and what is below
ORDER = [
    ("base",), ("native",), ("ops",), ("tape",), ("rules",), ("engine", "scalar_tape"), ("transforms",),
    ("functions",), ("tensors",), ("jit_compiler",), ("autograd",),
    ("fft", "func", "linalg", "utils", "njit_compiler", "special"), ("numpy",),
    ("array_api", "distributions"),
    ("testing", "cuda", "notebook_errors", "registered_ops"), ("other_names",), ("__init__",),
    ("tour", "warming"), ("__main__",),
]  # fmt: skip
LIMIT = 450
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(p.relative_to(SOURCE)) for p in FILES]


def package(path: Path) -> str:
    """First part of a file's name inside the package."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def rank(path: Path) -> int:
    return next(i for i, names in enumerate(ORDER) if package(path) in names)


def imports(path: Path) -> list[Path]:
    """Files of the package that a file imports, be it for typing only."""
    return [file for _, file in imported_names(path)]


@cache
def imported_names(path: Path) -> list[tuple[str, Path]]:
    """Names that a file imports of the package, each with the file that it comes from."""
    here, found = path.relative_to(SOURCE).parent.parts, []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [
                ("tapegrad", SOURCE / "__init__.py") for a in node.names if a.name == "tapegrad"
            ]
            assert not any(a.name.startswith("tapegrad.") for a in node.names), "from ... import"
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                parts = [*here[: len(here) - node.level + 1], *parts]
            elif parts[:1] == ["tapegrad"]:
                parts = parts[1:]
            else:
                continue
            base = SOURCE.joinpath(*parts)
            for name, bound in [(alias.name, alias.asname or alias.name) for alias in node.names]:
                places = base / f"{name}.py", base / name / "__init__.py", base.with_suffix(".py")
                places = *places, base / "__init__.py"
                found.append((bound, next(p for p in places if p.exists())))
    return found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
@pytest.mark.smoke
def test_imports_point_down(path: Path) -> None:
    for target in imports(path):
        below = rank(target) < rank(path) or package(target) == package(path)
        assert below, f"{package(path)} must not import {target.relative_to(SOURCE)}"


@pytest.mark.smoke
def test_no_circle_and_few_floors() -> None:
    TopologicalSorter(
        {path: imports(path) for path in FILES}
    ).prepare()  # raises where there is one
    assert sum(any((SOURCE / name).is_dir() for name in names) for names in ORDER) <= 14
    assert {package(p) for p in FILES} == {name for names in ORDER for name in names}


# --------------------------------------------------------------------------- numba in one place
def third_party(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_only_compiled_functions_use_numba() -> None:
    users = {package(p) for p in FILES if "numba" in third_party(p)}
    assert users == {"njit_compiler"}
    emitters = {package(p) for p in FILES if "llvmlite" in third_party(p)}
    assert emitters - users == {"native", "ops", "rules", "scalar_tape", "jit_compiler", "__main__"}


def test_importing_tapegrad_does_not_import_numba() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tapegrad as tg; "
        "x = tg.tensor([1.0, 2.0], requires_grad=True); (x * x).sum().backward(); "
        "print('numba' in sys.modules, 'torch' in sys.modules, 'scipy' in sys.modules)"
    )
    run = [sys.executable, "-c", code, str(SOURCE.parent)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stdout.split()[:2] == ["False", "False"]


def test_runtime_dependencies() -> None:
    allowed = {"numpy", "numba", "llvmlite", "scipy", "optree"}
    import sys

    for path in FILES:
        foreign = third_party(path) - set(sys.stdlib_module_names) - {"tapegrad"}
        assert foreign <= allowed, f"{path.name}: {foreign - allowed}"


# --------------------------------------------------------------------------- what code depends on
def closure(*paths: Path) -> set[Path]:
    """Files, and all of the package that they import."""
    reached = [*paths]
    for path in reached:  # grows on the way
        reached += [p for p in dict.fromkeys(imports(path)) if p not in reached]
    return {*reached}


def homes_of_names(function: Callable[..., Any], words: dict[str, Any]) -> Iterator[Path]:
    """Files of this package from which a kernel takes functions, modules and numbers."""
    functions = [function]
    for each in functions:  # grows on the way
        path = Path(inspect.getfile(each))
        yield path
        scope = {**each.__globals__, **inspect.getclosurevars(each).nonlocals, **words}
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0].body  # type: ignore[attr-defined]
        names = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)}
        names &= scope.keys() - {*each.__code__.co_varnames}
        helpers = [scope[name] for name in sorted(names) if hasattr(scope[name], "function")]
        functions += [h.function for h in helpers if h.function not in functions]
        yield from [file for name, file in imported_names(path) if name in names - words.keys()]


def unhashed(function: Callable[..., Any], words: dict[str, Any], source: str) -> set[str]:
    """Files that a kernel's code depends on, and that are not in the text which its name hashes."""
    always = closure(SOURCE / "native" / "translator.py")  # in the name of each unit
    inside = {
        v.function.__module__.partition(".")[2] for v in words.values() if hasattr(v, "function")
    }
    if machine_code.source_digest(*sorted(inside)) in source:
        always |= closure(*(machine_code._path_of(module) for module in inside))
    homes = {*homes_of_names(function, words)} - always
    return {path.name for path in homes if path.read_text() not in source}


def test_the_names_of_kernels_hash_all_that_their_code_depends_on() -> None:
    for name, (function, words) in ufunc_loops.NATIVE.items():
        if not function.__module__.startswith("tapegrad."):  # a test's
            continue
        source = ufunc_loops._unit(name).source
        assert not unhashed(function, words, source), name


def test_a_kernel_that_uses_another_file_is_seen() -> None:
    """Its own text alone would leave old code in the store when a helper changes."""
    function, words = ufunc_loops.NATIVE["elementary_exp_f64"]
    assert {"vectorised.py", "exponential.py"} <= unhashed(function, words, "")


# --------------------------------------------------------------------------- the op table
@pytest.mark.smoke
def test_rows_and_codes_agree() -> None:
    for name, entry in TABLE.items():
        assert entry.name == name
        assert BY_CODE[entry.code] is entry
    assert len({e.code for e in TABLE.values()}) == len(TABLE)
    assert len(BY_CODE) <= nt.NUMBER_PROTOCOL


def test_a_misspelt_field_of_a_row_raises() -> None:
    with pytest.raises(TypeError, match="privat"):
        op("misspelt", privat=True)
    assert "misspelt" not in TABLE


def test_every_row_with_a_function_has_operands_for_its_tests() -> None:
    """A domain says where those of an elementwise op come from; other ops have samples."""
    for entry in TABLE.values():
        if entry.kind == nt.COMPUTE and entry.torch:
            sampled = entry.name in SAMPLES or entry.name in ROWS
            assert sampled or (entry.is_elementwise and entry.domain in DOMAINS), entry.name
    assert SAMPLES.keys() | ROWS.keys() <= TABLE.keys()


def test_every_row_has_a_node_name() -> None:
    for entry in TABLE.values():
        assert callable(entry.grad_fn) or entry.grad_fn or entry.detaches, entry.name


def test_rules_are_written_once() -> None:
    """VJPs are in ops/ only, and nothing there runs a sweep."""
    for path in FILES:
        if package(path) == "ops" or path.name in ("traced_rule.py", "rows.py", "rows.py"):
            continue
        assert "vjp=lambda" not in path.read_text(), path.name


# --------------------------------------------------------------------------- names
#: modules that PyTorch has under the name of a function, too: `from torch.autograd.gradcheck import ...`
SHADOWS_AS_IN_TORCH = {"tapegrad.autograd.gradcheck"}


def test_no_module_has_the_name_of_a_public_function() -> None:
    """`import package.module` binds the module in the package, in the place of the function."""
    for path in FILES:
        *package, name = path.relative_to(SOURCE.parent).with_suffix("").parts
        if name.startswith("__") or ".".join([*package, name]) in SHADOWS_AS_IN_TORCH:
            continue
        public = getattr(importlib.import_module(".".join(package)), name, None)
        assert public is None or isinstance(public, ModuleType), f"{path}: has a function's name"


PUBLIC = json.loads((Path(__file__).parent / "public_names.json").read_text())


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_name_is_lost(name: str) -> None:
    """What users can reach stays: a name goes by an entry of the changelog, and from that file."""
    place = tapegrad.Tensor if name == "tapegrad.Tensor" else importlib.import_module(name)
    assert set(PUBLIC[name]) <= set(dir(place))
    assert name == "tapegrad.Tensor" or set(PUBLIC[name]) <= set(place.__all__)


def test_tab_completion_shows_public_names_only() -> None:
    for name in ("", ".autograd", ".fft", ".func", ".linalg", ".utils", ".testing", ".cuda"):
        place = importlib.import_module(f"tapegrad{name}")
        assert set(dir(place)) - set(place.__all__) <= {"__doc__", "__version__"}
    modules = {n for n in dir(tapegrad) if isinstance(getattr(tapegrad, n), ModuleType)}
    assert modules == {
        "autograd", "cuda", "distributions", "fft", "func", "linalg", "special", "testing", "utils",
    }  # fmt: skip


# --------------------------------------------------------------------------- readable files
@pytest.mark.parametrize("path", FILES, ids=NAMES)
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
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in ("TODO", "FIXME", "XXX", "breakpoint(", "NotImplemented  #"):
                assert word not in line, f"{path.name}:{number}: {word}"


# --------------------------------------------------------------------------- prose
#: names that say nothing
VAGUE = {"made", "found", "own", "what"}
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def docstrings(path: Path) -> list[tuple[int, str]]:
    """Docstrings of a file, each with its line."""
    scopes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, SCOPES)]
    return [(node.body[0].lineno, text) for node in scopes if (text := ast.get_docstring(node))]


def comments(path: Path) -> list[tuple[int, str]]:
    """Comments of a file, successive lines of them as one."""
    blocks: dict[int, tuple[int, str]] = {}  # by their last line
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            line, text = token.start[0], token.string.lstrip("#: ")
            first, before = blocks.pop(line - 1, (line, ""))
            blocks[line] = first, f"{before} {text}"
    return list(blocks.values())


@cache
def definitions(path: Path) -> set[str]:
    """Names that a file binds otherwise than by an import, attributes among them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def files_named(text: str, here: Path) -> list[Path]:
    """Files that a pointer may mean: the one beside it, else all whose path ends with it."""
    if text.startswith("tests/"):
        place = Path(__file__).parent.parent / text
        return [place] if place.exists() else []
    if (here.parent / text).exists():
        return [here.parent / text]
    return [p for p, name in zip(FILES, NAMES, strict=True) if f"/{name}".endswith(f"/{text}")]


FILE = r"`?(?P<file>[\w/]+\.py)\b`?"
QUOTED = r"`+(\w+(?:\.\w+)*\*?)`+"
QUOTES = f"(?P<names>(?:{QUOTED}(?:,? and |, ))*{QUOTED})"
#: ways to write that names are in a file
POINTERS = [f"{QUOTES} (?:of|in) {FILE}", f"{FILE} \\({QUOTES}", f"{FILE}(?:'s| has) {QUOTES}"]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_docstrings_point_to_what_is_there(path: Path) -> None:
    """A file that a docstring or comment names is one file, and defines the names said to be in it."""
    wrong = []
    for line, text in [*docstrings(path), *comments(path)]:
        text = " ".join(text.split())
        for pointer in re.finditer(FILE, text):
            if len(files_named(pointer["file"], path)) != 1:
                wrong.append(f"{line}: {pointer['file']}: no such file, or several")
        places = [(m["names"], m["file"]) for p in POINTERS for m in re.finditer(p, text)]
        places += [(m[0], path.name) for m in re.finditer(f"Start reading at {QUOTED}", text)]
        for names, file in places:
            for name in (n for n in re.findall(QUOTED, names) if not n.endswith(".py")):
                pattern = name.rpartition(".")[2].replace("*", ".*")
                known = {name for p in files_named(file, path) for name in definitions(p)}
                if not any(re.fullmatch(pattern, n) for n in known):
                    wrong.append(f"{line}: no {name} in {file}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_begin_with_a_verb_or_a_noun(name: str) -> None:
    for line, text in docstrings(SOURCE / name):
        assert not re.match(r"\W*(What|Whether|Who|How|Where)\b", text), (
            f"{line}: {text.splitlines()[0]}"
        )


@pytest.mark.parametrize("name", NAMES)
def test_names_are_nouns(name: str) -> None:
    """A name says what a thing is: an instruction, a slot, a shape; not how it came about."""
    nodes = ast.walk(ast.parse((SOURCE / name).read_text()))
    bound = definitions(SOURCE / name) | {n.arg for n in nodes if isinstance(n, ast.arg)}
    assert not VAGUE & bound
