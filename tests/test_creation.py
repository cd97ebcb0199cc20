"""Creation functions: values, dtypes, memory, error texts, legacy constructors, random numbers."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match=rf"\A{re.escape(text)}\Z")


F64, F32, I64, B = tg.float64, tg.float32, tg.int64, tg.bool


# --------------------------------------------------------------------------- from data
@pytest.mark.parametrize(
    ("data", "kind", "values"),
    [
        (3, I64, 3), (2.5, F64, 2.5), (True, B, True), ([1, 2], I64, [1, 2]),
        ([1, 2.5], F64, [1.0, 2.5]), ([True, 2], I64, [1, 2]), ([True, 2.0], F64, [1.0, 2.0]),
        ([], F64, []), ([[], []], F64, [[], []]), (range(3), I64, [0, 1, 2]), ((1, 2), I64, [1, 2]),
        ([(1, 2), [3, 4]], I64, [[1, 2], [3, 4]]), (np.float32(1), F32, 1.0),
        (np.float64(1), F64, 1.0), ([np.float32(1)], F32, [1.0]),
        ([np.int64(1), 2.5], F64, [1.0, 2.5]),
        (np.array(3), I64, 3), (np.eye(2, dtype=bool), B, [[True, False], [False, True]]),
        ([range(2), range(2)], I64, [[0, 1], [0, 1]]), (2**63 - 1, I64, 2**63 - 1),
    ],
)  # fmt: skip
def test_tensor_of_data(data: Any, kind: Any, values: Any) -> None:
    x = tg.tensor(data)
    assert x.dtype is kind
    assert x.tolist() == values
    assert x.is_leaf
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("data", "kind", "values"),
    [
        (1.7, I64, 1), ([1.7, -2.9], I64, [1, -2]), (2, B, True), ([0.0, 0.5], B, [False, True]),
        (True, F64, 1.0), (1, F32, 1.0), (2**70, F64, 2.0**70), (1, int, 1), (1, float, 1.0),
        (1, np.dtype("float32"), 1.0), (np.arange(3, dtype=np.int32), I64, [0, 1, 2]),
        (np.arange(3), F64, [0.0, 1.0, 2.0]), (1e300, F32, float("inf")),
    ],
)  # fmt: skip
def test_tensor_in_a_dtype(data: Any, kind: Any, values: Any) -> None:
    assert tg.tensor(data, dtype=kind).tolist() == values


def test_default_dtype_is_that_of_python_floats() -> None:
    tg.set_default_dtype(tg.float32)
    try:
        assert tg.tensor([1.0]).dtype is tg.ones(1).dtype is tg.rand(1).dtype is F32
        assert tg.Tensor([1]).dtype is tg.FloatTensor(2).dtype is tg.arange(2.0).dtype is F32
        assert tg.tensor([np.float64(1)]).dtype is tg.tensor(np.ones(1)).dtype is F64
    finally:
        tg.set_default_dtype(tg.float64)


@pytest.mark.smoke
def test_tensor_copies() -> None:
    a = np.ones((2, 3))
    x = tg.tensor(a.T)
    a[:] = 5
    assert x.tolist() == [[1.0, 1.0]] * 3
    assert x.numpy().flags.c_contiguous


def test_tensors_inside_lists() -> None:
    x = tg.tensor([1.0, 2.0])
    assert tg.tensor([x[0], x[1]]).tolist() == [1.0, 2.0]
    assert tg.tensor([tg.tensor(1), 2.5]).tolist() == [1.0, 2.5]
    assert tg.tensor([tg.tensor([1]), tg.tensor([2])]).tolist() == [1, 2]
    with raises(ValueError, "only one element tensors can be converted to Python scalars"):
        tg.tensor([x, x])


def test_copying_a_tensor_warns() -> None:
    text = (
        "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() "
        "or sourceTensor.detach().clone().requires_grad_(True), rather than {}(sourceTensor)."
    )
    x = tg.tensor([1.0], requires_grad=True)
    with pytest.warns(UserWarning, match=re.escape(text.format("torch.tensor"))) as caught:
        y = tg.tensor(x)
    assert caught[0].filename == __file__
    assert y.tolist() == [1.0]
    assert not y.requires_grad
    with pytest.warns(UserWarning, match=re.escape(text.format("tensor.new_tensor"))):
        tg.ones(1, dtype=F32).new_tensor(x)


def test_a_list_of_ndarrays_warns() -> None:
    with pytest.warns(UserWarning, match="Creating a tensor from a list of numpy.ndarrays is"):
        x = tg.tensor([np.arange(2), np.arange(2.0)])
    assert x.tolist() == [[0.0, 1.0], [0.0, 1.0]]


DATA_ERRORS: list[tuple[Any, type[Exception], str]] = [
    ([[1, 2], [3]], ValueError, "expected sequence of length 2 at dim 1 (got 1)"),
    ([[[1], [2]], [[1], [2, 3]]], ValueError, "expected sequence of length 1 at dim 2 (got 2)"),
    ([[1, 2], 3], TypeError, "not a sequence"),
    ([1, [2]], TypeError, "'list' object cannot be interpreted as an integer"),
    ([1.0, [2]], TypeError, "must be real number, not list"),
    ("a", TypeError, "new(): invalid data type 'str'"),
    (b"a", TypeError, "new(): invalid data type 'bytes'"),
    (["a"], ValueError, "too many dimensions 'str'"),
    ([1, "b"], TypeError, "new(): invalid data type 'str'"),
    (None, RuntimeError, "Could not infer dtype of NoneType"),
    ([1, None], RuntimeError, "Could not infer dtype of NoneType"),
    ({}, RuntimeError, "Could not infer dtype of dict"),
    ({1, 2}, RuntimeError, "Could not infer dtype of set"),
    (2**63, ValueError, "Overflow when unpacking long long"),
    ([2**70], ValueError, "Overflow when unpacking long long"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind", "text"), DATA_ERRORS)
def test_data_errors_are_torchs(data: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        tg.tensor(data)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"dtype": "float"}, TypeError,
         "tensor(): argument 'dtype' must be torch.dtype, not str"),
        ({"dtype": 3}, TypeError, "tensor(): argument 'dtype' must be torch.dtype, not int"),
        ({"requires_grad": 1}, TypeError,
         "tensor(): argument 'requires_grad' must be bool, not int"),
        ({"requires_grad": True}, RuntimeError,
         "Only Tensors of floating point and complex dtype can require gradients"),
        ({"device": 3.5}, TypeError,
         "tensor(): argument 'device' must be torch.device, not float"),
        ({"device": "meta2"}, RuntimeError, "Invalid device string: 'meta2'"),
        ({"device": "cuda"}, tg.UnsupportedError,
         "tensor(): tapegrad computes on the CPU only, not on 'cuda'; leave device out, or pass "
         "device='cpu'"),
        ({"learns": True}, TypeError,  # Python 3.13 says which keyword is near
         "tensor() got an unexpected keyword argument 'learns'"),
    ],
)  # fmt: skip
def test_option_errors(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        tg.tensor(1, **options)


def test_nan_is_no_whole_number() -> None:
    with raises(RuntimeError, "value cannot be converted to type int64 without overflow"):
        tg.tensor(float("nan"), dtype=I64)


# --------------------------------------------------------------------------- ndarrays
def test_from_numpy_shares_memory() -> None:
    for share in (tg.from_numpy, tg.as_tensor, tg.asarray):
        a = np.arange(6.0).reshape(2, 3).T
        x = share(a)
        y = x * 2
        a[0, 0] = 7
        assert x[0, 0].item() == 7.0
        assert y[0, 0].item() == 0.0  # was computed when it was recorded
        x += 1
        assert a[0, 0] == 8.0


def test_read_only_ndarrays_are_copied() -> None:
    a = np.broadcast_to(np.arange(3.0), (2, 3))
    x = tg.from_numpy(a)
    x += 1
    assert x.tolist() == [[1.0, 2.0, 3.0]] * 2
    assert a[0, 0] == 0.0


def test_from_numpy_errors() -> None:
    with raises(TypeError, "expected np.ndarray (got list)"):
        tg.from_numpy([1])  # type: ignore[arg-type]
    with raises(TypeError, "expected np.ndarray (got numpy.float64)"):
        tg.from_numpy(np.float64(1))  # type: ignore[arg-type]
    negative = (
        "At least one stride in the given numpy array is negative, and tensors with negative "
        "strides are not currently supported. (You can probably work around this by making a copy "
        "of your array  with array.copy().) "
    )
    order = (
        "given numpy array has byte order different from the native byte order. Conversion between "
        "byte orders is currently not supported."
    )
    for make in (tg.from_numpy, tg.as_tensor, tg.tensor):
        with raises(ValueError, negative):
            make(np.arange(3)[::-1])
        with raises(ValueError, order):
            make(np.arange(3, dtype=">i8"))
        with pytest.raises(TypeError, match=r"can't convert np.ndarray of type numpy.str_"):
            make(np.array(["a"]))
        with pytest.raises(TypeError, match=r"numpy.uint32.*convert with \.astype\(np.int64\)"):
            make(np.arange(3, dtype=np.uint32))
    packed = np.zeros(3, np.dtype([("a", "u1"), ("b", "f8")]))["b"]
    with pytest.raises(ValueError, match="strides not a multiple of the element byte size"):
        tg.from_numpy(packed)


def test_as_tensor_and_asarray() -> None:
    x = tg.ones(2, requires_grad=True)
    assert tg.as_tensor(x) is x
    assert tg.as_tensor(x, dtype=F32).dtype is F32
    assert tg.as_tensor(x, dtype=F32).requires_grad
    assert tg.as_tensor([1, 2], dtype=F64).tolist() == [1.0, 2.0]
    plain = tg.ones(2)
    assert tg.asarray(plain) is plain
    assert tg.asarray(plain, copy=True) is not plain
    assert not tg.asarray(x).requires_grad
    assert tg.asarray([1.0], requires_grad=True).requires_grad
    a = np.ones(2)
    tg.asarray(a, copy=True).add_(1)
    assert a.tolist() == [1.0, 1.0]
    with raises(ValueError, "can't alias arbitrary sequence into a tensor."):
        tg.asarray([1], copy=False)
    with raises(ValueError, "can't alias tensor with dtype 'Double' into dtype 'Long'."):
        tg.asarray(plain, dtype=I64, copy=False)


# --------------------------------------------------------------------------- filled
@pytest.mark.smoke
def test_filled_tensors() -> None:
    assert tg.zeros(2, 3).tolist() == tg.zeros((2, 3)).tolist() == [[0.0] * 3] * 2
    assert tg.ones([2], dtype=I64).tolist() == [1, 1]
    assert tg.ones(()).item() == tg.ones([]).item() == 1.0
    assert tg.ones(size=(2,)).tolist() == [1.0, 1.0]
    assert tg.zeros(np.int64(2)).shape == tg.zeros(tg.tensor(2)).shape == (2,)
    assert tg.empty(2, 0, 3).shape == (2, 0, 3)
    assert tg.zeros(2**40, 0).numel() == 0
    assert tg.full((2,), 3).dtype is I64
    assert tg.full((2,), True).dtype is B
    assert tg.full((2,), 3.5, dtype=I64).tolist() == [3, 3]
    assert tg.full((), tg.tensor(7.0)).item() == 7.0
    assert tg.full((2,), 2, dtype=B).tolist() == [True, True]
    assert tg.full((1,), -0.0).numpy().tobytes() == np.array([-0.0]).tobytes()
    assert tg.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert tg.eye(0).shape == (0, 0)
    assert tg.scalar_tensor(3).dtype is F64
    x = tg.ones(2, requires_grad=True, layout=tg.strided, device=tg.device("cpu"), pin_memory=False)
    assert x.requires_grad
    assert x.is_leaf


def test_like_and_new() -> None:
    x = tg.ones(2, 3, dtype=F32, requires_grad=True)
    for made in (tg.ones_like(x), tg.zeros_like(x), tg.full_like(x, 3), tg.empty_like(x),
                 tg.rand_like(x), tg.randn_like(x), tg.randint_like(x, 5)):  # fmt: skip
        assert made.shape == x.shape
        assert made.dtype is F32
        assert not made.requires_grad
    assert tg.full_like(tg.tensor([1]), 2.5).tolist() == [2]
    assert tg.ones_like(x, dtype=F64, requires_grad=True).requires_grad
    assert tg.ones_like(x, memory_format=tg.preserve_format).dtype is F32
    for made in (x.new_zeros(2), x.new_ones((2,)), x.new_empty(2), x.new_full((2,), 3),
                 x.new_tensor([1, 2]), x.new([1, 2])):  # fmt: skip
        assert made.shape == (2,)
        assert made.dtype is F32
        assert not made.requires_grad
    assert x.new_zeros(2, dtype=I64).tolist() == [0, 0]
    assert tg.tensor([1]).new_tensor([1.5]).tolist() == [1]


SIZE_ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: tg.zeros(), TypeError, 'zeros() missing 1 required positional arguments: "size"'),
    (lambda: tg.zeros(-1), RuntimeError, "zeros: Dimension size must be non-negative."),
    (lambda: tg.ones(2, -3), RuntimeError,
     "Trying to create tensor with negative dimension -3: [2, -3]"),
    (lambda: tg.rand(-1), RuntimeError,
     "Trying to create tensor with negative dimension -1: [-1]"),
    (lambda: tg.zeros(1.5), TypeError,
     "zeros(): argument 'size' (position 1) must be tuple of ints, not float"),
    (lambda: tg.zeros(True), TypeError,
     "zeros(): argument 'size' (position 1) must be tuple of ints, not bool"),
    (lambda: tg.zeros(2, "a"), TypeError,
     "zeros(): argument 'size' failed to unpack the object at pos 2 with error \"type must be "
     'tuple of ints,but got str"'),
    (lambda: tg.zeros((2, 1.5)), TypeError,
     "zeros(): argument 'size' failed to unpack the object at pos 2 with error \"type must be "
     'tuple of ints,but got float"'),
    (lambda: tg.zeros((None,)), TypeError,
     "zeros(): argument 'size' (position 1) must be tuple of ints, but found element of type "
     "NoneType at pos 0"),
    (lambda: tg.zeros(2**62, 4), RuntimeError,
     "Storage size calculation overflowed with sizes=[4611686018427387904, 4]"),
    (lambda: tg.ones(2, 2, requries_grad=True), TypeError,
     "ones() got an unexpected keyword argument 'requries_grad'"),
    (lambda: tg.ones_like([1.0, 1.0]), TypeError,
     "ones_like(): argument 'input' (position 1) must be Tensor, not list"),
    (lambda: tg.ones(2, dtype=I64, requires_grad=True), RuntimeError,
     "Only Tensors of floating point and complex dtype can require gradients"),
    (lambda: tg.ones(2, layout=1), TypeError,
     "ones(): argument 'layout' must be torch.layout, not int"),
    (lambda: tg.full(2, 3), TypeError,
     "full(): argument 'size' (position 1) must be tuple of ints, not int"),
    (lambda: tg.full((2,), "a"), TypeError,
     "full(): argument 'fill_value' (position 2) must be Number, not str"),
    (lambda: tg.full((2,), tg.ones(2)), TypeError,
     "full(): argument 'fill_value' (position 2) must be Number, not Tensor"),
    (lambda: tg.full((2,), 2**63), RuntimeError,
     "value cannot be converted to type int64_t without overflow"),
    (lambda: tg.eye(-1), RuntimeError, "n must be greater or equal to 0, got -1"),
    (lambda: tg.eye(2, -1), RuntimeError, "m must be greater or equal to 0, got -1"),
    (lambda: tg.eye(2.0), TypeError, "eye(): argument 'n' (position 1) must be int, not float"),
    (lambda: tg.eye(10**10), RuntimeError, "numel: integer multiplication overflow"),
    (lambda: tg.ones(2).new_zeros(-1), RuntimeError,
     "Trying to create tensor with negative dimension -1: [-1]"),
    (lambda: tg.ones(2).new_zeros("a"), TypeError,
     "new_zeros(): argument 'size' (position 1) must be tuple of ints, not str"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SIZE_ERRORS)))
def test_size_errors_are_torchs(number: int) -> None:
    call, kind, text = SIZE_ERRORS[number]
    with raises(kind, text):
        call()


@pytest.mark.parametrize("make", [tg.zeros, tg.ones, tg.empty, tg.rand, tg.randn, tg.Tensor])
def test_sizes_that_no_memory_holds(make: Any) -> None:
    with pytest.raises(RuntimeError, match=r"you tried to allocate 8000000000000000 bytes"):
        make(10**15)
    assert make(2).shape == (2,)


# --------------------------------------------------------------------------- ranges
RANGES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((5,), {}), ((5.0,), {}), ((1, 4), {}), ((1, 4, 2), {}), ((0, 1, 0.25), {}), ((0, 1, 0.3), {}),
    ((5, 1, -2), {}), ((0,), {}), ((-8.0, 8.0, 4.5), {}), ((0, 1, 0.1), {}), ((1, 1.3, 0.1), {}),
    ((2.5,), {"dtype": "int64"}), ((0, 5.5, 1.5), {"dtype": "int64"}), ((5,), {"dtype": "float32"}),
    ((), {"end": 3}), ((), {"start": 1, "end": 3}), ((1,), {"step": 2, "end": 8}), ((True,), {}),
    ((2**53, 2**53 + 3), {}),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize("number", range(len(RANGES)))
def test_arange_is_torchs(number: int) -> None:
    args, options = RANGES[number]
    kinds = [{**options, **({"dtype": getattr(m, options["dtype"])} if "dtype" in options else {})}
             for m in (tg, torch)]  # fmt: skip
    torch.set_default_dtype(torch.float64)
    try:
        want = torch.arange(*args, **kinds[1])
    finally:
        torch.set_default_dtype(torch.float32)
    have = tg.arange(*args, **kinds[0])
    assert str(have.dtype) == str(want.dtype)
    np.testing.assert_array_equal(have.numpy(), want.numpy())


@needs_torch
@pytest.mark.parametrize("args", [(0, 1, 5), (0, 1, 1), (0, 1, 0), (0.1, 0.7, 13), (3, -2, 8)])
def test_linspace_and_logspace_are_torchs(args: tuple[Any, ...]) -> None:
    for name in ("linspace", "logspace"):
        want = getattr(torch, name)(*args, dtype=torch.float64)
        np.testing.assert_allclose(getattr(tg, name)(*args).numpy(), want.numpy(), rtol=1e-15)
    want = torch.linspace(*args, dtype=torch.int64)
    assert tg.linspace(*args, dtype=I64).tolist() == want.tolist()


def test_range_includes_its_end_and_warns() -> None:
    text = (
        "torch.range is deprecated and will be removed in a future release because its behavior is "
        "inconsistent with Python's range builtin. Instead, use torch.arange, which produces "
        "values in [start, end)."
    )
    with pytest.warns(UserWarning, match=rf"\A{re.escape(text)}\Z") as caught:
        x = tg.range(1, 6, requires_grad=True)
    assert caught[0].filename == __file__
    assert x.dtype is F64
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert x.requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tg.range(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert tg.range(3, 1, -1, dtype=I64).tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: tg.arange(5, 1), RuntimeError,
         "upper bound and lower bound inconsistent with step sign"),
        (lambda: tg.arange(0, 5, 0), RuntimeError, "step must be nonzero"),
        (lambda: tg.arange(float("nan")), RuntimeError, "unsupported range: 0 -> nan"),
        (lambda: tg.arange(float("inf")), RuntimeError, "unsupported range: 0 -> inf"),
        (lambda: tg.arange("a"), TypeError,
         "arange(): argument 'end' (position 1) must be Number, not str"),
        (lambda: tg.arange(start=1), TypeError,
         'arange() missing 1 required positional arguments: "end"'),
        (lambda: tg.arange(2**63), RuntimeError,
         "value cannot be converted to type int64_t without overflow"),
        (lambda: tg.arange(3, dtype=tg.bool), NotImplementedError,
         "\"arange_cpu\" not implemented for 'Bool'"),
        (lambda: tg.arange(5, requires_grad=True), RuntimeError,
         "Only Tensors of floating point and complex dtype can require gradients"),
        (lambda: tg.linspace(0, 1, -1), RuntimeError, "number of steps must be non-negative"),
        (lambda: tg.logspace(0, 1, -1), RuntimeError, "number of steps must be non-negative"),
    ],
)  # fmt: skip
def test_range_errors_are_torchs(call: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        call()


def test_arange_that_no_memory_holds() -> None:
    for end in (10**18, 1e18):
        with pytest.raises(RuntimeError, match="you tried to allocate 8000000000000000000 bytes"):
            tg.arange(end)


# --------------------------------------------------------------------------- legacy constructors
def test_tensor_constructor() -> None:
    assert tg.Tensor([[1, 2], [3, 4]]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert tg.Tensor([True, False]).dtype is F64
    assert tg.Tensor(2, 3).shape == tg.Tensor(tg.Size([2, 3])).shape == (2, 3)
    assert tg.Tensor((2, 3)).tolist() == [2.0, 3.0]
    assert tg.Tensor().shape == tg.Tensor(0).shape == (0,)
    assert tg.Tensor(np.int64(3)).shape == (3,)
    assert tg.Tensor(range(3)).tolist() == tg.Tensor(np.arange(3)).tolist() == [0.0, 1.0, 2.0]
    x = tg.tensor([1])
    alias = tg.Tensor(x)
    assert alias.dtype is I64
    x += 1
    assert alias.tolist() == [2]


def test_types() -> None:
    assert tg.FloatTensor(range(8)).dtype is F64  # stands for the default dtype
    assert tg.DoubleTensor([1]).dtype is F64
    assert tg.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert tg.BoolTensor([1, 0]).tolist() == [True, False]
    assert tg.LongTensor(2, 3).shape == (2, 3)
    assert isinstance(tg.ones(1), tg.FloatTensor)
    assert isinstance(tg.tensor([1]), tg.LongTensor)
    assert not isinstance(tg.tensor([1]), tg.FloatTensor)
    assert not isinstance(1.0, tg.FloatTensor)
    assert repr(tg.FloatTensor) == "<class 'torch.FloatTensor'>"
    assert [tg.tensor(v).type() for v in (1.0, 1, True)] == [
        "torch.FloatTensor", "torch.LongTensor", "torch.BoolTensor"
    ]  # fmt: skip
    x = tg.ones(2)
    for kind in (tg.LongTensor, "torch.LongTensor", I64):
        assert x.type(kind).dtype is I64
    assert x.type(tg.FloatTensor) is x
    with raises(ValueError, "invalid type: 'foo'"):
        x.type("foo")
    with raises(TypeError, "dtype must be a type, str, or dtype object"):
        x.type(3)


@pytest.mark.parametrize(
    ("args", "kind", "text"),
    [
        ((2.5,), TypeError, "new(): data must be a sequence (got float)"),
        ((None,), TypeError, "new(): data must be a sequence (got NoneType)"),
        (({},), TypeError, "new(): data must be a sequence (got dict)"),
        ((True,), TypeError, "new(): data must be a sequence (got bool)"),
        (("a",), TypeError, "new(): invalid data type 'str'"),
        ((["a"],), ValueError, "too many dimensions 'str'"),
        (([[1], [2, 3]],), ValueError, "expected sequence of length 1 at dim 1 (got 2)"),
        ((-1,), RuntimeError, "Trying to create tensor with negative dimension -1: [-1]"),
        ((2, "a"), TypeError,
         "new(): argument 'size' failed to unpack the object at pos 2 with error \"type must be "
         'tuple of ints,but got str"'),
    ],
)  # fmt: skip
def test_legacy_errors_are_torchs(args: Any, kind: type[Exception], text: str) -> None:
    for make in (tg.Tensor, tg.FloatTensor):
        with raises(kind, text):
            make(*args)


def test_legacy_constructors_take_no_keywords() -> None:
    with pytest.raises(TypeError, match=r"got \(list, requires_grad=bool\)"):
        tg.Tensor([1], requires_grad=True)
    assert tg.Tensor([1], device="cpu").tolist() == [1.0]


# --------------------------------------------------------------------------- dtypes and devices
def test_conversions() -> None:
    x = tg.tensor([1.5, -2.0], requires_grad=True)
    assert x.to(F64) is x.to("cpu") is x.to(tg.device("cpu")) is x.to(None) is x.cpu() is x
    assert x.to(F64, copy=True) is not x
    assert x.to(I64).tolist() == x.long().tolist() == x.to(tg.tensor([1])).tolist() == [1, -2]
    assert x.to("cpu", F32).dtype is x.to(dtype=F32, device="cpu").dtype is x.float().dtype is F32
    assert x.float().to(float).dtype is F64
    assert x.bool().tolist() == [True, True]
    assert x.type_as(tg.tensor([1])).dtype is I64
    assert x.double() is x
    x.float().double().sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert not x.long().requires_grad


def test_conversion_errors() -> None:
    x = tg.ones(2)
    with pytest.raises(tg.UnsupportedError, match=r"use \.float\(\)"):
        x.bfloat16()
    with pytest.raises(tg.UnsupportedError, match="computes on the CPU only"):
        x.cuda()
    with pytest.raises(TypeError, match=r"got \(torch.dtype, int\), but expected one of"):
        x.to(I64, 5)
    with raises(TypeError, "type_as(): argument 'other' (position 1) must be Tensor, not str"):
        x.type_as("a")


def test_device_and_layout() -> None:
    x = tg.ones(2)
    assert repr(x.device) == repr(tg.device(tg.device("cpu"))) == "device(type='cpu')"
    assert repr(tg.device("cpu", 0)) == repr(tg.device("cpu:0")) == "device(type='cpu', index=0)"
    assert str(tg.device("cuda:1")) == "cuda:1"
    assert x.device == tg.device("cpu")
    assert x.device != tg.device("cpu:0")
    assert len({tg.device("cpu"), tg.device("cpu")}) == 1
    assert repr(x.layout) == "torch.strided"
    assert not x.is_cuda
    for original in (x.device, x.layout, tg.preserve_format):
        assert pickle.loads(pickle.dumps(original)) == copy.deepcopy(original) == original
    for text, message in (
        ("", "Device string must not be empty"),
        ("cpu:", "Invalid device string: 'cpu:'"),
        ("cpu:a", "Invalid device string: 'cpu:a'"),
    ):
        with raises(RuntimeError, message):
            tg.device(text)
    with pytest.raises(RuntimeError, match=r"Expected one of cpu, cuda.*device string: foo"):
        tg.device("foo")


def test_questions() -> None:
    assert tg.is_tensor(tg.ones(1))
    assert not tg.is_tensor(3)
    assert tg.is_floating_point(tg.ones(1))
    assert not tg.tensor([1]).is_floating_point()
    assert not tg.is_complex(tg.ones(1))
    assert not tg.tensor([True]).is_signed()
    text = "is_floating_point(): argument 'input' (position 1) must be Tensor, not list"
    with raises(TypeError, text):
        tg.is_floating_point([3.0])


# --------------------------------------------------------------------------- random numbers
@pytest.mark.smoke
def test_same_seed_same_numbers() -> None:
    def draw() -> list[Any]:
        return [
            tg.rand(3).tolist(), tg.randn(3).tolist(), tg.randint(9, (3,)).tolist(),
            tg.randperm(5).tolist(), tg.normal(0.0, 1.0, (2,)).tolist(),
            tg.bernoulli(tg.full((4,), 0.5)).tolist(), tg.multinomial(tg.ones(5), 2).tolist(),
        ]  # fmt: skip

    assert tg.manual_seed(5).initial_seed() == tg.initial_seed() == 5
    first = draw()
    tg.manual_seed(5)
    assert draw() == first
    assert draw() != first
    state = tg.get_rng_state()
    again = draw()
    tg.set_rng_state(state)
    assert draw() == again
    assert tg.initial_seed() == 5


def test_generators() -> None:
    g, h = tg.Generator(), tg.Generator().manual_seed(3)
    assert h.initial_seed() == 3
    assert g.initial_seed() == 67280421310721
    same = tg.Generator().manual_seed(3)
    assert tg.rand(3, generator=h).tolist() == tg.rand(3, generator=same).tolist()
    assert g.seed() == g.initial_seed()
    assert tg.manual_seed(-1).initial_seed() == 2**64 - 1
    for wrong in (2**64, -(2**63) - 1):
        with raises(ValueError, "Overflow when unpacking long long"):
            tg.manual_seed(wrong)
    with raises(TypeError, "rand(): argument 'generator' must be torch.Generator, not int"):
        tg.rand(2, generator=1)


def test_random_distributions() -> None:
    n = 20_000
    uniform = tg.rand(n).numpy()
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02
    normal = tg.randn(n, dtype=F32).numpy()
    assert normal.dtype == np.float32
    assert abs(normal.mean()) < 0.04
    assert abs(normal.std() - 1) < 0.04
    shifted = tg.normal(tg.full((n,), 3.0), 2.0).numpy()
    assert abs(shifted.mean() - 3) < 0.08
    assert abs(shifted.std() - 2) < 0.08
    assert tg.normal(0.0, tg.ones(3)).shape == (3,)
    drawn = tg.randint(-2, 3, (n,)).numpy()
    assert set(drawn.tolist()) == {-2, -1, 0, 1, 2}
    assert sorted(tg.randperm(50).tolist()) == list(range(50))
    ones = tg.bernoulli(tg.full((n,), 0.25)).numpy()
    assert abs(ones.mean() - 0.25) < 0.02
    weights = tg.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 2.0]])
    with_return = tg.multinomial(weights, n, replacement=True).numpy()
    assert abs((with_return[0] == 2).mean() - 0.75) < 0.02
    assert set(with_return[1].tolist()) == {1, 2}
    without = tg.multinomial(weights, 2).numpy()
    assert sorted(without[0].tolist()) == [0, 2]
    assert sorted(without[1].tolist()) == [1, 2]
    first = tg.multinomial(tg.tensor([1.0, 3.0]).expand(n, 2), 1).numpy()
    assert abs(first.mean() - 0.75) < 0.02


def test_random_dtypes_and_forms() -> None:
    assert tg.randint(5, (2,)).dtype is tg.randperm(3).dtype is I64
    assert tg.randint(0, 2, (2,), dtype=B).dtype is B
    assert tg.randint(low=0, high=2, size=(2, 2)).shape == (2, 2)
    assert tg.randint(high=2, size=(2,)).shape == (2,)
    assert tg.randn(2, 3, requires_grad=True).is_leaf
    assert tg.rand(()).shape == ()
    assert tg.rand(0, 3).shape == tg.randn((0, 3)).shape == (0, 3)
    assert tg.randint(-(2**63), 2**63 - 1, (1000,)).numpy().min() < 0


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: tg.rand(2, dtype=I64), NotImplementedError,
         "\"check_uniform_bounds\" not implemented for 'Long'"),
        (lambda: tg.randn_like(tg.tensor([1])), NotImplementedError,
         "\"normal_kernel_cpu\" not implemented for 'Long'"),
        (lambda: tg.randint(5, 3), TypeError,
         "randint(): argument 'size' (position 2) must be tuple of ints, not int"),
        (lambda: tg.randint(5, 5, (2,)), RuntimeError,
         "random_ expects 'from' to be less than 'to', but got from=5 >= to=5"),
        (lambda: tg.randint(1.5, (2,)), TypeError,
         "randint(): argument 'high' (position 1) must be int, not float"),
        (lambda: tg.randint(5, (2,), requires_grad=True), RuntimeError,
         "Only Tensors of floating point and complex dtype can require gradients"),
        (lambda: tg.randperm(-1), RuntimeError,
         "Trying to create tensor with negative dimension -1: [-1]"),
        (lambda: tg.normal(0.0, -1.0, (2,)), RuntimeError,
         "normal expects std >= 0.0, but found std -1"),
        (lambda: tg.normal(tg.zeros(2), tg.full((2,), -1.0)), RuntimeError,
         "normal expects all elements of std >= 0.0"),
        (lambda: tg.normal(tg.zeros(2), tg.ones(3)), RuntimeError,
         "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension "
         "0"),
        (lambda: tg.bernoulli(tg.ones(2), 1.5), RuntimeError,
         "bernoulli_ expects p to be in [0, 1], but got p=1.5"),
        (lambda: tg.bernoulli(tg.tensor([2.0])), RuntimeError,
         "Expected p_in >= 0 && p_in <= 1 to be true, but got false."),
        (lambda: tg.multinomial(tg.ones(2), 3), RuntimeError,
         "cannot sample n_sample > prob_dist.size(-1) samples without replacement"),
        (lambda: tg.multinomial(tg.tensor([-1.0, 1.0]), 1), RuntimeError,
         "probability tensor contains either `inf`, `nan` or element < 0"),
        (lambda: tg.multinomial(tg.zeros(2), 1), RuntimeError,
         "invalid multinomial distribution (sum of probabilities <= 0)"),
        (lambda: tg.multinomial(tg.ones(2), 0), RuntimeError,
         "cannot sample n_sample <= 0 samples"),
    ],
)  # fmt: skip
def test_random_errors_are_torchs(call: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        call()
