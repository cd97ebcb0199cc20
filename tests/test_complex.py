"""Complex numbers: values and gradients beside PyTorch's and by differences, in all modes; views of parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """A function of a library and tensors, and arguments."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]


def c(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def r(*shape: int) -> np.ndarray:
    return RNG.uniform(0.2, 0.9, shape)


CASES: list[Case] = []


def case(name: str, function: Callable[..., Any], *arguments: np.ndarray) -> None:
    CASES.append(Case(name, function, arguments))


for _name in (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sqrt", "rsqrt", "reciprocal", "square", "neg", "abs",
    "sgn", "conj", "angle", "sigmoid", "real", "imag", "view_as_real", "sum", "mean", "prod", "clone",
):  # fmt: skip
    case(_name, lambda T, x, name=_name: getattr(T, name)(x), c(2, 3))
for _name in ("add", "sub", "mul", "div", "pow"):
    case(_name, lambda T, x, y, name=_name: getattr(T, name)(x, y), c(2, 3), c(3))
    case(f"{_name} real", lambda T, x, y, name=_name: getattr(T, name)(x, y), c(3), r(3))
    case(f"real {_name}", lambda T, x, y, name=_name: getattr(T, name)(x, y), r(3), c(3))
for _name, _shapes in (
    ("matmul", ((2, 3), (3, 4))), ("matmul", ((3,), (3, 4))), ("matmul", ((2, 3), (3,))),
    ("matmul", ((2, 2, 3), (3, 4))), ("matmul", ((2, 3), (2, 3, 4))), ("dot", ((3,), (3,))),
    ("vdot", ((3,), (3,))), ("mm", ((2, 3), (3, 4))), ("bmm", ((2, 2, 3), (2, 3, 4))),
    ("outer", ((2,), (3,))), ("kron", ((2, 2), (2, 1))), ("inner", ((3,), (3,))),
):  # fmt: skip
    case(
        f"{_name} {_shapes}",
        lambda T, x, y, name=_name: getattr(T, name)(x, y),
        *[c(*s) for s in _shapes],
    )
case("powers", lambda T, x: x**2 + x ** (-1.5) + 2.0**x + x ** (1 + 3j), c(3))
case("numbers", lambda T, x: x * (2 - 3j) + 1j - x / 2j, c(3))
case("complex from real", lambda T, x: x + 1j * x * x, r(3))
case("complex", lambda T, x, y: T.complex(x, y), r(3), r(2, 3))
case("polar", lambda T, x, y: T.polar(x, y), r(3), r(3))
case("view_as_complex", lambda T, x: T.view_as_complex(x) * T.view_as_complex(x).conj(), r(3, 2))
case("addmm", lambda T, z, x, y: T.addmm(z, x, y, beta=0.5, alpha=2), c(2, 2), c(2, 3), c(3, 2))
case("einsum", lambda T, x, y: T.einsum("ij,jk->ik", x, y), c(2, 3), c(3, 2))
case("einsum of all", lambda T, x, y: T.einsum("ij,ij->", x, y), c(2, 3), c(2, 3))
case("tensordot", lambda T, x, y: T.tensordot(x, y, 1), c(2, 3), c(3, 2))
case("where", lambda T, x, y: T.where(T.tensor([True, False, True]), x, y), c(3), c(3))
case("index", lambda T, x: x[T.tensor([0, 2, 2])], c(3))
case("slice", lambda T, x: x[1:, ::2].T, c(3, 4))
case("cat", lambda T, x, y: T.cat([x, y]), c(3), r(2))
case("stack", lambda T, x, y: T.stack([x, y]), c(3), c(3))
case("flip", lambda T, x: x.flip(0).roll(1, 0), c(3))
case("tril", lambda T, x: x.tril() + 2 * x.triu(1), c(3, 3))
case("trace", lambda T, x: x.trace() + x.diagonal().sum(), c(3, 3))
case("diag", lambda T, x: T.diag(x), c(3))
case("adjoint", lambda T, x: x.mH @ x + x.H @ x, c(2, 3))
case("gather", lambda T, x: x.gather(0, T.tensor([[0, 1, 0]])), c(2, 3))
case("setitem", lambda T, x, y: _set(x.clone(), y), c(3), c(1))
case("write into parts", lambda T, x, y: _set_parts(x * 1, y), c(3), r(3))
case("parts of a transposed matrix", lambda T, x: x.t().imag ** 3 + x.t().real, c(2, 3))
case("parts of parts", lambda T, x: T.view_as_real(x.t())[1:, :, 0] * x.imag[:, 1:].t(), c(2, 3))
case("parts", lambda T, x: (x.real**2 + x.imag**3).sum(), c(3))
case("masked_fill", lambda T, x: x.masked_fill(T.tensor([True, False, True]), 1 + 2j), c(3))
case("scatter_add", lambda T, x, y: x.scatter_add(0, T.tensor([0, 1, 0]), y), c(3), c(3))
case("index_add", lambda T, x, y: x.index_add(0, T.tensor([0, 1, 0]), y), c(3), c(3))
case("index_put", lambda T, x, y: x.index_put((T.tensor([0, 0]),), y, accumulate=True), c(3), c(2))
case("repeat", lambda T, x: x.repeat(2, 1) + x.expand(4, 3)[:2], c(3))
case("lerp", lambda T, x, y: T.lerp(x, y, 0.3) + T.lerp(x, y, 0.8), c(3), c(3))
case("lerp by a tensor", lambda T, x, y, w: T.lerp(x, y, w), c(3), c(3), c(3))
case("logsumexp", lambda T, x: T.logsumexp(x, 1) + T.logsumexp(x, (0, 1)), c(2, 3))
case("addcmul", lambda T, x, y, z: T.addcmul(x, y, z, value=2), c(3), c(3), c(3))
case("addcdiv", lambda T, x, y, z: T.addcdiv(x, y, z, value=2), c(3), c(3), c(3))
case("norm", lambda T, x: T.norm(x) + x.var() + x.std(0).sum(), c(3, 2))
case("cumsum", lambda T, x: x.cumsum(0), c(3))
case("cumprod", lambda T, x: x.cumprod(0), c(3))
case("reductions", lambda T, x: x.sum(0) + x.mean(0, keepdim=True) * x.prod(0), c(2, 3))
case("log of the square", lambda T, x: (x * x.conj()).real.log(), c(3))
case("cross", lambda T, x, y: T.cross(x, y, dim=0), c(3), c(3))
case("diff", lambda T, x: x.diff(), c(3))
case("softmax of abs", lambda T, x: x.abs().softmax(0) * x, c(3))

ids = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


def _set(z: Any, y: Any) -> Any:
    z[:1] = y
    return z


def _set_parts(z: Any, y: Any) -> Any:
    z.real.mul_(2.0)
    z.imag.add_(y)
    return z


def loss(T: Any, y: Any) -> Any:
    """A real number that both parts count in."""
    if not y.dtype.is_complex:
        return (y * 1.3).sum()
    return (y.real * 0.7 - y.imag * 1.1).sum()


def orders(T: Any, case: Case) -> list[list[np.ndarray]]:
    """Values, and first and second gradients, as arrays."""
    xs = [T.tensor(a, requires_grad=True) for a in case.arguments]
    y = case.function(T, *xs)
    first = T.autograd.grad(loss(T, y), xs, create_graph=True)
    parts = [loss(T, g * g) for g in first if g.requires_grad]
    second: Any = [None] * len(xs)
    if parts:
        second = T.autograd.grad(sum(parts), xs, allow_unused=True)
    zeros = [T.zeros_like(x) for x in xs]
    second = [z if g is None else g for g, z in zip(second, zeros, strict=True)]
    return [[t.detach().resolve_conj().numpy() for t in ts] for ts in ([y], first, second)]


@needs_torch
@ids
def test_values_and_gradients_to_order_2_are_torchs(case: Case) -> None:
    for found, wanted in zip(orders(tg, case), orders(torch, case), strict=True):
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@ids
def test_gradients_are_differences_in_both_modes_and_the_next_order(case: Case) -> None:
    xs = tuple([tg.tensor(a, requires_grad=True) for a in case.arguments])

    def f(*args: Any) -> Any:
        return case.function(tg, *args)

    batched = "setitem" not in case.name and "write" not in case.name
    assert tg.autograd.gradcheck(f, xs, check_forward_ad=True, check_batched_grad=batched)
    assert tg.autograd.gradgradcheck(f, xs)


@ids
def test_vmap_and_jit_give_what_eager_code_gives(case: Case) -> None:
    xs = [tg.tensor(a) for a in case.arguments]

    def f(*args: Any) -> Any:
        return case.function(tg, *args)

    value = f(*xs).numpy()
    np.testing.assert_allclose(tg.jit(f)(*xs).numpy(), value, rtol=1e-12, atol=1e-13)

    def g(*args: Any) -> Any:
        return loss(tg, f(*args))

    gradient = tg.grad(g, argnums=tuple(range(len(xs))))
    for a, b in zip(tg.jit(gradient)(*xs), gradient(*xs), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)
    if case.name in ("setitem", "write into parts"):
        return
    batch = [tg.stack([x, x * 0.5 + 0.1]) for x in xs]
    slices = [f(*[x[i] for x in batch]).numpy() for i in range(2)]
    np.testing.assert_allclose(tg.vmap(f)(*batch).numpy(), slices, rtol=1e-12, atol=1e-13)


@ids
def test_single_precision_is_double_rounded(case: Case) -> None:
    small = {np.dtype(np.complex128): np.complex64, np.dtype(np.float64): np.float32}
    xs = [tg.tensor(a) for a in case.arguments]
    narrow = [tg.tensor(a.astype(small[a.dtype])) for a in case.arguments]
    value, result = case.function(tg, *xs).numpy(), case.function(tg, *narrow).numpy()
    assert result.dtype == small[value.dtype]
    np.testing.assert_allclose(result, value, rtol=2e-4, atol=1e-4)


def test_a_jacobian_of_parts_takes_no_lanes() -> None:
    x = tg.tensor(c(3), requires_grad=True)
    y = x * x
    seeds = tg.eye(3, dtype=tg.complex128)
    (rows,) = tg.autograd.grad(y, x, seeds, is_grads_batched=True)
    np.testing.assert_allclose(rows.numpy(), np.diag(2 * x.detach().numpy().conj()))


def test_parts_are_views() -> None:
    z = tg.tensor([1 + 2j, 3 - 1j])
    z.real[0] = 5.0
    tg.view_as_real(z)[1, 1] = 7.0
    assert z.tolist() == [5 + 2j, 3 + 7j]
    pairs = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    tg.view_as_complex(pairs)[0] = 1j
    assert pairs.tolist() == [[0.0, 1.0], [3.0, 4.0]]
    assert tg.tensor([1.0]).real.tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("grad can be implicitly created only for real scalar outputs but got torch.complex128",
         lambda: tg.tensor([1j], requires_grad=True).sum().backward()),
        ("imag is not implemented for tensors with non-complex dtypes.", lambda: tg.ones(2).imag),
        ("view_as_real is only supported for complex tensors", lambda: tg.view_as_real(tg.ones(2))),
        ("Tensor must have a last dimension of size 2", lambda: tg.view_as_complex(tg.ones(3))),
        ("\"lt\" not implemented for 'ComplexDouble'", lambda: tg.tensor([1j]) < 1),
        ("\"maximum\" not implemented for 'ComplexDouble'", lambda: tg.maximum(tg.tensor(1j), tg.tensor(1j))),
        ("value cannot be converted to type double without overflow", lambda: float(tg.tensor(1 + 2j))),
        ("value cannot be converted to type double without overflow", lambda: tg.ones(2).fill_(3j)),
        ("value cannot be converted to type double without overflow", lambda: tg.ones(2).add_(3j)),
        ("result type ComplexDouble can't be cast to the desired output type Double",
         lambda: tg.ones(2).mul_(tg.tensor([1j, 2]))),
        ("Expected both inputs to be Half, Float or Double tensors but got Long and Long",
         lambda: tg.complex(tg.tensor([1]), tg.tensor([2]))),
    ],
)  # fmt: skip
def test_refusals(text: str, call: Callable[[], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match="^" + text.replace(".", r"\.")):
        call()


def test_conversions_to_real_numbers_warn() -> None:
    z = tg.tensor([1 + 2j], requires_grad=True)
    with pytest.warns(
        UserWarning, match="^Casting complex values to real discards the imaginary part$"
    ):
        z.double().sum().backward()
    assert z.grad.tolist() == [1 + 0j]


def test_texts() -> None:
    assert repr(tg.tensor([1 + 2j, 3.5 - 1j])) == "tensor([1.0000+2.j, 3.5000-1.j])"
    assert repr(tg.tensor([1j], requires_grad=True)) == "tensor([0.+1.j], requires_grad=True)"
    assert repr(tg.tensor([1j], dtype=tg.complex64)) == "tensor([0.+1.j], dtype=torch.complex64)"
    assert repr(tg.tensor([1e10 + 2j, -3.0])) == "tensor([ 1.0000e+10+2.j, -3.0000e+00+0.j])"
    assert repr(tg.tensor([complex("nan"), complex(1, -np.inf)])) == "tensor([nan+0.j, 1.-infj])"


def test_dtypes_that_numbers_and_tensors_promote_to() -> None:
    assert (tg.tensor([1, 2]) * 1j).dtype is tg.complex128
    assert (tg.ones(2, dtype=tg.float32) * 1j).dtype is tg.complex64
    assert (tg.ones(2, dtype=tg.complex64) + tg.ones(2)).dtype is tg.complex128
    assert (tg.ones(2, dtype=tg.complex64) * tg.tensor(2.0)).dtype is tg.complex64
    assert tg.tensor([1, 2.0, 3j]).dtype is tg.complex128
    assert tg.full((2,), 1 + 2j).tolist() == [1 + 2j, 1 + 2j]


def test_the_gradient_of_a_real_operand_is_real() -> None:
    x = tg.tensor([0.5, 1.5], requires_grad=True)
    (x * (2 + 3j)).imag.sum().backward()
    assert x.grad.dtype is tg.float64
    assert x.grad.tolist() == [3.0, 3.0]


# --------------------------------------------------------------------------- small dtypes
SMALL = [tg.int32, tg.int16, tg.int8, tg.uint8, tg.float16]


@pytest.mark.parametrize("kind", SMALL, ids=str)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_small_dtypes_are_data(kind: Any) -> None:
    array = np.array([[3, 1, 2], [5, 0, 7]], kind.np)
    t = tg.tensor(array)
    assert t.dtype is kind
    assert (tg.from_numpy(array).numpy() == array).all()
    assert t[1, 2].item() == 7
    for other in (*SMALL, tg.float64, tg.float32, tg.int64, tg.bool, tg.complex64, tg.complex128):
        np.testing.assert_array_equal(t.to(other).numpy(), array.astype(other.np))
        np.testing.assert_array_equal(tg.tensor(array.astype(other.np)).to(kind).numpy(),
                                      array.astype(other.np).real.astype(kind.np))  # fmt: skip
    np.testing.assert_array_equal((t + t).numpy(), array + array)
    np.testing.assert_array_equal(t.T[::2].clone().numpy(), array.T[::2])
    np.testing.assert_array_equal(tg.cat([t, t]).numpy(), np.concatenate([array, array]))
    np.testing.assert_array_equal(t[:, tg.tensor([2, 0])].numpy(), array[:, [2, 0]])
    x = tg.ones(2, 3, requires_grad=True)
    (x * t).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), array.astype(float))
    np.testing.assert_array_equal(
        tg.jit(lambda a, b: a * b)(x.detach(), t).numpy(), array.astype(float)
    )
    with pytest.raises(RuntimeError, match="Only Tensors of floating point and complex dtype"):
        tg.tensor(array, requires_grad=True)


@pytest.mark.parametrize("kind", [tg.int32, tg.int16, tg.int8, tg.uint8], ids=str)
def test_small_whole_numbers_compute(kind: Any) -> None:
    array = np.array([3, 1, 2, 5], kind.np)
    t = tg.tensor(array)
    assert t.sum().dtype is tg.int64
    assert t.exp().dtype is tg.get_default_dtype()
    np.testing.assert_array_equal((t**2).numpy(), array**2)
    np.testing.assert_array_equal(t.sort().values.numpy(), np.sort(array))
    assert (t.max().item(), t.min().item(), t.argmax().item()) == (5, 1, 3)
    index = tg.tensor([1, 0], dtype=kind)
    if kind is not tg.uint8:
        assert tg.arange(3.0)[index].tolist() == [1.0, 0.0]


def test_halves_are_rounded_as_numpy_rounds() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(tg.tensor(halves).double().numpy(), halves.astype(np.float64))
    numbers = RNG.standard_normal(10000) * 10.0 ** RNG.integers(-9, 6, 10000)
    with np.errstate(over="ignore"):
        wanted = numbers.astype(np.float16)
    found = tg.tensor(numbers).half().numpy()
    np.testing.assert_array_equal(found.view(np.uint16), wanted.view(np.uint16))


class Product(tg.autograd.Function):
    """``x * x * y`` and ``|x|``, of complex ``x`` and real ``y``."""

    @staticmethod
    def forward(ctx: Any, x: tg.Tensor, y: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        ctx.save_for_backward(x, y)
        return x * x * y, x.abs()

    @staticmethod
    def backward(ctx: Any, ct: tg.Tensor, of_size: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        x, y = ctx.saved_tensors
        return ct * (2 * x * y).conj() + of_size * x / x.abs(), (ct * (x * x).conj()).real


def test_functions_of_ones_own_take_complex_numbers() -> None:
    x = tg.tensor([0.3 + 1j, -2 + 0.5j], requires_grad=True)
    y = tg.tensor([0.7, -1.3], requires_grad=True)
    assert tg.autograd.gradcheck(Product.apply, (x, y))
    assert tg.autograd.gradgradcheck(Product.apply, (x, y))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_take_complex_numbers(reentrant: bool) -> None:
    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return (x * y).exp()

    x = tg.tensor([0.3 + 1j, -2 + 0.5j], requires_grad=True)
    y = tg.tensor([0.7, -1.3], requires_grad=True)
    tg.utils.checkpoint.checkpoint(f, x, y, use_reentrant=reentrant).imag.sum().backward()
    for leaf, expected in zip((x, y), tg.autograd.grad(f(x, y).imag.sum(), (x, y)), strict=True):
        np.testing.assert_allclose(leaf.grad.numpy(), expected.numpy(), rtol=1e-14)


def test_hooks_for_saved_tensors_take_complex_numbers() -> None:
    x = tg.tensor([0.3 + 1j, -2 + 0.5j], requires_grad=True)
    with tg.autograd.graph.saved_tensors_hooks(lambda t: t.detach().numpy(), tg.tensor):
        y = (x * x).exp().imag.sum()
    (expected,) = tg.autograd.grad((x * x).exp().imag.sum(), x)
    np.testing.assert_allclose(tg.autograd.grad(y, x)[0].numpy(), expected.numpy(), rtol=1e-14)


def test_closeness_is_that_of_both_parts() -> None:
    numbers = np.array([1 + 2j, 1 + 2j, 1, complex(0, np.nan), complex(np.inf, 1)])
    others = np.array([1 - 2j, 1 + 2j, 1 + 1e-9j, complex(np.nan, 0), complex(np.inf, 1)])
    for equal_nan in (False, True):
        expected = np.isclose(numbers, others, equal_nan=equal_nan)
        close = tg.isclose(tg.tensor(numbers), tg.tensor(others), equal_nan=equal_nan)
        np.testing.assert_array_equal(close.numpy(), expected)
    assert not tg.allclose(tg.tensor([1j]), tg.tensor([-1j]))


def test_nansum_is_of_real_numbers() -> None:
    with pytest.raises(RuntimeError, match="nansum on CPU does not support complex inputs"):
        tg.nansum(tg.tensor([1j, complex(0, np.nan)]))


@pytest.mark.parametrize(
    "transform", [tg.func.jacrev, tg.func.jacfwd, tg.func.hessian, tg.jacobian, tg.hessian]
)
def test_jacobians_of_complex_numbers_are_refused(transform: Callable[..., Any]) -> None:
    """A complex block would hold half of the derivatives: jacrev and jacfwd gave different ones."""
    with pytest.raises(RuntimeError, match="Expected all inputs to be real"):
        transform(lambda z: (z * z).abs().sum())(tg.tensor([1 + 2j]))
    with pytest.raises(RuntimeError, match="Expected all outputs to be real"):
        transform(lambda x: (x * x * (1 + 2j)).sum())(tg.tensor([1.0]))
    parts = tg.view_as_real(tg.tensor([1 + 2j]))
    transform(lambda parts: tg.view_as_complex(parts).abs().sum())(parts)
