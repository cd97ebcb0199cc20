"""Programs drawn from seeds, run under `tapegrad.jit` and without, compared, and shrunk where they differ."""

from __future__ import annotations

import random
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.jit_compiler.background import finish

from .jit_statements import block

__all__ = ["ENVIRONMENT", "Case", "draw", "run", "verdict_of"]

#: environment of workers: this process's
ENVIRONMENT = None
#: values with more elements are left out, as are blocks that take longer
LARGEST, SLOWEST = 200_000, 1.0
#: relative to the largest magnitude
RTOL = 1e-12
#: magnitude at least: what should cancel is rounding
SMALL = 1e-2
#: a difference is no evidence if inputs that differ in the last bits move results by more than so much of it
SENSITIVE = 0.01
DIMS = (1, 2, 2, 3, 3, 5, 5, 17)
WRAPPERS = (
    *("",) * 4, "value_and_grad", "value_and_grad", "grad", "hessian", "jvp", "vmap", "grad_of_grad",
    "tensors", "tensors",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A program.

    Attributes
    ----------
    blocks : list of list of str
        Lines, of which those of a block belong together.
    results : list of str
        Names that are returned.
    inputs : list of list of ndarray
        Arguments of each call; the first ones are those that it was drawn with.
    wrapper : str
        What is jitted: the function, or a derivative of it.
    """

    blocks: list[list[str]]
    results: list[str]
    inputs: list[list[np.ndarray]]
    wrapper: str

    def text(self) -> str:
        """The function's text."""
        names = [f"x{i}" for i in range(len(self.inputs[0]))]
        lines = [line for lines in self.blocks for line in lines]
        results = ", ".join(f"tg.as_tensor({r})" for r in self.results)
        body = [*lines, f"return [{results}]"]
        return "\n".join([f"def f({', '.join(names)}):", *(f"    {line}" for line in body)])

    def function(self) -> Callable[..., Any]:
        """The function, or its derivative."""
        scope: dict[str, Any] = {"tg": tg}
        exec(self.text(), scope)
        f = scope["f"]

        def scalar(*args: Any) -> Any:
            total: Any = 0.0
            for i, y in enumerate(f(*args)):
                if y.dtype.is_floating_point:
                    weights = np.cos(np.arange(y.numel()) + i).reshape(tuple(y.shape))
                    total = total + (y * tg.tensor(weights, dtype=y.dtype)).sum()
            return total

        def gradient_sum(*args: Any) -> Any:
            return (tg.func.grad(scalar)(*args) * 0.5).sin().sum()

        def jvp(*args: Any) -> Any:
            return tg.func.jvp(lambda x: scalar(x, *args[1:]), (args[0],), (args[0] * 0.5 + 1,))

        wrappers: dict[str, Callable[[], Callable[..., Any]]] = {
            "": lambda: f,
            "tensors": lambda: f,
            "value_and_grad": lambda: tg.value_and_grad(scalar),
            "grad": lambda: tg.func.grad(scalar),
            "hessian": lambda: tg.func.hessian(scalar),
            "jvp": lambda: jvp,
            "vmap": lambda: tg.func.vmap(f, in_dims=(0, *(None,) * (len(self.inputs[0]) - 1))),
            "grad_of_grad": lambda: tg.func.grad(gradient_sum),
        }
        return wrappers[self.wrapper]()


class _Drawing:
    """The values of a program, while it is drawn."""

    def __init__(self, rng: random.Random, inputs: Sequence[np.ndarray]) -> None:
        self.rng = rng
        self.scope: dict[str, Any] = {"tg": tg}
        self.names: list[str] = []
        self.unused: list[str] = []
        self.blocks: list[list[str]] = []
        for i, array in enumerate(inputs):
            self.scope[f"x{i}"] = tg.tensor(array)
            self.names.append(f"x{i}")

    def pick(self, test: Callable[[Any], bool] = lambda x: True) -> str:
        """The name of a value, mostly of one that was not used yet or is recent."""
        fits = [n for n in self.names if test(self.scope[n])] or self.names
        recent = [n for n in fits if n in self.unused[-4:]]
        name = self.rng.choice(recent if recent and self.rng.random() < 0.5 else fits)
        return name

    def value(self, name: str) -> Any:
        """A value."""
        return self.scope[name]

    def fresh(self) -> str:
        """A name for another one."""
        return f"v{len(self.blocks)}"

    def add(self, loops: bool, branches: bool) -> None:
        """Draw a block, and keep it if it can be run."""
        name = self.fresh()
        try:
            lines = block(self, name, loops, branches)
        except (IndexError, AttributeError):
            return
        begin, scope = time.monotonic(), dict(self.scope)
        before = {n: v._version for n, v in scope.items() if isinstance(v, tg.Tensor)}
        try:
            exec("\n".join(lines), scope)
            value = scope[name]
            value.sum() if value.numel() else None
            np.asarray(value.detach().numpy())
        except Exception:
            return
        if not isinstance(value, tg.Tensor) or value.numel() > LARGEST or value.ndim > 5:
            return
        if time.monotonic() - begin > SLOWEST:
            return
        if any(self.scope[n]._version != v for n, v in before.items()):
            return
        self.scope[name] = value
        self.blocks.append(lines)
        text = "\n".join(lines)
        self.unused = [n for n in self.unused if n not in text] + [name]
        self.names.append(name)


def _shape(rng: random.Random) -> tuple[int, ...]:
    if rng.random() < 0.05:
        return rng.choice([(0,), (0, 3), (3, 0)])
    if rng.random() < 0.07:
        return (300,)
    return tuple(rng.choice(DIMS) for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 2, 3])))


def _array(rng: random.Random, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    if kind == "bool":
        return numbers.random(shape) < 0.5
    if kind == "int64":
        return numbers.integers(-3, 6, shape)
    values = numbers.normal(size=shape)
    if rng.random() < 0.1:
        values = np.round(values * 2) / 2
    if values.size and rng.random() < 0.04:
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice(
            [np.nan, np.inf, -0.0, 0.0, 1e300]
        )
    return np.asarray(values, kind)


def draw(rng: random.Random) -> Case:
    """Draw a program."""
    wrapper = rng.choice(WRAPPERS)
    main = "float32" if rng.random() < 0.1 else "float64"
    kinds = [main] + [
        rng.choice([main, main, main, "int64", "bool"]) for _ in range(rng.randrange(3))
    ]
    first = _shape(rng)
    shapes = [first] + [rng.choice([first, first, _shape(rng)]) for _ in kinds[1:]]
    if wrapper == "hessian":
        shapes = [s if np.prod(s) <= 17 else (3,) for s in shapes]
    inputs = [[_array(rng, k, s) for k, s in zip(kinds, shapes, strict=True)] for _ in range(3)]
    drawing = _Drawing(rng, inputs[0])
    loops, branches = rng.random() < 0.7, wrapper != "vmap" and rng.random() < 0.6
    goal = rng.choice([3, 5] if wrapper in ("hessian", "grad_of_grad") else [3, 5, 8, 12, 16])
    for _ in range(3 * goal):
        if len(drawing.blocks) < goal:
            drawing.add(loops, branches)
    if wrapper == "vmap":
        count = rng.choice([1, 3])
        for x in inputs:
            x[0] = np.stack([_array(rng, kinds[0], shapes[0]) for _ in range(count)])
    results = drawing.unused[-6:] or ["x0"]
    if drawing.names and rng.random() < 0.3:
        results = [*results, rng.choice(drawing.names)]
    return Case(drawing.blocks, results, inputs, wrapper)


# ------------------------------------------------------------------ comparison
def _leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [x for part in value for x in _leaves(part)]
    return [value.detach().numpy() if isinstance(value, tg.Tensor) else value]


def _with_gradients(f: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Results for tensors that require grad, and gradients of a sum of them."""
    tensors = [tg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    outs = f(*tensors)
    wanted = [t for t in tensors if t.requires_grad]
    smooth = [y for y in outs if y.requires_grad]
    found = [y.detach().numpy() for y in outs]
    if not smooth:
        return found
    total = sum((y.double() * (i + 1)).sum() for i, y in enumerate(smooth))
    for g, t in zip(tg.autograd.grad(total, wanted, allow_unused=True), wanted, strict=True):
        found.append((tg.zeros_like(t) if g is None else g).detach().numpy())
    return found


def _eager(f: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray] | Exception:
    try:
        given = arrays if isinstance(f, partial) else [tg.tensor(a) for a in arrays]
        return [np.array(x) for x in _leaves(f(*given))]
    except Exception as error:
        return error


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude; infinite where one is none."""
    if type(a) is not np.ndarray or a.dtype != b.dtype or a.shape != b.shape:
        return np.inf
    if b.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else np.inf
    finite = np.isfinite(b)
    if (
        not np.array_equal(a[~finite], b[~finite], equal_nan=True)
        or not np.isfinite(a[finite]).all()
    ):
        return np.inf
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(b[finite]).max()), SMALL)
    with np.errstate(all="ignore"):
        return float(np.abs(a[finite].astype(float) - b[finite]).max() / scale)


def _is_sensitive(
    f: Callable[..., Any], arrays: Sequence[np.ndarray], i: int, expected: np.ndarray, wrong: float
) -> bool:
    """Return True if the result moves as much when inputs are moved in their last bits."""
    rng = np.random.default_rng(0)
    for size in (4, 64, 1024, 1024, 1024):
        moved = []
        for a in arrays:
            if a.dtype.kind == "f":
                by = size * np.finfo(a.dtype).eps * rng.normal(size=a.shape)
                a = (a * (1 + by)).astype(a.dtype)
            moved.append(a)
        other = _eager(f, moved)
        if isinstance(other, Exception):
            return True
        d = _difference(other[i], expected)
        if d > 0 and (d >= SENSITIVE * wrong or not np.isfinite(d)):
            return True
    return False


def verdict_of(case: Case) -> tuple[str, str]:
    """Run a program; a word, and what differs."""
    f = case.function()
    compiled = function = tg.jit(f)
    if case.wrapper == "tensors":
        f, compiled = partial(_with_gradients, f), partial(_with_gradients, function)
    word = "same"
    for n, call in enumerate((0, 1, 0, 2, 1)):
        arrays = case.inputs[call]
        expected = _eager(f, arrays)
        given = [np.array(a) for a in arrays]
        try:
            found = compiled(*given)
        except Exception as error:
            if isinstance(expected, Exception):
                if type(error) is not type(expected):
                    return "other error", f"{error!r} {expected!r}"
                return "same error", ""
            if isinstance(error, tg.TapeError | tg.UnsupportedError):
                return f"refused: {str(error)[:60]}", ""
            return "WRONG", f"call {n}: {''.join(traceback.format_exception(error)[-6:])}"
        if isinstance(expected, Exception):
            return "WRONG", f"call {n}: no error, without jit {expected!r}"
        found = _leaves(found)
        finish()
        for trace in (t for traces in function._traces.values() for t in traces):
            if trace.promise.error is not None:
                return "WRONG", f"call {n}: no code, {trace.promise.error!r}"
        if any(a.tobytes() != b.tobytes() for a, b in zip(given, arrays, strict=True)):
            return "WRONG", f"call {n}: an argument was written"
        if len(found) != len(expected):
            return "WRONG", f"call {n}: {len(found)} results, not {len(expected)}"
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            d = _difference(a, b)
            rtol = RTOL if b.dtype != np.float32 else 2e-5
            if d > rtol:
                single = (
                    any(x.dtype == np.float32 for x in (*arrays, *expected))
                    or ".float()" in case.text()
                )
                if single and d < 1e-4:
                    continue
                if _is_sensitive(f, arrays, i, b, d):
                    word = "ill conditioned"
                    continue
                text = f"{a.dtype}{a.shape}\n{a}\nwithout jit {b.dtype}{b.shape}\n{b}"
                return (
                    "WRONG",
                    f"call {n} on inputs {call}, result {i}, difference {d:.1e}\n{text[:1500]}",
                )
        for a in found:  # nobody else may see it
            if a.flags.writeable:
                a[...] = 7
    return word, ""


def shrunk(case: Case, is_wrong: Callable[[Case], bool]) -> Case:
    """A shorter program that is still wrong."""
    for r in list(case.results):
        fewer = replace(case, results=[q for q in case.results if q != r])
        if fewer.results and is_wrong(fewer):
            case = fewer
    changed = True
    while changed:
        changed = False
        for i in reversed(range(len(case.blocks))):
            shorter = replace(case, blocks=case.blocks[:i] + case.blocks[i + 1 :])
            if is_wrong(shorter):
                case, changed = shorter, True
    for i in reversed(range(len(case.blocks))):
        for j in reversed(range(len(case.blocks[i]))):
            lines = case.blocks[i][:j] + case.blocks[i][j + 1 :]
            shorter = replace(case, blocks=[*case.blocks[:i], lines, *case.blocks[i + 1 :]])
            if is_wrong(shorter):
                case = shorter
    return case


def _is_wrong(case: Case, mark: Callable[[], object] = lambda: None) -> bool:
    mark()  # or who waits would think that it hangs
    try:
        return verdict_of(case)[0] == "WRONG"
    except Exception:
        return False


def run(
    seed: str, numbers: Iterable[int], seconds: float = 1e9,
    mark: Callable[[int], object] = lambda number: None,
) -> Iterator[str]:  # fmt: skip
    """Run programs until time is up, report those that differ, and yield verdicts, ``"WRONG"`` for those.

    Parameters
    ----------
    seed : str
    numbers : iterable of int
        Program `i` is drawn from the seed and `i`, whatever ran before.
    seconds : float
    mark : callable
        Called with each number before its program runs.
    """
    end = time.monotonic() + seconds
    warnings.simplefilter("ignore")
    for number in numbers:
        if time.monotonic() > end:
            return
        mark(number)
        case = draw(random.Random(f"{seed} {number}"))
        word, text = verdict_of(case)
        if word == "WRONG":
            case = shrunk(case, partial(_is_wrong, mark=partial(mark, number)))
            text = verdict_of(case)[1]
            print(
                f"\n=== seed {seed!r}, number {number}: jit of {case.wrapper or 'f'}\n{case.text()}"
            )
            for i, arrays in enumerate(case.inputs):
                print(
                    f"inputs {i}: {[(a.dtype.name, a.shape, a.reshape(-1)[:6].tolist()) for a in arrays]}"
                )
            print("---", "\n".join([line[:120] for line in text.splitlines()[:16]]))
        yield word
