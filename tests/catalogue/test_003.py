"""Tutorial 003: printing, second derivatives, vector-Jacobian products."""

import re

import numpy as np
import pytest

from .helpers import LIBRARY, NOT_SCALAR, grad_fn_name, raises, torch


def test_003_01_repr_of_a_leaf(capsys: pytest.CaptureFixture[str]) -> None:
    print(torch.ones(2, 2, requires_grad=True))
    assert capsys.readouterr().out == (
        "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)\n"
    )


def test_003_02_repr_of_grad_fn(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    y = torch.add(x, 1)
    print(y)
    print(y.grad_fn)
    shown, function = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert shown == "tensor([[2., 2.],\n        [2., 2.]], grad_fn=<AddBackward0>)"
    assert re.fullmatch(r"<AddBackward0 object at 0x[0-9A-Fa-f]+>", function)


def test_003_03_requires_grad_is_true_by_default() -> None:
    x = torch.ones(2)
    x.requires_grad_()
    assert x.requires_grad is True
    x.requires_grad_(False)
    assert x.requires_grad is False
    assert (x + 1).grad_fn is None
    x.requires_grad_(True)
    assert x.requires_grad is True


def test_003_04_tracking_switched_on(capsys: pytest.CaptureFixture[str]) -> None:
    a = torch.randn(2, 2)
    a = (a * 3) / (a - 1)
    print(a.requires_grad)
    untracked = repr(a)
    a.requires_grad_(True)
    print(a.requires_grad)
    assert repr(a) == untracked[:-1] + ", requires_grad=True)"
    a = a + 1
    print(a.grad_fn)
    assert repr(a).endswith(", grad_fn=<AddBackward0>)")
    assert re.fullmatch(
        r"False\nTrue\n<AddBackward0 object at 0x[0-9A-Fa-f]+>\n", capsys.readouterr().out
    )


def test_003_04_columns_have_one_width() -> None:
    a = torch.tensor([[0.0646, -46.3478], [5.6683, -0.8896]])
    assert repr(a) == "tensor([[  0.0646, -46.3478],\n        [  5.6683,  -0.8896]])"
    rows = re.findall(r"\[+([^\[\]]+)\]", repr(torch.randn(5, 3) * 20))
    assert len(rows) == 5
    assert len({len(number) for row in rows for number in row.split(", ")}) == 1


def test_003_05_partial_derivatives(capsys: pytest.CaptureFixture[str]) -> None:
    x1 = torch.tensor(3.0, requires_grad=True)
    x2 = torch.tensor(1.0, requires_grad=True)
    y = x1**2 + x2**2 + x1 * x2
    dx1 = torch.autograd.grad(y, x1, retain_graph=True, create_graph=True)[0]
    dx2 = torch.autograd.grad(y, x2, retain_graph=True, create_graph=True)[0]
    print(dx1, dx2)
    assert capsys.readouterr().out == (
        "tensor(7., grad_fn=<AddBackward0>) tensor(5., grad_fn=<AddBackward0>)\n"
    )


def test_003_06_second_derivatives_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    x1 = torch.tensor(3.0, requires_grad=True)
    x2 = torch.tensor(1.0, requires_grad=True)
    y = x1**2 + x2**2 + x1 * x2
    dx1 = torch.autograd.grad(y, x1, retain_graph=True, create_graph=True)[0]
    dx2 = torch.autograd.grad(y, x2, retain_graph=True, create_graph=True)[0]
    # no retain_graph: a run frees only what it executes
    dx1_dx1 = torch.autograd.grad(dx1, x1)[0]
    dx1_dx2 = torch.autograd.grad(dx1, x2)[0]
    dx2_dx1 = torch.autograd.grad(dx2, x1)[0]
    dx2_dx2 = torch.autograd.grad(dx2, x2)[0]
    print(dx1_dx1, dx1_dx2, dx2_dx1, dx2_dx2)
    assert capsys.readouterr().out == "tensor(2.) tensor(1.) tensor(1.) tensor(2.)\n"


def test_003_07_the_first_example(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    y = x + 2
    print(y)
    z = y * y * 3
    out = z.mean()
    print(z, out)
    out.backward()
    print(x.grad)
    assert capsys.readouterr().out == (
        "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)\n"
        "tensor([[27., 27.],\n        [27., 27.]], grad_fn=<MulBackward0>) "
        "tensor(27., grad_fn=<MeanBackward0>)\n"
        "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])\n"
    )


def test_003_08_matrix_product_with_a_transpose() -> None:
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], requires_grad=True)
    w = torch.tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True)
    y = torch.matmul(x, w.T)
    assert repr(y) == (
        "tensor([[ 14.,  32.],\n        [ 32.,  77.],\n        [ 50., 122.]], "
        "grad_fn=<MmBackward0>)"
    )
    y.backward(gradient=torch.ones_like(y))
    assert repr(x.grad) == "tensor([[5., 7., 9.],\n        [5., 7., 9.],\n        [5., 7., 9.]])"
    assert repr(w.grad) == "tensor([[12., 15., 18.],\n        [12., 15., 18.]])"


def test_003_09_transpose_is_a_tracked_view() -> None:
    w = torch.tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True)
    t = w.T
    assert t.requires_grad is True
    assert grad_fn_name(t) == "PermuteBackward0"
    assert t.tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    (t * torch.tensor([1.0, 10.0])).sum().backward()
    assert w.grad.tolist() == [[1.0, 1.0, 1.0], [10.0, 10.0, 10.0]]

    base = torch.zeros(2, 3)
    base.T[2, 0] = 5.0
    assert base.tolist() == [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]


def test_003_10_vector_jacobian_product(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    z = y * 2
    v = torch.tensor([0.1, 1.0, 0.0001], dtype=torch.float)
    with raises(RuntimeError, NOT_SCALAR):
        z.backward()
    z.backward(gradient=v)
    print(x.grad)
    assert capsys.readouterr().out == "tensor([4.0000e-01, 4.0000e+00, 4.0000e-04])\n"
    np.testing.assert_allclose(x.grad.numpy(), [0.4, 4.0, 0.0004], rtol=1e-6)


def test_003_11_misspelt_dtype() -> None:
    with raises(AttributeError, f"module '{LIBRARY}' has no attribute 'folat'"):
        torch.tensor([0.1, 1.0, 0.0001], dtype=torch.folat)


def test_003_12_gradient_must_have_the_shape_of_the_output() -> None:
    x = torch.ones(3, requires_grad=True)
    z = x * 2 * 2
    with raises(
        RuntimeError,
        "Mismatch in shape: grad_output[0] has a shape of torch.Size([2]) and output[0] has a "
        "shape of torch.Size([3]).",
    ):
        z.backward(gradient=torch.ones(2))
    z.backward(gradient=torch.ones(3))  # the failed call freed nothing
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_003_13_weights_of_the_outputs() -> None:
    weights = [0.5, -2.0, 3.0]
    x = torch.ones(3, requires_grad=True)
    z = x * 2 * 2
    z.backward(gradient=torch.tensor(weights))
    assert x.grad.tolist() == [4 * a for a in weights]

    x.grad = None
    z = x * 2 * 2
    f = weights[0] * z[0] + weights[1] * z[1] + weights[2] * z[2]
    f.backward()
    assert x.grad.tolist() == [4 * a for a in weights]
