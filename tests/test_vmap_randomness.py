"""Random numbers under vmap, from the default stream and from streams of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg
from tapegrad import func

Draw = Callable[[Any, Any], Any]

#: functions of a slice of two elements and a generator
DRAWS: dict[str, Draw] = {
    "rand": lambda x, g: x + tg.rand(2, generator=g),
    "randn_like": lambda x, g: x + tg.randn_like(x, generator=g),
    "randint": lambda x, g: x + tg.randint(1 << 40, (2,), generator=g),
    "randperm": lambda x, g: x[0] + tg.randperm(30, generator=g),
    "normal": lambda x, g: tg.normal(x, 1.0, generator=g),
    "bernoulli": lambda x, g: tg.bernoulli(x.new_full((60,), 0.5), generator=g),
    "multinomial": lambda x, g: tg.multinomial(tg.ones(60), 20, generator=g) + x[0],
    "uniform_": lambda x, g: x.clone().uniform_(generator=g),
    "after a value was read": lambda x, g: (
        x + tg.rand(2, generator=g) if x.sum() < 1 else x - tg.rand(2, generator=g)
    ),
}
X = [[0.0, 0.0]] * 3


def stream(kind: str) -> Any:
    """The generator that a function is given, at a known state."""
    tg.manual_seed(7)
    return tg.Generator().manual_seed(7) if kind == "own" else None


def state(generator: Any) -> list[int]:
    return (tg.default_generator if generator is None else generator).get_state().tolist()


@pytest.mark.parametrize("kind", ["default", "own"])
@pytest.mark.parametrize("name", DRAWS)
def test_the_same_numbers_for_each_slice(name: str, kind: str) -> None:
    draw, generator = DRAWS[name], stream(kind)
    alone = draw(tg.tensor(X)[0], generator)
    after = state(generator)
    generator = stream(kind)
    found = func.vmap(lambda x: draw(x, generator), randomness="same")(tg.tensor(X))
    assert found.tolist() == [alone.tolist()] * 3
    assert state(generator) == after  # as after one call


@pytest.mark.parametrize("kind", ["default", "own"])
@pytest.mark.parametrize("name", DRAWS)
def test_other_numbers_for_each_slice(name: str, kind: str) -> None:
    draw, generator = DRAWS[name], stream(kind)
    one_by_one = [draw(x, generator).tolist() for x in tg.tensor(X)]
    after = state(generator)
    generator = stream(kind)
    found = func.vmap(lambda x: draw(x, generator), randomness="different")(tg.tensor(X)).tolist()
    assert found == one_by_one
    assert state(generator) == after
    assert found[0] != found[1] != found[2] != found[0]


@pytest.mark.parametrize("kind", ["default", "own"])
@pytest.mark.parametrize("name", DRAWS)
def test_no_numbers_unless_asked_for(name: str, kind: str) -> None:
    generator = stream(kind)
    before = state(generator)
    with pytest.raises(
        RuntimeError, match="called random operation while in randomness error mode"
    ):
        func.vmap(lambda x: DRAWS[name](x, generator))(tg.tensor(X))
    assert state(generator) == before


@pytest.mark.parametrize("transform", ["jacfwd", "hessian"])
def test_no_numbers_from_a_stream_of_ones_own_in_columns(transform: str) -> None:
    generator = stream("own")
    with pytest.raises(RuntimeError, match="randomness error mode"):
        getattr(func, transform)(lambda x: (x * tg.rand(2, generator=generator)).sum())(tg.ones(2))
    assert state(generator) == state(stream("own"))


def test_nested_modes() -> None:
    """The inner map draws anew for each of its slices, the outer one the same for all of its own."""
    generator = stream("own")
    inner = func.vmap(lambda x: x + tg.rand((), generator=generator), randomness="different")
    found = func.vmap(inner, randomness="same")(tg.zeros(2, 3)).tolist()
    generator = stream("own")
    assert found == [tg.rand(3, generator=generator).tolist()] * 2


def test_chunks_draw_the_same() -> None:
    generator = stream("own")
    found = func.vmap(
        lambda x: x + tg.rand(2, generator=generator), randomness="same", chunk_size=2
    )(tg.zeros(5, 2))
    assert found.tolist() == [tg.rand(2, generator=stream("own")).tolist()] * 5


def test_the_same_numbers_with_other_probabilities() -> None:
    """PyTorch refuses this; here it is each slice's own function of common random numbers."""
    chances = tg.tensor([[0.0] * 50, [0.3] * 50, [0.6] * 50, [1.0] * 50])
    drawn = func.vmap(tg.bernoulli, randomness="same")(chances)
    assert drawn[0].tolist() == [0.0] * 50
    assert drawn[3].tolist() == [1.0] * 50
    assert (drawn[1:] >= drawn[:-1]).all()
    means = tg.tensor([[1.0, 2.0], [30.0, 40.0]])
    found = func.vmap(lambda m: tg.normal(m, 1.0), randomness="same")(means)
    tg.testing.assert_close(found[0] - means[0], found[1] - means[1], rtol=1e-12, atol=1e-12)


class Drawn(tg.autograd.Function):
    """A Function with a rule that is told the mode, and draws as it likes."""

    @staticmethod
    def forward(x: Any) -> Any:
        raise AssertionError("the rule runs")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Any) -> Any:
        modes.append(info.randomness)
        return x + tg.rand(info.batch_size, 1), 0


modes: list[str] = []


@pytest.mark.parametrize("mode", ["error", "same", "different"])
def test_a_rule_is_told_the_mode(mode: str) -> None:
    modes.clear()
    tg.manual_seed(7)
    found = func.vmap(Drawn.apply, randomness=mode)(tg.zeros(3, 2)).tolist()
    tg.manual_seed(7)
    assert found == tg.rand(3, 1).expand(3, 2).tolist()
    assert modes == [mode]


def test_a_function_without_random_numbers_runs_once_in_any_mode() -> None:
    runs: list[int] = []
    found = func.vmap(lambda x: runs.append(1) or x * 2, randomness="different")(tg.ones(5))
    assert found.tolist() == [2.0] * 5
    assert len(runs) == 1


# --------------------------------------------------------------------------- counts
def test_counts_where_they_are_certain() -> None:
    n, chances = tg.tensor([5.0, 7.0, 3.5]), tg.tensor([0.0, 1.0, 2.0])
    assert tg.binomial(n, chances).tolist() == [0.0, 7.0, 3.0]
    assert tg.binomial(-n, chances).tolist() == [0.0, 0.0, 0.0]
    assert tg.binomial(n, chances * tg.nan).isnan().all()
    assert tg.binomial(n[:, None], chances[:2]).tolist() == [[0.0, 5.0], [0.0, 7.0], [0.0, 3.0]]
    assert tg.poisson(tg.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


def test_counts_have_their_mean_and_variance() -> None:
    g = tg.Generator().manual_seed(3)
    drawn = tg.binomial(tg.full((20000,), 10.0), tg.full((20000,), 0.3), g)
    assert abs(drawn.mean().item() - 3.0) < 0.05
    assert abs(drawn.var().item() - 2.1) < 0.1
    drawn = tg.poisson(tg.full((20000,), 4.0, dtype=tg.float32), generator=g)
    assert drawn.dtype is tg.float32
    assert abs(drawn.mean().item() - 4.0) < 0.06
    assert abs(drawn.var().item() - 4.0) < 0.2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: tg.binomial(tg.ones(2), tg.ones(3)), RuntimeError, "must match the size"),
        (lambda: tg.binomial(tg.ones(2).long(), tg.ones(2)), ValueError, "for count, got: Long"),
        (lambda: tg.binomial(tg.ones(2), tg.ones(2).bool()), ValueError, "for prob, got: Bool"),
        (lambda: tg.binomial(tg.ones(2), tg.ones(2).float()), RuntimeError, "Found dtype Float"),
        (lambda: func.grad(lambda p: tg.binomial(p, p))(tg.ones(())), RuntimeError, "detach"),
        (lambda: tg.poisson(-tg.ones(2)), RuntimeError, "expected rate to be non-negative"),
        (lambda: tg.poisson(tg.ones(2) * tg.nan), RuntimeError, "expected rate to be non-negative"),
        (lambda: tg.poisson(tg.ones(2).long()), NotImplementedError, "not implemented for 'Long'"),
    ],
)
def test_errors_of_counts(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
    leaf = tg.ones(2, requires_grad=True)
    with tg.no_grad():
        assert tg.binomial(leaf, leaf).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("mode", ["same", "different"])
def test_counts_under_vmap(mode: str) -> None:
    n, chances = tg.full((3, 40), 9.0), tg.full((3, 40), 0.5)
    tg.manual_seed(7)
    alone = [tg.binomial(a, b).tolist() for a, b in zip(n, chances, strict=True)]
    tg.manual_seed(7)
    found = func.vmap(tg.binomial, randomness=mode)(n, chances).tolist()
    assert found == (alone if mode == "different" else [alone[0]] * 3)


# --------------------------------------------------------------------------- columns
def test_columns_with_other_numbers_each() -> None:
    generator = stream("own")
    draw = [tg.rand(2, generator=generator).tolist() for _ in range(3)]
    generator = stream("own")
    x = tg.tensor([1.0, 2.0, 3.0])

    def f(x: Any) -> Any:
        return x.sum() * tg.rand(2, generator=generator)

    found = func.jacfwd(f, randomness="different")(x)
    assert found.t().tolist() == draw
    generator = stream("own")
    assert func.jacfwd(f, randomness="same")(x).t().tolist() == [draw[0]] * 3


def test_columns_one_by_one_have_the_structure_of_all_at_once() -> None:
    x, y = tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([5.0, 6.0])

    def f(p: Any, w: Any, y: Any) -> Any:
        return {"a": p["x"] @ y * w, "b": (p["x"].sum() * y).sum()}, (y * 2, w)

    for argnums in (0, 2, (0, 2), (2,)):
        for has_aux in (False, True):
            g = f if has_aux else (lambda *args: f(*args)[0])
            found, wanted = (
                func.jacfwd(g, argnums, has_aux, randomness=mode)({"x": x}, tg.tensor(3.0), y)
                for mode in ("different", "same")
            )
            tg.testing.assert_close(leaves(found), leaves(wanted), rtol=1e-14, atol=0)
            assert shapes(found) == shapes(wanted)
    hessian = func.jacfwd(func.jacfwd(lambda y: (y**3).sum(), randomness="different"))(y)
    assert hessian.tolist() == [[30.0, 0.0], [0.0, 36.0]]
    leaf = tg.tensor(2.0, requires_grad=True)
    (g,) = tg.autograd.grad(
        func.jacfwd(lambda y: leaf**2 * y, randomness="different")(y).sum(), leaf
    )
    assert g.item() == 8.0


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for key in value for x in leaves(value[key])]
    if isinstance(value, tuple):
        return [x for part in value for x in leaves(part)]
    return [value]


def shapes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shapes(v) for key, v in value.items()}
    return tuple(map(shapes, value)) if isinstance(value, tuple) else tuple(value.shape)
