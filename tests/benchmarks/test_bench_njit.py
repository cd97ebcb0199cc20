"""Loops recorded in native code (`tg.njit`) beside hand-written gradients, `jax.lax.scan` and PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import loop_programs as loops
import tapegrad as tg
from racing import Aim, Race, Runner

CHAIN = 25_000  # of 4 ops
STEPS = 1_000
STATE = 1.0, 1.1, 0.9
rng = np.random.default_rng(20260201)
# ADBench's LSTM with 2 layers, sequences of 64, 14 bits
MAIN, EXTRA = rng.normal(size=(4, 4 * 14)), rng.normal(size=(3, 14))
START, SEQUENCE = rng.normal(size=(4, 14)), (rng.random((64, 14)) < 0.5).astype(np.float64)
# a recurrent layer of 32 units with 8 inputs, over 64 steps
LAYER = 0.2 * rng.normal(size=(32, 32)), rng.normal(size=(32, 8)), rng.normal(size=32)
SIGNAL = rng.normal(size=(64, 8))


def in_torch(program: Callable[..., Any], *inputs: Any) -> Runner:
    import torch

    torch.set_num_threads(1)
    leaves = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in inputs]

    def run() -> tuple[Any, ...]:
        for leaf in leaves:
            leaf.grad = None
        value = program(*leaves)
        value.backward()
        return (value.item(), *(leaf.grad.numpy() for leaf in leaves))

    return run


def torch_lstm() -> Runner:
    import torch

    constants = torch.tensor(START), torch.tensor(SEQUENCE)
    return in_torch(lambda main, extra: loops.lstm_in_torch(main, extra, *constants), MAIN, EXTRA)


def torch_recurrent() -> Runner:
    import torch

    sequence = torch.tensor(SIGNAL)
    return in_torch(lambda *leaves: loops.recurrent_in_torch(*leaves, sequence), *LAYER)


def lstm_primal() -> Runner:
    gradients = loops.recorded(loops.lstm, MAIN, EXTRA, passive=(START, SEQUENCE))()[1:]
    return loops.primal(loops.lstm, gradients, MAIN, EXTRA, passive=(START, SEQUENCE))


RACES = {
    "chain": Race(
        "compiled scalar chain, 100,000 ops",
        {
            "limit": lambda: loops.chain_by_hand(1.0001, 0.9999, CHAIN),
            "tapegrad": lambda: loops.recorded(loops.chain, 1.0001, 0.9999, passive=(CHAIN,)),
        },
        work=4 * CHAIN,
        aims=[Aim("at most 12 ns an op, sines included", 12e-9 * 4 * CHAIN)],
    ),
    "lorenz": Race(
        "Lorenz RK4, 1,000 steps, compiled",
        {
            "limit": lambda: loops.lorenz_by_hand(*STATE, STEPS),
            "tapegrad": lambda: loops.recorded(loops.lorenz, *STATE, passive=(STEPS,)),
            "primal": lambda: loops.primal(
                loops.lorenz, loops.lorenz_by_hand(*STATE, STEPS)()[1:], *STATE, passive=(STEPS,)
            ),
            "jax": lambda: loops.scanned(loops.lorenz_in_jax(STEPS), *map(np.array, STATE)),
        },
        work=STEPS,
        aims=[Aim("at most 350/40 of the hand-written gradient's time", 350 / 40, to="limit")],
        rtol=1e-8,
    ),
    # PyTorch takes a second for 1,000 steps, which would leave the others few rounds.
    "lorenz100": Race(
        "Lorenz RK4, 100 steps, compiled",
        {
            "tapegrad": lambda: loops.recorded(loops.lorenz, *STATE, passive=(100,)),
            "torch": lambda: in_torch(lambda x, y, z: loops.lorenz.py_func(x, y, z, 100), *STATE),
        },
        work=100,
        aims=[Aim("at most 1/100 of torch eager's time", 1 / 100, to="torch")],
    ),
    "lstm": Race(
        "LSTM (ADBench, l = 2, c = 64) in scalar loops, compiled",
        {
            "tapegrad": lambda: loops.recorded(loops.lstm, MAIN, EXTRA, passive=(START, SEQUENCE)),
            "primal": lstm_primal,
            "jax": lambda: loops.scanned(loops.lstm_in_jax(START, SEQUENCE), MAIN, EXTRA),
            "torch": torch_lstm,
        },
        work=len(SEQUENCE) - 1,
        aims=[Aim("ahead of jax.lax.scan", 1.0, to="jax")],
        rtol=1e-8,
    ),
    "recurrent": Race(
        "recurrent layer (32 units, 64 steps) in arrays, compiled",
        {
            "tapegrad": lambda: loops.recorded(loops.recurrent, *LAYER, passive=(SIGNAL,)),
            "jax": lambda: loops.scanned(loops.recurrent_in_jax(SIGNAL), *LAYER),
            "torch": torch_recurrent,
        },
        work=len(SIGNAL),
        rtol=1e-8,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("which", "name"), [(which, name) for which, race in RACES.items() for name in race.contenders]
)
def test_compiled_loops(compete, which, name):
    compete(RACES[which], name)


def test_memory_of_a_scalar_statement(report_measure):
    x = tg.tensor(1.0001, requires_grad=True)
    before = tg.current_tape().stats()["bytes"]
    y = loops.chain(x, 0.9999, CHAIN)
    size = (tg.current_tape().stats()["bytes"] - before) / (4 * CHAIN)
    report_measure(
        "memory of a scalar statement in a compiled loop", "tapegrad", size, "bytes", at_most=48
    )
    assert y.requires_grad
