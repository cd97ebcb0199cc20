"""`autograd.tracer` by tapegrad: primitives are `autograd.Function`s."""

from __future__ import annotations

import functools

import tapegrad as tg
from tapegrad.tape import recording as record

Box = type(tg.ones(1))


def isbox(x):
    """True for what is differentiated."""
    return record.is_tensor(x) and record.is_active(x)


def getval(x):
    return x.detach() if record.is_tensor(x) else x


class _Call(tg.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(ctx, call, *tensors):
        function, args, kwargs, places = call
        args = list(args)
        for i, t in zip(places, tensors, strict=True):
            args[i] = t.detach().numpy()
        args = [x.numpy() if record.is_tensor(x) else x for x in args]
        out = function.fun(*args, **kwargs)
        out = out if record.is_tensor(out) else tg.tensor(out)
        ctx.save_for_backward(*tensors, out)
        ctx.call = call
        return out.clone() if any(out is t for t in tensors) else out

    @staticmethod
    def backward(ctx, g):
        function, args, kwargs, places = ctx.call
        *tensors, out = ctx.saved_tensors
        args = list(args)
        for i, t in zip(places, tensors, strict=True):
            args[i] = t
        if function.vjp_argnums is not None:
            found = function.vjp_argnums(tuple(places), out, args, kwargs)(g)
            return (None, *map(_tensor, found))
        gradients = []
        for i in places:
            if function.vjp_argnum is not None:
                gradients.append(function.vjp_argnum(i, out, args, kwargs)(g))
            elif function.vjps.get(i) is not None:
                gradients.append(function.vjps[i](out, *args, **kwargs)(g))
            elif i in function.vjps:
                gradients.append(None)
            else:
                raise NotImplementedError(f"VJP of {function.__name__} wrt argnum {i} not defined")
        return (None, *map(_tensor, gradients))


def _tensor(gradient):
    return gradient if gradient is None or record.is_tensor(gradient) else tg.tensor(gradient)


class primitive:
    """A function whose derivative is told."""

    def __init__(self, fun):
        functools.update_wrapper(self, fun)
        self.fun, self.vjps, self.vjp_argnum = fun, {}, None
        self.vjp_argnums = None

    def defvjp(self, maker, argnum=0):
        self.vjps[argnum] = lambda ans, *args, **kwargs: (
            lambda g: maker(g, ans, None, None, *args, **kwargs)
        )

    # names of older versions

    def defgrad(self, maker, argnum=0):
        self.vjps[argnum] = maker

    def defvjp_is_zero(self, argnums=(0,)):
        for i in argnums:
            self.vjps[i] = lambda ans, *args, **kwargs: lambda g: g * 0

    def __call__(self, *args, **kwargs):
        places = [i for i, x in enumerate(args) if isbox(x)]
        if not places:
            arrays = [x.numpy() if record.is_tensor(x) else x for x in args]
            result = self.fun(*arrays, **kwargs)
            return tg.tensor(result) if any(map(record.is_tensor, args)) else result
        return _Call.apply((self, args, kwargs, places), *[args[i] for i in places])


def notrace_primitive(fun):
    return fun


def register_notrace(trace_type, fun):
    """Nothing is traced."""


new_box = None
