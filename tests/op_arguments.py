"""Arguments of ops that are not elementwise, by name of the row: `SAMPLES`.

Each entry is a function ``(rng, dtype) -> [(args, kwargs), ...]``, for the function of PyTorch's name. Values
of reductions are apart from each other and from 0, so that finite differences see no kink. Elementwise ops
need none: op_samples.py draws their operands from the row's `domain`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from special_arguments import SPECIAL

Example = tuple[tuple[Any, ...], dict[str, Any]]
Sample = Callable[[np.random.Generator, Any], list[Example]]


# --------------------------------------------------------------------------- reductions and scans
def _values(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """Numbers of both signs, about a unit in size, no two nearer than their number allows."""
    size = int(np.prod(shape))
    steps = rng.permutation(size) - (size - 1) / 2
    steps = np.where(steps == 0, 0.25, steps)
    spread: np.ndarray = (steps / max(size / 2, 1) * 1.7).reshape(shape)
    return spread.astype(dtype)


def full(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Everything is reduced."""
    return [((_values(rng, dtype, *s),), {}) for s in ((), (1,), (5,), (2, 3), (2, 1, 3))]


def along(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One or several dimensions, kept or not."""
    return [
        ((_values(rng, dtype, 4), 0), {}),
        ((_values(rng, dtype, 3, 2), 1), {"keepdim": True}),
        ((_values(rng, dtype, 3, 2), -1), {}),
        ((_values(rng, dtype, 2, 3, 2), (0, 2)), {}),
        ((_values(rng, dtype, 2, 3, 2), (1,)), {}),
        ((_values(rng, dtype, 0, 3), 1), {}),
        ((_values(rng, dtype), 0), {}),
    ]


def dims_only(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Without ``keepdim``."""
    return [((_values(rng, dtype, 3, 2),), {"dim": d}) for d in (0, (0, 1), None)]


def one_dim(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension, kept or not; with zeros."""
    zeros = _values(rng, dtype, 3, 3)
    zeros[0, 1] = zeros[1, 1] = zeros[2, 2] = 0
    return [
        ((_values(rng, dtype, 3, 2), 1), {}),
        ((_values(rng, dtype, 3, 2), 0), {"keepdim": True}),
        ((zeros, 0), {}),
        ((_values(rng, dtype), -1), {}),
    ]


def variance(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """With the options of ``var``."""
    return [
        ((_values(rng, dtype, 4),), {}),
        ((_values(rng, dtype, 3, 2),), {"unbiased": False}),
        ((_values(rng, dtype, 3, 2), 0), {"keepdim": True}),
        ((_values(rng, dtype, 2, 3, 2), (0, 2)), {"correction": 0.5}),
    ]


def norm(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Orders, with and without dimensions."""
    inf = float("inf")
    return [
        ((_values(rng, dtype, 2, 3) + dtype(0.07), *options), {})
        for options in ((), (1,), (2, 0), (3, 1, True), (inf,), (-inf, 0), (1.5, (0, 1)), (0.5,))
    ]


def dist(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Two tensors that broadcast."""
    return [
        ((_values(rng, dtype, 2, 3), _values(rng, dtype, 3) * dtype(0.31) + dtype(0.11), p), {})
        for p in (2, 1, 3, float("inf"))
    ]


def matrix(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Matrices of several proportions."""
    return [((_values(rng, dtype, *s),), {}) for s in ((3, 3), (2, 4), (3, 1), (0, 2))]


def scan(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension, named by number."""
    return [
        ((_values(rng, dtype, 5), 0), {}),
        ((_values(rng, dtype, 3, 2), 0), {}),
        ((_values(rng, dtype, 2, 1, 3), -1), {}),
        ((_values(rng, dtype), 0), {}),
        ((_values(rng, dtype, 0, 2), 0), {}),
    ]


def ordered(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension of values without ties."""
    return [
        ((_values(rng, dtype, 5), 0), {}),
        ((_values(rng, dtype, 3, 4), 0), {}),
        ((_values(rng, dtype, 2, 3, 2), -2), {}),
    ]


def top(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Draw for ``topk``: a number of values along a dimension."""
    return [
        ((_values(rng, dtype, 5), 2), {}),
        ((_values(rng, dtype, 3, 4), 2, 0), {"largest": False}),
    ]


# --------------------------------------------------------------------------- products
def pairs(*shapes: tuple[tuple[int, ...], ...]) -> Sample:
    """Make samples of operands of these shapes."""

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        return [(tuple(rng.standard_normal(s).astype(dtype) for s in pair), {}) for pair in shapes]

    return sample


def triples(*shapes: tuple[tuple[int, ...], ...]) -> Sample:
    """Make samples ``(z, x, y)`` with and without factors."""
    plain = pairs(*shapes)

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        factors = {"beta": 0.5, "alpha": -2}
        return [*plain(rng, dtype), *((args, factors) for args, _ in plain(rng, dtype))]

    return sample


# --------------------------------------------------------------------------- elements that move
def _draw(rng: np.random.Generator, dtype: Any, *shapes: tuple[int, ...]) -> list[Any]:
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def cat(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Operands that differ along one dimension."""
    return [
        ((_draw(rng, dtype, (2, 3), (1, 3), (0, 3)),), {}),
        ((_draw(rng, dtype, (2, 3), (2, 1)), 1), {}),
        ((_draw(rng, dtype, (2, 3, 2), (2, 3, 2)), -1), {}),
        ((_draw(rng, dtype, (4,)),), {}),
    ]


def stack(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Operands of one shape."""
    return [
        ((_draw(rng, dtype, (2, 3), (2, 3)),), {}),
        ((_draw(rng, dtype, (2, 3), (2, 3), (2, 3)), -1), {}),
        ((_draw(rng, dtype, (), ()),), {"dim": 0}),
        ((_draw(rng, dtype, (0, 2), (0, 2)), 1), {}),
    ]


def unary(*cases: tuple[tuple[int, ...], tuple[Any, ...]]) -> Sample:
    """Make samples of a function of one array and plain arguments."""

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        return [((*_draw(rng, dtype, shape), *given), {}) for shape, given in cases]

    return sample


def indexed(*cases: tuple[tuple[int, ...], tuple[Any, ...]]) -> Sample:
    """Make samples ``f(x, *given)``; a list stands for an array of that shape."""

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        def draw(value: Any) -> Any:
            if isinstance(value, list):
                return rng.standard_normal(value).astype(dtype)
            return value.copy() if isinstance(value, np.ndarray) else value

        return [((draw([*shape]), *map(draw, given)), {}) for shape, given in cases]

    return sample


# --------------------------------------------------------------------------- linear algebra
def regular(*cases: tuple[tuple[int, ...], ...], **options: Any) -> Sample:
    """Make samples of a well-conditioned matrix (or a batch) and other operands."""

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        examples = []
        for shape, *others in cases:
            a = rng.standard_normal(shape) + 2.5 * np.eye(*shape[-2:])
            rest = [rng.standard_normal(s).astype(dtype) for s in others]
            examples.append(((a.astype(dtype), *rest), dict(options)))
        return examples

    return sample


def both(*samples: Sample) -> Sample:
    """Make the samples of several functions of this file."""
    return lambda rng, dtype: [example for sample in samples for example in sample(rng, dtype)]


#: rows -> what makes of a function that takes symmetric matrices, or has several results, or such as are
#: determined up to signs, one of any matrices with one result
PREPARED: dict[str, Callable[[Any], Any]] = {
    "linalg_cholesky": lambda f: lambda x: f(x @ x.mT),
    **dict.fromkeys(  # whose eigenvalues have positive real parts
        ("linalg_logm", "linalg_sqrtm"), lambda f: lambda x: f(x @ x.mT + 0.3 * (x - x.mT))
    ),
    "linalg_lu_factor": lambda f: lambda x: f(x)[0],
    "linalg_eigh_values": lambda f: lambda x: f(x + x.mT)[0],
    "linalg_eigh_vectors": lambda f: lambda x: f(x + x.mT)[1] ** 2,
    "linalg_svd_u": lambda f: lambda x, *full: f(x, *full)[0][..., : min(x.shape[-2:])] ** 2,
    "linalg_svd_s": lambda f: lambda x, *full: f(x, *full)[1],
    "linalg_svd_vh": lambda f: lambda x, *full: f(x, *full)[2][..., : min(x.shape[-2:]), :] ** 2,
    "linalg_qr_q": lambda f: lambda x: f(x)[0],
    "linalg_qr_r": lambda f: lambda x: f(x)[1],
    "linalg_slogdet": lambda f: lambda x: f(x)[1],
    "linalg_lstsq": lambda f: lambda x, y: f(x, y)[0],
}

_I = np.array
_PICK = _I([[0, 1, 0], [1, 1, 0]])

# --------------------------------------------------------------------------- by name
SAMPLES: dict[str, Sample] = {
    # reductions
    **dict.fromkeys(("sum_all", "mean_all", "prod_all", "max_all", "min_all", "median_all"), full),
    **dict.fromkeys(
        ("sum", "mean", "nansum", "all", "any", "amax", "amin", "logsumexp"), along
    ),
    "prod": one_dim,
    "count_nonzero": dims_only,
    "trace": matrix,
    **dict.fromkeys(("var", "var_mean", "std", "std_mean"), variance),
    "norm": norm,
    "dist": dist,
    # scans, sorting
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "softmax", "log_softmax"), scan),
    **dict.fromkeys(
        ("argmax", "argmin", "argsort", "pick_max", "pick_min", "pick_median", "pick_sort"), ordered
    ),
    "pick_topk": top,
    # products
    "dot": pairs(((3,), (3,)), ((1,), (1,)), ((0,), (0,))),
    "vdot": pairs(((3,), (3,)), ((0,), (0,))),
    "mv": pairs(((2, 3), (3,)), ((1, 1), (1,)), ((2, 0), (0,)), ((0, 3), (3,))),
    "vecmat": pairs(((3,), (3, 2)), ((0,), (0, 2)), ((1,), (1, 0))),
    "mm": pairs(
        ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((2, 1), (1, 2))
    ),
    "bmm": pairs(
        ((2, 2, 3), (2, 3, 4)), ((1, 2, 2), (1, 2, 2)), ((0, 2, 3), (0, 3, 2)),
        ((2, 2, 0), (2, 0, 3)),
    ),
    "matmul": pairs(
        ((2, 2, 3), (3, 4)), ((2, 2, 3), (3,)), ((3,), (2, 3, 2)), ((2, 2, 3), (2, 3, 2)),
        ((2, 1, 2, 3), (3, 3, 2)), ((1, 2, 3), (2, 3, 2)), ((0, 2, 3), (3, 2)),
        ((0, 2, 3), (3,)), ((2, 2, 0), (0, 3)), ((3,), (0, 3, 2)),
    ),
    "matmul_left": pairs(((2, 3), (2, 3, 4)), ((1, 2, 3), (2, 3, 2))),
    "addmm": triples(((2, 2), (2, 3), (3, 2)), ((2,), (3, 0), (0, 2)), ((), (1, 2), (2, 3))),
    "addmv": triples(((2,), (2, 3), (3,)), ((), (2, 3), (3,))),
    "baddbmm": triples(((2, 2, 2), (2, 2, 3), (2, 3, 2)), ((2,), (2, 1, 3), (2, 3, 2))),
    # linear algebra
    "linalg_solve": regular(
        ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 2), (3, 2, 1)), ((2, 1, 2, 2), (3, 2, 2)), ((0, 0), (0, 2)),
        ((2, 2), (2, 0)), ((0, 2, 2), (2, 2)), ((1, 1), (1,)),
    ),
    "linalg_solve_triangular": both(
        regular(((3, 3), (3, 2)), ((2, 3, 3), (3, 1)), ((0, 0), (0, 2)), upper=False),
        regular(((2, 2), (3, 2, 2)), ((2, 2), (2, 0)), upper=True),
        regular(((2, 3, 3), (3, 2)), upper=True, unitriangular=True),
        regular(((40, 40), (40, 3)), ((37, 37), (37, 45)), upper=True),
    ),
    **dict.fromkeys(
        ("linalg_logm", "linalg_sqrtm"),
        regular(((3, 3),), ((2, 2, 2),), ((1, 1),), ((0, 0),), ((0, 2, 2),), ((2, 0, 0),)),
    ),
    **dict.fromkeys(
        ("linalg_inv", "linalg_lu_factor", "linalg_det", "linalg_slogdet", "linalg_cholesky",
         "linalg_matrix_exp"),
        regular(((3, 3),), ((2, 2, 2),), ((1, 1),), ((0, 0),), ((0, 2, 2),), ((2, 0, 0),)),
    ),
    **dict.fromkeys(
        ("linalg_eigh_values", "linalg_eigh_vectors"),
        unary(((3, 3), ()), ((2, 2, 2), ()), ((1, 1), ()), ((0, 0), ()), ((0, 2, 2), ())),
    ),
    **dict.fromkeys(
        ("linalg_svd_u", "linalg_svd_s", "linalg_svd_vh"),
        unary(
            ((3, 3), ()), ((2, 2, 3), (False,)), ((3, 2), (False,)), ((3, 2), ()), ((1, 1), ()), ((0, 2), ()),
            ((0, 2, 2), ()),
        ),
    ),
    **dict.fromkeys(
        ("linalg_qr_q", "linalg_qr_r"),
        unary(((3, 3), ()), ((2, 2, 3), ()), ((3, 2), ()), ((1, 1), ()), ((0, 2), ()), ((0, 2, 2), ())),
    ),
    "linalg_pinv": unary(((3, 3), ()), ((2, 2, 3), ()), ((3, 2), ()), ((0, 2), ()), ((0, 2, 2), ())),
    "linalg_lstsq": regular(
        ((3, 2), (3, 2)), ((2, 2, 3), (2, 2, 1)), ((3, 3), (3, 1)), ((0, 2, 2), (0, 2, 2))
    ),
    # elements that move
    "cat": cat,
    "stack": stack,
    "repeat": unary(((2, 3), ((2, 2),)), ((3,), ((2, 1, 2),)), ((), ((3,),)), ((2,), ((0,),))),
    "flip": unary(((2, 3), ((1,),)), ((2, 3, 2), ((0, 2),)), ((0, 2), ((0,),)), ((), ((),))),
    "roll": unary(((5,), (2,)), ((2, 3), (-1, 1)), ((2, 3, 2), ((1, 3), (0, 1))), ((0,), (1,))),
    "roll_flat": unary(((5,), (2,)), ((2, 3), (-4,)), ((), (1,)), ((0, 2), (1,))),
    "constant_pad_nd": unary(
        ((2, 3), ((1, 2),)), ((2, 3), ((-1, 1, 0, 2), 1.5)), ((0,), ((1, 1),))
    ),
    **dict.fromkeys(
        ("tril", "triu"), unary(((3, 3), ()), ((2, 2, 4), (1,)), ((4, 2), (-1,)), ((0, 2), ()))
    ),
    "diag": unary(((3, 4), ()), ((3, 4), (-1,)), ((3,), (1,)), ((2, 2), (2,))),
    "diag_embed": unary(((3,), ()), ((2, 3), (1,)), ((2, 3), (-1, 0, 2)), ((2, 0), ())),
    # elements at indices
    "index_select": indexed(
        ((3, 2), (0, _I([2, 0, 2]))), ((2, 3), (-1, _I([1]))), ((2, 3), (1, np.zeros(0, np.int64)))
    ),
    "take": indexed(((3, 2), (_I([[5, -1], [0, 0]]),)), ((3,), (_I(1),))),
    "masked_select": indexed(
        ((2, 3), (_I([[True, False, True], [False, True, True]]),)),
        ((3,), (_I([[True, False, True]]),)),
    ),
    "index_add": indexed(((3, 2), (0, _I([1, 1]), [2, 2])), ((2, 3), (1, _I([0]), [2, 1]))),
    "index_copy": indexed(((3, 2), (0, _I([2, 0]), [2, 2]))),
    "index_fill": indexed(
        ((3, 2), (0, _I([1, 1]), 2.5)), ((2, 3), (1, np.zeros(0, np.int64), 1.0))
    ),
    "gather": indexed(
        ((2, 3), (1, _PICK)), ((3, 3), (0, _PICK)), ((3,), (0, _I([2, 2, 0, 1]))), ((), (0, _I(0)))
    ),
    "scatter": indexed(
        ((3, 3), (1, _I([[0, 2], [1, 0]]), [2, 2])), ((3, 2), (0, _I([[2, 0]]), [1, 2]))
    ),
    "scatter_value": indexed(((3, 3), (1, _I([[0, 2], [1, 0]]), 1.5))),
    "scatter_add": indexed(
        ((3, 3), (1, _PICK, [2, 3])), ((2, 3), (0, _I([[1, 0, 1]]), [1, 3]))
    ),
    "masked_fill": indexed(
        ((2, 3), (_I([True, False, True]), 2.0)), ((3,), (_I([[True, False, True]] * 2), -1.0)),
        ((), (_I(True), 1.0)),
    ),
    "masked_fill_tensor": indexed(((2, 3), (_I([True, False, True]), []))),
}  # fmt: skip
SAMPLES |= SPECIAL
