"""Printing: explicit texts as PyTorch prints them, and random arrays against PyTorch itself.

The texts are what torch 2.13 prints under ``torch.set_default_dtype(torch.float64)``;
`test_cases_are_torchs` checks that they are, wherever torch is installed.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapegrad.base.dtypes import dtype as DType
from tapegrad.base.dtypes import float32, float64, from_numpy_dtype
from tapegrad.tensors import printing as fmt

nan, inf = math.nan, math.inf


@pytest.fixture(autouse=True)
def print_options() -> Iterator[None]:
    before = fmt.get_printoptions()
    yield
    fmt.set_printoptions(**before)


def show(array: np.ndarray[Any, Any], default: DType = float64, **facts: Any) -> str:
    dtype = from_numpy_dtype(array.dtype)
    return fmt.format_tensor(array, dtype=dtype, default_dtype=default, **facts)


def lines(*text: str) -> str:
    return "\n".join(text)


# name: (array, print options, text)
CASES: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any], str]] = {
    # 0-d
    "0-d whole": (np.array(2.0), {}, "tensor(2.)"),
    "0-d float": (np.array(0.1), {}, "tensor(0.1000)"),
    "0-d int": (np.array(7), {}, "tensor(7)"),
    "0-d bool": (np.array(True), {}, "tensor(True)"),
    "0-d nan": (np.array(nan), {}, "tensor(nan)"),
    "0-d -inf": (np.array(-inf), {}, "tensor(-inf)"),
    "0-d summarised": (np.array(1.5), {"threshold": 0}, "tensor(1.5000)"),
    # what one format for all elements means
    "whole": (np.full((2, 2), 27.0), {}, "tensor([[27., 27.],\n        [27., 27.]])"),
    "not whole": (
        np.full((2, 2), 4.5),
        {},
        "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])",
    ),
    "one not whole": (np.array([1.0, 2.5]), {}, "tensor([1.0000, 2.5000])"),
    "padded": (
        np.array([[0.0646, -46.3478], [5.6683, -0.8896]]),
        {},
        "tensor([[  0.0646, -46.3478],\n        [  5.6683,  -0.8896]])",
    ),
    "padded whole": (
        np.array([[14.0, 32.0], [32.0, 77.0], [50.0, 122.0]]),
        {},
        "tensor([[ 14.,  32.],\n        [ 32.,  77.],\n        [ 50., 122.]])",
    ),
    "int": (np.array([[1, -20], [300, 4]]), {}, "tensor([[  1, -20],\n        [300,   4]])"),
    "bool": (
        np.array([[True, False]] * 2),
        {},
        "tensor([[ True, False],\n        [ True, False]])",
    ),
    "int extremes": (
        np.array([-(2**63), 2**63 - 1]),
        {},
        "tensor([-9223372036854775808,  9223372036854775807])",
    ),
    "float32": (np.float32([0.1, 2]), {}, "tensor([0.1000, 2.0000], dtype=torch.float32)"),
    # scientific
    "ratio of 1000": (np.array([1.0, 1000.0]), {}, "tensor([   1., 1000.])"),
    "ratio above 1000": (np.array([1.0, 1000.5]), {}, "tensor([1.0000e+00, 1.0005e+03])"),
    "ratio of magnitudes": (np.array([-1.0, 2e3]), {}, "tensor([-1.0000e+00,  2.0000e+03])"),
    "tutorial 003": (
        np.array([4e-1, 4.0, 4e-4]),
        {},
        "tensor([4.0000e-01, 4.0000e+00, 4.0000e-04])",
    ),
    "1e8": (np.array([1e8]), {}, "tensor([100000000.])"),
    "above 1e8": (np.array([2e8, 2.5e8]), {}, "tensor([2.0000e+08, 2.5000e+08])"),
    "1e-4": (np.array([1e-4]), {}, "tensor([0.0001])"),
    "below 1e-4": (np.array([9.9e-5]), {}, "tensor([9.9000e-05])"),
    "1e-4 in float32": (np.array(1e-4, np.float32), {}, "tensor(1.0000e-04, dtype=torch.float32)"),
    "quotient overflows": (np.array([1e308, 1e-308]), {}, "tensor([1.0000e+308, 1.0000e-308])"),
    "three-digit exponent": (np.array([1e-300, 1.0]), {}, "tensor([1.0000e-300,  1.0000e+00])"),
    "denormal": (np.array([5e-324]), {}, "tensor([4.9407e-324])"),
    # not finite, and zero
    "nan beside whole": (np.array([nan, 1.0, -inf]), {}, "tensor([nan, 1., -inf])"),
    "nan padded": (np.array([nan, 1.5, inf]), {}, "tensor([   nan, 1.5000,    inf])"),
    "nan scientific": (np.array([nan, 1e-9]), {}, "tensor([       nan, 1.0000e-09])"),
    "nothing finite": (np.array([nan, inf]), {}, "tensor([nan, inf])"),
    "zeros": (np.zeros((2, 2)), {}, "tensor([[0., 0.],\n        [0., 0.]])"),
    "minus zero": (np.array([-0.0, 0.5]), {}, "tensor([-0.0000, 0.5000])"),
    "zero scientific": (np.array([0.0, 1e-9]), {}, "tensor([0.0000e+00, 1.0000e-09])"),
    # no elements
    "empty": (np.zeros(0), {}, "tensor([])"),
    "empty 2-d": (np.zeros((0, 3)), {}, "tensor([], size=(0, 3))"),
    "empty int": (np.zeros(0, np.int64), {}, "tensor([], dtype=torch.int64)"),
    "empty bool": (np.zeros(0, np.bool_), {}, "tensor([], dtype=torch.bool)"),
    "empty float32": (np.zeros(0, np.float32), {}, "tensor([], dtype=torch.float32)"),
    "empty 2-d int": (np.zeros((2, 0), int), {}, "tensor([], size=(2, 0), dtype=torch.int64)"),
    # nesting and wrapping
    "3-d": (
        np.arange(8.0).reshape(2, 2, 2),
        {},
        lines(
            "tensor([[[0., 1.],",
            "         [2., 3.]],",
            "",
            "        [[4., 5.],",
            "         [6., 7.]]])",
        ),
    ),
    "4-d": (
        np.arange(4).reshape(2, 1, 2, 1),
        {},
        lines(
            "tensor([[[[0],",
            "          [1]]],",
            "",
            "",
            "        [[[2],",
            "          [3]]]])",
        ),
    ),
    "wrapped by its own indent": (
        np.arange(4).reshape(1, 1, 4),
        {"linewidth": 20},
        "tensor([[[0, 1, 2,\n          3]]])",
    ),
    "single": (np.ones((1, 1, 1)), {}, "tensor([[[1.]]])"),
    "wrapped": (
        np.arange(30.0),
        {},
        lines(
            "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,",
            "        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,",
            "        28., 29.])",
        ),
    ),
    # PyTorch does not count the point of zeros, so their lines are too long
    "zeros wrapped": (
        np.zeros(26),
        {},
        lines("tensor([" + "0., " * 23 + "0.,", "        0., 0.])"),
    ),
    # summarised
    "1000 elements": (
        np.full(1000, True),
        {"linewidth": 10**5},
        "tensor([" + ", ".join(["True"] * 1000) + "])",
    ),
    "1001 elements": (
        np.arange(1001.0),
        {},
        "tensor([   0.,    1.,    2.,  ...,  998.,  999., 1000.])",
    ),
    "summarised, one axis cut": (
        np.arange(1100).reshape(2, 550),
        {},
        lines(
            "tensor([[   0,    1,    2,  ...,  547,  548,  549],",
            "        [ 550,  551,  552,  ..., 1097, 1098, 1099]])",
        ),
    ),
    "summarised, wrapped": (
        np.arange(1200.0).reshape(30, 40),
        {"edgeitems": 2, "linewidth": 60},
        lines(
            "tensor([[0.0000e+00, 1.0000e+00,  ..., 3.8000e+01,",
            "         3.9000e+01],",
            "        [4.0000e+01, 4.1000e+01,  ..., 7.8000e+01,",
            "         7.9000e+01],",
            "        ...,",
            "        [1.1200e+03, 1.1210e+03,  ..., 1.1580e+03,",
            "         1.1590e+03],",
            "        [1.1600e+03, 1.1610e+03,  ..., 1.1980e+03,",
            "         1.1990e+03]])",
        ),
    ),
    "summarised 3-d": (
        np.arange(27).reshape(3, 3, 3),
        {"threshold": 5, "edgeitems": 1},
        lines(
            "tensor([[[ 0,  ...,  2],",
            "         ...,",
            "         [ 6,  ...,  8]],",
            "",
            "        ...,",
            "",
            "        [[18,  ..., 20],",
            "         ...,",
            "         [24,  ..., 26]]])",
        ),
    ),
    "summarised, axis of both edges": (
        np.arange(6).reshape(2, 3),
        {"threshold": 5, "edgeitems": 1},
        "tensor([[0,  ..., 2],\n        [3,  ..., 5]])",
    ),
    "hidden elements do not count": (
        np.array([1.0, 1e-9, 2.0]),
        {"threshold": 1, "edgeitems": 1},
        "tensor([1.,  ..., 2.])",
    ),
    "no edges": (np.arange(4), {"threshold": 1, "edgeitems": 0}, "tensor([...], size=(4,))"),
    "no edges 2-d": (
        np.ones((2, 2)),
        {"threshold": 1, "edgeitems": 0},
        "tensor([...], size=(2, 2))",
    ),
    # other options
    "precision": (np.array([1 / 3, 2.0]), {"precision": 2}, "tensor([0.33, 2.00])"),
    "precision 0": (np.array([1.5, 2.0]), {"precision": 0}, "tensor([2, 2])"),
    "forced scientific": (
        np.array([1.0, 20.0]),
        {"sci_mode": True},
        "tensor([1.0000e+00, 2.0000e+01])",
    ),
    "never scientific": (np.array([1e-5, 1.0]), {"sci_mode": False}, "tensor([0.0000, 1.0000])"),
    "narrow": (np.arange(3), {"linewidth": 1}, "tensor([0,\n        1,\n        2])"),
}

# (array, suffix facts, text): how suffixes follow the contents, at the edge of the line too
SUFFIXED: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any], str]] = {
    "requires_grad": (
        np.ones((2, 2)),
        {"requires_grad": True},
        "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)",
    ),
    "0-d requires_grad": (np.array(2.0), {"requires_grad": True}, "tensor(2., requires_grad=True)"),
    "grad_fn": (
        np.array(27.0),
        {"grad_fn": "MeanBackward0"},
        "tensor(27., grad_fn=<MeanBackward0>)",
    ),
    "grad_fn stands for requires_grad": (
        np.array([2.0, 5.0]),
        {"grad_fn": "AddBackward0", "requires_grad": True},
        "tensor([2., 5.], grad_fn=<AddBackward0>)",
    ),
    "after the dtype": (
        np.float32([1.5]),
        {"grad_fn": "MulBackward0"},
        "tensor([1.5000], dtype=torch.float32, grad_fn=<MulBackward0>)",
    ),
    "empty": (
        np.zeros((2, 0), np.float32),
        {"requires_grad": True},
        "tensor([], size=(2, 0), dtype=torch.float32, requires_grad=True)",
    ),
    "just fits": (
        np.full(11, 2.0),
        {"grad_fn": "MulBackward0"},
        "tensor([" + "2., " * 10 + "2.], grad_fn=<MulBackward0>)",
    ),
    "just does not fit": (
        np.full(12, 2.0),
        {"grad_fn": "MulBackward0"},
        "tensor([" + "2., " * 11 + "2.],\n       grad_fn=<MulBackward0>)",
    ),
    "after a wrapped line": (
        np.full(19, 2.0),
        {"grad_fn": "MulBackward0"},
        "tensor([" + "2., " * 17 + "2.,\n        2.], grad_fn=<MulBackward0>)",
    ),
    "each suffix wrapped": (
        np.float32([1.5, 2.5]),
        {"requires_grad": True, "options": fmt.PrintOptions(linewidth=40)},
        "tensor([1.5000, 2.5000],\n       dtype=torch.float32,\n       requires_grad=True)",
    ),
    "dtype and grad_fn wrapped together": (
        np.full(16, 2.0, np.float32),
        {"grad_fn": "MulBackward0"},
        "tensor([" + "2., " * 15 + "2.],\n       dtype=torch.float32, grad_fn=<MulBackward0>)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    array, options, text = CASES[name]
    fmt.set_printoptions(**options)
    before = array.copy()
    assert show(array) == text
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("name", SUFFIXED)
def test_suffixes(name: str) -> None:
    array, facts, text = SUFFIXED[name]
    assert show(array, **facts) == text


@pytest.mark.smoke
def test_dtype_is_shown_unless_it_goes_without_saying() -> None:
    one = np.array([1.5])
    assert show(one) == show(one.astype(np.float32), default=float32) == "tensor([1.5000])"
    assert show(one, default=float32) == "tensor([1.5000], dtype=torch.float64)"
    assert show(one.astype(int)) == show(one.astype(int), default=float32) == "tensor([1])"
    assert show(one > 1) == "tensor([True])"


def test_subclass_name_sets_the_indent() -> None:
    text = show(np.ones((2, 1)), name="Weights", requires_grad=True)
    assert text == "Weights([[1.],\n         [1.]], requires_grad=True)"


def test_strides_and_base_do_not_matter() -> None:
    base = np.arange(12.0).reshape(3, 4)
    base.flags.writeable = False
    for view in (base.T, base[::-1, ::2], np.broadcast_to(base[0], (3, 4)), base[:, None]):
        assert show(view) == show(np.ascontiguousarray(view))


@pytest.mark.smoke
def test_summary_of_many_axes() -> None:
    # Summarising does not depend on the length of what is left out, nor on the number of axes.
    deep = np.zeros((2000,) + (1,) * 40)
    assert show(deep).count("...") == 1
    assert show(np.broadcast_to(1.0, (10**6, 10**6))).count("1.") == 36


def test_explicit_options_win_over_the_current_ones() -> None:
    fmt.set_printoptions(precision=1)
    third = np.array(1 / 3)
    assert show(third) == "tensor(0.3)"
    assert show(third, options=fmt.PrintOptions(precision=6)) == "tensor(0.333333)"


@pytest.mark.smoke
def test_set_printoptions() -> None:
    default = {
        "precision": 4,
        "threshold": 1000,
        "edgeitems": 3,
        "linewidth": 80,
        "sci_mode": None,
    }
    assert fmt.get_printoptions() == default
    fmt.set_printoptions(sci_mode=True, precision=np.int64(2))
    assert fmt.get_printoptions() == default | {"precision": 2, "sci_mode": True}
    # sci_mode, alone, is set by leaving it out too
    fmt.set_printoptions(linewidth=100)
    assert fmt.get_printoptions() == default | {"precision": 2, "linewidth": 100}
    fmt.set_printoptions(profile="short")
    assert fmt.get_printoptions() == default | {"precision": 2, "edgeitems": 2}
    fmt.set_printoptions(profile="full", precision=7)
    assert fmt.get_printoptions() == default | {"precision": 7, "threshold": inf}
    fmt.set_printoptions(profile="default")
    assert fmt.get_printoptions() == default


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"precision": 1.5}, TypeError, "precision must be an integer, not float"),
        ({"precision": -1}, ValueError, "precision must not be negative, got -1"),
        ({"edgeitems": "3"}, TypeError, "edgeitems must be an integer, not str"),
        ({"threshold": "many"}, TypeError, "threshold must be a number, not str"),
        ({"linewidth": nan}, ValueError, "linewidth must not be NaN"),
        ({"profile": "long"}, ValueError, "profile must be 'default', 'short' or 'full'"),
        ({"sci_mode": "yes"}, TypeError, "sci_mode must be a bool or None, not str"),
        ({"digits": 3}, TypeError, "unexpected keyword argument 'digits'"),
    ],
)
def test_wrong_options_change_nothing(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    before = fmt.get_printoptions()
    with pytest.raises(error, match=text):
        fmt.set_printoptions(**({"precision": 9, "threshold": 9} | options))
    assert fmt.get_printoptions() == before


def test_printoptions_restores() -> None:
    fmt.set_printoptions(precision=3, sci_mode=False)
    before = fmt.get_printoptions()
    with fmt.printoptions(precision=1):
        assert show(np.array(0.25)) == "tensor(0.2)"
    assert fmt.get_printoptions() == before
    with pytest.raises(KeyError), fmt.printoptions(precision=1):
        raise KeyError
    assert fmt.get_printoptions() == before


def test_infinite_linewidth_never_wraps() -> None:
    fmt.set_printoptions(linewidth=inf)
    assert "\n" not in show(np.arange(900.0), grad_fn="AddBackward0")


def spec_of(array: np.ndarray[Any, Any], spec: str, **facts: Any) -> str:
    dtype = from_numpy_dtype(array.dtype)
    return fmt.format_spec(array, spec, dtype=dtype, default_dtype=float64, **facts)


def test_format_spec() -> None:
    assert spec_of(np.array(5.0), "", requires_grad=True) == "5.0"
    assert spec_of(np.array(1 / 3), ".3f") == "0.333"
    assert spec_of(np.array(7), "04d") == "0007"
    assert spec_of(np.array(True), "") == "True"
    # the Python number of a float32 has all its digits
    assert spec_of(np.array(0.1, np.float32), "") == "0.10000000149011612"
    assert spec_of(np.array([5.0]), "") == "tensor([5.])"
    assert spec_of(np.array([5.0]), "", grad_fn="AddBackward0") == show(
        np.array([5.0]), grad_fn="AddBackward0"
    )
    with pytest.raises(TypeError, match=r"^unsupported format string passed to Tensor.__format__$"):
        spec_of(np.array([5.0]), ".2f")
    with pytest.raises(ValueError, match="Unknown format code 'd' for object of type 'float'"):
        spec_of(np.array(5.0), "d")


# Against torch itself. Print options and default dtype are global there, so one function sets
# both sides, prints, and puts torch's back.


# Ops that give a tensor its grad_fn and leave its values alone.
OPS = {
    "AddBackward0": lambda tensor: tensor + 0,
    "CloneBackward0": lambda tensor: tensor.clone(),
    "MeanBackward0": lambda tensor: tensor.mean(),
    "MulBackward0": lambda tensor: tensor * 1,
}


def torch_text(
    array: np.ndarray[Any, Any],
    options: dict[str, Any],
    default: DType = float64,
    requires_grad: bool = False,
    grad_fn: str | None = None,
) -> str:
    torch = pytest.importorskip("torch")
    before_options, before_dtype = torch._tensor_str.get_printoptions(), torch.get_default_dtype()
    try:
        torch.set_printoptions(**options)
        torch.set_default_dtype(getattr(torch, default.name))
        tensor = torch.from_numpy(array.copy())
        if requires_grad or grad_fn is not None:
            tensor.requires_grad_()
        if grad_fn is not None:
            tensor = OPS[grad_fn](tensor)
        return repr(tensor)
    finally:
        torch.set_default_dtype(before_dtype)
        torch.set_printoptions(**before_options)


@pytest.mark.parametrize("name", CASES)
def test_cases_are_torchs(name: str) -> None:
    array, options, text = CASES[name]
    assert torch_text(array, options) == text


@pytest.mark.parametrize("name", SUFFIXED)
def test_suffixes_are_torchs(name: str) -> None:
    array, facts, text = SUFFIXED[name]
    facts = dict(facts)
    options = asdict(facts.pop("options", fmt.PrintOptions()))
    assert torch_text(array, options, **facts) == text


dtypes = st.sampled_from([np.float64, np.float32, np.int64, np.bool_])
options = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.sampled_from(["default", "short", "full"]),
        "precision": st.integers(0, 12),
        "threshold": st.integers(0, 30) | st.just(inf),
        "edgeitems": st.integers(0, 4),
        "linewidth": st.integers(0, 130),
        "sci_mode": st.sampled_from([None, True, False]),
    },
)
facts = st.sampled_from([{}, {"requires_grad": True}, {"grad_fn": "CloneBackward0"}])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)


def agrees(
    array: np.ndarray[Any, Any], chosen: dict[str, Any], default: DType, facts: dict[str, Any]
) -> None:
    if array.dtype.kind != "f":
        facts = {}
    with fmt.printoptions(**chosen):
        assert show(array, default, **facts) == torch_text(array, chosen, default, **facts)


@settings(max_examples=200, deadline=None)
@given(st.data(), options, st.sampled_from([float64, float32]), facts)
def test_any_elements_print_as_torchs(
    data: st.DataObject, chosen: dict[str, Any], default: DType, facts: dict[str, Any]
) -> None:
    pytest.importorskip("torch")
    agrees(data.draw(hnp.arrays(data.draw(dtypes), shapes)), chosen, default, facts)


@settings(max_examples=200, deadline=None)
@given(
    shape=shapes
    | st.sampled_from([(1001,), (999,), (40, 30), (2, 600), (3, 7, 60), (11, 2, 10, 6)]),
    dtype=dtypes,
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-9, 12),
    spread=st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0]),
    whole=st.booleans(),
    zeros=st.sampled_from([0.0, 0.3, 1.0]),
    odd=st.sampled_from([[], [nan], [inf, -inf, nan, -0.0]]),
    chosen=options | st.just({}),
    default=st.sampled_from([float64, float32]),
    facts=facts,
)
def test_magnitudes_print_as_torchs(
    shape: tuple[int, ...],
    dtype: type,
    seed: int,
    exponent: int,
    spread: float,
    whole: bool,
    zeros: float,
    odd: list[float],
    chosen: dict[str, Any],
    default: DType,
    facts: dict[str, Any],
) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 10.0 ** (exponent + spread * rng.uniform(-1, 1, shape))
    values = np.where(rng.random(shape) < zeros, 0.0, np.round(values) if whole else values)
    if odd and dtype in (np.float64, np.float32):
        values = np.where(rng.random(shape) < 0.2, rng.choice(odd, shape), values)
    if dtype is np.int64:
        values = np.clip(values, -9e18, 9e18)
    agrees(np.asarray(values, dtype), chosen, default, facts)
