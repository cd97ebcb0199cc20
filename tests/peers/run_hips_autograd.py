"""Runs the tests of HIPS autograd with `tapegrad.numpy` in the place of `autograd.numpy`.

    pip download autograd==1.9.1 --no-binary autograd --no-deps
    python tests/peers/run_hips_autograd.py autograd-1.9.1.tar.gz [arguments for pytest]

A copy of the package is put into a temporary directory, without its engine: `numpy` is tapegrad's, and
`core`, `tracer`, `extend` and `builtins` are the files in ``hips_autograd/``, which say by ``tg.vjp``,
``tg.jvp`` and `autograd.Function` what the rest of the package asks for. Its operators (`grad`, `jacobian`,
...), its derivatives of SciPy's functions and `check_grads`, which compares all derivatives with differences,
are its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NUMPY = """
import sys
from tapegrad.numpy import fft, linalg, random
import tapegrad.numpy as face

for part in (fft, linalg, random):
    sys.modules[f"{__name__}.{part.__name__.rpartition('.')[2]}"] = part
sys.modules[__name__] = face
from autograd import numpy_helpers
face.make_diagonal = numpy_helpers.make_diagonal
for part in ("numpy_vjps", "numpy_wrapper"):
    sys.modules[f"autograd.numpy.{part}"] = numpy_helpers
"""


def prepare(source: Path, target: Path) -> None:
    """Put the package without its engine, and its tests, into a directory."""
    package = target / "autograd"
    shutil.copytree(source / "autograd", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        source / "tests", target / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.rmtree(package / "numpy")
    (package / "numpy").mkdir()
    (package / "numpy" / "__init__.py").write_text(NUMPY)
    (package / "misc" / "__init__.py").write_text(
        "from .flatten import flatten\n\nconst_graph = None\n"
    )
    for file in (HERE / "hips_autograd").glob("*.py"):
        shutil.copy(file, package)


def main(source: str, *arguments: str) -> int:
    """Run pytest; print how many tests passed."""
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        root = Path(source)
        if root.is_file():
            with tarfile.open(root) as archive:
                archive.extractall(where / "source", filter="data")
            (root,) = (where / "source").iterdir()
        prepare(root, where)
        command = [
            sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(where / "tests"),
            "-p", "no:cacheprovider", "-p", "no:benchmark", *arguments, "tests",
        ]  # fmt: skip
        own = str(HERE.parent.parent / "src")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(where), own])}
        run = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment)
        print(run.stdout[-200_000:], run.stderr[-5_000:])
        counts = dict(re.findall(r"(\d+) (passed|failed|skipped|error)", run.stdout)[::-1])
        print({word: int(number) for number, word in counts.items()})
        return run.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
