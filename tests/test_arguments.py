"""Arguments of `backward` and `grad`, gradient edges among them, beside torch where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from beside_torch import same

Case = Callable[[Any, Any, Any], Any]


def edge(lib: Any, tensor: Any) -> Any:
    return lib.autograd.graph.get_gradient_edge(tensor)


def after(call: Callable[[], Any], x: Any) -> Any:
    call()
    return x.grad


def multiple(lib: Any, x: Any) -> Any:
    class F(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            return a * 2, a * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g * 2 + h * 3

    return F.apply(x)


def of_another_output(lib: Any, x: Any, y: Any) -> Any:
    a, b = multiple(lib, x)
    other = lib.autograd.graph.GradientEdge(a.grad_fn, 1)
    return lib.autograd.grad(other, x, lib.ones(2)), edge(lib, b).output_nr


def without_the_tensor(lib: Any, x: Any, y: Any) -> Any:
    z = y * x
    root = edge(lib, z)
    del z
    return lib.autograd.grad(root, x, lib.ones(2))


def twice(lib: Any, x: Any, y: Any) -> Any:
    (g,) = lib.autograd.grad(edge(lib, y), x, lib.ones(2), create_graph=True)
    return lib.autograd.grad(edge(lib, g.sum()), edge(lib, x))


#: a case gets the library, a leaf ``x`` of two elements and ``y = x * x``
CASES: dict[str, Case] = {
    # edges as roots
    "scalar root": lambda lib, x, y: after(lambda: lib.autograd.backward(edge(lib, y.sum())), x),
    "no cotangent": lambda lib, x, y: lib.autograd.backward(edge(lib, y)),
    "root": lambda lib, x, y: after(
        lambda: lib.autograd.backward((edge(lib, y),), (lib.ones(2),)), x
    ),
    "wrong shape": lambda lib, x, y: lib.autograd.grad(edge(lib, y), x, lib.ones(3)),
    "float32": lambda lib, x, y: lib.autograd.grad(edge(lib, y), x, lib.ones(2, dtype=lib.float32)),
    "mixed": lambda lib, x, y: lib.autograd.grad(
        [edge(lib, y), y.sum()], [edge(lib, y), x], [lib.ones(2), None]
    ),
    "leaf root": lambda lib, x, y: lib.autograd.grad(edge(lib, x), x, lib.ones(2)),
    "leaf root, backward": lambda lib, x, y: after(
        lambda: lib.autograd.backward(edge(lib, x), lib.ones(2)), x
    ),
    "batched root": lambda lib, x, y: lib.autograd.grad(
        edge(lib, y), x, lib.eye(2), is_grads_batched=True
    ),
    "another output": of_another_output,
    "no such output": lambda lib, x, y: lib.autograd.grad(
        lib.autograd.graph.GradientEdge(y.grad_fn, 3), x, lib.ones(2)
    ),
    "without the tensor": without_the_tensor,
    "twice": twice,
    # edges as inputs
    "inputs of backward": lambda lib, x, y: after(
        lambda: y.sum().backward(inputs=[edge(lib, x)]), x
    ),
    "input of backward": lambda lib, x, y: after(lambda: y.sum().backward(inputs=edge(lib, x)), x),
    "no leaf": lambda lib, x, y: (
        after(lambda: y.sum().backward(inputs=[edge(lib, y)]), x),
        y.grad,
    ),
    "dict of edges": lambda lib, x, y: lib.autograd.grad(y.sum(), {"a": x, "b": edge(lib, y)}),
    "unused edge": lambda lib, x, y: lib.autograd.grad(
        y.sum(), edge(lib, lib.ones(1).requires_grad_())
    ),
    "unused, allowed": lambda lib, x, y: lib.autograd.grad(
        y.sum(), edge(lib, lib.ones(1).requires_grad_()), allow_unused=True
    ),
    "unused, materialized": lambda lib, x, y: lib.autograd.grad(
        y.sum(), edge(lib, lib.ones(1).requires_grad_()), materialize_grads=True
    ),
    # what is not a tensor
    "number as output": lambda lib, x, y: lib.autograd.grad(3, x),
    "numbers as outputs": lambda lib, x, y: lib.autograd.grad([3], x),
    "dict as outputs": lambda lib, x, y: lib.autograd.grad({"a": y.sum()}, x),
    "number as input": lambda lib, x, y: lib.autograd.grad(y.sum(), [3]),
    "number as root": lambda lib, x, y: lib.autograd.backward([3]),
    "number as input of backward": lambda lib, x, y: y.sum().backward(inputs=[3]),
    # nothing
    "no outputs": lambda lib, x, y: lib.autograd.grad([], x),
    "no outputs, allowed": lambda lib, x, y: lib.autograd.grad([], x, allow_unused=True),
    "no roots": lambda lib, x, y: lib.autograd.backward([]),
    "no inputs": lambda lib, x, y: lib.autograd.grad(y.sum(), []),
    "empty dict": lambda lib, x, y: lib.autograd.grad(y.sum(), {}),
    "no inputs of backward": lambda lib, x, y: y.sum().backward(inputs=[]),
    # numbers of cotangents
    "too many": lambda lib, x, y: lib.autograd.grad(y.sum(), x, [None, None]),
    "too few": lambda lib, x, y: lib.autograd.grad([y.sum(), x.sum()], x, [None]),
    "too few, backward": lambda lib, x, y: lib.autograd.backward([y.sum(), x.sum()], [None]),
    # passive tensors
    "passive output": lambda lib, x, y: lib.autograd.grad([y.sum(), lib.ones(())], x),
    "passive input": lambda lib, x, y: lib.autograd.grad(y.sum(), [x, lib.ones(2)]),
    "passive input, allowed": lambda lib, x, y: lib.autograd.grad(
        y.sum(), [x, lib.ones(2)], allow_unused=True
    ),
    "passive input of backward": lambda lib, x, y: y.sum().backward(inputs=[lib.ones(2)]),
    # the same again
    "repeated": lambda lib, x, y: lib.autograd.grad([y.sum(), y.sum()], [x, x, y]),
    "itself": lambda lib, x, y: lib.autograd.grad(x, x, lib.ones(2)),
    "generator": lambda lib, x, y: lib.autograd.grad(y.sum(), (i for i in [x])),
    "dict inputs": lambda lib, x, y: lib.autograd.grad(
        y.sum(), {"a": x, 3: lib.ones(2).requires_grad_()}, materialize_grads=True
    ),
    "dict inputs of backward": lambda lib, x, y: after(
        lambda: y.sum().backward(inputs={"a": x}), x
    ),
    "gradient in a tuple": lambda lib, x, y: after(lambda: y.backward((lib.ones(2),)), x),
    "integers": lambda lib, x, y: lib.autograd.grad(y, x, lib.ones(2, dtype=lib.int64)),
    "not retained": lambda lib, x, y: lib.autograd.grad(
        y.sum(), x, create_graph=True, retain_graph=False
    ),
    "contradiction": lambda lib, x, y: lib.autograd.grad(
        y.sum(), x, materialize_grads=True, allow_unused=False
    ),
    "only_inputs": lambda lib, x, y: lib.autograd.grad(y.sum(), x, only_inputs=False),
    "grad_variables": lambda lib, x, y: after(
        lambda: lib.autograd.backward(y.sum(), grad_variables=lib.ones(()) * 2), x
    ),
    "both names": lambda lib, x, y: lib.autograd.backward(
        y.sum(), lib.ones(()), grad_variables=lib.ones(())
    ),
    # batches of cotangents
    "batched, wrong shape": lambda lib, x, y: lib.autograd.grad(
        y, x, lib.ones(3), is_grads_batched=True
    ),
    "batched, none": lambda lib, x, y: lib.autograd.grad(y, x, is_grads_batched=True),
    "batched, sizes": lambda lib, x, y: lib.autograd.grad(
        [y, x.sum()], x, (lib.ones(3, 2), lib.ones(4)), is_grads_batched=True
    ),
    "batched, recorded": lambda lib, x, y: lib.autograd.grad(
        [y, x.sum()], x, (lib.ones(3, 2), lib.ones(3)), is_grads_batched=True, create_graph=True
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_arguments(name: str) -> None:
    def case(lib: Any) -> Any:
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        return CASES[name](lib, x, x * x)

    same(case)


def test_the_variable_of_a_leafs_node() -> None:
    def case(lib: Any) -> Any:
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        variable = (x * 2).grad_fn.next_functions[0][0].variable
        (variable * 3).sum().backward()
        return variable.grad, x.grad, variable.is_leaf, edge(lib, x).output_nr

    same(case)
