"""Copies, pickles and files of tensors."""

from __future__ import annotations

import collections
import copy
import io
import math
import multiprocessing
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_torch import torch

import tapegrad as tg

Way = Callable[[Any], Any]


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def through_file(value: Any) -> Any:
    file = io.BytesIO()
    tg.save(value, file)
    file.seek(0)
    loaded = tg.load(file)
    assert not file.read()
    return loaded


WAYS: dict[str, Way] = {"deepcopy": copy.deepcopy, "pickle": through_pickle, "file": through_file}
KINDS = [
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
]  # fmt: skip


class Weight(tg.Tensor):
    """A class of a user's."""


class Marked(tg.Tensor):
    """One with a slot."""

    __slots__ = ("mark",)


@pytest.mark.parametrize("way", WAYS)
def test_values_dtypes_and_shapes(way: str) -> None:
    for kind in KINDS:
        x = tg.ones(2, 3, dtype=getattr(tg, kind))
        y = WAYS[way](x)
        assert (y.dtype, y.shape, y.tolist(), y.requires_grad) == (
            x.dtype,
            x.shape,
            x.tolist(),
            False,
        )
        assert y.data_ptr() != x.data_ptr()
    base = tg.arange(12.0).reshape(3, 4)
    for x in (
        tg.tensor(3.0), tg.zeros(0, 3), base.T, base[1:, ::2], base[2, 3], tg.ones(1).expand(5),
        tg.randn(2000), tg.tensor([math.nan, math.inf, -0.0]),
    ):  # fmt: skip
        y = WAYS[way](x)
        assert y.shape == x.shape
        assert np.array_equal(y.numpy(), x.numpy(), equal_nan=True)
        assert way == "pickle" or y.stride() == x.stride()
    x = tg.ones(2, requires_grad=True)
    y = WAYS[way](x)
    assert y.requires_grad
    assert y.is_leaf
    (y * 2).sum().backward()
    assert x.grad is None
    with tg.no_grad():
        y += 1
    assert x.tolist() == [1, 1]


@pytest.mark.parametrize("way", WAYS)
def test_what_shares_memory(way: str) -> None:
    def changed(lib: Any) -> Any:
        a = lib.zeros(4)
        b = a.view(2, 2)
        first, view, again, square = (WAYS[way] if lib is tg else copy.deepcopy)([a, a[1:3], a, b])
        first[1] = 5
        view[1] = 7
        seen = view + 0
        square[0, 1] += 1
        return (
            first is again,
            seen.tolist(),
            view.tolist(),
            first.tolist(),
            square.tolist(),
            a.tolist(),
        )

    if way == "pickle":  # values alone, as PyTorch's
        assert changed(tg)[:3] == (True, [0, 7], [0, 7])
        return
    expected = (True, [5, 7], [6, 7], [0, 6, 7, 0], [[0, 6], [7, 0]], [0, 0, 0, 0])
    assert changed(tg) == expected
    if torch is not None:
        assert changed(torch) == expected


def test_results_are_recorded_again_after_a_copy() -> None:
    """A copy in memory that nobody else sees is as fast as the original: nothing is evaluated at once."""
    x = tg.ones(3, requires_grad=True)
    for y in (copy.deepcopy(x), through_file(x), through_pickle(x), x):
        z = y * 2
        assert "pending" in str(tg.current_tape()).splitlines()[0]
        assert z.tolist() == [2, 2, 2]


@pytest.mark.parametrize("lib", [tg, torch] if torch is not None else [tg])
def test_gradients_and_graphs(lib: Any) -> None:
    x = lib.ones(2, requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert y.grad is not x.grad
    assert y.grad.tolist() == [2, 2]
    assert copy.copy(x).grad is None
    assert through_pickle(x).grad is None
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(x * 2)
    for way in (through_pickle, copy.copy):
        z = way(x * 2)
        assert (z.is_leaf, z.requires_grad, z.tolist()) == (
            way is through_pickle or z.is_leaf,
            True,
            [2, 2],
        )
    shared = copy.copy(x)
    with lib.no_grad():
        shared[0] = 5
    assert x.tolist() == [5, 1]
    assert shared.requires_grad
    assert shared.is_leaf


@pytest.mark.parametrize("way", [*WAYS, "copy"])
def test_classes_and_attributes(way: str) -> None:
    make: Way = copy.copy if way == "copy" else WAYS[way]
    x = tg.ones(2)
    x.note = ["a", {"b": 1}]  # type: ignore[attr-defined]
    y = make(x)
    assert y.note == x.note  # type: ignore[attr-defined]
    assert (y.note is x.note) == (way == "copy")  # type: ignore[attr-defined]
    w = Weight([1.0, 2.0]).requires_grad_()
    w.name_of_it = "w"  # type: ignore[attr-defined]
    if way == "file":
        with pytest.raises(pickle.UnpicklingError, match=r"test_saving.Weight, which is neither"):
            make(w)
        file = io.BytesIO()
        tg.save(w, file)
        file.seek(0)
        v = tg.load(file, weights_only=False)
    else:
        v = make(w)
    assert type(v) is Weight
    assert (v.tolist(), v.requires_grad, v.is_leaf, v.name_of_it) == ([1, 2], True, True, "w")
    (v * 2).sum().backward()
    assert v.grad.tolist() == [2, 2]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, through_pickle])
def test_slots_of_classes(make: Way) -> None:
    x = Marked([1.0, 2.0])
    assert not hasattr(make(x), "mark")
    x.mark, x.other = 3, 4
    assert (make(x).mark, make(x).other, type(make(x))) == (3, 4, Marked)


def test_attributes_in_a_pickle_are_a_users() -> None:
    x = tg.ones(2)
    for state in ({"data": 3}, {"grad": None}, {"_meta": 4}, {"__class__": int}, {"_state": 0}):
        with pytest.raises(pickle.UnpicklingError, match="not one that a user has set"):
            x.__setstate__(state)


def test_cycles() -> None:
    x = tg.ones(2)
    x.me = [x]  # type: ignore[attr-defined]
    for way in WAYS.values():
        y = way(x)
        assert y.me[0] is y


def test_tensors_that_are_differentiated_by_a_transform() -> None:
    for way in (copy.copy, *WAYS.values()):
        with pytest.raises(tg.UnsupportedError, match="being differentiated"):
            tg.grad(lambda t, way=way: (t * way(t)).sum())(tg.ones(2))


@pytest.mark.parametrize("way", [*WAYS, "copy"])
def test_copies_in_functions_that_are_traced(way: str) -> None:
    make: Way = copy.copy if way == "copy" else WAYS[way]
    for function in (lambda t: t * 2 + make(t), lambda t: t * 2 + make(t * 1.5)):
        compiled = tg.jit(function)
        for x in (tg.tensor([1.0, 2.0]), tg.tensor([5.0, 7.0]), tg.tensor([5.0, 8.0])):
            assert compiled(x).tolist() == function(x).tolist()
            assert tg.vmap(function)(x.reshape(2, 1)).reshape(2).tolist() == function(x).tolist()


# --------------------------------------------------------------------------- containers and files
def test_containers(tmp_path: Path) -> None:
    state = collections.OrderedDict(
        [("layer.0.weight", tg.randn(3, 2)), ("layer.0.bias", tg.randn(3, requires_grad=True))]
    )
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    value = {
        "model": state, "step": 3, "rate": 1e-3, "name": "run", "flags": (True, None, 1j, b"x", {1, 2}),
        "shape": tg.Size([2, 3]), "dtype": tg.float32, "device": tg.device("cpu"),
        "nested": [{"a": [tg.ones(1), (tg.zeros(2), [])]}], "counts": collections.Counter("aab"),
        "groups": collections.defaultdict(list, a=[1]), "array": np.arange(3), "number": np.float64(2),
        "big": 10**30, "empty": {}, "generator": tg.Generator().get_state(),
    }  # fmt: skip
    for place in (tmp_path / "a.pt", str(tmp_path / "b.pt")):
        assert tg.save(value, place) is None
        loaded = tg.load(place, map_location="cpu")
        assert list(loaded) == list(value)
        assert loaded["model"].keys() == state.keys()
        assert type(loaded["model"]) is collections.OrderedDict
        assert loaded["model"]._metadata == state._metadata  # type: ignore[attr-defined]
        assert loaded["model"]["layer.0.bias"].requires_grad
        for key in state:
            assert loaded["model"][key].tolist() == state[key].tolist()
        for key in (
            "step",
            "rate",
            "name",
            "flags",
            "shape",
            "device",
            "counts",
            "groups",
            "number",
            "big",
        ):
            assert loaded[key] == value[key]
            assert type(loaded[key]) is type(value[key])
        assert loaded["dtype"] is tg.float32
        assert loaded["nested"][0]["a"][1][0].tolist() == [0, 0]
    with open(tmp_path / "c.pt", "wb") as file:
        tg.save(1, file)
        tg.save(tg.ones(2), file)
    with open(tmp_path / "c.pt", "rb") as file:
        assert tg.load(file) == 1
        assert tg.load(file).tolist() == [1, 1]
        with pytest.raises(EOFError, match="empty, or read to its end"):
            tg.load(file)


def test_only_what_is_reached_is_written() -> None:
    file = io.BytesIO()
    tg.save(tg.zeros(100_000)[5:7], file)
    assert file.tell() < 1000
    file.seek(0)
    assert tg.load(file).tolist() == [0, 0]


def test_options_of_pytorch(tmp_path: Path) -> None:
    place = tmp_path / "a.pt"
    tg.save(tg.ones(2), place, pickle_module=pickle, pickle_protocol=4)
    for where in ("cpu", tg.device("cpu"), {"cuda:0": "cpu"}, lambda storage, place: storage):
        assert tg.load(place, map_location=where, weights_only=None, mmap=False).tolist() == [1, 1]
    with pytest.raises(tg.UnsupportedError, match=r"load\(\): tapegrad computes on the CPU only"):
        tg.load(place, map_location="cuda")
    with pytest.raises(tg.UnsupportedError, match="pickle_module is Python's pickle"):
        tg.load(place, pickle_module=copy)


def test_what_cannot_be_saved_leaves_the_file_alone(tmp_path: Path) -> None:
    place = tmp_path / "a.pt"
    tg.save(tg.ones(2), place)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        tg.save([tg.zeros(2), lambda: 0], place)
    assert tg.load(place).tolist() == [1, 1]
    for call in (tg.save, lambda _, f: tg.load(f)):
        with pytest.raises(TypeError, match="argument 'f' must be a path or a file, not int"):
            call(1, 3)
    with pytest.raises(FileNotFoundError):
        tg.save(1, tmp_path / "nowhere" / "a")
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "nothing")
    with pytest.raises(TypeError, match="str"):
        tg.save(1, io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="file of bytes"):
        tg.load(io.StringIO("tapegrad.save"))  # type: ignore[arg-type]


class Attack:
    """An object whose pickle calls a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ("call", "named"),
    [((os.system, "exit 1"), "posix.system|nt.system"), ((eval, "1"), "builtins.eval"),
     ((getattr, "x", "y"), "builtins.getattr"), ((tg.save, 1, "x"), "save"), ((exec, ""), "builtins.exec"),
     ((np.load, "x"), "load"), ((pickle.loads, b""), "loads")],
)  # fmt: skip
def test_files_run_no_code(call: Any, named: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    tg.save({"a": [tg.ones(2), Attack(*call)]}, file)
    file.seek(0)
    with pytest.raises(
        pickle.UnpicklingError,
        match=rf"load\(\): the file asks for .*({named}).*weights_only=False",
    ):
        tg.load(file)


def test_damaged_files() -> None:
    file = io.BytesIO()
    x = tg.arange(20.0)
    tg.save({"w": x, "v": x[3:5], "n": tg.ones(3, dtype=tg.float32), "s": "text"}, file)
    data = file.getvalue()
    for end in range(1, len(data)):
        with pytest.raises((pickle.UnpicklingError, tg.UnsupportedError)):
            tg.load(io.BytesIO(data[:end]))
    generator = random.Random(0)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 << generator.randrange(8)
        with pytest.raises((pickle.UnpicklingError, tg.UnsupportedError), match=r"load\(\)"):
            tg.load(io.BytesIO(bytes(broken)))
    named = io.BytesIO(data[:-20])
    named.name = "a.pt"  # type: ignore[attr-defined]
    with pytest.raises(pickle.UnpicklingError, match=r"a\.pt is cut off: \d+ of \d+ bytes"):
        tg.load(named)
    texts = {b"PK\3\4" + bytes(20): "a file of PyTorch", b"junk" * 9: "no file of tapegrad.save"}
    for content, text in texts.items():
        with pytest.raises(tg.UnsupportedError, match=text):
            tg.load(io.BytesIO(content))


def test_a_file_is_not_a_pickle() -> None:
    file = io.BytesIO()
    tg.save(tg.ones(2), file)
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(file.getvalue())


# --------------------------------------------------------------------------- processes
def gradient_of(x: tg.Tensor) -> tuple[Any, ...]:
    """The work of another process."""
    y = x.detach().clone().requires_grad_()
    (y * y).sum().backward()
    return y.grad, {"kind": x.dtype, "view": x[1:], "grad": x.requires_grad}


def test_processes_pass_tensors() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        args = [
            tg.tensor([1.0, 2.0], requires_grad=True),
            tg.ones(3, dtype=tg.float32),
            tg.arange(6.0)[::2],
        ]
        for x, (gradient, facts) in zip(args, pool.map(gradient_of, args), strict=True):
            assert gradient.tolist() == (2 * x).tolist()
            assert facts["kind"] is x.dtype
            assert facts["view"].tolist() == x[1:].tolist()
            assert facts["grad"] == x.requires_grad
