"""Methods that fill a tensor: with random numbers, on a diagonal, at a mask, at flat positions.

The functions `masked_scatter` and `put` are here too, of which the methods are made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...base.dtypes import bool_, dtype, int64, scalar_name
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, float_of
from ..creation.generator import Generator, stream_of
from ..operands import check_floating, no_kernel
from ..registry import declared, public
from ..shape.broadcast import expand_to
from ..signature import Number, Tensor
from .gather_scatter import flat_positions
from .index_arrays import index_values, positions
from .inplace import check_target, overwrite

__all__: list[str] = []


# --------------------------------------------------------------------------- random numbers
def _drawn(
    input: Any,
    name: str,
    generator: Any,
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any],
) -> Any:
    """Fill a tensor with numbers drawn from a generator; return the tensor."""
    check_target(input)
    kind: dtype = input.dtype
    stream: Generator = stream_of(name, generator)
    with stream.lock:
        array = draw(stream.numpy, tuple(input.shape))
    array = np.ascontiguousarray(array, kind.np).reshape(tuple(input.shape))
    return overwrite(input, record.leaf_tensor(array, kind), node_name=_node_name(name))


def _node_name(name: str) -> str:
    return name.rstrip("_").title().replace("_", "") + "Backward0"


@declared("(float from=0, float to=1, *, Generator? generator=None)", function=False)
def uniform_(
    input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **named: Any
) -> Tensor:
    """Fill with numbers uniform in ``[from, to)``; return the tensor."""
    low = float_of("uniform_", "from", 1, named.get("from", from_), "float")
    high = float_of("uniform_", "to", 2, to, "float")
    check_floating("check_uniform_bounds", input.dtype)
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    return _drawn(
        input, "uniform_", generator, lambda g, shape: low + (high - low) * g.random(shape)
    )


@declared(function=False)
def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers; return the tensor."""
    middle = float_of("normal_", "mean", 1, mean, "float")
    scale = float_of("normal_", "std", 2, std, "float")
    if not scale >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {scale:g}")
    check_floating("normal_kernel_cpu", input.dtype)
    return _drawn(
        input, "normal_", generator, lambda g, shape: middle + scale * g.standard_normal(shape)
    )


@declared(function=False)
def log_normal_(
    input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Fill with exponentials of normal numbers of the given mean and deviation; return the tensor."""
    middle = float_of("log_normal_", "mean", 1, mean, "float")
    scale = float_of("log_normal_", "std", 2, std, "float")
    if not scale > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={scale:g}")
    check_floating("log_normal_cpu", input.dtype)
    return _drawn(
        input, "log_normal_", generator,
        lambda g, shape: np.exp(middle + scale * g.standard_normal(shape)),
    )  # fmt: skip


@declared(function=False)
def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with exponentially distributed numbers of rate `lambd`; return the tensor."""
    rate = float_of("exponential_", "lambd", 1, lambd, "float")
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    check_floating("exponential_cpu", input.dtype)
    return _drawn(
        input, "exponential_", generator, lambda g, shape: g.standard_exponential(shape) / rate
    )


@declared(function=False)
def cauchy_(
    input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Fill with numbers of the Cauchy distribution; return the tensor."""
    middle = float_of("cauchy_", "median", 1, median, "float")
    scale = float_of("cauchy_", "sigma", 2, sigma, "float")
    if not scale > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={scale:g}")
    check_floating("cauchy_cpu", input.dtype)
    return _drawn(
        input, "cauchy_", generator, lambda g, shape: middle + scale * g.standard_cauchy(shape)
    )


@declared(function=False)
def geometric_(input: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the number of trials up to the first success, each of probability `p`."""
    chance = float_of("geometric_", "p", 1, p, "float")
    if not 0 < chance < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={chance:g}")
    if input.dtype is bool_:
        raise no_kernel("geometric_cpu", bool_)
    return _drawn(input, "geometric_", generator, lambda g, shape: g.geometric(chance, shape))


@declared(
    "(*, Generator? generator=None)", "(int from, int to, *, Generator? generator=None)",
    "(int to, *, Generator? generator=None)", function=False,
)  # fmt: skip
def random_(
    input: Tensor, from_: Any = None, to: Any = None, *, generator: Any = None, **named: Any
) -> Tensor:
    """Fill with integers of ``[from, to)``, of ``[0, from)``, or of all that the dtype holds exactly."""
    from_ = named.get("from", from_)
    if to is None and from_ is not None:
        from_, to = 0, from_
    low = 0 if from_ is None else as_int("random_", "from", 1, from_)
    if to is None:
        high = _LIMITS[input.dtype.name] if from_ is None else 2**63
    else:
        high = as_int("random_", "to", 2, to)
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    return _drawn(
        input, "random_", generator,
        lambda g, shape: g.integers(low, high - 1, shape, np.int64, endpoint=True),
    )  # fmt: skip


#: one more than the largest integer that `random_` draws by itself
_LIMITS = {"float64": 2**53 + 1, "float32": 2**24 + 1, "int64": 2**63, "bool": 2}


@declared(
    "(Tensor p, *, Generator? generator=None)",
    "(float p=0.5, *, Generator? generator=None)",
    function=False,
)
def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with zeros and ones, one with probability `p`, a number or a tensor; return the tensor."""
    if record.is_tensor(p):
        check_floating("bernoulli_tensor_cpu_p_", p.dtype)
        chance = p._array()
        if not ((chance >= 0) & (chance <= 1)).all():
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    else:
        chance = float_of("bernoulli_", "p", 1, p, "float")
        if not 0 <= chance <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={chance:g}")
    return _drawn(input, "bernoulli_", generator, lambda g, shape: g.random(shape) < chance)


# --------------------------------------------------------------------------- by position
@declared(function=False)
def fill_diagonal_(input: Tensor, fill_value: Number, wrap: bool = False) -> Tensor:
    """Overwrite the main diagonal with a number.

    Parameters
    ----------
    input : Tensor
        A matrix, or a tensor of more dimensions of equal length.
    fill_value : number
    wrap : bool
        Whether the diagonal of a tall matrix starts again below a row.

    Returns
    -------
    Tensor
        The tensor.

    Raises
    ------
    RuntimeError
        If the dimensions do not fit.
    """
    layout = layout_of(input)
    if layout.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if layout.ndim > 2 and len(set(layout.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    value = float_of("fill_diagonal_", "fill_value", 1, fill_value)
    check_target(input)
    place = np.zeros(layout.shape, np.bool_)
    rows, columns = layout.shape[0], layout.shape[-1]
    step = sum(int(np.prod(layout.shape[i + 1 :])) for i in range(layout.ndim))
    flat = place.reshape(-1)
    if layout.ndim == 2 and not wrap:
        flat = flat[: min(rows, columns) * columns]
    flat[::step] = True
    filled = input.masked_fill(record.leaf_tensor(place, bool_), value)
    return overwrite(input, filled, node_name="FillDiagonalBackward0")


@declared()
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Return a copy with elements of `source`, in order, where a bool mask is set.

    Parameters
    ----------
    input, mask : Tensor
        They are broadcast.
    source : Tensor
        With at least as many elements as the mask has set.

    Raises
    ------
    RuntimeError
        For too few elements, or another dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> mask = tg.tensor([True, False, True])
    >>> tg.masked_scatter(tg.zeros(3), mask, tg.tensor([1.0, 2.0]))
    tensor([1., 0., 2.])
    """
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{scalar_name(input.dtype)} and {scalar_name(source.dtype)}"
        )
    if mask.dtype is not bool_:
        raise RuntimeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{scalar_name(mask.dtype)}"
        )
    shape = broadcast_shapes(mask.shape, input.shape)
    place = np.flatnonzero(np.broadcast_to(mask._array(), shape))
    if len(place) > layout_of(source).size:
        raise RuntimeError(
            f"masked_scatter: expected self to have number of elements <= mask, but source has "
            f"{layout_of(source).size} elements and the mask {len(place)}"
        )
    target = input if tuple(input.shape) == shape else expand_to(input, shape)
    values = source.reshape(-1)[: len(place)]
    return _put(target, positions(place), values, accumulate=False)


def _put(input: Any, place: Any, values: Any, *, accumulate: bool) -> Any:
    """Return a copy with values at a tensor of flat positions."""
    if not layout_of(place).size:
        return input.clone()
    result = record.apply(
        TABLE["index_put"], (input.reshape(-1), values, place), dims=(0,), accumulate=accumulate
    )
    return result.reshape(input.shape)


@declared()
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Return a copy with elements of `source` at positions in the flattened tensor.

    Parameters
    ----------
    input : Tensor
    index : Tensor
        int64, of as many elements as `source`; negative positions count from the end.
    source : Tensor
    accumulate : bool
        Add instead of overwriting.

    Raises
    ------
    RuntimeError, IndexError
        PyTorch's errors.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.put(tg.zeros(2, 2), tg.tensor([0, 3]), tg.tensor([1.0, 2.0]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    if index.dtype is not int64:
        raise RuntimeError(
            f"put_(): Expected a long tensor for index, but got {scalar_name(index.dtype)}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{scalar_name(input.dtype)} and source.dtype = {scalar_name(source.dtype)}"
        )
    if layout_of(index).size != layout_of(source).size:
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {layout_of(source).size}, index.numel() = {layout_of(index).size}"
        )
    count = layout_of(input).size
    values = index_values(index).reshape(-1)
    place = flat_positions(values, count)
    return _put(input, place, source.reshape(-1), accumulate=bool(accumulate))


@public(method=True, function=False)
def apply_(input: Any, callable: Callable[[Any], Any]) -> Tensor:
    """Replace every element by a Python function of it; return the tensor.

    Raises
    ------
    RuntimeError
        If the tensor requires grad: the function's derivative is not known.
    TypeError
        If the function returns no number.
    """
    if input.requires_grad:
        raise RuntimeError(
            "Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead."
        )
    values = [callable(v) for v in input._array().reshape(-1).tolist()]
    for value in values:
        if not record.is_number(value):
            raise TypeError(f"must be real number, not {type(value).__name__}")
    array = np.array(values, input.dtype.np).reshape(tuple(input.shape))
    return overwrite(input, record.leaf_tensor(array, input.dtype))
