"""Imports: of submodules, of the package under another name, for users without a home directory."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

import tapegrad
from tapegrad.native import object_cache as store

SOURCE = Path(tapegrad.__file__).parent


def python(code: str, *options: str, env: dict[str, str] | None = None) -> str:
    """What a program prints in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(SOURCE.parent)} | (env or {})
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=600, check=False,
        env={k: v for k, v in environment.items() if v != "unset"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


ALIASED = """
    import sys, types
    import tapegrad
    sys.modules[NAME] = tapegrad
    before = {k for k in sys.modules if k.startswith("tapegrad")}
    functions = {
        (m, k): v for m in before for k, v in vars(sys.modules[m]).items() if callable(v)
    }
    CODE
    for (m, k), v in functions.items():
        assert not isinstance(getattr(sys.modules[m], k), types.ModuleType), (m, k)
    for k, m in list(sys.modules.items()):
        if (getattr(m, "__file__", None) or "").startswith(ROOT):
            assert m.__name__.partition(".")[0] == "tapegrad", k
            assert sys.modules[m.__name__] is m, k
            assert m.__spec__.name == m.__name__, k
    print("fine")
"""


CODES = [
    "import NAME.autograd",
    "import NAME.autograd.functional as F; assert F is tapegrad.autograd.functional",
    "from NAME.autograd import Function; assert Function is tapegrad.autograd.Function",
    "import NAME.utils.checkpoint; from NAME.utils.checkpoint import checkpoint",
    "import NAME.func; from NAME.func import vmap; assert vmap is tapegrad.func.vmap",
    "from NAME.autograd.forward_ad import make_dual, dual_level",
    "import NAME.autograd.gradcheck; assert callable(tapegrad.autograd.gradcheck)",
    "from NAME.autograd.gradcheck import GradcheckError, gradcheck",
    "from NAME.autograd.graph import saved_tensors_hooks, Node",
    "from NAME.autograd.function import once_differentiable, FunctionCtx",
    "import NAME.tape.values, NAME.native.runtime, NAME.njit_compiler.types",
    "from NAME import tensor, autograd; import NAME.autograd; assert tensor is tapegrad.tensor",
    "import importlib; importlib.import_module('NAME.autograd.functional')",
    # a part of the package that somebody put there by hand
    "sys.modules['NAME.autograd'] = tapegrad.autograd; import NAME.autograd.gradcheck; "
    "from NAME.autograd import gradcheck; assert gradcheck.__name__ == 'gradcheck'",
]


@pytest.mark.parametrize(
    ("name", "code"),
    [("torch", code) for code in CODES]
    + [(name, code) for name in ("other", "some.package") for code in (CODES[1], CODES[6])],
)
def test_another_name(name: str, code: str) -> None:
    """Every submodule is the module that it is under its own name, and no function becomes a module."""
    if "." in name:
        code = f"import types; sys.modules['some'] = types.ModuleType('some'); {code}"
    program = ALIASED.replace("CODE", code).replace("ROOT", repr(str(SOURCE)))
    program = program.replace("sys.modules[NAME]", f"sys.modules[{name!r}]").replace("NAME", name)
    assert python(program).split() == ["fine"]


def test_every_submodule_under_another_name() -> None:
    names = [
        ".".join(p.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for p in sorted(SOURCE.rglob("*.py"))
        if p.name != "__main__.py" and p.parent != SOURCE.parent
    ]
    names = [n for n in names if n != "__init__"]
    code = "; ".join(f"import torch.{n}" for n in names)
    program = ALIASED.replace("CODE", code).replace("ROOT", repr(str(SOURCE)))
    assert python(program.replace("NAME", repr("torch"))).split() == ["fine"]


def test_what_is_not_there_is_not_found() -> None:
    out = python(
        """
        import sys, tapegrad
        sys.modules["torch"] = tapegrad
        for name in ("torch.nothing", "torch.autograd.nothing", "nothing", "tapegrad.nothing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error)
        """
    )
    assert out.splitlines() == [
        "No module named 'torch.nothing'", "No module named 'torch.autograd.nothing'",
        "No module named 'nothing'", "No module named 'tapegrad.nothing'",
    ]  # fmt: skip


def test_a_program_for_torch() -> None:
    out = python(
        """
        import sys
        import tapegrad
        sys.modules["torch"] = tapegrad
        import torch
        import torch.autograd.functional as F
        from torch.autograd import Function
        from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
        from torch.utils.checkpoint import checkpoint

        class Square(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, ct):
                (x,) = ctx.saved_tensors
                return 2 * x * ct

        x = torch.tensor([1.0, 2.0], requires_grad=True)
        checkpoint(Square.apply, x, use_reentrant=False).sum().backward()
        print(x.grad.tolist(), F.jacobian(torch.exp, torch.zeros(1)).tolist())
        with dual_level():
            print(unpack_dual(make_dual(x.detach(), torch.ones(2)) ** 3).tangent.tolist())
        """
    )
    assert out.splitlines() == ["[2.0, 4.0] [[1.0]]", "[3.0, 12.0]"]


# --------------------------------------------------------------------------- the store of compiled code
USE = """
    import sys
    import tapegrad as tg
    from tapegrad.native import machine_code
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    ((x * x).sin() * x.tanh()).sum().backward()
    print([round(v, 6) for v in x.grad.tolist()], machine_code.COUNTS["compiled"], "numba" in sys.modules)
"""
GRADIENT = str([
    round(2 * x * math.cos(x * x) * math.tanh(x) + math.sin(x * x) / math.cosh(x) ** 2, 6)
    for x in (1.0, 2.0)
])  # fmt: skip


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that `USE` needs."""
    folder = tmp_path_factory.mktemp("store")
    opened = """
        import sys
        def note(event, args):
            if event == "open" and str(args[0]).endswith(".tgo"):
                print("opened", args[0])
        sys.addaudithook(note)
    """
    python(USE)  # what is missing is compiled
    for line in python(textwrap.dedent(opened) + textwrap.dedent(USE)).splitlines():
        if line.startswith("opened "):
            shutil.copy(line.removeprefix("opened "), folder)
    return folder


@pytest.fixture
def own_store(stored: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    shutil.copytree(stored, folder)
    return folder


def test_the_store_is_enough(stored: Path) -> None:
    out = python(USE, env={"TAPEGRAD_CACHE_DIR": str(stored)})
    assert out.strip() == f"{GRADIENT} 0 False"


def test_without_home_and_passwd_entry(stored: Path, tmp_path: Path) -> None:
    """The store is then a folder among the temporary files, the same for the next process."""
    code = """
        import os, pwd
        def nobody(*_):
            raise KeyError
        pwd.getpwuid = nobody
    """
    (tmp_path / f"tapegrad-{os.getuid()}").mkdir(mode=0o700)
    for file in stored.iterdir():
        shutil.copy(file, tmp_path / f"tapegrad-{os.getuid()}" / file.name)
    env = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TAPEGRAD_CACHE_DIR"), "unset")
    out = python(textwrap.dedent(code) + textwrap.dedent(USE), env=env | {"TMPDIR": str(tmp_path)})
    assert out.strip() == f"{GRADIENT} 0 False"


def folders(env: dict[str, str]) -> list[str]:
    """The folders of the store, without importing the package."""
    file = SOURCE / "native" / "object_cache.py"
    code = (
        "import importlib.util as u; s = u.spec_from_file_location('store', "
        f"{str(file)!r}); m = u.module_from_spec(s); s.loader.exec_module(m); "
        "print(*m.folders(), m.cache_folder(), sep='|')"
    )
    *found, chosen = python(code, env=env).strip().split("|")
    assert not found or found[-1] == chosen
    return found


def test_folders(tmp_path: Path) -> None:
    blocked, temporary = tmp_path / "file", tmp_path / "tmp"
    blocked.write_text("no folder")
    temporary.mkdir()
    own = str(temporary / f"tapegrad-{os.getuid()}")
    for chosen in (str(blocked), str(blocked / "below"), "/proc/nowhere"):
        env = {"TAPEGRAD_CACHE_DIR": chosen, "TMPDIR": str(temporary)}
        assert folders(env) == [own], chosen
    assert oct(os.stat(own).st_mode)[-3:] == "700"
    os.chmod(own, 0o777)  # code that anybody may write is not loaded
    found = folders({"TAPEGRAD_CACHE_DIR": str(blocked), "TMPDIR": str(temporary)})
    assert found != [own]
    assert Path(found[0]).parent == temporary
    here = str(tmp_path / "here" / "and" / "below")
    assert folders({"TAPEGRAD_CACHE_DIR": here}) == [here]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_read(own_store: Path, tmp_path: Path) -> None:
    os.chmod(own_store, 0o500)
    out = python(USE, env={"TAPEGRAD_CACHE_DIR": str(own_store), "TMPDIR": str(tmp_path)})
    assert out.strip() == f"{GRADIENT} 0 False"


def test_a_store_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, own_store: Path, tmp_path: Path
) -> None:
    """What is there is read; what is compiled goes to the temporary files, and is found there."""
    store.folders.cache_clear()
    monkeypatch.setenv("TAPEGRAD_CACHE_DIR", str(own_store))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, m: Path(p) != own_store and access(p, m))
    try:
        assert store.folders() == (own_store, tmp_path / f"tapegrad-{os.getuid()}")
        name = next(own_store.glob("core-forward_sweep-*")).name
        assert store.read(name) is not None
        symbols, codes = store.read(name) or ({}, [])
        store.write("new.tgo", symbols, codes)
        assert not (own_store / "new.tgo").exists()
        assert store.read("new.tgo") == (symbols, codes)
    finally:
        store.folders.cache_clear()


def _head(file: Path) -> tuple[dict[str, Any], bytes]:
    line, _, body = file.read_bytes().partition(b"\n")
    return json.loads(line), body


def _old_digest(head: dict[str, Any], body: bytes) -> bytes:
    head["sha256"] = hashlib.sha256(body).hexdigest()
    head["sizes"] = [len(body)] if sum(head["sizes"]) != len(body) else head["sizes"]
    return json.dumps(head).encode() + b"\n" + body


@pytest.mark.parametrize(
    "damage",
    ["another_file", "code_of_another", "garbage", "cut", "symbols", "no_symbols", "empty", "text"],
)
def test_files_that_are_not_what_they_say(own_store: Path, damage: str) -> None:
    """A file whose parts do not belong together, its digest right or not, is compiled again."""
    file, other = (next(own_store.glob(f"{name}-*")) for name in ("thunks", "calls"))
    symbols, codes = store._read(file)  # type: ignore[misc]
    _, other_codes = store._read(other)  # type: ignore[misc]
    write = functools.partial(write_to, own_store, file.name)
    if damage == "another_file":
        file.write_bytes(other.read_bytes())
    elif damage == "code_of_another":  # the digest is right
        write(symbols, other_codes)
    elif damage == "garbage":
        write(symbols, [b"garbage" * 100])
    elif damage == "cut":
        write(symbols, [codes[0][: len(codes[0]) // 2], *codes[1:]])
    elif damage == "symbols":
        write(dict.fromkeys(symbols, "nowhere"), codes)
    elif damage == "no_symbols":
        write({}, codes)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        head, body = _head(file)
        file.write_bytes(_old_digest(head, body[:-64]))
    out = python(USE, env={"TAPEGRAD_CACHE_DIR": str(own_store)})
    assert out.strip() == f"{GRADIENT} 1 False"
    assert store._read(file)[0].keys() == symbols.keys()  # type: ignore[index]


def write_to(folder: Path, name: str, symbols: dict[str, str], codes: list[bytes]) -> None:
    """Write a file with a right digest."""
    body, sizes = b"".join(codes), [len(c) for c in codes]
    digest = store._digest(name, symbols, sizes, body)
    head = {"symbols": symbols, "sizes": sizes, "sha256": digest}
    (folder / name).write_bytes(json.dumps(head).encode() + b"\n" + body)


NJIT = """
    import numpy as np
    import tapegrad as tg
    @tg.njit
    def square(x):
        return x * x
    @tg.njit
    def f(x):  # numba's functions on arrays are compiled with it
        s = np.median(x) + square(np.sort(x)[0])
        for i in range(len(x)):
            s += np.exp(x[i])
        return s
    print(f(np.array([1.0, 2.0, 3.0])), f.primal(np.array([1.0, 2.0, 3.0])))
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    f(x).backward()
    print(x.grad, f.recorded > 0, len(f.primal.signatures), len(f.active.signatures))
"""


@pytest.mark.parametrize(
    "setting", ["DISABLE_JIT=1", "OPT=0", "CPU_NAME=generic", "BOUNDSCHECK=1", "DEBUG_NRT=1"]
)
def test_settings_of_numba(own_store: Path, setting: str) -> None:
    """Those that change code have files of their own in the store; all give the same gradients."""
    name, value = setting.split("=")
    if name == "DISABLE_JIT":  # compiles, though the user's functions are not to be
        next(own_store.glob("core-forward_sweep-*")).unlink()
        env = {"TAPEGRAD_CACHE_DIR": str(own_store), "NUMBA_DISABLE_JIT": value}
        assert python(USE, env=env).strip() == f"{GRADIENT} 1 True"
        assert python(USE, env=env).strip() == f"{GRADIENT} 0 False"
        assert (
            python(NJIT, env=env)
            == python("import numba\n" + textwrap.dedent(NJIT), env=env)
            == python(NJIT)
        )
        return
    # The key alone: compiling all for each setting takes a minute.
    code = (
        "import os; import tapegrad.native.machine_code as n; "
        f"before = n._machine(); n._machine.cache_clear(); os.environ['NUMBA_{name}'] = {value!r}; "
        "print(n._machine() != before)"
    )
    assert python(code, env={"TAPEGRAD_CACHE_DIR": str(own_store)}).strip() == "True"
