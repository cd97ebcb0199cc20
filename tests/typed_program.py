"""A program as users write it, with types: `test_typing.py` has type checkers read it, and runs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, assert_type

import numpy as np

import tapegrad as tg
from tapegrad import Tensor
from tapegrad.autograd import Function
from tapegrad.autograd.function import FunctionCtx

# --------------------------------------------------------------------------- making tensors
x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
assert_type(x, Tensor)
zeros: Tensor = tg.zeros(2, 3, dtype=tg.float64)
ones: Tensor = tg.ones((2, 3), requires_grad=True)
flags = tg.tensor([True, False], dtype=tg.bool)
steps = tg.arange(0, 6, 2, dtype=tg.float32)
grid = tg.linspace(0, 1, 5)
identity = tg.eye(3)
noise = tg.randn(2, 2, generator=tg.Generator())
counts = tg.randint(0, 10, (4,))
filled = tg.full((2,), 1.5)
copied = tg.zeros_like(x)
from_numpy: Tensor = tg.from_numpy(np.ones(3))
kind: tg.dtype = x.dtype
shape: tg.Size = x.shape
numbers: np.ndarray[Any, Any] = x.detach().numpy()
tg.manual_seed(0)

# --------------------------------------------------------------------------- operators and functions
y = tg.exp(x) * tg.sin(x) + 2 * x - x / 3 + x**2 - (-x)
assert_type(y, Tensor)
assert_type(x > 0, Tensor)
assert_type(x == 1.0, Tensor)
assert_type(x[0], Tensor)
assert_type(x[1:].sum(), Tensor)
assert_type(x @ np.ones(3), Tensor)
matrix = x.view(3, 1) @ x.reshape((1, 3))
assert_type(matrix.t(), Tensor)
assert_type(matrix.max(), Tensor)
values, indices = matrix.max(dim=0)
assert_type(values, Tensor)
assert_type(matrix.sort(dim=1).indices, Tensor)
assert_type(tg.topk(x, 2).values, Tensor)
assert_type(tg.aminmax(x).min, Tensor)
joined = tg.cat((x, y), dim=0)
stacked = tg.stack([x, y], 1)
parts = tg.split(joined, 3)
assert_type(parts, tuple[Tensor, ...])
assert_type(tg.chunk(joined, 2)[0], Tensor)
total = tg.sum(joined, dim=0, keepdim=True)
mean = tg.mean(joined)
spread, centre = tg.std_mean(joined)
chosen = tg.where(x > 0, x, 0.0)
limited = x.clamp(min=0, max=2)
product = tg.einsum("ij,j->i", matrix, x)
softened = tg.softmax(x, dim=0) + tg.log_softmax(x, 0) + tg.logsumexp(x, 0)
turned = tg.permute(zeros, (1, 0)) + zeros.transpose(0, 1) + zeros.permute(1, 0)
found = tg.nonzero(x)
assert_type(tg.nonzero(x, as_tuple=True), tuple[Tensor, ...])
close: bool = tg.allclose(x, x, rtol=1e-3)
gathered = x.gather(0, tg.tensor([0, 2]))
length: int = x.size(0) + len(x) + x.numel() + x.dim()
number: float = float(x[0].detach()) + mean.item()
converted = x.to(tg.float32).double()
assert_type(converted, Tensor)
result = tg.maximum(x, y, out=tg.empty(3)) if not x.requires_grad else tg.maximum(x, y)
for row in matrix:
    assert_type(row, Tensor)

# --------------------------------------------------------------------------- gradients
handle = y.register_hook(lambda grad: grad * 2)
total.sum().backward(retain_graph=True)
handle.remove()
assert_type(x.grad, Tensor | None)
if x.grad is not None:
    x.grad.zero_()
with tg.no_grad():
    x -= 0.1 * x
    x.add_(1.0)
assert_type(tg.autograd.grad((x * x).sum(), x, create_graph=True), tuple[Tensor, ...])
(slope,) = tg.autograd.grad((x**3).sum(), (x,), grad_outputs=tg.tensor(1.0))


@tg.no_grad()
def twice(a: Tensor) -> Tensor:
    return a * 2


@tg.no_grad
def thrice(a: Tensor) -> Tensor:
    return a * 3


@tg.inference_mode()
def constant(a: Tensor, *, factor: float = 1.0) -> Tensor:
    return a * factor


assert_type(twice(x), Tensor)
assert_type(thrice(x), Tensor)
assert_type(constant(x, factor=2.0), Tensor)
with tg.enable_grad(), tg.set_grad_enabled(True), tg.autograd.graph.save_on_cpu():
    pass


class Cube(Function):
    """The older form: `forward` takes the context."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.exponent = 3
        return x**3

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        exponent: int = ctx.exponent
        return grad * exponent * x**2


class Scale(Function):
    """The newer form, with `setup_context`."""

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


cubes: Tensor = Cube.apply(x)
scaled: Tensor = Scale.apply(x, 2.0)
(cubes + scaled).sum().backward()


# --------------------------------------------------------------------------- transforms
def energy(a: Tensor) -> Tensor:
    return (a**2).sum()


def weighted(a: Tensor, weight: Tensor, *, power: int = 2) -> Tensor:
    return (weight * a**power).sum()


def with_one(a: Tensor) -> tuple[Tensor, Tensor]:
    return a, tg.ones_like(a)


def with_aux(a: Tensor) -> tuple[Tensor, str]:
    return (a**2).sum(), "squares"


slopes: Tensor = tg.grad(energy)(x)
value, slopes = tg.value_and_grad(energy)(x)
assert_type(value, Tensor)
slope_a, slope_w = tg.grad(weighted, argnums=(0, 1))(x, x, power=3)
(value, text), slopes = tg.value_and_grad(with_aux, has_aux=True)(x)
assert_type(text, str)
slopes, value = tg.func.grad_and_value(weighted)(x, weight=x)
assert_type(value, Tensor)
curvature: Tensor = tg.func.hessian(energy)(x)
jacobian: Tensor = tg.func.jacrev(tg.sin)(x)
jacobian = tg.func.jacfwd(lambda a: a * 2)(x) + tg.jacobian(tg.exp)(x) + tg.hessian(energy)(x)
along = tg.hvp(energy, x, x)
rows: Tensor = tg.vmap(energy)(matrix)
assert_type(tg.vmap(weighted, in_dims=(0, None))(matrix, x, power=3), Tensor)
assert_type(tg.vmap(with_one, in_dims=0, out_dims=(0, 1))(matrix), tuple[Tensor, Tensor])
each: Tensor = tg.func.vmap(tg.func.grad(energy))(matrix)
each = tg.vmap(tg.grad(tg.grad(tg.sin)))(x) + tg.grad(lambda a: a**3)(2.0)
batched: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]
batched = functools.partial(tg.vmap, in_dims=1, randomness="same")
each = batched(energy)(matrix)


def wrong_calls() -> None:
    """Calls that type checkers refuse: mypy says so where an ignored error is none."""
    tg.grad(energy)(x, x)  # type: ignore[call-arg]
    tg.grad(energy, argnums="a")  # type: ignore[arg-type]
    tg.value_and_grad(weighted)(x)  # type: ignore[call-arg]
    tg.value_and_grad(weighted)(x, x, exponent=3)  # type: ignore[call-arg]
    tg.vmap(energy)("matrix")  # type: ignore[arg-type]
    tg.vmap(energy)(matrix).norm_of()  # type: ignore[attr-defined]
    tg.func.jacrev(energy)(a=2)  # type: ignore[arg-type]
    tg.func.jacfwd(energy)()  # type: ignore[call-arg]
    tg.func.hessian(energy)(x, 2)  # type: ignore[call-arg]


primal, tangent = tg.func.jvp(energy, (x,), (x,))
full: Tensor = tg.autograd.functional.jacobian(energy, x)
again = tg.utils.checkpoint.checkpoint(energy, x, use_reentrant=False)
correct: bool = tg.autograd.gradcheck(energy, (x.detach().requires_grad_(),))
tg.testing.assert_close(x, x)


@tg.njit
def power(a: float, n: int) -> float:
    y = 1.0
    for _ in range(n):
        y = y * a
    return y


compiled = power(tg.tensor(2.0), 3)
