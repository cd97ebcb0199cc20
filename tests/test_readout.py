"""Values that leave the tape without a word: an error under transforms, PyTorch's warning outside."""

from __future__ import annotations

import array
import copy
import ctypes
import functools
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.autograd import forward_ad, functional
from tapegrad.autograd.checkpoint import checkpoint

Function = Callable[[Any], Any]


def stored(x: Any) -> Any:
    out = np.zeros(2)
    out[0] = x
    return tg.tensor(out).sum()


def integral(x: Any) -> Any:
    integrate = pytest.importorskip("scipy.integrate")
    return x * integrate.quad(lambda s: s * x, 0, 1)[0]


#: implicit ways out of the tape, of a tensor without dimensions
IMPLICIT: dict[str, Function] = {
    "float": lambda x: x * float(x),
    "int": lambda x: x * int(x),
    "complex": lambda x: x * complex(x).real,
    "math.exp": lambda x: x * math.exp(x),
    "math.floor": lambda x: x * math.floor(x),
    "a function's result": math.exp,
    "asarray": lambda x: x * tg.tensor(np.asarray(x)),
    "array of a list": lambda x: tg.tensor(np.array([x, x])).sum(),
    "array scalar": lambda x: x * np.float64(x),
    "storing": stored,
    "array.array": lambda x: x * array.array("d", [x])[0],
    "ctypes": lambda x: x * ctypes.c_double(x).value,
    "formatting by %": lambda x: x * float("%.9f" % x),  # noqa: UP031
    "scipy": integral,
    "tensor": lambda x: tg.tensor([x, x]).sum(),
    "as_tensor": lambda x: tg.as_tensor([x, 1.0]).sum(),
    "Tensor": lambda x: tg.Tensor([x, x]).sum(),
    "new_tensor": lambda x: x.new_tensor([x]).sum(),
    "full": lambda x: tg.full((2,), x).sum(),
    "new_full": lambda x: x.new_full((2,), x).sum(),
    "linspace": lambda x: tg.linspace(0, x, 3).sum(),
    "arange": lambda x: tg.arange(x).sum(),
    "alpha": lambda x: tg.add(x, x, alpha=x),
    "beta": lambda x: tg.addmm(tg.ones(1, 1), tg.ones(1, 1), tg.ones(1, 1), beta=x).sum(),
    "an option": lambda x: tg.leaky_relu(-x, x),
    "copy": lambda x: x * copy.copy(x),
    "deepcopy": lambda x: x * copy.deepcopy(x),
    "pickle": lambda x: x * pickle.loads(pickle.dumps(x)),
    "a result": lambda x: x * float((x.sin() + 1)[None].squeeze()),
    "one of two results": lambda x: x * float(tg.stack([x, 2 * x]).max(0).values),
    "a written buffer": lambda x: x * float(functools.reduce(written, [x], tg.zeros(2))[0]),
}  # fmt: skip


def written(buffer: Any, x: Any) -> Any:
    buffer[0] = x
    return buffer


#: explicit ways, with the gradient at 1.5 that follows
EXPLICIT: dict[str, tuple[Function, float]] = {
    "item": (lambda x: x * x.item(), 1.5),
    "detach": (lambda x: x * float(x.detach()), 1.5),
    "data": (lambda x: x * float(x.data), 1.5),
    "tolist": (lambda x: x * x.tolist(), 1.5),
    "bool": (lambda x: 3 * x if x else x, 3.0),
    "comparison": (lambda x: 3 * x if x > 1 else x, 3.0),
    "max": (lambda x: max(x, 0.5) * 2, 2.0),
    "str": (lambda x: x * len(f"{x:.1f}{x}{x!r}"[:3]), 3.0),
    "index of an integer": (lambda x: x * [2.0, 3.0][(x > 0).long()], 3.0),
    "range of an integer": (lambda x: sum([x for _ in range((x > 0).long() + 1)]), 2.0),
    "no_grad": (lambda x: x * quietly(x), 1.5),
    "a constant": (lambda x: x * float(tg.tensor(4.0)), 4.0),
    "numpy by force": (lambda x: x * x.numpy(force=True).item(), 1.5),
}


def quietly(x: Any) -> float:
    with tg.no_grad():
        return float(x)


def x0() -> Any:
    return tg.tensor(1.5)


def dual(f: Function) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x0(), tg.ones(())))).tangent


#: transforms, as functions of a function
TRANSFORMS: dict[str, Callable[[Function], Any]] = {
    "grad": lambda f: tg.grad(f)(1.5),
    "value_and_grad": lambda f: tg.value_and_grad(f)(1.5)[1],
    "jacobian": lambda f: tg.jacobian(f)(1.5),
    "vjp": lambda f: tg.vjp(f, 1.5)[1](1.0)[0],
    "jvp": lambda f: tg.jvp(f, (1.5,), (1.0,))[1],
    "func.grad": lambda f: tg.func.grad(f)(x0()),
    "func.vjp": lambda f: tg.func.vjp(f, x0())[1](tg.ones(()))[0],
    "func.jvp": lambda f: tg.func.jvp(f, (x0(),), (tg.ones(()),))[1],
    "func.linearize": lambda f: tg.func.linearize(f, x0())[1](tg.ones(())),
    "func.jacrev": lambda f: tg.func.jacrev(f)(x0()),
    "func.jacfwd": lambda f: tg.func.jacfwd(f)(x0()),
    "functional.jacobian": lambda f: functional.jacobian(f, x0()),
    "functional.vjp": lambda f: functional.vjp(f, x0())[1],
    "functional.jvp": lambda f: functional.jvp(f, x0())[1],
    "an active argument": lambda f: tg.grad(f)(x0().requires_grad_()),
    "functional, an active argument": lambda f: functional.vjp(
        f, x0().requires_grad_(), create_graph=True
    )[1],
    "vmap of grad": lambda f: tg.func.vmap(tg.func.grad(f))(tg.full((2,), 1.5))[0],
    "grad of vmap": lambda f: tg.grad(lambda x: tg.func.vmap(f)(x).sum())(tg.full((2,), 1.5))[0],
    "dual_level": dual,
}
SECOND: dict[str, Callable[[Function], Any]] = {
    "hessian": lambda f: tg.hessian(f)(1.5),
    "hvp": lambda f: tg.hvp(f, 1.5, 1.0),
    "func.hessian": lambda f: tg.func.hessian(f)(x0()),
    "functional.hessian": lambda f: functional.hessian(f, x0()),
    "functional.hvp": lambda f: functional.hvp(f, x0())[1],
    "functional.vhp": lambda f: functional.vhp(f, x0())[1],
    "grad of grad": lambda f: tg.grad(tg.grad(f))(1.5),
    "vmap of a tensor that requires grad": lambda f: tg.func.vmap(f)(
        tg.full((2,), 1.5).requires_grad_()
    ),
}


def message(raised: Any) -> bool:
    text = str(raised.value)
    return "x.item()" in text and "x.detach()" in text


@pytest.mark.parametrize("way", IMPLICIT)
def test_implicit_ways_raise_in_a_gradient(way: str) -> None:
    with pytest.raises(tg.UnsupportedError) as raised:
        tg.grad(IMPLICIT[way])(1.5)
    assert message(raised)
    assert tg.grad(lambda x: x * x)(1.5).item() == 3.0  # nothing is left behind


@pytest.mark.parametrize("transform", {**TRANSFORMS, **SECOND})
@pytest.mark.parametrize("way", ["math.exp", "storing", "asarray", "tensor", "an option"])
def test_implicit_ways_raise_in_every_transform(transform: str, way: str) -> None:
    with pytest.raises(tg.UnsupportedError) as raised:
        {**TRANSFORMS, **SECOND}[transform](IMPLICIT[way])
    assert message(raised)


@pytest.mark.parametrize("way", EXPLICIT)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_explicit_ways_stay(transform: str, way: str) -> None:
    f, expected = EXPLICIT[way]
    assert TRANSFORMS[transform](f).item() == pytest.approx(expected)


def test_nested_transforms() -> None:
    refused = [
        lambda x: tg.grad(lambda y: y * float(x))(2.0),  # captured from the outer one
        lambda x: tg.grad(lambda y: y * float(x * y))(2.0),
        lambda x: x * float(tg.grad(lambda y: y**2 * x)(3.0)),  # the inner result depends on x
        lambda x: x * float(tg.grad(lambda y: y**2)(x)),
        lambda x: tg.func.vmap(lambda y: y * float(x))(tg.ones(2)).sum(),
        lambda x: x * float(tg.func.vmap(lambda y: y * x)(tg.ones(2))[0]),
        lambda x: tg.func.vjp(lambda y: y * float(x), tg.ones(()))[1](tg.ones(()))[0],
        lambda x: tg.func.jvp(lambda y: y * x, (x,), (tg.ones(()),))[1] * float(x),
    ]
    for f in refused:
        with pytest.raises(tg.UnsupportedError, match=r"x\.item\(\)"):
            tg.grad(f)(1.5)
    # What does not depend on the outer input is a number like any other.
    assert tg.grad(lambda x: x * float(tg.grad(lambda y: y**2)(3.0)))(1.5).item() == 6.0
    assert tg.grad(lambda x: x * tg.grad(lambda y: y * x.item())(2.0))(1.5).item() == 1.5


def test_under_vmap_alone_a_number_is_the_slices() -> None:
    got = tg.func.vmap(lambda x: x * math.exp(x))(tg.tensor([0.0, 1.0]))
    assert got.tolist() == [0.0, math.e]


def test_checkpoint_hands_the_rule_on() -> None:
    with pytest.raises(tg.UnsupportedError, match=r"x\.item\(\)"):
        tg.grad(lambda x: checkpoint(lambda t: t * math.exp(t), x, use_reentrant=False))(1.0)


class Exponential(tg.autograd.Function):
    """Computes with numbers, and says its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.value = math.exp(x)
        return x.new_tensor(ctx.value)

    @staticmethod
    @tg.autograd.function.once_differentiable
    def backward(ctx: Any, ct: Any) -> Any:
        return ct * ctx.value


def test_a_function_may_compute_with_numbers() -> None:
    assert tg.grad(lambda x: x * Exponential.apply(x))(1.0).item() == pytest.approx(2 * math.e)
    assert tg.func.vjp(Exponential.apply, tg.zeros(()))[1](tg.ones(()))[0].item() == 1.0


class Cube(tg.autograd.Function):
    """Its backward makes a number of what it saved: right once, wrong twice."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        (x,) = ctx.saved_tensors
        return ct * 3 * float(x) ** 2


def test_a_backward_that_is_differentiated_is_watched() -> None:
    with pytest.raises(tg.UnsupportedError, match=r"x\.item\(\)"):
        tg.hessian(Cube.apply)(2.0)


def test_hooks_see_numbers() -> None:
    seen: list[float] = []

    def f(x: Any) -> Any:
        y = x * x
        y.register_hook(lambda g: seen.append(float(g)))
        return 3 * y

    assert tg.grad(f)(1.5).item() == 9.0
    assert seen == [3.0]


# --------------------------------------------------------------------------- outside of transforms
WARNING = (
    "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
    "Consider using tensor.detach() first."
)
#: expressions of a leaf x that requires grad -> whether PyTorch warns
PLAIN = {
    "float(x)": True, "complex(x)": True, "math.exp(x)": True, "m.tensor([x, x])": True,
    "np.zeros(2).__setitem__(0, x)": True, "int(x)": False, "x.item()": False, "bool(x)": False,
    "x.tolist()": False, "float(x.detach())": False, "'%s' % x": False, "f'{x:.2f}'": False,
    "float(m.tensor(1.0))": False,
}  # fmt: skip


@pytest.mark.parametrize("expression", PLAIN)
def test_plain_tensors_warn_once(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapegrad.tape.readout._warned", False)
    names = {"m": tg, "np": np, "math": math, "x": tg.tensor(1.5, requires_grad=True)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            eval(expression, names)
    assert [str(w.message) for w in caught] == [WARNING] * PLAIN[expression]


def test_pytorch_warns_of_the_same() -> None:
    pytest.importorskip("torch")
    for expression in ("float(x)", "int(x)", "m.tensor([x, x])"):
        program = f"""
import warnings, torch as m
x = m.tensor(1.5, requires_grad=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {expression}; {expression}
print([str(w.message).split(" (Triggered")[0] for w in caught])
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
        )
        assert eval(done.stdout) == [WARNING] * PLAIN[expression]


def test_the_warning_names_the_users_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapegrad.tape.readout._warned", False)
    x = tg.tensor(1.5, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert float(x) == 1.5
        with tg.no_grad():
            assert float(x) == 1.5
    assert [w.filename for w in caught] == [__file__]


def test_a_captured_tensor_that_requires_grad_is_a_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tapegrad.tape.readout._warned", False)
    w = tg.tensor(4.0, requires_grad=True)
    with pytest.warns(UserWarning, match="requires_grad=True"):
        assert tg.grad(lambda x: x * float(w))(1.5).item() == 4.0


def test_options_are_no_place_for_what_requires_grad() -> None:
    x = tg.tensor(1.5, requires_grad=True)
    with pytest.raises(TypeError, match=r"full\(\): argument 'fill_value' .* must be Number, not"):
        tg.full((2,), x)
    with pytest.raises(TypeError, match=r"'negative_slope' .* must be Number, not Tensor"):
        tg.leaky_relu(tg.ones(2), x)
    with pytest.raises(TypeError, match="'alpha' must be Number, not Tensor"):
        tg.add(tg.ones(2), 1, alpha=x)
    assert tg.full((2,), x.detach()).tolist() == [1.5, 1.5]
