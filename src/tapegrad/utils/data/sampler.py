"""Samplers: orders in which a dataset is gone through."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from ...tensors.operators import top_level

__all__ = [
    "BatchSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler",
    "WeightedRandomSampler",
]  # fmt: skip

T = TypeVar("T", covariant=True)
_as_tensor, _multinomial, _randint, _randperm = map(
    top_level, ("as_tensor", "multinomial", "randint", "randperm")
)


def _check_count(name: str, value: Any) -> None:
    """Raise unless a number of samples is a positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


class Sampler(Generic[T]):
    """Base class of samplers: a subclass has ``__iter__``, and ``__len__`` for loaders with a length."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """Sampler of all indices in order.

    Parameters
    ----------
    data_source : Dataset
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Sampler of indices at random, without or with replacement.

    Parameters
    ----------
    data_source : Dataset
    replacement : bool, optional
    num_samples : int, optional
        Number of indices (all).
    generator : Generator, optional

    Raises
    ------
    TypeError, ValueError
        For a `replacement` that is no bool and a number that is not positive.

    Examples
    --------
    >>> sorted(RandomSampler(range(3)))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        self.data_source, self.replacement = data_source, replacement
        self._num_samples, self.generator = num_samples, generator
        _check_count("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """Number of indices."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        length, count = len(self.data_source), self.num_samples
        if self.replacement:
            yield from _randint(length, (count,), generator=self.generator).tolist()
            return
        while count > 0:
            yield from _randperm(length, generator=self.generator).tolist()[:count]
            count -= length

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Sampler of given indices in random order.

    Parameters
    ----------
    indices : sequence of int
    generator : Generator, optional
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in _randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Sampler of indices with given weights.

    Parameters
    ----------
    weights : sequence of float
        Numbers in proportion to the probabilities.
    num_samples : int
    replacement : bool, optional
    generator : Generator, optional

    Raises
    ------
    ValueError
        For weights that are no vector, and a number that is not positive.

    Examples
    --------
    >>> list(WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        _check_count("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        vector = _as_tensor(weights).double()
        if vector.dim() != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(vector.shape)}"
            )
        self.weights, self.num_samples = vector, num_samples
        self.replacement, self.generator = replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = _multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Sampler of lists of the indices of another sampler.

    Parameters
    ----------
    sampler : Sampler or iterable
    batch_size : int
    drop_last : bool
        Leave out a last batch that is not full.

    Raises
    ------
    ValueError
        For a size that is not positive, and a `drop_last` that is no bool.

    Examples
    --------
    >>> list(BatchSampler(SequentialSampler(range(5)), 2, False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        _check_count("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
