"""Dtypes: from NumPy and back, promotion, the default, Size, finfo and iinfo."""

import copy
import operator
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.base import dtypes as dt
from tapegrad.base import limits

ALL = [dt.float64, dt.float32, dt.int64, dt.bool_]


@pytest.fixture(autouse=True)
def default_dtype() -> Iterator[None]:
    before = dt.get_default_dtype()
    yield
    dt.set_default_dtype(before)


@pytest.mark.parametrize(
    ("dtype", "text", "numpy_dtype", "code", "itemsize", "floating", "signed"),
    [
        (dt.float64, "torch.float64", np.float64, 0, 8, True, True),
        (dt.float32, "torch.float32", np.float32, 1, 4, True, True),
        (dt.int64, "torch.int64", np.int64, 2, 8, False, True),
        (dt.bool_, "torch.bool", np.bool_, 3, 1, False, False),
    ],
)
def test_fields(
    dtype: dt.dtype,
    text: str,
    numpy_dtype: type,
    code: int,
    itemsize: int,
    floating: bool,
    signed: bool,
) -> None:
    assert repr(dtype) == str(dtype) == text
    assert dtype.name == text.removeprefix("torch.")
    assert dtype.np == np.dtype(numpy_dtype)
    assert (dtype.code, dtype.itemsize) == (code, itemsize)
    assert (dtype.is_floating_point, dtype.is_signed) == (floating, signed)
    assert dtype.is_complex is False
    assert dt.from_numpy_dtype(numpy_dtype) is dtype
    assert dt.from_numpy_dtype(np.dtype(numpy_dtype)) is dtype
    assert dt.from_numpy_dtype(dtype.name) is dtype
    assert dt.as_dtype(dtype) is dt.as_dtype(dtype.np) is dt.as_dtype(numpy_dtype) is dtype


def test_aliases_are_torchs() -> None:
    assert dt.double is dt.float64
    assert dt.float_ is dt.float32
    assert dt.long is dt.int64


@pytest.mark.parametrize("dtype", ALL, ids=repr)
def test_copies_are_the_singleton(dtype: dt.dtype) -> None:
    assert copy.copy(dtype) is dtype
    assert copy.deepcopy(dtype) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    with pytest.raises(AttributeError):
        dtype.code = 7  # type: ignore[misc]


@pytest.mark.parametrize(("given", "expected"), [(float, dt.float64), (int, dt.int64)])
def test_python_types(given: type, expected: dt.dtype) -> None:
    assert dt.as_dtype(given) is expected
    assert dt.as_dtype(bool) is dt.bool_


@pytest.mark.parametrize(
    ("given", "named", "remedy"),
    [
        (np.longdouble, "numpy.longdouble", "convert with .astype(np.float64)"),
        (np.dtype(">f8"), "non-native byte order", "convert with .astype(np.float64)"),
        (np.uint16, "numpy.uint16", "convert with .astype(np.int64)"),
        (np.uint64, "numpy.uint64", "convert with .astype(np.int64)"),
        (np.dtype("M8[s]"), "numpy.datetime64", "convert with .astype(np.int64)"),
        (np.clongdouble, "numpy.clongdouble", "convert with .astype(np.complex128)"),
        (np.dtype("U3"), "numpy.str_", "make an array of numbers first"),
        (object, "numpy.object_", "make an array of numbers first"),
        (np.dtype([("a", "f8")]), "numpy.void", "make an array of numbers first"),
    ],
)
def test_unsupported_numpy_dtype(given: Any, named: str, remedy: str) -> None:
    with pytest.raises(TypeError) as error:
        dt.from_numpy_dtype(given)
    assert named in str(error.value)
    assert remedy in str(error.value)


@pytest.mark.parametrize("given", [None, 3, "float64", str, 1.5, [dt.float64]])
def test_not_a_dtype(given: object) -> None:
    with pytest.raises(
        TypeError, match="dtype must be one of float64, float32, complex128, complex64, int64, bool"
    ):
        dt.as_dtype(given)
    with pytest.raises(TypeError, match="expected a NumPy dtype, got None"):
        dt.from_numpy_dtype(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (dt.bool_, dt.bool_, dt.bool_),
        (dt.bool_, dt.int64, dt.int64),
        (dt.bool_, dt.float32, dt.float32),
        (dt.int64, dt.float32, dt.float32),
        (dt.int64, dt.float64, dt.float64),
        (dt.float32, dt.float64, dt.float64),
    ],
)
def test_result_type(a: dt.dtype, b: dt.dtype, expected: dt.dtype) -> None:
    assert dt.result_type(a, b) is expected
    assert dt.result_type(b, a) is expected


def test_default_dtype() -> None:
    assert dt.get_default_dtype() is dt.float64
    dt.set_default_dtype(dt.float32)
    assert dt.get_default_dtype() is dt.float32
    for wrong in (dt.int64, dt.bool_):
        with pytest.raises(TypeError, match=r"^only floating-point types are supported as the de"):
            dt.set_default_dtype(wrong)
    for not_a_dtype in (float, "float64", np.float64, None):
        with pytest.raises(TypeError, match=r"^invalid dtype object: only floating-point types ar"):
            dt.set_default_dtype(not_a_dtype)  # type: ignore[arg-type]
    assert dt.get_default_dtype() is dt.float32


def test_type_name_calls_the_default_float() -> None:
    assert dt.type_name(dt.float64) == "torch.FloatTensor"
    assert dt.type_name(dt.float32) == "torch.FloatTensor"
    assert dt.type_name(dt.int64) == "torch.LongTensor"
    assert dt.type_name(dt.bool_) == "torch.BoolTensor"
    dt.set_default_dtype(dt.float32)
    assert dt.type_name(dt.float32) == "torch.FloatTensor"
    assert dt.type_name(dt.float64) == "torch.DoubleTensor"


def test_size_prints_and_compares() -> None:
    size = tg.Size([4, 3])
    assert repr(size) == str(size) == f"{size}" == "torch.Size([4, 3])"
    assert repr(tg.Size()) == "torch.Size([])"
    assert repr(tg.Size([np.int64(2), True])) == "torch.Size([2, 1])"
    assert size == (4, 3)
    assert hash(size) == hash((4, 3))
    assert size[0] == 4
    assert size[-1] == 3


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tg.Size([4, 3])[1:], (3,)),
        (tg.Size([4, 3])[::-1], (3, 4)),
        (operator.add(tg.Size([4, 3]), (2,)), (4, 3, 2)),
        (operator.add((2,), tg.Size([4, 3])), (2, 4, 3)),
        (tg.Size([4]) + tg.Size([3]), (4, 3)),
        (tg.Size([4, 3]) * 2, (4, 3, 4, 3)),
        (2 * tg.Size([4, 3]), (4, 3, 4, 3)),
        (pickle.loads(pickle.dumps(tg.Size([4, 3]))), (4, 3)),
        (copy.deepcopy(tg.Size([4, 3])), (4, 3)),
    ],
)
def test_size_stays_a_size(made: object, expected: tuple[int, ...]) -> None:
    assert type(made) is tg.Size
    assert made == expected


def test_size_numel() -> None:
    assert tg.Size([4, 3]).numel() == 12
    assert tg.Size([4, 0]).numel() == 0
    assert tg.Size([]).numel() == 1


def test_size_of_wrong_things() -> None:
    with pytest.raises(TypeError, match=r"iterable of 'int' \(item 1 is 'float'\)"):
        tg.Size([1, 1.5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not iterable"):
        tg.Size(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"can only concatenate tuple \(not list\) to torch.Size"):
        operator.add(tg.Size([1]), [2])
    with pytest.raises(TypeError):
        operator.add([2], tg.Size([1]))


def test_finfo() -> None:
    assert repr(limits.finfo(dt.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, "
        "smallest_normal=1.17549e-38, tiny=1.17549e-38, dtype=float32)"
    )
    info = limits.finfo()
    assert info == limits.finfo(float) == limits.finfo(dt.float64)
    assert hash(info) == hash(limits.finfo(float))
    assert info != limits.finfo(dt.float32)
    assert (info.eps, info.tiny, info.max) == (2.0**-52, 2.0**-1022, np.finfo(np.float64).max)
    assert (info.bits, info.dtype, info.resolution) == (64, "float64", 1e-15)
    assert type(info.max) is float
    for wrong in (dt.int64, dt.bool_):
        with pytest.raises(TypeError, match=r"requires a floating point input type. Use torch.iin"):
            limits.finfo(wrong)


def test_iinfo() -> None:
    info = limits.iinfo(dt.int64)
    assert repr(info) == "iinfo(min=-9.22337e+18, max=9.22337e+18, dtype=int64)"
    assert info == limits.iinfo(int)
    assert hash(info) == hash(limits.iinfo(int))
    assert (info.min, info.max, info.bits, info.dtype) == (-(2**63), 2**63 - 1, 64, "int64")
    with pytest.raises(TypeError, match=r"requires an integer input type. Use torch.finfo"):
        limits.iinfo(dt.float64)
    with pytest.raises(TypeError, match=r"torch.bool is not supported by torch.iinfo"):
        limits.iinfo(dt.bool_)


def test_against_torch() -> None:
    torch = pytest.importorskip("torch")
    for a in ALL:
        theirs = getattr(torch, a.name)
        assert repr(a) == repr(theirs)
        for name in ("itemsize", "is_floating_point", "is_signed", "is_complex"):
            assert getattr(a, name) == getattr(theirs, name)
        for b in ALL:
            promoted = torch.promote_types(theirs, getattr(torch, b.name))
            assert repr(dt.result_type(a, b)) == repr(promoted)
    for name in ("float64", "float32"):
        ours, theirs = limits.finfo(getattr(dt, name)), torch.finfo(getattr(torch, name))
        assert repr(ours) == repr(theirs)
        for limit in ("bits", "dtype", *limits.finfo.__slots__):
            assert getattr(ours, limit) == getattr(theirs, limit)
            assert type(getattr(ours, limit)) is type(getattr(theirs, limit))
    assert repr(limits.iinfo(dt.int64)) == repr(torch.iinfo(torch.int64))


def test_signs_of_numbers_that_have_none() -> None:
    x = tg.tensor([0, 3, 255], dtype=tg.uint8)
    for sign in (tg.sign, tg.sgn, np.sign):
        assert sign(x).tolist() == [0, 1, 1]
        assert sign(x).dtype is tg.uint8
