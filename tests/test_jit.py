"""`tapegrad.jit`: results, branches on values, what a function uses, and what was wrong once.

Random programs are in tests/fuzz/jit_programs.py, every row of the op table in test_jit_rows.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

import tapegrad as tg
from tapegrad.jit_compiler.formulas import F32, F64, I1, I64
from tapegrad.ops.emitter import UFUNCS
from tapegrad.ops.scalar_code import Scalar, Untraceable

A = np.arange(9.0).reshape(3, 3) + 0.5
B = np.array([0.3, -0.7, 1.1])


def agree(f: Callable[..., Any], *calls: Any) -> None:
    """Run a function with several tuples of arrays under jit, and compare."""
    compiled = tg.jit(f)
    for arrays in (*calls, *calls):
        arrays = arrays if isinstance(arrays, tuple) else (arrays,)
        expected = np.array(f(*map(tg.tensor, arrays)).detach().numpy())
        found = compiled(*arrays)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        found[...] = 7  # nobody else may see it


# --------------------------------------------------------------------------- code
@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda u: u.__name__)
@pytest.mark.parametrize("kind", [F64, F32, I64, I1], ids=str)
def test_code_of_ufuncs_is_valid(ufunc: np.ufunc, kind: Any) -> None:
    module = ir.Module("trial")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kind] * ufunc.nin), "trial")
    builder = ir.IRBuilder(function.append_basic_block())
    try:
        UFUNCS[ufunc](*[Scalar(builder, x) for x in function.args])
    except Untraceable:
        return
    builder.ret_void()
    llvm.parse_assembly(str(module)).verify()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.T.contiguous().view(-1) * 2,  # rows of a copy, read beyond a row
        lambda x: x[0].expand(3, 3).contiguous().view(-1) * 2,
        lambda x: (x < 1).all(),
        lambda x: (x < 1).any(0) * x,
        lambda x: x.long().amax(0) * x,
        lambda x: tg.fmod(x.long(), 2) * x,
        lambda x: x.long() % 3 * x,
        tg.func.vmap(lambda x: x.std()),  # scratch memory of two dtypes
        lambda x: x.clone().add_(x.sin(), alpha=0.5).neg_(),  # written, copied, written
    ],
)
def test_values(f: Callable[..., Any]) -> None:
    agree(f, A, A - 3)


# --------------------------------------------------------------------------- writes
def test_constant_that_is_written_begins_anew() -> None:
    def fill(x: Any) -> Any:
        t, s = tg.zeros(3), tg.zeros(())
        t[0] += x[0]
        s += x.sum()
        return t + s

    agree(fill, B, -B)


def test_constant_that_is_written_after_a_read() -> None:
    def fill(x: Any) -> Any:
        t = tg.ones(3)
        t[0] += x[0]
        if t.sum() > 3:
            t[1] *= 2
        return t

    agree(fill, B, -B)


def test_temporary_that_is_read_and_written() -> None:
    def f(x: Any) -> Any:
        t = x.clone()
        t[0] = 2.0
        if (t > 0).all():
            t[1] = 5.0
        return t * 2

    agree(f, B, abs(B))


# --------------------------------------------------------------------------- reads
def test_numbers_that_are_read_may_differ_in_the_last_bit() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    agree(lambda x: x * float((x * x).sin().sum()), x, -x / 3)


def test_errors_of_traces_for_other_values() -> None:
    f = tg.jit(lambda x, i: x[i] if i < 3 else x[0])
    x = np.arange(3.0)
    assert f(x, np.array(2)) == 2.0
    assert f(x, np.array(7)) == 0.0
    with pytest.raises(IndexError):
        f(x, np.array(-7))
    assert f(x, np.array(1)) == 1.0


def test_default_dtype() -> None:
    f = tg.jit(lambda x: x.sum() * tg.tensor(0.1).double())
    x = np.ones(3)
    expected = f(x), f(x)
    tg.set_default_dtype(tg.float32)
    try:
        assert f(x) == 3 * np.float64(np.float32(0.1))
    finally:
        tg.set_default_dtype(tg.float64)
    assert f(x) == expected[0] == expected[1]
