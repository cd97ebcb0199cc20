"""Random programs: value and derivatives against torch, and the same with collections in between.

A program is Python text, a statement a line, over tensors ``t0, t1, ...``: elementwise ops drawn from
the op table, views, in-place writes, reductions, products, indexing, detached and passive operands.
`Program` draws it by running it in tapegrad, which says what shapes there are; the same lines then run
in torch. A failing example prints its text.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad import native as nt
from tapegrad.ops.table import TABLE, Op
from tapegrad.tape import Tape
from tapegrad.verify import verify

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

SHAPES = [(), (3,), (2, 3), (1, 3), (2, 1), (2, 3, 2), (3, 3), (4,), (1,), (0,), (0, 3)]
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
BOUND = 3.0
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
            and (e.loop is not None or e.extras.get("elementwise"))
            and e.arity == arity
            and e.vjp is not None
            and e.torch
            and e.result != "bool"
            and e.sample is None
            and (e.domain in DOMAINS or e.domain == "power")
            and e.name not in SKIPPED
            and "." not in e.torch
            and callable(getattr(tg, e.torch, None))
        ),
        key=lambda e: e.name,
    )


UNARY, BINARY = _elementwise(1), _elementwise(2)


STALE = "modified by an inplace operation"
#: writes of elements that share memory: torch raises for some, and for others computes nonsense
OVERLAP = ("unsupported operation: some elements", "unsupported operation: more than one element")


class Stale(Exception):
    """A residual was overwritten: there is no gradient to compare."""


class Machine:
    """Runs lines with one library."""

    def __init__(self, lib: Any, arrays: list[np.ndarray], active: list[bool], hook: Any) -> None:
        self.names: dict[str, Any] = {"lib": lib, "pause": hook, "np": np}
        for i, (array, on) in enumerate(zip(arrays, active, strict=True)):
            self.names[f"t{i}"] = lib.tensor(array, requires_grad=on)

    def run(self, line: str) -> Exception | None:
        try:
            exec(line, self.names)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            return error
        return None


class Program:
    """A random program and what it did in tapegrad while it was drawn."""

    def __init__(self, rng: random.Random, length: int) -> None:
        self.rng = rng
        self.lines: list[str] = []
        values = np.random.default_rng(rng.randrange(1 << 16))
        shapes = [rng.choice(SHAPES[:8]) for _ in range(rng.randint(2, 4))]
        self.arrays = [values.uniform(0.3, 1.5, s) * values.choice([-1.0, 1.0], s) for s in shapes]
        self.active = [i == 0 or rng.random() < 0.7 for i in range(len(shapes))]
        self.count = len(shapes)
        self.names = [f"t{i}" for i in range(self.count)]
        self.bounds = dict.fromkeys(self.names, 1.5)
        self.machine = Machine(tg, self.arrays, self.active, lambda: None)
        self.failed: list[tuple[str, Exception]] = []
        kinds = [
            (self.unary, 4), (self.binary, 5), (self.view, 5), (self.write, 5), (self.reduction, 2),
            (self.product, 2), (self.join, 1), (self.index, 1), (self.passive, 1), (self.drop, 1),
        ]  # fmt: skip
        chosen = rng.choices([k for k, _ in kinds], [w for _, w in kinds], k=length)
        for kind in chosen:
            kind()
            self.lines.append("pause()")

    # ------------------------------------------------------------------ parts of lines
    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.machine.names[name].shape)

    def pick(self, fits: Callable[[tuple[int, ...]], bool] = lambda s: True) -> str | None:
        names = [n for n in self.names if fits(self.shape(n))]
        if not names:
            return None
        # recent ones first: long chains rather than wide ones
        return names[max(self.rng.randrange(len(names)), self.rng.randrange(len(names)))]

    def bounded(self, name: str) -> str:
        return name if self.bounds[name] <= BOUND else f"({name}.tanh() * 2)"

    def within(self, name: str, domain: str) -> str:
        return DOMAINS[domain].format(r=self.bounded(name))

    def emit(self, text: str, bound: float = 10.0) -> str | None:
        """Run ``t<n> = text``; the new name, None if tapegrad raised."""
        name = f"t{self.count}"
        if not self.line(f"{name} = {text}"):
            return None
        self.count += 1
        self.names.append(name)
        self.bounds[name] = bound
        return name

    def line(self, text: str) -> bool:
        self.lines.append(text)
        error = self.machine.run(text)
        if error is not None:
            self.failed.append((text, error))
        return error is None

    def partner(self, shape: tuple[int, ...]) -> str | None:
        def fits(other: tuple[int, ...]) -> bool:
            try:
                return int(np.prod(np.broadcast_shapes(shape, other))) <= 64
            except ValueError:
                return False

        return self.pick(fits)

    # ------------------------------------------------------------------ kinds of statements
    def unary(self) -> None:
        entry, name = self.rng.choice(UNARY), self.pick()
        assert name is not None
        domain = "positive" if entry.domain == "power" else entry.domain
        self.emit(f"lib.{entry.torch}({self.within(name, domain)})")

    def binary(self) -> None:
        entry, a = self.rng.choice(BINARY), self.pick()
        assert a is not None
        b = self.partner(self.shape(a))
        first, second = entry.domain, entry.domain
        if entry.domain == "power":
            first, second = "positive", "real"
        elif entry.name in ("add", "sub", "mul") or entry.domain == "apart":
            first = second = "real"
        other = self.within(b, second) if b and self.rng.random() < 0.85 else "1.25"
        symbol = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}.get(entry.name)
        left = self.within(a, first)
        if symbol:
            pair = (left, other) if self.rng.random() < 0.8 or other != "1.25" else (other, left)
            self.emit(f"{pair[0]} {symbol} {pair[1]}")
        elif other != "1.25":
            self.emit(f"lib.{entry.torch}({left}, {other})")

    def view_of(self, name: str) -> str | None:
        """Text of a random view."""
        shape = self.shape(name)
        rank = len(shape)
        texts = [f"{name}.unsqueeze({self.rng.randint(0, rank)})", f"{name}[None]"]
        if rank:
            d = self.rng.randrange(rank)
            n = shape[d]
            low = self.rng.randint(0, n)
            skip = ":, " * d
            texts += [
                f"{name}[{skip}{low}:]", f"{name}[{skip}::2]", f"{name}[..., {low % 2}:]",
                f"{name}.transpose(0, {d})", f"{name}.T" if rank == 2 else f"{name}[{low}:{n}]",
                f"{name}.squeeze()", f"({name} * 1).reshape(-1)",
            ]  # fmt: skip
            if n:
                texts.append(f"{name}[{skip}{self.rng.randrange(-n, n)}]")
            if n == 1:
                size = [*shape[:d], 3, *shape[d + 1 :]]
                texts.append(f"{name}.expand({size})")
        else:
            texts += [f"{name}.expand(3)", f"{name}.view(1, 1)"]
        return self.rng.choice(texts)

    def view(self) -> None:
        name = self.pick()
        assert name is not None
        text = self.view_of(name)
        if text:
            self.emit(text, self.bounds[name])

    def write(self) -> None:
        """An in-place write, mostly into a copy made for it or a view of that."""
        target = self.pick(lambda s: 0 < np.prod(s) <= 64)
        if target is None:
            return
        if self.rng.random() < 0.7:
            made = self.emit(f"{target}.clone()", self.bounds[target])
            assert made is not None
            target = made
        if self.rng.random() < 0.5:
            view = self.emit(self.view_of(target) or "", self.bounds[target])
            if view is None or np.prod(self.shape(view)) == 0:
                return
            target = view
        shape = self.shape(target)

        def narrower(other: tuple[int, ...]) -> bool:
            try:
                return np.broadcast_shapes(shape, other) == shape
            except ValueError:
                return False

        source = self.pick(narrower)
        value = self.bounded(source) if source and self.rng.random() < 0.85 else "0.75"
        texts = [
            f"{target}.mul_({value})", f"{target}.add_({value})", f"{target}.sub_({value})",
            f"{target} += {value}", f"{target} *= {value}", f"{target}.tanh_()", f"{target}.neg_()",
            f"{target}.zero_()", f"{target}.add_({value}, alpha=0.5)", f"{target}.sigmoid_()",
            f"{target}.div_({value} * {value} + 0.5)", f"{target}.fill_(0.5)",
        ]  # fmt: skip
        if value != "0.75":
            texts += [f"{target}.copy_({value})"] * 2
        if shape:
            texts += [f"{target}[0] = {value if value == '0.75' else f'({value}).sum()'}"] * 2
            texts += [f"{target}[:, ...] = {value}", f"{target}[1:] *= {target}[:-1].clone()"]
        self.line(self.rng.choice(texts))
        for name in self.names:  # whatever shares its memory
            self.bounds[name] = max(self.bounds[name], 10.0)

    def reduction(self) -> None:
        name = self.pick(lambda s: len(s) > 0 and np.prod(s) > 0)
        if name is None:
            return
        rank = len(self.shape(name))
        d, keep = self.rng.randrange(-rank, rank), self.rng.choice([", keepdim=True", ""])
        x = self.bounded(name)
        texts = [
            f"{x}.sum()", f"{x}.mean()", f"{x}.sum({d}{keep})", f"{x}.mean({d}{keep})",
            f"{x}.prod({d}{keep})", f"{x}.logsumexp({d}{keep})", f"{x}.softmax({d})",
            f"{x}.log_softmax({d})", f"{x}.cumsum({d})", f"{x}.amax({d}{keep})", f"{x}.prod()",
            f"{x}.var({d}, correction=0{keep})", f"{x}.max()", f"{x}.sum(dim={(d,)}{keep})",
        ]  # fmt: skip
        self.emit(self.rng.choice(texts))

    def product(self) -> None:
        name = self.pick(lambda s: len(s) > 0 and np.prod(s) > 0)
        if name is None:
            return
        shape = self.shape(name)
        x = self.bounded(name)
        if len(shape) == 1:
            other = self.pick(lambda s: len(s) == 2 and s[1] == shape[0])
            self.emit(f"{self.bounded(other)} @ {x}" if other else f"lib.dot({x}, {x})")
        elif len(shape) == 2:
            other = self.pick(lambda s: len(s) == 2 and s[0] == shape[1])
            self.emit(f"lib.mm({x}, {self.bounded(other)})" if other else f"{x}.T @ {x}")
        else:
            self.emit(f"{x} @ {x}.transpose(-1, -2)")

    def join(self) -> None:
        name = self.pick(lambda s: len(s) > 0 and np.prod(s) <= 16)
        if name is None:
            return
        other = self.pick(lambda s: s == self.shape(name))
        word, d = self.rng.choice(["cat", "stack"]), self.rng.randrange(len(self.shape(name)))
        self.emit(f"lib.{word}([{name}, {other}, {name}], {d})", 10.0)

    def index(self) -> None:
        name = self.pick(lambda s: len(s) > 0 and s[0] > 0)
        if name is None:
            return
        n = self.shape(name)[0]
        rows = [self.rng.randrange(-n, n) for _ in range(3)]
        texts = [
            f"{name}[lib.tensor({rows})]", f"lib.where({name} > 0, {name}, {name} * 0.5)",
            f"{name}.flip(0)", f"{name}.index_select(0, lib.tensor({[r % n for r in rows]}))",
            f"{name}.roll(1, 0)", f"{name}[{name} > 0].sum()", f"{name}.clamp(-0.8, 0.9)",
        ]  # fmt: skip
        self.emit(self.rng.choice(texts), self.bounds[name])

    def passive(self) -> None:
        name = self.pick()
        assert name is not None
        if self.rng.random() < 0.5:
            self.emit(f"{name}.detach()", self.bounds[name])
            return
        made = f"t{self.count}"
        if self.line(f"with lib.no_grad():\n    {made} = {self.bounded(name)} * 0.5"):
            self.count += 1
            self.names.append(made)
            self.bounds[made] = BOUND

    def drop(self) -> None:
        """Forget a tensor that is not a leaf."""
        names = self.names[len(self.arrays) :]
        if len(names) > 2:
            name = self.rng.choice(names)
            self.names.remove(name)
            self.line(f"del {name}")

    # ------------------------------------------------------------------ running it
    def run(self, lib: Any, hook: Any) -> Machine:
        """Run all lines with another library; lines that raised must raise the same there."""
        machine = Machine(lib, self.arrays, self.active, hook)
        raised = {id(text): error for text, error in self.failed}
        for text in self.lines:
            error, expected = machine.run(text), raised.get(id(text))
            if str(error or expected).startswith(OVERLAP):
                raise Stale
            if (error is None) != (expected is None):
                raise AssertionError(f"{text}\n  tapegrad: {expected!r}\n  other: {error!r}")
            assert isinstance(expected, type(error)), f"{text}\n  {expected!r}\n  {error!r}"
        return machine

    def text(self) -> str:
        leaves = [
            f"t{i} = lib.tensor({a.tolist()}, requires_grad={on})"
            for i, (a, on) in enumerate(zip(self.arrays, self.active, strict=True))
        ]
        return "\n".join([*leaves, *(x for x in self.lines if x != "pause()")])


def flat(tensors: list[Any], like: list[np.ndarray]) -> list[np.ndarray]:
    return [
        np.zeros(a.shape) if t is None else t.detach().numpy(force=True).copy()
        for t, a in zip(tensors, like, strict=True)
    ]


def results(program: Program, machine: Machine, order: int) -> list[list[np.ndarray]]:
    """Values of what is left, ``.grad`` after backward, directional derivatives up to `order`."""
    lib, names = machine.names["lib"], machine.names
    outs = [names[n] for n in program.names if names[n].dtype is lib.float64]
    found = [[t.detach().numpy(force=True).copy() for t in outs]]
    weights = np.random.default_rng(5)
    wanted = [names[f"t{i}"] for i, on in enumerate(program.active) if on]
    like = [a for a, on in zip(program.arrays, program.active, strict=True) if on]
    loss = 0.0
    for t in outs:
        if t.requires_grad:
            loss = loss + (t * lib.tensor(weights.uniform(0.5, 1.5, tuple(t.shape)))).sum()
    if not hasattr(loss, "backward"):
        return found
    try:
        loss.backward(retain_graph=True)
        found.append(flat([t.grad for t in wanted], like))
        for k in range(order):
            last = k + 1 == order
            grads = lib.autograd.grad(loss, wanted, create_graph=not last, allow_unused=True)
            found.append(flat(list(grads), like))
            loss = 0.0
            for g, a in zip(grads, like, strict=True):
                direction = lib.tensor(weights.uniform(-1, 1, a.shape))
                if g is not None and g.requires_grad:
                    loss = loss + (g * direction).sum()
            if not hasattr(loss, "backward"):
                break
    except RuntimeError as error:
        if STALE in str(error):
            raise Stale from None
        raise
    return found


def compare(
    program: Program, mine: list[list[np.ndarray]], theirs: list[list[np.ndarray]], rtol: float
) -> None:
    for k, (ours, others) in enumerate(zip(mine, theirs, strict=False)):
        for i, (a, b) in enumerate(zip(ours, others, strict=True)):
            assert a.shape == b.shape, f"part {k}, tensor {i}\n{program.text()}"
            scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
            np.testing.assert_allclose(
                a, b, rtol=rtol, atol=rtol * scale * 0.1,
                err_msg=f"part {k}, tensor {i}\n{program.text()}",
            )  # fmt: skip
    # where torch knows that a derivative vanishes identically, ours may be explicit zeros
    for rest in (*mine[len(theirs) :], *theirs[len(mine) :]):
        for a in rest:
            assert not np.any(a), program.text()


COMMON = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    if torch is not None:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
    with np.errstate(all="ignore"):
        yield
    if torch is not None:
        torch.set_default_dtype(torch.float32)


@needs_torch
@pytest.mark.parametrize(("length", "order", "examples"), [(12, 2, 250), (30, 2, 80), (6, 3, 60)])
def test_random_programs_agree_with_torch(length: int, order: int, examples: int) -> None:
    compared = stale = 0

    @settings(COMMON, max_examples=examples)
    @given(rng=st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        nonlocal compared, stale
        program = Program(rng, length)
        try:
            other = program.run(torch, lambda: None)
            theirs = results(program, other, order)
            mine = results(program, program.machine, order)
        except Stale:
            stale += 1
            return
        compare(program, mine, theirs, 1e-7)
        compared += 1

    check()
    assert compared > examples / 2, f"{compared} compared, {stale} had stale residuals"


def same_results(program: Program, other: Machine) -> None:
    """Bit for bit what the machine that drew the program has, stale residuals included."""
    try:
        plain = results(program, program.machine, 2)
    except Stale:
        with pytest.raises(Stale):
            results(program, other, 2)
        return
    for ours, others in zip(results(program, other, 2), plain, strict=True):
        for a, b in zip(ours, others, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=program.text())


@pytest.mark.parametrize(("length", "examples"), [(12, 60), (40, 15)])
def test_collecting_between_statements_changes_nothing(length: int, examples: int) -> None:
    @settings(COMMON, max_examples=examples)
    @given(rng=st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        tape = tg.current_tape()
        program = Program(rng, length)

        def hook() -> None:
            drawn = rng.random()
            if drawn < 0.3:
                tape.collect()
                verify(tape)
            elif drawn < 0.5:
                tape.evaluate()

        try:
            other = program.run(tg, hook)
        except Stale:
            return
        same_results(program, other)

    check()


def test_collecting_inside_any_call_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots get other numbers wherever the collector may run, not only where tapes are full."""
    make_room = Tape._make_room
    drawn = random.Random(3)
    often = [0.0]

    def eager(self: Tape, statements: int, args: int, collect: bool) -> None:
        if collect and self is tg.current_tape() and drawn.random() < often[0]:
            self.collect()
        make_room(self, statements, args, collect)

    monkeypatch.setattr(Tape, "_make_room", eager)

    @settings(COMMON, max_examples=150)
    @given(rng=st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        often[0] = 0.0
        program = Program(rng, 10)
        often[0] = 0.3
        try:
            other = program.run(tg, lambda: None)
        except Stale:
            return
        same_results(program, other)

    check()


@pytest.mark.parametrize(("length", "examples"), [(12, 50), (30, 10)])
def test_packing_what_is_saved_changes_nothing(length: int, examples: int) -> None:
    """Copies of residuals, made by hooks, in the place of the residuals: views, writes and all."""
    hooks = tg.autograd.graph.saved_tensors_hooks(
        lambda t: t.numpy(force=True).copy(), lambda v: tg.tensor(v)
    )

    @settings(COMMON, max_examples=examples)
    @given(rng=st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        program = Program(rng, length)
        try:
            plain = results(program, program.machine, 2)
            with hooks:
                packed = results(program, program.run(tg, lambda: None), 2)
        except Stale:
            return
        compare(program, packed, plain, 1e-10)

    check()
