"""Values that a compiled function uses and was not given: changes between calls are noticed, natively too."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

#: the value that the functions below use
S: Any = None
RATE = 2.0


class Colour(enum.Enum):
    RED = 2
    BLUE = 3


@dataclasses.dataclass(frozen=True)
class Setting:
    a: float


class Model:
    """Attributes of its own, of its class, and one that only a method of a method uses."""

    scale = 1.0

    def __init__(self, k: float) -> None:
        self.k = k

    @property
    def doubled(self) -> float:
        return 2 * self.k

    def forward(self, x: Any) -> Any:
        return self.inner(x)

    def inner(self, x: Any) -> Any:
        return x * self.k * self.scale

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def __matmul__(self, x: Any) -> Any:
        return self.inner(x)


class Derived(Model):
    def forward(self, x: Any) -> Any:
        return 1 * super().forward(x)


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: float) -> None:
        self.a = a


class Other:
    def forward(self, x: Any) -> Any:
        return x * 3


def twice(x: Any) -> Any:
    return x * 2


def thrice(x: Any) -> Any:
    return x * 3


def by_rate(x: Any) -> Any:
    return x * RATE


def module(a: float) -> types.ModuleType:
    made = types.ModuleType("settings")
    made.a = a  # type: ignore[attr-defined]
    return made


def fresh_class(a: float) -> type:
    return type("Fresh", (), {"a": a})


#: name -> value, another value, and a function that uses it
REPLACED: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
    "float": (2.0, 3.0, lambda x: x * S),
    "int": (2, 3, lambda x: x * S),
    "int, then float": (2, 2.5, lambda x: x * S),
    "bool": (True, False, lambda x: x if S else -x),
    "str": ("a", "b", lambda x: x if S == "a" else -x),
    "NumPy number": (np.float64(2), np.float64(3), lambda x: x * S),
    "NumPy integer": (np.int64(2), np.int64(3), lambda x: x * S),
    "array": (np.full(2, 2.0), np.full(2, 3.0), lambda x: x * S),
    "tensor": (tg.full((2,), 2.0), tg.full((2,), 3.0), lambda x: x * S),
    "tensor of another shape": (tg.full((2,), 2.0), tg.full((1,), 3.0), lambda x: x * S),
    "tensor, then number": (tg.full((2,), 2.0), 3.0, lambda x: x * S),
    "tuple": ((2.0,), (3.0,), lambda x: x * S[0]),
    "list": ([2.0], [2.0, 3.0], lambda x: x * len(S)),
    "set": ({2.0}, {3.0}, lambda x: x * sum(S)),
    "frozenset": (frozenset({2.0}), frozenset({3.0}), lambda x: x * sum(S)),
    "range": (range(2), range(3), lambda x: x * len(S)),
    "member of an enum": (Colour.RED, Colour.BLUE, lambda x: x * S.value),
    "dtype": (tg.float64, tg.float32, lambda x: x.to(S)),
    "dataclass": (Setting(2.0), Setting(3.0), lambda x: x * S.a),
    "namespace": (types.SimpleNamespace(a=2.0), types.SimpleNamespace(a=3.0), lambda x: x * S.a),
    "function": (twice, thrice, lambda x: S(x)),
    "class": (fresh_class(2.0), fresh_class(3.0), lambda x: x * S.a),
    "object of another class": (Model(2.0), Other(), lambda x: S.forward(x)),
    "module": (module(2.0), module(3.0), lambda x: x * S.a),
}


#: name -> a value, a change of it, and a function that uses it
CHANGED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "array": (lambda: np.full(2, 2.0), lambda s: s.fill(3), lambda x: x * S),
    "tensor": (lambda: tg.full((2,), 2.0), lambda s: s.fill_(3), lambda x: x * S),
    "list": (lambda: [2.0], lambda s: s.__setitem__(0, 3.0), lambda x: x * S[0]),
    "longer list": (lambda: [2.0], lambda s: s.append(3.0), lambda x: x * sum(S)),
    "shorter list": (lambda: [2.0, 3.0], lambda s: s.pop(), lambda x: x * sum(S)),
    "dict": (lambda: {"a": 2.0}, lambda s: s.update(a=3.0), lambda x: x * S["a"]),
    "larger dict": (lambda: {"a": 2.0}, lambda s: s.update(b=3.0), lambda x: x * sum(S.values())),
    "set": (lambda: {2.0}, lambda s: s.add(3.0), lambda x: x * sum(S)),
    "nested": (lambda: {"a": [(2.0, [1.0])]}, lambda s: s["a"][0][1].append(1.0),
               lambda x: x * len(S["a"][0][1])),
    "tensor in a list": (lambda: [tg.ones(2)], lambda s: s.__setitem__(0, tg.zeros(2)),
                         lambda x: x * S[0]),
    "attribute": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0), lambda x: x * S.k),
    "attribute by getattr": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0),
                             lambda x: x * getattr(S, "k")),  # noqa: B009
    "attribute of a method": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0),
                              lambda x: S.forward(x)),
    "attribute of a call": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0), lambda x: S(x)),
    "attribute of an operator": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0), lambda x: S @ x),
    "attribute of a base's method": (lambda: Derived(2.0), lambda s: setattr(s, "k", 3.0),
                                     lambda x: S.forward(x)),
    "property": (lambda: Model(2.0), lambda s: setattr(s, "k", 3.0), lambda x: x * S.doubled),
    "class attribute": (lambda: fresh_class(2.0)(), lambda s: setattr(type(s), "a", 3.0),
                        lambda x: x * S.a),
    "attribute of a class": (lambda: fresh_class(2.0), lambda s: setattr(s, "a", 3.0),
                             lambda x: x * S.a),
    "attribute before the class's": (lambda: Model(2.0), lambda s: setattr(s, "scale", 3.0),
                                     lambda x: S.forward(x)),
    "slot": (lambda: Slotted(2.0), lambda s: setattr(s, "a", 3.0), lambda x: x * S.a),
    "module": (lambda: module(2.0), lambda s: setattr(s, "a", 3.0), lambda x: x * S.a),
    "function of a module": (lambda: module(twice),  # type: ignore[arg-type]
                             lambda s: setattr(s, "a", thrice), lambda x: S.a(x)),
}  # fmt: skip


def compare(function: Callable[[Any], Any], change: Callable[[], Any]) -> None:
    """Arrays go through native code after the first call, tensors do not."""
    for x in (np.arange(1.0, 3.0), tg.arange(1.0, 3.0)):
        compiled = tg.jit(function)
        for _ in range(3):
            np.testing.assert_array_equal(compiled(x), function(tg.as_tensor(x)))
    np.testing.assert_array_equal(compiled(x), function(tg.as_tensor(x)))
    arrays, tensors = tg.jit(function), tg.jit(function)
    for _ in range(3):
        arrays(np.arange(1.0, 3.0))
        tensors(tg.arange(1.0, 3.0))
    change()
    expected = function(tg.arange(1.0, 3.0))
    np.testing.assert_array_equal(arrays(np.arange(1.0, 3.0)), expected)
    np.testing.assert_array_equal(tensors(tg.arange(1.0, 3.0)), expected)


@pytest.mark.parametrize("name", REPLACED)
def test_another_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, function = REPLACED[name]
    monkeypatch.setitem(globals(), "S", before)
    compare(function, lambda: monkeypatch.setitem(globals(), "S", after))


@pytest.mark.parametrize("name", CHANGED)
def test_a_value_changes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, change, function = CHANGED[name]
    value = make()
    monkeypatch.setitem(globals(), "S", value)
    compare(function, lambda: change(value))


def test_variables_of_functions_around() -> None:
    rate = 2.0

    def change() -> None:
        nonlocal rate
        rate = 3.0

    compare(lambda x: x * rate, change)


def test_functions_that_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(lambda x: by_rate(x), lambda: monkeypatch.setitem(globals(), "RATE", 5.0))


def test_another_jit_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tg.jit(by_rate)
    compare(lambda x: inner(x), lambda: monkeypatch.setitem(globals(), "RATE", 5.0))


def test_defaults() -> None:
    def scaled(x: Any, factors: list[float] = [2.0]) -> Any:  # noqa: B006
        return x * factors[0]

    compare(scaled, lambda: scaled.__defaults__[0].__setitem__(0, 3.0))  # type: ignore[index]


def test_an_equal_value_is_no_reason_to_record_again(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tg.jit(lambda x: x * S[0] * S[1])
    for _ in range(3):
        monkeypatch.setitem(globals(), "S", (float("2.5"), np.float64("1.5")))
        f(np.ones(2))
    assert len(f.tapes()) == 1


def test_objects_that_call_themselves() -> None:
    model = Derived(2.0)
    f = tg.jit(model)
    for k in (2.0, 3.0, 3.0, 4.0):
        model.k = k
        np.testing.assert_array_equal(f(np.ones(2)), [k, k])
    assert len(f.tapes()) == 3


def test_calls_with_arrays_beside_a_captured_tensor_see_what_changes() -> None:
    """These are done without a look at the signature (steady_call.py)."""
    global S
    S, rate = tg.tensor([1.0, 2.0]), 2.0
    f = tg.jit(lambda x: (rate * S * x).sum())
    x = np.array([1.0, 10.0])
    for _ in range(3):
        assert f(x) == 42
    S += 1  # in place
    assert f(x) == 64
    S = tg.tensor([0.0, 1.0])  # another one
    assert f(x) == 20
    rate = 3.0
    assert f(x) == 30
    assert f(x) == 30
    S = tg.tensor([0.0, 1.0], dtype=tg.float32)
    assert f(x) == 30
    assert f(x.astype(np.float32)).dtype == np.float32
    S = tg.tensor(5.0)
    assert f(x) == 165
    assert f(x[::-1]) == 165  # no contiguous array
    assert f(x[:1]) == 15
    assert f(x=x) == 165
    assert f(tg.tensor(x)).item() == 165
    S = tg.tensor(5.0, requires_grad=True)
    assert f(x).requires_grad
    with tg.no_grad():
        assert f(x) == 165
    assert f(x).requires_grad
    assert tg.grad(f)(x).tolist() == [15, 15]
    with pytest.raises(TypeError):
        f(x, x)


def test_a_function_of_arrays_and_a_captured_tensor_keeps_the_form_of_its_result() -> None:
    weight = tg.tensor([1.0, 2.0])
    f = tg.jit(lambda x, y: {"sum": x + weight, "rest": [y * weight, weight]})
    x, y = np.ones(2), np.full(2, 3.0)
    for _ in range(3):
        result = f(x, y)
        assert list(result) == ["sum", "rest"]
        assert result["sum"].tolist() == [2, 3]
        assert [v.tolist() for v in result["rest"]] == [[3, 6], [1, 2]]
    result["rest"][1][0] = 100.0  # a result has memory of its own
    assert weight.tolist() == [1, 2]
