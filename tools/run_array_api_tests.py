"""Run the array API standard's own tests on `tapegrad.array_api`.

They are https://github.com/data-apis/array-api-tests, with its submodule `array-api`; no package index has
them. Beside a checkout they need `hypothesis`, `ndindex` and `pytest-json-report`:

    python tools/run_array_api_tests.py CHECKOUT --max-examples=20 -n 2

Tests in `array_api_xfails.txt` may fail, each for a reason that is written there; docs/array_api.md explains
them. What follows the checkout is passed on to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

XFAILS = Path(__file__).with_name("array_api_xfails.txt")


def main(checkout: str, *options: str) -> int:
    """Run them in a process of their own, and return its exit code."""
    source = Path(__file__).resolve().parent.parent / "src"
    environment = {
        **os.environ,
        "ARRAY_API_TESTS_MODULE": "tapegrad.array_api",
        "PYTHONPATH": os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    command += ["--disable-deadline", f"--xfails-file={XFAILS}", "array_api_tests", *options]
    return subprocess.run(command, cwd=checkout, env=environment, check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} CHECKOUT [options of pytest]")
    sys.exit(main(*sys.argv[1:]))
