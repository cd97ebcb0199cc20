"""PyTorch's ``torch.nn.modules``.

`Module` is made of four classes: members.py (attributes), hooks.py (calls), state.py (`state_dict`),
module.py. Start reading at members.py; the others are layers, each a thin face of a function of
operations/.
"""

from __future__ import annotations

from ...base.missing_names import getattr_of
from ..examples import add_examples
from . import activation, container, conv, layers, linear, loss, normalization, pooling
from .activation import *  # noqa: F403
from .container import *  # noqa: F403
from .conv import *  # noqa: F403
from .layers import *  # noqa: F403
from .linear import Bilinear, Identity, Linear
from .loss import *  # noqa: F403
from .module import Module
from .normalization import *  # noqa: F403
from .pooling import *  # noqa: F403

_parts = (activation, container, conv, layers, loss, normalization, pooling)
__all__ = sorted(
    {"Bilinear", "Identity", "Linear", "Module", *(n for p in _parts for n in p.__all__)}
)
_ = Bilinear, Identity, Linear, Module, linear

add_examples("", globals(), __all__)


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
