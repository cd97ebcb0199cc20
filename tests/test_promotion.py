"""Dtype promotion of all pairs of operands, and of single operands, as in torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from op_arguments import SAMPLES
from op_samples import function_of, is_elementwise, public_rows, tg_leaf, torch_leaf

import tapegrad as tg
from tapegrad.ops.table import TABLE, Op

torch = pytest.importorskip("torch")

DTYPES = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "bool": np.bool_}
NUMBERS: dict[str, Any] = {"float": 2.0, "int": 3, "True": True}
KINDS = [f"{name}-{rank}" for name in DTYPES for rank in ("1d", "0d")] + list(NUMBERS)
PAIRS = [pair for pair in itertools.product(KINDS, KINDS) if not set(pair) <= set(NUMBERS)]

FUNCTIONS = [
    "add", "sub", "rsub", "mul", "div", "pow", "remainder", "fmod", "floor_divide", "maximum",
    "minimum", "fmax", "atan2", "xlogy", "copysign", "logical_and", "bitwise_and", "lt", "eq", "ge",
]  # fmt: skip
#: functions of which torch takes tensors only; ours take numbers as well
TENSORS_ONLY = ("maximum", "minimum", "fmax", "atan2", "logical_and")
#: what torch has no kernel for, and we do
LENIENT = ("atan2", "remainder", "fmod")


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def operand(kind: str, make: Any, which: int) -> Any:
    if kind in NUMBERS:
        return NUMBERS[kind]
    name, rank = kind.split("-")
    values = np.array([[3, 2], [2, 1]][which], DTYPES[name])
    return make(values if rank == "1d" else values[0], active=False)


def outcome(call: Any, *args: Any) -> tuple[str, Any]:
    """Dtype and values of a call, or the error that it raises."""
    try:
        result = call(*args)
        return str(result.dtype).removeprefix("torch."), result.detach().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pairs_promote_as_in_torch(name: str) -> None:
    ours, theirs = getattr(tg, name), getattr(torch, name)
    for pair in PAIRS:
        if name in TENSORS_ONLY and set(pair) & set(NUMBERS):
            continue
        if name == "rsub" and pair[0] in NUMBERS:
            continue  # takes a number second only
        want = outcome(theirs, *(operand(k, torch_leaf, i) for i, k in enumerate(pair)))
        if want[0] == "TypeError" and "invalid combination" in want[1]:
            continue  # torch takes no number in that place
        have = outcome(ours, *(operand(k, tg_leaf, i) for i, k in enumerate(pair)))
        if want[0] == "NotImplementedError" and have[0] in DTYPES:
            assert name in LENIENT, f"{name}{pair}: {have}, torch {want}"
            continue
        assert have[0] == want[0], f"{name}{pair}: {have}, torch {want}"
        if have[0] in DTYPES:
            np.testing.assert_allclose(have[1], want[1], rtol=2e-7, err_msg=f"{name}{pair}")
        else:
            assert have[1] == want[1], f"{name}{pair}"


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_operators_promote_as_in_torch(pair: tuple[str, str]) -> None:
    operators = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
        "/": lambda a, b: a / b, "//": lambda a, b: a // b, "%": lambda a, b: a % b,
        "**": lambda a, b: a**b, "<": lambda a, b: a < b, "==": lambda a, b: a == b,
        "&": lambda a, b: a & b, "^": lambda a, b: a ^ b,
    }  # fmt: skip
    for sign, call in operators.items():
        want = outcome(call, *(operand(k, torch_leaf, i) for i, k in enumerate(pair)))
        for _ in range(2):  # by Python, then by native recording
            have = outcome(call, *(operand(k, tg_leaf, i) for i, k in enumerate(pair)))
            assert have[0] == want[0], f"{sign} {have}, torch {want}"
            if have[0] in DTYPES:
                np.testing.assert_allclose(have[1], want[1], rtol=2e-7, err_msg=sign)
            elif want[0] != "TypeError":
                assert have[1] == want[1], sign


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_where_promotes_as_in_torch(pair: tuple[str, str]) -> None:
    mask = np.array([True, False])
    want = outcome(
        torch.where, torch_leaf(mask), *(operand(k, torch_leaf, i) for i, k in enumerate(pair))
    )
    have = outcome(tg.where, tg_leaf(mask), *(operand(k, tg_leaf, i) for i, k in enumerate(pair)))
    assert have[0] == want[0]
    np.testing.assert_array_equal(have[1], want[1])


@pytest.mark.parametrize("pair", [p for p in PAIRS if p[0] not in NUMBERS], ids="-".join)
def test_clamp_promotes_as_in_torch(pair: tuple[str, str]) -> None:
    x, bound = pair
    want = outcome(torch.clamp, operand(x, torch_leaf, 0), operand(bound, torch_leaf, 1))
    have = outcome(tg.clamp, operand(x, tg_leaf, 0), operand(bound, tg_leaf, 1))
    if want[0] in DTYPES:
        assert have[0] == want[0]
        np.testing.assert_array_equal(have[1], want[1])


def _unary_rows() -> list[Op]:
    return [
        e for e in public_rows()
        if is_elementwise(e) and e.arity == 1 and e.torch and e.name not in SAMPLES
    ]  # fmt: skip


@pytest.mark.parametrize("entry", _unary_rows(), ids=lambda e: e.name)
@pytest.mark.parametrize("name", DTYPES)
def test_dtype_of_one_operand_is_torchs(entry: Op, name: str) -> None:
    values = np.array([1, 0, 1], DTYPES[name])
    assert entry.torch is not None
    theirs = function_of(torch, entry.torch)
    ours = function_of(tg, entry.torch)
    assert theirs is not None
    want = outcome(theirs, torch_leaf(values, active=False))
    have = outcome(ours, tg_leaf(values, active=False))
    if want[0] == "NotImplementedError":
        return  # torch lacks a kernel; where we have one, it is as for other dtypes
    assert have[0] == want[0], f"{have}, torch {want}"
    if have[0] in DTYPES:
        np.testing.assert_allclose(have[1], want[1], rtol=1e-6, atol=1e-7)


def test_integers_become_the_default_dtype() -> None:
    x = tg_leaf(np.array([1, 2]))
    assert tg.exp(x).dtype is tg.float64
    tg.set_default_dtype(tg.float32)
    try:
        assert tg.exp(x).dtype is tg.float32
        assert (x / x).dtype is tg.float32
        assert (x * 0.5).dtype is tg.float32
    finally:
        tg.set_default_dtype(tg.float64)
    assert TABLE["exp"].result == "float"
