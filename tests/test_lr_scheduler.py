"""Schedulers beside PyTorch's, over 100 epochs; their state; their errors."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import tapegrad as tg

CASES: dict[str, Any] = {
    "lambda": lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (e + 1)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9 + 0.1 / (e + 1)),
    "step": lambda s, o: s.StepLR(o, 7, gamma=0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [3, 3, 40], gamma=0.5),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 13, eta_min=1e-3),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=2, eta_min=1e-4),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, total_iters=30),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, total_iters=20),
    "polynomial": lambda s, o: s.PolynomialLR(o, 60, power=1.7),
    "one cycle": lambda s, o: s.OneCycleLR(o, [0.3, 0.5], total_steps=120),
    "three phases": lambda s, o: s.OneCycleLR(
        o, 0.3, epochs=12, steps_per_epoch=10, anneal_strategy="linear", three_phase=True
    ),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.2], step_size_up=7, step_size_down=5),
    "cyclic halving": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=7, mode="triangular2"),
    "cyclic range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 7, mode="exp_range", gamma=0.99),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, total_iters=9), s.ExponentialLR(o, 0.9)], milestones=[9]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 11), s.ExponentialLR(o, 0.9)]),
}


def optimizer_of(lib: Any) -> Any:
    groups = [{"params": lib.ones(1), "lr": 0.1}, {"params": lib.ones(1), "lr": 0.02}]
    return lib.optim.Adam(groups)


def rates(lib: Any, make: Any, epochs: int = 100) -> list[Any]:
    optimizer = optimizer_of(lib)
    scheduler = make(lib.optim.lr_scheduler, optimizer)
    history = []
    for _ in range(epochs):
        history.append([(g["lr"], g["betas"][0]) for g in optimizer.param_groups])
        assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    return history


@pytest.mark.parametrize("name", CASES)
def test_rates_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = rates(tg, CASES[name]), rates(torch, CASES[name])
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == pytest.approx(y, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_state_goes_on(name: str) -> None:
    whole = rates(tg, CASES[name], 40)
    first = optimizer_of(tg)
    scheduler = CASES[name](tg.optim.lr_scheduler, first)
    for _ in range(20):
        first.step()
        scheduler.step()
    second = optimizer_of(tg)
    following = CASES[name](tg.optim.lr_scheduler, second)
    following.load_state_dict(scheduler.state_dict())
    second.load_state_dict(first.state_dict())
    for k in range(20, 40):
        assert [(g["lr"], g["betas"][0]) for g in second.param_groups] == whole[k]
        second.step()
        following.step()


@pytest.mark.parametrize(
    "options", [{}, {"mode": "max", "threshold_mode": "abs", "cooldown": 3}], ids=str
)
def test_plateaus_are_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    histories = []
    for lib in (tg, torch):
        optimizer = optimizer_of(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=2, min_lr=[1e-3, 1e-4], **options
        )
        history = []
        for k in range(100):
            scheduler.step(abs((k % 17) - 8.0))
            history.append([g["lr"] for g in optimizer.param_groups])
        histories.append(history)
    assert histories[0] == histories[1]


def test_an_early_step_warns() -> None:
    scheduler = tg.optim.lr_scheduler.StepLR(tg.optim.SGD([tg.ones(1)], lr=0.1), 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda s, o: s.StepLR(3, 4), TypeError, "int is not an Optimizer"),
    (lambda s, o: s.StepLR(o, 4, last_epoch=3), KeyError, "'initial_lr' is not specified in param_groups"),
    (lambda s, o: s.LambdaLR(o, [abs]), ValueError, "Expected 2 lr_lambdas, but got 1"),
    (lambda s, o: s.ConstantLR(o, 2.0), ValueError, "Constant multiplicative factor expected"),
    (lambda s, o: s.LinearLR(o, 0.0), ValueError, "Starting multiplicative factor expected"),
    (lambda s, o: s.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps OR"),
    (lambda s, o: s.CyclicLR(o, 0.1, [1.0]), ValueError, "max_lr must have the same length"),
    (lambda s, o: s.ReduceLROnPlateau(o, factor=1.5), ValueError, "Factor should be < 1.0."),
    (lambda s, o: s.SequentialLR(o, [], []), ValueError, "expects at least one scheduler"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "Expected positive integer T_0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS, ids=[e[2][:30] for e in ERRORS])
def test_errors_are_torchs(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as ours:
        call(tg.optim.lr_scheduler, optimizer_of(tg))
    assert text in str(ours.value)
    torch = pytest.importorskip("torch")
    with pytest.raises(kind) as theirs:
        call(torch.optim.lr_scheduler, optimizer_of(torch))
    assert text in str(theirs.value)
