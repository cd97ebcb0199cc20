"""What tensors and dtypes are asked, beside torch where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from beside_torch import same

import tapegrad as tg

KINDS = ["float64", "float32", "int64", "bool"]
#: by value: what results of two dtypes are
PROMOTED = {
    ("bool", "bool"): "bool",
    ("bool", "int64"): "int64",
    ("int64", "int64"): "int64",
    ("int64", "float32"): "float32",
    ("bool", "float32"): "float32",
    ("float32", "float32"): "float32",
}


def named(kind: Any) -> str:
    return str(kind).removeprefix("torch.")


def test_dtypes_promote() -> None:
    for a, b in product(KINDS, KINDS):
        wanted = PROMOTED.get((a, b)) or PROMOTED.get((b, a)) or "float64"
        assert named(tg.promote_types(getattr(tg, a), getattr(tg, b))) == wanted
    assert tg.result_type(tg.ones(2).float(), tg.tensor(2.0)) is tg.float32
    assert tg.result_type(tg.tensor([1]), tg.tensor(2.0)) is tg.float64
    assert tg.result_type(tg.tensor([1]), True) is tg.int64
    assert tg.result_type(1, 2.0) is tg.float64


def test_numbers_that_may_be_written() -> None:
    order = ["bool", "int64", "float32", "float64"]
    for a, b in product(order, order):
        allowed = order.index(a) <= order.index(b) or (a, b) == ("float64", "float32")
        assert tg.can_cast(getattr(tg, a), getattr(tg, b)) is allowed


def test_a_real_tensor_is_its_own_conjugate() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for y in (x.real, tg.real(x), x.conj(), tg.conj(x), x.resolve_conj(), x.resolve_neg()):
        assert y is x
    assert not x.is_conj()
    assert not x.is_neg()
    with pytest.raises(RuntimeError, match="non-complex dtypes"):
        _ = x.imag


CASES: dict[str, Callable[[Any], Any]] = {
    **{
        f"{a} and {b}": lambda m, a=a, b=b: [
            named(m.promote_types(getattr(m, a), getattr(m, b))),
            named(m.result_type(m.ones(2).to(getattr(m, a)), m.ones(()).to(getattr(m, b)))),
            m.can_cast(getattr(m, a), getattr(m, b)),
        ]
        for a, b in product(KINDS, KINDS)
    },
    "numbers": lambda m: [named(m.result_type(a, b)) for a, b in product((True, 1, 2.0), repeat=2)],
    "size": lambda m: [m.ones(2).is_same_size(m.zeros(2)), m.is_same_size(m.ones(2), m.ones(3))],
    "nonzero": lambda m: [m.is_nonzero(m.tensor(2.0)), m.tensor([False]).is_nonzero()],
    "bytes": lambda m: [m.ones(2, 3).nbytes, m.ones(2).float().itemsize, m.zeros(0).nbytes],
    "places": lambda m: [
        getattr(m.ones(2), name)
        for name in ("is_cpu", "is_nested", "is_sparse", "is_sparse_csr", "is_cuda", "is_meta")
    ],
    "more places": lambda m: [m.ones(1).is_pinned(), m.ones(1).is_shared(), m.ones(1).is_distributed()],
    "error: nonzero of two": lambda m: m.is_nonzero(m.ones(2)),
    "error: nonzero of none": lambda m: m.is_nonzero(m.ones(0)),
    "error: a dtype": lambda m: m.promote_types(m.float32, 3),
    "error: a tensor": lambda m: m.can_cast(m.ones(2), m.float32),
    "error: text": lambda m: m.result_type("a", m.ones(2)),
    "error: imag": lambda m: m.imag(m.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name: str) -> None:
    same(CASES[name], up_to="expected one of")
