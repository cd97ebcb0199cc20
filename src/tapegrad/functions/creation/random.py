"""Random tensors: `rand`, `randn`, `randint`, `randperm`, `normal`, `bernoulli`, `multinomial` ...

Numbers come from a `Generator` (generator.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...base import dtypes
from ...base.dtypes import int64, real_of, scalar_name
from ...ops.layout import broadcast_shapes
from ...tape import recording as record
from ...tape.current import current_tape
from ..arguments import as_int, float_of
from ..operands import check_floating
from ..options import OPTIONS, Options, allocate, checked, factory, size_of
from ..registry import declared
from ..signature import UNSET, Ints, Tensor
from .generator import Generator, stream_of

__all__ = ["binomial", "poisson", "randint", "randperm"]

# --------------------------------------------------------------------------- uniform and normal
_UNIFORM = "check_uniform_bounds"
_NORMAL = "normal_kernel_cpu"


def _random_array(
    kernel: str, shape: tuple[int, ...], kind: dtypes.dtype, stream: Generator
) -> np.ndarray:
    """Uniform or standard normal numbers; both parts of complex ones are, the normal ones of variance 1/2."""
    if kind.is_complex:
        parts = _random_array(kernel, (*shape, 2), real_of(kind), stream)
        if kernel is _NORMAL:
            parts *= parts.dtype.type(math.sqrt(0.5))
        return parts.view(kind.np).reshape(shape)
    check_floating(kernel, kind)
    array = allocate(shape, kind)
    with stream.lock:
        fill = stream.numpy.random if kernel is _UNIFORM else stream.numpy.standard_normal
        fill(dtype=kind.np, out=array)
    return array


_KEYWORDS = (
    "\n\nKeywords: generator, and dtype, layout, device, pin_memory, requires_grad, as in `tensor`."
)


def _random_pair(name: str, kernel: str, contents: str) -> None:
    """Add ``name(*size)`` and ``name_like(input)``."""
    contents, label = f"Make a tensor of {contents}, of", f"{name}_like"

    @factory(name=name, doc=f"{contents} the given lengths of dimensions.{_KEYWORDS}")
    def plain(size: Ints, *, options: Options, generator: Any = None) -> Tensor:
        shape, stream = size_of(name, size), stream_of(name, generator)
        return options.leaf(_random_array(kernel, shape, options.kind, stream))

    @factory(like=True, name=label, doc=f"{contents} the shape and dtype of `input`.{_KEYWORDS}")
    def like(
        input: Tensor, *, options: Options, generator: Any = None, memory_format: Any = None
    ) -> Tensor:
        stream = stream_of(label, generator)
        return options.leaf(_random_array(kernel, tuple(input.shape), options.kind, stream))


_random_pair("rand", _UNIFORM, "random numbers that are uniform in [0, 1)")
_random_pair("randn", _NORMAL, "random numbers of the standard normal distribution")


@factory()
def normal(
    mean: Any, std: Any = 1.0, size: Ints | None = None, *, options: Options, generator: Any = None
) -> Tensor:
    """Make a tensor of normal random numbers.

    Parameters
    ----------
    mean, std : number or Tensor
        If both are numbers, `size` says how many; else the result has the tensors' broadcast shape.
    size : sequence of int, optional
    generator : Generator, optional
    dtype, layout, device, pin_memory, requires_grad
        As in `tensor`, for numbers.

    Raises
    ------
    RuntimeError
        For a negative standard deviation.
    """
    stream = stream_of("normal", generator)
    tensors = [v for v in (mean, std) if record.is_tensor(v)]
    if not tensors or mean is not tensors[0]:
        mean = float_of("normal", "mean", 1, mean)
    if not tensors or std is not tensors[-1]:
        std = float_of("normal", "std", 2, std)
    if tensors and size is not None:
        raise TypeError("normal(): a size goes with two numbers, not with tensors")
    if not record.is_tensor(std) and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if not tensors:
        if size is None:
            raise TypeError("normal(): two numbers need a size")
        array = _random_array(_NORMAL, size_of("normal", size), options.kind, stream)
        return options.leaf(array * options.kind.np.type(std) + options.kind.np.type(mean))
    kind = tensors[0].dtype
    check_floating(_NORMAL, kind)
    shape = tuple((mean * 0 + std * 0).shape)  # raises PyTorch's error unless they broadcast
    means, scales = (v._array() if record.is_tensor(v) else kind.np.type(v) for v in (mean, std))
    if record.is_tensor(std) and (scales < 0).any():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    array = np.asarray(_random_array(_NORMAL, shape, kind, stream) * scales + means, kind.np)
    return record.leaf_tensor(array, kind)


# --------------------------------------------------------------------------- integers
def _integers(
    low: int, high: int, shape: tuple[int, ...], options: Options, stream: Generator
) -> Any:
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    allocate(shape, int64)  # raises PyTorch's error where there is no memory
    with stream.lock:
        drawn = stream.numpy.integers(low, high, shape)
    return options.leaf(np.asarray(drawn).astype(options.kind.np))


@factory(
    *(
        f"({bounds}, Ints size, *, {generator}Tensor? out=None, {OPTIONS})"
        for bounds in ("int high", "int low, int high")
        for generator in ("Generator generator, ", "")
    ),
    default=int64,
)
def randint(
    low: int = UNSET, high: int | Ints = UNSET, size: Any = UNSET, *, options: Options,
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Make a tensor of random integers: ``randint(high, size)`` or ``randint(low, high, size)``.

    Parameters
    ----------
    low : int
        Smallest integer, 0 if left out.
    high : int
        First integer above.
    size : sequence of int
    generator : Generator, optional
    dtype : dtype, optional
        int64 if left out.
    layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    if size is UNSET:  # the second of two
        high, size = UNSET, high
    bounds = _bounds("randint", low, high)
    return _integers(*bounds, size_of("randint", size), options, stream_of("randint", generator))


def _bounds(name: str, low: Any, high: Any) -> tuple[int, int]:
    """Return the bounds of random integers, of which the lower one is 0 if left out."""
    if high is UNSET:
        low, high = UNSET, low
    first = 0 if low is UNSET else as_int(name, "low", 1, low)
    return first, as_int(name, "high", 1 if low is UNSET else 2, high)


@factory(
    *(
        f"({bounds}, *, {generator}MemoryFormat? memory_format=None, {OPTIONS})"
        for bounds in ("int low, int high", "Tensor high", "int high")
        for generator in ("Generator generator, ", "")
    ),
    like=True,
)
def randint_like(
    input: Tensor, low: int = UNSET, high: int = UNSET, *, options: Options, generator: Any = None,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Make a tensor of random integers, of the shape and dtype of `input`; else as `randint`."""
    bounds = _bounds("randint_like", low, high)
    return _integers(*bounds, tuple(input.shape), options, stream_of("randint_like", generator))


@factory(default=int64)
def randperm(n: int, *, options: Options, generator: Any = None) -> Tensor:
    """Make a tensor of the integers below `n` in random order."""
    shape = checked("randperm", (as_int("randperm", "n", 1, n),))
    allocate(shape, int64)
    stream = stream_of("randperm", generator)
    with stream.lock:
        return options.leaf(stream.numpy.permutation(shape[0]).astype(options.kind.np))


# --------------------------------------------------------------------------- from probabilities
@declared()
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None) -> Tensor:
    """Make a tensor of zeros and ones, one with the probability that `input` (or `p`) says.

    Parameters
    ----------
    input : Tensor
        Probabilities; with `p` only its shape and dtype count.
    p : float, optional
    generator : Generator, optional
    """
    stream = stream_of("bernoulli", generator)
    if p is None:
        check_floating("bernoulli_tensor_cpu_p_", input.dtype)
        chance = input._array()
        if not ((chance >= 0) & (chance <= 1)).all():
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    else:
        chance = float_of("bernoulli", "p", 2, p, "float")
        if not 0 <= chance <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={chance:g}")
    with stream.lock:
        drawn = stream.numpy.random(tuple(input.shape)) < chance
    return record.leaf_tensor(np.asarray(drawn, input.dtype.np), input.dtype)


@declared()
def multinomial(
    input: Tensor, num_samples: Any, replacement: bool = False, *, generator: Any = None
) -> Tensor:
    """Draw indices with the probabilities in each row.

    Parameters
    ----------
    input : Tensor
        Weights of shape (n,) or (m, n), not negative; they need not add up to one.
    num_samples : int
        How many a row.
    replacement : bool
        Whether an index may come more than once.
    generator : Generator, optional

    Returns
    -------
    Tensor
        int64, of shape (num_samples,) or (m, num_samples).
    """
    stream = stream_of("multinomial", generator)
    count = as_int("multinomial", "num_samples", 2, num_samples)
    if not 1 <= input.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.dtype.is_floating_point:
        name = scalar_name(input.dtype)
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {name}"
        )
    if count <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    weights = input._array()
    n = weights.shape[-1]
    if not replacement and count > n:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    totals = weights.sum(-1, dtype=np.float64, keepdims=True)
    if (totals <= 0).any() or n == 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    shape = (*weights.shape[:-1], count)
    with stream.lock:
        if replacement:
            edges = np.cumsum(weights / totals, -1).reshape(-1, n)
            points = stream.numpy.random((len(edges), count)) * edges[:, -1:]
            drawn = np.array(
                [np.searchsorted(e, p, side="right") for e, p in zip(edges, points, strict=True)],
                np.int64,
            ).reshape(shape)
        else:  # the first arrivals of exponential clocks that run at these rates
            with np.errstate(divide="ignore"):
                arrivals = stream.numpy.standard_exponential(weights.shape) / weights
            drawn = np.argsort(arrivals, -1, kind="stable")[..., :count].astype(np.int64)
    return record.leaf_tensor(np.ascontiguousarray(drawn), int64)


# --------------------------------------------------------------------------- counts
@declared(method=False)
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """Make a tensor of how many of `count` attempts succeed, each with probability `prob`.

    Parameters
    ----------
    count, prob : Tensor
        Of one floating dtype; they broadcast. NaN gives NaN; a probability outside of [0, 1] counts as the
        nearer of the two, and less than one attempt as none, as in PyTorch.
    generator : Generator, optional

    Raises
    ------
    RuntimeError
        If one requires grad: there is no derivative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.binomial(tg.tensor([5.0, 7.0]), tg.tensor([0.0, 1.0]))
    tensor([0., 7.])
    """
    for name, x in (("count", count), ("prob", prob)):
        if not x.dtype.is_floating_point:
            kind = scalar_name(x.dtype)
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: {kind}"
            )
    if count.dtype is not prob.dtype:
        raise RuntimeError(
            f"Found dtype {scalar_name(prob.dtype)} but expected {scalar_name(count.dtype)}"
        )
    if current_tape().grad_mode and (record.is_active(count) or record.is_active(prob)):
        raise RuntimeError(
            "the derivative for 'binomial' is not implemented; draw from count.detach() and prob.detach()"
        )
    stream = stream_of("binomial", generator)
    shape = broadcast_shapes(count.shape, prob.shape)
    attempts, chances = (
        np.broadcast_to(count._array(), shape),
        np.broadcast_to(prob._array(), shape),
    )
    unknown = np.isnan(attempts) | np.isnan(chances)
    n = np.where(unknown, 0, np.floor(np.clip(attempts, 0, 2.0**53))).astype(np.int64)
    with stream.lock:
        drawn = stream.numpy.binomial(n, np.clip(np.where(unknown, 0, chances), 0, 1))
    return record.leaf_tensor(
        np.asarray(np.where(unknown, np.nan, drawn), count.dtype.np), count.dtype
    )


@declared(method=False)
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Make a tensor of counts of events that come with the rates that `input` says.

    Parameters
    ----------
    input : Tensor
    generator : Generator, optional

    Raises
    ------
    RuntimeError
        For a rate that is negative or NaN.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.poisson(tg.zeros(2))
    tensor([0., 0.])
    """
    check_floating("poisson_cpu", input.dtype)
    stream = stream_of("poisson", generator)
    rates = input._array()
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    with stream.lock:
        drawn = stream.numpy.poisson(rates)
    return record.leaf_tensor(np.asarray(drawn, input.dtype.np), input.dtype)
