"""Square brackets: values, derivatives, memory safety; the error texts are in test_index_errors.py."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import SHAPE, name_of, needs_torch, positions, torch, values
from moving import check_moves

import tapegrad as tg
from tapegrad.functions.indexing.getitem import index_at, put_at, resolve_index
from tapegrad.functions.indexing.index_arrays import Advanced
from tapegrad.ops.table import TABLE


# --------------------------------------------------------------------------- what an index means
def reference(a: np.ndarray, index: Any) -> np.ndarray:
    """PyTorch's meaning with NumPy's brackets: basic items first, then the arrays alone."""
    items = index if isinstance(index, tuple) else (index,)
    items = tuple(
        np.array(i, None if len(i) else int) if isinstance(i, list | range) else i for i in items
    )
    used = sum(
        0 if i is None or i is Ellipsis or isinstance(i, bool)
        else i.ndim if isinstance(i, np.ndarray) and i.dtype == bool else 1
        for i in items
    )  # fmt: skip
    if not any(i is Ellipsis for i in items):
        items = (*items, Ellipsis)
    basic: list[Any] = []
    arrays: list[Any] = []
    for i in items:
        if i is Ellipsis:
            basic += [slice(None)] * (a.ndim - used)
            arrays += [slice(None)] * (a.ndim - used)
        elif isinstance(i, bool):
            basic.append(None)
            arrays.append(np.zeros(int(i), int))
        elif isinstance(i, np.ndarray) and i.ndim == 0:
            basic.append(int(i))
        elif isinstance(i, np.ndarray):
            basic += [slice(None)] * (i.ndim if i.dtype == bool else 1)
            arrays.append(i)
        else:
            basic.append(i)
            if not isinstance(i, int):
                arrays.append(slice(None))
    seen = a[tuple(basic)]
    d = 0
    for i in arrays:  # NumPy lets some empty masks pass that do not fit
        mask = isinstance(i, np.ndarray) and i.dtype == bool
        if mask and i.shape != seen.shape[d : d + i.ndim]:
            raise IndexError("mask")
        d += i.ndim if mask else 1
    return seen[tuple(arrays)] if any(isinstance(i, np.ndarray) for i in arrays) else seen


MASK = np.array([[True, False, True], [False, True, True]])
#: index and name of the node, for x of shape (2, 3, 4)
INDICES: list[tuple[Any, str]] = [
    (0, "SelectBackward0"),
    (-1, "SelectBackward0"),
    (np.int64(1), "SelectBackward0"),
    (np.array(1), "SelectBackward0"),
    ((0, 1), "SelectBackward0"),
    ((0, 1, -2), "SelectBackward0"),
    ((0, slice(None), 1), "SelectBackward0"),
    ((Ellipsis, 0), "SelectBackward0"),
    ((0, Ellipsis), "SelectBackward0"),
    ((0, 1, 2, Ellipsis), "SelectBackward0"),
    ((None, 0), "SelectBackward0"),
    ((0, None), "UnsqueezeBackward0"),
    ((0, None, slice(None)), "UnsqueezeBackward0"),
    (None, "UnsqueezeBackward0"),
    ((Ellipsis, None), "UnsqueezeBackward0"),
    (slice(None), "SliceBackward0"),
    (slice(1, None), "SliceBackward0"),
    (slice(-9, 9), "SliceBackward0"),
    (slice(1, 0), "SliceBackward0"),
    (slice(5, 9), "SliceBackward0"),
    ((0, slice(1, 2)), "SliceBackward0"),
    ((slice(None), slice(None, None, 2)), "SliceBackward0"),
    ((Ellipsis, slice(1, None, 2)), "SliceBackward0"),
    ((slice(None), slice(0, 3)), "AliasBackward0"),
    (Ellipsis, "AliasBackward0"),
    ((), "AliasBackward0"),
    ([1, 0, 1], "IndexBackward0"),
    ([-1], "IndexBackward0"),
    ([], "IndexBackward0"),
    (np.array([[0, 1], [1, 1]]), "IndexBackward0"),
    (range(2), "IndexBackward0"),
    (([0, 1], [2, 2]), "IndexBackward0"),
    (([0, 1], [[2], [0]], [1]), "IndexBackward0"),
    ((slice(None), [2, 0, 2]), "IndexBackward0"),
    ((slice(None), [2, 0], [1, -1]), "IndexBackward0"),
    (([1, 0], slice(None), [1, -1]), "IndexBackward0"),
    ((0, slice(None), [1, 1]), "IndexBackward0"),
    ((slice(None), 0, [1, 1]), "IndexBackward0"),
    (([1], None, slice(1, None), [[0], [3]]), "IndexBackward0"),
    ((None, [0, 1], slice(None), [0]), "IndexBackward0"),
    ((Ellipsis, [3, 3], None), "IndexBackward0"),
    ((slice(None, None, 2), slice(1, None), [0]), "IndexBackward0"),
    (MASK, "IndexBackward0"),
    ((MASK, 1), "IndexBackward0"),
    ((MASK, slice(1, 3)), "IndexBackward0"),
    ((MASK, [0, 1, 2, 0]), "IndexBackward0"),
    (np.repeat(MASK[..., None], 4, -1), "IndexBackward0"),
    ([True, False], "IndexBackward0"),
    ((slice(None), np.array([False, True, True])), "IndexBackward0"),
    (np.zeros(SHAPE, bool), "IndexBackward0"),
    (True, "IndexBackward0"),
    (False, "IndexBackward0"),
    ((0, True), "IndexBackward0"),
    ((True, [0, 1]), "IndexBackward0"),
    ((slice(None), True, [0, 1]), "IndexBackward0"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(INDICES)))
def test_index(case: int) -> None:
    index, name = INDICES[case]
    out = check_moves(lambda x: x[index], reference(positions(*SHAPE), index), values(*SHAPE))
    assert name_of(out) == name
    x = tg.tensor(values(*SHAPE))
    if out.numel():
        assert np.shares_memory(x[index].numpy(), x.numpy()) == (name != "IndexBackward0")


@needs_torch
@pytest.mark.parametrize("case", range(len(INDICES)))
def test_index_is_torchs(case: int) -> None:
    index, name = INDICES[case]
    x = torch.tensor(values(*SHAPE), requires_grad=True)
    if isinstance(index, range):
        index = list(index)  # torch takes ranges for something else
    y = x[index]
    assert name_of(y) == name
    np.testing.assert_array_equal(y.detach().numpy(), tg.tensor(values(*SHAPE))[index].numpy())


@pytest.mark.smoke
def test_index_of_tensors() -> None:
    x = tg.tensor(values(*SHAPE))
    a = values(*SHAPE)
    i, j = tg.tensor([1, 0, 1]), tg.tensor([[2], [-1]])
    np.testing.assert_array_equal(x[i].numpy(), a[[1, 0, 1]])
    np.testing.assert_array_equal(x[:, j, i].numpy(), a[:, [[2], [-1]], [1, 0, 1]])
    np.testing.assert_array_equal(x[x > 0].numpy(), a[a > 0])
    np.testing.assert_array_equal(x[tg.tensor(1), tg.tensor(1) :].numpy(), a[1, 1:])
    assert x[tg.tensor(True)].shape == (1, *SHAPE)


def test_lists_of_sequences_count_as_tuples_with_torchs_warning() -> None:
    x = tg.tensor(values(*SHAPE))
    for index, same in (([[0, 1]], ([0, 1],)), ([0, slice(1)], (0, slice(1))), ([None], (None,))):
        with pytest.warns(UserWarning, match="Using a non-tuple sequence"):
            seen = x[index]
        np.testing.assert_array_equal(seen.numpy(), x[same].numpy())
    assert x[[0] * 40].shape == (40, 3, 4)


def test_other_dtypes() -> None:
    for array in (np.arange(6), np.arange(6) % 2 == 0, np.arange(6, dtype=np.float32)):
        a = array.reshape(2, 3)
        for index in ([1, 0], (slice(None), [2, 2]), ([1, 0], [0, 1])):
            got = tg.tensor(a)[index]
            assert got.numpy().dtype == a.dtype
            np.testing.assert_array_equal(got.numpy(), a[index])
    x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    (x[[1, 1], [0, 0]] * tg.tensor(np.float32([2, 3]))).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [5, 0, 0]]
    assert x.grad.dtype is tg.float32


def test_long_rows_and_strided_operands() -> None:
    a = values(5, 3, 40)
    for move in (lambda x: x, lambda x: x.transpose(0, 2), lambda x: x[::2, :, 1::3]):
        b, x = (move(torch_like) for torch_like in (tg.tensor(a), tg.tensor(a)))
        plain = b.numpy()
        n = plain.shape[1]
        for index in ((slice(None), [n - 1, 0]), ([0, 1], slice(None), [2, 0]), ([1, 1],)):
            np.testing.assert_array_equal(x[index].numpy(), plain[index])


def test_integer_indices_of_the_first_axis_are_recorded_natively() -> None:
    from tapegrad.ops.layout import contiguous
    from tapegrad.ops.pairs import PAIRS

    layout = contiguous(tg.float64, (7, 11))
    key = TABLE["select"].code << 48 | layout.id << 24
    assert key not in PAIRS.entries
    x = tg.tensor(values(7, 11))
    assert x[3].shape == (11,)
    assert key in PAIRS.entries
    np.testing.assert_array_equal(x[-2].numpy(), values(7, 11)[-2])
    x.select(1, 0)  # another dimension is not what x[i] means
    np.testing.assert_array_equal(x[0].numpy(), values(7, 11)[0])


# --------------------------------------------------------------------------- random indices
def basic_items() -> Any:
    bound = st.none() | st.integers(-5, 5)
    return st.one_of(
        st.builds(slice, bound, bound, st.none() | st.integers(1, 3)), st.none(), st.integers(-4, 3)
    )


@st.composite
def cases(draw: st.DrawFn, *, advanced: bool) -> tuple[tuple[int, ...], Any]:
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    items: list[Any] = []
    d = 0
    index_shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    while d < len(shape) and draw(st.integers(0, 5)):
        if advanced and draw(st.booleans()):
            n = shape[d]
            if draw(st.integers(0, 3)) == 0:
                items.append(draw(st.lists(st.booleans(), min_size=n, max_size=n).map(
                    lambda flags: np.array(flags, bool))))  # fmt: skip
            else:
                own = tuple(1 if draw(st.booleans()) else m for m in index_shape)
                count = int(np.prod(own))
                low, high = (-n, n - 1) if n else (0, 0)
                flat = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
                items.append(np.array(flat, int).reshape(own))
            d += 1
        else:
            item = draw(basic_items())
            d += item is not None
            items.append(item)
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    return shape, tuple(items)


def check_against_numpy(shape: tuple[int, ...], index: Any) -> None:
    a = np.arange(np.prod(shape, dtype=float)).reshape(shape)
    x = tg.tensor(a, requires_grad=True)
    try:
        expected = reference(positions(*shape), index)
    except IndexError:
        with contextlib.suppress(IndexError):
            # PyTorch, unlike NumPy, checks no index of a result without elements.
            assert x[index].numel() == 0
        return
    out = x[index]
    assert tuple(out.shape) == expected.shape
    if expected.size == 0:
        return
    np.testing.assert_array_equal(out.detach().numpy(), a.ravel()[expected])
    w = np.random.default_rng(0).standard_normal(expected.shape)
    (out * tg.tensor(w)).sum().backward()
    np.testing.assert_allclose(
        x.grad.numpy().ravel(), np.bincount(expected.ravel(), w.ravel(), a.size), atol=1e-12
    )


@settings(max_examples=150, deadline=None)
@given(cases(advanced=False))
def test_random_basic_index(case: Any) -> None:
    check_against_numpy(*case)


@settings(max_examples=250, deadline=None)
@given(cases(advanced=True))
def test_random_advanced_index(case: Any) -> None:
    check_against_numpy(*case)


@needs_torch
@settings(max_examples=100, deadline=None)
@given(cases(advanced=True))
def test_random_index_is_torchs(case: Any) -> None:
    shape, index = case
    a = np.arange(np.prod(shape, dtype=float)).reshape(shape)
    results = []
    for namespace in (torch, tg):
        given_index = tuple(
            namespace.tensor(i) if isinstance(i, np.ndarray) and i.ndim else i for i in index
        )
        try:
            results.append(namespace.tensor(a)[given_index].numpy())
        except IndexError as error:
            results.append(str(error))
    if isinstance(results[0], str):
        assert isinstance(results[1], str)
    else:
        np.testing.assert_array_equal(results[0], results[1])


# --------------------------------------------------------------------------- safety
def test_index_values_are_read_when_recorded() -> None:
    x = tg.tensor(values(4))
    where, array = tg.tensor([0, 1]), np.array([2, 3])
    memory = where.numpy()
    first, second, third = x[where], x[array], x.gather(0, where)
    memory[:] = 1 << 40
    array[:] = -(1 << 40)
    np.testing.assert_array_equal(first.numpy(), values(4)[:2])
    np.testing.assert_array_equal(second.numpy(), values(4)[2:])
    np.testing.assert_array_equal(third.numpy(), values(4)[:2])


def test_positions_in_dimensions_too_large_together() -> None:
    x = tg.tensor(1.0).expand(1 << 40, 1 << 40)
    with pytest.raises(RuntimeError, match="too many elements to index them together"):
        x[[0], [1]]
    assert x[0, [5, (1 << 40) - 1]].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [3, -4, 1 << 62, -(1 << 63), (1 << 63) - 1])
def test_out_of_range_never_reaches_a_kernel(value: int) -> None:
    x = tg.tensor(values(3))
    where = tg.tensor(np.array([0, value]))
    text = f"index {value} is out of bounds for dimension 0 with size 3"
    count = len(tg.current_tape())
    for call in (
        lambda: x[where],
        lambda: x.gather(0, where),
        lambda: x.scatter(0, where, tg.tensor([1.0, 1.0])),
        lambda: x.scatter_add(0, where, tg.tensor([1.0, 1.0])),
        lambda: x.index_put((where,), tg.tensor(1.0)),
        lambda: x.index_fill(0, where, 1.0),
    ):
        with pytest.raises((IndexError, RuntimeError)) as caught:
            call()
        assert str(caught.value) == text
    for call in (
        lambda: x.index_select(0, where),
        lambda: x.take(where),
        lambda: x.index_add(0, where, tg.tensor([1.0, 1.0])),
        lambda: x.index_copy(0, where, tg.tensor([1.0, 1.0])),
        lambda: tg.take_along_dim(x, where, 0),
    ):
        with pytest.raises((IndexError, RuntimeError)):
            call()
    assert len(tg.current_tape()) <= count + 12  # the sources; nothing that indexes


# --------------------------------------------------------------------------- writing
def test_resolve_index_gives_what_setitem_needs() -> None:
    x = tg.tensor(values(*SHAPE))
    view, advanced = resolve_index(x, (0, slice(1, None)))
    assert advanced is None
    assert view.shape == (2, 4)
    view, advanced = resolve_index(x, [1, 0])
    assert view is x
    assert isinstance(advanced, Advanced)
    assert advanced.shape == SHAPE
    view, advanced = resolve_index(x, (slice(None), 1, [3, 0]))
    assert view.shape == (2, 4)
    assert advanced.dims == (1,)
    assert advanced.shape == (2, 2)
    np.testing.assert_array_equal(index_at(view, advanced).numpy(), values(*SHAPE)[:, 1, [3, 0]])
    put = put_at(view, tg.tensor([[7.0], [8.0]]), advanced)
    expected = values(*SHAPE)[:, 1]
    expected[:, [3, 0]] = [[7], [8]]
    np.testing.assert_array_equal(put.numpy(), expected)
    with pytest.raises(RuntimeError, match="shape mismatch: value tensor of shape"):
        put_at(view, tg.tensor([1.0, 2.0, 3.0]), advanced)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("own", [(2, 3), (1, 3), (3,), ()])
def test_index_put(accumulate: bool, own: tuple[int, ...]) -> None:
    """Third derivatives of sum(w * put(x, v)^3), against NumPy's."""
    x = tg.tensor(values(4, 3), requires_grad=True)
    v = tg.tensor(values(*own), requires_grad=True)
    where = np.array([2, 0])
    w, out = values(4, 3), values(4, 3)
    if accumulate:
        np.add.at(out, where, values(*own))
    else:
        out[where] = values(*own)
    y = x.index_put((tg.tensor(where),), v, accumulate)
    assert name_of(y) == "IndexPutBackward0"
    np.testing.assert_allclose(y.detach().numpy(), out)
    kept = np.ones((4, 3))
    if not accumulate:
        kept[where] = 0

    def to_v(a: np.ndarray) -> np.ndarray:
        a = a[where]
        lead = tuple(range(a.ndim - len(own)))
        a = a.sum(lead)
        return a.sum(tuple(i for i, n in enumerate(own) if n == 1), keepdims=True) if own else a

    loss = (tg.tensor(w) * y * y * y).sum()
    reached = np.zeros((4, 3))
    reached[where] = 1
    both = kept + reached  # y = kept * x + reached * v, and each loss sums both gradients
    for slope in (3 * w * out**2, 6 * w * out * both, 6 * w * both**2):
        gx, gv = tg.autograd.grad(loss, (x, v), create_graph=True)
        np.testing.assert_allclose(gx.detach().numpy(), kept * slope, atol=1e-12)
        np.testing.assert_allclose(gv.detach().numpy(), to_v(slope), atol=1e-12)
        loss = gx.sum() + gv.sum()


@pytest.mark.smoke
def test_index_put_accumulates_duplicates() -> None:
    x, v = (
        tg.tensor(np.zeros(3), requires_grad=True),
        tg.tensor([1.0, 2.0, 4.0], requires_grad=True),
    )
    y = x.index_put((tg.tensor([1, 1, -1]),), v, accumulate=True)
    assert y.tolist() == [0, 3, 4]
    (y * tg.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert v.grad.tolist() == [10, 10, 100]
    assert x.grad.tolist() == [1, 10, 100]
    mask = tg.tensor([True, False, True])
    assert x.index_put((mask,), tg.tensor([5.0, 6.0])).tolist() == [5, 0, 6]
    counts = tg.tensor([0, 0]).index_put((tg.tensor([1, 1]),), tg.tensor([2, 3]), accumulate=True)
    assert counts.tolist() == [0, 5]


def test_slices_of_more_elements_than_a_key_has_bits_for() -> None:
    x = tg.zeros((1 << 24) + 9, dtype=tg.bool)
    for length in (1, 2, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 24) + 2):
        for _ in range(3):  # recorded by Python, then natively
            assert x[:length].shape == (length,)
            assert x[length:].shape == (x.shape[0] - length,)


BACKWARDS = [
    np.s_[::-1], np.s_[:, ::-1], np.s_[..., ::-2], np.s_[::-1, 1, ::-1], np.s_[None, ::-1, None, 2:0:-1],
    np.s_[0, ::-1], np.s_[5:1:-1], np.s_[:, :, 2::-1], np.s_[-1:-9:-1], np.s_[0:1:-1],
]  # fmt: skip


@pytest.mark.parametrize("index", BACKWARDS, ids=str)
def test_slices_that_run_backwards(index: Any) -> None:
    """They are copies, as strides are not negative; writes through them are NumPy's."""
    array = np.arange(24.0).reshape(2, 3, 4)
    x = tg.tensor(array, requires_grad=True)
    part = x[index]
    np.testing.assert_array_equal(part.detach().numpy(), array[index])
    weights = tg.arange(1.0, part.numel() + 1).reshape(part.shape)
    wanted = np.zeros_like(array)
    wanted[index] = weights.numpy()
    np.testing.assert_array_equal(tg.autograd.grad((part * weights).sum(), x)[0].numpy(), wanted)
    written, value = x.clone(), tg.tensor(array[index] * 2, requires_grad=True)
    written[index] = value
    copy = array.copy()
    copy[index] = array[index] * 2
    np.testing.assert_array_equal(written.detach().numpy(), copy)
    gradients = tg.autograd.grad((written * written).sum(), (x, value))
    np.testing.assert_array_equal(gradients[1].numpy(), 4 * array[index])
    np.testing.assert_array_equal(gradients[0].numpy(), np.where(wanted != 0, 0, 2 * array))
    filled = tg.tensor(array)
    filled[index] = 7.0
    copy = array.copy()
    copy[index] = 7.0
    np.testing.assert_array_equal(filled.numpy(), copy)
