"""The drawing of a program: what may come next is seen by running it in tapegrad meanwhile.

`Program(rng, length)` draws leaves, then lines by the kinds of statements that are registered in `KINDS`
(statements.py, functions.py and gradients.py put them there). A line that raises stays: the other
library has to raise as well.
"""

from __future__ import annotations

import collections
import random
import warnings
from collections.abc import Callable

import numpy as np

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.ops.table import TABLE, Op

from .script import Leaf, Line, Machine, Outcome, Script, conclude

__all__ = ["BINARY", "BOUND", "DOMAINS", "KINDS", "MISSING", "UNARY", "Kind", "Program", "kind"]

SHAPES = [(), (3,), (2, 3), (1, 3), (2, 1), (2, 3, 2), (3, 3), (4,)]
#: how a value is brought into a domain; ``{r}`` is the value, bounded
DOMAINS = {
    "real": "{r}",
    "small": "({r}.tanh() * 0.9)",
    "unit": "({r}.tanh() * 0.7)",
    "positive": "({r} * {r} + 0.5)",
    "nonzero": "({r} * {r} + 0.5)",
    "above_one": "({r} * {r} + 1.3)",
    "above_minus_one": "({r} * {r} * 0.5 - 0.4)",
    "probability": "({r}.sigmoid() * 0.8 + 0.1)",
    "apart": "{r}",
}
#: values up to which powers and exponentials stay small
BOUND = 3.0
#: elements that a tensor has at most
MOST = 64
#: elementwise rows that are drawn otherwise, or whose random arguments are not worth it
SKIPPED = {
    "clone",
    "heaviside",
    "floor_divide",  # torch has no derivative of it
    "sinc",  # torch's second derivative at 0 is NaN
}


def _elementwise(arity: int) -> list[Op]:
    """Public rows with floating results of `arity` operands from a domain that is safe to hit."""
    return sorted(
        (
            e
            for e in TABLE.values()
            if e.kind == nt.COMPUTE
            and e.is_elementwise
            and e.arity == arity
            and e.vjp is not None
            and e.torch
            and e.result != "bool"
            and (e.domain in DOMAINS or e.domain == "power")
            and e.name not in SKIPPED
            and "." not in e.torch
            and callable(getattr(tg, e.torch, None))
        ),
        key=lambda e: e.name,
    )


UNARY, BINARY = _elementwise(1), _elementwise(2)

Kind = Callable[["Program"], None]
#: kinds of statements, and how often they are drawn
KINDS: list[tuple[Kind, float]] = []
#: names that programs could not use
MISSING: collections.Counter[str] = collections.Counter()


def kind(weight: float) -> Callable[[Kind], Kind]:
    """Register a kind of statement."""

    def register(draw: Kind) -> Kind:
        KINDS.append((draw, weight))
        return draw

    return register


class Program:
    """A random program, and what it did in tapegrad while it was drawn.

    Attributes
    ----------
    script : Script
    names : list of str
        Tensors that may be used.
    bounds : dict
        For each of them what its values hardly exceed.
    """

    def __init__(
        self, rng: random.Random, length: int, order: int = 2, *, single: float = 0.15,
        kinds: list[tuple[Kind, float]] | None = None,
    ) -> None:  # fmt: skip
        self.rng = rng
        values = np.random.default_rng(rng.randrange(1 << 16))
        mixed = rng.random() < single
        leaves = []
        for i in range(rng.randint(2, 4)):
            shape = rng.choice(SHAPES)
            array = values.uniform(0.3, 1.5, shape) * values.choice([-1.0, 1.0], shape)
            dtype = np.float32 if mixed and rng.random() < 0.5 else np.float64
            leaves.append(Leaf(np.asarray(array, dtype), i == 0 or rng.random() < 0.7))
        self.script = Script(leaves, [], order)
        self.names = [f"t{i}" for i in range(len(leaves))]
        self.count = len(leaves)
        self.bounds = dict.fromkeys(self.names, 1.5)
        self.machine = Machine(tg, leaves)
        self.outcome = Outcome()
        kinds = KINDS if kinds is None else kinds
        drawn = rng.choices([k for k, _ in kinds], [w for _, w in kinds], k=length)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for draw in drawn:
                draw(self)

    def finish(self) -> Outcome:
        """Values and derivatives of what the program has left in tapegrad."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return conclude(self.machine, self.script, self.outcome)

    # ------------------------------------------------------------------ looking
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self.machine.names[name].shape)

    def is_floating(self, name: str) -> bool:
        """Return True if a tensor is of a floating dtype."""
        return bool(self.machine.names[name].dtype.is_floating_point)

    def shares_memory(self, name: str, other: str) -> bool:
        """Return True if two tensors have elements in common."""
        arrays = [self.machine.names[n].detach().numpy(force=True) for n in (name, other)]
        return bool(np.shares_memory(*arrays))

    def pick(self, fits: Callable[[tuple[int, ...]], bool] = lambda s: True) -> str | None:
        """Draw a floating tensor whose shape fits."""
        names = [n for n in self.names if self.is_floating(n) and fits(self.shape(n))]
        if not names:
            return None
        # recent ones first: long chains rather than wide ones
        return names[max(self.rng.randrange(len(names)), self.rng.randrange(len(names)))]

    def some(self) -> str:
        """Draw a tensor with elements."""
        return self.pick(lambda s: 0 < np.prod(s, dtype=int) <= MOST) or "t0"

    def partner(self, shape: tuple[int, ...]) -> str | None:
        """Draw a tensor that broadcasts with a shape."""

        def fits(other: tuple[int, ...]) -> bool:
            try:
                return int(np.prod(np.broadcast_shapes(shape, other))) <= MOST
            except ValueError:
                return False

        return self.pick(fits)

    def narrower(self, shape: tuple[int, ...]) -> str | None:
        """Draw a tensor that broadcasts to a shape."""

        def fits(other: tuple[int, ...]) -> bool:
            try:
                return np.broadcast_shapes(shape, other) == shape
            except ValueError:
                return False

        return self.pick(fits)

    def bounded(self, name: str) -> str:
        """Text of a tensor with its values bounded."""
        return name if self.bounds[name] <= BOUND else f"({name}.tanh() * 2)"

    def within(self, name: str, domain: str) -> str:
        """Text of a tensor with its values brought into a domain."""
        return DOMAINS[domain].format(r=self.bounded(name))

    # ------------------------------------------------------------------ writing
    def line(self, text: str, *, lenient: bool = False) -> bool:
        """Run and keep a line; False if it raised. A name that tapegrad does not have yet is noted."""
        error = self.machine.run(text)
        if isinstance(error, AttributeError):
            MISSING[str(error)] += 1
            return False
        self.script.lines.append(Line(text, lenient))
        self.outcome.errors.append(error)
        return error is None

    def emit(self, text: str, bound: float = 10.0, *, lenient: bool = False) -> str | None:
        """Run ``t<n> = text``; the new name, None if tapegrad raised."""
        name = f"t{self.count}"
        if not self.line(f"{name} = {text}", lenient=lenient):
            return None
        return self.adopt(name, bound)

    def adopt(self, name: str, bound: float = 10.0) -> str | None:
        """Take the tensor of that number, which a line has assigned, into the program."""
        self.count += 1
        value = self.machine.names[name]
        if not isinstance(value, tg.Tensor) or np.prod(value.shape, dtype=int) > 4 * MOST:
            self.line(f"del {name}")
            return None
        self.names.append(name)
        self.bounds[name] = bound
        return name

    def raise_bounds(self) -> None:
        """Forget bounds: something was written, and views share memory."""
        for name in self.names:
            self.bounds[name] = max(self.bounds[name], 10.0)
