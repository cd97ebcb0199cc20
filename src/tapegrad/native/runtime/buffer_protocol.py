"""The buffer protocol of Tensors: ``memoryview(tensor)``, ``file.write(tensor)``."""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import p64, stack_words
from .recording import slow


def get_buffer(tensor, view, flags):  # type: ignore[no-untyped-def]
    """Fill a ``Py_buffer``; Python makes an array over the tensor's memory, which then owns the view."""
    args = stack_words(1)
    p64(args)[0] = tensor
    array = slow(nt.BUFFER_CODE, args, 1, 0)
    failed = np.int64(-1)
    if array != 0:
        failed = np.int64(it.get_buffer(array, view, flags))
        it.py_decref(array)
    else:
        p64(view)[1] = 0  # the view's owner, of which there is none after an error
    return failed
