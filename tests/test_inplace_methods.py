"""In-place methods beside the functions that they are made of, and what they record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.functions.indexing.inplace_methods import AS_FUNCTIONS, RESHAPING
from tapegrad.functions.indexing.inplace_methods import NAMES as EVERY_NAME
from tapegrad.functions.registry import METHODS

Function = Callable[..., Any]

NAMES = [n for n in EVERY_NAME if hasattr(tg.Tensor, n)]
_INDEX = tg.tensor([2, 0])
_MASK = tg.tensor([[True, False], [False, True], [True, True]])
_X = [[0.2, 0.4], [0.7, 0.9], [0.35, 0.15]]
_U = [[0.5, 1.5], [2.5, 0.3], [1.2, 0.8]]

#: arguments of what takes more than the tensor; ``u`` has its shape and requires grad
ARGUMENTS: dict[str, Function] = {
    "add": lambda u: (u,),
    "sub": lambda u: (u,),
    "addcdiv": lambda u: (u, u + 1),
    "addcmul": lambda u: (u, u),
    "addmm": lambda u: (u[:, :1], u[:1]),
    "addr": lambda u: (u[:, 0], u[0]),
    "atan2": lambda u: (u,),
    "arctan2": lambda u: (u,),
    "clamp": lambda u: (0.3, 0.6),
    "clamp_max": lambda u: (0.5,),
    "clamp_min": lambda u: (0.5,),
    "clip": lambda u: (0.3, 0.6),
    "copysign": lambda u: (-1.0,),
    "cumprod": lambda u: (0,),
    "cumsum": lambda u: (1,),
    "div": lambda u: (u,),
    "divide": lambda u: (u,),
    "float_power": lambda u: (2.0,),
    "fmod": lambda u: (0.37,),
    "heaviside": lambda u: (tg.tensor(0.5),),
    "hypot": lambda u: (u,),
    "index_add": lambda u: (0, _INDEX, u[:2]),
    "index_copy": lambda u: (0, _INDEX, u[:2]),
    "index_fill": lambda u: (0, _INDEX, 0.25),
    "index_put": lambda u: ((_INDEX,), u[0]),
    "ldexp": lambda u: (u,),
    "lerp": lambda u: (u, 0.3),
    "masked_fill": lambda u: (_MASK, 9.0),
    "masked_scatter": lambda u: (_MASK, u),
    "mvlgamma": lambda u: (1,),
    "polygamma": lambda u: (2,),
    "mul": lambda u: (u,),
    "multiply": lambda u: (u,),
    "pow": lambda u: (u,),
    "put": lambda u: (_INDEX, u[0]),
    "remainder": lambda u: (0.37,),
    "scatter": lambda u: (0, tg.tensor([[2, 1]]), u),
    "index_reduce": lambda u: (0, tg.tensor([2, 0, 2]), u.expand(3, 2), "prod"),
    "scatter_reduce": lambda u: (0, tg.tensor([[2, 1]]), u, "sum"),
    "scatter_add": lambda u: (0, tg.tensor([[2, 1]]), u),
    "true_divide": lambda u: (u,),
    "nextafter": lambda u: (u,),
    "xlogy": lambda u: (u,),
}
#: functions whose in-place form has no derivative, or needs tensors of another form: tested below
OTHERS = {
    "addmv", "baddbmm", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "eq", "floor_divide", "ge", "greater", "greater_equal", "gt",
    "igamma", "igammac", "le", "less", "less_equal", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "ne", "not_equal",
}  # fmt: skip
#: with tests of their own, here and in test_inplace.py, test_inplace_modes.py
BY_HAND = {
    "add", "sub", "subtract", "copy", "fill", "zero", "detach", "requires_grad", "apply",
    "fill_diagonal", "uniform", "normal", "log_normal", "exponential", "cauchy", "geometric", "random",
    "bernoulli", "set", "resize", "resize_as",
}  # fmt: skip


def _derivatives(function: Function) -> list[Any]:
    """Value, first and second derivatives of a function of two leaves."""
    x, u = tg.tensor(_X, requires_grad=True), tg.tensor(_U, requires_grad=True)
    value = function(x, u)
    weights = tg.tensor(np.linspace(0.5, 1.5, value.numel()).reshape(value.shape))
    grads = tg.autograd.grad((value * weights).sum(), [x, u], create_graph=True, allow_unused=True)
    results = [value.detach(), *grads]
    total = sum((g * g).sum() for g in grads if g is not None and g.requires_grad)
    if record_is_active(total):
        results += tg.autograd.grad(total, [x, u], allow_unused=True)
    return [tg.zeros(1) if r is None else r.detach() for r in results]


def record_is_active(value: Any) -> bool:
    return tg.is_tensor(value) and value.requires_grad


def _sample(name: str) -> Function:
    return ARGUMENTS.get(name, lambda u: ())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in OTHERS])
@pytest.mark.parametrize("active", [(True, True), (True, False), (False, True)])
def test_in_place_is_the_function_and_a_write(name: str, active: tuple[bool, bool]) -> None:
    """Values and derivatives, with either operand active; `a` shifts acosh into its domain."""
    shift = 1.5 if "acosh" in name or "arccosh" in name else 0.0
    arguments = _sample(name)

    def plain(x: Any, u: Any) -> Any:
        x, u = (t if on else t.detach() for t, on in zip((x, u), active, strict=True))
        return (
            getattr(x * 1 + shift, name)(*arguments(u))
            + 0 * u.detach()
            + 0 * tg.ones(1, requires_grad=True)
        )

    def in_place(x: Any, u: Any) -> Any:
        x, u = (t if on else t.detach() for t, on in zip((x, u), active, strict=True))
        y = x * 1 + shift
        version = y._version
        assert getattr(y, name + "_")(*arguments(u)) is y
        assert y._version == version + 1
        return y + 0 * u.detach() + 0 * tg.ones(1, requires_grad=True)

    if name in ("float_power", "heaviside", "copysign") and not active[0]:
        pytest.skip("nothing is active")
    try:
        wanted = _derivatives(plain)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=str(error)[:30]):
            _derivatives(in_place)
        return
    got = _derivatives(in_place)
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-12)


def test_other_forms() -> None:
    x = tg.tensor([1.0, 2.0])
    m = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.addmv_(m, tg.tensor([1.0, 1.0])).tolist() == [4, 9]
    assert tg.ones(1, 2, 2).baddbmm_(m[None], m[None]).tolist() == [[[8, 11], [16, 23]]]
    n = tg.tensor([6, 3])
    assert n.bitwise_and_(tg.tensor([3, 1])).tolist() == [2, 1]
    assert n.bitwise_or_(tg.tensor([4, 2])).tolist() == [6, 3]
    assert n.bitwise_xor_(tg.tensor([1, 1])).tolist() == [7, 2]
    assert n.bitwise_left_shift_(tg.tensor([1, 2])).tolist() == [14, 8]
    assert n.bitwise_right_shift_(1).tolist() == [7, 4]
    assert n.sub_(tg.tensor([0, 2])).tolist() == [7, 2]
    assert n.bitwise_not_().tolist() == [-8, -3]
    assert n.floor_divide_(2).tolist() == [-4, -2]
    for name, wanted in {
        "eq": [0, 1, 0], "ne": [1, 0, 1], "not_equal": [1, 0, 1], "lt": [1, 0, 0], "less": [1, 0, 0],
        "le": [1, 1, 0], "less_equal": [1, 1, 0], "gt": [0, 0, 1], "greater": [0, 0, 1],
        "ge": [0, 1, 1], "greater_equal": [0, 1, 1],
    }.items():  # fmt: skip
        for kind in (tg.float64, tg.float32, tg.int64):
            t = tg.tensor([1, 2, 3], dtype=kind)
            assert getattr(t, name + "_")(2) is t
            assert t.dtype is kind
            assert t.tolist() == wanted
    for name, wanted in {
        "logical_and": [0, 0, 1], "logical_or": [0, 1, 1], "logical_xor": [0, 1, 0],
    }.items():  # fmt: skip
        t = tg.tensor([0.0, 1.0, 2.0])
        assert getattr(t, name + "_")(tg.tensor([0.0, 0.0, 5.0])).tolist() == wanted
    assert tg.tensor([0.0, 2.0]).logical_not_().tolist() == [1, 0]


@pytest.mark.parametrize("name", ["igamma", "igammac"])
def test_in_place_functions_of_a_constant_order(name: str) -> None:
    """The order is what is written over: it has no derivative."""
    x, u = tg.tensor(_X), tg.tensor(_U)
    want = getattr(x, name)(u)
    assert getattr(x, name + "_")(u) is x
    np.testing.assert_array_equal(x.numpy(), want.numpy())


# --------------------------------------------------------------------------- which there are
def in_place_methods() -> list[str]:
    return sorted(n[:-1] for n in METHODS if n.endswith("_") and not n.startswith("_"))


def test_every_in_place_method_is_tested() -> None:
    tested = {*NAMES, *RESHAPING, *BY_HAND}
    assert [n for n in in_place_methods() if n not in tested] == []


def test_every_name_has_its_function() -> None:
    assert [n for n in (*NAMES, *RESHAPING) if not hasattr(tg.Tensor, n)] == []
    names = [n + "_" for n in AS_FUNCTIONS if hasattr(tg.Tensor, n)]
    assert [n for n in names if not callable(getattr(tg, n, None))] == []
    gone = [n for n in EVERY_NAME if n not in NAMES]
    assert [n for n in gone if hasattr(tg.Tensor, n + "_") or hasattr(tg, n + "_")] == []
    x = tg.tensor([0.0, 4.0])
    assert tg.sqrt_(x) is x
    assert x.tolist() == [0.0, 2.0]


#: torch's methods on kinds of tensors that there are none of here
FOREIGN = {"share_memory_", "resize_as_sparse_", "sparse_resize_", "sparse_resize_and_clear_"}


def test_torchs_in_place_methods_are_there() -> None:
    """Those whose function is."""
    torch = pytest.importorskip("torch")
    names = {n for n in dir(torch.Tensor) if n.endswith("_") and not n.startswith("_")} - FOREIGN
    mine = set(dir(tg.Tensor))
    assert sorted(n for n in names - mine if n[:-1] in mine) == []
    functions = {n for n in dir(torch) if n.endswith("_") and not n.startswith("_")}
    assert sorted(n for n in functions & mine if not hasattr(tg, n)) == []


# --------------------------------------------------------------------------- what is recorded
def _recorded(call: Function) -> list[str]:
    """Ops of the statements that a call appends."""
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    w = tg.tensor([3.0, 4.0])
    x = a * 1
    call(x.clone(), w, a)  # whether the old value is needed shows the first time
    tape = tg.current_tape()
    x.sum().item()
    count = tape.count
    call(x, w, a)
    return [tape.instruction_of(k).op.name for k in range(count, tape.count)]


@pytest.mark.parametrize(
    ("call", "ops"),
    [
        (lambda x, w, a: x.mul_(w), ["mul", "copy_"]),
        (lambda x, w, a: x.mul_(0.5), ["mul", "copy_"]),
        (lambda x, w, a: x.div_(w), ["div", "copy_"]),
        (lambda x, w, a: x.exp_(), ["exp", "copy_"]),
        (lambda x, w, a: x.tanh_(), ["tanh", "copy_"]),
        (lambda x, w, a: x.sigmoid_(), ["sigmoid", "copy_"]),
        (lambda x, w, a: x.sqrt_(), ["sqrt", "copy_"]),
        (lambda x, w, a: x.neg_(), ["neg", "copy_"]),
        (lambda x, w, a: x.add_(w), ["accumulate_"]),
        (lambda x, w, a: x.add_(a), ["accumulate_"]),
        (lambda x, w, a: x.lerp_(w, 0.5), None),
        (lambda x, w, a: x.cumsum_(0), None),
        (lambda x, w, a: x.masked_fill_(w > 3, 0.0), None),
        (lambda x, w, a: x.sin_(), ["clone", "sin", "copy_"]),
        (lambda x, w, a: x.mul_(a), ["clone", "mul", "copy_"]),
        (lambda x, w, a: x.detach().mul_(a.detach()), ["detach", "detach", "mul", "copy_"]),
    ],
)  # fmt: skip
def test_only_a_needed_old_value_is_copied(call: Function, ops: list[str] | None) -> None:
    recorded = _recorded(call)
    if ops is None:
        assert "clone" not in recorded
    else:
        assert recorded == ops


def test_an_argument_that_sees_the_target_does_not_make_later_calls_copy() -> None:
    y = tg.ones(3, requires_grad=True) * 1
    y.mul_(y.detach())
    assert _recorded(lambda x, w, a: x.mul_(w)) == ["mul", "copy_"]


@pytest.mark.parametrize("name", sorted(n for n in METHODS if n.endswith("_") and n[0] != "_"))
def test_in_place_methods_have_no_out(name: str) -> None:
    x = tg.tensor([0.2, 0.5])
    for out in (x, tg.ones(2), None, [tg.ones(2)]):
        for call in (getattr(tg, name, None), getattr(tg.Tensor, name)):
            if call is not None:
                with pytest.raises(TypeError):
                    call(x, out=out)
    assert x.tolist() == [0.2, 0.5]


def test_no_copy_without_grad() -> None:
    def call(x: Any, w: Any, a: Any) -> None:
        with tg.no_grad():
            x.sin_()

    assert _recorded(call) == ["sin", "copy_"]


def test_bytes_of_an_in_place_product() -> None:
    """One buffer for the product; the old value is not kept."""
    n = 100_000
    x = tg.ones(n, requires_grad=True) * 1
    x.sum().item()
    x.mul_(1.0)
    tape = tg.current_tape()
    before = tape.stats()["value_bytes"]
    x.mul_(2.0)
    x.sum().item()
    assert tape.stats()["value_bytes"] - before <= 8 * n + 1000


# --------------------------------------------------------------------------- shapes
def test_the_shape_changes_in_place() -> None:
    a = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    x = a * 2
    assert x.t_() is x
    assert tuple(x.shape) == (3, 2)
    assert x.grad_fn is not None
    assert x.grad_fn.name() == "TBackward0"
    x.unsqueeze_(0).transpose_(0, 2)
    assert tuple(x.shape) == (2, 3, 1)
    assert x._version == 3
    (x * tg.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[2, 4, 6], [8, 10, 12]]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used"):
        a.t_()
    with tg.no_grad():
        a.t_()
    assert a.is_leaf
    assert a.requires_grad
    assert a.tolist() == [[1, 4], [2, 5], [3, 6]]
    a.grad = None
    (a * a).sum().backward()
    assert a.grad.tolist() == [[2, 8], [4, 10], [6, 12]]


def test_a_reshaped_tensor_shares_its_memory() -> None:
    x = tg.arange(6.0)
    alias = x.detach()
    x.unsqueeze_(1)
    alias.mul_(2)
    assert x.squeeze().tolist() == [0, 2, 4, 6, 8, 10]
    assert x.numpy().shape == (6, 1)
    x.as_strided_((2, 3), (3, 1))
    assert x.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert x.swapaxes_(0, 1).tolist() == [[0, 6], [2, 8], [4, 10]]
    assert x.swapdims_(0, 1).tolist() == [[0, 2, 4], [6, 8, 10]]
    x.requires_grad_()
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 4, 8], [12, 16, 20]]


# --------------------------------------------------------------------------- errors
ERRORS: dict[str, tuple[Function, str]] = {
    "int and float": (
        lambda lib: lib.tensor([1, 2]).mul_(1.5),
        "result type {float} can't be cast to the desired output type Long",
    ),
    "int root": (
        lambda lib: lib.tensor([1, 2]).sqrt_(),
        "result type {float} can't be cast to the desired output type Long",
    ),
    "bool and int": (
        lambda lib: lib.tensor([True]).mul_(2),
        "result type Long can't be cast to the desired output type Bool",
    ),
    "int sinc": (
        lambda lib: lib.tensor([1]).atan2_(lib.tensor([1])),
        "result type {float} can't be cast to the desired output type Long",
    ),
    "shape": (
        lambda lib: lib.ones(2).pow_(lib.ones(3, 2)),
        "output with shape [2] doesn't match the broadcast shape [3, 2]",
    ),
    "leaf": (
        lambda lib: lib.ones(2, requires_grad=True).acosh_(),
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "leaf reshaped": (
        lambda lib: lib.ones(2, requires_grad=True).unsqueeze_(0),
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "leaf filled": (
        lambda lib: lib.ones(2, requires_grad=True).uniform_(),
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "view of leaf": (
        lambda lib: lib.ones(2, requires_grad=True)[:1].normal_(),
        "a view of a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "expanded": (
        lambda lib: lib.ones(1).expand(3).uniform_(),
        "unsupported operation: more than one element of the written-to tensor refers to a single "
        "memory location. Please clone() the tensor before performing the operation.",
    ),
    "uniform bounds": (
        lambda lib: lib.ones(2).uniform_(2, 1),
        "uniform_ expects to return a [from, to) range, but found from=2 > to=1",
    ),
    "deviation": (
        lambda lib: lib.ones(2).normal_(0, -1),
        "normal expects std >= 0.0, but found std -1",
    ),
    "rate": (
        lambda lib: lib.ones(2).exponential_(0),
        "exponential_ expects lambda > 0.0, but found lambda=0",
    ),
    "chance": (
        lambda lib: lib.ones(2).geometric_(2),
        "geometric_ expects p to be in (0, 1), but got p=2",
    ),
    "probability": (
        lambda lib: lib.ones(2).bernoulli_(2),
        "bernoulli_ expects p to be in [0, 1], but got p=2",
    ),
    "range": (
        lambda lib: lib.ones(2).random_(3, 3),
        "random_ expects 'from' to be less than 'to', but got from=3 >= to=3",
    ),
    "diagonal of a vector": (
        lambda lib: lib.ones(2).fill_diagonal_(1),
        "dimensions must larger than 1",
    ),
    "applied to active": (
        lambda lib: lib.ones(2, requires_grad=True).apply_(abs),
        "Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead.",
    ),
    "put far": (
        lambda lib: lib.ones(2).put_(lib.tensor([5]), lib.ones(1)),
        "out of range: tried to access index 5 on a tensor of 2 elements.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, text = ERRORS[name]
    with pytest.raises((RuntimeError, IndexError)) as mine:
        call(tg)
    assert str(mine.value) == text.format(float="Double")


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    call, text = ERRORS[name]
    with pytest.raises((RuntimeError, IndexError)) as theirs:
        call(torch)
    assert str(theirs.value).split("\nException")[0].strip() == text.format(float="Float")


# --------------------------------------------------------------------------- fills
def test_random_fills() -> None:
    tg.manual_seed(3)
    n = 20_000
    for call, mean, deviation in (
        (lambda t: t.uniform_(), 0.5, 12**-0.5),
        (lambda t: t.uniform_(-1, 3), 1.0, 4 * 12**-0.5),
        (lambda t: t.normal_(2, 3), 2.0, 3.0),
        (lambda t: t.exponential_(2), 0.5, 0.5),
        (lambda t: t.geometric_(0.25), 4.0, 12**0.5),
        (lambda t: t.bernoulli_(0.3), 0.3, 0.21**0.5),
        (lambda t: t.bernoulli_(tg.full((n,), 0.3)), 0.3, 0.21**0.5),
        (lambda t: t.random_(10), 4.5, 8.25**0.5),
        (lambda t: t.random_(-5, 5), -0.5, 8.25**0.5),
        (lambda t: t.log_normal_(0, 0.5).log_(), 0.0, 0.5),
        (lambda t: t.cauchy_().atan_(), 0.0, np.pi / 12**0.5),
    ):
        for kind in (tg.float64, tg.float32):
            t = tg.zeros(n, dtype=kind)
            assert call(t) is t
            assert t.dtype is kind
            assert t._version in (1, 2)
            values = t.numpy()
            assert abs(values.mean() - mean) < 5 * deviation / n**0.5
            assert abs(values.std() - deviation) < 0.1 * deviation
    assert set(tg.zeros(100, dtype=tg.int64).random_(3).tolist()) == {0, 1, 2}
    assert set(tg.zeros(100, dtype=tg.bool).random_().tolist()) == {False, True}
    g = tg.Generator().manual_seed(1)
    first = tg.zeros(3).uniform_(generator=g)
    assert first.tolist() == tg.zeros(3).uniform_(generator=g.manual_seed(1)).tolist()


def test_a_fill_cuts_the_gradient() -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    x = a * 3
    x[:1].uniform_()
    x.sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [0, 3]


def test_diagonals() -> None:
    assert tg.zeros(2, 3).fill_diagonal_(5).tolist() == [[5, 0, 0], [0, 5, 0]]
    assert tg.zeros(4, 2).fill_diagonal_(5).tolist() == [[5, 0], [0, 5], [0, 0], [0, 0]]
    assert tg.zeros(5, 2).fill_diagonal_(5, wrap=True).tolist() == [
        [5, 0], [0, 5], [0, 0], [5, 0], [0, 5],
    ]  # fmt: skip
    cube = tg.zeros(2, 2, 2).fill_diagonal_(1)
    assert cube.tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    a = tg.ones(2, 2, requires_grad=True)
    (a * 2).fill_diagonal_(0.0).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0, 2], [2, 0]]


def test_applied() -> None:
    x = tg.tensor([1.0, 2.0])
    assert x.apply_(lambda v: v * 10) is x
    assert x.tolist() == [10, 20]


def test_puts() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    u = tg.tensor([7.0, 8.0], requires_grad=True)
    y = tg.put(x, tg.tensor([0, -1]), u, accumulate=True)
    assert y.tolist() == [[8, 2], [3, 12]]
    (y * y).sum().backward()
    assert u.grad is not None
    assert u.grad.tolist() == [16, 24]
    mask = tg.tensor([[True, False], [True, True]])
    z = x.masked_scatter(mask, tg.arange(5.0))
    assert z.tolist() == [[0, 2], [1, 2]]
