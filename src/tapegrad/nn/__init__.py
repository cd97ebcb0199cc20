"""PyTorch's ``torch.nn``: modules and functions of networks, as far as small programs use them.

>>> import tapegrad as tg
>>> from tapegrad import nn
>>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
>>> model(tg.ones(4, 2)).shape
torch.Size([4, 1])

functional.py has the functions, which operations/ defines by the package's operations; modules/ has
`Module` and the layers; parameter.py what a module takes for its parameters. Nothing of it is imported by
``import tapegrad``.
"""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import functional, init, modules, parameter, utils
from .modules import *  # noqa: F403
from .modules import __all__ as _modules
from .parameter import Buffer, Parameter

__all__ = sorted(
    [*_modules, "Buffer", "Parameter", "functional", "init", "modules", "parameter", "utils"]
)
_ = Buffer, Parameter, functional, init, modules, parameter, utils


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
