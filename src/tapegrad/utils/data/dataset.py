"""Datasets: `Dataset`, `IterableDataset`, and those made of tensors or of other datasets."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "Subset", "TensorDataset", "random_split",
]  # fmt: skip

T = TypeVar("T", covariant=True)


class Dataset(Generic[T]):
    """Base class of datasets: a subclass has ``__getitem__``, and ``__len__`` if it is to be sampled from."""

    def __getitem__(self, index: Any) -> Any:
        """Return a sample."""
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        """Return one dataset after the other."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Base class of datasets that are streams: a subclass has ``__iter__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other: Dataset[Any]) -> Any:
        """Return one stream after the other."""
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Dataset of tensors, indexed along their first dimensions.

    Parameters
    ----------
    *tensors : Tensor
        Tensors with equal first lengths.

    Raises
    ------
    AssertionError
        If the first lengths differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> TensorDataset(tg.arange(3), tg.ones(3))[1]
    (tensor(1), tensor(1.))
    """

    def __init__(self, *tensors: Any) -> None:
        if any(tensor.shape[0] != tensors[0].shape[0] for tensor in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        """Return a sample: an element of each tensor."""
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])


class ConcatDataset(Dataset[Any]):
    """Dataset of several datasets, one after the other.

    Parameters
    ----------
    datasets : iterable of Dataset

    Raises
    ------
    AssertionError
        If there is none, or if one is a stream.
    """

    def __init__(self, datasets: Any) -> None:
        self.datasets: list[Any] = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Any:
        """Return a sample of the dataset that has it."""
        if idx < 0:
            if -idx > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            idx += len(self)
        number = bisect.bisect_right(self.cumulative_sizes, idx)
        if number == len(self.datasets):
            raise IndexError("list index out of range")
        return self.datasets[number][idx - ([0, *self.cumulative_sizes][number])]


class ChainDataset(IterableDataset[Any]):
    """Stream of several streams, one after the other."""

    def __init__(self, datasets: Any) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield from dataset

    def __len__(self) -> int:
        return sum(map(len, self.datasets))


class Subset(Dataset[Any]):
    """Samples of a dataset with given indices.

    Parameters
    ----------
    dataset : Dataset
    indices : sequence of int
    """

    def __init__(self, dataset: Any, indices: Sequence[Any]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, idx: Any) -> Any:
        """Return a sample, or for a list those of the indices with these numbers."""
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Return the samples of a batch."""
        chosen = [self.indices[i] for i in indices]
        several = getattr(self.dataset, "__getitems__", None)
        if callable(several):
            batch: list[Any] = several(chosen)
            return batch
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Split a dataset at random into parts of given lengths, or of given fractions.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int or float
        Lengths, or fractions that add up to one.
    generator : Generator, optional

    Raises
    ------
    ValueError
        If the lengths do not add up to that of the dataset.

    Examples
    --------
    >>> [len(part) for part in random_split(range(10), [0.7, 0.3])]
    [7, 3]
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if fraction < 0 or fraction > 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        counts = [math.floor(total * fraction) for fraction in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                text = f"Length of split at index {i} is 0. This might result in an empty dataset."
                warnings.warn(text, stacklevel=2)
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != total or (counts != list(lengths) and sum(lengths) > 1):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    indices = top_level("randperm")(total, generator=generator).tolist()
    ends = itertools.accumulate(counts)
    return [
        Subset(dataset, indices[end - count : end]) for end, count in zip(ends, counts, strict=True)
    ]
