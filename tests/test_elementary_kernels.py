"""Our elementary functions stay within one ulp of the exact values, whatever the number."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import os
import re
import subprocess
import sys
from typing import Any

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from llvmlite import ir

import tapegrad as tg
from tapegrad.native.machine_code import compiled
from tapegrad.native.targets import LEVELS, host_levels, machine_of, target, targeting
from tapegrad.native.ufunc_loops import PREFERRED, native_kernel_address
from tapegrad.ops.emitter import emit
from tapegrad.ops.kernels.vectorised import ELEMENTARY, KERNELS
from tapegrad.ops.table import TABLE

MULTIPLES = np.arange(1, 3000) * np.pi / 2
POINTS = {
    "tiny": np.array([0.0, -0.0, 5e-324, 1e-300, -1e-20, 1e-9]),
    "usual": np.linspace(-10, 10, 801),
    "large": np.linspace(-1e12, 1e12, 801),
    "multiples of pi/2": MULTIPLES,
    "beside them": np.concatenate([np.nextafter(MULTIPLES, 0), -np.nextafter(MULTIPLES, np.inf)]),
    # doubles that are close to a multiple of pi/2
    "close": np.array(
        [11.0, 22.0, 44.0, 355.0, 710.0, 103993.0, 104348.0, 208341.0, 312689.0, 833719.0]
    ),
    "beyond the reduction": np.array([1.1e12, 1e15, 1e300]),
}


def in_line(function: Any, **options: Any) -> Any:
    """A compiled function that calls `function` for each number of a vector."""

    def each(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = function(x[i])
        return out

    return tg.njit(each, **options)


IN_LINE = {name: in_line(getattr(math, name)) for name in ("sin", "cos", "exp", "tanh")}


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())
@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("where", ["array", "in line"])
def test_sine_and_cosine_are_within_one_ulp(name: str, where: str, points: np.ndarray) -> None:
    function = getattr(tg, name) if where == "array" else IN_LINE[name]
    found = function(tg.tensor(points, requires_grad=True)).detach().numpy()
    assert (np.signbit(found) == np.signbit(getattr(np, name)(points))).all()
    with mpmath.workprec(1200):
        for x, y in zip(points, found, strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(x)))
            assert abs(mpmath.mpf(float(y)) - exact) <= 0.8 * np.spacing(abs(float(exact))), x


def computed(name: str, *operands: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """What a kernel makes of vectors."""
    out = np.empty(len(operands[0]), operands[0].dtype) if out is None else out
    address = native_kernel_address(f"{KERNELS[name]}_f{8 * out.itemsize}")
    arrays = [*operands, out]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address)(
        (ctypes.c_void_p * 3)(*(x.ctypes.data for x in arrays)), (ctypes.c_ssize_t * 1)(len(out)),
        (ctypes.c_ssize_t * 3)(*(x.strides[0] for x in arrays)), 0,
    )  # fmt: skip
    return out


# --------------------------------------------------------------------------- kernels
RANDOM = np.random.default_rng(14)
#: where formulas change, and what surrounds it
EDGES = np.array([
    0.0, 5e-324, 1e-310, 2.2250738585072014e-308, 1e-300, 5.6e-17, 1e-9, 0.25, 0.34657359027997264,
    math.sqrt(0.5) - 1, math.tan(math.pi / 8), 0.5, math.sqrt(0.5), 1.0, math.sqrt(2), 1.5, math.pi / 2,
    2.0, math.tan(3 * math.pi / 8), math.e, 3.0, 3.5, 5.9, 6.0, 10.0, 18.7, 19.1, 22.0, 26.5, 27.3, 27.5,
    36.7, 37.5, 44.4, 64.0, 100.0, 708.4, 709.78, 709.79, 710.47, 711.0, 745.13, 745.14, 1022.5, 1024.0,
    1074.0, 1075.0, 1e6, 2.0**52 + 1, 2.0**53, 1e15, 1e300, 1.7976931348623157e308, math.inf,
])  # fmt: skip
with np.errstate(over="ignore"):
    EDGES = np.concatenate([EDGES, np.nextafter(EDGES, 0), np.nextafter(EDGES, np.inf)])
EDGES = np.concatenate([EDGES, -EDGES, [math.nan]])
RANGES = {
    "exp": 745, "exp2": 1075, "expm1": 40, "sin": 1e12, "cos": 1e12, "tan": 1e12, "arcsin": 1, "arccos": 1,
    "sinh": 710, "cosh": 710, "tanh": 22, "sigmoid": 745, "erf": 6, "erfc": 27,
}  # fmt: skip
LIMITS = {"tan": 0.99}
EXACT: dict[str, Any] = {
    "exp2": lambda x: mpmath.mpf(2) ** x, "log2": lambda x: mpmath.log(x, 2), "arcsin": mpmath.asin,
    "arccos": mpmath.acos, "arctan": mpmath.atan, "power": mpmath.power,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "erfc": lambda x: mpmath.erfc(min(x, 100)),
}  # fmt: skip
UNARY = [name for name in KERNELS if ELEMENTARY[name].arity == 1]


def numbers(name: str) -> np.ndarray:
    """Random numbers of all magnitudes that a function has a finite value for."""
    wide = RANDOM.integers(0, 0x7FF << 52, 300).view(np.float64) * RANDOM.choice([-1.0, 1.0], 300)
    near = np.exp(RANDOM.uniform(-20, 4, 500)) * RANDOM.choice([-1.0, 1.0], 500)
    x = [
        wide,
        near,
        RANDOM.uniform(-3, 3, 700),
        RANDOM.uniform(-1, 1, 300),
        RANDOM.uniform(0.5, 2, 300),
    ]
    x.append(RANDOM.uniform(-1, 1, 700) * RANGES.get(name, 100))
    return np.concatenate(x)


def ulps(name: str, found: np.ndarray, *operands: np.ndarray) -> float:
    """The largest error of what is finite, in units of the last place of the exact value."""
    function = EXACT.get(name) or getattr(mpmath, name)
    worst = 0.0
    with mpmath.workprec(160), np.errstate(all="ignore"):
        for y, *x in zip(found, *operands, strict=True):
            if not np.isfinite(y):
                continue
            if name in ("sin", "cos", "tan") and abs(x[0]) > 1e6:
                mpmath.mp.prec = 1200
            exact = function(*(mpmath.mpf(float(v)) for v in x))
            unit = (
                mpmath.ldexp(1, max(int(mpmath.floor(mpmath.log(abs(exact), 2))), -1022) - 52)
                if exact
                else 1
            )
            worst = max(worst, float(abs(mpmath.mpf(float(y)) - exact) / unit))
            mpmath.mp.prec = 160
    return worst


@pytest.mark.parametrize("name", UNARY)
def test_errors_are_below_one_ulp(name: str) -> None:
    x = numbers(name)
    assert ulps(name, computed(name, x), x) <= LIMITS.get(name, 0.95)


@pytest.mark.parametrize("name", UNARY)
def test_edges_are_those_of_libm(name: str) -> None:
    """Zeros, infinities and NaN bit for bit, overflow at the same place, all else within an ulp."""
    found = computed(name, EDGES)
    same_as(name, found, np.array([libm(name, x) for x in EDGES]))
    inside = np.isfinite(found)
    assert ulps(name, found[inside], EDGES[inside]) <= LIMITS.get(name, 0.95)


def libm(name: str, *operands: float) -> float:
    """What the C library has."""
    if name == "sigmoid":
        e = libm("exp", -abs(operands[0]))
        return (e if operands[0] < 0 else 1.0) / (1 + e)
    word = ELEMENTARY[name].libm
    assert word is not None
    function = getattr(LIBM, word.name)
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * len(operands)
    return float(function(*operands))


LIBM = ctypes.CDLL(ctypes.util.find_library("m"))


def same_as(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    special = (wanted == 0.0) | ~np.isfinite(wanted) | (found == 0.0) | ~np.isfinite(found)
    np.testing.assert_array_equal(found[special], wanted[special], err_msg=name)
    signed = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[signed], np.signbit(wanted)[signed])


def test_powers_are_within_one_ulp() -> None:
    base = np.abs(RANDOM.integers(0, 0x7FF << 52, 1000).view(np.float64))
    wide = base, RANDOM.uniform(-740, 709, 1000) / np.log(base)
    usual = RANDOM.uniform(0, 10, 1000), RANDOM.uniform(-10, 10, 1000)
    near_one = 1 + RANDOM.uniform(-1e-3, 1e-3, 1000), RANDOM.uniform(-7e5, 7e5, 1000)
    whole = RANDOM.uniform(-9, 9, 1000), RANDOM.integers(-30, 30, 1000).astype(float)
    for x, y in (wide, usual, near_one, whole):
        found = computed("power", x, y)
        assert np.isfinite(found).all()
        assert ulps("power", found, x, y) <= 0.95


def test_powers_at_edges_are_those_of_libm() -> None:
    edges = np.concatenate(
        [EDGES[::3], [-1.0, 1.0, -0.0, 3.0, -3.0, -5.0, 2.0**53 + 2, -math.inf, math.nan]]
    )
    x, y = (v.ravel().copy() for v in np.meshgrid(edges, edges))
    found = computed("power", x, y)
    wanted = np.array([libm("power", *pair) for pair in zip(x, y, strict=True)])
    same_as("power", found, wanted)
    with np.errstate(all="ignore"):
        close = np.abs(found - wanted) <= np.spacing(np.abs(wanted))
    assert close[np.isfinite(wanted)].all()


@pytest.mark.parametrize("name", ["logaddexp", "logaddexp2"])
def test_logarithms_of_sums(name: str) -> None:
    edges = np.array([0.0, -0.0, 1.0, -1e300, 1e-300, 5e-324, 800.0, math.inf, -math.inf, math.nan])
    edges = np.concatenate([edges, RANDOM.uniform(-40, 40, 40), RANDOM.uniform(-1, 1, 20)])
    x, y = (v.ravel().copy() for v in np.meshgrid(edges, edges))
    found = computed(name, x, y)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x, y)
    same_as(name, found, wanted)
    inside = np.isfinite(wanted)
    unit = np.spacing(np.maximum(np.maximum(x, y), 1.0))
    assert (np.abs(found[inside] - wanted[inside]) <= 3 * unit[inside]).all()


@pytest.mark.parametrize("name", KERNELS)
def test_strides_and_operands_that_are_replaced(name: str) -> None:
    operands = RANDOM.uniform(0.1, 0.9, (ELEMENTARY[name].arity, 333))
    wanted = computed(name, *operands)
    for each in (np.repeat(operands, 2, axis=1)[:, ::2], operands[:, ::-1]):
        found = computed(name, *each)
        np.testing.assert_array_equal(found, wanted[::-1] if each.strides[1] < 0 else wanted)
    apart = np.zeros(666)[::2]
    np.testing.assert_array_equal(computed(name, *operands, out=apart), wanted)
    replaced = operands.copy()
    np.testing.assert_array_equal(computed(name, *replaced, out=replaced[0]), wanted)
    np.testing.assert_array_equal(computed(name, *replaced[:, :0]), wanted[:0])
    if name in ("sin", "cos", "tan"):  # libm takes the block
        operands[0, 100] = 1e300
        found = computed(name, *operands)
        np.testing.assert_allclose(found, getattr(np, name)(operands[0]), rtol=5e-16)


@pytest.mark.parametrize("name", KERNELS)
def test_float32_is_rounded_float64(name: str) -> None:
    operands = RANDOM.uniform(-2, 2, (ELEMENTARY[name].arity, 500)).astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = computed(name, *operands.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(computed(name, *operands), wanted)


def test_sine_and_cosine_are_ours() -> None:
    assert (np.sin, "float64") in PREFERRED
    assert (np.cos, "float64") in PREFERRED


# --------------------------------------------------------------------------- loops of compiled code
ROWS = [
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "erf", "erfc", "sigmoid", "logsigmoid",
    "logaddexp", "logaddexp2",
]  # fmt: skip


def loop_of(row: str, double: Any, orders: tuple[int, ...] = ()) -> tuple[Any, list[Any]]:
    """A module with a loop over a row, and the truth values that its code appended."""
    entry, module = TABLE[row], ir.Module(row)
    word = ir.IntType(64)
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [double.as_pointer()] * 3 + [word]), "loop"
    )
    for pointer in function.args[:3]:
        pointer.add_attribute("noalias")
    start, loop, end = (function.append_basic_block(name) for name in ("start", "loop", "end"))
    ir.IRBuilder(start).branch(loop)
    builder = ir.IRBuilder(loop)
    i = builder.phi(word)
    x, y, out = (builder.gep(pointer, [i]) for pointer in function.args[:3])
    values = [builder.load(x), builder.load(y)][: entry.arity]
    inside: list[Any] = []
    result = emit(builder, entry, values, [ir.Constant(word, n) for n in orders], inside)
    for truth in inside:
        result = builder.select(truth, result, ir.Constant(double, math.nan))
    builder.store(result, out)
    following = builder.add(i, ir.Constant(word, 1))
    i.add_incoming(ir.Constant(word, 0), start)
    i.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, function.args[3]), loop, end)
    ir.IRBuilder(end).ret_void()
    return module, inside


def assembly(module: Any) -> str:
    """LLVM's text of a module for the target of now, as `machine_code.compiled` has it."""
    machine = machine_of(target())
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.loop_unrolling = True, False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    return str(machine.emit_assembly(parsed))


@pytest.mark.parametrize("orders", [(1, 0), (2, 0), (0, 1)])
def test_slopes_of_powers_are_vectorised_and_those_of_the_kernel(orders: tuple[int, int]) -> None:
    if "x86-64-v3" not in [level.name for level in host_levels()]:
        pytest.skip("for AMD64 only")
    with targeting(LEVELS["x86-64-v3"]):
        module, _ = loop_of("pow_derivative", ir.DoubleType(), orders)
        text = assembly(module)
        machine = machine_of.__wrapped__(target())  # which the engine will own
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(compiled(module)))
    assert not re.search(r"\bcall", text)
    edges = np.array([0.0, -0.0, 1.0, 2.0, -1.5, -2.0, 0.5, 3.0, 1e-300, 1e300, math.inf, math.nan])
    x, y = (v.ravel().copy() for v in np.meshgrid(edges, edges))
    found = np.empty(len(x))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    run(engine.get_function_address("loop"))(
        x.ctypes.data, y.ctypes.data, found.ctypes.data, len(x)
    )
    wanted = tg.tensor(x)._pow_derivative(tg.tensor(y), dx=orders[0], dy=orders[1]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


@pytest.mark.parametrize("kind", [ir.DoubleType(), ir.FloatType()], ids=["float64", "float32"])
@pytest.mark.parametrize("row", ROWS)
def test_loops_are_vectorised(row: str, kind: Any) -> None:
    """None of LLVM's code calls anything, and it multiplies vectors."""
    if "x86-64-v3" not in [level.name for level in host_levels()]:
        pytest.skip("for AMD64 only")
    with targeting(LEVELS["x86-64-v3"]):
        module, inside = loop_of(row, kind)
        text = assembly(module)
    assert bool(inside) == (row in ("sin", "cos", "tan"))
    assert not re.search(r"\bcall", text)
    assert re.search(r"vfn?m(add|sub)\d+pd.*ymm", text)


def test_powers_of_e_print_as_everywhere() -> None:
    """PyTorch's tutorials print them."""
    numbers = list(range(-40, 41))
    found = computed("exp", np.array(numbers, float))
    assert found.tolist() == [math.exp(k) for k in numbers]


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_non_finite(name: str) -> None:
    x = tg.tensor([np.inf, -np.inf, np.nan], requires_grad=True)
    assert np.isnan(getattr(tg, name)(x).detach().numpy()).all()
    assert np.isnan(IN_LINE[name](x).detach().numpy()).all()


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "tanh"])
def test_fastmath_leaves_formulas_as_they_are(name: str) -> None:
    """It would drop what carries rounding errors, and the sums that round to an integer."""
    points = np.concatenate([np.linspace(-20, 20, 201), [-0.0]])
    x = tg.tensor(points, requires_grad=True)
    usual, fast = IN_LINE[name](x), in_line(getattr(math, name), fastmath=True)(x)
    np.testing.assert_array_equal(fast.detach().numpy(), usual.detach().numpy())


WITHOUT_FMA = """
import math
import os
import subprocess
import sys

import numpy as np

import tapegrad as tg
from tapegrad.native import targets

assert not targets.has_fma()


@tg.njit
def summed(x):
    total = 0.0
    for i in range(len(x)):
        total += math.sin(x[i]) * math.exp(x[i]) * math.tanh(x[i])
    return total


x = tg.tensor([0.3, 2.0, -5.0], requires_grad=True)
(wanted,) = tg.autograd.grad((x.sin() * x.exp() * x.tanh()).sum(), x)
value = summed(x)
(found,) = tg.autograd.grad(value, x)
assert value.item() == summed.primal(x.detach().numpy())
assert np.allclose(found.numpy(), wanted.numpy(), 1e-14, 1e-14)
for function, of_python in ((tg.erf, math.erf), (tg.erfc, math.erfc)):
    assert function(x).tolist() == [of_python(value) for value in x.tolist()]
    assert tg.njit(lambda x: of_python(x[0]))(x).item() == of_python(0.3)
assert x.sigmoid().tolist() == [1 / (1 + math.exp(-value)) for value in x.tolist()]
"""


def test_processors_without_fused_multiply_add_have_libm() -> None:
    """Functions are then those of the C library, in arrays and in compiled functions."""
    if "x86-64-v2" not in [level.name for level in host_levels()]:
        pytest.skip("for AMD64 only")
    env = {**os.environ, "TAPEGRAD_TARGET": "x86-64-v2"}
    subprocess.run([sys.executable, "-c", WITHOUT_FMA], check=True, timeout=900, env=env)
