"""Ops of users: ufuncs of numba, NumPy and SciPy, kernels, and how they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import tapegrad as tg
from tapegrad import registered_ops
from tapegrad.numpy.ufuncs import UFUNCS
from tapegrad.ops.table import BY_CODE, TABLE

special = pytest.importorskip("scipy.special")


@numba.vectorize
def product_of_square(x, y):  # type: ignore[no-untyped-def]
    return x * x * y


@numba.vectorize(["float64(float64)"])
def wide_only(x):  # type: ignore[no-untyped-def]
    return x * np.sin(x)


@numba.guvectorize(["(float64[:],float64[:],float64[:])"], "(n),(n)->()")
def weighted(a, b, out):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * a[i] * b[i]
    out[0] = total


@numba.guvectorize(["(float64[:,:],float64[:],float64[:])"], "(m,n),(n)->(m)")
def matrix_vector(a, x, out):  # type: ignore[no-untyped-def]
    for i in range(a.shape[0]):
        out[i] = 0.0
        for j in range(a.shape[1]):
            out[i] += a[i, j] * x[j]


@numba.njit
def scalar_kernel(x, y, z):  # type: ignore[no-untyped-def]
    return x * y / z


@numba.njit
def five(a, b, c, d, e):  # type: ignore[no-untyped-def]
    return a * b * c + d * e


@pytest.fixture(autouse=True)
def _unregistered() -> Iterator[None]:
    """Leave the table as it was: names may be used again."""
    names, known = set(TABLE), dict(UFUNCS)
    yield
    for name in set(TABLE) - names:
        del TABLE[name]
        registered_ops._REGISTERED.pop(name, None)
    UFUNCS.clear()
    UFUNCS.update(known)


def _weighted_vjp(ct: Any, a: Any, b: Any, out: Any) -> Any:
    ct = ct.unsqueeze(-1)
    return ct * (2 * a * b), ct * (a * a)


def _matrix_vjp(ct: Any, a: Any, x: Any, out: Any) -> Any:
    return ct.unsqueeze(-1) * x.unsqueeze(-2), (a.transpose(-1, -2) @ ct.unsqueeze(-1)).squeeze(-1)


#: function, rule, the same in NumPy, and shapes of operands
OPS: dict[str, tuple[Any, Any, Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "vectorize": (
        product_of_square, lambda ct, x, y, out: (ct * (2 * x * y), ct * (x * x)),
        lambda x, y: x * x * y, ((2, 1), (3,)),
    ),
    "declared": (
        wide_only, lambda ct, x, out: ct * (x.sin() + x * x.cos()), lambda x: x * np.sin(x), ((3,),),
    ),
    "gufunc": (
        weighted, _weighted_vjp, lambda a, b: (a * a * b).sum(-1), ((2, 1, 3), (4, 3)),
    ),
    "matrix": (
        matrix_vector, _matrix_vjp, lambda a, x: np.einsum("...ij,...j->...i", a, x), ((2, 2, 3), (3,)),
    ),
    "kernel": (
        scalar_kernel, lambda ct, x, y, z, out: (ct * y / z, ct * x / z, -ct * out / z),
        lambda x, y, z: x * y / z, ((2,), (), (2,)),
    ),
    "many": (
        five, lambda ct, a, b, c, d, e, out: (ct * b * c, ct * a * c, ct * a * b, ct * e, ct * d),
        lambda a, b, c, d, e: a * b * c + d * e, ((2,), (), (2,), (1,), (2,)),
    ),
    "scipy": (
        special.exprel, lambda ct, x, out: ct * ((x.exp() - out) / x), special.exprel, ((3,),),
    ),
    "numpy": (np.spacing, lambda ct, x, out: 0 * ct, np.spacing, ((3,),)),
}  # fmt: skip


def _operands(shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.asarray(rng.uniform(0.5, 1.5, shape)) for shape in shapes]


@pytest.mark.parametrize("case", OPS)
def test_registered_ops_are_as_good_as_others(case: str, tmp_path: Path) -> None:
    function, vjp, plain, shapes = OPS[case]
    f = tg.register_op(function, vjp, name=f"user_{case}")
    arrays = _operands(shapes)
    leaves = [tg.tensor(x, requires_grad=True) for x in arrays]
    want = plain(*arrays)
    np.testing.assert_allclose(f(*leaves).detach().numpy(), want, rtol=1e-15)
    np.testing.assert_allclose(f(*arrays).numpy(), want, rtol=1e-15)
    if case != "numpy":
        assert tg.autograd.gradcheck(f, tuple(leaves))
        assert tg.autograd.gradcheck(
            f, tuple(leaves), check_forward_ad=True, check_batched_grad=True
        )
        assert tg.autograd.gradgradcheck(f, tuple(leaves))
    swept = tg.autograd.grad(f(*leaves).sum(), leaves)
    replayed = tg.autograd.grad(f(*leaves).sum(), leaves, create_graph=True)

    def total(*xs: Any) -> Any:
        return (f(*xs) * 1.5).sum()

    numbers = tuple(range(len(arrays)))
    jitted = tg.grad(tg.jit(total), argnums=numbers)(*arrays)
    for a, b, c in zip(swept, replayed, jitted, strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.numpy(), rtol=1e-13)
        np.testing.assert_allclose(np.asarray(c), 1.5 * a.numpy(), rtol=1e-13)
    batch = [np.stack([x, x + 0.25]) for x in arrays]
    lifted = tg.vmap(f)(*map(tg.tensor, batch))
    each = np.stack([plain(*[x[i] for x in batch]) for i in range(2)])
    np.testing.assert_allclose(lifted.numpy(), each, rtol=1e-15)
    tape = tg.trace(total)(*map(tg.tensor, arrays))
    tape.save(tmp_path / "tape.npz")
    loaded = tg.load_tape(tmp_path / "tape.npz")
    np.testing.assert_allclose(
        loaded(*map(tg.tensor, arrays)).numpy(), 1.5 * want.sum(), rtol=1e-14
    )


@pytest.mark.parametrize("case", ["vectorize", "declared", "gufunc", "scipy", "numpy"])
def test_numpys_protocol_finds_it(case: str) -> None:
    function, vjp, plain, shapes = OPS[case]
    tg.register_op(function, vjp, name=f"user_{case}")
    arrays = _operands(shapes)
    out = function(tg.tensor(arrays[0], requires_grad=True), *arrays[1:])
    assert out.requires_grad
    np.testing.assert_allclose(out.detach().numpy(), plain(*arrays), rtol=1e-15)


def test_the_rules_of_two_ops_may_use_each_other() -> None:
    e = tg.register_op(special.ellipe, lambda ct, m, out: ct * (out - k(m)) / (2 * m))
    k = tg.register_op(special.ellipk, lambda ct, m, out: ct * (e(m) / (1 - m) - out) / (2 * m))
    m = tg.tensor([0.2, 0.5], requires_grad=True)
    assert tg.autograd.gradcheck(k, (m,))
    assert tg.autograd.gradgradcheck(e, (m,))


def test_dtypes_are_those_of_the_loops() -> None:
    both = tg.register_op(product_of_square, name="both")
    wide = tg.register_op(wide_only)
    small = tg.ones(2, dtype=tg.float32)
    assert both(small, small).dtype is tg.float32
    assert both(small, 2).dtype is tg.float32
    assert wide(small).dtype is tg.float64  # as NumPy has it
    assert both(tg.arange(2), 1).dtype is tg.float64

    assert both(tg.ones(2, dtype=tg.float16), 1).dtype is tg.float32
    for z in (tg.tensor([1j]), np.array([1j])):
        with pytest.raises(
            NotImplementedError, match="\"wide_only\" not implemented for 'ComplexDouble'"
        ):
            wide(z)

    @numba.vectorize(["float32(float32)"])
    def narrow(x):  # type: ignore[no-untyped-def]
        return x

    with pytest.raises(TypeError, match="loop for float32 only"):
        tg.register_op(narrow)(tg.ones(2))

    @numba.vectorize(["boolean(float64)"])
    def is_small(x):  # type: ignore[no-untyped-def]
        return x < 1

    truths = tg.register_op(is_small)(tg.tensor([0.5, 2.0], requires_grad=True))
    assert truths.tolist() == [True, False]
    assert not truths.requires_grad


def test_without_a_rule_the_derivative_raises() -> None:
    f = tg.register_op(special.ellipkm1)
    x = tg.tensor([0.5, 0.6], requires_grad=True)
    y = f(x)
    assert y.requires_grad
    with pytest.raises(tg.UnsupportedError, match=r"ellipkm1: .* register it with vjp="):
        y.sum().backward()
    assert x.grad is None
    g = tg.register_op(product_of_square, lambda ct, x, y, out: (None, ct * x * x), name="half")
    a, b = tg.tensor(2.0, requires_grad=True), tg.tensor(3.0, requires_grad=True)
    assert tg.autograd.grad(g(a, b), b)[0].item() == 4
    with pytest.raises(
        tg.UnsupportedError, match="half: there is no derivative with respect to operand 0"
    ):
        tg.autograd.grad(g(a, b), a)
    with pytest.raises(tg.UnsupportedError, match="half"):
        tg.func.jvp(lambda v: g(v, b.detach()), (a.detach(),), (tg.ones(()),))[1].item()


def test_it_decorates() -> None:
    @tg.register_op(vjp=lambda ct, x, out: 2 * x * ct, domain=(-1, 1))
    @numba.vectorize
    def decorated(x):  # type: ignore[no-untyped-def]
        return x * x

    assert tg.grad(decorated)(3.0) == 6


def test_a_function_that_is_defined_again_takes_the_place_of_the_old_one() -> None:
    def define(factor: float) -> Any:
        @numba.vectorize
        def scaled(x):  # type: ignore[no-untyped-def]
            return factor * x

        return tg.register_op(scaled, lambda ct, x, out: factor * ct)

    x = tg.tensor(1.0, requires_grad=True)
    old, new = define(2.0), define(3.0)
    assert (new(x).item(), old(x).item()) == (3, 2)
    assert tg.autograd.grad(new(x), x)[0].item() == 3
    with pytest.raises(ValueError, match="there is an op 'scaled' already"):
        tg.register_op(special.ellipe, name="scaled")


# --------------------------------------------------------------------------- misuse
@numba.vectorize
def raises(x):  # type: ignore[no-untyped-def]
    if x < 0:
        raise ValueError("negative")
    return x


@numba.njit
def of_arrays(x):  # type: ignore[no-untyped-def]
    return x[0]


@numba.guvectorize("(n)->(n)")
def uncompiled(a, out):  # type: ignore[no-untyped-def]
    out[0] = a[0]


@numba.guvectorize(["(float64[:],float64[:])"], "(n)->(n)", writable_args=(0,))
def writes(a, out):  # type: ignore[no-untyped-def]
    a[0] = out[0] = 1.0


REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (lambda x: x, {}, TypeError, "a kernel that numba compiles, not function; decorate it"),
    (3, {}, TypeError, "not int"),
    (np.frompyfunc(lambda x: x, 1, 1), {"name": "objects"}, TypeError, r"O->O\); loops of objects run"),
    (np.vectorize(lambda x: x), {}, TypeError, "not vectorize; autograd.Function"),
    (np.gcd, {}, TypeError, "gcd has no loop from float64"),
    (np.sin, {}, ValueError, "sin is an op of tapegrad's already"),
    (special.gammaln, {}, ValueError, "gammaln is an op of tapegrad's already"),
    (special.ellipj, {}, TypeError, "ellipj has 4 results"),
    (special.ellipe, {"name": "sin"}, ValueError, "there is an op 'sin' already"),
    (special.ellipe, {"name": "a b"}, ValueError, "'a b' cannot be a name"),
    (special.ellipe, {"vjp": lambda ct, x: ct}, TypeError, r"of ellipe must take \(ct, x, out\).*\(ct, x\)"),
    (special.ellipe, {"vjp": 3}, TypeError, "'vjp' must be callable, not int"),
    (
        special.ellipe, {"vjp": lambda ct, x, out: ct * x, "domain": (0.1, 0.9)}, ValueError,
        "derivative of ellipe with respect to operand 0 is not that of differences",
    ),
    (raises, {}, ValueError, "raises may raise an error"),
    (of_arrays, {}, TypeError, "cannot be compiled as a function of 1 numbers"),
    (uncompiled, {}, TypeError, "compiled for nothing: give guvectorize its signatures"),
    (writes, {}, ValueError, "writes its operands"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "options", "error", "text"), REFUSED)
def test_what_is_no_op_is_refused_before_anything_changes(
    function: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    before = set(TABLE)
    with pytest.raises(error, match=text):
        tg.register_op(function, **options)
    assert set(TABLE) == before


@pytest.mark.parametrize(
    ("vjp", "error", "text"),
    [
        (lambda ct, x, y, out: ct, TypeError, "returned 1 cotangents, and it has 2 operands"),
        (
            lambda ct, x, y, out: (ct, 1.0),
            TypeError,
            "returned float for operand 1, and not a Tensor",
        ),
        (
            lambda ct, x, y, out: (ct, ct.sum() * tg.ones(7)),
            RuntimeError,
            r"shape \[7\] for operand 1",
        ),
        (lambda ct, x, y, out: (ct, ct.float()), TypeError, "float32 for operand 1"),
    ],
)
def test_results_of_rules_are_checked(vjp: Any, error: type[Exception], text: str) -> None:
    f = tg.register_op(product_of_square, vjp, name="wrong")
    x = tg.ones(2, requires_grad=True)
    with pytest.raises(error, match=text):
        f(x, x).sum().backward()
    assert x.grad is None


def test_operands_that_do_not_fit() -> None:
    f = tg.register_op(matrix_vector, _matrix_vjp)
    with pytest.raises(
        RuntimeError, match=r"dimension n of operand 1 is 2, and 3 elsewhere .*\[4, 3\], \[2\]"
    ):
        f(tg.ones(4, 3), tg.ones(2))
    with pytest.raises(RuntimeError, match="operand 0 has 1 dimensions, where its signature has 2"):
        f(tg.ones(3), tg.ones(3))
    with pytest.raises(TypeError, match=r"matrix_vector\(\) takes 2 operands, not 1"):
        f(tg.ones(3))
    assert f(tg.ones(0, 3), tg.ones(3)).shape == (0,)
    assert f(tg.ones(2, 0), tg.ones(0)).tolist() == [0, 0]


def test_too_many_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    from tapegrad.ops import registered

    monkeypatch.setattr(registered, "LAST_CODE", len(BY_CODE) - 1)
    with pytest.raises(RuntimeError, match="there is room for"):
        tg.register_op(special.bei)
    assert "bei" not in TABLE


def test_a_tape_with_an_op_that_is_not_there(tmp_path: Path) -> None:
    f = tg.register_op(special.ellipe, name="elsewhere")
    tg.trace(f)(tg.ones(2)).save(tmp_path / "tape.npz")
    del TABLE["elsewhere"]
    with pytest.raises(
        tg.TapeError, match=r"there is no op elsewhere; if it is one of tg\.register_op"
    ):
        tg.load_tape(tmp_path / "tape.npz")


def test_njit_names_it() -> None:
    f = tg.register_op(special.ellipe, name="inside")

    @tg.njit
    def user(x):  # type: ignore[no-untyped-def]
        return f(x)

    with pytest.raises(tg.UnsupportedError, match="inside: there is no derivative") as caught:
        user(tg.tensor(0.5, requires_grad=True))
    assert "egister it with vjp=" in str(caught.value)
    assert user(0.5) == special.ellipe(0.5)
