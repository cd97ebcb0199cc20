"""``scatter_reduce`` and the other functions of few users: nanmedian, cov, save and load, threads."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_torch import same, torch

import tapegrad as tg

SHAPES = [((3,), (4,), (4,)), ((2, 3), (2, 4), (2, 4)), ((3, 3), (2, 2), (2, 2)), ((), (), ())]


def reduced(
    x: np.ndarray, index: np.ndarray, src: np.ndarray, reduce: str, own: bool
) -> np.ndarray:
    """NumPy's answer along the last dimension, element by element."""
    x, index, src = (np.atleast_1d(a) for a in (x, index, src))
    out = x.copy()
    words = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}
    for place in np.ndindex(x.shape):
        if any(p >= n for p, n in zip(place[:-1], index.shape[:-1], strict=True)):
            continue
        row = place[:-1]
        values = [src[(*row, i)] for i in range(index.shape[-1]) if index[(*row, i)] == place[-1]]
        if values:
            out[place] = words[reduce]([x[place], *values] if own else values)
    return out


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_values_and_gradients_of_scatter_reduce(shapes: Any, reduce: str, own: bool) -> None:
    rng = np.random.default_rng(2)
    x, src = rng.standard_normal(shapes[0]), rng.standard_normal(shapes[2])
    index = rng.integers(0, (shapes[0] or (1,))[-1], shapes[1])
    expected = reduced(x, index, src, reduce, own).reshape(x.shape)
    got = tg.tensor(x).scatter_reduce(
        -1, tg.tensor(index), tg.tensor(src), reduce, include_self=own
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13)

    def f(a: Any, b: Any) -> Any:
        return a.scatter_reduce(-1, tg.tensor(index), b, reduce, include_self=own)

    operands = tg.tensor(x, requires_grad=True), tg.tensor(src, requires_grad=True)
    assert tg.autograd.gradcheck(f, operands)
    assert tg.autograd.gradgradcheck(f, operands)


def test_equal_extremes_share_the_gradient() -> None:
    x = tg.tensor([1.0, 0.0], requires_grad=True)
    src = tg.tensor([1.0, 1.0, -1.0], requires_grad=True)
    x.scatter_reduce(0, tg.tensor([0, 0, 1]), src, "amax").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1.0])
    np.testing.assert_allclose(src.grad.numpy(), [1 / 3, 1 / 3, 0.0])


def test_scatter_reduce_under_vmap() -> None:
    rng = np.random.default_rng(2)
    x, src = tg.tensor(rng.standard_normal((4, 3))), tg.tensor(rng.standard_normal((4, 5)))
    index = tg.tensor(rng.integers(0, 3, (4, 5)))
    for reduce in ("sum", "mean", "amax", "prod"):
        whole = x.scatter_reduce(1, index, src, reduce)
        each = tg.vmap(lambda a, i, b, r=reduce: a.scatter_reduce(0, i, b, r))(x, index, src)
        np.testing.assert_allclose(each.numpy(), whole.numpy(), rtol=1e-14)


@pytest.mark.parametrize("reduce", ["sum", "amin"])
def test_bad_input_of_scatter_reduce(reduce: str) -> None:
    x, i = tg.zeros(3), tg.tensor([0, 5])
    with pytest.raises(RuntimeError, match="index 5 is out of bounds for dimension 0 with size 3"):
        x.scatter_reduce(0, i, tg.ones(2), reduce)
    with pytest.raises(RuntimeError, match="reduce argument must be either sum"):
        x.scatter_reduce(0, i, tg.ones(2), "foo")
    with pytest.raises(RuntimeError, match="Expected dtype int64 for index"):
        x.scatter_reduce(0, tg.ones(2), tg.ones(2), reduce)
    with pytest.raises(RuntimeError, match="to be no larger than self"):
        x.scatter_reduce(0, tg.tensor([0, 1]), tg.ones(1), reduce)
    with pytest.raises(RuntimeError, match=r"self\.dtype to be equal to src\.dtype"):
        x.scatter_reduce(0, tg.tensor([0, 1]), tg.tensor([1, 2]), reduce)


# --------------------------------------------------------------------------- nanmedian and cov
def test_nanmedian_leaves_nan_out() -> None:
    nan = math.nan
    assert tg.nanmedian(tg.tensor([3.0, nan, 1.0, 2.0])).item() == 2.0
    assert math.isnan(tg.nanmedian(tg.tensor([nan, nan])).item())
    x = tg.tensor([[1.0, nan, 3.0], [nan, 5.0, 4.0]], requires_grad=True)
    values, indices = x.nanmedian(1)
    assert values.tolist() == [1.0, 4.0]
    assert indices.tolist() == [0, 2]
    values.sum().backward()
    assert x.grad.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert x.nanmedian(0, keepdim=True)[0].shape == (1, 3)


@pytest.mark.parametrize(
    "options", [{}, {"correction": 0}, {"fweights": [1, 2, 1]}, {"aweights": [0.5, 1.0, 2.0]}]
)
def test_cov_is_numpys(options: dict[str, Any]) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3))
    given = {k: tg.tensor(v) if isinstance(v, list) else v for k, v in options.items()}
    ddof = options.get("correction", 1)
    weights = {k: v for k, v in options.items() if k != "correction"}
    expected = np.cov(x, ddof=ddof, **weights)
    np.testing.assert_allclose(tg.cov(tg.tensor(x), **given).numpy(), expected, rtol=1e-13)
    one = tg.cov(tg.tensor(x[:1]), **given)
    assert one.shape == ()
    np.testing.assert_allclose(one.numpy(), np.cov(x[:1], ddof=ddof, **weights), rtol=1e-13)
    assert tg.autograd.gradcheck(lambda a: a.cov(**given), (tg.tensor(x, requires_grad=True),))


def test_cov_of_more_dimensions_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="two or fewer dimensions"):
        tg.cov(tg.ones(2, 2, 2))


# --------------------------------------------------------------------------- files
def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    value = {
        "w": tg.tensor([1.0, 2.0], requires_grad=True),
        "n": [np.ones(2), 3, "x"],
        "i": tg.tensor(1),
    }
    tg.save(value, tmp_path / "file")
    back = tg.load(tmp_path / "file")
    assert back["w"].requires_grad
    assert back["w"].tolist() == [1.0, 2.0]
    assert back["i"].dtype is tg.int64
    assert back["n"][1:] == [3, "x"]


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("evil",)


def test_a_file_runs_no_code() -> None:
    file = io.BytesIO()
    tg.save(Evil(), file)
    file.seek(0)
    with pytest.raises(Exception, match=r"the file asks for builtins\.print"):
        tg.load(file)
    with pytest.raises(tg.UnsupportedError, match=r"no file of tapegrad\.save"):
        tg.load(io.BytesIO(b"something else"))


def test_numbers_of_threads_and_constants() -> None:
    before = tg.get_num_threads()
    try:
        tg.set_num_threads(1)
        assert tg.get_num_threads() == 1
    finally:
        tg.set_num_threads(before)
    with pytest.raises(RuntimeError, match="expects a positive integer"):
        tg.set_num_threads(0)
    with pytest.raises(RuntimeError, match="expects an int, but got float"):
        tg.set_num_threads(1.5)
    assert (tg.pi, tg.e, tg.inf, tg.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(tg.nan)
    assert tg.cuda.is_available() is False
    with pytest.raises(AttributeError, match=r"ask cuda\.is_available"):
        _ = tg.cuda.Stream
    if torch is not None:
        assert torch.cuda.device_count() == tg.cuda.device_count()


# --------------------------------------------------------------------------- index_reduce, scatter(reduce=)
_ROWS = [[2.0, 4.5], [7.0, 1.0], [2.0, 4.0]]


@pytest.mark.parametrize(
    ("reduce", "include_self", "result", "by_input", "by_source"),
    [
        ("prod", True, [4, 36, 3, 4, 35, 6], [4, 36, 3, 4, 35, 6], [2, 16, 25, 36, 2, 18]),
        ("prod", False, [4, 18, 3, 4, 7, 1], [0, 0, 3, 4, 0, 0], [2, 8, 5, 6, 2, 9]),
        ("mean", False, [2, 4.25, 3, 4, 7, 1], [0, 0, 3, 4, 0, 0], [0.5, 1, 5, 6, 0.5, 1]),
        ("amax", True, [2, 4.5, 3, 4, 7, 6], [0, 0, 3, 4, 0, 6], [0.5, 2, 5, 0, 0.5, 0]),
        ("amin", True, [1, 2, 3, 4, 5, 1], [1, 2, 3, 4, 5, 0], [0, 0, 0, 6, 0, 0]),
        ("amin", False, [2, 4, 3, 4, 7, 1], [0, 0, 3, 4, 0, 0], [0.5, 0, 5, 6, 0.5, 2]),
    ],
)
def test_values_and_gradients_of_index_reduce(
    reduce: str, include_self: bool, result: Any, by_input: Any, by_source: Any
) -> None:
    def of(lib: Any) -> Any:
        x = lib.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
        source = lib.tensor(_ROWS, requires_grad=True)
        index = lib.tensor([0, 2, 0])
        y = lib.index_reduce(x, 0, index, source, reduce, include_self=include_self)
        weights = lib.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        return y, *lib.autograd.grad((y * weights).sum(), (x, source))

    y, a, b = of(tg)
    assert y.reshape(-1).tolist() == result
    assert a.reshape(-1).tolist() == by_input
    assert b.reshape(-1).tolist() == by_source
    same(of)


def test_index_reduce_along_another_dimension_in_place_and_of_a_number() -> None:
    x = tg.ones(2, 3)
    assert x.index_reduce_(1, tg.tensor([0, 0]), tg.full((2, 2), 3.0), "prod") is x
    assert x.tolist() == [[9.0, 1.0, 1.0]] * 2
    number = tg.tensor(2.0).index_reduce(0, tg.tensor([0]), tg.tensor(3.0), "mean")
    assert (number.shape, number.item()) == ((), 2.5)
    none = x.index_reduce(1, tg.tensor([], dtype=tg.int64), tg.ones(2, 0), "amax")
    assert none.tolist() == x.tolist()
    vmapped = tg.func.vmap(lambda s: tg.ones(2).index_reduce(0, tg.tensor([1, 1]), s, "prod"))
    assert vmapped(tg.tensor([[2.0, 3.0], [4.0, 5.0]])).tolist() == [[1.0, 6.0], [1.0, 20.0]]


@pytest.mark.parametrize(
    ("index", "source", "reduce", "error", "text"),
    [
        ([0], [[3.0], [3.0]], "sum", RuntimeError, "one of prod, mean, amax or amin but got sum"),
        ([0, 1], [[3.0], [3.0]], "prod", RuntimeError, r"source of shape \[2, 2\]"),
        ([[0]], [[3.0], [3.0]], "prod", IndexError, "supposed to be a vector, but got dim: 2"),
        ([5], [[3.0], [3.0]], "prod", RuntimeError, "index 5 is out of bounds"),
    ],
)
def test_errors_of_index_reduce(
    index: Any, source: Any, reduce: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        tg.ones(2, 3).index_reduce(1, tg.tensor(index), tg.tensor(source), reduce)


def test_scatter_that_multiplies() -> None:
    index = tg.tensor([[0, 0], [0, 2]])
    x = tg.full((3, 2), 2.0, requires_grad=True)
    source = tg.tensor([[2.0, 3.0], [4.0, 5.0]], requires_grad=True)
    y = tg.scatter(x, 0, index, source, reduce="multiply")
    assert y.tolist() == [[16.0, 6.0], [2.0, 2.0], [2.0, 10.0]]
    y.sum().backward()
    assert x.grad is not None
    assert source.grad is not None
    assert x.grad.tolist() == [[8.0, 3.0], [1.0, 1.0], [1.0, 5.0]]
    assert source.grad.tolist() == [[8.0, 2.0], [4.0, 2.0]]
    total = tg.scatter(x, 0, index, source, reduce="add")
    assert total.tolist() == [[8.0, 5.0], [2.0, 2.0], [2.0, 7.0]]
    assert [g.tolist() for g in tg.autograd.grad(total.sum(), (source,))] == [[[1.0, 1.0]] * 2]
    numbers = tg.full((3, 2), 2)
    assert numbers.scatter_(0, index, 3, reduce="multiply").tolist() == [[18, 6], [2, 2], [2, 6]]
    flags = tg.ones(3, 2, dtype=tg.bool)
    off = tg.zeros(2, 2, dtype=tg.bool)
    assert tg.scatter(flags, 0, index, off, reduce="multiply").tolist() == [
        [False, False], [True, True], [True, False],
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match="must be either add or multiply"):
        tg.scatter(x, 0, index, source, reduce="mean")
    with pytest.raises(RuntimeError, match=r"Expected self.dtype to be equal to src.dtype"):
        tg.scatter(numbers, 0, index, source, reduce="multiply")


def test_cov_of_no_variables_is_an_empty_matrix() -> None:
    assert tg.cov(tg.zeros(0, 3)).shape == (0, 0)
    assert tg.cov(tg.tensor([[1.0, 2.0, 3.0]])).shape == ()
