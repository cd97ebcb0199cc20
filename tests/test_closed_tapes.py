"""Closed tapes: what is traced, and the tapes that are made of it, against eager results."""

from __future__ import annotations

import contextlib
import doctest
import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import Case, Strided, _tg_view, cases, public_rows, results_of

import tapegrad as tg
from tapegrad.base.errors import TapeError, UnsupportedError
from tapegrad.ops.table import Op
from tapegrad.tape import pytree as trees
from tapegrad.transforms.closed_tape import ClosedTape

#: rows whose functions look at values, as their results' shapes or their kernels depend on them
READ = {"masked_select"}


def function_of(case: Case) -> Callable[..., Any]:
    """A case as a function of its arrays."""

    def call(*leaves: Any) -> tuple[Any, ...]:
        args, kwargs = case._fill((case.args, case.kwargs), iter(leaves), _tg_view)
        return tuple(results_of(case.call(*args, **kwargs)))

    return call


def tensors_of(arrays: Any, *, grad: bool = False) -> list[Any]:
    return [
        tg.tensor(a, requires_grad=True) if grad and a.dtype.kind == "f" else tg.tensor(a)
        for a in arrays
    ]


def same(x: Any, y: Any, message: object = "") -> None:
    """Equal bit for bit, but for signs and payloads of NaN."""
    assert (x.dtype, x.shape) == (y.dtype, y.shape), message
    np.testing.assert_array_equal(x.numpy(force=True), y.numpy(force=True), err_msg=str(message))


def near(x: Any, y: Any, message: object = "") -> None:
    assert (x.dtype, x.shape) == (y.dtype, y.shape), message
    a, b = x.numpy(force=True), y.numpy(force=True)
    scale = 1 + np.abs(b[np.isfinite(b)]).max(initial=0) if b.dtype.kind == "f" else 1
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13 * scale, err_msg=str(message))


def alone(gradients: Any) -> list[Any]:
    """Gradients of a function's arguments as a list, None left out."""
    return [
        g for g in (gradients if isinstance(gradients, tuple) else (gradients,)) if g is not None
    ]


ROWS = [e for e in public_rows() if e.name not in READ]
rows = pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.name)


@rows
def test_a_run_is_eager(entry: Op) -> None:
    for case in cases(entry):
        function = function_of(case)
        tape = tg.trace(function)(*case.arrays)
        for x, y in zip(tape(*case.arrays), function(*tensors_of(case.arrays)), strict=True):
            same(x, y, case)


def eager_gradients(case: Case) -> list[Any]:
    leaves = tensors_of(case.arrays, grad=True)
    results = [y for y in function_of(case)(*leaves) if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    gradients: Any = [None] * len(wanted)
    if results:
        gradients = tg.autograd.grad(
            results,
            wanted,
            [tg.ones_like(y) for y in results],
            create_graph=True,
            allow_unused=True,
        )
    return [tg.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients, strict=True)]


@rows
def test_gradients_are_eager(entry: Op) -> None:
    for case in cases(entry):
        if not any(case.active):
            continue
        tape = tg.trace(function_of(case))(*case.arrays).gradient()
        _, gradients = tape(*case.arrays)
        for g, h in zip(alone(gradients), eager_gradients(case), strict=True):
            same(g, h, case)


@rows
def test_tangents_are_eager(entry: Op) -> None:
    rng = np.random.default_rng(3)
    for case in cases(entry):
        if not any(case.active):
            continue
        function = function_of(case)
        tape = tg.trace(function)(*case.arrays).pushforward()
        tangents = [
            tg.tensor(rng.normal(size=a.shape)) if on else None
            for a, on in zip(case.arrays, case.active, strict=True)
        ]
        _, moved = tape(*case.arrays, tangents[0] if len(tangents) == 1 else tuple(tangents))
        tensors = tensors_of(case.arrays)
        on = [i for i, t in enumerate(tangents) if t is not None]

        def of_active(*xs: Any, on: Any = on, tensors: Any = tensors, f: Any = function) -> Any:
            given = list(tensors)
            for i, x in zip(on, xs, strict=True):
                given[i] = x
            return tuple([y for y in f(*given) if y.dtype.is_floating_point])

        if not any(t is not None for t in moved):
            continue
        _, eager = tg.func.jvp(
            of_active, tuple([tensors[i] for i in on]), tuple([tangents[i] for i in on])
        )
        for t, u in zip([m for m in moved if m is not None], eager, strict=True):
            near(t, u, case)


@rows
def test_batches_are_eager(entry: Op) -> None:
    rng = np.random.default_rng(4)
    for case in cases(entry):
        function = function_of(case)
        if not case.arrays:
            continue
        first = case.arrays[0]
        # The function sees the memory of a case's operand, which is contiguous along the first axis only.
        strided = any(isinstance(x, Strided) for x in case.args)
        axis = 0 if strided else int(rng.integers(0, first.ndim + 1))
        arrays = [np.stack([first, first[..., ::-1].copy() if first.ndim else first], axis)]
        arrays += case.arrays[1:]
        axes = (axis, *[None] * (len(arrays) - 1))
        tape = tg.trace(function)(*case.arrays).batched(axes, 2)
        eager = tg.vmap(function, in_dims=axes)(*tensors_of(arrays))
        for x, y in zip(tape(*arrays), eager, strict=True):
            near(x, y, case)


# --------------------------------------------------------------------------- nesting
def _written(x: Any, y: Any) -> Any:
    c = tg.zeros(3)
    c[0] = x[0] * y
    c[1:] = tg.sin(x[1:])
    return c * x


#: functions of a vector and a number
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "scalar": lambda x, y: (tg.exp(x) * y).sum(),
    "vector": lambda x, y: tg.sin(x) * tg.cos(y) + x[tg.tensor([2, 0, 0])],
    "two": lambda x, y: {"a": x.max(), "b": [y * x, None]},
    "product": lambda x, y: (x.unsqueeze(1) * y) @ x.unsqueeze(0),
    "writes": _written,
    "passive": lambda x, y: (x * 2, tg.ones(2), x.detach() * y),
    "unused": lambda x, y: (x * x).cumsum(0),
    "parts": lambda x, y: tg.cat([x[1:], y.reshape(1)]).softmax(0).prod(),
    "same": lambda x, y: (x, y),
    "sorted": lambda x, y: (x * y).sort()[0],
}  # fmt: skip


def _flat(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    return lambda *xs: tuple(trees.flatten(function(*xs), none_is_leaf=False)[0])


def _eager_gradient(f: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    def call(*xs: Any) -> tuple[Any, ...]:
        ys, pull = tg.func.vjp(f, *xs)
        return (*ys, *pull(tuple([tg.ones_like(y) for y in ys])))

    return call


def _eager_pullback(f: Callable[..., Any], count: int) -> Callable[..., tuple[Any, ...]]:
    def call(*args: Any) -> tuple[Any, ...]:
        ys, pull = tg.func.vjp(f, *args[:count])
        return (*ys, *pull(args[count:]))

    return call


def _eager_pushforward(f: Callable[..., Any], count: int) -> Callable[..., tuple[Any, ...]]:
    def call(*args: Any) -> tuple[Any, ...]:
        ys, moved = tg.func.jvp(f, args[:count], args[count:])
        return (*ys, *moved)

    return call


def nested(
    tape: ClosedTape, eager: Callable[..., Any], chain: list[str], rng: np.random.Generator
) -> tuple[ClosedTape, Callable[..., Any]]:
    """A tape after some transforms, and the eager function after the same."""
    for name in chain:
        count = len(tape.inputs)
        if name == "gradient":
            tape, eager = tape.gradient(), _eager_gradient(eager)
        elif name == "pullback":
            tape, eager = tape.pullback(), _eager_pullback(eager, count)
        elif name == "pushforward":
            tape, eager = tape.pushforward(), _eager_pushforward(eager, count)
        else:
            leaves = [int(rng.integers(0, x.ndim + 1)) for x in tape.inputs]
            axes: list[int | None] = [None if rng.random() < 0.3 else axis for axis in leaves]
            axes[0] = leaves[0]
            tree = trees.unflatten(tape.in_spec, axes)
            tape = tape.batched(tree, 2)
            eager = tg.vmap(eager, in_dims=tuple(axes))
    return tape, eager


TRANSFORM = st.sampled_from(["gradient", "pullback", "pushforward", "batched"])


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(TRANSFORM, max_size=3), st.integers(0, 99))
@settings(max_examples=120, deadline=None)
def test_transforms_nest(name: str, chain: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    function = FUNCTIONS[name]
    tape = tg.trace(function)(np.ones(3), 1.0)
    tape, eager = nested(tape, _flat(function), chain, rng)
    inputs = [tg.tensor(rng.uniform(0.3, 1.7, x.shape)) for x in tape.inputs]
    for x, y in zip(tape.run(inputs), eager(*inputs), strict=True):
        near(x, y, (name, chain))


# --------------------------------------------------------------------------- what had been wrong
def test_transforms_inside_of_what_is_traced_are_not_detached() -> None:
    tape = tg.trace(lambda x, v: tg.jvp(tg.grad(lambda y: (y**3).sum()), (x,), (v,))[1])(
        np.ones(2), np.ones(2)
    )
    x = np.array([1.0, 2.0])
    assert tape(x, np.ones(2)).tolist() == [6, 12]
    assert tape.gradient()(x, np.ones(2))[1][0].tolist() == [6, 6]


def test_results_that_are_the_same_for_all_examples_stay_differentiable() -> None:
    tape = tg.trace(lambda x, y: (y * 2, x.detach() * 3))(np.ones(3), 1.0).batched((0, None), 2)
    assert tape.gradient()(np.ones((2, 3)), 1.0)[1][1].item() == 4


def test_an_index_that_a_tape_is_given_is_wrapped_and_checked() -> None:
    tape = tg.trace(lambda x, i: x[i])(np.ones((3, 2)), np.array([0, 1]))
    x = np.arange(6.0).reshape(3, 2)
    assert tape(x, np.array([2, -1])).tolist() == [[4, 5], [4, 5]]
    for wrong in (3, -4, 1 << 60):
        result = tape(x, np.array([0, wrong]))
        with pytest.raises(IndexError, match="index is out of bounds"):
            result.tolist()


def test_what_is_passive_leaves_the_rest_active() -> None:
    """The grad mode of a statement is that statement's only."""

    def function(x: Any) -> Any:
        with tg.no_grad():
            a = tg.exp(x)
        return a * tg.sin(x)

    x = tg.tensor(0.5, requires_grad=True)
    tape = tg.trace(function)(0.5)
    tape(x).backward()
    assert x.grad.item() == pytest.approx(np.exp(0.5) * np.cos(0.5))
    assert tape.gradient()(0.5)[1].item() == x.grad.item()


def test_a_result_that_is_the_same_for_all_examples_is_differentiated() -> None:
    """It is copied for each of them in its own grad mode, whatever was recorded before."""
    tape = tg.trace(lambda x, y: (x * 2, x.detach() * y))(1.0, 1.0).batched((None, 0), 2)
    assert tape.gradient()(1.0, np.ones(2))[1][0].item() == 4


def test_no_grad_around_a_transform_changes_nothing() -> None:
    tape = tg.trace(lambda x: x * x)(3.0)
    with tg.no_grad():
        assert tape.gradient().gradient()(3.0)[1].item() == 8.0


def test_arguments_that_are_not_differentiated_have_none_for_a_gradient() -> None:
    tape = tg.trace(lambda d, i: d["x"][i].sum())({"x": np.ones(3)}, np.array([1, 2]))
    value, gradients = tape.gradient()({"x": np.ones(3)}, np.array([1, 2]))
    assert value.item() == 2
    assert gradients[0]["x"].tolist() == [0, 1, 1]
    assert gradients[1] is None
    argmax = tg.trace(lambda x: tuple(x.max(0)))(np.array([1.0, 3.0]))
    _, (tangent, index) = argmax.pushforward()(np.array([1.0, 3.0]), np.array([5.0, 7.0]))
    assert (tangent.item(), index) == (7, None)
    pulled = argmax.pullback()(np.array([1.0, 3.0]), (2.0, None))
    assert pulled[1].tolist() == [0, 2]


def test_none_is_part_of_the_structure() -> None:
    tape = tg.trace(lambda x, y: [x if y is None else y, None])(1.0, None)
    assert tape(2.0, None) == [2.0, None]
    with pytest.raises(TypeError, match="structure"):
        tape(2.0, 3.0)


def test_a_run_does_not_change_the_tape() -> None:
    """Neither a write into a constant, nor one into a result that shows it, nor one into its source."""
    constant = np.array([1.0, 2.0])

    def function(x: Any) -> Any:
        buffer = tg.zeros(2)
        buffer[0] = x
        return buffer, constant

    tape = tg.trace(function)(1.0)
    constant[0] = 9
    for k in (3.0, 4.0):
        buffer, shown = tape(k)
        assert (buffer.tolist(), shown.tolist()) == ([k, 0], [1, 2])
        shown.zero_()
        buffer.zero_()


# --------------------------------------------------------------------------- looking at tapes
def test_statements_are_an_array() -> None:
    tape = tg.trace(lambda x: (x[1:] * 2).sum())(np.ones((3, 2)))
    table, operands = tape.statements(), tape.operands()
    assert table["op"].tolist() == ["alias", "slice", "mul", "sum_all"]
    assert table["shape"].tolist() == ["3x2", "2x2", "2x2", "()"]
    assert table["bytes"].tolist() == [0, 0, 32, 8]
    assert table["offset"].tolist() == [0, 16, 0, 0]
    assert set(table["dtype"]) == {"float64"}
    named = [
        [tape.name_of(r) for r in operands[start : start + count].tolist()]
        for start, count in zip(table["start"], table["count"], strict=True)
    ]
    assert named == [["in0"], ["%0"], ["%1", "2"], ["%2"]]
    assert len(tg.trace(lambda: 1.0)().statements()) == 0


def test_the_difference_of_tapes_is_text() -> None:
    one = tg.trace(lambda x: (x * x).sum())(np.ones(3))
    other = tg.trace(lambda x: (x * tg.sin(x)).sum())(np.ones(3))
    assert one.diff(one) == one.diff(tg.trace(lambda y: (y * y).sum())(np.zeros(3))) == ""
    assert one.diff(other).splitlines() == [
        "+ %1: float64[3] = sin(%0)",
        "! %1: float64[3] = mul(%0, %0) -> %2: float64[3] = mul(%0, %1)",
    ]
    assert other.diff(one).splitlines()[0].startswith("- %1: float64[3] = sin")
    a, b = (tg.trace(lambda x, k=k: x * tg.tensor([k, 2.0]))(np.ones(2)) for k in (1.0, 3.0))
    assert a.diff(b) == "! %1: float64[2] = mul(%0, array0) -> %1: float64[2] = mul(%0, array0)"
    assert "! return" in tg.trace(lambda x: (x, x * 2))(1.0).diff(
        tg.trace(lambda x: (x * 2, x))(1.0)
    )


def _two_lines(x: Any) -> Any:
    first = x[0]
    both = x.max(0)
    slope = tg.grad(lambda z: z * z)(first)
    return first * both[0] + slope


def test_lines_of_statements() -> None:
    tape = tg.trace(_two_lines, lines=True)(np.ones(3))
    lines = [line.partition(": ")[2] for line in tape.lines]
    names = tape.statements()["op"].tolist()
    assert lines[names.index("select")] == "first = x[0]"
    assert lines[names.index("pick_max")] == "both = x.max(0)"
    assert "slope = tg.grad(lambda z: z * z)(first)" in lines
    assert lines[-1] == "return first * both[0] + slope"
    assert "# test_closed_tapes.py:" in str(tape)
    back = tape.gradient()
    assert back.lines[: len(tape)] == tape.lines
    assert back.lines[-1] == ""
    assert tape.batched(0, 2).lines[-1].endswith("return first * both[0] + slope")
    assert tg.trace(_two_lines)(np.ones(3)).lines == ()


# --------------------------------------------------------------------------- bad input
def test_what_cannot_be_batched_or_differentiated_is_refused() -> None:
    tape = tg.trace(lambda x, y: x * y["a"])(np.ones(3), {"a": 2.0})
    with pytest.raises(TypeError, match="size must be an int"):
        tape.batched()
    with pytest.raises(TypeError, match="not bool"):
        tape.batched(size=True)
    with pytest.raises(ValueError, match="must not be negative"):
        tape.batched(size=-1)
    with pytest.raises(UnsupportedError, match="no examples"):
        tape.batched(size=0)
    with pytest.raises(ValueError, match="no prefix"):
        tape.batched((0, {"b": 0}), 2)
    with pytest.raises(ValueError, match="at least one"):
        tape.batched((None, None), 2)
    with pytest.raises(ValueError, match="axis 2 for input 0, which has 2 dimensions"):
        tape.batched((2, None), 2)
    with pytest.raises(TypeError, match="ints and None, not float"):
        tape.batched(0.5, 2)
    index = tg.trace(lambda i: i + 1)(np.array([1]))
    for name in ("gradient", "pullback", "pushforward"):
        with pytest.raises(
            TapeError, match=f"{name}: the tape was recorded for inputs that do not"
        ):
            getattr(index, name)()


def test_other_arguments_are_refused() -> None:
    tape = tg.trace(lambda x: x * 2)(np.ones(3))
    with pytest.raises(ValueError, match="float64 of shape"):
        tape(np.ones(4))
    with pytest.raises(ValueError, match="not float32"):
        tape(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="structure"):
        tape([np.ones(3)])
    with pytest.raises(ValueError, match="another layout"):
        tape.run([tg.ones(3, 2)[:, 0]])
    assert tape(tg.ones(3, 2)[:, 0]).tolist() == [2, 2, 2]
    whole = tg.trace(lambda i, b: i * 2 + b)(3, True)
    assert whole(4, False).item() == 8
    for i, b in ((2.5, True), (np.float64(2), True), (1, 2)):
        with pytest.raises(ValueError, match="of the tape is"):
            whole(i, b)
    assert tg.trace(lambda x: x * 2)(3.0)(4).item() == 8.0


def test_the_page_on_tapes() -> None:
    """Its program prints what it says, and its examples give what stands below them."""
    text = (Path(__file__).parents[1] / "docs" / "tapes.md").read_text()
    program, printed = text.split("prints\n", 1)
    code = "\n".join(line[4:] for line in program.splitlines() if line.startswith("    "))
    scope: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, scope)
    wanted = printed.partition("\n\n`in0`")[0]
    assert out.getvalue().strip() == textwrap.dedent(wanted).strip()
    test = doctest.DocTestParser().get_doctest(printed, scope, "tapes.md", None, 0)
    said: list[str] = []
    assert test.examples
    assert not doctest.DocTestRunner(verbose=False).run(test, out=said.append).failed, "".join(said)
