"""PyTorch's ``torch.utils.data``: datasets, samplers, and `DataLoader` in one process.

Start reading in `dataloader.py`.
"""

from __future__ import annotations

from ...base.missing_names import getattr_of
from .collation import default_collate, default_convert
from .dataloader import DataLoader
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "IterableDataset",
    "RandomSampler", "Sampler", "SequentialSampler", "Subset", "SubsetRandomSampler", "TensorDataset",
    "WeightedRandomSampler", "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip


def get_worker_info() -> None:
    """Return None, as PyTorch does in the main process: there are no others."""


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
