"""Views, joining and reordering: values, aliasing, node names, derivatives, error texts."""

# ruff: noqa: E501  (the tables are one case a line, and hold long messages)

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import check_moves

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


def positions(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def values(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape)


def windows(a: np.ndarray, size: int, step: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(a, size, -1)[..., ::step, :]


#: name of the node, the call on a tensor, the same on an ndarray; x has shape (2, 3, 4)
VIEWS: list[tuple[str, Any, Any]] = [
    ("ViewBackward0", lambda x: x.view(6, 4), lambda a: a.reshape(6, 4)),
    ("ViewBackward0", lambda x: x.view((6, -1, 2)), lambda a: a.reshape(6, 2, 2)),
    ("ViewBackward0", lambda x: x.view(tg.float64), lambda a: a),
    ("ViewBackward0", lambda x: x.reshape(-1), lambda a: a.reshape(-1)),
    ("ViewBackward0", lambda x: tg.reshape(x, (4, 6)), lambda a: a.reshape(4, 6)),
    ("ViewBackward0", lambda x: x.view_as(x), lambda a: a),
    ("ViewBackward0", lambda x: x.reshape_as(x), lambda a: a),
    ("ViewBackward0", lambda x: x.flatten(), lambda a: a.ravel()),
    ("ViewBackward0", lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    ("ViewBackward0", lambda x: x.ravel(), lambda a: a.ravel()),
    ("ViewBackward0", lambda x: x.unflatten(-1, (2, -1)), lambda a: a.reshape(2, 3, 2, 2)),
    ("PermuteBackward0", lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    ("PermuteBackward0", lambda x: tg.permute(x, (0, -1, 1)), lambda a: a.transpose(0, 2, 1)),
    ("PermuteBackward0", lambda x: x[0].T, lambda a: a[0].T),
    ("TransposeBackward0", lambda x: x.transpose(0, -1), lambda a: a.swapaxes(0, 2)),
    ("TransposeBackward0", lambda x: x.swapaxes(1, 1), lambda a: a),
    ("TransposeBackward0", lambda x: x.mT, lambda a: a.swapaxes(1, 2)),
    ("TBackward0", lambda x: x[1].t(), lambda a: a[1].T),
    ("TBackward0", lambda x: x[1, 0].t(), lambda a: a[1, 0]),
    ("PermuteBackward0", lambda x: x.movedim(0, 2), lambda a: np.moveaxis(a, 0, 2)),
    ("PermuteBackward0", lambda x: tg.moveaxis(x, (0, 1), (2, 0)), lambda a: np.moveaxis(a, (0, 1), (2, 0))),
    ("ExpandBackward0", lambda x: x.expand(5, 2, 3, 4), lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
    ("ExpandBackward0", lambda x: x[:, :1].expand(-1, 6, -1), lambda a: np.broadcast_to(a[:, :1], (2, 6, 4))),
    ("ExpandBackward0", lambda x: x[0].expand_as(x), lambda a: np.broadcast_to(a[0], (2, 3, 4))),
    ("ExpandBackward0", lambda x: tg.broadcast_to(x[0], (2, 3, 4)), lambda a: np.broadcast_to(a[0], (2, 3, 4))),
    ("ExpandBackward0", lambda x: tg.broadcast_tensors(x, x[0])[1], lambda a: np.broadcast_to(a[0], (2, 3, 4))),
    ("ExpandBackward0", lambda x: tg.meshgrid(x[0, 0], x[0, :, 0], indexing="ij")[1],
     lambda a: np.meshgrid(a[0, 0], a[0, :, 0], indexing="ij")[1]),
    ("ExpandBackward0", lambda x: tg.meshgrid([x[0, 0], x[0, :, 0]], indexing="xy")[0],
     lambda a: np.meshgrid(a[0, 0], a[0, :, 0])[0]),
    ("SqueezeBackward0", lambda x: x[:1, :, :1].squeeze(), lambda a: a[0, :, 0]),
    ("SqueezeBackward1", lambda x: x[:1].squeeze(0), lambda a: a[0]),
    ("SqueezeBackward1", lambda x: x.squeeze(dim=1), lambda a: a),
    ("SqueezeBackward2", lambda x: x[:1, :, :1].squeeze((0, -1)), lambda a: a[0, :, 0]),
    ("UnsqueezeBackward0", lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    ("UnsqueezeBackward0", lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    ("SliceBackward0", lambda x: x.narrow(1, -2, 2), lambda a: a[:, 1:]),
    ("SelectBackward0", lambda x: x.select(2, -1), lambda a: a[..., -1]),
    ("SelectBackward0", lambda x: x.select(0, tg.tensor(1)), lambda a: a[1]),
    ("UnbindBackward0", lambda x: x.unbind(1)[2], lambda a: a[:, 2]),
    ("SplitBackward0", lambda x: x.split(3, -1)[1], lambda a: a[..., 3:]),
    ("SplitBackward0", lambda x: tg.split(x, 1)[1], lambda a: a[1:]),
    ("SplitWithSizesBackward0", lambda x: x.split([1, 2], 1)[1], lambda a: a[:, 1:]),
    ("SplitBackward0", lambda x: x.chunk(2, 1)[0], lambda a: a[:, :2]),
    ("SliceBackward0", lambda x: x.tensor_split(3, 2)[0], lambda a: np.array_split(a, 3, 2)[0]),
    ("SliceBackward0", lambda x: x.tensor_split((1, 3), 2)[1], lambda a: a[..., 1:3]),
    ("DiagonalBackward0", lambda x: x.diagonal(), lambda a: a.diagonal()),
    ("DiagonalBackward0", lambda x: x.diagonal(-1, 2, 1), lambda a: a.diagonal(-1, 2, 1)),
    ("DiagonalBackward0", lambda x: x.diagonal(9), lambda a: a.diagonal(9)),
    ("UnfoldBackward0", lambda x: x.unfold(2, 2, 1), lambda a: windows(a, 2, 1)),
    ("UnfoldBackward0", lambda x: x.unfold(2, 3, 2), lambda a: windows(a, 3, 2)),
    ("AsStridedBackward0", lambda x: x[1].as_strided((2, 3), (1, 4), 2), lambda a: a.ravel()[2:14].reshape(3, 4)[:, :2].T),
    ("ViewBackward0", lambda x: tg.atleast_2d(x[0, 0, 0]), lambda a: a[:1, 0, :1]),
    ("UnsqueezeBackward0", lambda x: tg.atleast_3d(x[0, 0]), lambda a: a[0, :1, :, None]),
]  # fmt: skip

#: the same for ops that copy
COPIES: list[tuple[str, Any, Any]] = [
    ("UnsafeViewBackward0", lambda x: x.mT.reshape(-1), lambda a: a.swapaxes(1, 2).ravel()),
    ("ViewBackward0", lambda x: x.mT.ravel(), lambda a: a.swapaxes(1, 2).ravel()),
    ("CloneBackward0", lambda x: x.mT.contiguous(), lambda a: a.swapaxes(1, 2)),
    ("CatBackward0", lambda x: tg.cat([x, x[:, :1], x.flip(1)], 1), lambda a: np.concatenate([a, a[:, :1], a[:, ::-1]], 1)),
    ("CatBackward0", lambda x: tg.cat((x, x[:0], tg.tensor(np.zeros(0)))), lambda a: a),
    ("CatBackward0", lambda x: tg.concat([x.mT, x.mT], axis=-1), lambda a: np.concatenate([a.swapaxes(1, 2)] * 2, -1)),
    ("CatBackward0", lambda x: tg.hstack([x, x]), lambda a: np.hstack([a, a])),
    ("CatBackward0", lambda x: tg.hstack([x[0, 0], x[0, 0, 0]]), lambda a: np.hstack([a[0, 0], a[0, 0, 0]])),
    ("CatBackward0", lambda x: tg.vstack([x[0], x[1, 1]]), lambda a: np.vstack([a[0], a[1, 1]])),
    ("CatBackward0", lambda x: tg.dstack([x[0], x[1]]), lambda a: np.dstack([a[0], a[1]])),
    ("CatBackward0", lambda x: tg.column_stack([x[0], x[1, :, 1]]), lambda a: np.column_stack([a[0], a[1, :, 1]])),
    ("StackBackward0", lambda x: tg.stack([x, x.flip(0)], -1), lambda a: np.stack([a, a[::-1]], -1)),
    ("StackBackward0", lambda x: tg.stack(x.unbind(2), 1), lambda a: a.swapaxes(1, 2)),
    ("RepeatBackward0", lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
    ("RepeatBackward0", lambda x: x.mT.repeat(2, 1, 2, 1), lambda a: np.tile(a.swapaxes(1, 2), (2, 1, 2, 1))),
    ("RepeatBackward0", lambda x: tg.tile(x, (2,)), lambda a: np.tile(a, (2,))),
    ("RepeatBackward0", lambda x: x.repeat(0, 1, 1), lambda a: np.tile(a, (0, 1, 1))),
    ("ViewBackward0", lambda x: x.repeat_interleave(2), lambda a: np.repeat(a, 2)),
    ("ViewBackward0", lambda x: x.repeat_interleave(3, dim=1), lambda a: np.repeat(a, 3, 1)),
    ("IndexSelectBackward0", lambda x: x.repeat_interleave(tg.tensor([2, 0, 1]), 1), lambda a: np.repeat(a, [2, 0, 1], 1)),
    ("FlipBackward0", lambda x: x.flip(0, -1), lambda a: np.flip(a, (0, 2))),
    ("FlipBackward0", lambda x: tg.fliplr(x.mT), lambda a: np.fliplr(a.swapaxes(1, 2))),
    ("FlipBackward0", lambda x: tg.flipud(x), np.flipud),
    ("RollBackward0", lambda x: x.roll(5), lambda a: np.roll(a, 5)),
    ("RollBackward0", lambda x: x.mT.roll(-3), lambda a: np.roll(a.swapaxes(1, 2), -3)),
    ("RollBackward0", lambda x: x.roll((1, -1, 7), (0, 2, 2)), lambda a: np.roll(a, (1, 6), (0, 2))),
    ("TrilBackward0", lambda x: x.tril(), np.tril),
    ("TrilBackward0", lambda x: x.mT.tril(-2), lambda a: np.tril(a.swapaxes(1, 2), -2)),
    ("TriuBackward0", lambda x: x.triu(1), lambda a: np.triu(a, 1)),
    ("TriuBackward0", lambda x: x.triu(99), lambda a: np.triu(a, 99)),
    ("DiagonalBackward0_copy", lambda x: x[0].diag(1), lambda a: np.diag(a[0], 1)),
    ("DiagEmbedBackward0", lambda x: x[0, 0].diag(-1), lambda a: np.diag(a[0, 0], -1)),
    ("DiagEmbedBackward0", lambda x: tg.diagflat(x[0]), lambda a: np.diagflat(a[0])),
    ("CloneBackward0", lambda x: tg.diag_embed(x, 1, 0, 2).diagonal(1, 0, 2).clone(), lambda a: a),
]  # fmt: skip

#: what pads, in terms of positions + 1, so that the padding 0 means none
PADS: list[tuple[Any, Any]] = [
    (lambda x: tg.pad(x, (1, 2)), lambda a: np.pad(a, ((0, 0), (0, 0), (1, 2)))),
    (lambda x: tg.pad(x, (0, 1, 2, 0)), lambda a: np.pad(a, ((0, 0), (2, 0), (0, 1)))),
    (lambda x: tg.pad(x, (-1, -2)), lambda a: a[..., 1:2]),
    (lambda x: tg.pad(x, (-1, 2, 0, 0, 1, -1)), lambda a: np.pad(a[:1, :, 1:], ((1, 0), (0, 0), (0, 2)))),
    (lambda x: tg.pad(x, (-2, -2)), lambda a: a[..., 2:2]),
    (lambda x: tg.pad(x.mT, (-3, 1)), lambda a: np.pad(a.swapaxes(1, 2)[..., 3:], ((0, 0), (0, 0), (0, 1)))),
]  # fmt: skip


def name_of(x: Any) -> str:
    fn = x.grad_fn
    return fn if isinstance(fn, str) else fn.name()


@pytest.mark.parametrize("case", range(len(VIEWS)))
def test_view(case: int) -> None:
    name, move, reference = VIEWS[case]
    out = check_moves(move, reference(positions(2, 3, 4)), values((2, 3, 4)))
    assert name_of(out) == name
    leaf = tg.tensor(values((2, 3, 4)))
    if out.numel():
        assert np.shares_memory(move(leaf).numpy(), leaf.numpy())


@pytest.mark.parametrize("case", range(len(COPIES)))
def test_copy(case: int) -> None:
    name, move, reference = COPIES[case]
    where = reference(positions(2, 3, 4) + 1) - 1  # triangles and diagonals put zeros
    out = check_moves(move, where, values((2, 3, 4)))
    assert name_of(out) == name
    leaf = tg.tensor(values((2, 3, 4)))
    assert not np.shares_memory(move(leaf).numpy(), leaf.numpy())


@pytest.mark.parametrize("case", range(len(PADS)))
def test_pad(case: int) -> None:
    move, reference = PADS[case]
    where = reference(positions(2, 3, 4) + 1) - 1
    assert name_of(check_moves(move, where, values((2, 3, 4)))) == "ConstantPadNdBackward0"


def test_pad_value() -> None:
    x = tg.tensor([1.0, 2.0])
    assert tg.pad(x, (1, 1), value=-0.0).tolist() == [-0.0, 1.0, 2.0, -0.0]
    assert np.signbit(tg.pad(x, (1, 0), value=-0.0).numpy()[0])
    assert np.isnan(tg.pad(x, (1, 0), value=float("nan")).numpy()[0])
    assert tg.pad(tg.tensor([1, 2]), (0, 2), value=7).tolist() == [1, 2, 7, 7]


def test_nan_is_cleared_not_multiplied() -> None:
    x = tg.tensor(np.full((2, 2), np.nan))
    assert x.tril().numpy()[0, 1] == 0
    assert x.triu().numpy()[1, 0] == 0


def test_large_matrix_triangles_of_all_dtypes() -> None:
    a = np.arange(35 * 20).reshape(35, 20)
    for array in (a.astype(np.float32), a, a % 3 == 0, a.astype(float)[:, ::2]):
        np.testing.assert_array_equal(tg.tensor(array).tril(3).numpy(), np.tril(array, 3))
        np.testing.assert_array_equal(tg.tensor(array).triu(-3).numpy(), np.triu(array, -3))


def test_sizes() -> None:
    x = tg.tensor(values((2, 3, 4)))
    assert x.size() == (2, 3, 4)
    assert repr(x.size()) == "torch.Size([2, 3, 4])"
    assert (x.size(1), x.size(-1), x.dim(), x.numel(), x.nelement()) == (3, 4, 3, 24, 24)
    assert tg.numel(x) == 24
    assert x.element_size() == 8
    assert x.stride() == (12, 4, 1)
    assert x.stride(-2) == 4
    assert x.mT.stride() == (12, 1, 4)
    assert not x.mT.is_contiguous()
    assert x.is_contiguous()
    assert x.storage_offset() == 0
    assert x[1, 2].storage_offset() == 20
    assert x[1].mT[2:].storage_offset() == 14


@pytest.mark.smoke
def test_identities() -> None:
    x = tg.tensor(values((2, 3)))
    assert x.contiguous() is x
    assert x.flatten(1, 1) is x
    assert tg.atleast_2d(x) is x
    assert x.expand(2, 3) is not x


@pytest.mark.smoke
def test_writes_reach_the_base() -> None:
    x = tg.tensor(np.zeros((2, 3)))
    view = x.transpose(0, 1)[1:].reshape(2, 2)
    x.numpy()[:] = [[1, 2, 3], [4, 5, 6]]
    assert view.tolist() == [[2, 5], [3, 6]]


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
def test_t_warns_unless_it_is_a_matrix() -> None:
    x = tg.tensor(values((2, 3, 4)))
    with pytest.warns(UserWarning, match="The use of `x.T` on tensors of dimension other than 2"):
        assert x.T.shape == (4, 3, 2)
    with pytest.warns(UserWarning, match=r"Tensor.T is deprecated on 0-D tensors"):
        assert x[0, 0, 0].T.shape == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x[0].T.shape == (4, 3)
        assert x[0, 0].T.shape == (4,)


def test_promotion() -> None:
    a, b, c = tg.tensor([1, 2]), tg.tensor([True]), tg.tensor(np.ones(1, np.float32))
    assert tg.cat([a, b]).dtype is tg.int64
    assert tg.cat([a, c]).dtype is tg.float32
    assert tg.cat([c, tg.tensor([1.0])]).dtype is tg.float64
    assert tg.stack([a[0], b[0]]).tolist() == [1, 1]


def test_many_operands() -> None:
    parts = [tg.tensor([float(i)], requires_grad=True) for i in range(300)]
    (tg.cat(parts) * tg.tensor(np.arange(300.0))).sum().backward()
    assert [p.grad.item() for p in parts] == list(range(300))


def test_empty_and_scalar() -> None:
    z, e = tg.tensor(2.0, requires_grad=True), tg.tensor(np.zeros((0, 3)), requires_grad=True)
    assert z.view(1, -1).shape == (1, 1)
    assert z.flatten().shape == (1,)
    assert z.reshape(()).shape == ()
    assert z.flip(0).item() == 2
    assert z.roll(1).item() == 2
    assert z.repeat(2).tolist() == [2, 2]
    assert tg.stack([z, z]).tolist() == [2, 2]
    assert z.unfold(0, 1, 1).tolist() == [2]
    assert e.view(-1, 3).shape == (0, 3)
    assert e.reshape(3, 0).shape == (3, 0)
    assert e.T.shape == (3, 0)
    assert e.split(2)[0].shape == (0, 3)
    assert len(e.chunk(3)) == 3
    assert e.unbind() == ()
    assert e.repeat(2, 2).shape == (0, 6)
    assert e.flip(0).shape == (0, 3)
    assert tg.cat([e, e]).shape == (0, 3)
    assert e.roll(1, 0).shape == (0, 3)
    tg.cat([e, e]).sum().backward()
    assert e.grad.shape == (0, 3)


def test_windows_that_overlap_in_as_many_elements_as_their_base_has() -> None:
    x = tg.tensor(np.arange(8.0), requires_grad=True)
    windows_of_x = x.unfold(0, 4, 3)  # element 3 twice, element 7 never
    (windows_of_x * 1.0).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 2, 1, 1, 1, 0]


def test_small_makers() -> None:
    np.testing.assert_array_equal(tg.tril_indices(3, 4, 1).numpy(), np.tril_indices(3, 1, 4))
    np.testing.assert_array_equal(tg.triu_indices(3, 4).numpy(), np.triu_indices(3, 0, 4))
    assert tg.repeat_interleave(tg.tensor([2, 0, 1])).tolist() == [0, 0, 2]
    assert tg.broadcast_shapes((2, 1), (3,), 1) == (2, 3)
    with pytest.warns(UserWarning, match="it will be required to pass the indexing argument"):
        assert tg.meshgrid(tg.tensor([1.0]), tg.tensor([1.0, 2.0]))[0].shape == (1, 2)


# --------------------------------------------------------------------------- reshape's stride rule
@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], Any, tuple[int, ...]]:
    """A shape, a way to make a strided view of it, and a shape with as many elements."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    cuts = tuple(slice(draw(st.integers(0, 1)), None, draw(st.integers(1, 2))) for _ in shape)
    n = int(np.prod([len(range(*c.indices(m))) for c, m in zip(cuts, shape, strict=True)]))
    target: list[int] = []
    while n > 1 and draw(st.booleans()):
        divisor = draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
        target.append(divisor)
        n //= divisor
    return shape, (order, cuts), (*target, n)


@settings(max_examples=200, deadline=None)
@given(layouts())
def test_view_where_numpy_needs_no_copy(case: Any) -> None:
    shape, (order, cuts), target = case
    a = np.arange(np.prod(shape, dtype=float)).reshape(shape)
    x = tg.tensor(a)
    a, x = a[cuts].transpose(order), x[cuts].permute(order)
    expected = a.reshape(target)
    try:
        a.reshape(target, copy=False)
        possible = True
    except ValueError:
        possible = False
    if possible:
        np.testing.assert_array_equal(x.view(target).numpy(), expected)
    else:
        with pytest.raises(RuntimeError, match="view size is not compatible"):
            x.view(target)
    np.testing.assert_array_equal(x.reshape(target).numpy(), expected)


# --------------------------------------------------------------------------- errors
_RANGE = "Dimension out of range (expected to be in range of [{}, {}], but got {})"
#: expression, type and text; x has shape (2, 3, 4), m (3, 4), v (4,), z ()
ERRORS: list[tuple[str, type[Exception], str]] = [
    ("x.view(5,5)", RuntimeError, "shape '[5, 5]' is invalid for input of size 24"),
    ("x.view(-1,5)", RuntimeError, "shape '[-1, 5]' is invalid for input of size 24"),
    ("x.view(-1,-1)", RuntimeError, "only one dimension can be inferred"),
    ("x.view(-2,3)", RuntimeError, "invalid shape dimension -2 at index 0 of shape [-2, 3]"),
    ("x.view(0,-1)", RuntimeError, "shape '[0, -1]' is invalid for input of size 24"),
    ("x.view()", TypeError, "view() received an invalid combination of arguments - got (), but expected one of:\n * (torch.dtype dtype)\n * (tuple of ints size)\n"),
    ("x.view('a')", TypeError, "view() received an invalid combination of arguments - got (str), but expected one of:\n * (torch.dtype dtype)\n      didn't match because some of the arguments have invalid types: (!str!)\n * (tuple of ints size)\n      didn't match because some of the arguments have invalid types: (!str!)\n"),
    ("x.view(2.,3)", TypeError, "view() received an invalid combination of arguments - got (float, int), but expected one of:\n * (torch.dtype dtype)\n * (tuple of ints size)\n"),
    ("x[:0,:1].view(-1,0)", RuntimeError, "cannot reshape tensor of 0 elements into shape [-1, 0] because the unspecified dimension size -1 can be any value and is ambiguous"),
    ("m.t().view(-1)", RuntimeError, "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead."),
    ("x.reshape()", TypeError, 'reshape() missing 1 required positional arguments: "shape"'),
    ("x.reshape(-1,5)", RuntimeError, "shape '[-1, 5]' is invalid for input of size 24"),
    ("x.flatten(2,1)", RuntimeError, "flatten() has invalid args: start_dim cannot come after end_dim"),
    ("x.flatten(5)", IndexError, _RANGE.format(-3, 2, 5)),
    ("x.unflatten(2,(3,2))", RuntimeError, "unflatten: Provided sizes [3, 2] don't multiply up to the size of dim 2 (4) in the input tensor"),
    ("x.unflatten(2,())", RuntimeError, "unflatten: sizes must be non-empty"),
    ("x.unflatten(2,2)", TypeError, "unflatten(): argument 'sizes' (position 2) must be tuple of ints, not int"),
    ("x.permute(0,1)", RuntimeError, "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = 3 is not equal to len(dims) = 2"),
    ("x.permute(0,1,1)", RuntimeError, "permute(): duplicate dims are not allowed."),
    ("x.permute(0,1,5)", IndexError, _RANGE.format(-3, 2, 5)),
    ("x.transpose(-4,0)", IndexError, _RANGE.format(-3, 2, -4)),
    ("z.transpose(0,1)", IndexError, _RANGE.format(-1, 0, 1)),
    ("x.t()", RuntimeError, "t() expects a tensor with <= 2 dimensions, but self is 3D"),
    ("v.mT", RuntimeError, "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor."),
    ("x.movedim((0,1),(0,))", RuntimeError, "movedim: Invalid source or destination dims: source ([0, 1] dims) should contain the same number of dims as destination ([0] dims)"),
    ("x.movedim((0,0),(0,1))", RuntimeError, "movedim: repeated dim in `source` ([0, 0])"),
    ("x.movedim((0,1),(1,1))", RuntimeError, "movedim: repeated dim in `destination` ([1, 1])"),
    ("x.expand(3,3,4)", RuntimeError, "The expanded size of the tensor (3) must match the existing size (2) at non-singleton dimension 0.  Target sizes: [3, 3, 4].  Tensor sizes: [2, 3, 4]"),
    ("x.expand(-1,2,3,4)", RuntimeError, "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension 0"),
    ("x.expand('a')", TypeError, "expand(): argument 'size' (position 1) must be tuple of ints, not str"),
    ("tg.broadcast_to(x,3)", TypeError, "broadcast_to(): argument 'size' (position 2) must be tuple of ints, not int"),
    ("tg.broadcast_tensors(x,v[:3])", RuntimeError, "The size of tensor a (4) must match the size of tensor b (3) at non-singleton dimension 2"),
    ("tg.broadcast_shapes((2,3),(4,))", RuntimeError, "Attempting to broadcast a dimension of length 4 at -1! Mismatching argument at index 1 had (4,); but expected shape should be broadcastable to [2, 3]"),
    ("x.squeeze((0,0))", RuntimeError, "dim 0 appears multiple times in the list of dims"),
    ("x.squeeze(3)", IndexError, _RANGE.format(-3, 2, 3)),
    ("x.unsqueeze(5)", IndexError, _RANGE.format(-4, 3, 5)),
    ("x.unsqueeze('a')", TypeError, "unsqueeze(): argument 'dim' (position 1) must be int, not str"),
    ("tg.squeeze([1])", TypeError, "squeeze(): argument 'input' (position 1) must be Tensor, not list"),
    ("x.narrow(0,0,3)", RuntimeError, "start (0) + length (3) exceeds dimension size (2)."),
    ("x.narrow(0,3,0)", IndexError, "start out of range (expected to be in range of [-2, 2], but got 3)"),
    ("x.narrow(0,0,-1)", RuntimeError, "narrow(): length must be non-negative."),
    ("z.narrow(0,0,1)", RuntimeError, "narrow() cannot be applied to a 0-dim tensor."),
    ("x.select(0,-3)", IndexError, "select(): index -3 out of range for tensor of size [2, 3, 4] at dimension 0"),
    ("z.select(0,0)", IndexError, "select() cannot be applied to a 0-dim tensor."),
    ("z.unbind()", IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    ("x.split(0)", RuntimeError, "split_size can only be 0 if dimension size is 0, but got dimension size of 2"),
    ("x.split(-1)", RuntimeError, "split expects split_size be non-negative, but got split_size=-1"),
    ("x.split([1,2])", RuntimeError, "split_with_sizes expects split_sizes to sum exactly to 2 (input tensor's size at dimension 0), but got split_sizes=[1, 2]"),
    ("x.split([-1,3])", RuntimeError, "split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes=[-1, 3]"),
    ("x.split(1.5)", TypeError, "split_with_sizes(): argument 'split_sizes' (position 2) must be tuple of ints, not float"),
    ("z.split(1)", RuntimeError, "split expects at least a 1-dimensional tensor"),
    ("x.chunk(0)", RuntimeError, "chunk expects `chunks` to be greater than 0, got: 0"),
    ("x.tensor_split(0)", RuntimeError, "number of sections must be larger than 0, got 0"),
    ("z.tensor_split(2)", RuntimeError, "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"),
    ("x.diagonal(0,0,0)", RuntimeError, "diagonal dimensions cannot be identical 0, 0"),
    ("v.diagonal()", IndexError, _RANGE.format(-1, 0, 1)),
    ("x.unfold(2,5,1)", RuntimeError, "maximum size for tensor at dimension 2 is 4 but size is 5"),
    ("x.unfold(2,2,0)", RuntimeError, "step is 0 but must be > 0"),
    ("x.unfold(2,-1,1)", RuntimeError, "size is -1 but must be >= 0"),
    ("x.as_strided((2,2),(1,100))", RuntimeError, "setStorage: sizes [2, 2], strides [1, 100], storage offset 0, and itemsize 8 requiring a storage size of 816 are out of bounds for storage of size 192"),
    ("x.as_strided((2,),(1,),23)", RuntimeError, "setStorage: sizes [2], strides [1], storage offset 23, and itemsize 8 requiring a storage size of 200 are out of bounds for storage of size 192"),
    ("x.as_strided((2,),(1,),-1)", RuntimeError, "Tensor: invalid storage offset -1"),
    ("x.as_strided((-1,2),(1,1))", RuntimeError, "Storage size calculation overflowed with sizes=[-1, 2] and strides=[1, 1]"),
    ("x.clone().set_(v,0,(-1,),(1,))", RuntimeError, "numel: integer multiplication overflow"),
    ("x.clone().set_(v,0,(-1,))", RuntimeError, "numel: integer multiplication overflow"),
    ("x.as_strided((2,2),(-1,1))", RuntimeError, "as_strided: Negative strides are not supported at the moment, got strides: [-1, 1]"),
    ("x.as_strided((2,),(1,1))", RuntimeError, "mismatch in length of strides and shape"),
    ("x.size(3)", IndexError, _RANGE.format(-3, 2, 3)),
    ("z.size(0)", IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    ("x.stride(3)", IndexError, _RANGE.format(-3, 2, 3)),
    ("tg.cat([])", ValueError, "torch.cat(): expected a non-empty list of Tensors"),
    ("tg.cat(x)", TypeError, "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor"),
    ("tg.cat([x,m])", RuntimeError, "Tensors must have same number of dimensions: got 3 and 2"),
    ("tg.cat([x,x[:,:,:3]])", RuntimeError, "Sizes of tensors must match except in dimension 0. Expected size 4 but got size 3 for tensor number 1 in the list."),
    ("tg.cat([x,None])", TypeError, "expected Tensor as element 1 in argument 0, but got NoneType"),
    ("tg.cat([z,z])", RuntimeError, "zero-dimensional tensor (at position 0) cannot be concatenated"),
    ("tg.stack([])", RuntimeError, "stack expects a non-empty TensorList"),
    ("tg.stack([x,m])", RuntimeError, "stack expects each tensor to be equal size, but got [2, 3, 4] at entry 0 and [3, 4] at entry 1"),
    ("tg.stack([x,x],5)", IndexError, _RANGE.format(-4, 3, 5)),
    ("tg.hstack([])", RuntimeError, "hstack expects a non-empty TensorList"),
    ("x.repeat(2)", RuntimeError, "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"),
    ("x.repeat(2,-1,1)", RuntimeError, "Trying to create tensor with negative dimension -3: [4, -3, 4]"),
    ("x.repeat()", TypeError, 'repeat() missing 1 required positional arguments: "repeats"'),
    ("x.repeat_interleave(-1)", RuntimeError, "Repeats must be non-negative"),
    ("x.repeat_interleave(tg.tensor([1,2]),dim=1)", RuntimeError, "repeats must have the same size as input along dim, but got repeats.size(0) = 2 and input.size(1) = 3"),
    ("x.repeat_interleave(tg.tensor([1,-2]),dim=0)", RuntimeError, "repeats can not be negative"),
    ("x.flip(0,0)", RuntimeError, "dim 0 appears multiple times in the list of dims"),
    ("x.flip()", TypeError, 'flip() missing 1 required positional arguments: "dims"'),
    ("x.roll((1,2))", RuntimeError, "shifts and dimensions must align. shifts: 2, dims:0"),
    ("x.roll((),())", RuntimeError, "`shifts` required"),
    ("z.roll(1,0)", IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    ("tg.fliplr(v)", RuntimeError, "Input must be >= 2-d."),
    ("pad(x,(1,))", RuntimeError, "Padding length must be divisible by 2"),
    ("pad(z,(1,1))", RuntimeError, "Padding length should be less than or equal to two times the input dimension but got padding length 2 and input of dimension 0"),
    ("pad(x,(-5,3))", RuntimeError, "narrow(): length must be non-negative."),
    ("pad(x,(1,1),mode='zz')", NotImplementedError, "Unrecognised padding mode zz"),
    ("pad(x,(1.,1))", TypeError, "pad(): argument 'pad' (position 2) must be tuple of ints, but found element of type float at pos 0"),
    ("v.tril()", RuntimeError, "tril: input tensor must have at least 2 dimensions"),
    ("x.diag()", RuntimeError, "diag(): Supports 1D or 2D tensors. Got 3D"),
    ("tg.diag_embed(v,0,0,0)", RuntimeError, "diagonal dimensions cannot be identical 0, 0"),
    ("tg.meshgrid(v,v,indexing='zz')", RuntimeError, 'torch.meshgrid: indexing must be one of "xy" or "ij", but received: zz'),
]  # fmt: skip


def raised(namespace: Any, pad: Any, expression: str) -> tuple[type[Exception], str]:
    x = namespace.tensor(values((2, 3, 4)))
    names = {"tg": namespace, "pad": pad, "x": x, "m": x[0], "v": x[0, 0], "z": x[0, 0, 0]}
    with pytest.raises(Exception) as caught:  # noqa: PT011
        eval(expression, names)
    return caught.type, str(caught.value)


@pytest.mark.parametrize(("expression", "kind", "text"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error(expression: str, kind: type[Exception], text: str) -> None:
    before = len(tg.current_tape())
    assert raised(tg, tg.pad, expression) == (kind, text)
    assert len(tg.current_tape()) - before <= 12  # the operands, and no statement that failed


@needs_torch
@pytest.mark.parametrize(("expression", "kind", "text"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error_is_torchs(expression: str, kind: type[Exception], text: str) -> None:
    assert raised(torch, torch.nn.functional.pad, expression) == (kind, text)
