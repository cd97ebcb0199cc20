"""What the tutorials force on the design of the tape, their slips, and the names they use."""

import warnings

import pytest

from .helpers import (
    DEFAULT_DTYPE,
    LIBRARY,
    OTHER_DTYPE,
    SECOND_BACKWARD,
    Variable,
    grad_fn_name,
    raises,
    reference_cycle_warning_allowed,
    torch,
)


def test_fact_1_sum_without_saved_tensors_is_never_freed() -> None:
    x = torch.ones(3, requires_grad=True)
    out = (x + 2).sum()
    for _ in range(4):
        out.backward()
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_fact_1_product_with_a_number_is_freed() -> None:
    x = torch.ones(3, requires_grad=True)
    out = (x * 3).sum()
    out.backward()
    with raises(RuntimeError, SECOND_BACKWARD):
        out.backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]


def test_fact_1_run_frees_only_what_it_executes() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    z = x**2 + y**3
    assert torch.autograd.grad(z, x)[0].item() == 4.0
    assert torch.autograd.grad(z, y)[0].item() == 27.0


def test_fact_1_two_losses_that_share_a_sum() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = x + 2
    first = y * y
    second = y**3
    first.backward()
    second.backward()
    assert x.grad.item() == 8.0 + 48.0


def test_fact_1_two_losses_that_share_a_product() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    (y + 1).backward()
    with raises(RuntimeError, SECOND_BACKWARD):
        (y + 2).backward()


def test_fact_2_freed_values_can_be_computed_with() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    y.backward()
    z = y * 5
    assert z.item() == 20.0
    assert z.requires_grad is True
    with raises(RuntimeError, SECOND_BACKWARD):
        z.backward()


def test_fact_3_grad_never_touches_dot_grad() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    torch.autograd.grad((x * x).sum(), x)
    assert x.grad is None
    (x * x).sum().backward()
    grad = x.grad
    torch.autograd.grad((x * x).sum(), x)
    assert x.grad is grad
    assert grad.tolist() == [2.0, 4.0]


def test_fact_3_backward_accumulates_in_place() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    grad = x.grad
    (x * x).sum().backward()
    assert x.grad is grad
    assert grad.tolist() == [4.0, 8.0]


def test_fact_3_recorded_backward_accumulates_out_of_place() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    grad = x.grad
    with reference_cycle_warning_allowed():
        (x * x).sum().backward(create_graph=True)
    assert x.grad is not grad
    assert grad.tolist() == [2.0, 4.0]
    assert x.grad.tolist() == [4.0, 8.0]
    assert x.grad.requires_grad is True


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
def test_fact_4_one_element_of_any_rank_needs_no_gradient(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, requires_grad=True)
    y = x * 3
    assert y.shape == shape
    y.backward()
    assert x.grad.shape == shape
    assert x.grad.sum().item() == 3.0


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([1.0, 2.0], "tensor([1., 2.])"),
        ([1.5, 2.0], "tensor([1.5000, 2.0000])"),
        ([0.12345678, 2.0], "tensor([0.1235, 2.0000])"),
        (1.5, "tensor(1.5000)"),
        (3.0, "tensor(3.)"),
        ([[[1.0]]], "tensor([[[1.]]])"),
        ([], "tensor([])"),
        ([float("nan"), 1.0, float("inf")], "tensor([nan, 1., inf])"),
        # scientific: largest over smallest above 1000
        ([0.5, 500.0], "tensor([  0.5000, 500.0000])"),
        ([0.5, 501.0], "tensor([5.0000e-01, 5.0100e+02])"),
        ([1000.0, 1.0], "tensor([1000.,    1.])"),
        ([1001.0, 1.0], "tensor([1.0010e+03, 1.0000e+00])"),
        # largest above 1e8
        ([1e8, 5e7], "tensor([100000000.,  50000000.])"),
        ([2e8, 1e8], "tensor([2.0000e+08, 1.0000e+08])"),
        # smallest below 1e-4
        ([0.00012207031, 0.0002], "tensor([0.0001, 0.0002])"),
        ([1e-5, 2e-5], "tensor([1.0000e-05, 2.0000e-05])"),
        # padded to the widest
        ([1.5, -20.25], "tensor([  1.5000, -20.2500])"),
        ([[1.0, -20.0], [300.0, 4.0]], "tensor([[  1., -20.],\n        [300.,   4.]])"),
        # no dtype for int64 and bool
        ([1, 20], "tensor([ 1, 20])"),
        ([True, False], "tensor([ True, False])"),
    ],
)
def test_fact_5_printed_numbers(data: object, shown: str) -> None:
    assert repr(torch.tensor(data)) == shown
    assert str(torch.tensor(data)) == shown


def test_fact_5_dtype_is_shown_unless_it_is_the_default() -> None:
    assert "dtype" not in repr(torch.tensor([1.0], dtype=DEFAULT_DTYPE))
    assert repr(torch.tensor([1.0, 2.0], dtype=OTHER_DTYPE)) == (
        f"tensor([1., 2.], dtype={OTHER_DTYPE})"
    )
    assert repr(torch.tensor(1.5, dtype=OTHER_DTYPE)) == f"tensor(1.5000, dtype={OTHER_DTYPE})"
    assert str(OTHER_DTYPE) in {"torch.float32", "torch.float64"}


def test_fact_5_dtype_comes_before_the_rest() -> None:
    x = torch.tensor([1.0], dtype=OTHER_DTYPE, requires_grad=True)
    assert repr(x) == f"tensor([1.], dtype={OTHER_DTYPE}, requires_grad=True)"
    assert repr(x + 1) == f"tensor([2.], dtype={OTHER_DTYPE}, grad_fn=<AddBackward0>)"


def test_fact_5_long_tensors_are_summarised() -> None:
    assert "..." not in repr(torch.zeros(1000))
    assert repr(torch.zeros(1001)) == "tensor([0., 0., 0.,  ..., 0., 0., 0.])"
    row = "[0., 0., 0.,  ..., 0., 0., 0.]"
    gap = ",\n        "
    assert repr(torch.zeros(40, 40)) == (
        "tensor([" + gap.join([row, row, row, "...", row, row, row]) + "])"
    )


def test_fact_5_leaves_and_results() -> None:
    x = torch.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x + 1) == "tensor([2., 2.], grad_fn=<AddBackward0>)"
    assert repr(x.detach()) == "tensor([1., 1.])"


def test_fact_5_format_string() -> None:
    scalar = torch.tensor(1.5)
    assert f"{scalar}" == "1.5"
    assert f"{scalar:.3f}" == "1.500"
    vector = torch.tensor([1.5])
    assert f"{vector}" == repr(vector) == "tensor([1.5000])"
    tracked = torch.tensor(2.0, requires_grad=True)
    assert f"{tracked * 2}" == "4.0"


def test_fact_6_one_warning_at_each_access_site() -> None:
    y = torch.tensor([1.0], requires_grad=True) * 2
    y.backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once a site, as a user has it
        for _ in range(3):
            assert y.grad is None
        assert y.grad is None
    assert len(caught) == 2
    assert caught[0].lineno != caught[1].lineno
    assert {w.filename for w in caught} == {__file__}
    assert {w.category for w in caught} == {UserWarning}


def test_fact_6_retain_grad_removes_both() -> None:
    y = torch.tensor([1.0], requires_grad=True) * 2
    y.retain_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert y.grad is None  # before the run: no value yet, and no warning
        (y * 3).backward()
        assert y.grad.tolist() == [3.0]


def test_fact_6_leaves_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.ones(1).grad is None
        assert torch.ones(1, requires_grad=True).grad is None
        assert (torch.ones(1) + 1).grad is None


def test_slips_misspelt_names_are_errors() -> None:
    with raises(AttributeError, f"module '{LIBRARY}' has no attribute 'augograd'"):
        _ = torch.augograd


def test_slips_mm_has_todays_name() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    assert grad_fn_name(torch.mm(x, x)) == "MmBackward0"


def test_names_variable_is_imported_as_in_the_tutorials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    snippet = (
        f"import {LIBRARY} as torch\n"
        "import numpy as np\n"
        f"from {LIBRARY}.autograd import Variable\n"
        "x = Variable(torch.ones(2), requires_grad=True)\n"
        "(x * x).sum().backward()\n"
        "print(x.grad)\n"
    )
    exec(snippet, {})
    assert capsys.readouterr().out == "tensor([2., 2.])\n"
    assert torch.autograd.Variable is Variable


FUNCTIONS = (
    "tensor Tensor FloatTensor ones zeros rand randn range arange ones_like zeros_like float"
)
FUNCTIONS += " add mul mm bmm dot mv matmul sum relu no_grad"
METHODS = "add mul sum mean view reshape backward detach requires_grad_ retain_grad zero_"
METHODS += " T data size shape item numpy requires_grad is_leaf grad grad_fn"


@pytest.mark.parametrize("name", FUNCTIONS.split())
def test_names_of_the_module(name: str) -> None:
    assert hasattr(torch, name)


@pytest.mark.parametrize("name", METHODS.split())
def test_names_of_tensors(name: str) -> None:
    assert hasattr(torch.ones(2, 2), name)


@pytest.mark.parametrize("name", ["grad", "backward", "Variable", "set_detect_anomaly"])
def test_names_of_autograd(name: str) -> None:
    assert hasattr(torch.autograd, name)


def test_names_operators_with_numbers_on_either_side() -> None:
    x = torch.tensor([2.0, 4.0])
    for result, expected in [
        (x + 1, [3.0, 5.0]),
        (1 + x, [3.0, 5.0]),
        (x - 1, [1.0, 3.0]),
        (1 - x, [-1.0, -3.0]),
        (x * 3, [6.0, 12.0]),
        (3 * x, [6.0, 12.0]),
        (x / 2, [1.0, 2.0]),
        (8 / x, [4.0, 2.0]),
        (x**2, [4.0, 16.0]),
        (2**x, [4.0, 16.0]),
        (-x, [-2.0, -4.0]),
        (x < 3, [True, False]),
        (3 < x, [False, True]),  # noqa: SIM300
        (x[1], 4.0),
    ]:
        assert result.tolist() == expected


def test_names_in_place_operators_on_untracked_tensors() -> None:
    x = torch.tensor([2.0, 4.0])
    same = x
    x += 2
    x *= 3
    x -= 2
    x /= 2
    assert same is x
    assert x.tolist() == [5.0, 8.0]


def test_names_methods_take_what_the_tutorials_pass() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.add(1).tolist() == (x + 1).tolist()
    assert x.mul(x).tolist() == (x * x).tolist()
    assert x.sum().item() == 10.0
    assert x.mean().item() == 2.5
    assert x.view(1, 4).tolist() == x.reshape((-1, 4)).tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert repr(x.size()) == repr(x.shape) == "torch.Size([2, 2])"
    assert x.size(0) == 2
    assert x.data.requires_grad is False
    assert x.numpy().tolist() == x.tolist()
