"""A program as text, and how a library runs it.

A `Script` has leaves, which are arrays, and lines over tensors ``t0, t1, ...``. Lines know no library: it
is ``lib`` in them, so that the same text runs in tapegrad and in torch. What a run leaves behind is an
`Outcome`: which lines raised, values, gradients, what hooks noted, and derivatives of what is left.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .prelude import PRELUDE

__all__ = ["ERRORS", "Leaf", "Line", "Machine", "Outcome", "Script", "outcome"]

#: what a line may raise; anything else is a failure of the fuzzer, or of the library
ERRORS = (RuntimeError, TypeError, IndexError, ValueError, AttributeError, NameError)


@dataclass(frozen=True)
class Leaf:
    """A leaf: its values, and if it requires grad."""

    array: np.ndarray
    active: bool

    def text(self) -> str:
        """Text that makes it."""
        kind = f", dtype=lib.{self.array.dtype.name}"
        return f"lib.tensor({self.array.tolist()}{kind}, requires_grad={self.active})"


@dataclass(frozen=True)
class Line:
    """A line, and if the other library may raise where tapegrad does not."""

    text: str
    lenient: bool = False


@dataclass
class Script:
    """Leaves and lines, and the order up to which derivatives are taken at the end."""

    leaves: list[Leaf]
    lines: list[Line]
    order: int = 2

    def text(self) -> str:
        """All of it as a program."""
        leaves = [f"t{i} = {leaf.text()}" for i, leaf in enumerate(self.leaves)]
        return "\n".join([*leaves, *(line.text for line in self.lines)])


class Machine:
    """A library with the names of a program."""

    def __init__(self, lib: Any, leaves: list[Leaf], positive: bool = False) -> None:
        self.lib = lib
        #: whether derivatives that are -0.0 become 0.0
        self.positive = positive
        self.names: dict[str, Any] = {"lib": lib, "np": np}
        exec(PRELUDE, self.names)
        for i, leaf in enumerate(leaves):
            kind = getattr(lib, leaf.array.dtype.name)
            self.names[f"t{i}"] = lib.tensor(leaf.array, dtype=kind, requires_grad=leaf.active)

    def run(self, text: str) -> Exception | None:
        """Run a line; the error that it raised."""
        try:
            exec(text, self.names)
        except ERRORS as error:
            return error.with_traceback(None)
        if "lib.func." in text or "grad(" in text:
            self._own(re.findall(r"^(t\d+) =", text, re.MULTILINE))
        return None

    def _own(self, names: list[str]) -> None:
        """Give results of derivatives memory of their own: torch's may be one number many times."""
        for name in names:
            t = self.names[name]
            if any(n > 1 and not k for n, k in zip(t.shape, t.stride(), strict=True)):
                t = t.contiguous()
            self.names[name] = t + 0.0 if self.positive and t.is_floating_point() else t

    def tensors(self) -> dict[str, Any]:
        """Tensors by name, in the order of their numbers."""
        numbers = sorted(int(n[1:]) for n in self.names if re.fullmatch(r"t\d+", n))
        return {f"t{n}": self.names[f"t{n}"] for n in numbers}


@dataclass
class Outcome:
    """What a run left behind.

    Attributes
    ----------
    errors : list
        For each line the error that it raised, or None.
    parts : dict
        Name of a part -> arrays, or the error that taking it raised.
    """

    errors: list[Exception | None] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)

    def end(self) -> Exception | None:
        """The error that ended the derivatives."""
        return next((p for p in self.parts.values() if isinstance(p, Exception)), None)


def array_of(tensor: Any) -> np.ndarray:
    """Values of a tensor, as a copy."""
    return np.array(tensor.detach().numpy(force=True))


def _gradients(machine: Machine, script: Script, parts: dict[str, Any]) -> None:
    lib, weights = machine.lib, np.random.default_rng(5)
    tensors = machine.tensors()
    leaves = [machine.names.get(f"t{i}") for i in range(len(script.leaves))]
    wanted = [
        (t, leaf.array)
        for t, leaf in zip(leaves, script.leaves, strict=True)
        if leaf.active and t is not None and t.requires_grad
    ]

    def zeros_for_none(tensors: list[Any]) -> list[np.ndarray]:
        return [
            np.zeros_like(start) if t is None else array_of(t)
            for t, (_, start) in zip(tensors, wanted, strict=True)
        ]

    loss: Any = 0.0
    for t in tensors.values():
        weight = lib.tensor(weights.uniform(0.5, 1.5, tuple(t.shape)), dtype=lib.float64)
        if t.requires_grad:
            loss = loss + (t * weight).sum()
    if not hasattr(loss, "backward") or not wanted:
        return
    loss.backward(retain_graph=True)
    parts["grad"] = zeros_for_none([t.grad for t, _ in wanted])
    for k in range(script.order):
        last = k + 1 == script.order
        grads = lib.autograd.grad(
            loss, [t for t, _ in wanted], create_graph=not last, allow_unused=True
        )
        parts[f"order {k + 1}"] = zeros_for_none(list(grads))
        loss = 0.0
        for g, (_, start) in zip(grads, wanted, strict=True):
            direction = lib.tensor(weights.uniform(-1, 1, start.shape), dtype=lib.float64)
            if g is not None and g.requires_grad:
                loss = loss + (g * direction).sum()
        if not hasattr(loss, "backward"):
            return


def conclude(machine: Machine, script: Script, result: Outcome) -> Outcome:
    """Add values and derivatives of what a machine's program has left, and let go of it.

    Names hold tensors, whose graphs hold contexts of Functions, whose methods hold the names.
    """
    try:
        return _concluded(machine, script, result)
    finally:
        machine.names.clear()


def _concluded(machine: Machine, script: Script, result: Outcome) -> Outcome:
    tensors = machine.tensors()
    try:
        result.parts["values"] = [array_of(t) for t in tensors.values()]
    except ERRORS as error:  # a tensor that torch lets out of its vmap cannot be read
        result.parts["values"] = error.with_traceback(None)
        return result
    result.parts["requires_grad"] = [np.array(t.requires_grad) for t in tensors.values()]
    try:
        _gradients(machine, script, result.parts)
    except ERRORS as error:
        result.parts["derivatives"] = error.with_traceback(None)
    kept = machine.names["kept"]
    try:
        result.parts["kept"] = [
            np.zeros(0) if t.grad is None else array_of(t.grad) for t in kept.values()
        ]
    except ERRORS as error:
        result.parts["kept"] = error.with_traceback(None)
    log = machine.names["log"]
    result.parts["log"] = [array_of(t) for name in sorted(log) for t in log[name]]
    return result


def outcome(
    script: Script, lib: Any, between: Callable[[], None] = lambda: None, *, positive: bool = False
) -> Outcome:
    """Run a script in a library; `between` is called behind each line; for `positive` see `Machine`."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        machine, result = Machine(lib, script.leaves, positive), Outcome()
        for line in script.lines:
            result.errors.append(machine.run(line.text))
            between()
        return conclude(machine, script, result)
