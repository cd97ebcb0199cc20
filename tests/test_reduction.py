"""Reductions, extremes, sorting, scans and the softmax family: against NumPy, SciPy and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special as special

import tapegrad as tg

INF, NAN = math.inf, math.nan


def array(*shape, seed=0):
    """Distinct numbers of both signs, none near 0."""
    size = math.prod(shape)
    steps = np.random.default_rng(seed).permutation(size) - (size - 1) / 2
    return np.where(steps == 0, 0.3, steps).reshape(shape) * (1.7 / max(size / 2, 1))


def equal(tensor, expected):
    """Exactly the values of an array."""
    np.testing.assert_array_equal(tensor.detach().numpy(), expected)


def zeros_in(*shape):
    """The same with about a third of it 0."""
    x = array(*shape, seed=1)
    x.flat[::3] = 0
    return x


# --------------------------------------------------------------------------- values against NumPy
AXES = [None, 0, 1, -1, (0, 2), (0, 1, 2)]

AGAINST_NUMPY = {
    "sum": np.sum,
    "mean": np.mean,
    "amax": np.max,
    "amin": np.min,
    "nansum": np.nansum,
    "all": np.all,
    "any": np.any,
    "logsumexp": special.logsumexp,
    "norm": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
    "var": lambda x, axis, keepdims: np.var(x, axis=axis, keepdims=keepdims, ddof=1),
    "std": lambda x, axis, keepdims: np.std(x, axis=axis, keepdims=keepdims, ddof=1),
}


def layouts(x):
    """The array in C order, transposed, strided and broadcast, as tensors with their values."""
    order = tuple(range(x.ndim))[::-1]
    transposed = tg.tensor(x.transpose(order).copy()).permute(*order)
    doubled = tg.tensor(np.repeat(x, 2, axis=0))[::2]
    return [tg.tensor(x), transposed, doubled]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", AGAINST_NUMPY)
def test_values(name, axis, keepdim):
    x = array(3, 4, 2)
    if name in ("all", "any"):
        x = zeros_in(3, 4, 2)
    expected = AGAINST_NUMPY[name](x, axis=axis, keepdims=keepdim)
    dim = tuple(range(3)) if axis is None else axis
    for tensor in layouts(x):
        result = getattr(tensor, name)(dim=dim, keepdim=keepdim)
        assert tuple(result.shape) == np.shape(expected)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-14, atol=1e-14)


def test_broadcast_operand():
    x = tg.tensor([1.0, 2.0, 3.0]).expand(4, 3)
    assert x.sum().item() == 24
    assert x.prod(0).tolist() == [1, 16, 81]
    assert x.argmax().item() == 2
    assert x.cumsum(0)[3].tolist() == [4, 8, 12]
    assert x.sort(1, descending=True).values[2].tolist() == [3, 2, 1]


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_scan_values(name, dim):
    x = array(3, 4, 2)
    for tensor in layouts(x):
        expected = getattr(np, name)(x, axis=dim)
        equal(getattr(tensor, name)(dim), expected)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_values(dim):
    x = array(3, 4, 2) * 30
    for tensor in layouts(x):
        np.testing.assert_allclose(
            tensor.softmax(dim).numpy(), special.softmax(x, axis=dim), rtol=1e-14
        )
        expected = special.log_softmax(x, axis=dim)
        np.testing.assert_allclose(tensor.log_softmax(dim).numpy(), expected, rtol=1e-13)
        expected = np.logaddexp.accumulate(x, axis=dim)
        equal(tensor.logcumsumexp(dim), expected)


@pytest.mark.parametrize("dim", [None, 0, 1, 2])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg(name, kind, dim):
    x = np.random.default_rng(3).integers(-3, 4, (4, 5, 6)).astype(kind)  # with ties
    for tensor in layouts(x):
        equal(getattr(tensor, name)(dim), getattr(np, name)(x, axis=dim))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.bool_])
def test_sort(kind, dim, descending):
    x = np.random.default_rng(4).integers(-9, 9, (3, 50, 4)).astype(kind)
    key = -x.astype(float) if descending else x
    order = np.argsort(key, axis=dim, kind="stable")
    for tensor in layouts(x):
        values, indices = tensor.sort(dim, descending)
        equal(indices, order)
        equal(values, np.take_along_axis(x, order, axis=dim))
        equal(tensor.argsort(dim, descending), order)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 33, 1000])
def test_sort_sizes(size):
    x = np.random.default_rng(size).normal(size=size)
    x[::5] = 0.0
    x[::7] = -0.0
    equal(tg.tensor(x).argsort(), np.argsort(x, kind="stable"))


@pytest.mark.smoke
def test_sort_order_of_special_values():
    x = tg.tensor([NAN, 1.0, -INF, INF, -0.0, 0.0, NAN, -2.0])
    assert x.argsort().tolist() == [2, 7, 4, 5, 1, 3, 0, 6]
    assert x.argsort(descending=True).tolist() == [0, 6, 3, 1, 4, 5, 7, 2]


@pytest.mark.parametrize("n", [1, 4, 5])
def test_median_is_the_lower_one(n):
    x = array(n, 3)
    expected = np.sort(x, axis=0)[(n - 1) // 2]
    values, indices = tg.tensor(x).median(0)
    equal(values, expected)
    np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy()[None], 0)[0], expected)
    assert tg.tensor(x).T.median().item() == np.sort(x, axis=None)[(3 * n - 1) // 2]
    assert tg.tensor([NAN, 1.0, NAN]).median(0).indices.item() == 0


@pytest.mark.smoke
def test_dtypes_of_results():
    whole = tg.tensor([[1, 2], [3, 4]])
    truth = tg.tensor([True, False, True])
    assert whole.sum().dtype == whole.prod(0).dtype == whole.cumsum(0).dtype == tg.int64
    assert truth.sum().item() == 2
    assert truth.sum().dtype == truth.prod().dtype == truth.cumsum(0).dtype == tg.int64
    assert whole.amax().dtype == tg.int64
    assert truth.max().dtype == tg.tensor(True).dtype
    assert truth.all().dtype == whole.any(0).dtype == tg.tensor(True).dtype
    assert whole.count_nonzero().dtype == tg.int64
    assert whole.mean(dtype=tg.float32).dtype == tg.float32
    assert whole.logsumexp(0).dtype == tg.float64
    assert tg.tensor([1.0]).sum(dtype=tg.float32).dtype == tg.float32
    single = tg.tensor([1.0, 2.0], dtype=tg.float32)
    for result in (single.sum(), single.var(), single.softmax(0), single.norm(3), single.std()):
        assert result.dtype == tg.float32


def test_empty():
    none = tg.zeros(0)
    assert none.sum().item() == 0
    assert none.prod().item() == 1
    assert math.isnan(none.mean().item())
    assert none.logsumexp(0).item() == -INF
    assert none.all().item() is True
    assert none.any().item() is False
    assert none.norm().item() == 0
    rows = tg.zeros(0, 3)
    assert rows.sum(0).tolist() == [0, 0, 0]
    assert rows.prod(0).tolist() == [1, 1, 1]
    assert tuple(rows.amax(1).shape) == (0,)
    assert tuple(rows.max(1).values.shape) == (0,)
    assert tuple(rows.cumsum(0).shape) == tuple(rows.softmax(1).shape) == (0, 3)
    assert tuple(rows.sort(0).indices.shape) == (0, 3)
    x = tg.zeros(0, 3, requires_grad=True)
    x.prod(0).sum().backward()
    assert tuple(x.grad.shape) == (0, 3)


@pytest.mark.smoke
def test_nan_wins():
    x = tg.tensor([[1.0, NAN], [2.0, 0.0]])
    assert math.isnan(x.max().item())
    assert math.isnan(x.min().item())
    assert math.isnan(x.amax(0)[1].item())
    assert x.argmax(1).tolist() == [1, 0]
    assert math.isnan(x.norm(INF).item())
    assert x.nansum().item() == 3
    assert x.nanmean(0).tolist() == [1.5, 0]
    assert x.count_nonzero().item() == 3


def test_stable_at_extremes():
    x = tg.tensor([1000.0, 1000.0])
    assert x.logsumexp(0).item() == 1000 + math.log(2)
    assert x.softmax(0).tolist() == [0.5, 0.5]
    assert tg.tensor([-INF, -INF]).logsumexp(0).item() == -INF
    assert tg.tensor([-INF, 0.0]).logsumexp(0).item() == 0
    assert tg.tensor([INF, 0.0]).logsumexp(0).item() == INF
    assert math.isnan(tg.tensor([INF, NAN]).logsumexp(0).item())
    assert tg.tensor([-INF, 0.0]).softmax(0).tolist() == [0, 1]
    assert tg.tensor([-1e4, 0.0]).log_softmax(0).tolist() == [-1e4, 0]
    shifted = tg.tensor([1e9 + 1, 1e9 + 2, 1e9 + 3])
    assert shifted.var().item() == 1


def test_pairwise_sum():
    x = np.full(1_000_000, 0.1)
    assert tg.tensor(x).sum().item() == x.sum()  # bit for bit NumPy's


def test_inputs_are_left_alone():
    x = array(4, 5)
    tensor = tg.tensor(x)
    for f in (
        tg.sum, tg.prod, tg.var, tg.norm, tg.sort, lambda t: t.softmax(0), lambda t: t.median(1),
        lambda t: t.cumprod(0), lambda t: t.topk(2), lambda t: t.log_softmax(1),
    ):  # fmt: skip
        f(tensor)
        equal(tensor, x)


# --------------------------------------------------------------------------- gradients
# Each is differentiated up to three times along random directions, and compared with PyTorch.
SMOOTH = {
    "sum": lambda x: x.sum(),
    "sum_dim": lambda x: x.sum(1),
    "sum_dims": lambda x: x.sum((0, 2), keepdim=True),
    "mean": lambda x: x.mean(),
    "mean_dim": lambda x: x.mean(-1),
    "prod": lambda x: x.prod(),
    "prod_dim": lambda x: x.prod(1),
    "prod_keepdim": lambda x: x.prod(0, True),
    "var": lambda x: x.var(),
    "var_dim": lambda x: x.var((0, 1), correction=0.5),
    "std": lambda x: x.std(1, keepdim=True),
    "nansum": lambda x: x.nansum(1),
    "nanmean": lambda x: x.nanmean(0),
    "max": lambda x: x.max(),
    "max_dim": lambda x: x.max(1).values,
    "min_dim": lambda x: x.min(2, True)[0],
    "amax": lambda x: x.amax((0, 2)),
    "amin": lambda x: x.amin(),
    "median": lambda x: x.median(),
    "median_dim": lambda x: x.median(1).values,
    "sort": lambda x: x.sort(1)[0],
    "topk": lambda x: x.topk(2, 1, largest=False).values,
    "norm": lambda x: x.norm(),
    "norm_1": lambda x: x.norm(1, 0),
    "norm_3": lambda x: x.norm(3, (0, 1)),
    "norm_1.5": lambda x: x.norm(1.5),
    "norm_0.5": lambda x: x.norm(0.5, 1),
    "norm_inf": lambda x: x.norm(INF, 2),
    "norm_-inf": lambda x: x.norm(-INF),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "logcumsumexp": lambda x: x.logcumsumexp(0),
    "logsumexp": lambda x: x.logsumexp((0, 2)),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "trace": lambda x: x[:, :, 0].trace(),
}


def derivatives(lib, f, value, order, wrap):
    """f, its gradient, the gradient of a functional of that, ... up to `order`."""
    x = wrap(value)
    x.requires_grad_()
    y = f(x)
    results = [y.detach().numpy()]
    for k in range(order):
        # A power, so that ops with constant derivatives have higher ones too.
        loss = (y * y * y * (k + 1.0)).sum() if k == 0 else (y * y).sum()
        if not loss.requires_grad:
            break
        (y,) = lib.autograd.grad(loss, x, create_graph=True)
        results.append(y.detach().numpy())
    return results


@pytest.mark.parametrize("shape", [(3, 4, 2), (2, 2, 2)])
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_against_torch(name, shape):
    torch = pytest.importorskip("torch")
    x = array(*shape, seed=2)
    order = 2 if name == "logcumsumexp" else 3  # PyTorch's third derivative of that is NaN
    own = derivatives(tg, SMOOTH[name], x, order, tg.tensor)
    theirs = derivatives(torch, SMOOTH[name], x, order, torch.tensor)
    assert len(own) == len(theirs) == order + 1
    for ours, others in zip(own, theirs, strict=True):
        np.testing.assert_allclose(ours, others, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_products_with_zeros(name, zeros):
    """Up to the third derivative; PyTorch's own product is differentiable twice there."""
    x = np.array([2.0, -3.0, 0.5, 1.5])
    x[list(zeros)] = 0
    n = len(x)
    tensor = tg.tensor(x, requires_grad=True)
    y = tensor.prod() if name == "prod" else tensor.cumprod(0)[2]
    members = range(n if name == "prod" else 3)

    def expected(*left_out):
        if len(set(left_out)) < len(left_out) or not set(left_out) <= set(members):
            return 0.0
        return math.prod(x[i] for i in members if i not in left_out)

    (first,) = tg.autograd.grad(y, tensor, create_graph=True)
    assert first.tolist() == [expected(i) for i in range(n)]
    for i in range(n):
        (second,) = tg.autograd.grad(first[i], tensor, create_graph=True)
        assert second.tolist() == [expected(i, j) for j in range(n)]
        for j in range(n):
            (third,) = tg.autograd.grad(second[j], tensor, retain_graph=True)
            assert third.tolist() == [expected(i, j, k) for k in range(n)]


def test_dist_gradients():
    torch = pytest.importorskip("torch")
    a, b = array(3, 4), array(4, seed=5) * 1.3
    for p in (2, 1, 3, INF, 0.5):
        grads = []
        for lib in (tg, torch):
            x, y = lib.tensor(a, requires_grad=True), lib.tensor(b, requires_grad=True)
            value = lib.dist(x, y, p)
            value.backward()
            grads.append((value.item(), x.grad.numpy(), y.grad.numpy()))
        for ours, theirs in zip(*grads, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


KINKS = {
    "amax": lambda x: x.amax(1),
    "amin": lambda x: x.amin(0),
    "max": lambda x: x.max(),
    "min": lambda x: x.min(),
    "max_dim": lambda x: x.max(1).values,
    "median": lambda x: x.median(),
    "norm": lambda x: x.norm(2, 1),
    "norm_1": lambda x: x.norm(1),
    "norm_3": lambda x: x.norm(3, 1),
    "norm_inf": lambda x: x.norm(INF, 1),
    "std": lambda x: x.std(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
}


@pytest.mark.parametrize(
    "values",
    [
        [[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]],
        [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0]],
        [[NAN, 1.0, NAN], [3.0, 3.0, 1.0]],
        [[-INF, -INF, 0.0], [INF, 1.0, 1.0]],
    ],
)
@pytest.mark.parametrize("name", KINKS)
def test_subgradients_are_torchs(name, values):
    torch = pytest.importorskip("torch")
    own = derivatives(tg, KINKS[name], np.array(values), 1, tg.tensor)
    theirs = derivatives(torch, KINKS[name], np.array(values), 1, torch.tensor)
    for ours, others in zip(own, theirs, strict=True):
        np.testing.assert_allclose(ours, others, rtol=1e-12, atol=1e-15)


def test_gradients_by_finite_differences():
    """The same without PyTorch, at first order."""
    x = array(2, 3, 2, seed=2)
    for name, f in SMOOTH.items():
        tensor = tg.tensor(x, requires_grad=True)
        weight = array(*f(tensor).shape, seed=3) if f(tensor).shape else 1.3
        (f(tensor) * tg.tensor(weight)).sum().backward()
        numeric = np.zeros_like(x)
        for place in np.ndindex(*x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-6
            high, low = (np.sum(f(tg.tensor(x + s)).numpy() * weight) for s in (step, -step))
            numeric[place] = (high - low) / 2e-6
        np.testing.assert_allclose(tensor.grad.numpy(), numeric, rtol=1e-6, atol=1e-8, err_msg=name)


# --------------------------------------------------------------------------- names, texts, forms
GRAD_FN = {
    "SumBackward0": lambda x: x.sum(),
    "SumBackward1": lambda x: x.sum(dim=None),
    "MeanBackward0": lambda x: x.mean(),
    "MeanBackward1": lambda x: x.mean(0),
    "ProdBackward0": lambda x: x.prod(),
    "ProdBackward1": lambda x: x.prod(0),
    "VarBackward0": lambda x: x.var(),
    "StdBackward0": lambda x: x.std(0),
    "VarMeanBackward0": lambda x: tg.var_mean(x)[1],
    "StdMeanBackward0": lambda x: tg.std_mean(x)[0],
    "MaxBackward1": lambda x: x.max(),
    "MaxBackward0": lambda x: x.max(0)[0],
    "MinBackward1": lambda x: x.min(),
    "MinBackward0": lambda x: x.min(0)[0],
    "MaximumBackward0": lambda x: tg.max(x, x),
    "AmaxBackward0": lambda x: x.amax(),
    "AminBackward0": lambda x: x.amin(0),
    "AminmaxBackward0": lambda x: x.aminmax()[1],
    "MedianBackward0": lambda x: x.median(),
    "MedianBackward1": lambda x: x.median(0)[0],
    "SortBackward0": lambda x: x.sort()[0],
    "SortBackward1": lambda x: x.sort(stable=True)[0],
    "TopkBackward0": lambda x: x.topk(1)[0],
    "NansumBackward0": lambda x: x.nansum(),
    "DivBackward0": lambda x: x.nanmean(),
    "LinalgVectorNormBackward0": lambda x: x.norm(),
    "DistBackward0": lambda x: x.dist(x[0]),
    "CumsumBackward0": lambda x: x.cumsum(0),
    "CumprodBackward0": lambda x: x.cumprod(0),
    "LogcumsumexpBackward0": lambda x: x.logcumsumexp(0),
    "LogsumexpBackward0": lambda x: x.logsumexp(0),
    "SoftmaxBackward0": lambda x: x.softmax(0),
    "LogSoftmaxBackward0": lambda x: x.log_softmax(0),
    "TraceBackward0": lambda x: x.trace(),
}


@pytest.mark.parametrize("name", GRAD_FN)
def test_grad_fn(name):
    x = tg.tensor(array(2, 3), requires_grad=True)
    assert GRAD_FN[name](x).grad_fn.name() == name


def test_integers_and_indices_are_passive():
    x = tg.tensor(array(2, 3), requires_grad=True)
    for result in (x.argmax(), x.sort().indices, x.max(0).indices, x.all(), x.count_nonzero()):
        assert not result.requires_grad


def test_return_types():
    result = tg.tensor([[1.0, 5.0], [7.0, 2.0]]).max(1)
    assert repr(result) == (
        "torch.return_types.max(\nvalues=tensor([5., 7.]),\nindices=tensor([1, 0]))"
    )
    values, indices = result
    assert values is result.values
    assert indices is result.indices
    assert tg.tensor([1.0]).aminmax()._fields == ("min", "max")


def test_numpys_names():
    x = tg.tensor(array(2, 3))
    assert tuple(x.sum(axis=0, keepdims=True).shape) == (1, 3)
    assert tuple(x.softmax(axis=1).shape) == (2, 3)
    assert x.argmax(axis=1).shape == (2,)


X = tg.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], requires_grad=True)
NONE, ROWS, WHOLE, TRUTH = tg.zeros(0), tg.zeros(0, 3), tg.tensor([1, 2]), tg.tensor([True, False])
RANGE = "Dimension out of range (expected to be in range of [-2, 1], but got {})"
TWICE = "dim 0 appears multiple times in the list of dims"
NO_DIM = (
    "{}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction "
    "dim with the 'dim' argument."
)

ERRORS = [
    (lambda: X.sum(2), IndexError, RANGE.format(2)),
    (lambda: X.sum((0, 0)), RuntimeError, TWICE),
    (
        lambda: X.sum(0, 1),
        TypeError,
        "sum(): argument 'keepdim' (position 2) must be bool, not int",
    ),
    (
        lambda: X.sum("a"),
        TypeError,
        "sum() received an invalid combination of arguments - got (str), but expected one of:\n"
        " * (*, torch.dtype dtype = None)\n"
        " * (tuple of ints dim, bool keepdim = False, *, torch.dtype dtype = None)\n",
    ),
    (
        lambda: X.sum(keepdim=True),
        TypeError,
        "sum() received an invalid combination of arguments - got (keepdim=bool, ), but expected "
        "one of:\n * (*, torch.dtype dtype = None)\n"
        " * (tuple of ints dim, bool keepdim = False, *, torch.dtype dtype = None)\n",
    ),
    (lambda: X.sum(dtype=tg.int64), RuntimeError, "Autograd not support dtype: Long"),
    (
        lambda: tg.cumsum(X, 0, foo=1),
        TypeError,
        "cumsum() got an unexpected keyword argument 'foo'",
    ),
    (
        lambda: tg.sum([1]),
        TypeError,
        "sum(): argument 'input' (position 1) must be Tensor, not list",
    ),
    (
        lambda: tg.tensor(2.0).sum(1),
        IndexError,
        "Dimension out of range (expected to be in range of [-1, 0], but got 1)",
    ),
    (
        lambda: WHOLE.mean(),
        RuntimeError,
        "mean(): could not infer output dtype. Input dtype must be either a floating point or "
        "complex dtype. Got: Long",
    ),
    (
        lambda: X.mean(dtype=tg.int64),
        RuntimeError,
        "mean(): could not infer output dtype. Optional dtype must be either a floating point or "
        "complex dtype. Got: Long",
    ),
    (
        lambda: WHOLE.nanmean(),
        RuntimeError,
        "nanmean(): expected input to have floating point or complex dtype but got Long",
    ),
    (
        lambda: X.prod((0, 1)),
        TypeError,
        "prod() received an invalid combination of arguments - got (tuple), but expected one of:\n"
        " * (*, torch.dtype dtype = None)\n"
        " * (int dim, bool keepdim = False, *, torch.dtype dtype = None)\n",
    ),
    (
        lambda: WHOLE.var(),
        RuntimeError,
        "std and var only support floating point and complex dtypes",
    ),
    (
        lambda: tg.var_mean(WHOLE),
        RuntimeError,
        "var_mean only support floating point and complex dtypes",
    ),
    (lambda: NONE.max(), RuntimeError, NO_DIM.format("max")),
    (lambda: NONE.amin(), RuntimeError, NO_DIM.format("amin")),
    (
        lambda: ROWS.max(0),
        IndexError,
        "max(): Expected reduction dim 0 to have non-zero size.",
    ),
    (
        lambda: ROWS.amax((0, 1)),
        IndexError,
        "amax(): Expected reduction dim 0 to have non-zero size.",
    ),
    (
        lambda: NONE.argmax(),
        IndexError,
        "argmax(): Expected reduction dim to be specified for input.numel() == 0.",
    ),
    (
        lambda: ROWS.argmin(0),
        IndexError,
        "argmin(): Expected reduction dim 0 to have non-zero size.",
    ),
    (lambda: TRUTH.argmax(), RuntimeError, "argmax(): does not support bool input"),
    (
        lambda: X.argmax((0, 1)),
        TypeError,
        "argmax(): argument 'dim' (position 1) must be int, not tuple",
    ),
    (
        lambda: NONE.aminmax(),
        RuntimeError,
        "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
        "identity.",
    ),
    (lambda: X.max(2), IndexError, RANGE.format(2)),
    (lambda: X.amax((0, 0)), RuntimeError, TWICE),
    (
        lambda: X.amax("a"),
        TypeError,
        "amax(): argument 'dim' (position 1) must be tuple of ints, not str",
    ),
    (lambda: X.cumsum(), TypeError, 'cumsum() missing 1 required positional arguments: "dim"'),
    (lambda: X.cumsum(2), IndexError, RANGE.format(2)),
    (
        lambda: X.cumsum(0.5),
        TypeError,
        "cumsum(): argument 'dim' (position 1) must be int, not float",
    ),
    (
        lambda: WHOLE.logcumsumexp(0),
        NotImplementedError,
        "\"logcumsumexp_out_cpu\" not implemented for 'Long'",
    ),
    (
        lambda: X.logsumexp(),
        TypeError,
        'logsumexp() missing 1 required positional arguments: "dim"',
    ),
    (
        lambda: X.logsumexp(dim=None),
        TypeError,
        "logsumexp(): argument 'dim' must be tuple of ints, not NoneType",
    ),
    (lambda: X.softmax(3), IndexError, RANGE.format(3)),
    (lambda: X.softmax(), TypeError, 'softmax() missing 1 required positional arguments: "dim"'),
    (
        lambda: WHOLE.softmax(0),
        NotImplementedError,
        "\"softmax_lastdim_kernel_impl\" not implemented for 'Long'",
    ),
    (
        lambda: WHOLE.norm(),
        RuntimeError,
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got Long",
    ),
    (
        lambda: NONE.norm(INF),
        RuntimeError,
        "linalg.vector_norm cannot compute the inf norm on an empty tensor because the operation "
        "does not have an identity",
    ),
    (
        lambda: ROWS.norm(INF, dim=0),
        RuntimeError,
        "linalg.vector_norm cannot compute the inf norm on the dimension 0because this dimension "
        "is empty and the operation does not have an identity",
    ),
    (lambda: X.norm("foo"), RuntimeError, "linalg.matrix_norm: Order foo not supported."),
    (
        lambda: tg.dist(X, [3.0]),
        TypeError,
        "dist(): argument 'other' (position 2) must be Tensor, not list",
    ),
    (
        lambda: tg.dist(WHOLE, WHOLE),
        RuntimeError,
        "norm(): input dtype should be either floating point or complex. Got Long instead.",
    ),
    (
        lambda: tg.dist(X, tg.zeros(4)),
        RuntimeError,
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    ),
    (lambda: TRUTH.median(), NotImplementedError, "\"median_cpu\" not implemented for 'Bool'"),
    (
        lambda: ROWS.median(0),
        IndexError,
        "median(): Expected reduction dim 0 to have non-zero size.",
    ),
    (lambda: X.topk(4), RuntimeError, "selected index k out of range"),
    (lambda: X.topk(), TypeError, 'topk() missing 1 required positional arguments: "k"'),
    (lambda: TRUTH.topk(1), RuntimeError, "topk does not support bool dtypes on CPU"),
    (lambda: X.sort(2), IndexError, RANGE.format(2)),
    (lambda: NONE.trace(), RuntimeError, "trace: expected a matrix, but got tensor with dim 1"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:60] for e in ERRORS])
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_warns_of_no_freedom():
    text = r"std\(\): degrees of freedom is <= 0. Correction should be strictly less than"
    with pytest.warns(UserWarning, match=text):
        assert math.isnan(tg.tensor([1.0]).std().item())


def test_sum_to_size_sums_over_what_was_broadcast():
    x = tg.tensor(np.arange(24.0).reshape(4, 2, 3), requires_grad=True)
    total = x.sum_to_size(2, 1)
    assert total.tolist() == [[120.0], [156.0]]
    (total * tg.tensor([[1.0], [10.0]])).sum().backward()
    assert x.grad[1].tolist() == [[1.0] * 3, [10.0] * 3]
    assert x.sum_to_size((1, 1, 1)).tolist() == [[[276.0]]]
    assert x.sum_to_size(()).item() == 276.0
    assert x.sum_to_size(4, 2, 3).tolist() == x.tolist()
    for wrong in ((3, 1), (1, 4, 2, 3), (2,)):
        with pytest.raises(RuntimeError, match="is not expandable to size"):
            x.sum_to_size(wrong)
