"""What `autograd.scipy` asks of the inside of `autograd.numpy`."""

from __future__ import annotations

import numpy as np

import tapegrad as tg
import tapegrad.numpy as tnp

from .tracer import primitive


def unbroadcast_f(target, f):
    """A product with cotangents, summed to the shape of an argument."""
    shape = np.shape(target)
    return lambda g: unbroadcast(f(g), shape)


def unbroadcast(x, shape):
    while np.ndim(x) > len(shape):
        x = tnp.sum(x, axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and np.shape(x)[axis] != 1:
            x = tnp.sum(x, axis=axis, keepdims=True)
    return x


def repeat_to_match_shape(g, shape, dtype, axis, keepdims):
    """A reduced array as large as before, and how often each element is there."""
    if not shape:
        return g, 1
    axes = range(len(shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = [a % len(shape) for a in axes]
    new = [1 if i in axes else n for i, n in enumerate(shape)]
    return tnp.reshape(g, new) + tnp.zeros(shape), float(np.prod([shape[a] for a in axes]))


def wrap_namespace(old, new):
    """Make primitives of functions."""
    for name, value in old.items():
        new[name] = primitive(value) if callable(value) and not isinstance(value, type) else value


def make_diagonal(D, offset=0, axis1=0, axis2=1):
    """Embed diagonals; a function of HIPS's own."""
    return tg.diag_embed(D, offset, axis1, axis2)
