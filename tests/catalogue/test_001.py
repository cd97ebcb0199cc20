"""Tutorial 001: leaves, loops, the signatures of ``backward`` and ``autograd.grad``."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from .helpers import (
    DEFAULT_DTYPE,
    NOT_SCALAR,
    NOT_TRACKED,
    SECOND_BACKWARD,
    grad_fn_name,
    raises,
    torch,
)


def signature(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Names and defaults of a function's parameters."""
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]


def plus_two_cubed() -> tuple[Any, Any]:
    """Give x and z = 3 (x + 2)^2 of the tutorial."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    y = x + 2
    return x, y * y * 3


def test_001_01_add_method() -> None:
    a = torch.tensor([1.0])
    b = torch.tensor([2.0])
    assert repr(a.add(b)) == "tensor([3.])"


def test_001_02_is_leaf_is_a_property() -> None:
    a = torch.tensor([1.0])
    assert a.is_leaf is True
    with raises(TypeError, "'bool' object is not callable"):
        a.is_leaf()


def test_001_03_untracked_results_are_leaves() -> None:
    a = torch.tensor([1.0])
    b = torch.tensor([2.0])
    c = a.add(b)
    assert c.is_leaf is True
    a.requires_grad_()
    c = a.add(b)
    assert c.is_leaf is False
    assert a.is_leaf is True


def test_001_04_loop_on_values(capsys: pytest.CaptureFixture[str]) -> None:
    c1 = torch.Tensor([0])
    c2 = torch.Tensor([10])
    while c1[0] < c2[0]:
        c1 += 2
        c2 += 1
    print(c1)

    c1 = torch.Tensor([0])
    c2 = torch.Tensor([10])
    while c1 < c2:
        c1 += 2
        c2 += 1
    print(c1)
    assert capsys.readouterr().out == "tensor([20.])\ntensor([20.])\n"


def test_001_04_comparison_gives_a_bool_tensor() -> None:
    less = torch.Tensor([0]) < torch.Tensor([10])
    assert type(less) is torch.Tensor
    assert less.dtype == torch.bool
    assert repr(less) == "tensor([True])"
    assert bool(less) is True


def test_001_05_the_loop_written_with_functions() -> None:
    # the tutorial's tf.while_loop(condition, body, variables)
    def condition(c1: Any, c2: Any) -> Any:
        return c1 < c2

    def body(c1: Any, c2: Any) -> tuple[Any, Any]:
        return c1 + 2, c2 + 1

    variables = torch.tensor([0.0]), torch.tensor([10.0])
    while condition(*variables):
        variables = body(*variables)
    assert [v.tolist() for v in variables] == [[20.0], [20.0]]


def test_001_06_backward_of_one_element(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.tensor([2.0], requires_grad=True)
    w = torch.tensor([1.0], requires_grad=True)
    a = w.add(x)
    b = w.add(1)
    y = a.mul(b)
    assert y.shape == (1,)
    y.backward()
    print(w.grad)
    print(x.grad)
    assert capsys.readouterr().out == "tensor([5.])\ntensor([2.])\n"


def test_001_07_signature_of_tensor_backward() -> None:
    assert signature(torch.Tensor.backward) == [
        ("self", inspect.Parameter.empty),
        ("gradient", None),
        ("retain_graph", None),
        ("create_graph", False),
        ("inputs", None),
    ]


def test_001_07_backward_with_inputs_leaves_other_leaves_alone() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    (x * y).backward(inputs=[x])
    assert repr(x.grad) == "tensor(3.)"
    assert y.grad is None


def test_001_08_arguments_of_tensor() -> None:
    a = torch.tensor([1.0], dtype=torch.float64, device=None, requires_grad=True, pin_memory=False)
    assert a.dtype == torch.float64
    assert a.requires_grad is True
    assert torch.tensor([1.0]).requires_grad is False
    assert torch.tensor([1.0]).dtype == DEFAULT_DTYPE
    assert torch.tensor([1.0], device="cpu").tolist() == [1.0]
    with raises(TypeError, "tensor() takes 1 positional argument but 2 were given"):
        torch.tensor([1.0], torch.float64)


def test_001_09_tensor_is_not_tracked_by_default() -> None:
    a = torch.tensor(2.0)
    assert a.requires_grad is False
    assert repr(a) == "tensor(2.)"


def test_001_10_nor_is_what_is_computed_from_it() -> None:
    a = torch.tensor(2.0)
    b = a**2 + 1
    assert b.requires_grad is False
    assert repr(b) == "tensor(5.)"


def test_001_11_two_ways_to_start_tracking() -> None:
    a = torch.tensor(2.0)
    assert a.requires_grad_(True) is a
    assert repr(a) == "tensor(2., requires_grad=True)"
    a = torch.tensor(2.0)
    a.requires_grad = True
    assert a.requires_grad is True
    assert repr(a) == "tensor(2., requires_grad=True)"


def test_001_12_tracking_does_not_reach_back() -> None:
    a = torch.tensor(2.0)
    b = a**2 + 1
    a.requires_grad_(True)
    assert repr(b) == "tensor(5.)"
    assert b.requires_grad is False
    with raises(RuntimeError, NOT_TRACKED):
        b.backward()
    assert a.grad is None


def test_001_13_backward_of_the_result_computed_again() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    b = a**2 + 1
    assert repr(b) == "tensor(5., grad_fn=<AddBackward0>)"
    b.backward()
    assert repr(a.grad) == "tensor(4.)"


def test_001_14_vector_needs_a_gradient() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = a**2 + 1
    assert repr(b) == "tensor([2., 5.], grad_fn=<AddBackward0>)"
    with raises(RuntimeError, NOT_SCALAR):
        b.backward()


def test_001_15_gradient_keyword() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = a**2 + 1
    b.backward(gradient=torch.tensor([1.0, 1.0]))
    assert repr(a.grad) == "tensor([2., 4.])"


def test_001_15_gradient_has_the_shape_of_the_output() -> None:
    # the tutorial says: of the tensor that was created
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = (a**2).sum()
    with raises(
        RuntimeError,
        "Mismatch in shape: grad_output[0] has a shape of torch.Size([2]) and output[0] has a "
        "shape of torch.Size([]).",
    ):
        b.backward(gradient=torch.tensor([1.0, 1.0]))
    b.backward(gradient=torch.tensor(1.0))
    assert repr(a.grad) == "tensor([2., 4.])"


def test_001_16_ones_like_takes_a_tensor_only() -> None:
    message = "ones_like(): argument 'input' (position 1) must be Tensor, not list"
    with raises(TypeError, message):
        torch.ones_like([1.0, 1.0])


def test_001_17_second_backward_without_retain_graph() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = a**2 + 1
    b.backward(gradient=torch.tensor([1.0, 1.0]))
    with raises(RuntimeError, SECOND_BACKWARD):
        b.backward(gradient=torch.tensor([1.0, 1.0]))
    assert repr(a.grad) == "tensor([2., 4.])"  # as the first run left it


def test_001_18_signature_of_grad() -> None:
    assert signature(torch.autograd.grad) == [
        ("outputs", inspect.Parameter.empty),
        ("inputs", inspect.Parameter.empty),
        ("grad_outputs", None),
        ("retain_graph", None),
        ("create_graph", False),
        ("only_inputs", True),
        ("allow_unused", None),
        ("is_grads_batched", False),
        ("materialize_grads", False),
    ]


def test_001_18_inputs_of_grad_may_be_a_dict() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    grads = torch.autograd.grad(x * y, {"x": x, "y": y})
    assert repr(grads) == "{'x': tensor(3.), 'y': tensor(2.)}"


def test_001_18_unused_inputs_of_grad() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    grads = torch.autograd.grad(x * x, (x, unused), only_inputs=True, allow_unused=True)
    assert repr(grads) == "(tensor(4.), None)"
    grads = torch.autograd.grad(x * x, (x, unused), materialize_grads=True)
    assert repr(grads) == "(tensor(4.), tensor([0., 0.]))"


def test_001_19_grad_gives_a_tuple(capsys: pytest.CaptureFixture[str]) -> None:
    x, z = plus_two_cubed()
    print(torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x)))
    assert capsys.readouterr().out == ("(tensor([[18., 24., 30.],\n        [36., 42., 48.]]),)\n")


def test_001_20_second_grad_without_retain_graph() -> None:
    x, z = plus_two_cubed()
    torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x))
    with raises(RuntimeError, SECOND_BACKWARD):
        torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x))


def test_001_20_second_grad_with_retain_graph() -> None:
    x, z = plus_two_cubed()
    ones = torch.ones_like(x)
    first = torch.autograd.grad(inputs=x, outputs=z, grad_outputs=ones, retain_graph=True)
    second = torch.autograd.grad(inputs=x, outputs=z, grad_outputs=ones)
    assert repr(first) == repr(second)


def test_001_21_second_derivative(capsys: pytest.CaptureFixture[str]) -> None:
    x, z = plus_two_cubed()
    dzdx = torch.autograd.grad(
        inputs=x, outputs=z, grad_outputs=torch.ones_like(x), create_graph=True
    )
    assert grad_fn_name(dzdx[0]) == "AddBackward0"
    assert repr(dzdx) == (
        "(tensor([[18., 24., 30.],\n        [36., 42., 48.]], grad_fn=<AddBackward0>),)"
    )
    # outputs is the tuple, grad_outputs a tensor
    print(torch.autograd.grad(inputs=x, outputs=dzdx, grad_outputs=torch.ones_like(x)))
    assert capsys.readouterr().out == "(tensor([[6., 6., 6.],\n        [6., 6., 6.]]),)\n"


def test_001_22_retain_graph_does_not_record_the_backward() -> None:
    x, z = plus_two_cubed()
    ones = torch.ones_like(x)
    (dzdx,) = torch.autograd.grad(inputs=x, outputs=z, grad_outputs=ones, retain_graph=True)
    assert dzdx.grad_fn is None
    assert dzdx.requires_grad is False
    with raises(RuntimeError, NOT_TRACKED):
        torch.autograd.grad(inputs=x, outputs=dzdx, grad_outputs=ones)


def test_001_23_grad_leaves_dot_grad_alone() -> None:
    x, z = plus_two_cubed()
    torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x))
    assert x.grad is None


def test_001_24_signature_of_autograd_backward() -> None:
    assert signature(torch.autograd.backward) == [
        ("tensors", inspect.Parameter.empty),
        ("grad_tensors", None),
        ("retain_graph", None),
        ("create_graph", False),
        ("grad_variables", None),
        ("inputs", None),
    ]


def test_001_24_autograd_backward_is_the_method() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    b = a**2 + 1
    torch.autograd.backward(b)
    assert repr(a.grad) == "tensor(4.)"
    other = torch.tensor(2.0, requires_grad=True)
    (other**2 + 1).backward()
    assert repr(other.grad) == repr(a.grad)


def test_001_25_autograd_backward_of_several_roots() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = 3 * x
    torch.autograd.backward([y, z], grad_tensors=[torch.ones(2), torch.tensor([1.0, 2.0])])
    assert x.grad.tolist() == [5.0, 10.0]
    torch.autograd.backward([(x * x).sum(), x.sum()])  # scalars need no gradients
    assert x.grad.tolist() == [8.0, 15.0]


def test_001_26_statement_without_saved_tensors_is_used_again() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    y = x + 2
    z = y * y * 3
    torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x))
    z = y * y * 3
    (dzdx,) = torch.autograd.grad(inputs=x, outputs=z, grad_outputs=torch.ones_like(x))
    assert repr(dzdx) == "tensor([[18., 24., 30.],\n        [36., 42., 48.]])"
