"""The store of compiled code: what is there is enough, what is damaged or of others is not loaded."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tapegrad
from tapegrad import warming
from tapegrad.__main__ import main
from tapegrad.native import machine_code, object_files, targets
from tapegrad.native import object_cache as store
from tapegrad.native.progress import Progress

posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes are POSIX's")

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


# --------------------------------------------------------------------------- processes of their own
@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package without compiled code."""
    folder = tmp_path_factory.mktemp("bare")
    skip = shutil.ignore_patterns("objects", "__pycache__")
    shutil.copytree(Path(tapegrad.__file__).parent, folder / "tapegrad", ignore=skip)
    return folder


@pytest.fixture(scope="session")
def python(bare: Path) -> Callable[..., str]:
    """Function that returns what a program prints in a process of its own."""

    def run(code: str, *options: str, **env: str | Path) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "TAPEGRAD_"))}
        kept |= {"PYTHONPATH": str(bare)} | {k: str(v) for k, v in env.items()}
        done = subprocess.run(
            [sys.executable, *options, "-c", textwrap.dedent(code)],
            capture_output=True, text=True, timeout=600, check=False,
            env={k: v for k, v in kept.items() if v != "unset"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + (done.stderr if "errors" in options else "")

    return run


@pytest.fixture(scope="session")
def stored(python: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that `USE` needs."""
    folder = tmp_path_factory.mktemp("store")
    out = python(USE, TAPEGRAD_CACHE_DIR=folder)
    assert out.startswith(GRADIENT)
    assert len(list(folder.glob("*.tgo"))) >= 18
    return folder


@pytest.fixture
def own_store(stored: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    shutil.copytree(stored, folder)
    return folder


def test_the_store_is_enough(stored: Path, python: Callable[..., str]) -> None:
    assert python(USE, TAPEGRAD_CACHE_DIR=stored).strip() == f"{GRADIENT} 0 False"


@pytest.mark.parametrize("setting", ["DISABLE_JIT=1", "CPU_NAME=generic", "OPT=0", "BOUNDSCHECK=1"])
def test_settings_of_numba_change_nothing(
    stored: Path, python: Callable[..., str], setting: str
) -> None:
    name, value = setting.split("=")
    env = {f"NUMBA_{name}": value, "TAPEGRAD_CACHE_DIR": stored}
    assert python(USE, **env).strip() == f"{GRADIENT} 0 False"


def test_read_only_folders_are_searched(
    stored: Path, python: Callable[..., str], tmp_path: Path
) -> None:
    env = {"TAPEGRAD_CACHE_DIR": tmp_path / "empty"}
    env["TAPEGRAD_CACHE_PATH"] = os.pathsep.join([str(tmp_path / "nowhere"), str(stored)])
    assert python(USE, **env).strip() == f"{GRADIENT} 0 False"


def test_code_that_came_with_the_package(stored: Path, bare: Path, tmp_path: Path) -> None:
    """It is found, without a home, a folder that can be written or an entry in passwd."""
    folder = tmp_path / "packages"
    shutil.copytree(bare, folder)
    place = folder / "tapegrad" / "native" / "objects" / targets.host_levels()[0].name
    place.mkdir(parents=True)
    for file in stored.glob("*.tgo"):
        shutil.copy(file, place)
    code = """
        import os, pwd, tempfile
        def nobody(*_):
            raise KeyError
        pwd.getpwuid = nobody
        tempfile.tempdir = "/proc/nowhere"
    """
    text = textwrap.dedent(code) + textwrap.dedent(USE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == f"{GRADIENT} 0 False", done.stderr


def test_without_home_and_passwd_entry(
    stored: Path, python: Callable[..., str], tmp_path: Path
) -> None:
    """The store is then a folder among the temporary files, the same for the next process."""
    code = """
        import os, pwd
        def nobody(*_):
            raise KeyError
        pwd.getpwuid = nobody
    """
    shutil.copytree(stored, tmp_path / f"tapegrad-{os.getuid()}")
    env = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TAPEGRAD_CACHE_DIR"), "unset")
    out = python(textwrap.dedent(code) + textwrap.dedent(USE), **env, TMPDIR=tmp_path)
    assert out.strip() == f"{GRADIENT} 0 False"


def test_processes_compile_each_file_once(python: Callable[..., str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        outs = list(pool.map(lambda _: python(USE, TAPEGRAD_CACHE_DIR=tmp_path), range(3)))
    assert all(out.startswith(GRADIENT) for out in outs)
    counts = [int(out.split()[-2]) for out in outs]
    assert sum(counts) <= len(list(tmp_path.glob("*.tgo"))), "helpers compiled the others"


def test_other_cores_help(python: Callable[..., str], tmp_path: Path) -> None:
    code = "import os; os.sched_getaffinity = lambda _: range(3); " + USE.strip().replace(
        "\n    ", "\n"
    )
    out = python(code, TAPEGRAD_CACHE_DIR=tmp_path)
    assert out.startswith(GRADIENT)
    assert int(out.split()[-2]) < len(list(tmp_path.glob("*.tgo")))


def test_what_takes_long_says_so(python: Callable[..., str], tmp_path: Path) -> None:
    code = """
        import logging, sys
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
        import tapegrad
    """
    out = python(code, TAPEGRAD_CACHE_DIR=tmp_path).splitlines()
    assert re.match(r"tapegrad: compiling native code: \d+ steps \(once; it is kept in ", out[0])
    # on a busy machine single units say so, too, behind it
    assert "tapegrad: compiling native code: done" in out
    assert python(code, TAPEGRAD_CACHE_DIR=tmp_path) == ""


# --------------------------------------------------------------------------- damaged files
@pytest.mark.parametrize(
    "damage",
    [
        "another_file",
        "code_of_another",
        "garbage",
        "cut",
        "cut_body",
        "head",
        "bit",
        "empty",
        "folder",
    ],
)
def test_files_that_are_not_what_they_say(
    own_store: Path, python: Callable[..., str], damage: str
) -> None:
    """A file whose parts do not belong together, its digest right or not, is compiled again."""
    file, other = (next(own_store.glob(f"{name}-*")) for name in ("thunks", "calls"))
    whole = file.read_bytes()
    code, other_code = (f.read_bytes().partition(b"\n")[2] for f in (file, other))
    if damage == "another_file":
        file.write_bytes(other.read_bytes())
    elif damage == "code_of_another":  # the digest is right
        file.write_bytes(_whole(file.name, other_code))
    elif damage == "garbage":
        file.write_bytes(_whole(file.name, b"garbage" * 100))
    elif damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "cut_body":
        file.write_bytes(_whole(file.name, code[: len(code) // 2]))
    elif damage == "head":
        file.write_bytes(b'{"size": [], "sha256": {}}\n' + code)
    elif damage == "bit":
        place = len(whole) - len(code) // 3
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        file.mkdir()
    out = python(USE, TAPEGRAD_CACHE_DIR=own_store)
    assert out.strip() == f"{GRADIENT} 1 False"
    if damage != "folder":
        assert file.read_bytes() == whole, "compiled again, and kept"


def _whole(name: str, code: bytes) -> bytes:
    """A file with a right digest."""
    head = {"size": len(code), "sha256": hashlib.sha256(name.encode() + b"\n" + code).hexdigest()}
    return json.dumps(head).encode() + b"\n" + code


def test_object_files_with_a_changed_table(stored: Path) -> None:
    """No change of an object file's tables is an error in the look at them; most are noticed."""
    code = next(stored.glob("core-recording-*")).read_bytes().partition(b"\n")[2]
    names = object_files._functions(code)
    assert names
    assert object_files.defines(code, names)
    assert not object_files.defines(code, [*names, "another"])
    assert not object_files.defines(code[:-100], names)
    start = int.from_bytes(code[0x28:0x30], "little")
    for place in [*range(64), *range(start, len(code), 3)]:
        changed = code[:place] + bytes([code[place] ^ 0xFF]) + code[place + 1 :]
        object_files.defines(changed, names)
    for place in (0, 4, 5, 0x28, 0x3A, start + 64 + 24 + 3):
        changed = code[:place] + bytes([code[place] ^ 0xFF]) + code[place + 1 :]
        assert not object_files.defines(changed, names), place


# --------------------------------------------------------------------------- folders
@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Function that chooses folders by environment variables; temporary files are in ``tmp``."""
    caches = store._writable, store._others, store._folders_for, store._warn, store._lock_file
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path / "tmp"))

    def choose(**env: Path) -> None:
        for name, value in env.items():
            monkeypatch.setenv(f"TAPEGRAD_CACHE_{name}", str(value))
        for cached in caches:
            cached.cache_clear()

    choose()
    yield choose
    for cached in caches:
        cached.cache_clear()


def test_folders(chosen: Callable[..., None], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    own = tmp_path / "tmp" / f"tapegrad-{os.getuid()}"
    chosen(DIR=blocked)
    with pytest.warns(RuntimeWarning, match="is no folder"):
        assert store.cache_folder() == own
    chosen(DIR=blocked / "below")
    with pytest.warns(
        RuntimeWarning, match="file/below cannot be created: .*file cannot be written"
    ):
        assert store.cache_folder() == own
    assert not own.exists()
    store.write(NAME, b"")
    assert own.stat().st_mode & 0o777 == 0o755
    here = tmp_path / "here" / "and" / "below"
    chosen(DIR=here)
    assert store.cache_folder() == here
    assert here in store.folders()


def test_a_tilde_is_the_home(
    chosen: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "more").mkdir(mode=0o755)
    chosen(DIR="~/store", PATH="~/more")
    assert store.cache_folder() == tmp_path / "store"
    assert tmp_path / "more" in store.folders()
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    chosen(DIR="")
    assert store.cache_folder() == tmp_path / "caches" / "tapegrad"


def test_warnings_name_the_line_of_the_import(python: Callable[..., str], tmp_path: Path) -> None:
    program, blocked = tmp_path / "program.py", tmp_path / "file"
    program.write_text("\nimport tapegrad\n")
    blocked.write_text("no folder")
    code = f"import runpy, sys; sys.stderr = sys.stdout; runpy.run_path({str(program)!r})"
    out = python(code, "-W", "always", TAPEGRAD_CACHE_DIR=blocked)
    assert f"{program}:2: RuntimeWarning: compiled code in {blocked} is not used" in out


@posix
@pytest.mark.parametrize("who", ["others", "group", "user"])
def test_folders_of_others_are_refused(
    chosen: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    mark(folder, who, monkeypatch)
    chosen(DIR=folder)
    with pytest.warns(RuntimeWarning, match=r"is not used, as it (belongs|can be written)"):
        assert store.cache_folder() == tmp_path / "tmp" / f"tapegrad-{os.getuid()}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder not in store.folders()  # said once


@posix
@pytest.mark.parametrize("who", ["others", "group", "user", "link"])
def test_files_of_others_are_not_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    file = folder / NAME
    assert store.read(NAME, []) is not None
    if who == "link":
        file.rename(folder / "other")
        file.symlink_to(folder / "other")
        assert store.read(NAME, []) is None
        return
    mark(file, who, monkeypatch)
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert store.read(NAME, []) is None


def mark(path: Path, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file be one of others."""
    if who == "user":
        user = os.getuid()
        if user == 0:
            os.chown(path, 12345, 12345)
        else:
            monkeypatch.setattr(os, "getuid", lambda: user + 1)
        return
    if os.getuid() == 0:
        os.chown(path, 0, 54321)
    path.chmod(path.stat().st_mode | (0o020 if who == "group" else 0o002))
    if who == "group" and os.getuid() != 0:
        monkeypatch.setattr(os, "getgid", lambda: 54321)


# --------------------------------------------------------------------------- writing
@pytest.fixture
def folder(chosen: Callable[..., None], tmp_path: Path, stored: Path) -> Path:
    """A store with a file ``new-...``."""
    place = tmp_path / "store"
    chosen(DIR=place)
    code = next(stored.glob("calls-*")).read_bytes().partition(b"\n")[2]
    store.write(NAME, code)
    return place


NAME = store.name_of("new", "text")


def test_files_are_for_all_to_read(folder: Path) -> None:
    assert (folder / NAME).stat().st_mode & 0o777 == 0o644
    assert [path.name for path, _ in store.files(folder)] == [NAME]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2", 2 * 2**20), ("0.5", 2**19), ("", 2**28), ("inf", sys.maxsize), ("1e300", sys.maxsize)],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, text: str, wanted: int) -> None:
    monkeypatch.setenv("TAPEGRAD_CACHE_LIMIT", text)
    assert store.limit() == wanted


@pytest.mark.parametrize("text", ["nonsense", "nan", "0", "-1", "-inf", "2 MB"])
def test_a_limit_that_is_none_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    store._warn_of_limit.cache_clear()
    monkeypatch.setenv("TAPEGRAD_CACHE_LIMIT", text)
    with pytest.warns(RuntimeWarning, match=f"TAPEGRAD_CACHE_LIMIT={text} is no number of mega"):
        assert store.limit() == 2**28
    assert store.prune(folder) == 0


def test_the_folder_stays_where_a_program_goes_to_another(
    chosen: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen(DIR="store")
    folder = store.cache_folder()
    monkeypatch.chdir("/")
    assert folder == tmp_path / "store"


def test_a_first_line_of_brackets(folder: Path) -> None:
    (folder / NAME).write_bytes(b"[" * 999 + b"\n")
    assert store.read(NAME, []) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_no_code(folder: Path) -> None:
    os.mkfifo(folder / store.name_of("pipe", ""))
    assert store.read(store.name_of("pipe", ""), []) is None


def test_code_of_the_package_may_be_links(
    folder: Path, chosen: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some installers link files; in the user's folder a link is not followed."""
    name, level = store.name_of("linked", ""), targets.target().name
    stored = store.read(NAME, [])
    assert stored is not None
    (tmp_path / "elsewhere").mkdir()
    store.write(name, stored.code, tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere" / name)
    assert store.read(name, []) is None
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "objects")
    chosen()
    (tmp_path / "objects" / level).mkdir(parents=True)
    (tmp_path / "objects" / level / name).symlink_to(tmp_path / "elsewhere" / name)
    assert store.read(name, []) is not None
    assert store.check(folder) == [folder / name]


@pytest.mark.parametrize("call", ["chmod", "replace"])
def test_an_error_while_writing_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    stored = store.read(NAME, [])
    assert stored is not None
    monkeypatch.setattr(os, call, full)
    store.write(store.name_of("more", ""), stored.code)
    assert [path.name for path, _ in store.files(folder)] == [NAME]


def test_what_nobody_uses_goes(folder: Path) -> None:
    stored = store.read(NAME, [])
    assert stored is not None
    names = [store.name_of("more", str(i)) for i in range(4)]
    now = time.time()
    for i, name in enumerate(names):
        store.write(name, stored.code)
        os.utime(folder / name, (now - 1e6 + i, now - 1e6 + i))
    assert store.read(names[0], []) is not None  # used: it is the youngest now
    dead, other = folder / f"{store._PART}of-a-dead-process", folder / "part-00000.parquet"
    for path in (dead, other):
        path.write_bytes(b"12345")
        os.utime(path, (now - 1e5, now - 1e5))
    size = (folder / NAME).stat().st_size
    assert store.prune(folder, 3 * size + 10) == 3
    left = {path.name for path, _ in store.files(folder)}
    assert left == {NAME, names[0], names[3]}
    assert store.clear(folder) == 3
    assert store.files(folder) == []
    assert other.exists()  # not ours, whatever else is in the folder


def test_one_at_a_time(folder: Path) -> None:
    """Locks are between processes; each name has its own, and goes with its process."""
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(tapegrad.__file__).parents[1])!r})
        from tapegrad.native import object_cache as store
        with store.claim({NAME!r}) as held:
            print(held, flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TAPEGRAD_CACHE_DIR": str(folder)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with store.claim(NAME, patience=0.05) as held:
            assert not held
        with store.claim(store.name_of("another", ""), patience=0.05) as held:
            assert held
    finally:
        process.kill()
        process.communicate()
    with store.claim(NAME, patience=5.0) as held:
        assert held


# --------------------------------------------------------------------------- levels
def test_levels_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    features = dict.fromkeys(" ".join(targets._FEATURES.values()).split(), True)
    monkeypatch.setattr(targets.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(targets.llvm, "get_host_cpu_features", lambda: features)
    assert [level.name for level in targets.host_levels()] == [*targets._FEATURES]
    features["avx512bw"] = False
    assert [level.name for level in targets.host_levels()] == ["x86-64-v3", "x86-64-v2"]
    features["fma"] = False
    assert [level.fma for level in targets.host_levels()] == [False]
    monkeypatch.setattr(targets.platform, "machine", lambda: "arm64")
    assert [level.name for level in targets.host_levels()] == ["arm64"]


def test_the_best_level_that_is_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    levels = [targets.LEVELS[name] for name in ("x86-64-v4", "x86-64-v3", "x86-64-v2")]
    monkeypatch.setattr(targets, "host_levels", lambda: levels)
    monkeypatch.setattr(targets, "SHIPPED", tmp_path)
    monkeypatch.delenv("TAPEGRAD_TARGET", raising=False)
    assert targets._host.__wrapped__() == levels[0]
    (tmp_path / "x86-64-v3").mkdir()
    assert targets._host.__wrapped__() == levels[1]
    monkeypatch.setenv("TAPEGRAD_TARGET", "x86-64-v2")
    assert targets._host.__wrapped__() == levels[2]
    monkeypatch.setenv("TAPEGRAD_TARGET", "arm64")
    with pytest.raises(
        ImportError, match=r"TAPEGRAD_TARGET=arm64: this processor runs code for x86-64-v4,"
    ):
        targets._host.__wrapped__()


def test_a_target_that_is_none_is_refused_before_anything_is_compiled() -> None:
    env = {**os.environ, "TAPEGRAD_TARGET": "nonsense"}
    run = [sys.executable, "-c", "import tapegrad"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=env)
    assert "ImportError: TAPEGRAD_TARGET=nonsense: this processor runs" in done.stderr
    assert "machine_code.py" not in done.stderr
    assert done.stderr.count("  File ") <= 4


@pytest.mark.parametrize("level", [level.name for level in targets.host_levels()][1:])
def test_code_of_a_lower_level(python: Callable[..., str], tmp_path: Path, level: str) -> None:
    out = python(USE, TAPEGRAD_CACHE_DIR=tmp_path, TAPEGRAD_TARGET=level)
    assert out.startswith(GRADIENT)


@pytest.mark.parametrize(
    ("level", "triple"),
    [
        ("x86-64-v2", ""), ("arm64", "aarch64-unknown-linux-gnu"), ("arm64", "arm64-apple-macosx"),
        ("x86-64-v3", "x86_64-pc-windows-msvc"),
    ],
)  # fmt: skip
def test_code_for_other_machines(level: str, triple: str) -> None:
    other = targets.LEVELS[level]._replace(triple=triple)
    unit = next(unit for unit in machine_code.UNITS if unit.label == "core-appending")
    with targets.targeting(other):
        code = unit.build({name: f"name_of_{name}" for name in unit.names})
    assert b"name_of_append_entry" in code
    kind = {"": 62, "aarch64-unknown-linux-gnu": 183}.get(triple)
    if kind is not None:
        assert int.from_bytes(code[18:20], "little") == kind
    assert targets.target() != other


def test_shipping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All units, for this machine's level: names and content as the store has them."""
    warming.warm()
    warming.ship(tmp_path, [targets.target()])
    shipped = list((tmp_path / targets.target().name).glob("*.tgo"))
    assert len(shipped) == len({machine_code.name_of(unit) for unit in warming.units()})
    assert f"{len(warming.units())} units" in capsys.readouterr().out
    others = [targets.LEVELS["x86-64-v3" if targets.target().name == "arm64" else "arm64"]]
    with pytest.raises(ValueError, match="no level of this machine's family"):
        warming.ship(tmp_path, others)

    unit = machine_code.UNITS[0]
    name = machine_code.name_of(unit)
    symbols = [*machine_code.symbols_of(unit, name).values()]
    found = store.read(name, symbols)
    assert found is not None
    assert (tmp_path / targets.target().name / name).read_bytes().endswith(found.code)


# --------------------------------------------------------------------------- commands and progress
def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        main(["cache", *words])
        return capsys.readouterr().out

    assert NAME in said()
    assert "1 files, 0.0 of at most 256 MB" in said("list")
    assert "0 damaged files" in said("check")
    (folder / NAME).write_bytes(b"{}")
    assert "1 damaged files" in said("check")
    assert "0 files removed" in said("prune")
    assert "0 files removed" in said("clear")
    assert str(folder) in said("clear")


def test_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "_writable", lambda: (None, ()))
    main(["cache", "clear"])
    assert "nothing is kept" in capsys.readouterr().out
    store.write(NAME, b"")
    main(["info"])
    assert "none that can be written" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["no folder", "full disk"])
def test_warming_where_nothing_is_kept_fails(
    how: str, monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = machine_code.assembly_unit("lost", "define i64 @lost() { ret i64 1 }", ["lost"])
    monkeypatch.setattr(warming, "units", lambda: [unit])
    if how == "no folder":
        monkeypatch.setattr(store, "_writable", lambda: (None, ()))
    else:
        monkeypatch.setattr(store, "write", lambda *_: None)
    with pytest.raises(SystemExit, match=r"(could|would) not be kept"):
        main(["warm"])
    assert capsys.readouterr().out == ""


def test_warming_counts_units_once(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "define i64 @kept() { ret i64 1 }"
    unit = machine_code.assembly_unit("kept", text, ["kept"])
    monkeypatch.setattr(warming, "units", lambda: [unit])
    monkeypatch.setattr("tapegrad.__main__.units", lambda: [unit])
    for count in (1, 0):
        main(["warm"])
        assert capsys.readouterr().out == f"{count} units compiled; all 1 are kept\n"


def test_progress_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tapegrad.native.progress._SILENCE", 0.0)
    monkeypatch.setattr("tapegrad.native.progress._is_seen", lambda: True)
    monkeypatch.setattr("tapegrad.native.progress._bar", lambda *_: None)
    with Progress("working", 2, " (a note)") as progress:
        progress._timer.join()
        progress.step()
        progress.step()
    lines = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert lines == [f"tapegrad: working, {i} of 2 (a note)" for i in range(3)] + [""]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with Progress("working", 1) as progress:
        progress.step()
    progress._timer.join()
    assert capsys.readouterr().err == ""
    assert threading.active_count() <= before


def test_parts_of_work_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tapegrad.native.progress._SILENCE", 0.0)
    monkeypatch.setattr("tapegrad.native.progress._is_seen", lambda: True)
    with Progress("working", 1) as progress:
        progress._timer.join()
        with Progress("a part", 1) as part:
            part.step()
    assert capsys.readouterr().err == "tapegrad: working\n"


@pytest.mark.skipif(
    not (targets.SHIPPED / targets.target().name).is_dir(),
    reason="no code came with the package: it is not installed from a wheel",
)
def test_an_installed_package_compiles_nothing(tmp_path: Path) -> None:
    """Neither for gradients nor for the kernels of strips, without any folder that can be written."""
    code = USE + textwrap.dedent(
        """
        from tapegrad.warming import warm
        print(warm())
        """
    ).replace("\n", "\n    ")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={"TAPEGRAD_CACHE_DIR": "/proc/nowhere", "TMPDIR": "/proc/nowhere"},
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{GRADIENT} 0 False", "0"], done.stderr


@posix
@pytest.mark.parametrize("arguments", [[], ["folder", "nonsense"]])
def test_levels_that_are_none(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"usage: .*levels: x86-64-v4, "):
        warming.main(arguments)


def test_shipping_does_not_leave_out_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "units", lambda: machine_code.UNITS[:1])
    before = os.umask(0)
    try:
        warming.ship(tmp_path, [targets.target()])
    finally:
        os.umask(before)
    place = tmp_path / targets.target().name
    assert len(list(place.glob("*.tgo"))) == 1
    shutil.rmtree(place)
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(OSError, match="by others, too"):
        warming.ship(tmp_path, [targets.target()])


# --------------------------------------------------------------------------- messages
def test_work_goes_on_without_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    with Progress("compiling", 2) as progress:
        progress.step()


@pytest.mark.parametrize("seen", [True, False])
def test_work_goes_on_where_messages_fail(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    """A bar on a terminal that is gone, or a handler of messages that raises."""

    class Broken(logging.Handler):
        def update(self) -> None:
            raise OSError(5, "Input/output error")

        def emit(self, record: logging.LogRecord) -> None:
            self.update()

        close = update

    monkeypatch.setattr("tapegrad.native.progress._SILENCE", 0.0)
    monkeypatch.setattr("tapegrad.native.progress._is_seen", lambda: seen)
    broken, logger = Broken(), logging.getLogger("tapegrad")
    monkeypatch.setattr("tapegrad.native.progress._bar", lambda *_: broken)
    monkeypatch.setattr(logger, "handlers", [broken])
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with Progress("working", 2) as progress:
            progress._timer.join()
            progress.step()
    finally:
        logger.setLevel(level)
    assert progress._done == 1


def test_a_package_without_its_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a zip file, or with ``.pyc`` files only."""
    monkeypatch.setattr(machine_code, "_FOLDER", Path("/nowhere/packages.zip/tapegrad"))
    with pytest.raises(ImportError, match=r"made of its text: .* cannot be read"):
        machine_code._digest_and_imports.__wrapped__("native.words")
