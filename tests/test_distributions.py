"""Distributions: numbers of PyTorch's and SciPy's, samples and their derivatives, errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import tapegrad as tg
from tapegrad import distributions as D
from tapegrad.distributions import gamma_sampling

RANDOM = np.random.default_rng(0)


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.3, 3, shape)


def real(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])
CASES: list[tuple[str, dict[str, np.ndarray]]] = [
    ("Normal", {"loc": real(3), "scale": positive(3)}),
    ("Uniform", {"low": np.zeros(3), "high": positive(3)}),
    ("Exponential", {"rate": positive(3)}),
    ("Laplace", {"loc": real(3), "scale": positive(3)}),
    ("LogNormal", {"loc": real(3), "scale": positive(3)}),
    ("HalfNormal", {"scale": positive(3)}),
    ("Gamma", {"concentration": positive(3), "rate": positive(3)}),
    ("StudentT", {"df": np.array([0.5, 1.5, 3.0]), "loc": real(3), "scale": positive(3)}),
    ("Poisson", {"rate": positive(3)}),
    ("Bernoulli", {"probs": RANDOM.uniform(size=3)}),
    ("Bernoulli", {"logits": real(3)}),
    ("Categorical", {"probs": positive(3, 4)}),
    ("Categorical", {"logits": real(3, 4)}),
    ("Beta", {"concentration1": positive(3), "concentration0": positive(3)}),
    ("Dirichlet", {"concentration": positive(3, 4)}),
    ("MultivariateNormal", {"loc": real(3, 2), "covariance_matrix": MATRIX}),
    ("MultivariateNormal", {"loc": real(2), "precision_matrix": MATRIX}),
    ("MultivariateNormal", {"loc": real(2), "scale_tril": np.stack([np.tril(MATRIX), np.eye(2)])}),
]
IDS = [f"{name}-{next(reversed(values))}" for name, values in CASES]


def distribution(library: Any, kind: str, case: tuple[str, dict[str, np.ndarray]]) -> Any:
    name, values = case
    where = D if library is tg else library.distributions
    dtype = getattr(library, kind)
    tensors = {k: library.tensor(v, dtype=dtype, requires_grad=True) for k, v in values.items()}
    return getattr(where, name)(**tensors), tensors


def value_of(instance: Any, name: str, *arguments: Any) -> Any:
    """Attribute or result of a method; None where the distribution has none."""
    try:
        value = getattr(instance, name)
        return value(*arguments) if arguments or callable(value) else value
    except NotImplementedError:
        return None


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_numbers_are_those_of_torch(case: Any, kind: str) -> None:
    torch = pytest.importorskip("torch")
    (ours, leaves), (theirs, their_leaves) = (distribution(lib, kind, case) for lib in (tg, torch))
    tolerance = 2e-5 if kind == "float32" else 1e-12
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    drawn = ours.sample((5,))
    value = torch.tensor(drawn.numpy())
    assert not drawn.requires_grad
    assert str(theirs.sample().dtype).endswith(str(drawn.numpy().dtype))
    steps: list[tuple[str, Any, Any]] = [
        *((n, (), ()) for n in ("mean", "variance", "stddev", "mode", "entropy")),
        *((n, (drawn,), (value,)) for n in ("log_prob", "cdf")),
    ]
    if value_of(theirs, "icdf", theirs.mean * 0 + 0.3) is not None:
        steps.append(("icdf", (ours.mean * 0 + 0.3,), (theirs.mean * 0 + 0.3,)))
    for name, arguments, their_arguments in steps:
        expected = value_of(theirs, name, *their_arguments)
        if expected is None or (name == "entropy" and case[0] == "Poisson"):
            continue
        actual = value_of(ours, name, *arguments)
        np.testing.assert_allclose(
            actual.detach().numpy(), expected.detach().numpy(),
            rtol=tolerance, atol=tolerance, err_msg=name,
        )  # fmt: skip
        assert str(expected.dtype).endswith(str(actual.detach().numpy().dtype)), name
    ours.log_prob(drawn).sum().backward()
    theirs.log_prob(value).sum().backward()
    for name, leaf in leaves.items():
        np.testing.assert_allclose(
            leaf.grad.numpy(), their_leaves[name].grad.numpy(),
            rtol=100 * tolerance, atol=100 * tolerance, err_msg=name,
        )  # fmt: skip


def test_divergences_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    pairs = [tuple(distribution(lib, "float64", case)[0] for lib in (tg, torch)) for case in CASES]
    compared = 0
    for p, their_p in pairs:
        for q, their_q in pairs:
            if p.event_shape != q.event_shape or p.batch_shape != q.batch_shape:
                continue
            try:
                actual = D.kl_divergence(p, q)
            except NotImplementedError:
                continue
            expected = torch.distributions.kl_divergence(their_p, their_q)
            message = f"{p} {q}"
            np.testing.assert_allclose(
                actual.detach().numpy(), expected.detach().numpy(), 1e-11, 1e-11, err_msg=message
            )
            compared += 1
    assert compared > 40


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_samples_have_the_moments_and_expand(case: Any) -> None:
    tg.manual_seed(0)
    instance, leaves = distribution(tg, "float64", case)
    drawn = instance.sample((4000,)).double()
    known = ~(instance.mean.isnan() | instance.variance.isnan() | instance.variance.isinf())
    error = (drawn.mean(0) - instance.mean).abs() / (instance.variance / 4000).sqrt()
    assert (error < 5)[known].all()
    wide = instance.expand((2, *instance.batch_shape))
    assert wide.sample().shape == (2, *instance.batch_shape, *instance.event_shape)
    assert wide.log_prob(wide.sample()).shape == wide.batch_shape
    if instance.has_rsample:
        instance.rsample((2,)).sum().backward()
        assert all(leaf.grad.isfinite().all() for leaf in leaves.values())


@pytest.mark.parametrize("concentration", [1e-3, 0.05, 0.5, 1.0, 3.0, 20.0, 300.0, 2e3])
def test_gamma_samples_have_implicit_derivatives(concentration: float) -> None:
    """The derivative of the quantile whose probability is held fixed."""
    log_x = gamma_sampling._log_draws(np.full(20, concentration))
    if concentration < 0.01:  # F is x ** a / gamma(a + 1) there
        probability = np.exp(concentration * log_x) / scipy.special.gamma(concentration + 1)
        digamma = scipy.special.digamma(concentration + 1)
        expected = (digamma - log_x) / concentration
        assert (probability < 1).all()
        near = log_x < -40
    else:
        x, step = np.exp(log_x), 1e-4 * concentration
        probability = scipy.special.gammainc(concentration, x)
        near = (probability > 1e-6) & (probability < 1 - 1e-6)
        moved = [
            scipy.special.gammaincinv(concentration + k * step, probability) for k in (-2, -1, 1, 2)
        ]
        slope = (8 * (moved[2] - moved[1]) - (moved[3] - moved[0])) / (12 * step)
        expected = slope / x
    slopes = gamma_sampling._log_slopes(np.full(20, concentration), log_x)
    np.testing.assert_allclose(slopes[near], expected[near], rtol=1e-6)


def test_derivatives_of_large_gamma_samples_join() -> None:
    a = np.full(5, 9.9e4)
    log_x = gamma_sampling._log_draws(a)
    series = gamma_sampling._log_slopes(a, log_x)
    mixed = gamma_sampling._log_slopes(
        np.array([1e-2, 9.9e4, 2e5]), np.array([-900.0, log_x[1], 12.2])
    )
    assert mixed[1] == series[1]
    assert np.isfinite(mixed).all()
    assert np.isnan(gamma_sampling._log_slopes(np.array([np.nan]), np.array([0.0]))).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gamma_sampling, "LARGE", 1.0)
        np.testing.assert_allclose(gamma_sampling._log_slopes(a, log_x), series, rtol=1e-7)


def test_dirichlet_of_small_concentrations_is_at_corners() -> None:
    """Gamma numbers of such concentrations underflow; their logarithms do not."""
    tg.manual_seed(0)
    drawn = D.Dirichlet(tg.full((3,), 1e-3)).sample((300,))
    assert ((drawn > 0.99).sum(-1) == 1).double().mean() > 0.97


ERRORS: dict[str, Any] = {
    "scale": lambda L, M: M.Normal(L.tensor([0.0, 1.0]), L.tensor([1.0, -1.0])),
    "bounds": lambda L, M: M.Uniform(L.tensor(1.0), L.tensor(0.0)),
    "no tensor": lambda L, M: M.Normal(0.0, 1.0).log_prob(1.0),
    "neither": lambda L, M: M.Bernoulli(),
    "probability": lambda L, M: M.Bernoulli(L.tensor(2.0)),
    "support": lambda L, M: M.Bernoulli(0.5).log_prob(L.tensor(0.25)),
    "event": lambda L, M: M.Categorical(L.tensor([0.5, 0.5])).log_prob(L.tensor(3)),
    "no vector": lambda L, M: M.Categorical(L.tensor(0.5)),
    "no logits": lambda L, M: M.Categorical(logits=L.tensor(0.5)),
    "no concentration": lambda L, M: M.Dirichlet(L.tensor(0.5)),
    "no matrix": lambda L, M: M.MultivariateNormal(L.zeros(2)),
    "vector": lambda L, M: M.MultivariateNormal(L.zeros(2), L.zeros(2)),
    "triangle": lambda L, M: M.MultivariateNormal(L.zeros(2), scale_tril=L.zeros(2)),
    "indefinite": lambda L, M: M.MultivariateNormal(L.zeros(2), L.tensor([[1.0, 2.0], [2.0, 1.0]])),
    "asymmetric": lambda L, M: M.MultivariateNormal(L.zeros(2), L.tensor([[1.0, 2.0], [0.0, 1.0]])),
    "shape": lambda L, M: M.Normal(L.zeros(2), L.ones(2)).log_prob(L.zeros(3)),
    "event shape": lambda L, M: M.MultivariateNormal(L.zeros(2), L.eye(2)).log_prob(L.zeros(3)),
    "dimensions": lambda L, M: M.Independent(M.Normal(0.0, 1.0), 1),
    "text": lambda L, M: M.Normal("a", 1.0),
    "count": lambda L, M: M.Poisson(1.0).log_prob(L.tensor(-1.0)),
    "divergence": lambda L, M: M.kl_divergence(M.Uniform(0.0, 1.0), M.Laplace(0.0, 1.0)),
    "repr": lambda L, M: repr([M.Normal(0.0, 1.0), M.Independent(M.Normal(L.zeros(2), 1.0), 1)]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_texts_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    outcomes = []
    for library, place in ((torch, torch.distributions), (tg, D)):
        try:
            outcomes.append(ERRORS[name](library, place))
        except (ValueError, NotImplementedError) as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_checks_can_be_left_out() -> None:
    assert D.Normal(0.0, -1.0, validate_args=False).log_prob(tg.tensor(0.0)).isnan()
    try:
        D.Distribution.set_default_validate_args(False)
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="GreaterThan"):
        D.Normal(0.0, -1.0)


def test_independent_and_a_class_of_a_user() -> None:
    normal = D.Normal(tg.zeros(2, 3), tg.ones(3))
    diagonal = D.Independent(normal, 1)
    assert (diagonal.batch_shape, diagonal.event_shape) == ((2,), (3,))
    full = D.MultivariateNormal(tg.zeros(2, 3), tg.eye(3))
    value = diagonal.rsample()
    np.testing.assert_allclose(diagonal.log_prob(value), full.log_prob(value), rtol=1e-12)
    np.testing.assert_allclose(diagonal.entropy(), full.entropy(), rtol=1e-12)
    assert diagonal.expand((5, 2)).sample().shape == (5, 2, 3)
    assert float(D.kl_divergence(diagonal, diagonal).sum()) == 0

    class Shifted(D.Normal):
        """A class that inherits."""

    assert float(D.kl_divergence(Shifted(0.0, 1.0), D.Normal(1.0, 1.0))) == 0.5


def test_a_variational_bound_descends() -> None:
    """A loop as in a tutorial: the posterior of a normal mean, by samples with derivatives."""
    tg.manual_seed(0)
    data = tg.tensor([1.0, 2.0, 3.0])
    mean, log_scale = tg.zeros(1, requires_grad=True), tg.zeros(1, requires_grad=True)
    for _ in range(400):
        posterior = D.Normal(mean, log_scale.exp())
        draws = posterior.rsample((32,))
        likelihood = D.Normal(draws, 1.0).log_prob(data).sum(-1).mean()
        loss = D.kl_divergence(posterior, D.Normal(0.0, 10.0)).sum() - likelihood
        mean.grad = log_scale.grad = None
        loss.backward()
        with tg.no_grad():
            mean -= 0.03 * mean.grad
            log_scale -= 0.03 * log_scale.grad
    assert abs(mean.item() - 2) < 0.1
    assert abs(log_scale.exp().item() - 3**-0.5) < 0.05


def test_numbers_are_those_of_scipy() -> None:
    value = tg.tensor(0.7)
    for ours, theirs in (
        (D.Normal(0.2, 1.5), scipy.stats.norm(0.2, 1.5)),
        (D.Gamma(2.0, 3.0), scipy.stats.gamma(2.0, scale=1 / 3)),
        (D.Beta(2.0, 3.0), scipy.stats.beta(2.0, 3.0)),
        (D.StudentT(4.0, 0.1, 2.0), scipy.stats.t(4.0, 0.1, 2.0)),
        (D.Laplace(0.1, 2.0), scipy.stats.laplace(0.1, 2.0)),
        (D.LogNormal(0.1, 0.5), scipy.stats.lognorm(0.5, scale=np.exp(0.1))),
    ):
        np.testing.assert_allclose(float(ours.log_prob(value)), theirs.logpdf(0.7), rtol=1e-12)
        np.testing.assert_allclose(float(ours.entropy()), theirs.entropy(), rtol=1e-6)


PROGRAM = """
import sys
import tapegrad
assert not any(n.startswith("tapegrad.distributions") for n in sys.modules)
sys.modules["torch"] = tapegrad
import torch, torch.distributions as D
from torch.distributions.normal import Normal
from torch.distributions import Categorical, kl_divergence, constraints
from torch.utils.data import DataLoader, TensorDataset
import torch.utils.benchmark as benchmark
assert Normal is D.Normal is tapegrad.distributions.Normal
assert benchmark.Timer is tapegrad.utils.benchmark.Timer
"""


def test_a_program_for_torch_finds_them() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
