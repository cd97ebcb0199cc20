"""Tutorial 000: tracking, ``backward`` of scalars and vectors, ``detach`` and ``no_grad``."""

import numpy as np

from .helpers import NOT_SCALAR, grad_fn_name, raises, torch


def test_000_01_misspelt_keyword_is_an_error() -> None:
    message = "ones() got an unexpected keyword argument 'requries_grad'"
    with raises(TypeError, message):
        torch.ones(2, 2, requries_grad=True)


def test_000_02_gradient_of_the_mean() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    z = (x + 2) * (x + 2) * 3
    out = z.mean()
    out.backward()
    assert x.grad.tolist() == [[4.5, 4.5], [4.5, 4.5]]
    assert repr(x.grad) == "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])"


def test_000_03_requires_grad_tracks_every_operation() -> None:
    x = torch.ones(2, 2)
    x.requires_grad = True
    y = x + 2
    z = y * y * 3
    out = z.mean()
    assert all(result.requires_grad is True for result in (y, z, out))
    assert repr(z) == "tensor([[27., 27.],\n        [27., 27.]], grad_fn=<MulBackward0>)"
    assert repr(out) == "tensor(27., grad_fn=<MeanBackward0>)"


def test_000_04_scalar_backward_takes_no_argument() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    assert y.shape == ()
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_000_04_vector_backward_needs_a_tensor_of_its_shape() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    with raises(RuntimeError, NOT_SCALAR):
        y.backward()
    with raises(
        RuntimeError,
        "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a "
        "shape of torch.Size([2]).",
    ):
        y.backward(torch.ones(3))
    y.backward(torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 40.0]


def test_000_05_backward_with_a_weight_is_backward_of_the_weighted_sum() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    w = torch.randn(2, 3)
    y = x * x + 2 * x
    y.backward(w)
    with_weight = x.grad

    x.grad = None
    y = x * x + 2 * x
    torch.sum(y * w).backward()
    assert with_weight.tolist() == x.grad.tolist()  # bitwise
    np.testing.assert_allclose(x.grad.numpy(), w.numpy() * (2 * x.detach().numpy() + 2), rtol=1e-5)


def test_000_06_gradients_add_up() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    (x * 3).sum().backward()
    assert x.grad.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    (x * 4).sum().backward()
    assert x.grad.tolist() == [[7.0, 7.0], [7.0, 7.0]]


def test_000_07_detach_separates_from_the_record() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    detached = y.detach()
    assert detached.requires_grad is False
    assert detached.grad_fn is None
    assert detached.is_leaf is True
    assert y.requires_grad is True

    (x * detached).sum().backward()  # no gradient through `detached`: 3, not 6
    assert x.grad.tolist() == [3.0, 3.0]


def test_000_07_detach_shares_memory() -> None:
    x = torch.ones(2, requires_grad=True)
    detached = x.detach()
    detached[0] = 5.0
    assert x.tolist() == [5.0, 1.0]
    assert np.shares_memory(detached.numpy(), x.detach().numpy())


def test_000_08_no_grad_does_not_track() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        y = x + 2
        assert y.requires_grad is False
        assert y.grad_fn is None
    assert repr(y) == "tensor([3., 3.])"
    assert (x + 2).requires_grad is True


def test_000_09_grad_fn_is_the_function_that_made_the_tensor() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    assert x.grad_fn is None
    assert torch.ones(2).grad_fn is None
    assert grad_fn_name(x + 2) == "AddBackward0"
    assert grad_fn_name(x * 2) == "MulBackward0"
    assert grad_fn_name(x.mean()) == "MeanBackward0"


def test_000_09_grad_fcn_is_no_attribute() -> None:
    with raises(AttributeError, "'Tensor' object has no attribute 'grad_fcn'"):
        _ = torch.ones(1).grad_fcn


def test_000_10_grad_is_another_tensor() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    assert x.grad is None
    (x * 3).sum().backward()
    assert type(x.grad) is torch.Tensor
    assert x.grad is not x
    assert x.grad.is_leaf is True
    assert x.grad.requires_grad is False
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]
