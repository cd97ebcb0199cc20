"""Errors that the tutorials' own features run into."""

from collections.abc import Callable
from typing import Any

import pytest

from .helpers import SECOND_BACKWARD, raises, torch

CHANGED_FLAG = (
    "you can only change requires_grad flags of leaf variables. If you want to use a computed "
    "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
)
LEAF_IN_PLACE = "a leaf Variable that requires grad is being used in an in-place operation."
LEAF_VIEW_IN_PLACE = (
    "a view of a leaf Variable that requires grad is being used in an in-place operation."
)


def test_x_01_requires_grad_of_a_non_leaf() -> None:
    y = torch.ones(2, requires_grad=True) + 1
    with raises(RuntimeError, CHANGED_FLAG):
        y.requires_grad = False
    with raises(RuntimeError, CHANGED_FLAG):
        y.requires_grad_(False)
    assert y.requires_grad is True


def test_x_02_numpy_of_a_tracked_tensor() -> None:
    x = torch.ones(2, requires_grad=True)
    message = (
        "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
    )
    with raises(RuntimeError, message):
        x.numpy()
    with raises(RuntimeError, message):
        (x + 1).numpy()
    assert x.detach().numpy().tolist() == [1.0, 1.0]


def _add_in_place(x: Any) -> None:
    x += 1


def _zero(x: Any) -> None:
    x.zero_()


def _set_item(x: Any) -> None:
    x[0] = 1.0


def _add_to_item(x: Any) -> None:
    x[0] += 1.0


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_add_in_place, LEAF_IN_PLACE),
        (_zero, LEAF_IN_PLACE),
        (_set_item, LEAF_VIEW_IN_PLACE),
        (_add_to_item, LEAF_VIEW_IN_PLACE),
    ],
)
def test_x_03_in_place_on_a_tracked_leaf(write: Callable[[Any], None], message: str) -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    with raises(RuntimeError, message):
        write(x)
    assert x.tolist() == [2.0, 3.0]  # as before
    with torch.no_grad():
        write(x)
    assert x.tolist() != [2.0, 3.0]


def test_x_04_integers_cannot_require_grad() -> None:
    message = "Only Tensors of floating point and complex dtype can require gradients"
    with raises(RuntimeError, message):
        torch.tensor([1, 2], requires_grad=True)
    x = torch.tensor([1, 2])
    # torch words the two below slightly differently
    either = r"\A[Oo]nly Tensors of floating point (and complex )?dtype can require gradients\Z"
    with pytest.raises(RuntimeError, match=either):
        x.requires_grad_()
    with pytest.raises(RuntimeError, match=either):
        x.requires_grad = True
    assert x.requires_grad is False


def test_x_05_inputs_that_took_no_part() -> None:
    x = torch.ones(2, requires_grad=True)
    with raises(
        RuntimeError,
        "The differentiated Tensor at index 0 appears to not have been used in the graph. Set "
        "allow_unused=True if this is the desired behavior.",
    ):
        torch.autograd.grad((x * 2).sum(), torch.ones(2, requires_grad=True))
    with raises(RuntimeError, "One of the differentiated Tensors does not require grad"):
        torch.autograd.grad((x * 2).sum(), torch.ones(2))


def test_x_05_index_of_the_unused_input() -> None:
    x = torch.ones(2, requires_grad=True)
    with raises(
        RuntimeError,
        "The differentiated Tensor at index 1 appears to not have been used in the graph. Set "
        "allow_unused=True if this is the desired behavior.",
    ):
        torch.autograd.grad((x * 2).sum(), [x, torch.ones(2, requires_grad=True)])


@pytest.mark.parametrize(
    ("make", "name"), [(lambda x: x + 1, "Add"), (lambda x: x * 2, "Mul")], ids=["add", "mul"]
)
def test_x_06_saved_tensor_changed_in_place(make: Callable[[Any], Any], name: str) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = make(x)
    z = (y * y).sum()
    if name == "Add":
        y += 1
    else:
        y *= 2
    with raises(
        RuntimeError,
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [torch.FloatTensor [2]], which is output 0 of {name}, is at version 1; "
        "expected version 0 instead. Hint: enable anomaly detection to find the operation that "
        "failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, "
        "check_nan=False).",
    ):
        z.backward()


def test_x_06_tensor_that_was_not_saved_may_change() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x + 1
    z = (y + 3).sum()
    y += 1
    z.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_x_07_odd_arguments() -> None:
    pair = torch.ones(2)
    with raises(RuntimeError, "can't retain_grad on Tensor that has requires_grad=False"):
        pair.retain_grad()
    with raises(RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"):
        bool(pair)
    with raises(RuntimeError, "a Tensor with 2 elements cannot be converted to Scalar"):
        pair.item()
    y = torch.ones(2, requires_grad=True).sum()
    with raises(TypeError, "gradients can be either Tensors or None, but got str"):
        y.backward("a")


def test_x_08_each_input_once() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    z = x**2 + y**3
    assert repr(torch.autograd.grad(z, x)) == "(tensor(4.),)"
    assert repr(torch.autograd.grad(z, y)) == "(tensor(27.),)"


def test_x_08_one_input_twice() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    z = x**2 + y**3
    torch.autograd.grad(z, x)
    with raises(RuntimeError, SECOND_BACKWARD):
        torch.autograd.grad(z, x)


def test_x_08_new_operations_on_a_freed_one() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    z = x**2
    z.backward()
    w = z * 3 + 1
    assert repr(w) == "tensor(13., grad_fn=<AddBackward0>)"
    with raises(RuntimeError, SECOND_BACKWARD):
        w.backward()
