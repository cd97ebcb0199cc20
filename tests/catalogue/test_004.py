"""Tutorial 004: ``Variable``, ``requires_grad`` of results, and what torch 0.4 changed."""

from typing import Any

import pytest

from .helpers import (
    DEFAULT_DTYPE,
    NOT_TRACKED,
    RANGE_DEPRECATED,
    Variable,
    grad_fn_name,
    raises,
    torch,
    warns,
)


def test_004_01_range_includes_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with warns(UserWarning, RANGE_DEPRECATED):
        x = torch.range(1, 6)
    assert x.dtype == DEFAULT_DTYPE
    print(x.reshape((-1, 3)))
    assert capsys.readouterr().out == "tensor([[1., 2., 3.],\n        [4., 5., 6.]])\n"


def test_004_02_requires_grad_is_false_by_default() -> None:
    x = torch.ones(2, 3)
    assert x.requires_grad is False
    x.requires_grad_()
    assert x.requires_grad is True


def test_004_03_variable_wants_a_tensor() -> None:
    with raises(TypeError, "Variable data has to be a tensor, but got range"):
        Variable(range(6))
    with raises(AttributeError, "'range' object has no attribute 'reshape'"):
        Variable(range(6).reshape((-1, 3)))  # type: ignore[attr-defined]


def test_004_04_variable_of_a_float_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    tensor = torch.FloatTensor(range(8)).reshape((-1, 4))
    my_ten = Variable(tensor)
    print(my_ten)
    print(my_ten.requires_grad)
    my_ten.requires_grad_()
    print(my_ten.requires_grad)
    assert capsys.readouterr().out == (
        "tensor([[0., 1., 2., 3.],\n        [4., 5., 6., 7.]])\nFalse\nTrue\n"
    )


def test_004_05_variable_is_tensor() -> None:
    tensor = torch.ones(2)
    assert type(Variable(tensor)) is torch.Tensor
    assert isinstance(torch.ones(1), Variable) is True
    assert isinstance(1.0, Variable) is False
    tracked = Variable(tensor, requires_grad=True)
    assert repr(tracked) == "tensor([1., 1.], requires_grad=True)"
    (tracked * 3).sum().backward()
    assert tracked.grad.tolist() == [3.0, 3.0]


def test_004_06_backward_of_untracked_tensors() -> None:
    x = torch.ones(1)
    y = torch.ones(1)
    z = x + y
    assert z.requires_grad is False
    with raises(RuntimeError, NOT_TRACKED):
        z.backward()


def test_004_07_one_tracked_operand() -> None:
    z = torch.ones(1) + torch.ones(1)
    w = torch.ones(1, requires_grad=True)
    total = w + z
    assert total.requires_grad is True
    total.backward()
    assert repr(w.grad) == "tensor([1.])"


def test_004_08_untracked_operands_have_no_grad() -> None:
    x = torch.ones(1)
    y = torch.ones(1)
    z = x + y
    w = torch.ones(1, requires_grad=True)
    total = w + z
    total.backward()
    assert (z.grad == x.grad == y.grad == None) is True  # noqa: E711
    assert x.requires_grad is False


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2),
        lambda: torch.zeros(2, 3),
        lambda: torch.rand(2),
        lambda: torch.randn(2),
        lambda: torch.tensor(1.0),
        lambda: torch.Tensor([1, 2]),
        lambda: torch.FloatTensor(range(3)),
        lambda: torch.ones(2, dtype=torch.float32),
        lambda: torch.ones(2, dtype=torch.float64),
    ],
)
def test_004_09_any_float_leaf_can_be_tracked(make: Any) -> None:
    assert not hasattr(torch, "existing_tensor")  # the text defines it nowhere
    existing_tensor = make()
    existing_tensor.requires_grad_()
    assert existing_tensor.requires_grad is True
    assert existing_tensor.is_leaf is True


def test_004_10_constructor_with_requires_grad() -> None:
    x = torch.zeros(3, 4, requires_grad=True)
    assert x.requires_grad is True
    assert x.shape == (3, 4)


def test_004_11_reshape_of_a_leaf_is_no_leaf() -> None:
    with warns(UserWarning, RANGE_DEPRECATED):
        leaf = torch.range(1, 6, requires_grad=True)
    lis = leaf.reshape((-1, 3))
    assert lis.is_leaf is False
    assert grad_fn_name(lis) == "ViewBackward0"
    assert repr(lis) == "tensor([[1., 2., 3.],\n        [4., 5., 6.]], grad_fn=<ViewBackward0>)"
    assert lis.requires_grad_() is lis
    assert lis.requires_grad is True
    assert grad_fn_name(lis) == "ViewBackward0"


def test_004_12_volatile_was_removed() -> None:
    tensor = torch.ones(2)
    with warns(
        UserWarning,
        "volatile was removed and now has no effect. Use `with torch.no_grad():` instead.",
    ):
        x = Variable(tensor, volatile=True)
    assert repr(x) == "tensor([1., 1.])"
    with warns(UserWarning, "volatile was removed"):
        assert x.volatile is False


def test_004_13_one_tracked_operand_tracks_the_result() -> None:
    a = torch.ones(2, requires_grad=True)
    b = torch.ones(2)
    assert (a + b).requires_grad is True
    assert (b + a).requires_grad is True
    assert (b + b).requires_grad is False


def test_004_14_no_gradient_for_untracked_operands() -> None:
    z = torch.ones(1) + torch.ones(1)
    w = torch.ones(1, requires_grad=True)
    total = w * z
    total.backward()
    assert z.grad is None
    assert z.requires_grad is False
    assert repr(w.grad) == "tensor([2.])"
