"""Modules, switches and classes that programs written for PyTorch reach for by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import tapegrad as tg

ALIASED = """
import sys
import tapegrad
sys.modules["torch"] = tapegrad
import torch.autograd.grad_mode
import torch.autograd.variable
import torch.autograd.anomaly_mode
from torch.autograd.grad_mode import no_grad, enable_grad, set_grad_enabled, inference_mode
from torch.autograd.variable import Variable
from torch.autograd.anomaly_mode import detect_anomaly
assert no_grad is tapegrad.no_grad and Variable is tapegrad.autograd.Variable
assert torch.autograd.grad_mode is tapegrad.autograd.grad_mode
assert torch.autograd.variable.Variable._execution_engine is Variable._execution_engine
with no_grad():
    assert not tapegrad.is_grad_enabled()
print(Variable(tapegrad.ones(2), requires_grad=True).requires_grad)
"""


def test_modules_of_autograd_import_under_another_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALIASED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("make", [
    lambda: tg.ones(2, requires_grad=None), lambda: tg.rand(2, requires_grad=None),
    lambda: tg.zeros_like(tg.ones(2), requires_grad=None), lambda: tg.full((2,), 1.0, requires_grad=None),
    lambda: tg.ones(2).new_ones(2, requires_grad=None), lambda: tg.arange(2.0, requires_grad=None),
    lambda: tg.linspace(0, 1, 2, requires_grad=None), lambda: tg.empty(2, requires_grad=None),
])  # fmt: skip
def test_creation_takes_none_for_requires_grad(make: Any) -> None:
    x = make()
    assert x.requires_grad is False
    assert tuple(x.shape) == (2,)


@pytest.mark.parametrize("call", [
    lambda: tg.tensor([1.0], requires_grad=None), lambda: tg.ones(2).requires_grad_(None),
    lambda: tg.ones(2).new_tensor([1.0], requires_grad=None), lambda: tg.ones(2, requires_grad=1),
])  # fmt: skip
def test_what_pytorch_refuses_for_requires_grad(call: Any) -> None:
    with pytest.raises(TypeError, match=r"must be bool, not (NoneType|int)"):
        call()


@pytest.mark.parametrize("argument", [3, None, "x", tg.ones(2)], ids=repr)
def test_nodes_are_not_made_by_users(argument: Any) -> None:
    with pytest.raises(TypeError, match=r"Node\(\) takes no arguments"):
        tg.autograd.graph.Node(argument)
    with pytest.raises(TypeError):
        tg.autograd.graph.Node()
