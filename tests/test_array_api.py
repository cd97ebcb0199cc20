"""`tapegrad.array_api`: each name of the standard, its signature, values, derivatives, dtypes and errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
import tapegrad.array_api as xp

_UNARY = """
abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf
isnan log log1p log2 log10 logical_not negative positive real reciprocal round sign signbit sin sinh
square sqrt tan tanh trunc
"""
_BINARY = """
add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal
floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor
maximum minimum multiply nextafter not_equal pow remainder subtract
"""
OTHERS = """
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
asarray(obj, /, *, dtype=None, device=None, copy=None)
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
from_dlpack(x, /, *, device=None, copy=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
meshgrid(*arrays, indexing='xy')
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
astype(x, dtype, /, *, copy=True, device=None)
can_cast(from_, to, /)
finfo(type, /)
iinfo(type, /)
isdtype(dtype, kind)
result_type(*arrays_and_dtypes)
clip(x, /, min=None, max=None)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
tensordot(x1, x2, /, *, axes=2)
vecdot(x1, x2, /, *, axis=-1)
broadcast_arrays(*arrays)
broadcast_to(x, /, shape)
concat(arrays, /, *, axis=0)
expand_dims(x, /, axis)
flip(x, /, *, axis=None)
moveaxis(x, source, destination, /)
permute_dims(x, /, axes)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
roll(x, /, shift, *, axis=None)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
tile(x, repetitions, /)
unstack(x, /, *, axis=0)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
count_nonzero(x, /, *, axis=None, keepdims=False)
searchsorted(x1, x2, /, *, side='left', sorter=None)
where(condition, x1, x2, /)
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
argsort(x, /, *, axis=-1, descending=False, stable=True)
sort(x, /, *, axis=-1, descending=False, stable=True)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
max(x, /, *, axis=None, keepdims=False)
mean(x, /, *, axis=None, keepdims=False)
min(x, /, *, axis=None, keepdims=False)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
matrix_transpose(x, /)
nonzero(x, /)
matmul(x1, x2, /)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
"""
LINALG = """
cholesky(x, /, *, upper=False)
cross(x1, x2, /, *, axis=-1)
det(x, /)
diagonal(x, /, *, offset=0)
eigh(x, /)
eigvalsh(x, /)
inv(x, /)
matmul(x1, x2, /)
matrix_norm(x, /, *, keepdims=False, ord='fro')
matrix_power(x, n, /)
matrix_rank(x, /, *, rtol=None)
matrix_transpose(x, /)
outer(x1, x2, /)
pinv(x, /, *, rtol=None)
qr(x, /, *, mode='reduced')
slogdet(x, /)
solve(x1, x2, /)
svd(x, /, *, full_matrices=True)
svdvals(x, /)
tensordot(x1, x2, /, *, axes=2)
trace(x, /, *, offset=0, dtype=None)
vecdot(x1, x2, /, *, axis=-1)
vector_norm(x, /, *, axis=None, keepdims=False, ord=2)
"""
FFT = """
fft(x, /, *, n=None, axis=-1, norm='backward')
ifft(x, /, *, n=None, axis=-1, norm='backward')
fftn(x, /, *, s=None, axes=None, norm='backward')
ifftn(x, /, *, s=None, axes=None, norm='backward')
rfft(x, /, *, n=None, axis=-1, norm='backward')
irfft(x, /, *, n=None, axis=-1, norm='backward')
rfftn(x, /, *, s=None, axes=None, norm='backward')
irfftn(x, /, *, s=None, axes=None, norm='backward')
hfft(x, /, *, n=None, axis=-1, norm='backward')
ihfft(x, /, *, n=None, axis=-1, norm='backward')
fftfreq(n, /, *, d=1.0, dtype=None, device=None)
rfftfreq(n, /, *, d=1.0, dtype=None, device=None)
fftshift(x, /, *, axes=None)
ifftshift(x, /, *, axes=None)
"""


def _declared(text: str) -> dict[str, str]:
    return {line.partition("(")[0]: line for line in text.strip().splitlines()}


UNARY, BINARY = _UNARY.split(), _BINARY.split()
FUNCTIONS = {
    **_declared(OTHERS),
    **{name: f"{name}(x, /)" for name in UNARY},
    **{name: f"{name}(x1, x2, /)" for name in BINARY},
}
EXTENSIONS = {
    **{f"linalg.{name}": line for name, line in _declared(LINALG).items()},
    **{f"fft.{name}": line for name, line in _declared(FFT).items()},
}
DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "float32",
    "float64",
    "complex64",
    "complex128",
]  # uint16, uint32 and uint64 are missing


def function(place: Any, name: str) -> Any:
    """A function by its name, in `linalg` and `fft` with a dot."""
    for part in name.split("."):
        place = getattr(place, part)
    return place


# --------------------------------------------------------------------------- names
@pytest.mark.parametrize("name", [*FUNCTIONS, *EXTENSIONS])
def test_signatures_are_the_standards(name: str) -> None:
    member = function(xp, name)
    signature = inspect.signature(member)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert {**FUNCTIONS, **EXTENSIONS}[
        name
    ] == f"{name.rpartition('.')[2]}{inspect.Signature(bare)}"
    assert member.__doc__
    assert (
        name.rpartition(".")[2] in function(xp, name.rpartition(".")[0]).__all__
        if "." in name
        else name in dir(xp)
    )


def test_all_is_what_the_standard_has() -> None:
    rest = {"e", "inf", "nan", "newaxis", "pi", "fft", "linalg", "__array_namespace_info__"}
    assert set(xp.__all__) == {*FUNCTIONS, *DTYPES, *rest}
    assert xp.__array_api_version__ == "2024.12"
    assert (xp.newaxis, xp.e, xp.pi, xp.inf) == (None, np.e, np.pi, np.inf)
    assert np.isnan(xp.nan)


def test_a_tensor_knows_its_namespace() -> None:
    x = tg.tensor([[1.0, 2.0]])
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2023.12") is xp
    with pytest.raises(ValueError, match=r"no version '1999.12'.*ask for one of 2021.12"):
        x.__array_namespace__(api_version="1999.12")
    assert x.to_device("cpu") is x
    with pytest.raises(
        tg.UnsupportedError, match=r"to_device\(\): tapegrad computes on the CPU only"
    ):
        x.to_device("cuda")
    with pytest.raises(tg.UnsupportedError, match="no streams"):
        x.to_device("cpu", stream=1)
    assert str(x.device) == "cpu"
    assert x.mT.shape == (2, 1)
    assert complex(xp.asarray(1j)) == 1j


def test_inspection() -> None:
    info = xp.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"]
    assert info.devices() == [info.default_device()] == [tg.device("cpu")]
    assert info.default_dtypes()["real floating"] is xp.float64
    assert set(info.dtypes()) == set(DTYPES)
    assert set(info.dtypes(kind="integral")) == {"int8", "int16", "int32", "int64", "uint8"}
    assert set(info.dtypes(kind=("bool", "complex floating"))) == {
        "bool",
        "complex64",
        "complex128",
    }
    with pytest.raises(ValueError, match="no kind 'odd'"):
        info.dtypes(kind="odd")
    tg.set_default_dtype(tg.float32)
    try:
        assert info.default_dtypes()["complex floating"] is xp.complex64
        makers = xp.zeros(2), xp.eye(2), xp.asarray([1.0]), xp.arange(2.0), xp.linspace(0, 1, 3)
        assert {x.dtype for x in makers} == {xp.float32}
        assert xp.fft.fftfreq(3).dtype is xp.float32
    finally:
        tg.set_default_dtype(tg.float64)


# --------------------------------------------------------------------------- values and derivatives
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(0.2, 0.9, (3, 4)), RNG.uniform(0.2, 0.9, (3, 4))
V, SQUARE = RNG.uniform(0.2, 0.9, 6), RNG.uniform(0.2, 0.9, (2, 3, 3)) + 2 * np.eye(3)
SYMMETRIC = SQUARE + SQUARE.swapaxes(-1, -2)
WHOLE = RNG.integers(0, 5, (3, 4))
OF_BITS = (
    "bitwise_invert",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
)
#: functions whose results are constants, or steps
PASSIVE = {
    *OF_BITS, "imag", "isfinite", "isinf", "isnan", "logical_not", "signbit", "equal", "greater",
    "greater_equal", "less", "less_equal", "logical_and", "logical_or", "logical_xor", "not_equal", "argmax",
    "argmin", "count_nonzero", "searchsorted", "argsort", "all", "any", "empty_like", "full_like",
    "ones_like", "zeros_like", "nonzero", "unique_counts", "unique_inverse", "unique_all",
    "linalg.matrix_rank", "linalg.svd", "linalg.eigh",
}  # fmt: skip
Call = tuple[Callable[..., Any], tuple[np.ndarray, ...]]
#: name -> arguments of the function in a namespace, and the arrays that it is called with
CALLS: dict[str, Call] = {
    **{n: (lambda m, x, n=n: getattr(m, n)(x), (X + (n == "acosh"),)) for n in UNARY},
    **{n: (lambda m, x, y, n=n: getattr(m, n)(x, y), (X, Y)) for n in BINARY},
    **{n: (lambda m, x, y, n=n: getattr(m, n)(x, y), (WHOLE, WHOLE[::-1])) for n in OF_BITS[1:]},
    "bitwise_invert": (lambda m, x: m.bitwise_invert(x), (WHOLE,)),
    "tril": (lambda m, x: m.tril(x, k=1), (SQUARE,)),
    "triu": (lambda m, x: m.triu(x), (SQUARE,)),
    "meshgrid": (lambda m, x, y: m.meshgrid(x, y, indexing="ij"), (V, V[:2])),
    "empty_like": (lambda m, x: 0 * m.zeros_like(x), (X,)),
    "full_like": (lambda m, x: m.full_like(x, 2), (X,)),
    "ones_like": (lambda m, x: m.ones_like(x, dtype=m.float32), (X,)),
    "zeros_like": (lambda m, x: m.zeros_like(x), (WHOLE,)),
    "astype": (lambda m, x: m.astype(x, m.complex128), (X,)),
    "clip": (lambda m, x, y: m.clip(x, y, 0.8), (X, Y)),
    "take": (lambda m, x: m.take(x, m.asarray([2, 0]), axis=1), (X,)),
    "take_along_axis": (lambda m, x: m.take_along_axis(x, m.argsort(x, axis=0), axis=0), (X,)),
    "tensordot": (lambda m, x, y: m.tensordot(x, y, axes=((0, 1), (0, 1))), (X, Y)),
    "vecdot": (lambda m, x, y: m.vecdot(x, y), (X, Y)),
    "matmul": (lambda m, x, y: m.matmul(x, y), (X, Y.T)),
    "broadcast_arrays": (lambda m, x, y: m.broadcast_arrays(x, y), (X, Y[0])),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (2, 3, 4)), (X,)),
    "concat": (lambda m, x, y: m.concat([x, y], axis=None), (X, Y)),
    "expand_dims": (lambda m, x: m.expand_dims(x, axis=-1), (X,)),
    "flip": (lambda m, x: m.flip(x, axis=1), (X,)),
    "moveaxis": (lambda m, x: m.moveaxis(x, 0, -1), (SQUARE,)),
    "permute_dims": (lambda m, x: m.permute_dims(x, (2, 0, 1)), (SQUARE,)),
    "matrix_transpose": (lambda m, x: m.matrix_transpose(x), (SQUARE,)),
    "repeat": (lambda m, x: m.repeat(x, m.asarray([1, 0, 2]), axis=0), (X,)),
    "reshape": (lambda m, x: m.reshape(x, (2, -1), copy=True), (X,)),
    "roll": (lambda m, x: m.roll(x, (1, 2), axis=(0, 1)), (X,)),
    "squeeze": (lambda m, x: m.squeeze(x, 1), (X[:, None],)),
    "stack": (lambda m, x, y: m.stack([x, y], axis=1), (X, Y)),
    "tile": (lambda m, x: m.tile(x, (2, 1, 2)), (X,)),
    "unstack": (lambda m, x: m.unstack(x, axis=1), (X,)),
    "searchsorted": (lambda m, x, y: m.searchsorted(m.sort(x), y, side="right"), (V, Y)),
    "where": (lambda m, x, y: m.where(x > y, x, y), (X, Y)),
    "nonzero": (lambda m, x: m.nonzero(x), (WHOLE,)),
    **{n: (lambda m, x, n=n: getattr(m, n)(x), (WHOLE,))
       for n in ("unique_all", "unique_counts", "unique_inverse")},
    "unique_values": (lambda m, x: m.unique_values(x), (X,)),
    "argsort": (lambda m, x: m.argsort(x, axis=0), (X,)),
    "sort": (lambda m, x: m.sort(x, axis=0), (X,)),
    **{n: (lambda m, x, n=n: getattr(m, n)(x, axis=1, include_initial=True), (X,))
       for n in ("cumulative_sum", "cumulative_prod")},
    **{n: (lambda m, x, n=n: getattr(m, n)(x, axis=1, keepdims=True), (X,))
       for n in ("max", "mean", "min", "prod", "sum", "argmax", "argmin", "count_nonzero", "all", "any")},
    **{n: (lambda m, x, n=n: getattr(m, n)(x, axis=(0, 1), correction=1), (X,)) for n in ("std", "var")},
    "diff": (lambda m, x: m.diff(x, axis=0, prepend=x[:1]), (X,)),
    **{f"linalg.{n}": (lambda m, x, n=n: getattr(m.linalg, n)(x), (SQUARE,)) for n in (
        "det", "diagonal", "inv", "matrix_norm", "matrix_rank", "matrix_transpose", "pinv", "qr", "slogdet",
        "svd",
        "svdvals", "trace", "vector_norm")},
    **{f"linalg.{n}": (lambda m, x, n=n: getattr(m.linalg, n)((x + m.matrix_transpose(x)) / 2), (SYMMETRIC,))
       for n in ("cholesky", "eigh", "eigvalsh")},
    "linalg.cross": (lambda m, x, y: m.linalg.cross(x, y, axis=0), (X, Y)),
    "linalg.matmul": (lambda m, x, y: m.linalg.matmul(x, y), (X, Y.T)),
    "linalg.matrix_power": (lambda m, x: m.linalg.matrix_power(x, -2), (SQUARE,)),
    "linalg.outer": (lambda m, x, y: m.linalg.outer(x, y), (V, V[:2])),
    "linalg.solve": (lambda m, x, y: m.linalg.solve(x, y), (SQUARE, V[:3])),
    "linalg.tensordot": (lambda m, x, y: m.linalg.tensordot(x, y, axes=1), (X, Y.T)),
    "linalg.vecdot": (lambda m, x, y: m.linalg.vecdot(x, y, axis=-1), (X, Y)),
    **{f"fft.{n}": (lambda m, x, n=n: getattr(m.fft, n)(x, axis=0), (X,))
       for n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
    **{f"fft.{n}": (lambda m, x, n=n: getattr(m.fft, n)(x, axes=(0, 1), norm="ortho"), (X,))
       for n in ("fftn", "ifftn", "rfftn", "irfftn")},
    **{f"fft.{n}": (lambda m, x, n=n: getattr(m.fft, n)(x, axes=1), (X,)) for n in ("fftshift", "ifftshift")},
}  # fmt: skip
#: the others take no numbers to be differentiated; they have tests of their own
MAKERS = {
    "arange", "asarray", "empty", "eye", "from_dlpack", "full", "linspace", "ones", "zeros", "can_cast",
    "finfo",
    "iinfo", "isdtype", "result_type", "fft.fftfreq", "fft.rfftfreq",
}  # fmt: skip


def parts(result: Any) -> list[Any]:
    """Results as a list."""
    return list(result) if isinstance(result, tuple | list) else [result]


def test_every_function_is_called() -> None:
    assert set(CALLS) | MAKERS == {*FUNCTIONS, *EXTENSIONS}


@pytest.mark.parametrize("name", CALLS)
def test_values_are_numpys(name: str) -> None:
    call, arrays = CALLS[name]
    ours, theirs = call(xp, *map(xp.asarray, arrays)), call(np, *arrays)
    assert len(parts(ours)) == len(parts(theirs))
    assert getattr(ours, "_fields", None) == getattr(theirs, "_fields", None)
    for mine, other in zip(parts(ours), parts(theirs), strict=True):
        assert tg.is_tensor(mine)
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine.numpy(), other, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", [n for n in CALLS if n not in PASSIVE])
def test_derivatives_are_those_of_differences(name: str) -> None:
    call, arrays = CALLS[name]
    operands = tuple([tg.tensor(a, requires_grad=True) for a in arrays])
    assert tg.autograd.gradcheck(lambda *xs: tuple(parts(call(xp, *xs))), operands)


@pytest.mark.parametrize("name", ["svd", "eigh"])
def test_values_of_decompositions_have_derivatives(name: str) -> None:
    x = tg.tensor(SYMMETRIC, requires_grad=True)
    place = 1 if name == "svd" else 0
    assert tg.autograd.gradcheck(lambda x: getattr(xp.linalg, name)((x + x.mT) / 2)[place], (x,))


# --------------------------------------------------------------------------- makers
@pytest.mark.parametrize("call", [
    lambda m: m.arange(3), lambda m: m.arange(1, 7, 2, dtype=m.float32), lambda m: m.arange(3, 1),
    lambda m: m.arange(0.5, 2), lambda m: m.eye(2, 3, k=1), lambda m: m.eye(2, dtype=m.int32),
    lambda m: m.full((2, 3), 7), lambda m: m.full(3, 1.5), lambda m: m.full((), True),
    lambda m: m.full(2, 1j),
    lambda m: m.linspace(0, 1, 5), lambda m: m.linspace(0, 1, 4, endpoint=False, dtype=m.float32),
    lambda m: m.linspace(0, 1j, 3), lambda m: m.ones((2, 0)), lambda m: m.zeros(3, dtype=m.uint8),
    lambda m: m.asarray([[1, 2], [3, 4]]), lambda m: m.asarray(True), lambda m: m.asarray([1, 2j]),
    lambda m: m.asarray([1, 2], dtype=m.float32), lambda m: m.fft.fftfreq(5, d=0.5),
    lambda m: m.fft.rfftfreq(4),
])  # fmt: skip
def test_makers_make_what_numpys_do(call: Callable[[Any], Any]) -> None:
    ours, theirs = call(xp), call(np)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_asarray_copies_where_it_says() -> None:
    x = xp.asarray([1.0, 2.0])
    assert xp.asarray(x) is x
    assert xp.asarray(x, copy=False) is x
    assert xp.asarray(x, copy=True) is not x
    array = np.ones(2)
    y = xp.asarray(array)
    array[0] = 5
    assert y.tolist() == [1, 1]
    for wrong in (array, [1.0]):
        with pytest.raises(ValueError, match="copy=False"):
            xp.asarray(wrong, copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray(x, dtype=xp.float32, copy=False)
    assert xp.empty((2, 3)).shape == (2, 3)
    t = tg.tensor(2.0, requires_grad=True)
    assert xp.asarray([t, 1.0]).requires_grad


def test_dlpack_through_numpy() -> None:
    x = xp.asarray([1.0, 2.0])
    assert np.from_dlpack(x).tolist() == [1, 2]
    assert x.__dlpack_device__() == (1, 0)
    assert xp.from_dlpack(np.ones(2, np.float32)).dtype is xp.float32
    assert xp.from_dlpack(x) is x
    a = np.ones(2)
    for copy in (None, False):
        xp.from_dlpack(a, copy=copy)[0] = 5
        assert a.tolist() == [5, 1]
    xp.from_dlpack(a, copy=True)[0] = 7
    assert a.tolist() == [5, 1]
    with pytest.raises(BufferError, match="require gradient"):
        np.from_dlpack(tg.tensor([1.0], requires_grad=True))


# --------------------------------------------------------------------------- dtypes
@pytest.mark.parametrize("first", DTYPES)
def test_promotion_table(first: str) -> None:
    for second in DTYPES:
        kind = np.result_type(getattr(np, first), getattr(np, second))
        for shapes in (((2,), ()), ((), (2,)), ((), ())):
            x, y = (
                xp.ones(s, dtype=getattr(xp, n))
                for s, n in zip(shapes, (first, second), strict=True)
            )
            assert xp.result_type(x, y) == kind
            assert xp.multiply(x, y).dtype == kind
            assert xp.where(xp.asarray(True), x, y).dtype == kind
            assert xp.concat([xp.reshape(x, (-1,)), xp.reshape(y, (-1,))]).dtype == kind
        assert xp.can_cast(getattr(xp, first), getattr(xp, second)) is np.can_cast(
            getattr(np, first), getattr(np, second)
        )


def test_numbers_take_the_dtype_of_arrays() -> None:
    x = xp.ones((), dtype=xp.float32)
    assert xp.add(x, 1.5).dtype is xp.add(1, x).dtype is xp.float32
    assert xp.multiply(x, 1j).dtype is xp.complex64
    assert xp.result_type(xp.int8, 1) is xp.int8
    assert xp.result_type(x, 1j) is xp.complex64
    assert xp.clip(xp.ones(2, dtype=xp.int16), 0, 5).dtype is xp.int16
    assert xp.sum(xp.ones((), dtype=xp.int8)).dtype is xp.int64
    assert xp.sum(xp.ones(3, dtype=xp.int16), dtype=xp.uint8).dtype is xp.uint8
    with pytest.raises(TypeError, match="at least one"):
        xp.result_type()


def test_limits_and_kinds() -> None:
    limits = xp.finfo(xp.complex64)
    assert (limits.bits, limits.dtype, limits.eps) == (32, xp.float32, 2.0**-23)
    assert (xp.iinfo(xp.uint8).max, xp.iinfo(xp.ones(1, dtype=xp.int8)).min) == (255, -128)
    assert xp.isdtype(xp.int8, ("bool", "signed integer"))
    assert xp.isdtype(xp.int8, xp.int8)
    assert not xp.isdtype(xp.bool, "numeric")
    with pytest.raises(ValueError, match="no kind 'whole'"):
        xp.isdtype(xp.int8, "whole")


def test_special_values_are_the_standards() -> None:
    inf, nan = xp.inf, xp.nan
    quotient = xp.floor_divide(xp.asarray([inf, -inf, 3.0, -3.0, inf, nan, 7.0, 1.0]),
                               xp.asarray([2.0, 2.0, -inf, inf, inf, 1.0, 2.0, 0.0]))  # fmt: skip
    np.testing.assert_array_equal(quotient.numpy(), [inf, -inf, -0.0, -0.0, nan, nan, 3.0, inf])
    assert np.signbit(quotient.numpy()[2:4]).all()
    np.testing.assert_array_equal(xp.sign(xp.asarray([nan, -2.0])).numpy(), [nan, -1])
    assert xp.sign(xp.asarray([3, 0], dtype=xp.uint8)).tolist() == [1, 0]
    assert complex(xp.expm1(xp.asarray(complex(-inf, inf)))) == -1
    assert len(xp.unique_values(xp.asarray([nan, nan, 1.0]))) == 3
    assert xp.round(xp.asarray([2.5 + 1.5j])).tolist() == [2 + 2j]


# --------------------------------------------------------------------------- errors
@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: xp.zeros(2, device="cuda"), tg.UnsupportedError, "computes on the CPU only"),
    (lambda: xp.astype(xp.asarray([1j]), xp.float64), TypeError, "drop the imaginary part"),
    (lambda: xp.asarray(["a"]), TypeError, "asarray: no array of dtype"),
    (lambda: xp.expand_dims(xp.ones(2), axis=5), IndexError, "axis 5 is out of bounds"),
    (lambda: xp.nonzero(xp.asarray(1)), ValueError, "without dimensions"),
    (lambda: xp.take(xp.ones((2, 2)), xp.asarray([0])), ValueError, "give axis"),
    (lambda: xp.squeeze(xp.ones((2, 1)), 0), ValueError, "size not equal to one"),
    (lambda: xp.vecdot(xp.ones(2), xp.ones(3)), ValueError, "vectors of 2 and 3 elements"),
    (lambda: xp.reshape(xp.ones((2, 3)).mT, (6,), copy=False), RuntimeError, "view size is not compatible"),
    (lambda: xp.bitwise_left_shift(xp.ones(2), 1), NotImplementedError, "lshift_cpu"),
    (lambda: xp.linalg.inv(xp.zeros((2, 2))).tolist(), np.linalg.LinAlgError, "inv"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Callable[[], Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_shifts_are_operators() -> None:
    x = tg.tensor([1, 2, -8])
    assert (x << 1).tolist() == [2, 4, -16]
    assert (x >> tg.tensor([0, 1, 2])).tolist() == [1, 1, -2]
    assert (1 << x[:2]).tolist() == [2, 4]
    x <<= 2
    assert x.tolist() == [4, 8, -32]
    assert tg.nextafter(tg.tensor(1.0), tg.tensor(2.0)).item() == np.nextafter(1.0, 2.0)
