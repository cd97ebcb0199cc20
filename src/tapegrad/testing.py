"""Comparison of tensors in tests, as ``torch.testing`` has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .base.dtypes import dtype, float32, float64
from .tape.recording import is_tensor

__all__ = ["assert_close"]


def __dir__() -> list[str]:
    return sorted(__all__)


#: relative and absolute tolerances of dtypes; others are exact
_TOLERANCES = {float64: (1e-7, 1e-7), float32: (1.3e-6, 1e-5)}


class _Differs(AssertionError):
    """A difference, and the keys of the containers around it."""

    def __init__(self, text: str, keys: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.text, self.keys = text, keys


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
    atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
    check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raise AssertionError unless two values are close: tensors, arrays, numbers, or containers of these.

    ``abs(actual - expected) <= atol + rtol * abs(expected)`` has to hold for all elements.

    Parameters
    ----------
    actual, expected : Tensor, array, number, sequence or mapping
    allow_subclasses : bool
        With False, types must be the same.
    rtol, atol : float, optional
        Both or none; by default 1e-7 each for float64, 1.3e-6 and 1e-5 for float32, 0 for others.
    equal_nan : bool
        Let NaN be close to NaN.
    check_device, check_layout : bool
        For PyTorch's sake: there is one device and one layout.
    check_dtype, check_stride : bool
        Let dtypes, and strides, be the same as well.
    msg : str or callable, optional
        The error's text, or a function of the text.

    Raises
    ------
    AssertionError
    TypeError
        If the values cannot be compared.
    ValueError
        If only one tolerance is given.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.assert_close(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0 + 1e-9]))
    """
    if (rtol is None) != (atol is None):
        word = "rtol" if rtol is None else "atol"
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {word}."
        )
    options = {
        "rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype,
        "check_stride": check_stride, "allow_subclasses": allow_subclasses,
    }  # fmt: skip
    try:
        _compare(actual, expected, options)
    except _Differs as difference:
        text = difference.text
        if difference.keys:
            keys = "".join(f"[{key!r}]" for key in difference.keys)
            text += f"\n\nThe failure occurred for item {keys}"
        if msg is not None:
            text = msg(text) if callable(msg) else msg
        raise AssertionError(text) from None


def _compare(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    if not options["allow_subclasses"] and type(actual) is not type(expected):
        raise TypeError(
            f"allow_subclasses=False: types differ, {type(actual)} and {type(expected)}"
        )
    values = (actual, expected)
    if all(isinstance(v, Mapping) for v in values):
        _compare_mappings(actual, expected, options)
    elif all(isinstance(v, Sequence) and not isinstance(v, str | bytes) for v in values):
        if len(actual) != len(expected):
            raise _Differs(
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
            )
        for i, pair in enumerate(zip(actual, expected, strict=True)):
            _compare_item(i, *pair, options)
    elif all(isinstance(v, bool | np.bool_) for v in values):
        if bool(actual) is not bool(expected):
            raise _Differs(f"Booleans mismatch: {actual} is not {expected}")
    elif any(v is None for v in values):
        if actual is not expected:
            raise _Differs(f"None mismatch: {actual} is not {expected}")
    elif all(isinstance(v, int | float | np.number) for v in values):
        _compare_numbers(actual, expected, options)
    elif all(map(is_tensor, values)) or all(isinstance(v, np.ndarray) for v in values):
        _compare_tensors(actual, expected, options)
    else:
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}."
        )


def _compare_item(key: Any, actual: Any, expected: Any, options: dict[str, Any]) -> None:
    try:
        _compare(actual, expected, options)
    except _Differs as difference:
        raise _Differs(difference.text, (key, *difference.keys)) from None


def _compare_mappings(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    missing = sorted(set(expected) - set(actual), key=str)
    additional = sorted(set(actual) - set(expected), key=str)
    if missing or additional:
        raise _Differs(
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {missing}\n"
            f"Additional keys in the actual mapping: {additional}"
        )
    for key in sorted(actual, key=str):
        _compare_item(key, actual[key], expected[key], options)


def _tolerances(options: dict[str, Any], *kinds: Any) -> tuple[float, float]:
    if options["rtol"] is not None:
        return options["rtol"], options["atol"]
    pairs = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
    return max(r for r, _ in pairs), max(a for _, a in pairs)


def _compare_numbers(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    is_exact = all(isinstance(v, int | np.integer) for v in (actual, expected))
    rtol, atol = _tolerances(options, *([] if is_exact else [float64]), None)
    if options["check_dtype"] and isinstance(actual, int) != isinstance(expected, int):
        raise _Differs(
            "The (d)types do not match: "
            f"{type(actual)} != {type(expected)}."
        )  # fmt: skip
    distance = abs(actual - expected)
    if actual == expected or distance <= atol + rtol * abs(expected):
        return
    if options["equal_nan"] and actual != actual and expected != expected:
        return
    if rtol == 0 and atol == 0:
        head, allowed = "Scalars are not equal!", ("", "")
    else:
        head = "Scalars are not close!"
        allowed = f" (up to {atol} allowed)", f" (up to {rtol} allowed)"
    relative = distance / abs(expected) if expected else float("inf")
    raise _Differs(
        f"{head}\n\nExpected {expected} but got {actual}.\n"
        f"Absolute difference: {distance}{allowed[0]}\nRelative difference: {relative}{allowed[1]}"
    )


def _facts(value: Any) -> tuple[np.ndarray, Any, str]:
    """Values, dtype and shape in words."""
    if is_tensor(value):
        return value.detach().numpy(force=True), value.dtype, f"torch.Size({[*value.shape]})"
    return value, value.dtype, str(value.shape)


def _compare_tensors(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    a, kind, shape = _facts(actual)
    b, other, other_shape = _facts(expected)
    if a.shape != b.shape:
        raise _Differs(f"The values for attribute 'shape' do not match: {shape} != {other_shape}.")
    if options["check_dtype"] and kind != other:
        raise _Differs(f"The values for attribute 'dtype' do not match: {kind} != {other}.")
    if options["check_stride"] and a.strides != b.strides:
        raise _Differs(
            f"The values for attribute 'stride()' do not match: {a.strides} != {b.strides}."
        )
    rtol, atol = _tolerances(options, *(k if isinstance(k, dtype) else None for k in (kind, other)))
    if not is_tensor(actual) and options["rtol"] is None and a.dtype.kind == "f":
        rtol, atol = _TOLERANCES[float32 if a.dtype == np.float32 else float64]
    with np.errstate(all="ignore"):
        if a.dtype.kind == "b" and b.dtype.kind == "b":
            a, b = a.astype(np.int64), b.astype(np.int64)
        close = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=options["equal_nan"])
        if close.all():
            return
        distance = np.abs(a - b)
        relative = distance / np.abs(b)
    distance, relative = np.where(close, 0, distance), np.where(close, 0, relative)
    is_exact = rtol == 0 and atol == 0
    if a.ndim == 0:
        _compare_numbers(
            a.item(), b.item(), {**options, "rtol": rtol, "atol": atol, "check_dtype": False}
        )
    count = int((~close).sum())
    lines = [
        f"Tensor-likes are not {'equal' if is_exact else 'close'}!", "",
        f"Mismatched elements: {count} / {close.size} ({count / close.size:.1%})",
    ]  # fmt: skip
    for word, values, limit in (("absolute", distance, atol), ("relative", relative, rtol)):
        place = np.unravel_index(np.argmax(values), values.shape)
        allowed = "" if is_exact else f" (up to {limit} allowed)"
        index = tuple(map(int, place))
        lines.append(
            f"Greatest {word} difference: {values[place].item()} at index {index}{allowed}"
        )
    raise _Differs("\n".join(lines))
