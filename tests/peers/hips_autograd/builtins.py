"""`autograd.builtins`: Python's own, and Tensors are arrays for `isinstance`."""

from __future__ import annotations

import builtins

import numpy as np

import tapegrad as tg

type, tuple, list, dict = builtins.type, builtins.tuple, builtins.list, builtins.dict


def isinstance(value, kinds):
    """True for a Tensor where an array is asked for."""
    many = kinds if builtins.isinstance(kinds, builtins.tuple) else (kinds,)
    return builtins.isinstance(value, kinds) or (np.ndarray in many and tg.is_tensor(value))
