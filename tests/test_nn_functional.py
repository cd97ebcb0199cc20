"""Functions of networks give PyTorch's numbers, derivatives and errors; cases are in nn_cases.py."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from nn_cases import (
    ACTIVATIONS,
    CONVOLUTIONS,
    ERRORS,
    IN_PLACE,
    LAYERS,
    LOSSES,
    POOLING,
    run,
    tensors,
)

import tapegrad as tg
import tapegrad.nn.functional as F

CASES = [
    *(case.format(name) for case in ACTIVATIONS for name in ("d", "k")),
    *LOSSES, *LAYERS, *CONVOLUTIONS, *POOLING,
]  # fmt: skip
TOLERANCES = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-9, "atol": 1e-11}}
#: PyTorch computes with constants that it rounds to float32, or with infinite numbers less something
ROUNDED_BY_PYTORCH = re.compile(r"[sc]elu|hardsigmoid|hardswish|cross_entropy\(f, E")


def parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


def numbers(library: Any, case: str, kind: str) -> list[np.ndarray]:
    """Results of a case, and the gradients of a weighted sum of them."""
    result, values = run(library, case, kind)
    results = parts(result)
    total = 0.0
    for x in results:
        if x.requires_grad:
            weights = np.cos(np.arange(x.numel(), dtype=kind)).reshape(tuple(x.shape))
            total = total + (x * library.from_numpy(weights)).sum()
    if isinstance(total, float):
        return [x.numpy() for x in results]
    total.backward()
    gradients = [values[k].grad for k in values if values[k].grad is not None]
    return [np.asarray(x.detach().numpy()) for x in [*results, *gradients]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_pytorch(case: str, kind: str) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = numbers(torch, case, kind), numbers(tg, case, kind)
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        rounded = {"rtol": 1e-7} if ROUNDED_BY_PYTORCH.match(case.removeprefix("binary_")) else {}
        np.testing.assert_allclose(
            b, a, **{**TOLERANCES[kind], **(rounded if kind == "float64" else {})}
        )


@pytest.mark.parametrize("name", IN_PLACE)
def test_activations_in_place(name: str) -> None:
    x = tg.tensor([-4.0, -0.3, 0.2, 5.0], requires_grad=True)
    more = (0.1, 2.0) if name == "threshold" else ()
    y = x * 1.0
    written = getattr(F, name)(y, *more, inplace=True)
    expected = getattr(F, name)(x * 1.0, *more)
    assert written is y
    (gradient,) = tg.autograd.grad(y.sum(), x)
    (other,) = tg.autograd.grad(expected.sum(), x)
    np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    np.testing.assert_allclose(gradient.numpy(), other.numpy(), rtol=1e-14)


def failure(library: Any, case: str) -> tuple[type, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result, _ = run(library, case, "float32")
            for x in parts(result):
                x.tolist()
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("no error")


#: cases whose errors here have a text of their own
OTHER_TEXTS = {
    "conv_transpose2d(i, o, output_padding=1)", "max_pool2d(x, 2)", "max_pool2d(t, 0)", "prelu(z, w)",
    "max_pool2d(t, 2, dilation=0)", "softshrink(x, -1.0)",
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_those_of_pytorch(case: str) -> None:
    torch = pytest.importorskip("torch")
    kind, text = failure(tg, case)
    expected, words = failure(torch, case)
    assert kind.__name__ == expected.__name__, (text, words)
    if case not in OTHER_TEXTS:
        assert first_line(text) == first_line(words)


def first_line(text: str) -> str:
    text = re.sub(r"torch\.Size|Size", "Size", text.splitlines()[0])
    return re.sub(r"^[\w.]+\(\): ", "", text)


@pytest.mark.parametrize("p", [0.3, 0.7])
def test_dropout_keeps_the_mean(p: float) -> None:
    x = tg.ones(200, 100, requires_grad=True)
    for name in ("dropout", "alpha_dropout"):
        y = getattr(F, name)(x, p, True)
        assert abs(float(y.detach().mean()) - 1) < 0.1 or name == "alpha_dropout"
    y = F.dropout(x, p)
    (gradient,) = tg.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(gradient.numpy(), y.detach().numpy(), rtol=1e-14)
    share = float((y == 0).to(tg.float64).mean())
    assert abs(share - p) < 0.02
    channels = F.dropout2d(tg.ones(20, 30, 4, 4), p)
    assert set(np.unique(channels.mean((2, 3)).numpy().round(10))) <= {0.0, round(1 / (1 - p), 10)}


@pytest.mark.parametrize(
    "case", [
        "conv2d(i, g, a, 2, 1)", "max_pool2d(t, 3, 2, 1)", "layer_norm(x, (5,), v, u)",
        "cross_entropy(x, I, W)",
        "binary_cross_entropy(p, P)", "hardswish(x)", "celu(x)", "avg_pool2d(t, 3, 2, 1)", "huber_loss(x, y)",
    ],
)  # fmt: skip
def test_under_jit_and_vmap(case: str) -> None:
    values = tensors(tg, "float64", case)
    names = list(values)

    def call(*tensors_: Any) -> Any:
        return eval(f"F.{case}", {**dict(zip(names, tensors_, strict=True)), "F": F})

    inputs = [values[n].detach() for n in names]
    expected = call(*inputs)
    jitted = tg.jit(call)
    for _ in range(2):
        np.testing.assert_allclose(
            jitted(*inputs).numpy(), expected.numpy(), rtol=1e-12, atol=1e-14
        )
    stacked = [tg.stack([t, t]) for t in inputs]
    mapped = tg.vmap(call)(*stacked)
    for i in range(2):
        np.testing.assert_allclose(mapped[i].numpy(), expected.numpy(), rtol=1e-12, atol=1e-14)
