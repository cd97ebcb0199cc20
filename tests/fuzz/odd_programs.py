"""Odd code of users: Functions, hooks, compiled functions that return what they should not.

Each target here takes tensors like any function that is called, and runs a small program around them whose
parts are drawn from the lists below.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad as tg

from .odd_values import Subclass, odd_values

__all__ = ["odd_programs"]

FORWARDS: list[Callable[..., Any]] = [
    lambda ctx, x, *a: x * 2,
    lambda ctx, x, *a: x,
    lambda ctx, x, *a: (x * 2, *a),
    lambda ctx, x, *a: [x * 2],
    lambda ctx, x, *a: (x * 2, None, 3),
    lambda ctx, x, *a: (),
    lambda ctx, x, *a: x[:1],
    lambda ctx, x, *a: x.view(-1),
    lambda ctx, x, *a: x.detach(),
    lambda ctx, x, *a: x.numpy(force=True),
    lambda ctx, x, *a: x.int(),
    lambda ctx, x, *a: (x, x),
    lambda ctx, x, *a: ((x * 2,), {"a": x}),
    lambda ctx, x, *a: x.add_(1),
    lambda ctx, x, *a: (ctx.mark_dirty(x), x.add_(1))[1],
    lambda ctx, x, *a: (ctx.mark_dirty(x), x * 2)[1],
    lambda ctx, x, *a: (ctx.mark_dirty(3, "a"), x * 2)[1],
    lambda ctx, x, *a: (ctx.mark_dirty(*a), x * 2)[1],
    lambda ctx, x, *a: (ctx.mark_non_differentiable(x), x * 2)[1],
    lambda ctx, x, *a: (ctx.mark_non_differentiable(3), x * 2)[1],
    lambda ctx, x, *a: (ctx.save_for_backward(x, x * 2, None), x * 2)[1],
    lambda ctx, x, *a: (ctx.save_for_backward(*a), x * 2)[1],
    lambda ctx, x, *a: (ctx.save_for_backward("a", [x]), x * 2)[1],
    lambda ctx, x, *a: (ctx.save_for_backward(x), ctx.save_for_backward(), x * 2)[2],
    lambda ctx, x, *a: (ctx.save_for_forward(x, 3), x * 2)[1],
    lambda ctx, x, *a: (ctx.saved_tensors, x * 2)[1],
    lambda ctx, x, *a: (ctx.set_materialize_grads(False), (x * 2, x * 3))[1],
    lambda ctx, x, *a: (setattr(ctx, "needs_input_grad", None), x * 2)[1],
    lambda ctx, x, *a: (setattr(ctx, "saved_tensors", 3), x * 2)[1],
    lambda ctx, x, *a: (setattr(ctx, "x", x), x * 2)[1],
    lambda ctx, x, *a: (ctx.set_(x), x)[1],
    lambda ctx, x, *a: tg.empty(0),
    lambda ctx, x, *a: x.sum().backward(),
    lambda ctx, x, *a: tg.tensor(3.0, requires_grad=True),
    lambda ctx, x, *a: (setattr(x, "data", tg.ones(7)), x * 2)[1],
    lambda ctx, x, *a: Subclass(x.tolist()),
    lambda ctx: tg.ones(2),
    lambda: None,
]  # fmt: skip

BACKWARDS: list[Callable[..., Any]] = [
    lambda ctx, *g: g[0] * 2,
    lambda ctx, *g: (g[0] * 2, None, None, None, None),
    lambda ctx, *g: g[0],
    lambda ctx, *g: (g[0], g[0], g[0]),
    lambda ctx, *g: None,
    lambda ctx, *g: (),
    lambda ctx, *g: (None,),
    lambda ctx, *g: 3,
    lambda ctx, *g: "ab",
    lambda ctx, *g: [g[0]],
    lambda ctx, *g: {"a": g[0]},
    lambda ctx, *g: g[0].sum(),
    lambda ctx, *g: tg.ones(7, 5),
    lambda ctx, *g: tg.ones(0),
    lambda ctx, *g: g[0].int(),
    lambda ctx, *g: g[0].float(),
    lambda ctx, *g: g[0].bool(),
    lambda ctx, *g: g[0].numpy(force=True),
    lambda ctx, *g: (x for x in g),
    lambda ctx, *g: g[0].mul_(2),
    lambda ctx, *g: g[0][..., :1],
    lambda ctx, *g: g[0].expand(3, *g[0].shape),
    lambda ctx, *g: ctx.saved_tensors[0],
    lambda ctx, *g: ctx.saved_tensors,
    lambda ctx, *g: ctx.x * g[0],
    lambda ctx, *g: (ctx.save_for_backward(g[0]), g[0])[1],
    lambda ctx, *g: (ctx.mark_dirty(g[0]), g[0])[1],
    lambda ctx, *g: object.__new__(tg.Tensor),
    lambda ctx, *g: tg.ones(g[0].shape, requires_grad=True),
    lambda ctx, *g: (tg.set_grad_enabled(True), g[0])[1],
    lambda ctx, *g: setattr(g[0], "data", tg.ones(9)),
    lambda ctx, *g: (setattr(g[0], "data", tg.ones(9)), g[0])[1],
    lambda ctx, *g: tg.autograd.grad(g[0].sum(), g[0]),
    lambda ctx: tg.ones(2),
    lambda ctx, *g: np.float64(2.0),
    lambda ctx, *g: (g[0].requires_grad_(), g[0])[1],
]  # fmt: skip


def _either(rng: random.Random, functions: list[Callable[..., Any]]) -> Callable[..., Any]:
    """Return a usual function, as the first one is, or any."""
    return functions[0] if rng.random() < 0.3 else rng.choice(functions)


def _swept(value: Any, rng: random.Random) -> Any:
    """Differentiate what requires grad."""
    values = value if isinstance(value, tuple | list) else (value,)
    roots = [t for t in values if isinstance(t, tg.Tensor) and t.requires_grad]
    for root in roots[:2]:
        root.sum().backward(retain_graph=rng.random() < 0.5, create_graph=rng.random() < 0.2)
    return value


def _function(rng: random.Random) -> type[Any]:
    """Draw a Function."""
    members: dict[str, Any] = {"forward": staticmethod(_either(rng, FORWARDS))}
    if rng.random() < 0.9:
        backward = _either(rng, BACKWARDS)
        if rng.random() < 0.1:
            backward = tg.autograd.function.once_differentiable(backward)
        members["backward"] = staticmethod(backward)
    if rng.random() < 0.2:
        forward = _either(rng, FORWARDS)
        members["forward"] = staticmethod(lambda *a: forward(None, *a))
        context = rng.choice([
            lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
            lambda ctx, inputs, output: ctx.save_for_backward(output),
            lambda ctx, inputs, output: ctx.mark_dirty(*inputs),
            lambda ctx, inputs: None,
            lambda ctx, inputs, output: 3,
        ])  # fmt: skip
        members["setup_context"] = staticmethod(context)
    if rng.random() < 0.2:
        tangent = rng.choice(BACKWARDS)
        members["jvp"] = staticmethod(tangent)
    if rng.random() < 0.2:
        members["generate_vmap_rule"] = rng.choice([True, False, None, "yes"])
    if rng.random() < 0.1:
        values = odd_values()
        result = rng.choice(values)
        members["vmap"] = staticmethod(
            rng.choice([
                lambda info, in_dims, x, *a: (x * 2, 0), lambda info, in_dims, x, *a: result,
                lambda info, in_dims, x, *a: (x, 5), lambda info, in_dims, x, *a: (x, (0, 0)),
            ])
        )  # fmt: skip
    return type("Odd", (tg.autograd.Function,), members)


def apply(rng: random.Random, *args: Any) -> Any:
    """Apply an odd Function, and differentiate it."""
    return _swept(_function(rng).apply(*args), rng)


def _result(rng: random.Random) -> Callable[..., Any]:
    """Draw a function of a hook: it returns an odd value, or what an odd backward returns."""
    if rng.random() < 0.5:
        return functools.partial(_either(rng, BACKWARDS), None)
    value = rng.choice(odd_values())
    return lambda *a: value


def _hooked(rng: random.Random, x: Any, *args: Any) -> Any:
    """Call odd hooks of a tensor, or of its node."""
    y = x * 2
    kinds = [
        lambda: y.register_hook(_result(rng)),
        lambda: x.register_hook(_result(rng)),
        lambda: y.grad_fn.register_hook(_result(rng)),
        lambda: y.grad_fn.register_prehook(_result(rng)),
        lambda: x.register_post_accumulate_grad_hook(_result(rng)),
        lambda: tg.autograd.graph.register_multi_grad_hook([x, y], _result(rng)),
        lambda: tg.autograd.graph.register_multi_grad_hook([x, y], _result(rng), mode="any"),
    ]
    for _ in range(rng.randint(1, 2)):
        rng.choice(kinds)()
    _swept(y, rng)
    return x.grad


def _packed(rng: random.Random, x: Any, *args: Any) -> Any:
    """Save through hooks that pack and unpack oddly."""
    pack = rng.choice(
        [lambda t: t, _result(rng), lambda t: t.detach().numpy(), lambda t: t.add_(1)]
    )
    unpack = rng.choice([lambda t: t, _result(rng), tg.tensor])
    with tg.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = rng.choice([lambda: x * x, lambda: x.exp(), lambda: x.sum().sin(), lambda: x @ x.T])()
    return _swept(y, rng)


def _transformed(rng: random.Random, x: Any, *args: Any) -> Any:
    """Transform an odd function."""
    transforms = [
        tg.func.grad, tg.func.vmap, tg.func.jacrev, tg.func.jacfwd, tg.func.hessian,
        tg.func.grad_and_value, lambda f: lambda *a: tg.func.vjp(f, *a)[1](*a),
        lambda f: lambda *a: tg.func.jvp(f, a, a), lambda f: lambda *a: tg.func.linearize(f, *a),
        lambda f: lambda *a: tg.autograd.functional.hessian(f, a),
        lambda f: lambda *a: tg.utils.checkpoint.checkpoint(f, *a, use_reentrant=rng.random() < 0.5),
    ]  # fmt: skip
    function: Any = functools.partial(_either(rng, BACKWARDS), None)
    if rng.random() < 0.3:
        function = _function(rng).apply
    for _ in range(rng.randint(1, 2)):
        function = rng.choice(transforms)(function)
    return _swept(function(x, *args), rng)


@functools.cache
def _compiled() -> tuple[Any, Any]:
    """Return two compiled functions; new kinds of arguments compile again, so that they are few."""

    @tg.njit
    def scaled(x, y):  # type: ignore[no-untyped-def]
        return x * y + 1.0

    @tg.njit
    def total(x):  # type: ignore[no-untyped-def]
        s = 0.0
        for i in range(x.shape[0]):
            s += x[i] * x[i]
        return s

    return scaled, total


def _njit(rng: random.Random, x: Any, *args: Any) -> Any:
    """Call a compiled function."""
    scaled, total = _compiled()
    vectors = [
        tg.ones(3, requires_grad=True), tg.ones(3), tg.ones(0, requires_grad=True), tg.ones(3).expand(3),
        tg.ones(6, requires_grad=True)[::2],
    ]  # fmt: skip
    odd = [None, "a", object(), object.__new__(tg.Tensor), [1.0], {}, lambda: 0, 2**70, set(), b"x"]
    numbers = [tg.tensor(2.0, requires_grad=True), tg.tensor(3.0), 2.0, tg.tensor(2.0)]
    if rng.random() < 0.5:
        return _swept(total(rng.choice(vectors if rng.random() < 0.6 else odd)), rng)
    pair = [rng.choice(numbers if rng.random() < 0.7 else odd) for _ in range(2)]
    if rng.random() < 0.1:
        pair = pair[: rng.randint(0, 1)]
    return _swept(scaled(*pair), rng)


def odd_programs(rng: random.Random) -> list[tuple[str, Callable[..., Any], bool, int]]:
    """Return name, function, that it takes a Tensor, and how often it should be drawn, in per mille."""
    parts = [
        ("Function.apply", apply, 60), ("hooks", _hooked, 40), ("packing hooks", _packed, 20),
        ("transforms", _transformed, 30), ("njit", _njit, 6),
    ]  # fmt: skip
    return [
        (name, functools.partial(function, rng), True, often) for name, function, often in parts
    ]
