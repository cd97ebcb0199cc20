"""`tapegrad.jit`: results, branches on values, what a function uses, and what was wrong once.

Random programs are in tests/fuzz/jit_programs.py, every row of the op table in test_jit_rows.py.
"""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

import tapegrad as tg
from tapegrad.base import locks
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


def test_unit_matrices() -> None:
    def second(x: Any) -> Any:
        y = x.clone()
        y[::2].sin_()
        return (y * x * x).sum()

    agree(tg.func.hessian(second), A, -A)


def test_code_of_unit_matrices_is_not_that_of_others() -> None:
    for constant in (np.eye(3), A, np.eye(3), A - 2):
        agree(lambda x, c=constant: x * 1.25 + tg.tensor(c), A)


# --------------------------------------------------------------------------- arguments
def test_orders_of_keys() -> None:
    stacked = tg.jit(lambda d, **more: tg.stack([*d.values(), *more.values()]))
    one, two = B, 2 * B
    for _ in range(2):
        np.testing.assert_array_equal(
            stacked({"a": one, "b": two}, c=one, e=two), [one, two, one, two]
        )
        np.testing.assert_array_equal(
            stacked({"b": two, "a": one}, e=two, c=one), [two, one, two, one]
        )


def test_static_arguments_are_told_apart_by_their_types() -> None:
    f = tg.jit(lambda x, n: x.long() * n[0], static_argnums=1)
    kinds = [f(B, (n,)).dtype for n in (1, 1.0, True, np.float64(1))]
    assert kinds == [np.int64, np.float64, np.int64, np.float64]
    g = tg.jit(lambda x, n: 1 / (x * n[0]), static_argnums=1)
    assert g(A, (0.0,))[0, 0] == np.inf
    assert g(A, (-0.0,))[0, 0] == -np.inf


def test_static_arguments_by_number_or_name() -> None:
    f = tg.jit(lambda x, n: x * 2 if type(n) is float else x, static_argnums=1)
    g = tg.jit(lambda x, n: x * 2 if type(n) is float else x, static_argnames="n")
    for h in (f, g):
        np.testing.assert_array_equal(h(B, 0.5), 2 * B)
        np.testing.assert_array_equal(h(B, n=0.5), 2 * B)


class Scaled:
    """An object with a compiled method."""

    def __init__(self, k: float) -> None:
        self.k, self.w = k, tg.ones(3)

    @tg.jit
    def scaled(self, x: Any) -> Any:
        return x * self.k * self.w


def test_attributes_of_static_arguments() -> None:
    one, two = Scaled(2.0), Scaled(3.0)
    np.testing.assert_array_equal(one.scaled(B), 2 * B)
    np.testing.assert_array_equal(two.scaled(B), 3 * B)
    one.k, two.w = 5.0, tg.tensor([2.0, 2.0, 2.0])
    np.testing.assert_array_equal(one.scaled(B), 5 * B)
    np.testing.assert_array_equal(two.scaled(B), 6 * B)


# --------------------------------------------------------------------------- surroundings
def test_captured_tensor_that_is_not_contiguous() -> None:
    w = tg.tensor(np.arange(6.0).reshape(2, 3)).T
    agree(lambda x: x * w, np.ones((3, 2)))
    agree(lambda x: x * w[::2, 1], np.ones(2))


def test_memory_that_others_see_is_not_written() -> None:
    w = np.zeros(3)

    def f(x: Any) -> Any:
        t = tg.as_tensor(w)
        t[0] += 1
        return x + t

    with pytest.raises(tg.TapeError, match="others can see"):
        tg.jit(f)(B)


def test_values_as_arrays() -> None:
    agree(lambda x: x * x.numpy()[0] + np.asarray(x)[1] + x.tolist()[2], B, -B)

    def f(x: Any) -> Any:
        y = x * 2
        array = y.numpy()
        y[0] = 5
        return y * array[0]

    with pytest.raises(tg.TapeError, match="has an array"):
        tg.jit(f)(B)


def test_constants_among_results_are_copies() -> None:
    f = tg.jit(lambda x: (x * 2, tg.ones(3), tg.zeros(3)[1:], np.ones(2)))
    for x in (B, tg.tensor(B), tg.tensor(B, requires_grad=True)):
        for _ in range(3):
            _, ones, zeros, array = f(x)
            assert (float(sum(ones)), float(sum(zeros)), float(sum(array))) == (3, 0, 2)
            ones[0] = zeros[0] = array[0] = 7


def test_grad_mode_inside() -> None:
    def f(x: Any) -> Any:
        with tg.no_grad():
            c = x * 2
        return (x * c).sum()

    compiled = tg.jit(f)
    for _ in range(2):
        x = tg.tensor(B, requires_grad=True)
        compiled(x).backward()
        np.testing.assert_array_equal(x.grad, 2 * B)


# --------------------------------------------------------------------------- objects, threads
@tg.jit
def doubled(x: Any) -> Any:
    return 2 * x


def plain(x: Any) -> Any:
    return 2 * x


def test_copies_and_pickles() -> None:
    for f in (doubled, tg.jit(plain)):
        for other in (copy.copy(f), copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
            np.testing.assert_array_equal(other(B), 2 * B)
    assert pickle.loads(pickle.dumps(doubled)) is doubled


def test_threads_with_different_shapes() -> None:
    f = tg.jit(lambda x: (x * 2, x.sum()))
    interval = sys.getswitchinterval()
    failures: list[int] = []

    def run(k: int) -> None:
        for i in range(100):
            x = np.arange(1.0 + (3, 5, 300, 20000)[(i + k) % 4])
            double, total = f(x)
            if not np.array_equal(double, 2 * x) or total != x.sum():
                failures.append(len(x))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures


def test_no_lock_stays_behind() -> None:
    before = len(locks._locks)
    for _ in range(3):
        tg.jit(lambda x: x)(B)
    assert len(locks._locks) == before


def test_random_programs() -> None:
    """A few; ``python -m fuzz jit --count 10000`` runs more."""
    from fuzz.jit_programs import run

    assert "WRONG" not in set(run("suite", range(25)))


def test_numbers_among_results_are_copies() -> None:
    """Of a long tape, which is swept while its code is made, and of tensors."""

    def f(x: Any) -> Any:
        for i in range(500):
            x = tg.sin(x) + i
        return x, tg.tensor(0.0)

    compiled = tg.jit(f)
    for x in (B, B, tg.tensor(B), tg.tensor(B), tg.tensor(B, requires_grad=True), B):
        _, zero = compiled(x)
        assert float(zero) == 0
        zero[...] = 7
    assert float(tg.tensor(B).sum() * 0.0) == 0
