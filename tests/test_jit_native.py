"""Native functions of compiled ones: by ctypes, through SciPy, and under ``numba.njit``."""

from __future__ import annotations

import ctypes
import gc
import math
import pickle
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.jit_compiler.native_function import NativeFunction


def pointer(array: np.ndarray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(np.ctypeslib.as_ctypes_type(array.dtype)))


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def wave(x: Any, w: Any) -> Any:
    return tg.exp(-x * w[0]) * tg.sin(x * w[1])


# --------------------------------------------------------------------------- C
def test_a_c_function_of_a_number() -> None:
    native = tg.jit(lambda x: tg.sin(x) * x + 2).native(1.5)
    assert native.signature == "int lambda(double x, double *out)"
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double, ctypes.POINTER(ctypes.c_double))
    out = ctypes.c_double()
    for x in (0.0, 1.5, -3.25):
        assert kind(native.address)(x, out) == 0
        assert out.value == native(x) == pytest.approx(math.sin(x) * x + 2, rel=1e-15)


@pytest.mark.parametrize("n", [2, 10, 1000, 100_000])
def test_a_c_function_of_an_array(n: int) -> None:
    step = tg.jit(tg.value_and_grad(rosenbrock))
    native = step.native(np.zeros(n))
    assert (
        native.signature == f"int rosenbrock(const double x[{n}], double *out0, double out1[{n}])"
    )
    x = np.linspace(-1, 1, n)
    value, gradient = np.empty(()), np.full(n, np.nan)
    assert native.ctypes(pointer(x), pointer(value), pointer(gradient)) == 0
    expected = step(x)
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.bool_])
def test_dtypes(kind: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        return x | y if kind is np.bool_ else x * y, (x == y).sum(), x[0] > y

    jitted = tg.jit(f)
    x, y = np.array([0, 1, 1], kind), np.array(1, kind)
    native = jitted.native(x, y)
    found, expected = native(x, y), jitted(x, y)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[0].dtype == kind


def test_names_are_those_of_parameters() -> None:
    def f(p: Any, /, *rest: Any, double: Any, n: int) -> Any:
        return p["a"] * p["b c"][1] + rest[0] * double * n

    native = tg.jit(f).native({"a": 1.0, "b c": (2, np.ones(3))}, 1.0, double=2.0, n=3)
    declared = (
        "int f(double p_a, const double p_b_c_1[3], double x1, double x_double, double out[3])"
    )
    assert native.signature == declared
    np.testing.assert_array_equal(native(1.0, np.ones(3), 1.0, 2.0), [7.0] * 3)
    assert tg.jit(lambda out, x_: out * x_).native(1.0, 2.0).signature == (
        "int lambda(double out, double x, double out_)"
    ).replace("double out_)", "double *out_)")


def test_static_arguments_and_methods() -> None:
    class Model:
        rate = 3.0

        @tg.jit
        def step(self, x: Any, power: int) -> Any:
            return self.rate * x**power

    model = Model()
    native = Model.step.native(model, np.ones(2), 2)
    assert native.names == ("x",)
    np.testing.assert_array_equal(native(np.array([1.0, 2.0])), [3, 12])


def test_the_shapes_of_results() -> None:
    def f(x: Any) -> Any:
        return {"a": x, "b": [x.sum(), (x[0], 7)]}, None, tg.outer(x, x)

    native = tg.jit(f).native(np.zeros(2))
    (a, (total, (first, seven))), nothing, outer = native(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(a, [1, 2])
    assert (total, first, seven, nothing) == (3.0, 1.0, 7, None)
    np.testing.assert_array_equal(outer, [[1, 2], [2, 4]])
    assert "double out3[2][2]" in native.signature


def test_no_arguments_and_empty_arrays() -> None:
    ones = tg.ones(2)
    native = tg.jit(lambda: ones * 2).native()
    np.testing.assert_array_equal(native(), [2, 2])
    native = tg.jit(lambda x: (x * 2, x.sum())).native(np.zeros((0, 3)))
    found = native(np.zeros((0, 3)))
    assert found[0].shape == (0, 3)
    assert found[1] == 0


def test_numbers_outside_of_the_range_of_a_formula() -> None:
    """Sine is computed by another code beyond 2**40."""
    jitted = tg.jit(lambda x: tg.sin(x).sum() + tg.exp(x * 0))
    native = jitted.native(np.zeros(1000))
    x = np.linspace(0, 1, 1000)
    for scale in (1.0, 1e15, 1.0):
        np.testing.assert_array_equal(native(x * scale), jitted(x * scale))
        assert native(x * scale)[0] == pytest.approx(np.sin(x * scale).sum() + 1, rel=1e-12)


# --------------------------------------------------------------------------- statuses
def test_a_value_that_is_read() -> None:
    def f(x: Any) -> Any:
        return x * 2 if x.sum() > 0 else -x

    up, down = tg.jit(f).native(np.ones(2)), tg.jit(f).native(-np.ones(2))
    x, out = np.array([1.0, 2.0]), np.zeros(2)
    assert up.ctypes(pointer(x), pointer(out)) == 0
    np.testing.assert_array_equal(out, 2 * x)
    assert down.ctypes(pointer(x), pointer(out)) == 1
    np.testing.assert_array_equal(down(-x), x)
    with pytest.raises(RuntimeError, match="f: a value that the function reads is not what"):
        up(-x)


def test_several_values_that_are_read() -> None:
    @tg.jit
    def halved(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x

    native = halved.native(np.array([5.0, 3.0]))
    np.testing.assert_array_equal(native(np.array([6.0, 1.0])), [0.75, 0.125])
    for x in ([1.0, 2.0], [50.0, 3.0], [0.0, 0.0]):
        with pytest.raises(RuntimeError, match="value that the function reads"):
            native(np.array(x))


def test_all_ways_that_are_known() -> None:
    weight = tg.tensor([1.0, 2.0])

    def f(x: Any) -> Any:
        if x[0] > 10:
            return x / 10, len(x)
        if x.sum() > 0:
            return weight * x, 2
        return x[x.sum().long()] - x, 2

    jitted = tg.jit(f)
    for x in ([1.0, 1.0], [11.0, 0.0], [-1.0, 1.0]):
        jitted(np.array(x))
    native = jitted.native(np.array([1.0, 1.0]))
    for copy in (native, pickle.loads(pickle.dumps(native))):
        np.testing.assert_array_equal(copy(np.array([3.0, 4.0]))[0], [3, 8])
        np.testing.assert_array_equal(copy(np.array([20.0, 40.0]))[0], [2, 4])
        np.testing.assert_array_equal(copy(np.array([-2.0, 2.0]))[0], [0, -4])
        with pytest.raises(IndexError, match="an index is out of bounds"):
            copy(np.array([-9.0, 1.0]))


def test_ways_with_other_results_are_left_out() -> None:
    @tg.jit
    def halved(x: Any) -> Any:
        steps = 0
        while x.sum() > 1:
            x, steps = x / 2, steps + 1
        return x, steps

    for x in ([1.0, 2.0], [5.0, 3.0]):
        halved(np.array(x))
    native = halved.native(np.array([6.0, 1.0]))
    assert native(np.array([5.0, 3.0]))[1] == 3
    with pytest.raises(RuntimeError):
        native(np.array([1.0, 2.0]))


def test_ways_of_other_surroundings_are_left_out() -> None:
    rate = 3.0
    jitted = tg.jit(lambda x: x * rate if x > 0 else x - rate)
    for x in (1.0, -1.0):
        jitted(x)
    rate = 5.0
    for x in (1.0, -1.0):
        jitted(x)
    native = jitted.native(1.0)
    assert [native(2.0), native(-2.0)] == [10, -7]
    rate = 3.0
    native = jitted.native(1.0)
    assert [native(2.0), native(-2.0)] == [6, -5]


def test_code_is_used_again() -> None:
    """Where a native function goes, its code serves the next one of the same kind."""
    addresses = set()
    for i in range(5):
        native = tg.jit(lambda x, i=i: x * tg.tensor([1.0, i])).native(np.ones(2))
        np.testing.assert_array_equal(native(np.ones(2)), [1, i])
        addresses.add(native.address)
        del native
        gc.collect()
    assert len(addresses) == 1


def test_statements_that_fail() -> None:
    native = tg.jit(lambda x, i: tg.index_select(x, 0, i)).native(np.ones(3), np.array([0, 2]))
    np.testing.assert_array_equal(native(np.arange(3.0), np.array([2, 1])), [2, 1])
    with pytest.raises(IndexError, match=r"lambda: .*: an index is out of bounds"):
        native(np.ones(3), np.array([0, 3]))
    np.testing.assert_array_equal(native(np.arange(3.0), np.array([2, 1])), [2, 1])


def test_arguments_are_checked_in_python() -> None:
    native = tg.jit(lambda x, c: x * c).native(np.ones((2, 3)), 2.0)
    np.testing.assert_array_equal(native(np.ones((3, 2)).T, 3), 3 * np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"`x` is float64 of shape \[2, 3\], not float64 of shape"):
        native(np.ones((3, 2)), 2.0)
    with pytest.raises(TypeError, match=r"`x` is float64 of shape \[2, 3\], not int64"):
        native(np.ones((2, 3), np.int64), 2.0)
    with pytest.raises(TypeError, match="takes 2 arguments, not 1"):
        native(np.ones((2, 3)))


# --------------------------------------------------------------------------- what it keeps
def test_surroundings_are_as_they_were() -> None:
    weight, table, rate = tg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0]), 2.0

    def f(x: Any) -> Any:
        return (x * weight * tg.tensor(table) * rate, tg.as_tensor(table) + x)

    jitted = tg.jit(f)
    native = jitted.native(np.ones(2))
    before = native(np.ones(2))
    with tg.no_grad():
        weight += 1
    table[:] = 0
    rate = 5.0
    for a, b in zip(native(np.ones(2)), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(before[0], [6, 16])
    np.testing.assert_array_equal(jitted(np.ones(2))[0].detach(), [0, 0])


def test_tensors_as_examples() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    native = tg.jit(tg.value_and_grad(lambda x: (x * x).sum())).native(x.t())
    assert native.signature == "int lambda(const double x[2][2], double *out0, double out1[2][2])"
    np.testing.assert_array_equal(native(np.ones((2, 2)))[1], np.full((2, 2), 2.0))


def test_it_goes_when_nobody_has_it() -> None:
    gc.disable()
    try:
        native = tg.jit(lambda x: x * 3).native(1.0)
        assert native(2.0) == 6
        assert native.ctypes is not None
        reference = weakref.ref(native)
        del native
        assert reference() is None
    finally:
        gc.enable()


def test_captured_tensors_with_strides() -> None:
    matrix = tg.arange(12.0).reshape(3, 4).t()[1:, ::2]
    jitted = tg.jit(lambda x: matrix @ x + matrix.sum(1))
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(jitted.native(x)(x), jitted(x))


def test_it_lives_as_long_as_anything_that_calls_it() -> None:
    big = np.arange(1000.0)

    def pointers() -> tuple[Any, Any]:
        native = tg.jit(lambda x: (x * tg.as_tensor(big)).sum()).native(0.0)
        return native.ctypes, native.low_level_callable()

    function, callable_ = pointers()
    gc.collect()
    fill = [np.full(1000, 7.0) for _ in range(100)]
    out = ctypes.c_double()
    assert function(2.0, out) == 0
    assert out.value == 2 * big.sum()
    integrate = pytest.importorskip("scipy.integrate")
    assert integrate.quad(callable_, 0, 1)[0] == pytest.approx(big.sum() / 2)
    del fill


def test_pickles_as_its_tape() -> None:
    weight = tg.tensor([1.0, 2.0])
    native = tg.jit(lambda x: ((x * weight).sum(), "text", x if x[0] > 0 else -x)).native(
        np.ones(2)
    )
    copy: NativeFunction = pickle.loads(pickle.dumps(native))
    assert copy.address != native.address
    assert copy.signature == native.signature
    x = np.array([3.0, 4.0])
    assert copy(x)[:2] == native(x)[:2] == (11.0, "text")
    with pytest.raises(RuntimeError, match="value that the function reads"):
        copy(-x)


def test_a_tape_from_a_file(tmp_path: Any) -> None:
    tg.trace(rosenbrock)(tg.zeros(5)).gradient().save(tmp_path / "tape.npz")
    tape = tg.load_tape(tmp_path / "tape.npz")
    native = tg.jit(tape).native(np.zeros(5))
    x = np.linspace(0, 1, 5)
    assert native(x)[0] == pytest.approx(tape(x)[0].item())


def test_a_long_function() -> None:
    """It is compiled in the background, and waited for."""

    def chain(x: Any) -> Any:
        for i in range(300):
            x = tg.sin(x * (1 + 1 / (i + 1) ** (1 + i % 7))) + (x if i % 3 else 1)
        return x

    jitted = tg.jit(chain)
    native = jitted.native(np.float64(0.5))
    assert native(0.5) == pytest.approx(float(jitted(np.float64(0.5))), rel=1e-9)


def test_inside_of_another_function() -> None:
    f = tg.jit(lambda x: x * 2)
    with pytest.raises(tg.TapeError, match="cannot make a native function"):
        tg.jit(lambda x: f.native(x))(np.ones(2))


# --------------------------------------------------------------------------- threads
@pytest.mark.parametrize("n", [30, 30_000])
def test_many_threads(n: int) -> None:
    """Each call has temporaries of its own."""

    def f(x: Any) -> Any:
        return tg.cumsum(tg.sort(tg.sin(x)).values, 0) @ tg.flip(x, (0,)), tg.softmax(x, 0)

    jitted = tg.jit(f)
    native = jitted.native(np.zeros(n))
    inputs = [np.random.default_rng(i).normal(size=n) for i in range(8)]
    expected = [jitted(x) for x in inputs]

    def run(k: int) -> None:
        for i in range(40):
            x, (a, b) = inputs[(i + k) % 8], expected[(i + k) % 8]
            found = native(x)
            assert found[0] == a
            np.testing.assert_array_equal(found[1], b)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))


# --------------------------------------------------------------------------- SciPy
def forms(f: Callable[..., Any], *examples: Any) -> NativeFunction:
    pytest.importorskip("scipy")
    native: NativeFunction = tg.jit(f).native(*examples)
    return native


def test_quad() -> None:
    native = forms(lambda x: tg.sin(x) * x, 0.0)
    from scipy.integrate import quad

    assert native.low_level_callable().signature == "double (double)"
    expected = quad(lambda x: math.sin(x) * x, 0, 2)
    assert quad(native.low_level_callable(), 0, 2) == pytest.approx(expected, rel=1e-14)


def test_quad_with_arguments() -> None:
    from scipy.integrate import IntegrationWarning, quad

    for native in (
        forms(lambda x, a, b: tg.exp(-x * a) * b, 0.0, 0.0, 0.0),
        forms(lambda x, w: tg.exp(-x * w[0]) * w[1], 0.0, np.zeros(2)),
        forms(lambda v: tg.exp(-v[0] * v[1]) * v[2], np.zeros(3)),
    ):
        function = native.low_level_callable()
        assert function.signature == "double (int, double *)"
        value, _ = quad(function, 0, 1, args=(2.0, 3.0))
        assert value == pytest.approx(3 * (1 - math.exp(-2)) / 2)
        with pytest.warns(IntegrationWarning):  # of another number of numbers
            assert math.isnan(quad(function, 0, 1, args=(2.0,))[0])


def test_quad_with_data() -> None:
    from scipy.integrate import quad

    native, data = forms(wave, 0.0, np.zeros(2)), np.array([1.0, 2.0])
    function = native.low_level_callable(data)
    assert function.signature == "double (double, void *)"
    assert quad(function, 0, np.inf)[0] == pytest.approx(0.4)
    data[:] = 2.0, 1.0  # seen, as it is memory
    assert quad(function, 0, np.inf)[0] == pytest.approx(0.2)
    del data
    gc.collect()
    assert quad(function, 0, np.inf)[0] == pytest.approx(0.2)
    number = forms(lambda x, a: x * a, 0.0, 0.0).low_level_callable(np.array(3.0))
    assert quad(number, 0, 1)[0] == pytest.approx(1.5)


def test_nquad() -> None:
    from scipy.integrate import dblquad, nquad

    native = forms(lambda x, y, w: tg.exp(-x) * y * w[0] + w[1], 0.0, 0.0, np.zeros(2))
    function = native.low_level_callable(np.array([2.0, 1.0]))
    assert function.signature == "double (int, double *, void *)"
    expected = 2 * (1 - math.exp(-1)) * 0.5 + 1
    assert nquad(function, [(0, 1), (0, 1)])[0] == pytest.approx(expected)
    product = forms(lambda y, x: x * y, 0.0, 0.0).low_level_callable()
    assert dblquad(product, 0, 1, 0, 2)[0] == pytest.approx(1.0)


def test_an_integrand_that_goes_another_way() -> None:
    from scipy.integrate import IntegrationWarning, quad

    native = forms(lambda x: x if x < 0.5 else x * 0, 0.1)
    assert quad(native.low_level_callable(), 0, 0.4)[0] == pytest.approx(0.08)
    with pytest.warns(IntegrationWarning):
        assert math.isnan(quad(native.low_level_callable(), 0, 1)[0])


def test_filters_of_images() -> None:
    from scipy import ndimage

    image = np.random.default_rng(0).normal(size=(9, 7))
    spread = forms(lambda v: (v * v).mean() - v.mean() ** 2, np.zeros(9))
    found = ndimage.generic_filter(image, spread.low_level_callable(use="generic_filter"), 3)
    np.testing.assert_allclose(found, ndimage.generic_filter(image, np.var, 3), atol=1e-12)
    weighed = forms(lambda v, w: (v * w).sum(), np.zeros(9), np.zeros(9))
    weights = np.arange(9.0)
    function = weighed.low_level_callable(weights, "generic_filter")
    expected = ndimage.correlate(image, weights.reshape(3, 3), mode="reflect")
    np.testing.assert_allclose(ndimage.generic_filter(image, function, 3), expected)
    with pytest.raises(RuntimeError):  # five elements, not nine
        ndimage.generic_filter(image, function, footprint=np.eye(5))


def test_filters_of_lines() -> None:
    from scipy import ndimage

    image = np.random.default_rng(0).normal(size=(5, 6))
    native = forms(lambda v: v[:-2] + 2 * v[1:-1] + v[2:], np.zeros(8))
    function = native.low_level_callable(use="generic_filter1d")
    found = ndimage.generic_filter1d(image, function, 3)
    np.testing.assert_allclose(found, ndimage.correlate1d(image, [1, 2, 1], mode="reflect"))
    with pytest.raises(RuntimeError):
        ndimage.generic_filter1d(image[:, :5], function, 3)


def test_transforms_of_coordinates() -> None:
    from scipy import ndimage

    image = np.arange(20.0).reshape(4, 5)
    native = forms(lambda i, shift: i.double() - shift, np.zeros(2, np.int64), np.zeros(2))
    function = native.low_level_callable(np.array([0.5, 1.0]), "geometric_transform")
    expected = ndimage.geometric_transform(image, lambda i: (i[0] - 0.5, i[1] - 1.0))
    np.testing.assert_allclose(ndimage.geometric_transform(image, function), expected)


def test_functions_that_scipy_does_not_take() -> None:
    native = forms(lambda x: x, np.zeros(2))
    with pytest.raises(
        TypeError, match="for quad, the result must be one float64; the function is"
    ):
        native.low_level_callable()
    with pytest.raises(TypeError, match="for geometric_transform, arguments must be of int64"):
        native.low_level_callable(use="geometric_transform")
    with pytest.raises(ValueError, match="use must be one of quad, generic_filter"):
        native.low_level_callable(use="minimize")
    native = forms(wave, 0.0, np.zeros(2))
    for data in (np.zeros(3), np.zeros(2, np.float32), np.zeros((2, 2))[:, 0], [1.0, 2.0]):
        with pytest.raises(ValueError, match="user_data stands for `w`, and must be a contiguous"):
            native.low_level_callable(data)


# --------------------------------------------------------------------------- numba
numba = pytest.importorskip("numba")


def test_in_compiled_loops() -> None:
    native = tg.jit(tg.value_and_grad(rosenbrock)).native(np.zeros(3))

    @numba.njit
    def descended(x: Any, rate: float, steps: int) -> Any:
        value = 0.0
        for _ in range(steps):
            value, gradient = native(x)
            x = x - rate * gradient
        return value, x

    x, value = np.zeros(3), 0.0
    found = descended(x, 1e-3, 500)
    for _ in range(500):
        value, gradient = native(x)
        x = x - 1e-3 * gradient
    assert found[0] == value
    np.testing.assert_array_equal(found[1], x)


def test_dtypes_and_structures_in_compiled_code() -> None:
    def f(x: Any, k: Any, flag: Any, n: Any) -> Any:
        return (x * k, (flag, 3, 2.5, True, None)), [k + 1, x.float(), (n > k) & flag]

    jitted = tg.jit(f)
    args = np.ones((2, 3)), np.array(2), np.array(True), np.float64(1.5)
    native = jitted.native(*args)

    @numba.njit
    def call(x: Any, k: int, flag: bool, n: float) -> Any:
        return native(x, k, flag, n)

    found = call(np.full((2, 3), 2.0), 4, False, 4.5)
    np.testing.assert_array_equal(found[0][0], np.full((2, 3), 8.0))
    assert found[0][1] == (False, 3, 2.5, True, None)
    assert found[1][0] == 5
    assert found[1][1].dtype == np.float32
    assert found[1][2] is False
    assert call(np.ones((2, 3)), 1, True, 2)[1][2] is True
    assert call(np.ones((2, 3)), True, True, 2)[1][0] == 2  # a bool is an int


def test_what_is_wrong_raises_in_compiled_code() -> None:
    double = tg.jit(lambda x: 2 * x if x[0, 0] > 0 else x).native(np.ones((2, 3)))
    select = tg.jit(lambda x, i: x[i]).native(np.ones(3), np.zeros(1, np.int64))

    @numba.njit
    def call(x: Any) -> Any:
        return double(x)

    @numba.njit
    def selected(x: Any, i: Any) -> Any:
        return select(x, i)

    np.testing.assert_array_equal(call(np.ones((2, 3))), np.full((2, 3), 2.0))
    for shape in ((3, 2), (1, 3), (2, 4), (0, 0)):
        with pytest.raises(ValueError, match=r"`x` must be an array of shape \[2, 3\]"):
            call(np.ones(shape))
    with pytest.raises(RuntimeError, match="lambda: a value that the function reads"):
        call(-np.ones((2, 3)))
    wrong = np.ones(3), np.ones((2, 3), np.float32), np.ones((3, 2)).T, np.ones((2, 3))[:, ::2], 1.0
    for x in wrong:
        with pytest.raises(numba.TypingError, match=r"`x` is contiguous float64 of shape \[2, 3\]"):
            call(x)
    with pytest.raises(IndexError, match="an index is out of bounds"):
        selected(np.ones(3), np.array([3]))
    assert selected(np.arange(3.0), np.array([-1])) == 2
    with pytest.raises(numba.TypingError, match="takes 2 arguments, not 1"):
        numba.njit(lambda x: select(x))(np.ones(3))
    text = tg.jit(lambda x: (x, "text")).native(1.0)
    with pytest.raises(numba.TypingError, match="returns a str"):
        numba.njit(lambda x: text(x))(1.0)


def test_as_an_argument_and_from_functions_of_tapegrad() -> None:
    native = tg.jit(lambda x: (x * x).sum()).native(np.ones(3))

    @numba.njit
    def applied(f: Any, x: Any) -> Any:
        return f(x) + 1

    assert applied(native, np.array([1.0, 2.0, 3.0])) == 15

    @tg.njit
    def square(x: Any) -> Any:
        return native(x)

    assert square(np.array([1.0, 2.0, 3.0])) == 14


def test_the_ctypes_function_in_compiled_code() -> None:
    function = tg.jit(lambda x, c: x * c).native(np.ones(3), 1.0).ctypes

    @numba.njit
    def call(x: Any, c: float, out: Any) -> Any:
        return function(x.ctypes, c, out.ctypes)

    out = np.empty(3)
    assert call(np.arange(3.0), 2.0, out) == 0
    np.testing.assert_array_equal(out, [0, 2, 4])


def test_arrays_without_dimensions_in_compiled_code() -> None:
    native = tg.jit(lambda x, k: (x * 2, k + 1)).native(np.array(1.0), np.array(2))

    @numba.njit
    def call(x: Any, k: Any) -> Any:
        return native(x, k)

    assert call(np.array(3.0), np.array(4)) == (6, 5)


def test_in_parallel_loops() -> None:
    native = tg.jit(lambda x: tg.cumsum(tg.sin(x), 0).sum()).native(np.zeros(50))

    @numba.njit(parallel=True, nogil=True)
    def total(rows: Any) -> Any:
        out = np.empty(len(rows))
        for i in numba.prange(len(rows)):
            out[i] = native(rows[i])
        return out

    rows = np.random.default_rng(0).normal(size=(200, 50))
    np.testing.assert_array_equal(total(rows), [native(row) for row in rows])


def test_numba_does_not_store_code_with_addresses(tmp_path: Any, monkeypatch: Any) -> None:
    native = tg.jit(lambda x: x * x).native(0.0)

    def square(x: float) -> Any:
        return native(x)

    with pytest.warns(numba.NumbaWarning, match="as it uses dynamic globals"):
        assert numba.njit(cache=True)(square)(3.0) == 9.0


def test_memory_does_not_grow_where_it_raises() -> None:
    resource = pytest.importorskip("resource")
    native = tg.jit(lambda x: (x * 2, x if x[0] > 0 else -x)).native(np.ones(100_000))

    @numba.njit
    def call(x: Any) -> Any:
        return native(x)

    x, before = -np.ones(100_000), 0
    for i in range(100):
        with pytest.raises(RuntimeError):
            call(x)
        if i == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 40_000  # kB, of 144_000
