"""NumPy's functions called with Tensors: values and dtypes as NumPy's, derivatives by differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from scipy.optimize import check_grad, minimize

import tapegrad as tg
from tapegrad.numpy.ufuncs import UFUNCS

RNG = np.random.default_rng(0)
A, B = RNG.uniform(0.2, 0.9, (2, 3, 4))
V = RNG.uniform(0.2, 0.9, 4)
MASK = np.argsort(A, 1) > 1
WHOLE = (10 * A).astype(int) + 1


def parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def same(f: Callable[..., Any], *arrays: np.ndarray, of_arrays: bool = False) -> None:
    """Values, shapes and dtypes are NumPy's; results that are arrays there are Tensors.

    With `of_arrays`, those of constants may be arrays.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = parts(f(*arrays))
    found = parts(f(*map(tg.tensor, arrays)))
    assert len(found) == len(wanted)
    for x, y in zip(found, wanted, strict=True):
        if isinstance(y, np.ndarray | np.generic) and not isinstance(y, np.bool_):
            assert of_arrays or tg.is_tensor(x)
        array = np.asarray(x)
        assert (array.shape, array.dtype) == (np.shape(y), np.asarray(y).dtype)
        np.testing.assert_allclose(array, y, rtol=1e-13, atol=1e-15)


def check_derivative(f: Callable[..., Any], x: np.ndarray) -> None:
    """First and second derivatives by differences, where a result is differentiable."""

    def total(x: Any) -> Any:
        terms = [p for p in parts(f(x)) if tg.is_tensor(p) and p.requires_grad]
        return sum((t.reshape(-1) * (1 + 0.1 * tg.arange(t.numel()))).sum() for t in terms)

    leaf = tg.tensor(x, requires_grad=True)
    value = total(leaf)
    if not tg.is_tensor(value):
        return
    assert tg.autograd.gradcheck(total, (leaf,), atol=1e-6, rtol=1e-4)


# --------------------------------------------------------------------------- ufuncs
SMOOTH_AT = {"arccosh": 1 + A}
OF_WHOLE = ("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift")


def operands(ufunc: Any) -> list[np.ndarray]:
    name = ufunc.__name__
    if name in OF_WHOLE:
        return [WHOLE, WHOLE[::-1].copy()][: ufunc.nin]
    products = {
        "matmul": [A, B.T.copy()], "vecdot": [A, B], "matvec": [A, V], "vecmat": [A[:, 0].copy(), A]
    }  # fmt: skip
    if name in products:
        return products[name]
    return [SMOOTH_AT.get(name, A), B][: ufunc.nin]


@pytest.mark.parametrize("ufunc", list(UFUNCS), ids=lambda u: u.__name__)
def test_ufuncs(ufunc: Any) -> None:
    """On Tensors, with arrays and numbers on either side, of whole numbers too."""
    given = operands(ufunc)
    same(ufunc, *given)
    if ufunc.__name__ not in OF_WHOLE:
        check_derivative(lambda x: ufunc(x, *given[1:]), given[0])
    if ufunc.nin == 2 and ufunc.signature is None:
        other = WHOLE[0] if ufunc.__name__ in OF_WHOLE else V
        same(lambda x: ufunc(x, other), given[0])
        same(lambda x: ufunc(other, x), given[0])
        same(lambda x: ufunc(x, 2), given[0])
        same(lambda x: ufunc(2, x), given[0])
        same(lambda x: ufunc.outer(other, x), given[0])
        if ufunc.__name__ not in OF_WHOLE:
            check_derivative(lambda x: ufunc(other, x), given[-1])
    if ufunc is not np.reciprocal and ufunc.__name__ not in (
        "arcsin",
        "arccos",
        "arctanh",
        "matmul",
        "matvec",
        "vecmat",
    ):
        same(ufunc, *[WHOLE] * ufunc.nin)


@pytest.mark.parametrize("name", ["erf", "erfc", "expit", "logit", "xlogy"])
def test_special_functions(name: str) -> None:
    ufunc = getattr(scipy.special, name)
    given = [A, B][: ufunc.nin]
    for x, y in zip([ufunc(*map(tg.tensor, given))], [ufunc(*given)], strict=True):
        np.testing.assert_allclose(x.numpy(), y, rtol=1e-13)
    check_derivative(lambda x: ufunc(x, *given[1:]), A)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": 1},
        {"axis": None},
        {"axis": (0, 1)},
        {"keepdims": True},
        {"axis": 1, "initial": 0.5},
    ],
    ids=str,
)
def test_reduce(ufunc: Any, options: dict[str, Any]) -> None:
    same(lambda x: ufunc.reduce(x, **options), A)
    check_derivative(lambda x: ufunc.reduce(x, **options), A)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply])
def test_accumulate(ufunc: Any) -> None:
    same(lambda x: ufunc.accumulate(x), A)
    same(lambda x: ufunc.accumulate(x, axis=1), A)
    check_derivative(lambda x: ufunc.accumulate(x, axis=1), A)


# --------------------------------------------------------------------------- functions
REDUCTIONS = [
    "sum", "prod", "mean", "std", "var", "max", "min", "ptp", "any", "all", "argmax", "argmin", "median",
    "nansum", "nanmean", "count_nonzero", "average", "cumsum", "cumprod",
]  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    function = getattr(np, name)
    calls: list[Callable[..., Any]] = [
        function,
        lambda x: function(x, axis=1),
        lambda x: function(x, axis=-2),
    ]
    if not name.startswith("cum"):
        calls.append(lambda x: function(x, axis=0, keepdims=True))
        if not name.startswith("arg"):
            calls.append(lambda x: function(x, axis=(0, 1)))
    if name in ("sum", "prod", "mean", "std", "var", "nansum", "nanmean"):
        calls.append(lambda x: function(x, axis=1, where=MASK))
        calls.append(lambda x: function(x, dtype=np.float32) if name in ("sum", "prod") else x)
    if name in ("max", "min"):
        calls.append(lambda x: function(x, axis=1, where=MASK, initial=0.1))
    if name in ("std", "var"):
        calls.append(lambda x: function(x, axis=0, ddof=1))
    for call in calls:
        if call(A).dtype == np.float32:
            np.testing.assert_allclose(call(tg.tensor(A)).numpy(), call(A), rtol=1e-5)
            continue
        same(call, A)
        check_derivative(call, A)
    same(function, WHOLE)
    if name not in ("cumsum", "cumprod", "ptp"):
        same(function, A > 0.5)
    if name not in ("argmax", "argmin", "median", "average", "count_nonzero", "cumsum", "cumprod"):
        same(lambda x: function(x, axis=()), A)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "reshape": lambda x: np.reshape(x, (2, 6)),
    "reshape in Fortran's order": lambda x: np.reshape(x, (2, -1), order="F"),
    "ravel": np.ravel, "ravel in Fortran's order": lambda x: np.ravel(x, "F"), "transpose": np.transpose,
    "transpose axes": lambda x: np.transpose(x, (1, 0)), "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1), "expand_dims": lambda x: np.expand_dims(x, (0, 2)),
    "squeeze": lambda x: np.squeeze(x[None]), "squeeze axis": lambda x: np.squeeze(x[None], axis=0),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 4)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, V), "atleast_1d": np.atleast_1d,
    "atleast_2d": lambda x: np.atleast_2d(x[0]), "atleast_3d": np.atleast_3d, "flip": np.flip,
    "flip axis": lambda x: np.flip(x, 1), "flipud": np.flipud, "fliplr": np.fliplr,
    "rot90": np.rot90, "rot90 twice": lambda x: np.rot90(x, 2), "rot90 back": lambda x: np.rot90(x, -1),
    "roll": lambda x: np.roll(x, 2), "roll axes": lambda x: np.roll(x, (1, 2), axis=(0, 1)),
    "tile": lambda x: np.tile(x, (2, 1, 2)), "repeat": lambda x: np.repeat(x, 2),
    "repeat rows": lambda x: np.repeat(x, [1, 2, 3], axis=0),
    "meshgrid": lambda x: np.meshgrid(x[0], x[1]),
    "meshgrid ij": lambda x: np.meshgrid(x[0], x[:, 1], indexing="ij"),
    "diagonal": lambda x: np.diagonal(x, 1), "copy": np.copy,
    "concatenate": lambda x: np.concatenate([x, B]),
    "concatenate columns": lambda x: np.concatenate([x, B], axis=1),
    "concatenate flat": lambda x: np.concatenate([x, V], axis=None), "stack": lambda x: np.stack([B, x], -1),
    "vstack": lambda x: np.vstack([x, V]), "hstack": lambda x: np.hstack([x, B]),
    "dstack": lambda x: np.dstack([x, B]), "column_stack": lambda x: np.column_stack([x[0], V]),
    "append": lambda x: np.append(x, V), "array_split": lambda x: np.array_split(x, 3, axis=1),
    "split at": lambda x: np.split(x, [1, 3], axis=1), "split": lambda x: np.split(x, 2, axis=1),
    "vsplit": lambda x: np.vsplit(x, 3), "hsplit": lambda x: np.hsplit(x, 2), "pad": lambda x: np.pad(x, 1),
    "pad with": lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=3.0),
    "pad reflect": lambda x: np.pad(x, 2, mode="reflect"),
    "pad edge": lambda x: np.pad(x, (1, 2), mode="edge"),
    "pad wrap": lambda x: np.pad(x, 1, mode="wrap"), "where": lambda x: np.where(x > 0.5, x, 0.0),
    "where of arrays": lambda x: np.where(MASK, B, x), "where places": lambda x: np.where(x > 0.5),
    "nonzero": np.nonzero, "flatnonzero": np.flatnonzero, "argwhere": np.argwhere,
    "extract": lambda x: np.extract(MASK, x), "take": lambda x: np.take(x, [0, 2]),
    "take columns": lambda x: np.take(x, [[0, 2], [1, 1]], axis=1),
    "take row": lambda x: np.take(x, 1, axis=0),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(A, 1), 1), "sort": np.sort,
    "sort all": lambda x: np.sort(x, axis=None), "argsort": lambda x: np.argsort(x, 0),
    "clip": lambda x: np.clip(x, 0.3, 0.6), "clip above": lambda x: np.clip(x, None, 0.6),
    "clip arrays": lambda x: np.clip(x, B - 0.1, B + 0.1),
    "round": lambda x: np.round(x, 1), "around": np.around,
    "nan_to_num": np.nan_to_num, "diff": np.diff, "diff twice": lambda x: np.diff(x, 2, axis=0),
    "diff ends": lambda x: np.diff(x, prepend=0.0, append=x[:, :1]), "diag": lambda x: np.diag(x[0], 1),
    "diag of": np.diag, "trace": np.trace, "tril": np.tril, "triu": lambda x: np.triu(x, 1),
    "shape": np.shape,
    "ndim": np.ndim, "size": np.size, "size axis": lambda x: np.size(x, 1), "real": np.real, "imag": np.imag,
    "isclose": lambda x: np.isclose(x, A + 1e-9), "allclose": lambda x: np.allclose(x, A),
    "array_equal": lambda x: np.array_equal(x, A), "zeros_like": np.zeros_like,
    "ones_like": lambda x: np.ones_like(x, dtype=int),
    "full_like": lambda x: np.full_like(x, 2.0, shape=(2, 2)),
    "iscomplexobj": np.iscomplexobj, "isrealobj": np.isrealobj, "dot": lambda x: np.dot(x, V),
    "dot of matrices": lambda x: np.dot(x, B.T), "dot of many": lambda x: np.dot(x, np.ones((2, 4, 3))),
    "dot of a number": lambda x: np.dot(2.0, x), "vdot": lambda x: np.vdot(x, B),
    "inner": lambda x: np.inner(x, B), "outer": lambda x: np.outer(V, x),
    "tensordot": lambda x: np.tensordot(x, B, 2), "tensordot axes": lambda x: np.tensordot(x, B, axes=(1, 1)),
    "einsum": lambda x: np.einsum("ij,kj->ik", B, x), "kron": lambda x: np.kron(x, B),
    "cross": lambda x: np.cross(x[:, :3], B[:, :3]), "trapezoid": np.trapezoid,
    "trapezoid at": lambda x: np.trapezoid(x, x=np.arange(4.0) ** 2), "gradient": np.gradient,
    "gradient axis": lambda x: np.gradient(x, 2.0, axis=1),
    "gradient at": lambda x: np.gradient(x, np.arange(4.0) ** 2, axis=1), "norm": np.linalg.norm,
    "norm axis": lambda x: np.linalg.norm(x, axis=1),
    "norm order": lambda x: np.linalg.norm(x, 3, axis=0, keepdims=True),
    "norm largest": lambda x: np.linalg.norm(x, np.inf, axis=0),
    "norm of Frobenius": lambda x: np.linalg.norm(x, "fro"),
}  # fmt: skip


QUESTIONS = (
    "shape",
    "ndim",
    "size",
    "size axis",
    "allclose",
    "array_equal",
    "iscomplexobj",
    "isrealobj",
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    same(FUNCTIONS[name], A, of_arrays=name.startswith(("atleast", "copy", "broadcast_arrays")))
    check_derivative(FUNCTIONS[name], A)
    results = parts(FUNCTIONS[name](tg.tensor(A, requires_grad=True)))
    assert name in QUESTIONS or all(map(tg.is_tensor, results))


def test_transforms_and_compiled_functions() -> None:
    """NumPy's functions in a user's function are recorded as others are."""

    def f(x: Any) -> Any:
        y = np.tanh(np.dot(B, x)) * np.arange(3.0)
        return np.sum(np.where(y > 0.1, y, np.square(y))) + np.linalg.norm(np.concatenate([x, V]))

    gradient = tg.grad(f)(tg.tensor(V))
    for found in (tg.jit(tg.grad(f))(V), tg.func.vmap(tg.func.grad(f))(tg.tensor(V[None]))[0]):
        np.testing.assert_allclose(np.asarray(found), gradient.numpy(), rtol=1e-13)
    _, along = tg.func.jvp(f, (tg.tensor(V),), (tg.ones(4),))
    assert abs(along.item() - gradient.sum().item()) < 1e-12
    hessian = tg.hessian(f)(tg.tensor(V))
    np.testing.assert_allclose(hessian.numpy(), hessian.numpy().T, atol=1e-14)


# --------------------------------------------------------------------------- arrays as targets, refusals
def test_results_go_back_into_arrays() -> None:
    y = np.ones(4)
    y -= 0.1 * tg.grad(lambda x: (x * x).sum())(tg.tensor(V))
    assert type(y) is np.ndarray
    np.testing.assert_allclose(y, 1 - 0.2 * V)
    np.sin(tg.tensor(V), out=y)
    np.testing.assert_allclose(y, np.sin(V))
    np.sum(tg.tensor(A), axis=0, out=y)
    np.testing.assert_allclose(y, A.sum(0))
    assert np.abs(tg.tensor(-V)).max() < 1


def test_tensors_as_targets() -> None:
    x, target = tg.tensor(V, requires_grad=True), tg.zeros(4)
    result = np.multiply(x, 2.0, out=target)
    assert result is target
    result.sum().backward()
    assert x.grad.tolist() == [2.0] * 4
    kept = np.sin(x, out=tg.full((4,), 7.0), where=np.array([True, False, True, False]))
    np.testing.assert_allclose(kept.detach().numpy()[1::2], 7.0)


def test_what_is_not_there_is_computed_by_numpy_of_constants() -> None:
    x = tg.tensor(A)
    for f in (np.spacing, np.histogram, np.fft.fft):
        for found, right in zip(parts(f(x)), parts(f(A)), strict=True):
            np.testing.assert_allclose(found, right)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (np.histogram, "np.histogram of a Tensor: it is not there"),
        (np.spacing, "np.spacing of a Tensor: it has no derivative here"),
        (lambda x: np.add.reduceat(x, [0]), "np.add.reduceat of a Tensor"),
        (lambda x: np.add.at(x, [0], 1), "np.add.at of a Tensor"),
        (lambda x: np.sin(x, out=np.zeros(4)), "np.sin of a Tensor: an array cannot take"),
        (lambda x: np.zeros(4).__iadd__(x), "np.add of a Tensor: an array cannot take"),
        (lambda x: np.sin(x, where=V > 0.5), "where= needs out="),
        (lambda x: np.multiply(x, np.array(["a"])), "an operand of dtype <U1"),
        (lambda x: np.pad(x, 1, mode="mean"), "mode='mean' is not supported"),
        (lambda x: np.linalg.qr(x[None], "raw"), "mode='raw' is not supported"),
    ],
)
def test_refusals_name_what_is_not_there(call: Callable[..., Any], text: str) -> None:
    x = tg.tensor(V, requires_grad=True)
    count = len(tg.current_tape())
    with pytest.raises(tg.UnsupportedError, match=text.replace("(", r"\(")):
        call(x)
    assert len(tg.current_tape()) <= count + 2


def test_ways_out_of_the_tape_are_still_errors() -> None:
    x = tg.tensor(V, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"):
        np.asarray(x)
    with pytest.raises(tg.UnsupportedError, match="differentiated"):
        tg.grad(lambda x: np.asarray(x).sum() * x.sum())(tg.tensor(V))


def test_arrays_are_copied() -> None:
    x, a = tg.tensor(V, requires_grad=True), A[0].copy()
    y = np.sum(np.multiply(x, a)) + np.dot(a, x)
    a *= 10
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * A[0])


@pytest.mark.parametrize(
    "other", [WHOLE, A > 0.5, B.astype(np.float32)], ids=lambda a: a.dtype.name
)
@pytest.mark.parametrize(
    "product",
    [
        lambda x, y: np.dot(x, y.T), np.inner, np.outer, np.vdot, np.tensordot, np.kron,
        lambda x, y: np.einsum("ij,kj", x, y), lambda x, y: np.cross(x[:, :3], y[:, :3]),
        lambda x, y: np.matmul(x, y.T),
    ],
)  # fmt: skip
def test_products_of_several_dtypes(product: Callable[..., Any], other: np.ndarray) -> None:
    same(lambda x: product(x, other), A)
    same(lambda x: product(other, x), A)
    check_derivative(lambda x: product(other, x), A)


def test_code_that_asks_for_arrays_gets_them_of_constants() -> None:
    """SciPy and matplotlib do."""
    x = tg.tensor(V)
    assert all(type(f(x)) is np.ndarray for f in (np.atleast_1d, np.atleast_2d, np.copy))
    assert type(np.broadcast_arrays(np.array([None]), x)[1]) is np.ndarray
    assert tg.is_tensor(np.atleast_2d(x.clone().requires_grad_()))
    result = minimize(
        lambda x: np.sum((np.asarray(x) - V) ** 2), np.zeros(4), method="BFGS",
        jac=tg.grad(lambda x: ((x - V) ** 2).sum()),
    )  # fmt: skip
    np.testing.assert_allclose(result.x, V, atol=1e-6)
    assert check_grad(lambda x: np.sum(x**2), tg.grad(lambda x: np.sum(x**2)), V) < 1e-6


def test_subclasses_of_tensors() -> None:
    class Own(tg.Tensor):
        pass

    x = Own([1.0, 2.0])
    assert np.add(x, np.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert np.add(np.array([1.0, 2.0]), x).tolist() == [2.0, 4.0]
    assert np.negative(x).tolist() == [-1.0, -2.0]
