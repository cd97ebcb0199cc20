"""Imports: of submodules, of the package under another name, for users without a home directory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tapegrad

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


def test_functions_compile_under_numbas_switch() -> None:
    """``NUMBA_DISABLE_JIT`` is meant for functions under ``numba.njit``."""
    env = {"NUMBA_DISABLE_JIT": "1"}
    imported_before = python("import numba\n" + textwrap.dedent(NJIT), env=env)
    assert python(NJIT, env=env) == imported_before == python(NJIT)
