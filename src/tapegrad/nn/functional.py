"""PyTorch's ``torch.nn.functional``: functions of networks.

>>> import tapegrad as tg
>>> import tapegrad.nn.functional as F
>>> F.mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
tensor(2.)

They are made of the package's operations, in operations/, a file a family.
"""

from __future__ import annotations

from ..base.missing_names import getattr_of
from .examples import add_examples
from .operations.activation import *  # noqa: F403
from .operations.activation import __all__ as _activation
from .operations.class_loss import *  # noqa: F403
from .operations.class_loss import __all__ as _class_loss
from .operations.convolution import *  # noqa: F403
from .operations.convolution import __all__ as _convolution
from .operations.layers import *  # noqa: F403
from .operations.layers import __all__ as _layers
from .operations.loss import *  # noqa: F403
from .operations.loss import __all__ as _loss
from .operations.normalization import *  # noqa: F403
from .operations.normalization import __all__ as _normalization
from .operations.pooling import *  # noqa: F403
from .operations.pooling import __all__ as _pooling

__all__ = sorted(
    {*_activation, *_class_loss, *_convolution, *_layers, *_loss, *_normalization, *_pooling}
    - {"reduced", "reduction_of"}
)

add_examples("functional.", globals(), __all__)


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
