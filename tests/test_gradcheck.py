"""`gradcheck` and `gradgradcheck` beside torch's: what passes, what fails, and what they say."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
from beside_torch import Case, same, torch

import tapegrad as tg
from tapegrad.autograd import GradcheckError, gradcheck, gradgradcheck


def leaf(lib: Any, *values: float, **options: Any) -> Any:
    return lib.tensor(list(values or (0.3, 0.7)), requires_grad=True, **options)


def function(lib: Any, forward: Any, backward: Any) -> Any:
    """A custom function of one argument, with the derivative that it says it has."""

    class Mine(lib.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            return backward(ct, *ctx.saved_tensors)

    return Mine.apply


def wrong(lib: Any) -> Any:
    return function(lib, lambda x: x * 3, lambda ct, x: ct * 2)


def not_multiplied(lib: Any) -> Any:
    return function(lib, lambda x: x * 3, lambda ct, x: ct * 3 + 1e-9)


def restless(lib: Any) -> Any:
    return function(lib, lambda x: x * 3, lambda ct, x: ct * (3 + 1e-7 * lib.rand(2)))


def named(cases: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


CHECKS: dict[str, Case] = {
    "passes": lambda m: m.autograd.gradcheck(lambda x: x.sin() * x, leaf(m)),
    "several": lambda m: m.autograd.gradcheck(
        lambda x, n, y: (x**n * y, y.sum()), (leaf(m), 3, leaf(m, 1.0, 2.0))
    ),
    "list": lambda m: m.autograd.gradcheck(lambda x: [x * 2, x.sum()], [leaf(m)]),
    "captured": lambda m: (lambda x: m.autograd.gradcheck(lambda y: x * y, leaf(m)))(leaf(m)),
    "captured input": lambda m: (lambda x: m.autograd.gradcheck(lambda y: x * x, x))(leaf(m)),
    "passive argument": lambda m: m.autograd.gradcheck(lambda x, y: x * y, (leaf(m), m.ones(2))),
    "matrix": lambda m: m.autograd.gradcheck(
        lambda x: x @ x.mT, m.arange(1.0, 7.0).reshape(2, 3).requires_grad_()
    ),
    "transposed": lambda m: m.autograd.gradcheck(
        lambda x: x.sin(), m.arange(1.0, 7.0).reshape(2, 3).mT.detach().requires_grad_()
    ),
    "not a leaf": lambda m: m.autograd.gradcheck(lambda x: x.sin(), leaf(m) * 2),
    "scalar": lambda m: m.autograd.gradcheck(lambda x: x.tanh(), m.tensor(0.4, requires_grad=True)),
    "empty": lambda m: m.autograd.gradcheck(lambda x: x.tanh(), m.ones(0).requires_grad_()),
    "constant": lambda m: m.autograd.gradcheck(lambda x: m.ones(2), leaf(m)),
    "detached": lambda m: m.autograd.gradcheck(lambda x: x.detach() * 2, leaf(m)),
    "detached, fast": lambda m: m.autograd.gradcheck(lambda x: x.detach() * 2, leaf(m), fast_mode=True),
    "kink": lambda m: m.autograd.gradcheck(lambda x: x.abs(), leaf(m, 0.0, 1.0)),
    "kink aside": lambda m: m.autograd.gradcheck(lambda x: x.relu(), leaf(m, 0.0, 1.0)),
    "wrong": lambda m: m.autograd.gradcheck(wrong(m), leaf(m)),
    "wrong, quiet": lambda m: m.autograd.gradcheck(wrong(m), leaf(m), raise_exception=False),
    "wrong within rtol": lambda m: m.autograd.gradcheck(wrong(m), leaf(m), rtol=0.5),
    "wrong within atol": lambda m: m.autograd.gradcheck(wrong(m), leaf(m), atol=1.5),
    "wrong in the second": lambda m: m.autograd.gradcheck(
        lambda x, y: (x * y, wrong(m)(y)), (leaf(m), leaf(m))
    ),
    "not multiplied": lambda m: m.autograd.gradcheck(not_multiplied(m), leaf(m)),
    "not multiplied, masked": lambda m: m.autograd.gradcheck(
        not_multiplied(m), leaf(m), masked=True, check_undefined_grad=False
    ),
    "not deterministic": lambda m: m.autograd.gradcheck(restless(m), leaf(m)),
    "nondet_tol": lambda m: m.autograd.gradcheck(restless(m), leaf(m), nondet_tol=1e-5),
    "fast": lambda m: m.autograd.gradcheck(lambda x: x.sin() * x, leaf(m), fast_mode=True),
    "fast, several": lambda m: m.autograd.gradcheck(
        lambda x, y: (x * y, y.sum()), (leaf(m), leaf(m)), fast_mode=True
    ),
    "batched": lambda m: m.autograd.gradcheck(
        lambda x: (x.sin() * x, x.sum()), leaf(m), check_batched_grad=True
    ),
    "dtypes": lambda m: m.autograd.gradcheck(lambda x: x.sin(), leaf(m), check_grad_dtypes=True),
    "no undefined": lambda m: m.autograd.gradcheck(lambda x: x.sin(), leaf(m), check_undefined_grad=False),
    "no input": lambda m: m.autograd.gradcheck(lambda x: x, m.ones(2)),
    "expanded": lambda m: m.autograd.gradcheck(lambda x: x, leaf(m, 1.0).expand(3)),
    "nothing to check": lambda m: m.autograd.gradcheck(lambda x: x, leaf(m), check_backward_ad=False),
    "batched forward only": lambda m: m.autograd.gradcheck(
        lambda x: x, leaf(m), check_backward_ad=False, check_forward_ad=True, check_batched_grad=True
    ),
    "batched tangents of none": lambda m: m.autograd.gradcheck(
        lambda x: x, leaf(m), check_batched_forward_grad=True
    ),
    "shapes change": lambda m: m.autograd.gradcheck(lambda x: x[x > 1.99999999], leaf(m, 1.0, 2.0, 2.0)),
    "second": lambda m: m.autograd.gradgradcheck(lambda x: (x * x).sin(), leaf(m)),
    "second of several": lambda m: m.autograd.gradgradcheck(
        lambda x, y: (x * y, x.sum()), (leaf(m), leaf(m))
    ),
    "second of linear": lambda m: m.autograd.gradgradcheck(lambda x: x * 2, leaf(m)),
    "second, given": lambda m: m.autograd.gradgradcheck(lambda x: x.exp(), leaf(m), leaf(m, 1.0, 2.0)),
    "second, scattered": lambda m: m.autograd.gradgradcheck(
        lambda x: x.exp(), leaf(m), gen_non_contig_grad_outputs=True
    ),
    "second, fast": lambda m: m.autograd.gradgradcheck(lambda x: x.exp(), leaf(m), fast_mode=True),
    "second of nothing": lambda m: m.autograd.gradgradcheck(
        lambda x: x, leaf(m), check_rev_over_rev=False, check_undefined_grad=False
    ),
    "second, undefined": lambda m: m.autograd.gradgradcheck(
        lambda x: x, leaf(m), check_rev_over_rev=False, check_fwd_over_rev=True
    ),
    "second, batched": lambda m: m.autograd.gradgradcheck(
        lambda x: x, leaf(m), check_rev_over_rev=False, check_fwd_over_rev=True,
        check_undefined_grad=False, check_batched_grad=True,
    ),
}  # fmt: skip


@named(CHECKS)
def test_checks(case: Case) -> None:
    same(case, up_to="NOTE: If|numerical:")


@pytest.mark.smoke
def test_forward_mode_is_checked() -> None:
    """Not beside torch, whose forward mode compiles decompositions first."""
    f = lambda x, y: (x.sin() * y, x.sum())  # noqa: E731
    at = (leaf(tg), leaf(tg, 1.0, 2.0))
    for fast in (False, True):
        assert gradcheck(f, at, check_forward_ad=True, fast_mode=fast)
        assert gradcheck(
            f, at, check_forward_ad=True, check_batched_forward_grad=True, fast_mode=fast
        )
        assert gradcheck(f, at, check_forward_ad=True, check_backward_ad=False, fast_mode=fast)
        with pytest.raises(
            GradcheckError, match="computed with forward mode mismatch for output 0"
        ):
            gradcheck(
                wrong(tg), leaf(tg), check_forward_ad=True, check_backward_ad=False, fast_mode=fast
            )
    assert gradgradcheck(
        lambda x: x.exp(), leaf(tg), check_fwd_over_rev=True, check_rev_over_rev=False,
        check_undefined_grad=False,
    )  # fmt: skip


def test_fast_mode_explains_itself() -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(wrong(tg), leaf(tg), fast_mode=True)
    text = str(caught.value)
    assert text.startswith("Jacobian mismatch for output 0 with respect to input 0,\nnumerical:")
    assert "recompute numerical and analytical jacobians in slow mode" in text
    assert "The max per-element difference (slow mode) is: 1.0" in text or "is: 0.99999" in text


def test_not_double_precision_is_warned_of() -> None:
    def case(m: Any) -> Any:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = m.autograd.gradcheck(
                lambda x: x * 2, leaf(m, dtype=m.float32), eps=1e-2, atol=1e-2
            )
        return found, [(w.category.__name__, str(w.message)) for w in seen]

    same(case)


def three_results(lib: Any, allowed: set[int]) -> Any:
    """A custom function with three results that allows some numbers of undefined cotangents."""

    class Three(lib.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3, x * 4

        @staticmethod
        def backward(ctx: Any, *cts: Any) -> Any:
            found = [ct * k for k, ct in enumerate(cts, 2) if ct is not None]
            if 3 - len(found) not in allowed:
                raise RuntimeError(f"not without {3 - len(found)}")
            return sum(found) if found else None

    return Three.apply


UNDEFINED: dict[str, Case] = {
    "handled": lambda m: m.autograd.gradcheck(three_results(m, {0, 1, 2, 3}), leaf(m)),
    "refused in a row": lambda m: m.autograd.gradcheck(three_results(m, {0}), leaf(m)),
    "refused alone": lambda m: m.autograd.gradcheck(three_results(m, {0, 2, 3}), leaf(m)),
    "refused, not asked": lambda m: m.autograd.gradcheck(
        three_results(m, {0, 2, 3}), leaf(m), check_undefined_grad=False
    ),
    "all are there": lambda m: m.autograd.gradcheck(
        lambda x: sum(three_results(m, {0})(x)), leaf(m), check_undefined_grad=False
    ),
}


@named(UNDEFINED)
def test_undefined_cotangents(case: Case) -> None:
    same(case)


def test_inputs_are_as_before() -> None:
    x = leaf(tg)
    version = x._version
    with pytest.raises(ZeroDivisionError):
        gradcheck(lambda a: (a * a, 1 / 0), x)
    assert gradcheck(lambda a: a * a, x)
    assert x.tolist() == [0.3, 0.7]
    assert (x._version, x.grad) == (version, None)


def test_names_are_where_torch_has_them() -> None:
    module = importlib.import_module("tapegrad.autograd.gradcheck")
    assert module.GradcheckError is GradcheckError
    assert module.gradcheck is tg.autograd.gradcheck
    assert issubclass(GradcheckError, RuntimeError)
    if torch is not None:
        theirs = importlib.import_module("torch.autograd.gradcheck")
        assert theirs.gradcheck is torch.autograd.gradcheck


def test_integers_among_the_results_are_left_out() -> None:
    assert gradcheck(lambda x: (x * 2, x > 0.5, x.argmax()), leaf(tg))


def test_differences_are_central() -> None:
    from tapegrad.autograd import finite_differences

    x = tg.tensor([2.0, 3.0], requires_grad=True)
    (found,) = finite_differences.numerical_columns(lambda a: a**3, (x,), 0, 1e-3)
    assert found is not None
    np.testing.assert_allclose(found, np.diag([12.000001, 27.000001]), rtol=1e-9, atol=1e-12)
