"""allclose, equal, isclose, isin, and ``testing.assert_close``."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from beside_torch import torch

import tapegrad as tg

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize(("rtol", "atol"), [(0, 0), (1e-5, 1e-8), (0.5, 0), (0, 0.5), (10.0, 3.0)])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_isclose_is_numpys(rtol: float, atol: float, equal_nan: bool, kind: type) -> None:
    a = np.array([0, 1, 2, -3, 7, 7, 1], float)
    b = np.array([0, 1.5, 2, 3, 7.000001, 5, 0], float)
    if kind is not np.int64:
        a, b = np.append(a, [NAN, INF, -INF, INF, NAN]), np.append(b, [NAN, INF, INF, 1, 1])
    a, b = a.astype(kind), b.astype(kind)
    got = tg.isclose(tg.tensor(a), tg.tensor(b), rtol, atol, equal_nan)
    expected = np.isclose(a.astype(float), b.astype(float), rtol, atol, equal_nan)
    np.testing.assert_array_equal(got.numpy(), expected)
    assert tg.allclose(tg.tensor(a), tg.tensor(b), rtol, atol, equal_nan) == expected.all()


def test_equal_looks_at_shape_and_elements() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert tg.equal(x, tg.tensor([1.0, 2.0]))
    assert x.equal(x * 1)
    assert not x.equal(tg.tensor([[1.0, 2.0]]))
    assert not tg.equal(tg.tensor(NAN), tg.tensor(NAN))
    assert tg.equal(tg.zeros(0), tg.zeros(0))


def test_comparisons_record_no_gradient() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert not tg.isclose(x, x).requires_grad
    assert not tg.isin(x, x).requires_grad


@pytest.mark.parametrize("invert", [False, True])
def test_isin_is_numpys(invert: bool) -> None:
    a, b = np.array([[1, 2], [3, 4]]), np.array([4, 1, 9])
    got = tg.isin(tg.tensor(a), tg.tensor(b), invert=invert)
    np.testing.assert_array_equal(got.numpy(), np.isin(a, b, invert=invert))
    assert tg.isin(tg.tensor([1.0, 2.0]), 2).tolist() == [False, True]
    assert tg.isin(2, tg.tensor([1.0, 2.0])).tolist() is True


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.isclose(tg.ones(1), "a"), TypeError, "argument 'other'"),
        (lambda: tg.isclose(tg.ones(1), tg.ones(1), atol=-1), RuntimeError, "atol must be greater"),
        (lambda: tg.allclose(tg.ones(1), tg.ones(1).float()), RuntimeError, "did not match"),
        (lambda: tg.equal(tg.ones(1), [3]), TypeError, "argument 'other'"),
        (lambda: tg.isin([1], "a"), TypeError, "invalid combination of arguments"),
    ],
)
def test_bad_operands_of_comparisons(call: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]


# --------------------------------------------------------------------------- testing
def test_assert_close_takes_what_is_close() -> None:
    close = tg.testing.assert_close
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    close(x, x + 1e-9)
    close({"a": [x, 1.0], "b": None}, {"a": [x, 1.0 + 1e-9], "b": None})
    close(tg.tensor([NAN]), tg.tensor([NAN]), equal_nan=True)
    close(x, x.float(), check_dtype=False, rtol=1e-3, atol=0)
    close(np.ones(2), np.ones(2))


#: what is not close, and words of the error
APART = [
    (lambda t: (t([1.0, 2.0, 3.0]), t([1.0, 2.5, 3.0])), "Mismatched elements: 1 / 3 (33.3%)"),
    (lambda t: (t([1.0, 2.0]), t([1.0])), "attribute 'shape' do not match"),
    (lambda t: (t([1]), t([1.0])), "attribute 'dtype' do not match"),
    (lambda t: (t([1, 2]), t([1, 3])), "Tensor-likes are not equal!"),
    (lambda t: ([t([1.0])], [t([2.0])]), "The failure occurred for item [0]"),
    (lambda t: ({"k": [t(1.0)]}, {"k": [t(2.0)]}), "The failure occurred for item ['k'][0]"),
    (lambda t: (t(1.0), t(2.5)), "Expected 2.5 but got 1.0."),
    (lambda t: (t([NAN]), t([NAN])), "Greatest absolute difference: nan"),
    (lambda t: ([t(1.0)], []), "The length of the sequences mismatch: 1 != 0"),
    (lambda t: ({"k": 1}, {"j": 1}), "Missing keys in the actual mapping: ['j']"),
    (lambda t: (True, False), "Booleans mismatch"),
    (lambda t: (1.0, 2.0), "Scalars are not close!"),
    (lambda t: (1, 1.0), "The (d)types do not match"),
    (lambda t: (None, 1), "None mismatch: None is not 1"),
    (lambda t: (t([[1.0, 5.0], [2.0, 2.0]]), t([[1.0, 2.0], [0.0, 2.0]])), "at index (0, 1)"),
]


@pytest.mark.parametrize(("values", "text"), APART)
def test_assert_close_says_what_differs(values: object, text: str) -> None:
    with pytest.raises(AssertionError) as ours:
        tg.testing.assert_close(*values(tg.tensor))  # type: ignore[operator]
    assert text in str(ours.value)
    if torch is None:
        return

    def make(v: object) -> object:
        is_floating = "." in str(v) or "nan" in str(v)
        return torch.tensor(v, dtype=torch.float64 if is_floating else None)

    with pytest.raises(AssertionError) as theirs:
        torch.testing.assert_close(*values(make))  # type: ignore[operator]
    digits = r"(\d\.\d{5})\d+"  # PyTorch divides integers in float32
    assert re.sub(digits, r"\1", str(ours.value)) == re.sub(digits, r"\1", str(theirs.value))


def test_the_text_of_assert_close_may_be_ones_own() -> None:
    pair = tg.tensor(1.0), tg.tensor(2.0)
    with pytest.raises(AssertionError, match=r"^mine$"):
        tg.testing.assert_close(*pair, msg="mine")
    with pytest.raises(AssertionError, match=r"^mine: Tensor-likes|^mine: Scalars"):
        tg.testing.assert_close(*pair, msg=lambda text: f"mine: {text}")
    with pytest.raises(ValueError, match="got no atol"):
        tg.testing.assert_close(*pair, rtol=1.0)
    with pytest.raises(TypeError, match="No comparison pair"):
        tg.testing.assert_close("a", tg.tensor(1.0))


def test_signbit_is_numpys_for_each_dtype() -> None:
    values = [0.0, -0.0, 1.0, -1.0, NAN, -NAN, INF, -INF]
    for kind in (tg.float64, tg.float32):
        x = tg.tensor(values, dtype=kind, requires_grad=True)
        found = tg.signbit(x)
        np.testing.assert_array_equal(found.numpy(), np.signbit(values))
        assert not found.requires_grad
    assert tg.tensor([0, -1, 2]).signbit().tolist() == [False, True, False]
    assert tg.tensor([True, False]).signbit().tolist() == [False, False]
    assert tg.tensor([1.0, -2.0])[::2].signbit().tolist() == [False]


def test_a_tolerance_may_be_a_tensor_that_requires_no_grad() -> None:
    x = tg.tensor([1.0, 3.0])
    assert tg.isclose(x, x + 1, tg.tensor(0), tg.tensor(1.5)).tolist() == [True, True]
    with pytest.raises(
        TypeError, match=r"isclose\(\): argument 'atol' \(position 4\) must be float"
    ):
        tg.isclose(x, x, 1.5, "1")
    with pytest.raises(TypeError, match=r"'rtol' \(position 3\) must be float, not Tensor"):
        tg.isclose(x, x, tg.tensor(1.5, requires_grad=True))
