"""tapegrad: a JIT-compiling, tape-based differentiator for Python."""

from . import autograd
from .dtypes import *  # noqa: F403
from .functions import registry as _registry
from .tape import current_tape
from .tensor import FUNCTIONS as _FUNCTIONS
from .tensor import Tensor

__version__ = "0.1.0"
globals().update(_registry.FUNCTIONS)
globals().update(_FUNCTIONS)
__all__ = ["Tensor", "autograd", "current_tape"]
