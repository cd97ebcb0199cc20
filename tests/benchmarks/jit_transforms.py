"""What is asked of a program: value and gradients, Hessians, higher derivatives, blocks of a Jacobian.

Each transform is a function of a library with JAX's call style (`jax`, tapegrad, or `Transforms` of torch)
that returns a function of the same arguments; eager code has the forms that its users write.
"""

from collections.abc import Callable, Sequence
from typing import Any

from racing import Result, Runner

Program = Callable[..., Any]
#: a library, a function of (*inputs, *data), the number of inputs -> a function of the same arguments
Transform = Callable[[Any, Program, int], Callable[..., Result]]
#: the same for eager code: a library, a function, its leaves, its data -> what is timed
Recorded = Callable[[Any, Program, Sequence[Any], Sequence[Any]], Runner]


class Transforms:
    """PyTorch's or tapegrad's `func`, called as in JAX."""

    def __init__(self, lib: Any) -> None:
        self.func = lib.func
        for name in ("vmap", "jvp", "jacrev", "hessian", "grad"):
            setattr(self, name, getattr(lib.func, name))

    def value_and_grad(self, function: Program, argnums: Any) -> Program:
        with_value = self.func.grad_and_value(function, argnums=argnums)
        return lambda *arguments: with_value(*arguments)[::-1]


def applied(transform: Transform) -> Recorded:
    """Eager code that uses `func` itself."""

    def recorded(lib: Any, function: Program, leaves: Sequence[Any], data: Sequence[Any]) -> Runner:
        arguments = [leaf.detach() for leaf in leaves]
        call = transform(Transforms(lib), function, len(leaves))
        return lambda: tuple(part.detach().numpy() for part in call(*arguments, *data))

    return recorded


def value_and_gradients(lib: Any, function: Program, count: int) -> Callable[..., Result]:
    differentiated = lib.value_and_grad(function, argnums=tuple(range(count)))

    def call(*arguments: Any) -> Result:
        value, gradients = differentiated(*arguments)
        return (value, *gradients)

    return call


def backward(lib: Any, function: Program, leaves: Sequence[Any], data: Sequence[Any]) -> Runner:
    """Value and gradients as a PyTorch user gets them."""

    def run() -> Result:
        for leaf in leaves:
            leaf.grad = None
        value = function(*leaves, *data)
        value.backward()
        return (value.item(), *(leaf.grad.numpy() for leaf in leaves))

    return run


def hessian_vector(lib: Any, function: Program, count: int) -> Callable[..., Result]:
    """The Hessian times a vector, which is the last argument."""

    def call(x: Any, v: Any) -> Result:
        return (lib.jvp(lib.grad(function), (x,), (v,))[1],)

    return call


def double_backward(
    lib: Any, function: Program, leaves: Sequence[Any], data: Sequence[Any]
) -> Runner:
    (x,), (v,) = leaves, data

    def run() -> Result:
        (g,) = lib.autograd.grad(function(x), x, create_graph=True)
        (h,) = lib.autograd.grad((g * v).sum(), x)
        return (h.numpy(),)

    return run


def hessian(lib: Any, function: Program, count: int) -> Callable[..., Result]:
    differentiated = lib.hessian(function)
    return lambda *arguments: (differentiated(*arguments),)


def derivative(order: int, *, many: bool = False) -> Transform:
    """The derivative of an order, at one point or at each of an array."""

    def transform(lib: Any, function: Program, count: int) -> Callable[..., Result]:
        for _ in range(order):
            function = lib.grad(function)
        if many:
            function = lib.vmap(function)
        return lambda x: (function(x),)

    return transform


def repeated_grad(order: int) -> Recorded:
    """One `grad` an order; of many points at once through their sum."""

    def recorded(lib: Any, function: Program, leaves: Sequence[Any], data: Sequence[Any]) -> Runner:
        (x,) = leaves

        def run() -> Result:
            y = function(x)
            for k in range(order):
                (y,) = lib.autograd.grad(y.sum(), x, create_graph=k + 1 < order)
            return (y.numpy(),)

        return run

    return recorded


def observation_blocks(lib: Any, function: Program, count: int) -> Callable[..., Result]:
    """The non-zero blocks of a Jacobian whose rows are observations of a camera and a point."""
    blocks = lib.vmap(lib.jacrev(function, argnums=(0, 1, 2)))

    def call(
        cameras: Any, points: Any, weights: Any, features: Any, seen_by: Any, seen: Any
    ) -> Result:
        return tuple(blocks(cameras[seen_by], points[seen], weights, features))

    return call


def gradients_of_both(
    lib: Any, function: Program, leaves: Sequence[Any], data: Sequence[Any]
) -> Runner:
    """The same blocks by two passes backward: an observation's residuals depend on its rows only."""
    cameras, points, weights = (leaf.detach() for leaf in leaves)
    features, seen_by, seen = data

    def run() -> Result:
        rows = cameras[seen_by], points[seen], weights.clone()
        for part in rows:
            part.requires_grad_()
        residuals = lib.func.vmap(function)(*rows, features)
        passes = [
            lib.autograd.grad(residuals[:, k].sum(), rows, retain_graph=k == 0) for k in range(2)
        ]
        return tuple(lib.stack(parts, 1).numpy() for parts in zip(*passes, strict=True))

    return run
