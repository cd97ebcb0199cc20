"""`tapegrad.special`: values beside SciPy and mpmath, derivatives where a plain formula loses its digits."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native import ufunc_loops
from tapegrad.numpy import ufuncs

scipy_special = pytest.importorskip("scipy.special")
mp = pytest.importorskip("mpmath")
special: Any = tg.special

Reference = Callable[..., Any]


# --------------------------------------------------------------------------- beside SciPy
#: names that SciPy has as ufuncs, with the number of operands that are whole orders
UFUNCS = {
    **dict.fromkeys(
        (
            "beta", "betaln", "dawsn", "entr", "erf", "erfc", "erfcinv", "erfcx", "erfi", "erfinv", "exp1",
            "exp10", "exp2", "expi", "expit", "expm1", "gamma", "gammaln", "gammasgn", "i0", "i0e", "i1",
            "i1e",
            "j0", "j1", "k0", "k0e", "k1", "k1e", "kl_div", "log1p", "log_expit", "log_ndtr", "logit", "ndtr",
            "ndtri", "psi", "rel_entr", "rgamma", "xlog1py", "xlogy", "y0", "y1",
        ), 0,
    ),
    **dict.fromkeys(
        ("gammainc", "gammaincc", "iv", "ive", "jn", "jv", "kn", "kv", "kve", "yn", "yv"), 1
    ),
    "betainc": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", UFUNCS)
def test_ufuncs_of_scipy_record_and_have_its_values(name: str) -> None:
    ufunc = getattr(scipy_special, name)
    x = np.array([0.15, 0.4, 0.85])
    t = tg.tensor(x, requires_grad=True)
    orders = [2.0] * UFUNCS[name]
    rest = ufunc.nin - len(orders)
    want = ufunc(*orders, *[x] * rest)
    for result in (ufunc(*orders, *[t] * rest), getattr(special, name)(*orders, *[t] * rest)):
        assert result.requires_grad
        np.testing.assert_allclose(result.detach().numpy(), want, rtol=1e-14)
    small = ufunc(*orders, *[tg.tensor(x, dtype=tg.float32)] * rest)
    assert small.dtype is tg.float32
    np.testing.assert_allclose(small.numpy(), want, rtol=2e-6)
    assert name in (ufuncs._SPECIAL | {"jn"})  # jn is jv


def test_functions_with_options_have_scipys_values() -> None:
    x = np.array([-2.3, 0.0, 0.4, 3.0])
    t, positive = tg.tensor(x), tg.tensor(np.abs(x) + 1.6)
    for n in range(4):
        np.testing.assert_allclose(
            special.spherical_jn(n, t).numpy(), scipy_special.spherical_jn(n, x), rtol=1e-13
        )
        np.testing.assert_allclose(
            special.spherical_jn(n, t, True).numpy(), scipy_special.spherical_jn(n, x, True),
            rtol=1e-12, atol=1e-15,
        )  # fmt: skip
        np.testing.assert_allclose(
            special.polygamma(n, positive).numpy(),
            scipy_special.polygamma(n, positive.numpy()),
            rtol=1e-13,
        )
    for ours, theirs in zip(special.airy(t), scipy_special.airy(x), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    np.testing.assert_allclose(
        special.multigammaln(positive, 3).numpy(),
        scipy_special.multigammaln(positive.numpy(), 3),
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        special.zeta(positive, 2.0).numpy(), scipy_special.zeta(positive.numpy(), 2.0), rtol=1e-15
    )
    for ours, theirs in zip(scipy_special.airy(t), scipy_special.airy(x), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)


# --------------------------------------------------------------------------- beside mpmath
def _phi(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _log_phi(x: Any) -> Any:
    return mp.log1p(-_phi(-x)) if x > 0 else mp.log(_phi(x))


def _spherical(n: int) -> Reference:
    return lambda x: mp.sqrt(mp.pi / (2 * x)) * mp.besselj(n + mp.mpf(1) / 2, x)


_REAL = [-26.5, -9.7, -3.3, -1.2, -0.4, -1e-9, 1e-9, 0.03, 0.7, 1.6, 4.9, 17.3, 29.0]
_POSITIVE = [1e-300, 1e-12, 3e-4, 0.02, 0.31, 0.77, 1.4, 2.2, 3.6, 7.7, 19.0, 140.0]
_UNIT = [-0.999, -0.6, -1e-8, 1e-300, 0.2, 0.93, 0.9999999]
_PROBABILITY = [1e-30, 1e-5, 0.1, 0.42, 0.5, 0.8, 0.999]

#: name -> reference, points, most units in the last place, why they are more than 4. SciPy 1.17 has them
#: wrong by so much itself.
VALUES: dict[str, tuple[Reference, list[float], float, str]] = {
    "gammaln": (lambda x: mp.log(abs(mp.gamma(x))), [*_POSITIVE[1:], 0.9975, 1.0001, -2.5], 4, ""),
    "digamma": (mp.digamma, [*_POSITIVE, 1.46, 1.47, -0.9, -9.2], 4, ""),
    "polygamma1": (mp.polygamma, [*_POSITIVE[1:], -0.9, -9.2], 4, ""),
    "polygamma2": (mp.polygamma, [*_POSITIVE[1:], -0.9, -9.3], 4, ""),
    "polygamma5": (mp.polygamma, [*_POSITIVE[1:], -0.9, -9.3], 8, "a rounded x + k counts six times"),
    "gamma": (mp.gamma, [*_POSITIVE[1:], -2.5, -9.7], 4, ""),
    "rgamma": (mp.rgamma, [0.0, -1.0, -2.0, *_POSITIVE[1:], -2.5, -9.7], 4, ""),
    "erfinv": (mp.erfinv, _UNIT, 4, ""),
    "erfcx": (
        lambda x: mp.exp(x * x) * mp.erfc(x), _REAL[1:], 60, "x**2 is rounded before the exponential"
    ),
    "erfi": (mp.erfi, [x for x in _REAL if abs(x) < 26], 300, "x**2 is rounded before the exponential"),
    "dawsn": (
        lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), _REAL, 64, "as erfi",
    ),
    "ndtr": (_phi, _REAL, 4, ""),
    "log_ndtr": (_log_phi, [*_REAL, -100.0, -1e3], 8, "a sum of the logarithm and x**2 / 2"),
    "ndtri": (lambda p: mp.findroot(lambda t: _phi(t) - p, _start(p)), _PROBABILITY[1:], 4, ""),
    "entr": (lambda x: -x * mp.log(x), _POSITIVE, 4, ""),
    "exp10": (lambda x: mp.mpf(10) ** x, _REAL, 4, ""),
    "expi": (mp.ei, [x for x in _REAL if abs(x) > 1e-5], 16, "a series, and an asymptotic one"),
    "exp1": (mp.e1, _POSITIVE, 16, "its series and continued fraction meet at 1"),
    "j0": (lambda x: mp.besselj(0, x), _REAL, 1000, "its zeros; x is rounded less pi / 4"),
    "j1": (lambda x: mp.besselj(1, x), _REAL, 1000, "its zeros; x is rounded less 3 pi / 4"),
    "y0": (lambda x: mp.bessely(0, x), _POSITIVE, 1000, "its zeros; x is rounded less pi / 4"),
    "y1": (lambda x: mp.bessely(1, x), _POSITIVE[1:], 1000, "its zeros; x is rounded less 3 pi / 4"),
    "i0": (lambda x: mp.besseli(0, x), _REAL, 4, ""),
    "i1": (lambda x: mp.besseli(1, x), _REAL, 12, "Chebyshev series about 8"),
    "i0e": (lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), [*_REAL, 1e4], 4, ""),
    "i1e": (lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [*_REAL, 1e4], 12, "Chebyshev series about 8"),
    "k0": (lambda x: mp.besselk(0, x), _POSITIVE, 10, "its series and Chebyshev's meet at 2"),
    "k1": (lambda x: mp.besselk(1, x), _POSITIVE, 4, ""),
    "k0e": (lambda x: mp.besselk(0, x) * mp.exp(x), _POSITIVE, 10, "as k0"),
    "k1e": (lambda x: mp.besselk(1, x) * mp.exp(x), _POSITIVE, 4, ""),
    "spherical0": (_spherical(0), _POSITIVE[1:], 4, ""),
    "spherical2": (_spherical(2), _POSITIVE[2:], 128, "by a recurrence, and by jv for small numbers"),
    "airy_ai": (mp.airyai, [x for x in _REAL if x < 20], 256, "x**1.5 is rounded before the exponential"),
    "log_expit": (lambda x: -mp.log1p(mp.exp(-x)), _REAL, 4, ""),
}  # fmt: skip


def _start(p: Any) -> float:
    return float(scipy_special.ndtri(float(p)))


def _function(name: str) -> tuple[Callable[[Any], Any], Reference]:
    """The function of a name, which may end with its order."""
    if name.startswith("polygamma"):
        n = int(name[-1])
        return (lambda x: special.polygamma(n, x)), (lambda x: mp.polygamma(n, x))
    if name.startswith("spherical"):
        return (lambda x: special.spherical_jn(int(name[-1]), x)), _spherical(int(name[-1]))
    return getattr(special, name), VALUES[name][0]


@pytest.mark.parametrize("name", VALUES)
def test_values_are_mpmaths(name: str) -> None:
    _, points, most, reason = VALUES[name]
    call, reference = _function(name)
    assert reason or most == 4
    values = call(tg.tensor(points)).tolist()
    with mp.workdps(50):
        for x, value in zip(points, values, strict=True):
            want = reference(mp.mpf(x))
            unit = mp.mpf(max(math.ulp(float(want)), 5e-324))
            assert abs((mp.mpf(value) - want) / unit) <= most, (name, x, value, float(want))


INF, NAN = math.inf, math.nan
#: name -> (x, value): poles, infinities, NaN, tails
SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "gammaln": [(0.0, INF), (-3.0, INF), (INF, INF), (-INF, INF), (NAN, NAN), (1.0, 0.0), (2.0, 0.0)],
    "digamma": [(0.0, -INF), (-0.0, INF), (-2.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN), (-1e300, NAN)],
    "polygamma1": [(0.0, INF), (-2.0, INF), (INF, 0.0), (NAN, NAN)],
    "polygamma2": [(INF, -0.0), (NAN, NAN)],
    "erfinv": [(1.0, INF), (-1.0, -INF), (0.0, 0.0), (1.5, NAN), (NAN, NAN)],
    "erfcx": [(INF, 0.0), (-INF, INF), (NAN, NAN), (0.0, 1.0), (-30.0, INF)],
    "ndtr": [(INF, 1.0), (-INF, 0.0), (0.0, 0.5), (NAN, NAN), (40.0, 1.0), (-40.0, 0.0)],
    "log_ndtr": [(INF, 0.0), (-INF, -INF), (NAN, NAN)],
    "ndtri": [(0.0, -INF), (1.0, INF), (0.5, 0.0), (2.0, NAN)],
    "entr": [(0.0, 0.0), (-1.0, -INF), (INF, -INF), (NAN, NAN)],
    "i0": [(0.0, 1.0), (INF, NAN), (800.0, INF)],
    "i1e": [(0.0, 0.0), (NAN, NAN)],
    "k0": [(0.0, INF), (-1.0, NAN), (INF, 0.0)],
    "y0": [(0.0, -INF), (-1.0, NAN)],
    "rgamma": [(0.0, 0.0), (-4.0, 0.0), (INF, 0.0)],
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL_VALUES)
def test_special_values(name: str) -> None:
    call, _ = _function(name)
    for x, want in SPECIAL_VALUES[name]:
        np.testing.assert_array_equal(call(tg.tensor(x)).item(), want, err_msg=f"{name}({x})")


#: points where a plain formula has no digits left, or is 0 / 0
DERIVATIVES: dict[str, tuple[Reference, list[float]]] = {
    "i1": (lambda x: mp.besseli(1, x), [0.0, 1e-9, 1e-4, 0.3, -1.0, 2.5, 20.0]),
    "i1e": (lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [1e-9, 1e-4, 0.3, -1.0, 2.5, 20.0]),
    "j1": (lambda x: mp.besselj(1, x), [0.0, 1e-9, 1e-4, 0.3, -1.0, 2.5, 20.0]),
    "k1": (lambda x: mp.besselk(1, x), [0.3, 2.5]),
    "rgamma": (mp.rgamma, [0.0, -1.0, -2.0, -7.0, -1.5, 0.5, 0.4999, 3.0]),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [-2.0, 0.0, 3.0, 51.0, 1e3, 1e6]),
    "dawsn": (lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), [0.0, 0.5, -3.0, 51.0, -200.0]),
    "log_ndtr": (_log_phi, [-200.0, -30.0, -1.0, 0.0, 3.0]),
    "digamma": (mp.digamma, [1e-5, 0.5, -0.5, -3.7, 30.0]),
    "airy_ai": (mp.airyai, [-5.0, 0.0, 2.0]),
    "spherical2": (_spherical(2), [1e-2, 0.3, 4.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_where_plain_formulas_fail(name: str) -> None:
    """To the third order, beside numerical derivatives with many digits."""
    reference, points = DERIVATIVES[name]
    call = (
        (lambda x: special.spherical_jn(2, x)) if name == "spherical2" else getattr(special, name)
    )
    function = call
    for order in (1, 2, 3):
        function = tg.func.grad(function)
        for point in points:
            with mp.workdps(40):
                beside = mp.mpf(point) + mp.mpf(10) ** -25  # of a pole
                want = float(mp.diff(reference, beside, order))
            have = function(tg.tensor(point)).item()
            scale = {1: 1e-11, 2: 1e-8, 3: 1e-5}[order]
            assert have == pytest.approx(want, rel=scale, abs=1e-13), (name, order, point)


# --------------------------------------------------------------------------- derivatives that nobody has
@pytest.mark.parametrize(
    "name", ["gammainc", "gammaincc", "jv", "yv", "iv", "ive", "kv", "kve", "zeta"]
)
def test_a_derivative_that_nobody_has_raises_where_it_is_asked_for(name: str) -> None:
    call = getattr(special, name)
    order, x = tg.tensor(2.5, requires_grad=True), tg.tensor(1.5, requires_grad=True)
    y = call(order, x)
    (slope,) = tg.autograd.grad(y, x, create_graph=True)
    assert math.isfinite(slope.item())
    for recorded in (False, True):
        with pytest.raises(
            tg.UnsupportedError, match=f"{TORCH.get(name, name)}: there is no derivative"
        ):
            tg.autograd.grad(y, order, create_graph=recorded, retain_graph=True)[0].item()
    with pytest.raises(tg.UnsupportedError, match="there is no derivative"):
        y.backward()
    assert x.grad is None
    assert order.grad is None
    with pytest.raises(tg.UnsupportedError, match="there is no derivative"):
        tg.func.jvp(call, (order.detach(), x.detach()), (tg.ones(()), tg.ones(())))[1].item()
    jitted = tg.jit(lambda v: call(v, x.detach()))
    with pytest.raises(tg.UnsupportedError, match="there is no derivative"):
        tg.grad(jitted)(order.detach()).item()
    assert tg.grad(lambda v: call(2.5, v))(1.5).item() == pytest.approx(slope.item(), rel=1e-13)


TORCH = {"gammainc": "igamma", "gammaincc": "igammac"}


# --------------------------------------------------------------------------- SciPy is optional
def test_without_scipy_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(ufunc_loops, "imported", missing)
    tape = tg.current_tape()
    x = tg.ones(3, 1, 5, 1, 7)  # a shape that no instruction has
    before = tape.stats()["statements"]
    with pytest.raises(
        ImportError, match=r"bessel_j0|j0: .*scipy.special.* pip install --upgrade scipy"
    ):
        special.bessel_j0(x)
    assert tape.stats()["statements"] == before
    assert special.gammaln(x).shape == x.shape  # a kernel of our own


def test_importing_tapegrad_does_not_import_scipy() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tapegrad as tg; "
        "tg.lgamma(tg.ones(2)).numpy(); print('scipy' in sys.modules); "
        "tg.special.j0(tg.ones(2)).numpy(); print('scipy' in sys.modules)"
    )
    source = str(Path(tg.__file__).parents[1])
    run = [sys.executable, "-c", code, source]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_misuse() -> None:
    with pytest.raises(RuntimeError, match="does not support negative n"):
        tg.polygamma(-1, tg.ones(2))
    with pytest.raises(RuntimeError, match="p has to be greater"):
        tg.mvlgamma(tg.ones(2), 0)
    with pytest.raises(ValueError, match=r"spherical_jn\(\): argument 'n' must be at least 0"):
        special.spherical_jn(-1, tg.ones(2))
    with pytest.raises(TypeError, match=r"special_entr\(\): argument 'input'"):
        special.entr("a")
    with pytest.raises(AttributeError, match="it has what torch"):
        _ = special.lambertw


@pytest.mark.parametrize(
    "call",
    [
        tg.lgamma, lambda x: tg.polygamma(1, x), lambda x: tg.polygamma(0, x), lambda x: tg.mvlgamma(x, 2),
        special.entr, special.airy, special.airy_ai, lambda x: special.spherical_jn(1, x),
        lambda x: special.betainc(1.0, 2.0, x),
        lambda x: special.jv(1.0, x), lambda x: scipy_special.betaln(x, x),
    ],
)  # fmt: skip
def test_dtypes_without_a_loop_are_refused(call: Callable[[Any], Any]) -> None:
    """No imaginary part is dropped."""
    for kind, name in ((tg.complex128, "ComplexDouble"), (tg.float16, "Half")):
        with pytest.raises(NotImplementedError, match=f"not implemented for '{name}'"):
            call(tg.ones(2, dtype=kind))


def test_torch_special_is_all_here() -> None:
    torch = pytest.importorskip("torch")
    polynomials = {n for n in dir(torch.special) if "polynomial" in n}
    others = {"Tensor", "common_args", "multi_dim_common", "torch"}
    public = {n for n in dir(torch.special) if not n.startswith("_")} - polynomials - others
    assert public - set(dir(special)) == set()


def test_special_functions_under_njit() -> None:
    @tg.njit
    def loss(x):  # type: ignore[no-untyped-def]
        return math.lgamma(x) * x

    x = tg.tensor(2.5, requires_grad=True)
    (slope,) = tg.autograd.grad(loss(x), x, create_graph=True)
    assert slope.item() == pytest.approx(
        2.5 * scipy_special.psi(2.5) + scipy_special.gammaln(2.5), rel=1e-13
    )
    (second,) = tg.autograd.grad(slope, x)
    want = 2.5 * scipy_special.polygamma(1, 2.5) + 2 * scipy_special.psi(2.5)
    assert second.item() == pytest.approx(want, rel=1e-13)
