"""Scalar arithmetic as LLVM code: what NumPy computes, to the bit, without numba where it is not needed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from tapegrad.base.dtypes import float32, float64
from tapegrad.native.machine_code import kernel_address
from tapegrad.native.words import Emitted, p64, pf64
from tapegrad.ops.emitter import emit
from tapegrad.ops.scalar_code import Scalar, Untraceable, evaluate
from tapegrad.ops.table import TABLE
from tapegrad.rules import fusion

LOOP = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
#: (x - y) * (x / y) + 1 / x**2
BODY = (
    ("subtract", (0, 1)), ("divide", (0, 1)), ("multiply", (-1, -2)), ("square", (0,)),
    ("reciprocal", (-4,)), ("add", (-3, -5)), ("negative", (-6,)),
)  # fmt: skip


def run(address: int, arrays: list[np.ndarray], count: int) -> None:
    args = np.array([a.ctypes.data for a in arrays], np.int64)
    strides = np.array([a.strides[0] if a.ndim else 0 for a in arrays], np.int64)
    LOOP(address)(args.ctypes.data, np.array([count]).ctypes.data, strides.ctypes.data, 0)


@pytest.mark.parametrize("kind", [float64, float32])
@pytest.mark.parametrize(("pattern", "count"), [("vvv", 1000), ("v0v", 33), ("sss", 7), ("vvv", 0)])
def test_loops_do_what_numpy_does(kind: Any, pattern: str, count: int) -> None:
    rng = np.random.default_rng(5)
    x, y = (
        rng.uniform(0.5, 2.0, 3 * count).astype(kind.np)[:: 1 + 2 * (c == "s")] for c in pattern[:2]
    )
    x, y = x[:count], np.array(0.7, kind.np) if pattern[1] == "0" else y[:count]
    wide = np.zeros(2 * count, kind.np)
    out = wide[::2] if pattern[2] == "s" else wide[:count]
    run(fusion.kernel(BODY, pattern, kind), [x, y, out], count)
    wanted = -((x - y) * (x / y) + np.reciprocal(np.square(x)))
    assert out.tobytes() == wanted.tobytes()


def test_a_branch_cannot_be_traced() -> None:
    module = ir.Module("branch")
    function = ir.Function(module, ir.FunctionType(ir.DoubleType(), [ir.DoubleType()]), "f")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x = Scalar(builder, function.args[0])
    with pytest.raises(Untraceable):
        evaluate(lambda v: v if v > 0 else -v, x)
    with pytest.raises(Untraceable):
        evaluate(lambda v: v + "1", x)
    assert isinstance(evaluate(lambda v: abs(v) + 1, x), Scalar)


def test_rows_with_functions_of_native_code() -> None:
    row, unknown = TABLE["sinc"], SimpleNamespace(loop=np.spacing, parameters=())

    def write(builder: Any, x: Any, place: Any) -> None:
        result = emit(builder, row, [x])
        builder.store(result, builder.inttoptr(place, ir.DoubleType().as_pointer()))
        with pytest.raises(Untraceable):
            emit(builder, unknown, [x])  # type: ignore[arg-type]

    globals()["sinc"] = Emitted(write, "di")

    def kernel(args, dims, strides, data):  # type: ignore[no-untyped-def]
        sinc(pf64(p64(args)[0])[0], p64(args)[1])  # noqa: F821

    x, out = np.array([0.3]), np.zeros(1)
    run(kernel_address(kernel, "test of words that are written"), [x, out], 1)
    assert out[0] == pytest.approx(np.sinc(0.3), rel=1e-15)


def test_loops_are_compiled_without_numba() -> None:
    text = f"""
import sys
import tapegrad as tg
before = "numba" in sys.modules
from tapegrad.native.machine_code import compiled
from tapegrad.rules import fusion
assert compiled(fusion._loop("loop", {BODY!r}, "vvv", tg.float64))
assert ("numba" in sys.modules) == before
"""
    subprocess.run([sys.executable, "-c", text], check=True)
