"""Where an odd call is made: in another thread, inside a mode or a transform, in a hook, in a Function."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import tapegrad as tg

__all__ = ["PLAIN", "SURROUNDINGS", "surrounded"]

Call = Callable[[Any], Any]


def _in_thread(call: Call, x: Any) -> Any:
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(x))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _within(mode: Callable[[], Any]) -> Callable[[Call, Any], Any]:
    def run(call: Call, x: Any) -> Any:
        with mode():
            return call(x)

    return run


def _scalar(call: Call) -> Call:
    def run(t: Any) -> Any:
        value = call(t)
        return value.sum() if isinstance(value, tg.Tensor) else value

    return run


def _in_hook(call: Call, x: Any) -> Any:
    leaf = tg.tensor([1.0, 2.0], requires_grad=True)
    handle = leaf.register_hook(lambda g: call(x))
    try:
        (leaf * leaf).sum().backward()
    finally:
        handle.remove()
    return leaf.grad


def _in_function(call: Call, x: Any) -> Any:
    class Calling(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            call(t)
            return t * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return call(g)

    y = Calling.apply(x)
    if isinstance(y, tg.Tensor) and y.requires_grad:
        y.sum().backward()
    return y


def _in_dual_level(call: Call, x: Any) -> Any:
    with tg.autograd.forward_ad.dual_level():
        if isinstance(x, tg.Tensor) and x.is_floating_point():
            x = tg.autograd.forward_ad.make_dual(x, tg.ones_like(x))
        value = call(x)
        return tg.autograd.forward_ad.unpack_dual(value) if isinstance(value, tg.Tensor) else value


def _checkpointed(call: Call, x: Any) -> Any:
    y = tg.utils.checkpoint.checkpoint(call, x, use_reentrant=False)
    if isinstance(y, tg.Tensor) and y.requires_grad:
        y.sum().backward()
    return y


def _like(x: Any) -> Any:
    return tg.ones_like(x) if isinstance(x, tg.Tensor) else x


#: ways in which a call that raises must leave its operands alone
PLAIN: dict[str, Callable[[Call, Any], Any]] = {
    "thread": _in_thread,
    "no_grad": _within(tg.no_grad),
    "inference_mode": _within(tg.inference_mode),
    "anomaly": _within(lambda: tg.autograd.set_detect_anomaly(True)),
    "saved_tensors_hooks": _within(
        lambda: tg.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    ),
    "allow_mutation": _within(tg.autograd.graph.allow_mutation_on_saved_tensors),
}
#: name -> function of a call and its first argument
SURROUNDINGS: dict[str, Callable[[Call, Any], Any]] = {
    **PLAIN,
    "vmap": lambda call, x: tg.func.vmap(call)(x),
    "vmap, last": lambda call, x: tg.func.vmap(call, in_dims=-1, out_dims=-1)(x),
    "grad": lambda call, x: tg.func.grad(_scalar(call))(x),
    "jvp": lambda call, x: tg.func.jvp(call, (x,), (_like(x),)),
    "vjp": lambda call, x: tg.func.vjp(call, x)[1](_like(x)),
    "jacrev": lambda call, x: tg.func.jacrev(call)(x),
    "jacfwd": lambda call, x: tg.func.jacfwd(call)(x),
    "hessian": lambda call, x: tg.func.hessian(_scalar(call))(x),
    "vmap(grad)": lambda call, x: tg.func.vmap(tg.func.grad(_scalar(call)))(x),
    "functional.jacobian": lambda call, x: tg.autograd.functional.jacobian(call, x),
    "dual level": _in_dual_level,
    "hook": _in_hook,
    "Function": _in_function,
    "checkpoint": _checkpointed,
}


def surrounded(rng: random.Random) -> tuple[str, Callable[[Call, Any], Any] | None]:
    """Draw a name and a way; mostly none."""
    if rng.random() < 0.75:
        return "", None
    name = rng.choice(list(SURROUNDINGS))
    return name, SURROUNDINGS[name]
