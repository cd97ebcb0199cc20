"""Matrix products: values against NumPy, derivatives, names of nodes, error texts, geometry."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.ops.matmul import geometry
from tapegrad.tape.recording import layout_of

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

Shape = tuple[int, ...]


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape) + 1).standard_normal(shape)


def leaf(*shape: int) -> Any:
    return tg.tensor(numbers(*shape), requires_grad=True)


def value(x: Any) -> np.ndarray:
    return x.detach().numpy().copy()


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match=rf"\A{re.escape(text)}\Z")


def name_of(x: Any) -> str:
    found = re.search(r"<(\w+)", repr(x.grad_fn))
    assert found is not None
    return found[1]


# --------------------------------------------------------------------------- values
SHAPES: list[tuple[Shape, Shape]] = [
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((3,), (5, 3, 2)),
    ((5, 2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (1, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)),
    ((6, 5, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (1, 5, 3, 4)), ((4, 6, 1, 2, 3), (1, 5, 3, 4)),
    ((0,), (0,)), ((0,), (0, 2)), ((2, 0), (0,)), ((2, 0), (0, 4)), ((0, 3), (3, 4)),
    ((0, 2, 3), (3, 4)), ((5, 2, 0), (5, 0, 4)), ((0, 2, 3), (0, 3, 4)), ((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("kind", [tg.float64, tg.float32, tg.int64])
def test_matmul_is_numpys(a: Shape, b: Shape, kind: Any) -> None:
    x, y = ((numbers(*s) * 4).astype(kind.np) for s in (a, b))
    out = tg.tensor(x) @ tg.tensor(y)
    assert out.dtype is kind
    want = np.matmul(x, y)
    assert tuple(out.shape) == want.shape
    np.testing.assert_allclose(value(out), want, rtol=1e-5 if kind is tg.float32 else 1e-12)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul_of_strided_views_is_numpys(a: Shape, b: Shape) -> None:
    """Transposed, stepped and expanded operands."""
    for axes_first in (False, True):
        x, y = numbers(*[2 * n for n in a]), numbers(*b[::-1])
        step = tuple(slice(None, None, 2) for _ in a)
        left, right = tg.tensor(x)[step], tg.tensor(y).permute(*reversed(range(len(b))))
        want_left, want_right = x[step], y.transpose()
        if axes_first:
            if b[:-2] != a[:-2] or len(a) < 2 or len(b) < 2:
                continue
            left, right = right.transpose(-1, -2), left.transpose(-1, -2)
            want_left, want_right = want_right.swapaxes(-1, -2), want_left.swapaxes(-1, -2)
        np.testing.assert_allclose(value(left @ right), want_left @ want_right, atol=1e-12)


def test_large_operands_that_blas_does_not_take() -> None:
    x, y = numbers(80, 90), numbers(90, 70)
    a, b = tg.tensor(x), tg.tensor(y)
    np.testing.assert_allclose(value(a[::2, ::3] @ b[::3, ::2]), x[::2, ::3] @ y[::3, ::2])
    row = a[:1].expand(80, 90)
    np.testing.assert_allclose(value(row @ b), np.broadcast_to(x[:1], x.shape) @ y)
    np.testing.assert_allclose(value(row.t() @ row), x[:1].T @ x[:1] * 80)
    np.testing.assert_allclose(value(a[0].expand(80, 90) @ b[:, 0]), np.full(80, x[0] @ y[:, 0]))


def test_a_batch_against_one_matrix_is_one_call() -> None:
    x, y = layout_of(tg.ones(5, 4, 2, 3)), layout_of(tg.ones(3, 6))
    assert geometry(x, y).batch == ()
    assert geometry(x, y).core == (40, 3, 6)
    turned = layout_of(tg.ones(4, 5, 2, 3).transpose(0, 1))
    assert geometry(turned, y).batch == (5, 4)


def test_nan_and_infinity_go_through() -> None:
    x = tg.tensor([[np.inf, 0.0], [np.nan, 1.0]])
    got = value(x @ tg.ones(2, 1)).ravel()
    assert got[0] == np.inf
    assert np.isnan(got[1])


# --------------------------------------------------------------------------- names of nodes
@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        ((3,), (3,), "DotBackward0"),
        ((3,), (3, 3), "SqueezeBackward4"),
        ((3,), (2, 3, 3), "UnsafeViewBackward0"),
        ((3, 3), (3,), "MvBackward0"),
        ((3, 3), (3, 3), "MmBackward0"),
        ((3, 3), (2, 3, 3), "CloneBackward0"),
        ((3, 3), (5, 2, 3, 3), "CloneBackward0"),
        ((2, 3, 3), (3,), "UnsafeViewBackward0"),
        ((2, 3, 3), (3, 3), "UnsafeViewBackward0"),
        ((2, 3, 3), (2, 3, 3), "UnsafeViewBackward0"),
        ((2, 3, 3), (1, 3, 3), "UnsafeViewBackward0"),
        ((1, 3, 3), (2, 3, 3), "CloneBackward0"),
        ((1, 3, 3), (1, 3, 3), "UnsafeViewBackward0"),
        ((1, 3, 3), (5, 2, 3, 3), "UnsafeViewBackward0"),
        ((5, 2, 3, 3), (2, 3, 3), "UnsafeViewBackward0"),
    ],
)
def test_node_of_matmul(a: Shape, b: Shape, name: str) -> None:
    assert name_of(leaf(*a) @ leaf(*b)) == name
    if torch is not None:
        x, y = (torch.rand(s, requires_grad=True) for s in (a, b))
        assert type((x @ y).grad_fn).__name__ == name


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tg.mm(leaf(2, 3), leaf(3, 2)), "MmBackward0"),
        (lambda: tg.bmm(leaf(2, 2, 3), leaf(2, 3, 2)), "BmmBackward0"),
        (lambda: tg.mv(leaf(2, 3), leaf(3)), "MvBackward0"),
        (lambda: tg.dot(leaf(3), leaf(3)), "DotBackward0"),
        (lambda: tg.vdot(leaf(3), leaf(3)), "VdotBackward0"),
        (lambda: tg.outer(leaf(3), leaf(2)), "MulBackward0"),
        (lambda: tg.inner(leaf(3), leaf(2, 3)), "ViewBackward0"),
        (lambda: tg.addmm(leaf(2), leaf(3, 3), leaf(3, 2)), "AddmmBackward0"),
        (lambda: tg.addmv(leaf(2), leaf(2, 3), leaf(3)), "AddmvBackward0"),
        (lambda: tg.baddbmm(leaf(2), leaf(2, 3, 3), leaf(2, 3, 2)), "BaddbmmBackward0"),
        (lambda: tg.tensordot(leaf(2, 3), leaf(3, 4), 1), "ViewBackward0"),
        (lambda: tg.kron(leaf(2, 3), leaf(2, 2)), "UnsafeViewBackward0"),
        (lambda: tg.matrix_power(leaf(3, 3), 3), "MmBackward0"),
        (lambda: tg.matrix_power(leaf(3, 3), 1), "CloneBackward0"),
        (lambda: tg.einsum("ij,jk->ik", leaf(2, 3), leaf(3, 2)), "ViewBackward0"),
        (lambda: tg.einsum("ij->ji", leaf(2, 3)), "PermuteBackward0"),
        (lambda: tg.einsum("i,j->ij", leaf(2), leaf(3)), "MulBackward0"),
    ],
)
def test_node_of_function(call: Any, name: str) -> None:
    assert name_of(call()) == name


# --------------------------------------------------------------------------- derivatives
CALLS: dict[str, tuple[Any, list[Shape]]] = {
    "fold": (lambda m, x, y: m.matmul(x, y), [(2, 4, 3), (3, 2)]),
    "left": (lambda m, x, y: m.matmul(x, y), [(2, 3), (4, 3, 2)]),
    "both": (lambda m, x, y: m.matmul(x, y), [(4, 1, 2, 3), (5, 3, 2)]),
    "turned": (lambda m, x, y: m.matmul(x.transpose(0, 1), y), [(4, 2, 3), (3, 2)]),
    "inner": (lambda m, x, y: m.inner(x, y), [(2, 3), (4, 3)]),
    "outer": (lambda m, x, y: m.outer(x, y), [(2,), (3,)]),
    "tensordot": (lambda m, x, y: m.tensordot(x, y, ([0, 2], [1, 0])), [(2, 4, 3), (3, 2)]),
    "kron": (lambda m, x, y: m.kron(x, y), [(2, 1), (2, 3)]),
    "addmm": (lambda m, z, x, y: m.addmm(z, x, y, beta=2, alpha=0.5), [(2,), (3, 3), (3, 2)]),
    "baddbmm": (lambda m, z, x, y: m.baddbmm(z, x, y), [(2,), (2, 2, 3), (2, 3, 2)]),
    "power": (lambda m, x: m.matrix_power(x, 5), [(2, 3, 3)]),
    "chain": (lambda m, x, y, z: x @ y @ z, [(2, 3), (3, 4), (4,)]),
    "einsum": (lambda m, x, y, z: m.einsum("bi,oij,bj->bo", x, y, z), [(2, 3), (2, 3, 2), (2, 2)]),
    "trace": (lambda m, x, y: m.einsum("ii,jk->kj", x, y), [(3, 3), (2, 3)]),
}


def chain_of_derivatives(m: Any, call: Any, arrays: list[np.ndarray], weights: Any) -> list[Any]:
    """The value, and derivatives of orders 1 to 3 along fixed directions."""
    make = tg.tensor if m is tg else m.tensor
    leaves = [make(a, requires_grad=True) for a in arrays]
    out = call(m, *leaves)
    found = [[out]]
    scalar = (out * make(weights[0][0])).sum()
    for order in range(1, 4):
        if not scalar.requires_grad:
            break
        grads = m.autograd.grad(scalar, leaves, create_graph=True, allow_unused=True)
        grads = [
            make(np.zeros(a.shape)) if g is None else g for g, a in zip(grads, arrays, strict=True)
        ]
        found.append(list(grads))
        scalar = make(0.0)
        for g, w in zip(grads, weights[order], strict=True):
            scalar = scalar + (g * make(w)).sum() + (g * g).sum() * 0.1
    return [[np.array(x.detach().numpy()) for x in part] for part in found]


@needs_torch
@pytest.mark.parametrize("name", CALLS)
def test_derivatives_are_torchs(name: str) -> None:
    call, shapes = CALLS[name]
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(s) for s in shapes]
    shape = call(tg, *[tg.tensor(a) for a in arrays]).shape
    weights = [[rng.standard_normal(shape)]]
    weights += [[rng.standard_normal(s) for s in shapes] for _ in range(3)]
    torch.set_default_dtype(torch.float64)
    try:
        want = chain_of_derivatives(torch, call, arrays, weights)
    finally:
        torch.set_default_dtype(torch.float32)
    have = chain_of_derivatives(tg, call, arrays, weights)
    assert len(have) == len(want) >= 3
    for order, (h, w) in enumerate(zip(have, want, strict=True)):
        for x, y in zip(h, w, strict=True):
            assert x.shape == y.shape
            scale = np.abs(y).max(initial=1)
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11 * scale, err_msg=f"{order}")


@pytest.mark.smoke
def test_tutorial_gradient_of_matmul() -> None:
    x = tg.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], requires_grad=True)
    w = tg.tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True)
    y = tg.matmul(x, w.T)
    y.backward(gradient=tg.ones_like(y))
    assert x.grad.tolist() == [[5.0, 7.0, 9.0]] * 3
    assert w.grad.tolist() == [[12.0, 15.0, 18.0]] * 2


def test_beta_zero_ignores_the_added_operand() -> None:
    z = tg.full((2, 2), float("nan"), requires_grad=True)
    out = tg.addmm(z, tg.ones(2, 3), tg.ones(3, 2), beta=0)
    assert out.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    whole = tg.ones(2, dtype=tg.int64)
    out = tg.addmm(whole, tg.ones(2, 2, dtype=tg.int64), tg.ones(2, 2, dtype=tg.int64), alpha=2.5)
    assert out.tolist() == [[5, 5], [5, 5]]


@pytest.mark.smoke
def test_linear() -> None:
    x, w, b = numbers(4, 5, 3), numbers(2, 3), numbers(2)
    want = x @ w.T + b
    np.testing.assert_allclose(value(tg.linear(*map(tg.tensor, (x, w, b)))), want)
    np.testing.assert_allclose(value(tg.linear(*map(tg.tensor, (x[0], w, b)))), want[0])
    np.testing.assert_allclose(value(tg.linear(tg.tensor(x), tg.tensor(w))), x @ w.T)
    np.testing.assert_allclose(value(tg.linear(tg.tensor(x), tg.tensor(w[0]))), x @ w[0])


# --------------------------------------------------------------------------- einsum
@st.composite
def equations(draw: Any) -> tuple[str, list[Shape]]:
    """An equation with up to four operands, repeated indices, ellipses, lengths of 0 and 1."""
    sizes = {c: draw(st.integers(0 if c == "e" else 1, 3)) for c in "abcde"}
    outer = draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    with_ellipsis = draw(st.booleans())
    parts, shapes = [], []
    for _ in range(draw(st.integers(1, 4))):
        letters = draw(st.lists(st.sampled_from("abcde"), max_size=3))
        shape = [sizes[c] for c in letters]
        if letters and len(set(letters)) == len(letters) and draw(st.booleans()):
            shape[0] = 1
        if with_ellipsis and draw(st.booleans()):
            at, dims = draw(st.integers(0, len(letters))), draw(st.integers(0, 2))
            letters.insert(at, "...")
            shape[at:at] = outer[2 - dims :]
        parts.append("".join(letters))
        shapes.append(tuple(shape))
    equation = ",".join(parts)
    if draw(st.booleans()):
        used = sorted(set(equation) - {",", "."})
        kept = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        equation += "->" + ("..." if with_ellipsis else "") + "".join(kept)
    return equation, shapes


@needs_torch
@settings(max_examples=150, deadline=None)
@given(equations())
def test_einsum_is_torchs(drawn: tuple[str, list[Shape]]) -> None:
    equation, shapes = drawn
    arrays = [numbers(*s) for s in shapes]
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    ys = [torch.tensor(a, requires_grad=True) for a in arrays]
    try:
        want = torch.einsum(equation, *ys)
    except RuntimeError as error:
        with raises(RuntimeError, str(error)):
            tg.einsum(equation, *xs)
        return
    out = tg.einsum(equation, *xs)
    np.testing.assert_allclose(value(out), want.detach().numpy(), rtol=1e-10, atol=1e-11)
    ct = numbers(*want.shape)
    have = tg.autograd.grad(out, xs, tg.tensor(ct), allow_unused=True)
    for x, y in zip(have, torch.autograd.grad(want, ys, torch.tensor(ct)), strict=True):
        np.testing.assert_allclose(value(x), y.numpy(), rtol=1e-10, atol=1e-11)


def test_einsum_of_lists_and_of_a_list() -> None:
    x, y = numbers(2, 3), numbers(3, 4)
    a, b = tg.tensor(x), tg.tensor(y)
    np.testing.assert_allclose(value(tg.einsum(a, [0, 1], b, [1, 2])), x @ y)
    np.testing.assert_allclose(value(tg.einsum(a, [0, 1], b, [1, 2], [2, 0])), (x @ y).T)
    np.testing.assert_allclose(value(tg.einsum(a, [..., 1], b, [1, 2], [..., 2])), x @ y)
    np.testing.assert_allclose(value(tg.einsum("ij,jk->ik", [a, b])), x @ y)
    np.testing.assert_allclose(value(tg.einsum(" i j , j k -> k i ", a, b)), (x @ y).T)
    np.testing.assert_allclose(value(tg.einsum("Ab,bC", a, b)), x @ y)


def test_einsum_of_many_operands_takes_a_good_path() -> None:
    """Left to right, the third product alone would have 10**9 elements."""
    shapes = [(1000, 2), (1000, 2), (1000, 2), (2, 2), (2, 2), (2, 2)]
    arrays = [numbers(*s) for s in shapes]
    out = tg.einsum("ai,bj,ck,ix,jy,kz->xyz", *map(tg.tensor, arrays))
    one = [a.sum(0) @ b for a, b in zip(arrays[:3], arrays[3:], strict=True)]
    np.testing.assert_allclose(value(out), np.einsum("x,y,z->xyz", *one), rtol=1e-8)


@pytest.mark.parametrize(
    ("equation", "shapes", "text"),
    [
        ("ij,kl", [(2, 3)], "fewer operands were provided than specified in the equation"),
        ("ij", [(2, 3), (2, 3)], "more operands were provided than specified in the equation"),
        ("ijk", [(2, 3)], "the number of subscripts in the equation (3) does not match the number "
         "of dimensions (2) for operand 0 and no ellipsis was given"),
        ("ij,jk", [(2, 3), (4, 4)], "subscript j has size 4 for operand 1 which does not broadcast "
         "with previously seen size 3"),
        ("i->j", [(2,)], "output subscript j does not appear in the equation for any input "
         "operand"),
        ("i->ii", [(2,)], "output subscript i appears more than once in the output"),
        ("i1", [(2, 2)], "invalid subscript given at index 1 in the equation string, subscripts "
         "must be in [a-zA-Z]"),
        ("i->1", [(2,)], "invalid subscript given at index 3 in the equation string, subscripts "
         "must be in [a-zA-Z]"),
        ("i->i->i", [(2,)], "invalid subscript given at index 4 in the equation string, subscripts "
         "must be in [a-zA-Z]"),
        ("ii", [(2, 3)], "subscript i is repeated for operand 0 but the sizes don't match, 3 != 2"),
        ("i..", [(2, 3)], "found '.' for operand 0 that is not part of any ellipsis"),
        ("...i...", [(2, 3)], "found '.' for operand 0 for which an ellipsis was already found"),
    ],
)  # fmt: skip
def test_einsum_errors(equation: str, shapes: list[Shape], text: str) -> None:
    with raises(RuntimeError, "einsum(): " + text):
        tg.einsum(equation, *[leaf(*s) for s in shapes])


def test_einsum_argument_errors() -> None:
    nothing = (
        "einsum(): must specify the equation string and at least one operand, or at least one "
        "operand and its subscripts list"
    )
    for args in ((), ("ij",)):
        with raises(ValueError, nothing):
            tg.einsum(*args)
    with raises(TypeError, "expected Tensor as element 1 in argument 1, but got str"):
        tg.einsum("i,i", leaf(2), "a")
    text = "einsum(): subscript in subscript list is not within the valid range [0, 52)"
    with raises(ValueError, text):
        tg.einsum(leaf(2, 3), [0, 100])


# --------------------------------------------------------------------------- errors
F64, F32, I64, B = tg.float64, tg.float32, tg.int64, tg.bool


def ones(*shape: int, kind: Any = F64) -> Any:
    return tg.ones(*shape, dtype=kind)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: ones(2, 3) @ ones(2, 3), RuntimeError,
     "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    (lambda: ones(3) @ ones(4), RuntimeError,
     "inconsistent tensor size, expected tensor [3] and src [4] to have the same number of "
     "elements, but got 3 and 4 elements respectively"),
    (lambda: ones(2, 3) @ ones(4), RuntimeError,
     "size mismatch, got input (2), mat (2x3), vec (4)"),
    (lambda: ones(4) @ ones(2, 3), RuntimeError,
     "mat1 and mat2 shapes cannot be multiplied (1x4 and 2x3)"),
    (lambda: ones(2, 3, 4) @ ones(3, 5), RuntimeError,
     "mat1 and mat2 shapes cannot be multiplied (6x4 and 3x5)"),
    (lambda: ones(2, 3, 4) @ ones(5), RuntimeError,
     "size mismatch, got input (6), mat (6x4), vec (5)"),
    (lambda: ones(3) @ ones(2, 4, 2), RuntimeError,
     "size mismatch, got input (4), mat (4x4), vec (3)"),
    (lambda: ones(2, 3, 4) @ ones(3, 4, 2), RuntimeError,
     "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0"),
    (lambda: ones(2, 3, 4) @ ones(2, 3, 2), RuntimeError,
     "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3]."),
    (lambda: tg.matmul(tg.ones(()), ones(2)), RuntimeError,
     "both arguments to matmul need to be at least 1D, but they are 0D and 1D"),
    (lambda: tg.mm(ones(3), ones(3, 3)), RuntimeError, "self must be a matrix"),
    (lambda: tg.mm(ones(3, 3), ones(3)), RuntimeError, "mat2 must be a matrix"),
    (lambda: tg.bmm(ones(2, 3), ones(2, 3, 3)), RuntimeError, "batch1 must be a 3D tensor"),
    (lambda: tg.bmm(ones(2, 3, 3), ones(3, 3)), RuntimeError, "batch2 must be a 3D tensor"),
    (lambda: tg.bmm(ones(2, 3, 4), ones(3, 4, 3)), RuntimeError,
     "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [3, 4]."),
    (lambda: tg.mv(ones(3, 3), ones(3, 3)), RuntimeError,
     "vector + matrix @ vector expected, got 1, 2, 2"),
    (lambda: tg.dot(ones(2, 3), ones(3, 2)), RuntimeError,
     "1D tensors expected, but got 2D and 2D tensors"),
    (lambda: tg.dot(ones(2), ones(3)), RuntimeError,
     "inconsistent tensor size, expected tensor [2] and src [3] to have the same number of "
     "elements, but got 2 and 3 elements respectively"),
    (lambda: tg.outer(ones(2, 2), ones(3)), RuntimeError,
     "outer: Expected 1-D argument self, but got 2-D"),
    (lambda: tg.outer(ones(2), ones(2, 3)), RuntimeError,
     "outer: Expected 1-D argument vec2, but got 2-D"),
    (lambda: tg.inner(ones(2, 3), ones(2)), RuntimeError,
     "inner() the last dimension must match on both input tensors but got shapes [2, 3] and [2]"),
    (lambda: tg.inner(ones(2), ones(2, kind=F32)), RuntimeError,
     "both inputs should have same dtype"),
    (lambda: tg.addmm(ones(3), ones(2, 3), ones(3, 2)), RuntimeError,
     "The expanded size of the tensor (2) must match the existing size (3) at non-singleton "
     "dimension 1.  Target sizes: [2, 2].  Tensor sizes: [3]"),
    (lambda: tg.addmm(ones(2), ones(2, 3), ones(2, 2)), RuntimeError,
     "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x2)"),
    (lambda: tg.addmm(ones(2), ones(3), ones(2, 2)), RuntimeError,
     "mat1 must be a matrix, got 1-D tensor"),
    (lambda: tg.addmm(ones(1, 2, 2), ones(2, 3), ones(3, 2)), RuntimeError,
     "expand(torch.FloatTensor{[1, 2, 2]}, size=[2, 2]): the number of sizes provided (2) must be "
     "greater or equal to the number of dimensions in the tensor (3)"),
    (lambda: tg.addmm(ones(2), ones(2, 2), ones(2, 2, kind=F32)), RuntimeError,
     "self and mat2 must have the same dtype, but got Double and Float"),
    (lambda: tg.addmv(ones(3), ones(2, 3), ones(3)), RuntimeError,
     "size mismatch, got input (3), mat (2x3), vec (3)"),
    (lambda: tg.baddbmm(ones(5), ones(2, 3, 3), ones(2, 3, 2)), RuntimeError,
     "The expanded size of the tensor (2) must match the existing size (5) at non-singleton "
     "dimension 2.  Target sizes: [2, 3, 2].  Tensor sizes: [5]"),
    (lambda: tg.tensordot(ones(2, 3), ones(3, 4), 2), RuntimeError,
     "contracted dimensions need to match, but first has size 2 in dim -2 and second has size 3 in "
     "dim 0"),
    (lambda: tg.tensordot(ones(2, 3), ones(3, 4), 3), RuntimeError,
     "tensordot expects dims < ndim_a or ndim_b, but got dims=3"),
    (lambda: tg.tensordot(ones(2, 3), ones(3, 4), -1), RuntimeError,
     "tensordot expects dims >= 0, but got dims=-1"),
    (lambda: tg.tensordot(ones(2, 3), ones(3, 4), ([1], [0, 1])), RuntimeError,
     "both dimension lists should have same length"),
    (lambda: tg.tensordot(ones(2, 3), ones(3, 4), ([5], [0])), IndexError,
     "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    (lambda: tg.matrix_power(ones(2, 3), 2), RuntimeError,
     "linalg.matrix_power: A must be batches of square matrices, but they are 2 by 3 matrices"),
    (lambda: tg.matrix_power(ones(3), 2), RuntimeError,
     "linalg.matrix_power: The input tensor A must have at least 2 dimensions."),
    (lambda: ones(2, 2, kind=F32) @ ones(2, 2), RuntimeError,
     "expected m1 and m2 to have the same dtype, but got: float != double"),
    (lambda: ones(2, 2) @ ones(2, 2, kind=I64), RuntimeError,
     "expected m1 and m2 to have the same dtype, but got: double != long int"),
    (lambda: tg.dot(ones(2, kind=F32), ones(2)), RuntimeError,
     "dot : expected both vectors to have same dtype, but found Float and Double"),
    (lambda: tg.mv(ones(2, 2, kind=F32), ones(2)), RuntimeError,
     "addmv input tensors must have the same dtype, but got Double, Float, and Double"),
    (lambda: tg.bmm(ones(2, 2, 2, kind=F32), ones(2, 2, 2)), RuntimeError,
     "expected scalar type Float but found Double"),
    (lambda: ones(2, 2, kind=B) @ ones(2, 2, kind=B), NotImplementedError,
     "\"addmm_impl_cpu_\" not implemented for 'Bool'"),
    (lambda: ones(2, kind=B) @ ones(2, kind=B), NotImplementedError,
     "\"dot\" not implemented for 'Bool'"),
    (lambda: ones(2, 2) @ 3, TypeError, "unsupported operand type(s) for @: 'Tensor' and 'int'"),
    (lambda: 3 @ ones(2, 2), TypeError, "unsupported operand type(s) for @: 'int' and 'Tensor'"),
    (lambda: ones(2, 2) @ [1], TypeError, "unsupported operand type(s) for @: 'Tensor' and 'list'"),
    (lambda: tg.matmul(ones(2, 2), "a"), TypeError,
     "matmul(): argument 'other' (position 2) must be Tensor, not str"),
    (lambda: tg.mm([1], ones(2)), TypeError,
     "mm(): argument 'input' (position 1) must be Tensor, not list"),
    (lambda: tg.dot(ones(2), [3]), TypeError,
     "dot(): argument 'tensor' (position 2) must be Tensor, not list"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_are_torchs_and_record_nothing(number: int) -> None:
    call, kind, text = ERRORS[number]
    with raises(kind, text):
        call()


def test_an_ndarray_on_either_side() -> None:
    x, y = numbers(2, 3), numbers(3, 4)
    np.testing.assert_allclose(value(tg.tensor(x) @ y), x @ y)
    np.testing.assert_allclose(value(x @ tg.tensor(y)), x @ y)
