"""vmap: a function of tensors as a function of batches of them.

The function runs once, on a slice without values, and its statements are lifted to all slices
(batch_trace.py, batched_statement.py). A function that cannot be lifted, since it reads a value or writes
into its surroundings, runs once for each slice, and the results are stacked.

Start reading at `vmap`, then `_by_lifting`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..functions.creation.creation import tensor
from ..functions.creation.generator import Draws, Unused
from ..functions.shape.joining import cat, stack
from ..tape import anomaly
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.readout import Differentiated
from ..tape.recording import is_tensor
from ..tape.tape import slot_of
from ..tape.user_code import call_user
from ..transforms.batch_trace import BatchTrace
from .arguments import Parameters, Result

__all__ = ["check_randomness", "random_guard", "vmap"]

RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
    "'different' randomness flags on vmap or perform the randomness operation out of vmap"
)


def vmap(
    func: Callable[Parameters, Result], in_dims: int | tuple[Any, ...] = 0,
    out_dims: int | tuple[Any, ...] | None = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable[Parameters, Result]:  # fmt: skip
    """Return a function that applies `func` to every slice of its arguments.

    `func` runs once for all slices, with all that is inside of it: gradients, Jacobians, another `vmap`.
    If it reads a value that depends on the slice (``x.item()``, ``if x > 0``), which PyTorch refuses, or
    writes in place into its arguments or surroundings, it runs once a slice instead, in order, and the
    results are stacked; side effects (``print``) may then happen once more than there are slices.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    in_dims : int or nested tuple
        Along which dimension each argument is sliced; None for the whole argument. A prefix of the
        structure of the arguments. What is no Tensor or array inside of a container has no slices.
    out_dims : int, None or nested tuple
        Where the new dimension goes in each result; None for a result that does not depend on the slice
        (the values must agree).
    randomness : {"error", "different", "same"}
        The mode of random functions: they raise, or give each slice other numbers, or the same.
    chunk_size : int, optional
        The most slices that are computed at once, where memory is short.

    Returns
    -------
    callable
        Keyword arguments are handed to `func` as they are.

    Raises
    ------
    ValueError, RuntimeError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.vmap(tg.dot)(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([1., 4.])
    """
    check_randomness(randomness)
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = _function_name(func)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _check_out_dims(name, out_dims)
        batch = _batch_of(name, in_dims, args)
        with Differentiated("slices") as differentiated:
            differentiated.tensors = [
                x for x in batch.leaves if is_tensor(x) and record.is_active(x)
            ]
            return run(batch, kwargs)

    def run(batch: _Batch, kwargs: dict[str, Any]) -> Any:
        inputs, spec, dims, size = batch
        at_once = _at_once(func, batch, out_dims) if size and not kwargs else None
        if at_once is not None:
            return at_once
        outputs = _Outputs(name, out_dims)
        draws = random_guard(randomness)

        def call(sliced: list[Any]) -> Any:
            if randomness == "same":
                draws.rewind()
            with draws:
                return call_user(func, *trees.unflatten(spec, sliced), **kwargs)

        parts: list[_Result] = []
        for part, n in _chunks(inputs, dims, size, chunk_size or max(size, 1)):
            result = _by_lifting(call, outputs, part, dims, n, randomness)
            if result is None or (randomness == "different" and draws.rewind()):
                break
            parts.append(result)
        else:
            if size:
                return _joined_chunks(parts)
        draws.rewind()
        for i in range(max(size, 1)):  # without slices it still takes a run to know the shapes
            sliced = [
                x if d is None else x.select(d, i) if size else _without(x, d)
                for x, d in zip(inputs, dims, strict=True)
            ]
            outputs.first = current_tape().count
            outputs.add(call(sliced))
        return outputs.stacked(size)

    return wrapper


def _at_once(func: Any, batch: _Batch, out_dims: Any) -> Any:
    """Results of a pullback (of `tapegrad.func.vjp`) for all slices in one pass; None for other functions."""
    many = getattr(func, "many", None)
    if many is None or None in batch.dims:
        return None
    moved = [x.movedim(d, 0) for x, d in zip(batch.leaves, batch.dims, strict=True)]
    args = trees.unflatten(batch.spec, moved)
    result = many(*args) if len(args) == 1 else None
    if result is None:
        return None
    places = trees.broadcast(out_dims, result)
    if places is None or None in places:
        return None
    leaves, spec_out = trees.flatten(result)
    return trees.unflatten(spec_out, [x.movedim(0, d) for x, d in zip(leaves, places, strict=True)])


def _by_lifting(
    call: Callable[[list[Any]], Any], outputs: _Outputs, inputs: list[Any], dims: list[int | None],
    size: int, randomness: str,
) -> _Result | None:  # fmt: skip
    """Results of the function for all slices from one run; None if it has to run for each.

    An error in the run may come from its having no values: then the runs on slices show the error.
    """
    outer = current_tape()
    if outer.saving is not None or anomaly.is_on():
        return None
    trace = BatchTrace(outer, size, randomness)
    try:
        trace.begin()
        output = call(
            [x if d is None else trace.slice_of(x, d) for x, d in zip(inputs, dims, strict=True)]
        )
        places, spec = outputs.places(output)
        leaves = trees.leaves(output)
        # A leaf that the function hands through as it came stays the same object.
        recorded = [
            is_tensor(y) and (d is not None or y._state == trace.pointer)
            for y, d in zip(leaves, places, strict=True)
        ]
        results = trace.results(
            [y for y, is_recorded in zip(leaves, recorded, strict=True) if is_recorded],
            [d is not None for d, is_recorded in zip(places, recorded, strict=True) if is_recorded],
        )
        rest = iter(results)
        for i, is_recorded in enumerate(recorded):
            if is_recorded:
                slot, layout, is_batched = next(rest)
                if is_batched and places[i] is None:
                    raise _Refused(outputs.batched_anyhow)
                leaves[i] = record.new_tensor(outer, slot, layout)
        output = None
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception:
        if trace.error is not None:
            raise trace.error from None
        return None
    finally:
        try:
            trace.end()
        finally:  # an interrupt may have come in between
            trace.end()
    moved = [y.movedim(0, d) if d else y for y, d in zip(leaves, places, strict=True)]
    return _Result(moved, places, spec)


class _Refused(Exception):
    """PyTorch's error, with its text, for something that runs on slices would not show."""


class _Result(NamedTuple):
    """Results of a function for some slices: the leaves, their dimension of slices, the structure."""

    leaves: list[Any]
    dims: list[int | None]
    spec: trees.Spec


def _chunks(
    inputs: list[Any], dims: list[int | None], size: int, step: int
) -> Iterator[tuple[list[Any], int]]:
    """The arguments with `step` slices at a time, and their number."""
    for start in range(0, size, step):
        n = min(step, size - start)
        yield (
            inputs
            if n == size
            else [
                x if d is None else x.narrow(d, start, n) for x, d in zip(inputs, dims, strict=True)
            ],
            n,
        )


def _joined_chunks(parts: list[_Result]) -> Any:
    """The results for some slices each, one behind the other."""
    first = parts[0]
    leaves = first.leaves if len(parts) == 1 else [
        ys[0] if d is None else cat(ys, d)
        for d, ys in zip(first.dims, zip(*(p.leaves for p in parts), strict=True), strict=True)
    ]  # fmt: skip
    return trees.unflatten(first.spec, leaves)


def check_randomness(randomness: str) -> None:
    """Raise PyTorch's error unless it is a mode of randomness."""
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )


def random_guard(randomness: str) -> Draws:
    """Return a context for a function: with "error", drawing random numbers raises PyTorch's error."""
    return Unused(RANDOM) if randomness == "error" else Draws()


# --------------------------------------------------------------------------- inputs
class _Batch(NamedTuple):
    """The arguments: leaves, structure, the dimension that each is sliced along, and its length."""

    leaves: list[Any]
    spec: trees.Spec
    dims: list[int | None]
    size: int


def _batch_of(name: str, in_dims: Any, args: tuple[Any, ...]) -> _Batch:
    """The arguments, checked."""
    call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, int | tuple):
        raise ValueError(
            f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying "
            "to vmap over a function with no inputs. The latter is unsupported."
        )
    inputs, spec = trees.flatten(args)
    dims = trees.broadcast(in_dims, args)
    if dims is None:
        raise ValueError(
            f"{call}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{trees.text(trees.flatten(in_dims)[1])} but inputs has structure {trees.text(spec)}."
        )
    inputs = [tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
    bare = {id(x) for x in args}
    dims = [
        None if not is_tensor(x) and id(x) not in bare else _in_dim(call, x, d)
        for x, d in zip(inputs, dims, strict=True)
    ]
    sizes = [x.shape[d] for x, d in zip(inputs, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return _Batch(inputs, spec, dims, sizes[0])


def _in_dim(call: str, x: Any, dim: Any) -> int | None:
    if dim is None:
        return None
    if isinstance(dim, bool):
        raise TypeError("size(): argument 'dim' (position 1) must be int, not bool")
    if not isinstance(dim, int):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or "
            "None."
        )
    if not is_tensor(x):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap "
            "over non-Tensor arguments, please use None as the respective in_dim"
        )
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(
            f"{call}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality "
            f"{x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}."
        )
    return dim % int(x.ndim)


def _without(x: Any, dim: int) -> Any:
    """Zeros with the shape of a slice, where there are no slices."""
    return x.new_zeros([n for i, n in enumerate(x.shape) if i != dim])


# --------------------------------------------------------------------------- outputs
def _check_out_dims(name: str, out_dims: Any) -> None:
    for dim in [out_dims] if isinstance(out_dims, int) else trees.leaves(out_dims):
        if dim is not None and not isinstance(dim, int):
            raise ValueError(
                f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python "
                "collection of ints representing where in the outputs the vmapped dimension should "
                "appear."
            )


class _Outputs:
    """The results of the slices so far, by leaf of what the function returns."""

    def __init__(self, name: str, out_dims: Any) -> None:
        self.name, self.out_dims = name, out_dims
        self.spec: trees.Spec | None = None
        self.dims: list[int | None] = []
        self.parts: list[list[Any]] = []
        #: tensors older than this slot may be written by the slices that follow
        self.first = 0

    @property
    def batched_anyhow(self) -> str:
        """PyTorch's words for a result that depends on the slice, and should not."""
        return f"vmap({self.name}, ...): `{self.name}` can not return a BatchedTensor when out_dim is None"

    def places(self, output: Any) -> tuple[list[int | None], trees.Spec]:
        """Place of the new dimension in each leaf of a result, and the result's structure."""
        leaves, spec = trees.flatten(output)
        dims = [None if d is None else int(d) for d in self._dims(output, spec)]
        for value, dim in zip(leaves, dims, strict=True):
            if dim is not None and not is_tensor(value):
                raise ValueError(
                    f"vmap({self.name}, ...): `{self.name}` must only return Tensors, got type "
                    f"{type(value)}. Did you mean to set out_dims= to None for output?"
                )
        return dims, spec

    def add(self, output: Any) -> None:
        """Add the result for a slice."""
        leaves = trees.leaves(output)
        dims, spec = self.places(output)
        if self.spec is None:
            self.spec, self.dims = spec, dims
            self.parts = [[] for _ in leaves]
        if spec != self.spec:
            raise ValueError(
                f"vmap({self.name}, ...): `{self.name}` must return the same structure for every slice, "
                f"got {trees.text(self.spec)} and {trees.text(spec)}"
            )
        for value, dim, parts in zip(leaves, self.dims, self.parts, strict=True):
            if dim is None and parts and not _same_value(value, parts[0]):
                raise ValueError(self.batched_anyhow)
            parts.append(value if dim is None else self._as_it_is(value))

    def _as_it_is(self, value: Any) -> Any:
        """A result with the value that it has now."""
        tape = current_tape()
        if value._state == tape.pointer and tape.base[slot_of(tape, value)] >= self.first:
            return value
        return value.clone()

    def _dims(self, output: Any, spec: trees.Spec) -> list[int | None]:
        dims = self.out_dims
        if is_tensor(output) and isinstance(dims, tuple) and len(dims) == 1:
            dims = dims[0]
        leaf_dims = trees.broadcast(dims, output)
        if leaf_dims is None:
            raise ValueError(
                f"vmap({self.name}, ..., out_dims={self.out_dims})(<inputs>): out_dims is not "
                "compatible with the structure of `outputs`. out_dims has structure "
                f"{trees.text(trees.flatten(dims)[1])} but outputs has structure {trees.text(spec)}."
            )
        return leaf_dims

    def stacked(self, size: int) -> Any:
        """Results of the transformed function for `size` slices."""
        assert self.spec is not None
        leaves = [
            parts[0] if dim is None else _stacked_slices(parts, dim, size)
            for parts, dim in zip(self.parts, self.dims, strict=True)
        ]
        return trees.unflatten(self.spec, leaves)


def _stacked_slices(parts: list[Any], dim: int, size: int) -> Any:
    whole = stack(parts, dim)
    return whole if size else whole.narrow(dim, 0, 0)


def _same_value(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if is_tensor(a) and is_tensor(b):
        return a.shape == b.shape and bool(np.array_equal(a._array(), b._array(), equal_nan=True))
    return bool(a == b)


def _function_name(func: Callable[..., Any]) -> str:
    if hasattr(func, "__name__"):
        return str(func.__name__)
    if isinstance(func, functools.partial):
        return f"functools.partial({_function_name(func.func)}, ...)"
    return repr(func)
