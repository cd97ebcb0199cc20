"""Signatures of public functions (functions/signature.py): odd arguments, beside torch where it is there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from beside_torch import outcome, same, torch

import tapegrad as tg

#: declared functions that PyTorch has as builtins, too
NAMES = [
    "sum", "mean", "prod", "nansum", "nanmean", "all", "any", "var", "std", "var_mean", "std_mean", "amax",
    "amin", "aminmax", "max", "min", "argmax", "argmin", "sort", "argsort", "topk", "median", "nanmedian",
    "cumsum", "cumprod", "logcumsumexp", "logsumexp", "softmax", "log_softmax", "exp",
    "is_same_size", "diag", "diag_embed", "diagflat", "fliplr", "flipud", "flatten", "ravel",
    "transpose", "select", "unbind", "diagonal", "unsqueeze", "tril", "triu", "neg", "abs", "square",
    "frac", "lerp", "diff", "pdist", "cross", "relu", "logit", "isclose", "allclose", "equal",
    "signbit", "mv", "dot", "vdot", "outer", "matmul", "inner", "kron", "select_scatter",
    "slice_scatter", "diagonal_scatter", "masked_select", "masked_fill", "argwhere", "scatter_reduce",
    "index_reduce", "masked_scatter", "put", "gather", "scatter_add", "index_add", "index_copy",
    "index_fill", "take", "split_with_sizes", "positive", "dist", "unsafe_split", "unsafe_chunk",
    "unsafe_split_with_sizes", "cat", "stack", "hstack", "trapezoid", "cumulative_trapezoid",
    "gradient", "promote_types", "can_cast", "vstack", "floor", "sign", "zeros", "full", "arange",
    "eye", "zeros_like", "randint", "ones", "range", "scalar_tensor",
]  # fmt: skip
ODD = [
    "'a'", "1.5", "None", "True", "['a']", "[0, 'a']", "x", "lib.ones(())", "lib.float64", "2**70",
    "{0}", "np.ones(2)", "np.float64(1)", "object()",
]  # fmt: skip
KEYWORDS = ("dim", "keepdim", "dtype", "axis", "foo", "stable", "other")


def calls(name: str) -> Iterator[str]:
    """Calls of a function and of a method, most of which are wrong."""
    for start in [f"lib.{name}(x, "] + ([f"x.{name}("] if hasattr(tg.Tensor, name) else []):
        yield f"{start})"
        yield f"{start}0, True, 1, 2, 3, 4)"
        yield f"{start}0, dim=0)"
        yield f"{start}dim=0, axis=0)"
        yield f"{start}foo=1, dim=0)"
        for odd in ODD:
            yield f"{start}{odd})"
            yield f"{start}0, {odd})"
            for keyword in KEYWORDS:
                yield f"{start}{keyword}={odd})"
    yield f"lib.{name}()"
    yield f"lib.{name}(dim=0)"
    yield f"lib.{name}(3, 0)"


#: numbers that are taken as tensors, whose errors' types are not PyTorch's
OTHER_ERRORS = re.compile(r"(put|mv)\(|(masked_fill|lerp|dist)\(.*2\*\*70")
NUMBER = re.compile(r"(?<=[ (=])(np\.ones\(2\)|np\.float64\(1\)|1\.5|True|\d)(?=[,)])")


def with_tensors(code: str) -> Iterator[str]:
    """Calls with tensors in the place of some of the arrays and numbers."""
    parts = NUMBER.split(code)
    for choice in itertools.product((False, True), repeat=len(parts) // 2):
        numbers = [
            f"lib.tensor({n})" if chosen else n
            for n, chosen in zip(parts[1::2], choice, strict=True)
        ]
        yield "".join(a + b for a, b in zip(parts[::2], [*numbers, ""], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_odd_calls_raise_pytorchs_errors(name: str) -> None:
    if torch is None:
        pytest.skip("the texts are compared with torch's")
    torch.set_default_dtype(torch.float64)
    try:
        for code in calls(name):

            def case(lib: Any, code: str = code) -> Any:
                x = lib.tensor([[1.0, 2.0, 3.0], [4.0, 0.5, 6.0]])
                return eval(code, {"lib": lib, "x": x, "np": np})

            kind, theirs = outcome(case, torch)
            own, found = outcome(case, tg)
            if own == kind and (own == "value" or found == theirs.split("\nException raised")[0]):
                continue
            # arrays and numbers are taken where PyTorch takes nothing but tensors
            taken = {
                outcome(lambda lib, text=text: case(lib, text), torch)[0]
                for text in with_tensors(code)
            }
            assert own in taken - {"TypeError"} or OTHER_ERRORS.search(code), (code, found)
    finally:
        torch.set_default_dtype(torch.float32)


def test_types_that_were_taken_before_are_checked_no_more_and_others_are() -> None:
    x = tg.ones(2, 3)
    for _ in range(3):
        assert x.amax((0, 1)).item() == 1.0
        with pytest.raises(TypeError, match="but found element of type str at pos 0"):
            x.amax(("a", 1))
        with pytest.raises(
            TypeError, match='pos 2 with error "type must be tuple of ints,but got str'
        ):
            x.amax((0, "a"))
        with pytest.raises(TypeError, match="must be bool, not int"):
            x.amax((0, 1), 1)


def test_a_tensor_as_a_number_is_looked_at_each_time() -> None:
    def case(lib: Any) -> Any:
        x = lib.ones(2, 3)
        return x.argmax(lib.tensor(1)), x.argmax(lib.tensor([1]))

    x = tg.ones(2, 3)
    assert x.argmax(tg.tensor(1)).tolist() == [0, 0]
    same(case)
