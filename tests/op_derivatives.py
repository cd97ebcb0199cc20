"""Derivatives of the cases of op_samples.py, in tapegrad and in torch, and directions for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_samples import Case, tg_leaf

from tapegrad.engine import reverse as engine

try:
    import torch
except ImportError:
    torch = None

Arrays = list[np.ndarray]


def zeros_for_none(values: list[Any], leaves: list[Any]) -> Arrays:
    return [
        np.zeros(tuple(x.shape)) if v is None else v.detach().numpy(force=True)
        for v, x in zip(values, leaves, strict=True)
    ]


def derivatives(
    case: Case, arrays: Arrays, directions: list[Arrays], *, swept: bool = False
) -> list[Arrays]:
    """Values, then for each order the gradient of the previous order along its direction.

    ``directions[0]`` are cotangents of the results, the others vectors like the active operands.
    The gradients are replayed; with `swept` the last one comes from a reverse sweep.
    """
    leaves, outs = case.run(arrays)
    active = [x for x, a in zip(leaves, case.active, strict=True) if a]
    found = [[t.detach().numpy() for t in outs]]
    current = list(zip(outs, directions[0], strict=True))
    for order, direction in enumerate(directions[1:], 1):
        roots = [(t, v) for t, v in current if t is not None and t.requires_grad]
        if not roots:
            found.append([np.zeros(tuple(x.shape)) for x in active])
            current = []
            continue
        replayed = not swept or order < len(directions) - 1
        seeds = [tg_leaf(np.asarray(v, t.dtype.np), active=False) for t, v in roots]
        grads = engine.grad(
            [t for t, _ in roots], active, seeds, create_graph=replayed, allow_unused=True
        )
        found.append(zeros_for_none(grads, active))
        current = list(zip(grads, direction, strict=True))
    return found


def inner(a: Arrays, b: Arrays) -> float:
    return float(sum(np.sum(np.asarray(x, float) * y) for x, y in zip(a, b, strict=True)))


def directions_for(case: Case, rng: np.random.Generator, order: int) -> list[Arrays]:
    _, outs = case.run()
    first = [
        rng.uniform(0.5, 1.5, tuple(t.shape)) * (1.0 if t.dtype.is_floating_point else 0.0)
        for t in outs
    ]
    active = [a for a, on in zip(case.arrays, case.active, strict=True) if on]
    return [first, *([rng.uniform(-1, 1, a.shape) for a in active] for _ in range(order))]


def moved(case: Case, direction: Arrays, by: float) -> Arrays:
    steps = iter(direction)
    return [
        a + by * next(steps) if on else a for a, on in zip(case.arrays, case.active, strict=True)
    ]


#: errors of torch where it has no derivative, or a broken one (clamp with broadcast bounds)
TORCH_CANNOT = ("is not implemented", "doesn't match the broadcast shape")


def torch_derivatives(case: Case, directions: list[Arrays]) -> list[Arrays | None]:
    """As `derivatives`; None where torch has no derivative of an order."""
    leaves, outs = case.run_torch()
    active = [x for x, a in zip(leaves, case.active, strict=True) if a]
    found: list[Arrays | None] = [[t.detach().numpy() for t in outs]]
    current = list(zip(outs, directions[0], strict=True))
    for direction in directions[1:]:
        roots = [(t, v) for t, v in current if t is not None and t.requires_grad]
        if not roots:
            found.append([np.zeros(tuple(x.shape)) for x in active])
            current = []
            continue
        seeds = [torch.tensor(v, dtype=t.dtype).reshape(t.shape) for t, v in roots]
        try:
            grads = torch.autograd.grad(
                [t for t, _ in roots], active, seeds, create_graph=True, allow_unused=True
            )
        except RuntimeError as error:
            if not any(text in str(error) for text in TORCH_CANNOT):
                raise
            found += [None] * (len(directions) - len(found))
            return found
        found.append(zeros_for_none(list(grads), active))
        current = list(zip(grads, direction, strict=True))
    return found
