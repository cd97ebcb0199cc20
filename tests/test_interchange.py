"""Memory shared with other libraries: DLPack, the buffer protocol, and the libraries that take arrays."""

from __future__ import annotations

import array
import ctypes
import gc
import hashlib
import io
import mmap
import operator
import re
import struct
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

DTYPES = [
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
]  # fmt: skip


def tensors() -> list[tg.Tensor]:
    """Leaves, results, views of them, small and large."""
    x = tg.arange(6.0).reshape(2, 3)
    return [
        x, tg.tensor([1.0, 2.0]), x * 2, (x + 1)[1:, ::2], x.T, tg.tensor(3.0), tg.zeros(0, 3),
        tg.ones(1).expand(4), tg.randn(1000) * 2, (tg.randn(50, 50) + 1)[3:, 7], tg.from_numpy(np.ones(3)),
        tg.ones(2, requires_grad=True).detach(), x.detach().clone().data,
    ]  # fmt: skip


def is_shared(tensor: Any, other: Any) -> bool:
    """Return True if both see the other's writes."""
    if tensor.numel() == 0:
        return True
    place = (0,) * tensor.ndim
    tensor[place] = 5
    seen = float(other[place]) == 5
    other[place] = 7
    return seen and tensor[place].item() == 7 and (tensor * 1)[place].item() == 7


# --------------------------------------------------------------------------- DLPack, outwards
@pytest.mark.parametrize("k", range(len(tensors())))
def test_numpy_shares_by_dlpack(k: int) -> None:
    x = tensors()[k]
    a = np.from_dlpack(x)
    assert a.shape == x.shape
    assert a.tolist() == x.tolist()
    assert a.strides == tuple(8 * s for s in x.stride()) or not a.size
    assert is_shared(x, a)


@pytest.mark.parametrize("k", range(len(tensors())))
def test_torch_shares_by_dlpack(k: int) -> None:
    torch = pytest.importorskip("torch")
    x = tensors()[k]
    for make in (torch.from_dlpack, lambda t: torch.utils.dlpack.from_dlpack(tg.to_dlpack(t))):
        t = make(x)
        assert t.tolist() == x.tolist()
        assert is_shared(x, t)
        assert x.numel() == 0 or t.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_of_dlpack(name: str) -> None:
    kind = getattr(tg, name)
    a = np.from_dlpack(tg.ones(2, dtype=kind))
    assert a.dtype == name
    assert a.tolist() == [1, 1]
    back = tg.from_dlpack(a)
    assert back.dtype is kind
    assert is_shared(back.real if kind.is_complex else back, a.real) or name == "bool"


def test_what_dlpack_refuses_to_give() -> None:
    x = tg.ones(2, requires_grad=True)
    text = re.escape("Can't export tensors that require gradient, use tensor.detach()")
    for t in (x, x * 2):
        for call in (np.from_dlpack, tg.from_dlpack, tg.to_dlpack, lambda t: t.__dlpack__()):
            with pytest.raises(BufferError, match=text):
                call(t)
            with tg.no_grad(), pytest.raises(BufferError, match=text):
                call(t)
    with pytest.raises(BufferError, match="stream should be None"):
        tg.ones(2).__dlpack__(stream=1)
    with pytest.raises(BufferError, match=r"dl_device \(1, 0\), and not on \(2, 0\)"):
        tg.ones(2).__dlpack__(dl_device=(2, 0))
    with pytest.raises(tg.UnsupportedError, match=r"__dlpack__\(\) of a tensor that is being diff"):
        tg.grad(lambda t: t.sum() * float(np.from_dlpack(t)[0]))(x.detach())
    assert tg.ones(2).__dlpack_device__() == (tg.utils.dlpack.DLDeviceType.kDLCPU, 0)


def test_versions_and_copies_of_dlpack() -> None:
    x = tg.ones(2)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(x.__dlpack__())
    for a in (np.from_dlpack(x, copy=True), tg.from_dlpack(x, copy=True).numpy()):
        a[0] = 5
        assert x.tolist() == [1, 1]


# --------------------------------------------------------------------------- DLPack, inwards
def test_what_is_imported_shares() -> None:
    makers: list[Callable[[], Any]] = [
        lambda: np.arange(6.0), lambda: np.arange(6.0).reshape(2, 3).T, lambda: np.arange(6.0)[::2],
        lambda: np.array(3.0), lambda: np.zeros((0, 3)), lambda: tg.arange(6.0),
    ]  # fmt: skip
    if "torch" in sys.modules or __import__("importlib").util.find_spec("torch"):
        import torch

        makers += [lambda: torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T]
    for make in makers:
        for take in (tg.from_dlpack, tg.utils.dlpack.from_dlpack):
            a = make()
            x = take(a)
            assert x.tolist() == a.tolist()
            assert is_shared(x, a)
            b = make()
            assert tg.from_dlpack(b, copy=True).add_(1).tolist() != b.tolist() or not x.numel()
        if not isinstance(make(), np.ndarray | tg.Tensor):
            continue
        a = make()
        assert is_shared(tg.from_dlpack(a.__dlpack__()), a)


def test_jax_arrays() -> None:
    jax = pytest.importorskip("jax")
    a = jax.numpy.arange(3, dtype=jax.numpy.float32)
    x = tg.from_dlpack(a)  # of which memory must not be written
    x += 1
    assert a.tolist() == [0, 1, 2]
    assert x.tolist() == [1, 2, 3]
    shared = tg.from_dlpack(a, copy=False)
    assert shared.data_ptr() == a.unsafe_buffer_pointer()
    assert tg.tensor(a).tolist() == [0, 1, 2]
    b = jax.dlpack.from_dlpack(tg.ones(64, dtype=tg.float32))
    assert b.tolist() == [1] * 64


def test_what_cannot_be_imported() -> None:
    capsule = tg.ones(2).__dlpack__()
    tg.from_dlpack(capsule)
    for other in (capsule, [1, 2], None, 3):
        with pytest.raises(RuntimeError, match="from_dlpack received an invalid capsule"):
            tg.from_dlpack(other)
    with pytest.raises(TypeError, match="uint16"):
        tg.from_dlpack(np.ones(2, np.uint16))
    with pytest.raises(ValueError, match=r"stride .* is negative"):
        tg.from_dlpack(np.ones(2)[::-1])
    with pytest.raises(TypeError, match="argument 'copy' must be bool or None, not int"):
        tg.from_dlpack(np.ones(2), copy=1)
    with pytest.raises(tg.UnsupportedError, match="CPU only"):
        tg.from_dlpack(np.ones(2), device="cuda")

    class OnACard:
        def __dlpack__(self) -> None:
            raise AssertionError

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(tg.UnsupportedError, match=r"device of type 2 \(CUDA\)"):
        tg.from_dlpack(OnACard())


def test_bfloat16_is_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="Of dtypes there are float64, float32"):
        tg.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


def test_memory_that_is_read_only_is_copied() -> None:
    a = np.broadcast_to(np.ones(1), (3,))
    for make in (tg.from_dlpack, tg.from_numpy, tg.as_tensor):
        x = make(a)
        x += 1
        assert a.tolist() == [1, 1, 1]
    assert tg.from_dlpack(a, copy=False).data_ptr() == a.ctypes.data


def test_memory_lives_as_long_as_somebody_sees_it() -> None:
    for size in (3, 10_000):
        seen = [np.from_dlpack(tg.ones(size) * k) for k in range(20)]
        seen += [np.asarray(tg.ones(size) * k) for k in range(20)]
        views = [memoryview(tg.ones(size) * k) for k in range(20)]
        x = tg.ones(1, requires_grad=True)
        for _ in range(2000):
            x = x * 1.0001
        gc.collect()
        tg.current_tape().collect()
        assert [a[-1] for a in seen] == [*range(20)] * 2
        assert [v[-1] for v in views] == [*range(20)]
        makers = [tg.from_dlpack, tg.from_numpy, lambda a: tg.frombuffer(a, dtype=tg.float64)]
        taken = [make(np.full(size, float(k))) for k in range(20) for make in makers]
        gc.collect()
        junk = [np.full(size, -1.0) for _ in range(60)]
        assert [t[-1].item() for t in taken] == [k for k in range(20) for _ in makers]
        del junk


def test_derivatives_of_imported_memory() -> None:
    a = np.array([1.0, 2.0])
    x = tg.from_dlpack(a).requires_grad_()
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 4]
    with tg.no_grad():
        x -= 0.5 * x.grad
    assert a.tolist() == [0, 0]
    a[:] = 3
    assert (x * 1).tolist() == [3, 3]


# --------------------------------------------------------------------------- the buffer protocol
@pytest.mark.parametrize("name", DTYPES)
def test_buffers(name: str) -> None:
    a = np.ones((2, 3), name)
    x = tg.from_numpy(a.copy())
    view = memoryview(x)
    assert (view.shape, view.format, view.strides) == ((2, 3), memoryview(a).format, a.strides)
    assert not view.readonly
    assert bytes(x) == a.tobytes()
    assert np.asarray(x).dtype == name
    assert np.asarray(view).tolist() == a.tolist()


@pytest.mark.parametrize("k", range(len(tensors())))
def test_buffers_share(k: int) -> None:
    x = tensors()[k]
    assert memoryview(x).tolist() == x.tolist()
    for make in (np.asarray, lambda t: np.asarray(memoryview(t))):
        a = make(x)
        assert a.strides == tuple(8 * s for s in x.stride()) or not a.size
        assert is_shared(x, a)


def test_who_takes_buffers() -> None:
    x = tg.tensor([1.0, 2.0])
    data = struct.pack("2d", 1, 2)
    assert np.frombuffer(x).tolist() == [1, 2]
    assert hashlib.sha256(x).digest() == hashlib.sha256(data).digest()
    file = io.BytesIO()
    assert file.write(x) == 16
    file.seek(0)
    y = tg.zeros(2)
    file.readinto(y)
    assert y.tolist() == [1, 2]
    numbers = (ctypes.c_double * 2).from_buffer(y)
    numbers[1] = 7
    assert y.tolist() == [1, 7]
    with pytest.raises(ValueError, match="not C-contiguous"):
        hashlib.sha256(tg.ones(3, 2).T)


def test_buffers_that_are_refused() -> None:
    x = tg.ones(2, requires_grad=True)
    for t in (x, x * 2):
        with pytest.raises(BufferError, match=r"require gradient, use tensor\.detach"):
            memoryview(t)
        with pytest.raises(
            RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"
        ):
            np.asarray(t)
        with tg.no_grad():
            assert np.asarray(t).tolist() == memoryview(t).tolist()
    with pytest.raises(tg.UnsupportedError, match="being differentiated"):
        tg.grad(lambda t: t.sum() * float(np.asarray(t)[0]))(x.detach())
    with pytest.raises(BufferError):
        (ctypes.c_double * 2).from_buffer(x)
    assert (x * 3).tolist() == [3, 3]


def test_a_tensor_between_bytes_and_numbers() -> None:
    """The buffer is no other way for a number, an index or a sequence to come out of a Tensor."""
    x = tg.tensor([1, 2])
    assert int(x[0]) == 1
    assert float(tg.tensor(2.5)) == 2.5
    assert [10, 20, 30][x[1]] == 30
    assert list(range(3))[x[0] :] == [1, 2]
    assert np.array([tg.tensor(1.0), tg.tensor(2.0)]).tolist() == [1, 2]
    assert np.array([tg.tensor([1.0, 2.0])] * 2).shape == (2, 2)
    assert array.array("d", tg.tensor([1.0, 2.0])).tolist() == [1, 2]
    for data in (b"x", bytearray(b"x")):
        for call in (lambda a, b: a + b, lambda a, b: b + a, operator.iadd):
            with pytest.raises(TypeError, match=r"unsupported operand|can't concat"):
                call(data, x)
    a = np.zeros(2)
    a[0], a[:] = tg.tensor(1.0), tg.tensor([3.0, 4.0])
    assert a.tolist() == [3, 4]


def test_frombuffer() -> None:
    data = bytearray(np.arange(6.0).tobytes())
    x = tg.frombuffer(data, dtype=tg.float64)
    data[:8] = struct.pack("d", 9)
    assert x.tolist() == [9, 1, 2, 3, 4, 5]
    assert tg.frombuffer(data, dtype=tg.float64, count=2, offset=8).tolist() == [1, 2]
    assert tg.frombuffer(data, dtype=tg.uint8, count=1, offset=3).tolist() == [data[3]]
    assert tg.frombuffer(bytearray(data[1:9]), dtype=tg.int16, offset=1, count=2).tolist() != []
    assert tg.frombuffer(data, dtype=tg.float64, requires_grad=True).requires_grad
    y = tg.frombuffer(bytes(data), dtype=tg.float64)  # which must not be written
    y += 1
    assert y[0].item() == 10
    file = mmap.mmap(-1, 16)
    z = tg.frombuffer(file, dtype=tg.int64)
    z[1] = 3
    assert file[8] == 3
    with pytest.raises(BufferError, match="exported pointers exist"):
        file.close()
    del z
    tg.current_tape().collect()
    gc.collect()
    file.close()


def test_frombuffer_errors() -> None:
    for buffer, options, text in (
        (bytearray(3), {}, "buffer length (3 bytes) after offset (0 bytes) must be a multiple of element "
         "size (8)"),
        (bytearray(0), {}, "both buffer length (0) and count (-1) must not be 0"),
        (bytearray(8), {"count": 0}, "both buffer length (8) and count (0) must not be 0"),
        ([1], {}, "object does not implement Python buffer protocol."),
        (bytearray(16), {"count": 3}, "requested buffer length (3 * 8 bytes) after offset (0 bytes) must not "
         "be greater than actual buffer length (16 bytes)"),
        (bytearray(16), {"offset": 20}, "offset (20 bytes) must be non-negative and no greater than buffer "
         "length (16 bytes) minus 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(text)):
            tg.frombuffer(buffer, dtype=tg.float64, **options)
        torch = sys.modules.get("torch")
        if torch is not None:
            with pytest.raises(ValueError, match=re.escape(text)):
                torch.frombuffer(buffer, dtype=torch.float64, **options)
    with pytest.raises(
        RuntimeError, match="floating point and complex dtype can require gradients"
    ):
        tg.frombuffer(bytearray(8), dtype=tg.int64, requires_grad=True)
    with pytest.raises(TypeError, match="argument 'count' must be int, not float"):
        tg.frombuffer(bytearray(8), dtype=tg.int64, count=1.0)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- libraries of arrays
X, M = [1.0, 2.0, 4.0], [[1.0, 2.0], [3.0, 5.0], [6.0, 7.0]]


def plain(value: Any) -> Any:
    """What can be compared."""
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return (
        np.asarray(value).tolist()
        if hasattr(value, "shape") or hasattr(value, "__array__")
        else value
    )


def assert_as_arrays(call: Callable[[Callable[[Any], Any]], Any]) -> None:
    """Call with a function that makes tensors, and with one that makes arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert plain(call(tg.tensor)) == plain(call(np.array))


PLOTS: dict[str, Callable[[Any, Any], Any]] = {
    "plot": lambda a, v: a.plot(v(X), v(X))[0].get_xydata(),
    "columns": lambda a, v: [line.get_xydata() for line in a.plot(v(X), v(M))],
    "imshow": lambda a, v: a.imshow(v(M)).get_array(),
    "hist": lambda a, v: a.hist(v(X))[:2],
    "hist of columns": lambda a, v: a.hist(v(M))[:2],
    "scatter": lambda a, v: a.scatter(v(X), v(X), c=v(X), s=v(X)).get_offsets(),
    "bar": lambda a, v: [b.get_height() for b in a.bar(v([0, 1, 2]), v(X))],
    "fill": lambda a, v: a.fill_between(v(X), v(X) - 1, v(X) + 1).get_paths()[0].vertices,
    "errors": lambda a, v: a.errorbar(v(X), v(X), yerr=v(X))[0].get_xydata(),
    "contour": lambda a, v: a.contourf(v(X), v([0.0, 1]), v(M).T).levels,
    "mesh": lambda a, v: a.pcolormesh(v(M)).get_array(),
    "quiver": lambda a, v: a.quiver(v(X), v(X), v(X), v(X)).U,
    "limits": lambda a, v: a.set_xlim(v(X)[0], v(X)[1]),
    "numbers": lambda a, v: a.plot([v(X)[0], v(X)[1]])[0].get_xydata(),
}


@pytest.mark.parametrize("name", PLOTS)
def test_matplotlib_takes_tensors(name: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    def call(make: Callable[[Any], Any]) -> Any:
        figure, axes = pyplot.subplots()
        try:
            return PLOTS[name](axes, make)
        finally:
            pyplot.close(figure)

    assert_as_arrays(call)


def test_matplotlib_refuses_what_is_differentiated() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    with pytest.raises(RuntimeError, match="requires grad"):
        axes.plot(tg.ones(2, requires_grad=True))
    pyplot.close(figure)


def test_pandas_takes_tensors() -> None:
    pd = pytest.importorskip("pandas")
    assert_as_arrays(lambda v: pd.DataFrame(v(M), columns=["a", "b"]).values)
    assert_as_arrays(lambda v: pd.DataFrame({"a": v(X), "b": v([1, 2, 3])}).describe().values)
    assert_as_arrays(lambda v: pd.DataFrame([v(X), v(X)]).values)
    assert_as_arrays(lambda v: pd.Series(X) + v(X))
    assert_as_arrays(lambda v: pd.Series(X).iloc[v([0, 2])])
    assert_as_arrays(lambda v: pd.DataFrame({"a": X}).assign(c=v(X)).values)
    assert pd.Series(tg.tensor(X)).dtype == np.float64
    assert pd.DataFrame({"a": tg.tensor([1, 2])})["a"].dtype == np.int64
    with pytest.raises(RuntimeError, match="requires grad"):
        pd.Series(tg.ones(2, requires_grad=True))


def test_tensors_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(M, columns=["a", "b"], index=[5, 6, 7])
    for make in (tg.tensor, tg.as_tensor, tg.asarray):
        assert make(frame).tolist() == M
        assert make(frame["a"]).tolist() == [1, 3, 6]
        assert make(frame.to_numpy()).tolist() == M
        assert make(frame.index).tolist() == [5, 6, 7]
    assert tg.tensor(frame["a"] > 1).dtype is tg.bool
    assert tg.from_numpy(frame["a"].to_numpy()).tolist() == [1, 3, 6]
    with pytest.raises(TypeError, match="object"):
        tg.tensor(pd.DataFrame({"a": ["x"]}, dtype=object))
    x = tg.tensor(frame["a"], requires_grad=True)
    (x * frame["b"].to_numpy()).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 5, 7]


def test_scikit_learn_takes_tensors() -> None:
    pytest.importorskip("sklearn")
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.metrics import mean_squared_error
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    assert_as_arrays(lambda v: LinearRegression().fit(v(M), v(X)).predict(v(M)))
    assert_as_arrays(lambda v: LogisticRegression().fit(v(M), v([0, 1, 1])).predict_proba(v(M)))
    assert_as_arrays(lambda v: StandardScaler().fit_transform(v(M)))
    assert_as_arrays(lambda v: PCA(1).fit_transform(v(M)))
    assert_as_arrays(lambda v: mean_squared_error(v(X), v(X) + 1))
    assert_as_arrays(lambda v: train_test_split(v(M), v(X), random_state=0))
    w = tg.tensor(LinearRegression().fit(tg.tensor(M), tg.tensor(X)).coef_, requires_grad=True)
    (tg.tensor(M) @ w).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [10, 14]
