"""Tutorial 002: tensors and their shapes, accumulation, retained graphs, matrix products."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .helpers import (
    DEFAULT_DTYPE,
    NON_LEAF_GRAD,
    NOT_SCALAR,
    SECOND_BACKWARD,
    grad_fn_name,
    raises,
    torch,
    warns,
)


def test_002_01_tensor_of_integers_is_float(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.Tensor([[1, 2, 3], [4, 5, 6], [1, 1, 1], [2, 2, 2]])
    assert x.dtype == DEFAULT_DTYPE
    assert len(x.shape) == 2
    assert x.shape[0] == 4
    assert repr(x.shape) == "torch.Size([4, 3])"
    for i in range(2):
        for j in range(3):
            print(x[i, j])
    assert capsys.readouterr().out == "".join(f"tensor({n}.)\n" for n in range(1, 7))


def test_002_02_rand_and_likes() -> None:
    x = torch.rand(4, 6)
    assert repr(x.shape) == "torch.Size([4, 6])"
    values = np.array(x.tolist())
    assert ((values >= 0) & (values < 1)).all()
    assert len(np.unique(values)) > 20
    for like, make, value in [
        (torch.ones_like(x), torch.ones, 1.0),
        (torch.zeros_like(x), torch.zeros, 0.0),
    ]:
        assert like.tolist() == [[value] * 6] * 4
        made = make(x.size(), dtype=x.dtype, layout=x.layout, device=x.device)
        assert repr(made) == repr(like)
        assert made.dtype == like.dtype == x.dtype


def test_002_02_size_must_be_called() -> None:
    x = torch.rand(4, 6)
    with pytest.raises(TypeError):
        torch.ones(x.size)


def test_002_03_ones_as_gradient_sum_the_output() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    z = x * x
    z.backward(torch.ones_like(z))
    with_ones = x.grad.tolist()
    x.grad = None
    (x * x).sum().backward()
    assert with_ones == x.grad.tolist() == [2.0, 4.0, 6.0]


def test_002_04_gradient_of_relu() -> None:
    x = torch.arange(-8.0, 8.0, 0.5, requires_grad=True)
    y = torch.relu(x)
    y.backward(torch.ones_like(x), retain_graph=True)
    # what is plotted
    xs = x.detach().numpy()
    np.testing.assert_array_equal(np.asarray(y.detach()), np.maximum(xs, 0))
    np.testing.assert_array_equal(x.grad.numpy(), np.where(xs > 0, 1.0, 0.0))
    assert x[16].item() == 0.0
    assert x.grad[16].item() == 0.0  # at exactly 0
    y.backward(torch.ones_like(x))  # the graph was retained
    assert x.grad[-1].item() == 2.0


def test_002_04_repr_of_relu() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    assert repr(torch.relu(x)) == "tensor([0., 0., 2.], grad_fn=<ReluBackward0>)"
    assert repr(x.relu()) == "tensor([0., 0., 2.], grad_fn=<ReluBackward0>)"


def test_002_05_two_scalars(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.tensor(1.0, requires_grad=True)
    y = torch.tensor(2.0, requires_grad=True)
    z = x**2 + y
    z.backward()
    print(z, x.grad, y.grad)
    assert capsys.readouterr().out == ("tensor(3., grad_fn=<AddBackward0>) tensor(2.) tensor(1.)\n")


def test_002_06_grad_variables_is_deprecated() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    z = x * x
    with warns(FutureWarning, "`grad_variables` is deprecated. Use `grad_tensors` instead."):
        torch.autograd.backward(z, grad_variables=torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 40.0]


def test_002_07_vector_needs_a_gradient() -> None:
    x = torch.ones(2, requires_grad=True)
    z = x + 2
    with raises(RuntimeError, NOT_SCALAR):
        z.backward()


def test_002_08_sum_of_a_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2, 3, requires_grad=True)
    z = 2 * x + 2
    print(z)
    print(z.sum())
    z.sum().backward()
    print(x.grad)
    assert capsys.readouterr().out == (
        "tensor([[4., 4., 4.],\n        [4., 4., 4.]], grad_fn=<AddBackward0>)\n"
        "tensor(24., grad_fn=<SumBackward0>)\n"
        "tensor([[2., 2., 2.],\n        [2., 2., 2.]])\n"
    )


def test_002_09_view_is_no_leaf_and_has_no_grad() -> None:
    x = torch.tensor([2.0, 1.0], requires_grad=True).view(1, 2)
    y = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    z = torch.mm(x, y)
    assert repr(z) == "tensor([[5., 8.]], grad_fn=<MmBackward0>)"
    z.backward(torch.Tensor([[1.0, 0]]), retain_graph=True)
    assert x.is_leaf is False
    with warns(UserWarning, NON_LEAF_GRAD):
        assert x.grad is None
    assert repr(y.grad) == "tensor([[2., 0.],\n        [1., 0.]])"


def test_002_10_retain_grad_of_the_view() -> None:
    x = torch.tensor([2.0, 1.0], requires_grad=True).view(1, 2)
    y = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert x.retains_grad is False
    x.retain_grad()
    assert x.retains_grad is True
    z = torch.mm(x, y)
    z.backward(torch.Tensor([[1.0, 0]]), retain_graph=True)
    assert repr(x.grad) == "tensor([[1., 3.]])"
    z.backward(torch.Tensor([[0.0, 1]]))  # accumulates: rows of y^T
    assert repr(x.grad) == "tensor([[3., 7.]])"


def test_002_11_broadcast_operand_sums_its_gradient() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    p = torch.ones(2, 2, requires_grad=True)
    y = x * x
    z = 2 * y + 2 * p * p
    assert repr(z) == "tensor([[20., 20.],\n        [20., 20.]], grad_fn=<AddBackward0>)"
    z.backward(torch.ones_like(z))
    assert repr(x.grad) == "tensor(48.)"
    assert repr(p.grad) == "tensor([[4., 4.],\n        [4., 4.]])"


@pytest.mark.parametrize("total", [lambda z: z.sum(), torch.sum], ids=["method", "function"])
def test_002_12_sum_gives_the_same(total: Callable[[Any], Any]) -> None:
    x = torch.tensor(3.0, requires_grad=True)
    p = torch.ones(2, 2, requires_grad=True)
    y = x * x
    z = total(2 * y + 2 * p * p)
    z.backward()
    assert repr(x.grad) == "tensor(48.)"
    assert repr(p.grad) == "tensor([[4., 4.],\n        [4., 4.]])"


def test_002_13_mean_divides() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    p = torch.ones(2, 2, requires_grad=True)
    y = x * x
    z = 2 * y + 2 * p * p
    z = z.mean()
    z.backward()
    assert repr(x.grad) == "tensor(12.)"
    assert repr(p.grad) == "tensor([[1., 1.],\n        [1., 1.]])"


def test_002_14_grad_of_a_non_leaf() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x
    z = 2 * y
    z.backward()
    with warns(UserWarning, NON_LEAF_GRAD):
        grad = y.grad
    assert grad is None
    assert repr(x.grad) == "tensor(12.)"


def test_002_15_two_runs_accumulate(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    y = x + 2
    z = y * y * 3
    out = z.mean()
    print(x.grad)
    out.backward(retain_graph=True)
    print(x.grad)
    z.backward(torch.ones_like(z))
    print(x.grad)
    assert capsys.readouterr().out == (
        "None\n"
        "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])\n"
        "tensor([[22.5000, 22.5000],\n        [22.5000, 22.5000]])\n"
    )


def test_002_16_cleared_in_between() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    y = x + 2
    z = y * y * 3
    out = z.mean()
    out.backward(retain_graph=True)
    x.grad.data.zero_()
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    z.backward(torch.ones_like(z))
    assert repr(x.grad) == "tensor([[18., 18.],\n        [18., 18.]])"


def test_002_17_second_run_through_saved_tensors_raises() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    y = x + 2
    z = y * y * 3
    out = z.mean()
    out.backward()
    with raises(RuntimeError, SECOND_BACKWARD):
        z.backward(torch.ones_like(z))


def test_002_17_runs_without_saved_tensors_never_raise() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    out = (x + 2).sum()
    for _ in range(5):
        out.backward()
    assert x.grad.tolist() == [[5.0, 5.0], [5.0, 5.0]]


def test_002_18_zero_clears_in_place() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    (x * 3).sum().backward()
    grad = x.grad
    assert grad.zero_() is grad
    assert x.grad is grad
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_002_19_functions_and_format(capsys: pytest.CaptureFixture[str]) -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    a = torch.add(w, x)
    b = torch.add(w, 1)
    y = torch.mul(a, b)
    for _ in range(2):
        y.backward(retain_graph=True)
        print("w's grad: {} x's grad: {}".format(w.grad, x.grad))  # noqa: UP032
    assert capsys.readouterr().out == (
        "w's grad: tensor([5.]) x's grad: tensor([2.])\n"
        "w's grad: tensor([10.]) x's grad: tensor([4.])\n"
    )


def test_002_19_format_of_a_scalar_is_the_number() -> None:
    assert "{}".format(torch.tensor(5.0)) == "5.0"  # noqa: UP032
    assert "{}".format(torch.tensor([5.0])) == "tensor([5.])"  # noqa: UP032


def test_002_20_gradient_of_a_non_leaf_is_released() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    a = torch.add(w, x)
    y = torch.mul(a, torch.add(w, 1))
    y.backward()
    with warns(UserWarning, NON_LEAF_GRAD):
        assert f"a's grad: {a.grad}" == "a's grad: None"

    a = torch.add(w, x)
    a.retain_grad()
    y = torch.mul(a, torch.add(w, 1))
    y.backward()
    assert f"a's grad: {a.grad}" == "a's grad: tensor([2.])"


def test_002_21_loop_that_records_again(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.tensor(1.0, requires_grad=True)
    for _ in range(3):
        y = x**2
        y.backward()
        print(x.grad)
    assert capsys.readouterr().out == "tensor(2.)\ntensor(4.)\ntensor(6.)\n"


def test_002_22_mm() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    product = torch.mm(a, b)
    assert product.tolist() == [[4.0, 5.0], [10.0, 11.0]]
    assert grad_fn_name(product) == "MmBackward0"
    product.sum().backward()
    assert a.grad.tolist() == [[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]
    with raises(RuntimeError, "self must be a matrix"):
        torch.mm(torch.ones(3), b)
    with raises(RuntimeError, "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"):
        torch.mm(torch.ones(2, 3), torch.ones(2, 3))


def test_002_23_bmm() -> None:
    a = torch.rand(5, 2, 3, requires_grad=True)
    b = torch.rand(5, 3, 4)
    product = torch.bmm(a, b)
    assert repr(product.shape) == "torch.Size([5, 2, 4])"
    assert grad_fn_name(product) == "BmmBackward0"
    np.testing.assert_allclose(product.detach().numpy(), a.detach().numpy() @ b.numpy(), rtol=1e-5)
    product.sum().backward()
    np.testing.assert_allclose(
        a.grad.numpy(), np.ones((5, 2, 4)) @ b.numpy().swapaxes(1, 2), rtol=1e-5
    )
    with raises(RuntimeError, "batch1 must be a 3D tensor"):
        torch.bmm(torch.ones(2, 3), torch.ones(3, 4))


def test_002_24_mul() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    v = torch.tensor([1.0, 10.0, 100.0])
    for factor, expected in [
        (a, [[1.0, 4.0, 9.0], [16.0, 25.0, 36.0]]),
        (v, [[1.0, 20.0, 300.0], [4.0, 50.0, 600.0]]),
        (2, [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]),
        (torch.tensor([[1.0], [2.0]]), [[1.0, 2.0, 3.0], [8.0, 10.0, 12.0]]),
    ]:
        assert torch.mul(a, factor).tolist() == expected
        assert (a * factor).tolist() == expected
    assert torch.mul(torch.ones(4, 1, 3), torch.ones(2, 1)).shape == (4, 2, 3)
    with raises(
        RuntimeError,
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    ):
        torch.mul(torch.ones(2, 3), torch.ones(2, 4))


def test_002_25_dot() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = torch.tensor([3.0, 4.0])
    product = torch.dot(a, b)
    assert repr(product) == "tensor(11., grad_fn=<DotBackward0>)"
    product.backward()
    assert a.grad.tolist() == [3.0, 4.0]
    with raises(RuntimeError, "1D tensors expected, but got 2D and 2D tensors"):
        torch.dot(torch.ones(2, 2), torch.ones(2, 2))
    with raises(
        RuntimeError,
        "inconsistent tensor size, expected tensor [2] and src [3] to have the same number of "
        "elements, but got 2 and 3 elements respectively",
    ):
        torch.dot(torch.ones(2), torch.ones(3))


def test_002_26_names_of_the_products() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    vector = torch.tensor([1.0, 10.0], requires_grad=True)
    batch = torch.ones(3, 2, 2, requires_grad=True)
    for product, name, expected in [
        (torch.mv(matrix, vector), "MvBackward0", [21.0, 43.0]),
        (vector @ vector, "DotBackward0", 101.0),
        (torch.matmul(vector, vector), "DotBackward0", 101.0),
        (matrix @ vector, "MvBackward0", [21.0, 43.0]),
        (torch.matmul(matrix, vector), "MvBackward0", [21.0, 43.0]),
        (matrix @ matrix, "MmBackward0", [[7.0, 10.0], [15.0, 22.0]]),
        (torch.matmul(matrix, matrix), "MmBackward0", [[7.0, 10.0], [15.0, 22.0]]),
        (batch @ matrix.detach(), "UnsafeViewBackward0", [[[4.0, 6.0], [4.0, 6.0]]] * 3),
        (batch @ batch, "UnsafeViewBackward0", [[[2.0, 2.0], [2.0, 2.0]]] * 3),
    ]:
        assert grad_fn_name(product) == name
        assert product.tolist() == expected
