"""Values and first derivatives at zeros, ties, infinities, NaN and overflow, as in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from op_arguments import SAMPLES
from op_derivatives import derivatives, torch_derivatives
from op_samples import ROWS, Case, cases, is_elementwise, public_rows

from tapegrad.ops.table import TABLE, Op

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, -0.5, 1e-310, 1e300, -1e300, 700.0, -740.0, 30.0, -40.0,
     np.inf, -np.inf, np.nan]
)  # fmt: skip

NAN, INF = np.isnan, np.isinf


def subnormal(x: np.ndarray) -> np.ndarray:
    return (x != 0) & (np.abs(x) < 1e-300)


#: (row, order): where we differ from torch, and why
SPECIAL_DIFFER: dict[tuple[str, int], tuple[Any, str]] = {
    ("elu", 1): (NAN, "the slope at NaN is NaN, as the value is; torch gives 1"),
    ("remainder", 0): (lambda x, y: subnormal(y), "x / y overflows inside torch"),
    ("fmod", 0): (lambda x, y: subnormal(y), "x / y overflows inside torch"),
    ("copysign", 1): (lambda x, y: INF(x), "torch divides inf by inf"),
    ("logaddexp2", 0): (lambda x, y: x == -1, "0 to rounding, and exactly 0"),
    ("sinc", 1): (lambda x: np.abs(x) == 1e300, "x * x overflows inside torch"),
    ("digamma", 1): (lambda x: x == x, "torch's trigamma has nine digits"),
    ("special_erfcx", 1): (
        lambda x: np.abs(x) > 50,
        "2 x erfcx(x) - 2 / sqrt(pi) cancels, and overflows inside torch",
    ),
    ("special_log_ndtr", 1): (lambda x: np.abs(x) > 50, "torch divides inf by inf; 12 digits"),
    ("special_bessel_j0", 0): (lambda x: x == -3, "torch's has eleven digits"),
    ("special_bessel_j1", 0): (lambda x: x == -3, "torch's has eleven digits"),
    **{
        (name, 1): (lambda x: np.full(x.shape, True), "torch has no derivative")
        for name in TABLE
        if name.startswith(("special_bessel", "special_modified", "special_scaled_modified"))
    },
    ("special_i1", 1): (lambda x: NAN(x) | (np.abs(x) > 700), "inf - inf inside torch; 1/2 at NaN"),
    ("special_i1e", 1): (NAN, "the slope at NaN is NaN, as the value is; torch gives 1/2"),
    ("sigmoid", 1): (
        lambda x: x == 30.0,
        "1 - sigmoid(x) has three digits; ours are the right ones",
    ),
}


def special_rows() -> list[Op]:
    return [
        e for e in public_rows()
        if is_elementwise(e) and e.arity in (1, 2) and e.torch and e.name not in SAMPLES
        and e.domain != "integer"
    ]  # fmt: skip


@pytest.mark.parametrize("entry", special_rows(), ids=lambda e: e.name)
def test_special_values_are_as_in_torch(entry: Op) -> None:
    """Zeros, ties, infinities, NaN, numbers that overflow: values and first derivatives."""
    if entry.arity == 1:
        args: list[Any] = [SPECIAL]
    else:
        args = [a.reshape(-1) for a in np.meshgrid(SPECIAL, SPECIAL)]
    for name, domains, kwargs in ROWS.get(entry.name, [(entry.torch, [""] * entry.arity, {})]):
        if len(domains) != entry.arity:
            continue
        made = cases(entry, torch)[0]
        case = Case(entry.name, name, made.call, made.torch_call, args, kwargs)
        assert case.torch_call is not None
        order = 1 if entry.vjp is not None else 0
        directions = [[np.ones(args[0].shape)], [np.ones(a.shape) for a in args]][: order + 1]
        have = derivatives(case, case.arrays, directions)
        want = torch_derivatives(case, directions)
        for k, (h, w) in enumerate(zip(have, want, strict=True)):
            if w is None:
                continue
            differs, _reason = SPECIAL_DIFFER.get((entry.name, k), (None, ""))
            apart = np.zeros(args[0].shape, bool) if differs is None else differs(*args)
            for i, (x, y) in enumerate(zip(h, w, strict=True)):
                x, y = np.asarray(x, float), np.asarray(y, float)
                scale = np.where(np.isfinite(y), np.abs(y), 0)
                with np.errstate(all="ignore"):
                    close = (np.abs(x - y) <= 1e-12 * scale + 1e-307) | (x == y)
                wrong = ~(close | (np.isnan(x) & np.isnan(y)) | apart)
                points = [tuple(float(v) for v in a[wrong][:5]) for a in args]
                bad = (
                    f"{entry.name} order {k}, operand {i}, {wrong.sum()} times: at {points} "
                    f"{x[wrong][:5]}, torch {y[wrong][:5]}"
                )
                assert not wrong.sum(), bad
