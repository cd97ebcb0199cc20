"""Generated adjoint kernels do the same as the chains they stand for, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fast_paths import fast_paths

import tapegrad as tg
from tapegrad.base.dtypes import from_numpy_dtype
from tapegrad.native import abi as nt
from tapegrad.ops.instruction import ITAB, VTAB, instruction
from tapegrad.ops.layout import contiguous
from tapegrad.ops.table import TABLE
from tapegrad.rules import fusion as fuse
from tapegrad.tape import ending

Function = Callable[..., Any]


def heat() -> int:
    """Compile every program there is a recipe for."""
    VTAB.rows[: VTAB.count, nt.V_WORK] = 1 << 60
    return fuse.heat(force=True)


def bits(values: list[Any]) -> list[bytes]:
    return [v.detach().numpy().tobytes() for v in values]


def grads(function: Function, arrays: list[np.ndarray]) -> list[Any]:
    leaves = [tg.tensor(a, dtype=from_numpy_dtype(a.dtype), requires_grad=True) for a in arrays]
    out = function(*leaves)
    seed = np.cos(np.arange(out.numel(), dtype=float)).reshape(out.shape)
    return list(tg.autograd.grad(out, leaves, tg.tensor(seed, dtype=out.dtype)))


@pytest.fixture(autouse=True)
def _cold() -> Any:
    """Only what the test itself runs becomes hot."""
    heat()
    yield
    heat()


EXPRESSIONS: dict[str, Function] = {
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "sub": lambda x, y: x - y * y,
    "neg": lambda x, y: -(x * y),
    "reciprocal": lambda x, y: (x * y).reciprocal(),
    "square": lambda x, y: (x - y).square(),
    "tanh": lambda x, y: (x * y).tanh(),
    "exp": lambda x, y: (x - y).exp(),
    "log": lambda x, y: (x * x + y * y).log(),
    "sin": lambda x, y: (x * y).sin() + (x + y).cos(),
    "sqrt": lambda x, y: (x * x + y * y).sqrt(),
    "pow": lambda x, y: (x * x + 0.1) ** y,
    "sigmoid": lambda x, y: (x * y).sigmoid() / (1 + y * y),
    "maximum": lambda x, y: tg.maximum(x, y) * x,
    "abs": lambda x, y: (x * y).abs(),
    "same operand": lambda x, y: x * x * y / (x * x + 1),
    "hypot": lambda x, y: tg.hypot(x, y),
    "number": lambda x, y: 3 / (x * 2 + y * 0.5 + 7),
}
SHAPES = {
    "scalars": ((), ()),
    "vectors": ((5,), (5,)),
    "long": ((3000,), (3000,)),
    "row and column": ((4, 1), (1, 3)),
    "vector and scalar": ((7,), ()),
    "matrix and row": ((40, 30), (30,)),
    "one element": ((1, 1), (1,)),
    "empty": ((0, 3), (1,)),
}


@pytest.fixture(autouse=True)
def _cold_programs() -> None:
    """Programs of a family that an earlier test has made hot end."""
    tg.current_tape().collect()
    ending.end_unneeded(recent=False)


def operands(shapes: tuple[tuple[int, ...], ...], kind: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [(rng.uniform(0.4, 1.7, s) * rng.choice([-1, 1], s)).astype(kind) for s in shapes]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_kernels_change_no_bit(shape: str, kind: Any) -> None:
    arrays = operands(SHAPES[shape], kind)
    cold = {n: bits(grads(f, arrays)) for n, f in EXPRESSIONS.items()}
    compiled = heat()
    assert compiled > 0
    for name, function in EXPRESSIONS.items():
        hot = bits(grads(function, arrays))
        if shape in ("vectors", "long", "scalars", "one element", "empty"):
            assert hot == cold[name], name
            continue
        for a, b in zip(hot, cold[name], strict=True):  # sums may be done in another order
            np.testing.assert_allclose(
                np.frombuffer(a, kind), np.frombuffer(b, kind), rtol=1e-4 if kind is np.float32 else 1e-13,
                atol=1e-5 if kind is np.float32 else 1e-14, err_msg=name,
            )  # fmt: skip


def _strided(x: Any, y: Any, how: str) -> Any:
    if how == "transposed":
        return x.T * y.T.exp() / (y.T * y.T + 1)
    if how == "stepped":
        return (x[:, ::2] * y[:, 1::2]).tanh() / y[:, ::2]
    if how == "column":
        return x[:, 1] * x[:, 0] - y[0, :4] / x[:, 2]
    if how == "expanded":
        return x[:1].expand(4, 4) * y / x
    if how == "mixed":
        return x * y.T - x.T / (y * y)
    assert how == "blocks"
    return x[1:3, 1:3] * y[:2, 2:] / x[:2, :2]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("how", ["transposed", "stepped", "column", "expanded", "mixed", "blocks"])
def test_strided_operands(how: str, kind: Any) -> None:
    arrays = operands(((4, 4), (4, 4)), kind)
    cold = bits(grads(lambda x, y: _strided(x, y, how), arrays))
    assert heat() > 0
    hot = bits(grads(lambda x, y: _strided(x, y, how), arrays))
    for a, b in zip(hot, cold, strict=True):
        left, right = np.frombuffer(a, kind), np.frombuffer(b, kind)
        if how == "expanded":
            np.testing.assert_allclose(left, right, rtol=1e-5 if kind is np.float32 else 1e-14)
        else:
            np.testing.assert_array_equal(left, right)


def test_assigning_and_accumulating() -> None:
    """The first use of an adjoint assigns, the next ones add; both are compiled."""

    def function(x: Any, y: Any) -> Any:
        a = x * y
        return a * y + a / x + a * a * x + x * y

    arrays = operands(((50,), (50,)), np.float64)
    cold = bits(grads(function, arrays))
    assert heat() > 0
    assert bits(grads(function, arrays)) == cold
    assert bits(grads(function, arrays)) == cold


@pytest.mark.parametrize(
    "entry",
    [e for e in TABLE.values() if e.loop is not None and e.vjp is not None and e.arity in (1, 2)
     and e.torch and callable(getattr(tg, e.torch or "", None))],
    ids=lambda e: e.name,
)  # fmt: skip
def test_every_elementwise_row(entry: Any) -> None:
    """Whatever a row's VJP is made of, compiling it changes no bit."""
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(0.25, 0.75, 33) + (0.9 if entry.domain == "above_one" else 0)
              for _ in range(entry.arity)]  # fmt: skip
    function = getattr(tg, entry.torch)
    cold = bits(grads(lambda *xs: function(*xs) * xs[0] + function(*xs), arrays))
    heat()
    assert bits(grads(lambda *xs: function(*xs) * xs[0] + function(*xs), arrays)) == cold


@fast_paths
def test_programs_become_hot_by_themselves() -> None:
    ending.end_unneeded(recent=False)  # or its programs are those of another length, hot already
    x = tg.tensor(np.linspace(0.1, 0.9, 50_000), requires_grad=True)
    first = None
    for _ in range(64):
        x.grad = None
        (x * x[0] / (x * x + 0.7)).sum().backward()
        first = first or x.grad.numpy().tobytes()
    quotient = instruction(TABLE["div"], (contiguous(tg.float64, (50_000,)),) * 2)
    row = ITAB.rows[quotient.id, nt.I_VJP]
    assert VTAB.rows[row, nt.V_HOT]
    np.testing.assert_allclose(x.grad.numpy(), np.frombuffer(first), rtol=1e-12)


def test_programs_of_complex_numbers_run_on_as_they_are() -> None:
    z = np.exp(1j * np.linspace(0.1, 0.9, 4_000))
    x = tg.tensor(z, requires_grad=True)

    def gradient() -> bytes:
        x.grad = None
        ((x * x + x).sin() * x.exp() / (x + 2)).abs().sum().backward()
        return x.grad.numpy().tobytes()

    cold = gradient()
    heat()
    assert gradient() == cold


def test_second_derivatives_of_hot_programs() -> None:
    x = tg.tensor(np.linspace(0.1, 0.9, 40), requires_grad=True)

    def second() -> bytes:
        (g,) = tg.autograd.grad((x.exp() / (x * x + 1)).sum(), x, create_graph=True)
        (h,) = tg.autograd.grad((g * g).sum(), x)
        return h.numpy().tobytes()

    cold = second()
    assert heat() > 0
    assert second() == cold


def test_the_same_arithmetic_is_compiled_once() -> None:
    fuse.kernel.cache_clear()
    for n in (11, 12, 13, 14):
        arrays = operands(((n, 2), (2,)), np.float64)  # lengths alone would share their programs
        grads(lambda x, y: x / (y * y), arrays)
    heat()
    info = fuse.kernel.cache_info()
    assert info.hits > info.misses


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError("cannot allocate memory")])
def test_where_there_is_no_room_to_compile_programs_run_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    arrays = operands(SHAPES["vectors"], np.float64)
    function = next(iter(EXPRESSIONS.values()))
    cold = bits(grads(function, arrays))
    monkeypatch.setattr(fuse, "fused", fail)
    assert heat() == 0
    assert bits(grads(function, arrays)) == cold
