"""Functions and classes that programs use, as text: it runs with ``lib`` in the place of the library."""

from __future__ import annotations

__all__ = ["PRELUDE"]

PRELUDE = '''
import math

log = {}   # what hooks noted, by tensor
kept = {}  # tensors that keep their gradients
Function = lib.autograd.Function
F = lib.nn.functional if hasattr(lib, 'nn') else lib


def note(name):
    def hook(g):
        log.setdefault(name, []).append(g.detach().clone())
    return hook


def known(gs, xs, i=0):
    """A gradient, or the zeros that it is where there is none."""
    return lib.zeros_like(xs[i]) if gs[i] is None else gs[i].clone()


def known_rows(gs, xs):
    """A batched gradient of two cotangents, or the zeros that it is where there is none."""
    return lib.stack([lib.zeros_like(xs[0])] * 2) if gs[0] is None else gs[0].clone()


def nested(x):
    """A hook that runs a pass of its own, to another leaf."""
    values = x.detach().clone()
    def hook(g):
        with lib.enable_grad():
            y = values.clone().requires_grad_()
            y.register_hook(lambda h: h * 0.5)
            (d,) = lib.autograd.grad((y * y * y).sum(), y)
        return g * (1 + 0.1 * d.sum().tanh())
    return hook


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


class Both(Function):
    """Two tensors in, two out, one number beside them."""

    @staticmethod
    def forward(ctx, x, y, k):
        ctx.save_for_backward(x, y)
        ctx.k = k
        return x * y * k, x - y

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        gx = (g * y * ctx.k + h) if ctx.needs_input_grad[0] else None
        gy = (g * x * ctx.k - h) if ctx.needs_input_grad[1] else None
        return gx, gy, None


class Result(Function):
    """Saves its result."""

    @staticmethod
    def forward(ctx, x):
        y = lib.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class Dirty(Function):
    """Writes its operand in place."""

    @staticmethod
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 2


class Inner(Function):
    """Runs a pass in its backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with lib.enable_grad():
            y = x.detach().clone().requires_grad_()
            z = y * 1.0
            z.register_hook(lambda h: h * 2)
            (d,) = lib.autograd.grad((z * z).sum(), y)
        return g * 2 * x + 0 * d * g


def wave(a):
    return (a * 1.3).sin() * a


def written(a):
    b = a * 1.0
    b.mul_(2)
    b.add_(a)
    return b * a


def mixed(a):
    return (a * a.sum()).tanh() + a.cumsum(-1)


def scaled(a):
    return a.softmax(-1) * (a * a + 0.5).log() if a.ndim else a * a


def checkpointed(f, *args):
    return lib.utils.checkpoint.checkpoint(f, *args, use_reentrant=False)


def part(value, k):
    return value[k] if isinstance(value, (tuple, list)) else value


def total(f):
    return lambda a: f(a).sum()


def jvp(f, a):
    return lib.func.jvp(f, (a,), (lib.ones_like(a) * 0.7,))[1]


def vjp(f, a):
    value, pull = lib.func.vjp(f, a)
    return pull(lib.ones_like(value) * 0.6)[0]
'''
