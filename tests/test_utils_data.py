"""`tapegrad.utils.data` and `tapegrad.utils.benchmark`: batches, orders, texts of errors and measurements."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.utils import data as D
from tapegrad.utils.benchmark import Measurement, TaskSpec, Timer

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)
Point = namedtuple("Point", "a b")


def batches(library: Any, place: Any, **options: Any) -> list[list[np.ndarray]]:
    tensors = place.TensorDataset(library.tensor(X), library.tensor(Y))
    return [[t.numpy() for t in batch] for batch in place.DataLoader(tensors, **options)]


LOADS: list[tuple[dict[str, Any], list[list[int]]]] = [
    ({"batch_size": 4}, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
    ({"batch_size": 4, "drop_last": True}, [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ({"batch_sampler": [[1, 2], [3]]}, [[1, 2], [3]]),
    ({"sampler": [3, 1]}, [[3], [1]]),
]


@pytest.mark.parametrize(("options", "indices"), LOADS)
def test_batches(options: dict[str, Any], indices: list[list[int]]) -> None:
    loaded = batches(tg, D, **options)
    assert [y.tolist() for _, y in loaded] == indices
    assert [x.tolist() for x, _ in loaded] == [X[rows].tolist() for rows in indices]
    loader = D.DataLoader(D.TensorDataset(tg.tensor(X)), **options)
    assert len(loader) == len(indices)


def test_random_orders_are_new_each_time_and_of_a_generator() -> None:
    def orders(generator: Any) -> list[list[int]]:
        loader = D.DataLoader(range(100), batch_size=None, shuffle=True, generator=generator)
        return [[int(i) for i in loader] for _ in range(2)]

    first = orders(tg.Generator().manual_seed(1))
    assert first == orders(tg.Generator().manual_seed(1))
    assert first[0] != first[1]
    assert sorted(first[0]) == list(range(100))


def test_streams() -> None:
    class Count(D.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(5))

        def __len__(self) -> int:
            return 5

    loader = D.DataLoader(Count(), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3
    assert [b.tolist() for b in D.DataLoader(Count(), batch_size=2, drop_last=True)] == [
        [0, 1],
        [2, 3],
    ]
    assert list(D.DataLoader(Count() + Count(), batch_size=None)) == [*range(5), *range(5)]
    with pytest.raises(
        ValueError, match="expected unspecified shuffle option, but got shuffle=True"
    ):
        D.DataLoader(Count(), shuffle=True)


def test_parts_of_datasets() -> None:
    whole = D.ConcatDataset([range(3), range(10, 12)])
    assert [whole[i] for i in range(5)] == [0, 1, 2, 10, 11]
    assert whole[-1] == 11
    first, second = D.random_split(whole, [3, 2], generator=tg.Generator().manual_seed(0))
    assert sorted([*first, *second]) == [0, 1, 2, 10, 11]
    assert [len(part) for part in D.random_split(range(11), [0.5, 0.5])] == [6, 5]
    nested = D.Subset(D.Subset(range(10), [5, 6, 7]), [2, 0])
    assert next(iter(D.DataLoader(nested, batch_size=2))).tolist() == [7, 5]
    assert set(D.WeightedRandomSampler([0, 0, 1.0], 10)) == {2}
    assert len(list(D.RandomSampler(range(3), num_samples=7))) == 7
    assert len(set(D.SubsetRandomSampler([4, 5, 6]))) == 3


SAMPLES: list[list[Any]] = [
    [{"a": 1, "b": [1.0, 2.0], "s": "x"}, {"a": 2, "b": [3.0, 4.0], "s": "y"}],
    [Point(1, 2.0), Point(3, 4.0)],
    [np.float32(1), np.float32(2)],
    [(1, "a"), (2, "b")],
    [True, False],
    [np.ones(2), np.zeros(2)],
    [b"x", b"y"],
]


def shown(value: Any) -> str:
    """Text of a batch, in which libraries' defaults of dtypes do not matter."""
    return re.sub(r", dtype=torch.float\d\d", "", repr(value))


@pytest.mark.parametrize("samples", SAMPLES)
def test_collation_is_that_of_torch(samples: list[Any]) -> None:
    theirs = pytest.importorskip("torch.utils.data")
    assert shown(D.default_collate(samples)) == shown(theirs.default_collate(samples))
    assert shown(D.default_convert(samples[0])) == shown(theirs.default_convert(samples[0]))


ERRORS: dict[str, Any] = {
    "objects": lambda M: M.default_collate([object]),
    "texts in arrays": lambda M: M.default_collate([np.array(["a"])]),
    "lengths": lambda M: M.default_collate([[1], [1, 2]]),
    "workers": lambda M: M.DataLoader([1], num_workers=-1),
    "timeout": lambda M: M.DataLoader([1], timeout=-1),
    "prefetch": lambda M: M.DataLoader([1], prefetch_factor=2),
    "persistent": lambda M: M.DataLoader([1], persistent_workers=True),
    "sampler and shuffle": lambda M: M.DataLoader([1], sampler=[0], shuffle=True),
    "batches and drop_last": lambda M: M.DataLoader([1], batch_sampler=[[0]], drop_last=True),
    "samples and drop_last": lambda M: M.DataLoader([1], batch_size=None, drop_last=True),
    "empty": lambda M: M.DataLoader([], shuffle=True),
    "batch size": lambda M: M.DataLoader([1], batch_size=0),
    "drop_last": lambda M: M.BatchSampler([1], 1, 1),
    "sum of lengths": lambda M: M.random_split(range(10), [3, 3]),
    "sum of fractions": lambda M: M.random_split(range(10), [0.5, 0.4]),
    "fraction": lambda M: M.random_split(range(10), [1.5, -0.5]),
    "no datasets": lambda M: M.ConcatDataset([]),
    "index": lambda M: M.ConcatDataset([[1], [2]])[5],
    "negative index": lambda M: M.ConcatDataset([[1], [2]])[-5],
    "weights": lambda M: M.WeightedRandomSampler([[1.0]], 2),
    "replacement": lambda M: M.RandomSampler([1], replacement=1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_those_of_torch(name: str) -> None:
    theirs = pytest.importorskip("torch.utils.data")
    outcomes = []
    for place in (theirs, D):
        with pytest.raises(
            (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
        ) as error:
            ERRORS[name](place)
        outcomes.append((error.type, str(error.value)))
    assert outcomes[0] == outcomes[1]


def test_sizes_of_tensors_must_match() -> None:
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        D.TensorDataset(tg.ones(2), tg.ones(3))


def test_workers_are_this_process() -> None:
    with pytest.warns(UserWarning, match="num_workers=2 is ignored"):
        loader = D.DataLoader(range(4), batch_size=2, num_workers=2, persistent_workers=True)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    assert D.get_worker_info() is None


def test_a_loop_over_batches_trains() -> None:
    tg.manual_seed(0)
    weights = tg.zeros(2, requires_grad=True)
    x = tg.randn(200, 2)
    loader = D.DataLoader(D.TensorDataset(x, x @ tg.tensor([1.0, -2.0])), 20, shuffle=True)
    for _ in range(10):
        for rows, target in loader:
            weights.grad = None
            (rows @ weights - target).square().mean().backward()
            with tg.no_grad():
                weights -= 0.2 * weights.grad
    np.testing.assert_allclose(weights.detach(), [1, -2], atol=1e-3)


# --------------------------------------------------------------------------- benchmark
def test_a_timer_measures() -> None:
    timer = Timer("y = x + 1", setup="import math", globals={"x": 1}, label="sum", sub_label="int")
    once = timer.timeit(100)
    assert once.number_per_run == 100
    assert "sum: int\nsetup: import math\n" in repr(once)
    blocks: list[tuple[int, float]] = []
    many = timer.blocked_autorange(callback=lambda *block: blocks.append(block), min_run_time=0.02)
    assert [seconds for _, seconds in blocks] == many.raw_times
    assert sum(many.raw_times) >= 0.02
    assert timer.adaptive_autorange(threshold=1e9, max_run_time=0.1).raw_times
    assert Timer("torch.ones(2).sum()").timeit(2).median > 0  # that is this package


TIMES = {
    "one": ([0.5], "f(x)"),
    "steady": ([1e-3, 1.01e-3, 1.02e-3, 1.03e-3, 1.04e-3], "f(x)"),
    "doubtful": ([1e-6, 1.1e-6, 1.2e-6, 1.3e-6], "f(x)"),
    "bad": ([1e-7, 2e-7, 3e-7, 4e-7, 5e-7], "y = f(x)\ng(y)"),
}


@pytest.mark.parametrize("name", TIMES)
def test_measurements_are_printed_as_by_torch(name: str) -> None:
    theirs = pytest.importorskip("torch.utils.benchmark")
    times, stmt = TIMES[name]
    texts = []
    for place in (theirs.Measurement, Measurement):
        task = theirs.utils.common.TaskSpec if place is theirs.Measurement else TaskSpec
        one = place(10, times, task(stmt, "pass", description="words", num_threads=2))
        texts.append(repr(one).partition("\n")[2])
        merged = place.merge([one, one])
        texts[-1] += f"{merged[0].median:.9g} {one.mean:.9g} {one.iqr:.9g} {one.title}"
    assert texts[0] == texts[1]


def test_a_timer_refuses() -> None:
    with pytest.raises(ValueError, match="Currently only a `str` stmt"):
        Timer(lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Invalid language `c\\+\\+`"):
        Timer(language="c++")
    with pytest.raises(ValueError, match="global_setup is C\\+\\+ only"):
        Timer(global_setup="x")
    with pytest.raises(AttributeError, match="no attribute 'medain'"):
        _ = Timer().timeit(2).medain
