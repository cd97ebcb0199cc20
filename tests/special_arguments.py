"""Arguments of special functions, by name of the row: `SPECIAL`, which is a part of `SAMPLES`.

Rows of PyTorch's with one operand, and with two that are both differentiated, have a domain and need none.
Operands that nobody has a derivative for (orders) are whole numbers here, which are passive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Example = tuple[tuple[Any, ...], dict[str, Any]]
Sample = Callable[[np.random.Generator, Any], list[Example]]
Shapes = tuple[tuple[int, ...], ...]

#: (low, high) of uniform numbers, or of whole ones
RANGES = {
    "real": (-2.0, 2.0), "positive": (0.3, 3.0), "unit": (-0.8, 0.8), "probability": (0.1, 0.9),
    "order": (1, 5), "above_one": (2, 6),
}  # fmt: skip
SHAPES: dict[int, tuple[Shapes, ...]] = {
    1: (((2, 3),), ((),), ((5,),), ((0,),)),
    2: (((2, 1), (1, 3)), ((), ()), ((3,), ()), ((2, 3), (3,)), ((0, 3), (1,))),
    3: (((2, 1), (3,), ()), ((), (), ()), ((0,), (1,), ())),
}


def drawn(*ranges: str, before: tuple[Any, ...] = (), **options: Any) -> Sample:
    """Make samples of operands of these ranges, behind some arguments."""

    def sample(rng: np.random.Generator, dtype: Any) -> list[Example]:
        made = []
        for shapes in SHAPES[len(ranges)]:
            operands = []
            for name, shape in zip(ranges, shapes, strict=True):
                low, high = RANGES[name]
                whole = isinstance(low, int)
                values = rng.integers(low, high, shape) if whole else rng.uniform(low, high, shape)
                operands.append(np.asarray(values, np.int64 if whole else dtype))
            made.append(((*before, *operands), options))
        return made

    return sample


def several(*samples: Sample) -> Sample:
    """Make the samples of all of these."""
    return lambda rng, dtype: [x for s in samples for x in s(rng, dtype)]


SPECIAL: dict[str, Sample] = {
    "polygamma": several(drawn("positive", before=(1,)), drawn("positive", before=(2,))),
    "special_gamma": drawn("positive"),
    "special_gammasgn": drawn("positive"),
    "special_rgamma": drawn("real"),
    "special_beta": drawn("positive", "positive"),
    "special_betaln": drawn("positive", "positive"),
    "igamma": drawn("order", "positive"),
    "igammac": drawn("order", "positive"),
    "special_betainc": drawn("order", "order", "probability"),
    "special_zeta": drawn("above_one", "positive"),
    "special_erfcinv": drawn("probability"),
    "special_erfi": drawn("unit"),
    "special_dawsn": drawn("real"),
    "special_rel_entr": drawn("positive", "positive"),
    "special_kl_div": drawn("positive", "positive"),
    "special_exp10": drawn("unit"),
    "special_expi": drawn("positive"),
    "special_exp1": drawn("positive"),
    **{f"special_{name}": drawn("order", "positive") for name in ("jv", "yv", "iv", "ive", "kv", "kve")},
    "special_spherical_jn": several(
        drawn("real", before=(0,)), drawn("positive", before=(2,)), drawn("real", before=(3,))
    ),
    "special_airy": several(*(drawn("real", before=(k,)) for k in range(4))),
}  # fmt: skip
