"""Fourier transforms: values beside NumPy's, gradients by differences and beside PyTorch's, in all modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((2, 4, 5))
COMPLEX = REAL + 1j * RNG.standard_normal((2, 4, 5))
NORMS = (None, "ortho", "forward")
KINDS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "": [{}, {"n": 3}, {"n": 8}, {"dim": 0}, {"n": 5, "dim": -2}, {"n": 1}],
    "2": [{}, {"s": (3, 6)}, {"dim": (0, 2)}, {"s": (-1, 4), "dim": (1, 0)}],
    "n": [{}, {"s": (3, 6)}, {"dim": (0,)}, {"s": (2, 3, 7)}],
}
CASES = [
    (kind, end, norm, options)
    for kind in KINDS for end, several in OPTIONS.items() for norm in NORMS for options in several
]  # fmt: skip


def operand(kind: str) -> np.ndarray:
    return REAL if kind in ("rfft", "ihfft") else COMPLEX


def loss(T: Any, y: Any) -> Any:
    weights = T.arange(1.0, y.numel() + 1, dtype=T.float64).reshape(y.shape)
    return (y.real * weights + y.imag * 0.3).sum() if y.is_complex() else (y * weights).sum()


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_two_gradients_are_torchs(kind: str) -> None:
    for _, end, norm, options in (case for case in CASES if case[0] == kind):
        results = []
        for T in (torch, tg):
            x = T.tensor(operand(kind), requires_grad=True)
            y = getattr(T.fft, kind + end)(x, norm=norm, **options)
            first = T.autograd.grad(loss(T, y), x, create_graph=True)[0]
            second = T.autograd.grad(loss(T, y * y), x)[0]
            results.append([t.detach().resolve_conj().numpy() for t in (y, first, second)])
        for a, b in zip(*results, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_differences(kind: str) -> None:
    x = tg.tensor(operand(kind)[:, :3], requires_grad=True)
    for n in (4, 5, 6, 9):

        def f(x: Any, n: int = n) -> Any:
            return getattr(tg.fft, kind)(x * x, n, -1, "ortho")

        assert tg.autograd.gradcheck(f, (x,), check_forward_ad=True, fast_mode=True)
        assert tg.autograd.gradgradcheck(f, (x,), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_functions_on_tensors(kind: str) -> None:
    a = operand(kind)
    t = tg.tensor(a, requires_grad=True)
    calls: list[Callable[[Any], Any]] = [
        lambda x: getattr(np.fft, kind)(x), lambda x: getattr(np.fft, kind)(x, 3, 1, "ortho"),
        lambda x: getattr(np.fft, kind)(x, n=7, axis=0),
    ]  # fmt: skip
    if kind not in ("hfft", "ihfft"):
        calls += [
            lambda x: getattr(np.fft, kind + "2")(x),
            lambda x: getattr(np.fft, kind + "n")(x, axes=[0, 1], norm="forward"),
            lambda x: getattr(np.fft, kind + "n")(x, s=(3, 4), axes=(2, 1)),
        ]
    for f in calls:
        y = f(t)
        assert y.requires_grad
        wanted = f(a)
        assert y.detach().numpy().dtype == wanted.dtype
        np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-12, atol=1e-13)
    single = f(tg.tensor(a.astype(np.complex64 if a.dtype.kind == "c" else np.float32)))
    assert single.dtype in (tg.complex64, tg.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_and_jit(kind: str) -> None:
    x = tg.tensor(operand(kind)[0])
    f = getattr(tg.fft, kind)
    whole = f(x)
    np.testing.assert_allclose(tg.vmap(f)(x).numpy(), whole.numpy(), rtol=1e-12, atol=1e-13)
    columns = tg.vmap(lambda v: f(v, 6), in_dims=1)(x)
    np.testing.assert_allclose(columns.numpy(), f(x.T, 6).numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(tg.jit(f)(x).numpy(), whole.numpy(), rtol=1e-12, atol=1e-13)

    def filtered(x: Any) -> Any:
        return loss(tg, f(x * x))

    wanted = tg.grad(filtered)(x)
    np.testing.assert_allclose(tg.jit(tg.grad(filtered))(x).numpy(), wanted.numpy(), rtol=1e-10)


def test_frequencies_and_shifts() -> None:
    np.testing.assert_array_equal(tg.fft.fftfreq(5, 0.1).numpy(), np.fft.fftfreq(5, 0.1))
    np.testing.assert_array_equal(tg.fft.rfftfreq(6).numpy(), np.fft.rfftfreq(6))
    for a in (np.arange(5.0), REAL):
        np.testing.assert_array_equal(tg.fft.fftshift(tg.tensor(a)).numpy(), np.fft.fftshift(a))
        np.testing.assert_array_equal(np.fft.ifftshift(tg.tensor(a)).numpy(), np.fft.ifftshift(a))
    assert tg.fft.fftshift(tg.tensor(REAL), 1).tolist() == np.fft.fftshift(REAL, 1).tolist()
    assert tg.fft.fft(tg.tensor([1, 2])).dtype is tg.complex128


@pytest.mark.parametrize(
    ("kind", "text", "call"),
    [
        (RuntimeError, r"Invalid number of data points \(0\) specified", lambda: tg.fft.fft(tg.ones(0))),
        (RuntimeError, r"Invalid number of data points \(0\)", lambda: tg.fft.irfft(tg.ones(1))),
        (RuntimeError, 'Invalid normalization mode: "x"', lambda: tg.fft.fft(tg.ones(3), norm="x")),
        (RuntimeError, "rfft expects a real input tensor, but got ComplexDouble",
         lambda: tg.fft.rfft(tg.ones(3) * 1j)),
        (IndexError, "Dimension specified as -1 but tensor has no dimensions",
         lambda: tg.fft.fft(tg.tensor(1.0))),
        (IndexError, "Dimension out of range", lambda: tg.fft.fft(tg.ones(3), dim=2)),
        (RuntimeError, "FFT dims must be unique", lambda: tg.fft.fftn(tg.ones(3, 3), dim=(0, 0))),
        (RuntimeError, "Got shape with 3 values but input tensor only has 2 dimensions",
         lambda: tg.fft.fftn(tg.ones(3, 3), s=(1, 2, 3))),
        (RuntimeError, "dim and shape arguments must have the same length",
         lambda: tg.fft.fftn(tg.ones(3, 3), s=(1,), dim=(0, 1))),
        (TypeError, r"argument 'input' \(position 1\) must be Tensor, not str", lambda: tg.fft.fft("a")),
    ],
)  # fmt: skip
def test_refusals(kind: type[Exception], text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=text):
        call()
