"""Random programs with passes inside passes, hooks, views and kept gradients, beside torch."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest

import tapegrad as tg

SEEDS = range(60)


class Program:
    """A program that a seed describes, run with one of the libraries.

    Both runs draw the same numbers, since whatever is drawn depends on the seed and the program alone.
    """

    def __init__(self, lib: Any, seed: int) -> None:
        self.lib, self.random = lib, random.Random(seed)
        self.log: list[Any] = []
        self.create_graph = self.random.random() < 0.3

    def leaf(self) -> Any:
        values = [self.random.choice([-1.5, -1.0, 0.5, 1.0, 2.0]) for _ in range(4)]
        return self.lib.tensor(values, dtype=self.lib.float64, requires_grad=True)

    def build(self, depth: int) -> tuple[list[Any], list[Any], Any]:
        """Leaves, results, and a sum of some of them; with hooks that run passes of their own."""
        rng = self.random
        leaves = [self.leaf() for _ in range(2)]
        results = []
        pool = list(leaves)
        for _ in range(rng.randint(3, 7)):
            kind = rng.randrange(6)
            a, b = rng.choice(pool), rng.choice(pool)
            if kind == 0:
                made = a[: b.shape[0]] * b[: a.shape[0]]
            elif kind == 1:
                made = a * rng.choice([2.0, -0.5])
            elif kind == 2 and a.shape[0] > 2:
                made = a[1:]
            elif kind == 3:
                made = a[: b.shape[0]] + b[: a.shape[0]]
            elif kind == 4:
                made = (a * 0.3).tanh()
            else:
                made = a.view(-1)
            pool.append(made)
            results.append(made)
            self.watch(made, depth)
        for x in leaves:
            if rng.random() < 0.4:
                x.register_hook(self.hook(f"leaf {depth}", depth))
        ends = [results[-1], *rng.sample(results, 2)]
        return leaves, results, sum((e * e).sum() for e in ends)

    def watch(self, made: Any, depth: int) -> None:
        rng = self.random
        if rng.random() < 0.35:
            made.register_hook(self.hook(f"result {depth}", depth))
        if rng.random() < 0.25:
            made.retain_grad()

    def hook(self, name: str, depth: int) -> Any:
        factor = self.random.choice([None, 2.0, -1.0])
        inner = self.random.random() < 0.4 and depth < 2
        state = self.random.random()

        def call(g: Any) -> Any:
            self.log.append((name, g.tolist()))
            if inner:
                before, self.random = self.random, random.Random(state)
                try:
                    with self.lib.enable_grad():
                        self.run(depth + 1)
                finally:
                    self.random = before
            return None if factor is None else g * factor

        return call

    def run(self, depth: int = 0) -> None:
        lib, rng = self.lib, self.random
        leaves, results, end = self.build(depth)
        for t in (*leaves, *results):
            self.log.append(t.tolist())
        wanted = rng.sample(results, 1) + leaves
        again = rng.random() < 0.5
        found = lib.autograd.grad(
            end, wanted, retain_graph=True, create_graph=self.create_graph and depth == 0,
            allow_unused=True,
        )  # fmt: skip
        self.log.append([None if g is None else g.tolist() for g in found])
        if found[1] is not None and found[1].requires_grad:
            (second,) = lib.autograd.grad(
                found[1].sum(), leaves[1], retain_graph=True, allow_unused=True
            )
            self.log.append(None if second is None else second.tolist())
        for _ in range(1 + again):
            end.backward(retain_graph=True)
        for t in (*leaves, *results):
            grad = t.grad if t.is_leaf or t.retains_grad else None
            self.log.append(None if grad is None else grad.tolist())


def rounded(value: Any) -> Any:
    """Numbers to nine digits, in whatever they are in."""
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return round(value, 9) + 0.0 if isinstance(value, float) else value


@pytest.mark.parametrize("seed", SEEDS)
def test_random_passes_inside_passes(seed: int) -> None:
    torch = pytest.importorskip("torch")
    logs = []
    for lib in (tg, torch):
        program = Program(lib, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program.run()
        # PyTorch calls a leaf's hooks as soon as its gradient is complete, before other parts of the pass.
        logs.append(sorted(repr(rounded(entry)) for entry in program.log))
    assert logs[0] == logs[1]
