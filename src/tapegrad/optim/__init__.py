"""PyTorch's ``torch.optim``: optimizers and `lr_scheduler`.

Start reading in `optimizer.py`, the base; `elementwise.py` says how a step is computed.
"""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import lr_scheduler, optimizer
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, RMSprop
from .lbfgs import LBFGS
from .optimizer import Optimizer
from .sgd import SGD

__all__ = [
    "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam",
    "RMSprop", "lr_scheduler", "optimizer",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
