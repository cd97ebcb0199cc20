"""Odd calls: what nobody should do raises an error that users understand, and leaves all in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tapegrad as tg

TESTS = Path(__file__).parent
SOURCE = Path(tg.__file__).parent.parent


def test_random_odd_calls() -> None:
    """A few; ``python -m fuzz calls --count 50000`` makes more."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "calls", "--count", "300", "--seed", "suite"],
        cwd=TESTS, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {line.split()[1]: int(line.split()[0]) for line in done.stdout.splitlines()[-2:]}
    assert sum(counts.values()) == 300
    assert counts["returned"] > 50, "most calls do not get far"


@pytest.mark.parametrize(
    "odd", ["a", 3, None, object(), type, tg.Tensor], ids=lambda v: type(v).__name__
)
def test_methods_called_through_the_class_refuse_what_is_no_tensor(odd: Any) -> None:
    """They read the memory of whatever it was as that of a tensor."""
    kind = tg.Tensor
    methods = [
        kind.numpy, kind.__array__, kind.__float__, kind.__int__, kind.__complex__, kind.__bool__,
        kind.__index__, kind.requires_grad.fget, kind.is_leaf.fget, kind.item, kind.tolist,
        kind.size, kind.view, kind.fill_, kind.zero_, kind.exp_, kind.requires_grad_,
    ]  # fmt: skip
    for method in methods:
        with pytest.raises((TypeError, AttributeError, tg.TapeError)):
            method(odd)


def test_subclasses_are_tensors_for_native_code() -> None:
    class Mixin:
        """A class of objects that lie in memory otherwise."""

    class Derived(Mixin, tg.Tensor):
        """A tensor."""

    x = Derived([1.0, 2.0]).requires_grad_()
    assert tg.Tensor.requires_grad.fget(x)
    assert tg.Tensor.numpy(x.detach()).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("odd", [3, None, "x"], ids=repr)
def test_marks_of_a_function_are_for_tensors(odd: Any) -> None:
    class Marking(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, mark: str) -> Any:
            getattr(ctx, mark)(x, odd)
            return x

    x = tg.ones(2, requires_grad=True)
    name = type(odd).__name__
    with pytest.raises(RuntimeError, match=f"can only accept variables, but argument 1 .* {name}$"):
        Marking.apply(x * 1, "mark_dirty")
    with pytest.raises(RuntimeError, match=f"only accepts variable arguments, but got {name}$"):
        Marking.apply(x * 1, "mark_non_differentiable")


@pytest.mark.parametrize("write", ["add_", "mul_", "fill_"])
def test_pack_hooks_that_write_leave_the_tape_in_order(write: str) -> None:
    """The write was dropped with the statement that was packed for, but not from the books of versions."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    hooks = tg.autograd.graph.saved_tensors_hooks(lambda t: getattr(t, write)(2), lambda t: t)
    with pytest.raises(RuntimeError, match="modifying its input in place"), hooks:
        x * x
    y = tg.tensor([0.5, 2.0], requires_grad=True)
    assert tg.autograd.grad((y * y * 3).sum(), y)[0].tolist() == [3.0, 12.0]


@pytest.mark.parametrize("name", ["index_add", "index_copy"])
def test_slices_that_are_written_are_tensors(name: str) -> None:
    x, index = tg.ones(2), tg.tensor([0])
    with pytest.raises(
        TypeError, match=rf"{name}\(\): argument 'source' .* must be Tensor, not list"
    ):
        getattr(tg, name)(x, 0, index, [3])
    with pytest.raises(
        TypeError, match=rf"{name}\(\): argument 'index' .* must be Tensor, not str"
    ):
        getattr(tg, name)(x, 0, "a", tg.ones(1))
