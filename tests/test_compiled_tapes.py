"""`ClosedTape.compiled`: closed tapes as machine code."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


def loss(w: Any, x: Any) -> Any:
    return (tg.tanh(x @ w["a"]) * w["b"]).sum()


W = {"a": np.linspace(-1, 1, 6).reshape(3, 2), "b": np.array([2.0, -1.0])}
X = np.arange(12.0).reshape(4, 3) / 7


def as_tensors(tree: Any) -> Any:
    return {k: tg.tensor(x) for k, x in tree.items()}


def test_arrays_in_arrays_out_and_tensors_in_tensors_out() -> None:
    tape = tg.trace(loss)(W, X).gradient()
    compiled = tape.compiled()
    expected = tape(W, X)
    value, (gradients, direction) = compiled(W, X)
    assert type(value) is type(gradients["a"]) is type(direction) is np.ndarray
    np.testing.assert_allclose(value, expected[0], rtol=1e-14)
    np.testing.assert_allclose(gradients["a"], expected[1][0]["a"], rtol=1e-14)
    np.testing.assert_allclose(direction, expected[1][1], rtol=1e-14)
    for args in ((as_tensors(W), X), (W, tg.tensor(X)), (as_tensors(W), tg.tensor(X))):
        found = compiled(*args)
        assert all(map(tg.is_tensor, (found[0], found[1][0]["b"], found[1][1])))
        np.testing.assert_array_equal(found[1][1].numpy(), direction)


def test_results_are_new_in_each_call() -> None:
    compiled = tg.trace(lambda x: (x, x.t(), x + 1))(tg.zeros(2, 2)).compiled()
    x = np.arange(4.0).reshape(2, 2)
    first, second = compiled(x), compiled(x)
    for a in first:
        assert not any(np.shares_memory(a, b) for b in (*second, x))
    np.testing.assert_array_equal(first[1], x.T)


@pytest.mark.parametrize(
    "args",
    [
        (),
        (W,),
        (X, W),
        ({"a": W["a"]}, X),
        (W, X[:3]),
        (W, X.astype(np.float32)),
        (W, X.astype(np.int64)),
        (W, 1.0),
        (W, "x"),
        (W, tg.zeros(4, 4)),
        (W, tg.zeros(4, 3, dtype=tg.float32)),
    ],
)
def test_arguments_are_refused_as_the_tape_refuses_them(args: Any) -> None:
    tape = tg.trace(loss)(W, X)
    compiled = tape.compiled()
    with pytest.raises((TypeError, ValueError)) as expected:
        tape(*args)
    with pytest.raises(expected.type) as found:
        compiled(*args)
    assert str(found.value) == str(expected.value)


def test_arguments_of_any_strides_and_numbers() -> None:
    tape = tg.trace(lambda x, n, k: x * n + k)(tg.zeros(3, 2), 1.0, np.int64(2))
    compiled = tape.compiled()
    for x in (X[:3, :2], X.T[:, :2], np.asfortranarray(X[:3, :2]), X[::-1][:3, ::-1][:, :2]):
        np.testing.assert_array_equal(compiled(x, 2, 3), x * 2 + 3)
    np.testing.assert_array_equal(compiled(tg.tensor(X).t()[:, :2], 2, 3), X.T[:, :2] * 2 + 3)


def test_gradients_go_through_it() -> None:
    compiled = tg.trace(loss)(W, X).compiled()
    w = {k: tg.tensor(x, requires_grad=True) for k, x in W.items()}
    compiled(w, X).backward()
    expected = tg.grad(loss)(W, X)
    for k, x in w.items():
        np.testing.assert_allclose(x.grad, expected[k])
    with tg.no_grad():
        assert not compiled(w, X).requires_grad
    np.testing.assert_allclose(tg.grad(compiled)(W, X)["a"], expected["a"])


def test_inside_of_other_functions() -> None:
    compiled = tg.trace(lambda x: x * x)(tg.zeros(2)).compiled()
    x = np.array([3.0, 4.0])
    np.testing.assert_array_equal(tg.jit(lambda x: compiled(x) + 1)(x), [10, 17])
    assert len(tg.trace(compiled)(x)) >= 1
    np.testing.assert_array_equal(tg.vmap(compiled)(tg.ones(3, 2)), np.ones((3, 2)))


def test_a_tape_without_arguments() -> None:
    compiled = tg.trace(lambda: tg.ones(2) * 3)().compiled()
    assert compiled().tolist() == [3, 3]


def test_errors_of_statements() -> None:
    compiled = tg.trace(lambda x, i: x[i])(tg.zeros(3), tg.zeros(2, dtype=tg.int64)).compiled()
    with pytest.raises(IndexError, match="an index is out of bounds"):
        compiled(np.zeros(3), np.array([0, 3]))
    np.testing.assert_array_equal(compiled(np.arange(3.0), np.array([2, 0])), [2, 0])


def test_pickles_and_copies() -> None:
    compiled = tg.trace(loss)(W, X).compiled()
    assert copy.copy(compiled) is copy.deepcopy(compiled) is compiled
    other = pickle.loads(pickle.dumps(compiled))
    assert other.text == compiled.text
    np.testing.assert_array_equal(other(W, X), compiled(W, X))


def test_a_tape_from_a_file(tmp_path: Path) -> None:
    tape = tg.trace(loss)(W, X).gradient()
    tape.save(tmp_path / "tape.npz")
    compiled = tg.load_tape(tmp_path / "tape.npz").compiled()
    np.testing.assert_array_equal(compiled(W, X)[0], tape.compiled()(W, X)[0])


def test_it_prints_its_loops() -> None:
    text = repr(tg.trace(lambda x: tg.sin(x) * 2)(tg.zeros(3)).compiled())
    head, *lines = text.split("\n")
    assert head == "compiled tape (in0: float64[3]): 3 statements, 0 bytes of temporaries"
    assert lines[0] == "  for i0 in 3:"
    long = tg.trace(lambda x: [tg.sort(x * i).values for i in range(100)])(tg.zeros(3)).compiled()
    assert len(repr(long).split("\n")) < 70


def test_several_threads() -> None:
    compiled = tg.trace(loss)(W, X).gradient().compiled()
    inputs = [X * i for i in range(4)]
    expected = [compiled(W, x)[1][1] for x in inputs]
    wrong: list[int] = []

    def run(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(compiled(W, inputs[i])[1][1], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
