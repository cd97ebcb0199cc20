"""Keywords that PyTorch's functions take beside their signatures: NumPy's names, and ``out``."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import same, torch

import tapegrad as tg

X = [[1.0, 2.0, 3.0], [4.0, 0.5, 6.0]]

#: functions that take ``axis``, and some ``keepdims``, with what NumPy says
ALONG = {
    "sum": lambda a: a.sum(0, keepdims=True), "mean": lambda a: a.mean(0, keepdims=True),
    "amax": lambda a: a.max(0, keepdims=True), "amin": lambda a: a.min(0, keepdims=True),
    "prod": lambda a: a.prod(0, keepdims=True), "logsumexp": None, "var": None, "argmax": None,
}  # fmt: skip


@pytest.mark.parametrize("name", ALONG)
def test_reductions_take_numpys_names(name: str) -> None:
    x = tg.tensor(X)
    expected = getattr(tg, name)(x, dim=0, keepdim=True)
    for got in (
        getattr(tg, name)(x, axis=0, keepdims=True),
        getattr(x, name)(axis=0, keepdims=True),
        getattr(tg, name)(a=x, axis=0, keepdims=True),
        getattr(tg, name)(x=x, dim=0, keepdims=True),
    ):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    if ALONG[name] is not None:
        np.testing.assert_allclose(expected.numpy(), ALONG[name](np.array(X)), rtol=1e-15)


@pytest.mark.parametrize(
    "case",
    [
        lambda lib: lib.stack([lib.tensor(X)] * 2, axis=1),
        lambda lib: lib.cat([lib.tensor(X)] * 2, axis=1),
        lambda lib: lib.squeeze(lib.tensor([[1.0], [2.0]]), axis=1),
        lambda lib: lib.tensor(X).unsqueeze(axis=1),
        lambda lib: lib.gather(lib.tensor(X), axis=1, index=lib.tensor([[2], [0]])),
        lambda lib: lib.tensor(X).index_select(axis=1, index=lib.tensor([2])),
        lambda lib: lib.softmax(lib.tensor(X), axis=0),
        lambda lib: lib.cumsum(lib.tensor(X), axis=0),
        lambda lib: lib.tensor(X).sort(axis=0)[0],
        lambda lib: lib.unbind(lib.tensor(X), axis=1)[2],
        lambda lib: lib.add(x1=lib.tensor(X), x2=lib.tensor(X)),
        lambda lib: lib.exp(x=lib.tensor(X)),
        lambda lib: lib.tensor(X).clone(memory_format=lib.preserve_format),
    ],
)
def test_functions_take_numpys_names(case: object) -> None:
    assert same(case) is not None  # type: ignore[arg-type]
    assert isinstance(case(tg), tg.Tensor)  # type: ignore[operator]


def test_a_name_given_twice_or_unknown_is_an_error() -> None:
    x = tg.tensor(X)
    with pytest.raises(TypeError, match="unexpected keyword argument 'axis'"):
        tg.cumsum(x, dim=0, axis=0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        tg.cumsum(x, 0, axes=1)


# --------------------------------------------------------------------------- out
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x, out: tg.exp(x, out=out), np.exp),
        (lambda x, out: tg.add(x, x, out=out), lambda a: a + a),
        (lambda x, out: tg.add(x, 2.0, alpha=3.0, out=out), lambda a: a + 6.0),
        (lambda x, out: tg.clamp(x, 1.0, 3.0, out=out), lambda a: a.clip(1.0, 3.0)),
        (lambda x, out: tg.cumsum(x, 1, out=out), lambda a: a.cumsum(1)),
        (lambda x, out: tg.where(x > 1, x, 0.0, out=out), lambda a: np.where(a > 1, a, 0)),
        (lambda x, out: tg.matmul(x, tg.eye(3), out=out), lambda a: a),
    ],
)
def test_out_takes_the_result_in_place(call: object, expected: object) -> None:
    x, out = tg.tensor(X), tg.zeros(2, 3)
    view, version = out[0], out._version
    assert call(x, out) is out  # type: ignore[operator]
    np.testing.assert_allclose(out.numpy(), expected(np.array(X)), rtol=1e-14)  # type: ignore[operator]
    np.testing.assert_array_equal(view.numpy(), out.numpy()[0])
    assert out._version > version


def test_out_of_several_results_is_a_tuple() -> None:
    values, indices = tg.zeros(3), tg.zeros(3, dtype=tg.int64)
    result = tg.sort(tg.tensor([2.0, 3.0, 1.0]), out=(values, indices))
    assert result.values is values
    assert result.indices is indices
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert indices.tolist() == [2, 0, 1]
    with pytest.raises(
        TypeError, match=r"(?s)got \(Tensor, out=Tensor\).* tuple of Tensors out = None"
    ):
        tg.sort(tg.tensor([2.0, 3.0, 1.0]), out=values)
    with pytest.raises(TypeError, match="tuple of 2 Tensors"):
        tg.topk(tg.tensor([2.0, 3.0, 1.0]), 1, out=values)


def test_out_converts_the_dtype_where_that_loses_no_kind() -> None:
    out = tg.zeros(2, dtype=tg.float32)
    tg.exp(tg.tensor([0.0, 1.0]), out=out)
    np.testing.assert_allclose(out.numpy(), np.exp([0.0, 1.0]), rtol=1e-6)
    whole = tg.zeros(2, dtype=tg.int64)
    with pytest.raises(
        RuntimeError, match=r"result type Float can't be cast|result type Double can't"
    ):
        tg.exp(tg.tensor([0.0, 1.0]), out=whole)
    assert whole.tolist() == [0, 0]


def test_out_of_another_shape_takes_the_results() -> None:
    empty = tg.empty(0)
    tg.exp(tg.tensor([0.0, 1.0]), out=empty)
    assert empty.shape == (2,)
    with pytest.warns(UserWarning, match="was resized since it had shape"):
        tg.exp(tg.tensor([0.0]), out=empty)
    assert empty.tolist() == [1.0]


@pytest.mark.parametrize(
    "case",
    [
        lambda lib: lib.exp(lib.ones(2, requires_grad=True), out=lib.zeros(2)),
        lambda lib: lib.exp(lib.ones(2), out=lib.zeros(2, requires_grad=True)),
        lambda lib: lib.add(lib.ones(2), lib.ones(2, requires_grad=True), out=lib.zeros(2)),
    ],
)
def test_out_under_grad_is_pytorchs_error(case: object) -> None:
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        case(tg)  # type: ignore[operator]
    if torch is not None:
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            case(torch)  # type: ignore[operator]
    with tg.no_grad():
        case(tg)  # type: ignore[operator]


def test_out_has_to_be_a_tensor() -> None:
    with pytest.raises(TypeError, match="argument 'out' must be Tensor, not int"):
        tg.exp(tg.ones(2), out=3)
    assert tg.exp(tg.zeros(2), out=None).tolist() == [1.0, 1.0]


def test_axes_of_swapaxes() -> None:
    x = tg.ones(2, 3)
    assert tg.swapaxes(x, axis0=0, axis1=1).shape == x.swapaxes(axis0=0, axis1=1).shape == (3, 2)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        tg.swapaxes(x, axis0=0, dim0=0, axis1=1)
