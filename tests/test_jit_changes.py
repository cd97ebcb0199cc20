"""What a function under jit uses without being given it: globals, variables, defaults, attributes that change."""

from __future__ import annotations

import collections
import dataclasses
import fractions
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

X = np.array([1.0, 2.0, 3.0])


class Holder:
    """A holder of values, with methods that use them."""

    rate = 2

    def __init__(self) -> None:
        self.w = tg.tensor([1.0, 2.0, 3.0])
        self.k = 2
        self._hidden = 2

    def scaled(self, x: Any) -> Any:
        return x * self.w * self.k

    @property
    def hidden(self) -> int:
        return self._hidden

    def __call__(self, x: Any) -> Any:
        return self.scaled(x) + self.rate


class Slots:
    """A value in a slot."""

    __slots__ = ("k",)

    def __init__(self) -> None:
        self.k = 2


@dataclasses.dataclass
class Settings:
    """Values in a dataclass."""

    k: float = 2.0
    pair: tuple[int, int] = (1, 2)


Case = tuple[Callable[..., Any], list[Callable[[], Any]]]


def in_scope(text: str, changes: list[str], **values: Any) -> Case:
    """A function, and changes of its globals, as text."""
    scope: dict[str, Any] = {"tg": tg, "np": np, **values}
    f = eval(f"lambda x: {text}", scope)
    return f, [functools.partial(exec, change, scope) for change in changes]


def mutable_default() -> Case:
    def f(x: Any, k: list[int] = [1]) -> Any:  # noqa: B006
        return x * k[0]

    return f, [lambda: f.__defaults__[0].__setitem__(0, 3)]


def other_code() -> Case:
    def f(x: Any) -> Any:
        return x * 2

    return f, [lambda: setattr(f, "__code__", (lambda x: x * 5).__code__)]


def variable() -> Case:
    k: Any = 2

    def f(x: Any) -> Any:
        return x * k

    def change(value: Any) -> None:
        nonlocal k
        k = value

    return f, [lambda: change(3), lambda: change(tg.tensor([1.0, 2.0, 3.0])), lambda: change(4.5)]


def method() -> Case:
    holder = Holder()
    return holder.scaled, [
        lambda: setattr(holder, "w", tg.ones(3)),
        lambda: setattr(holder, "k", 3),
    ]


def callable_object() -> Case:
    holder = Holder()
    changes = [lambda: setattr(holder, "k", 3), lambda: setattr(holder, "rate", 7)]
    return holder, [lambda: setattr(holder, "w", tg.ones(3)), *changes]


def inner_jit() -> Case:
    scope: dict[str, Any] = {"k": 2.0}
    inner = tg.jit(eval("lambda x: x * k", scope))
    return lambda x: inner(x) + 1, [lambda: scope.update(k=5.0)]


def transformed() -> Case:
    scope: dict[str, Any] = {"k": 2.0}
    inner = tg.grad(eval("lambda x: (x * x * k).sum()", scope))
    return lambda x: inner(x) + 1, [lambda: scope.update(k=5.0)]


Pair = collections.namedtuple("Pair", "a b")
module = types.ModuleType("settings_of_a_user")
module.k = 2  # type: ignore[attr-defined]
proxy = types.MappingProxyType
CASES = {
    "number": lambda: in_scope("x * k", ["k = 3", "k = 2.5", "k = True", "k = 2"], k=2),
    "signs and NaN": lambda: in_scope("x * 0 + k * -1", ["k = -0.0", "k = float('nan')"], k=0.0),
    "NumPy's number": lambda: in_scope("x * k", ["k = np.float64(3)"], k=np.float64(2)),
    "text": lambda: in_scope("x * 2 if k == 'a' else x", ["k = 'b'"], k="a"),
    "dtype": lambda: in_scope("x.to(k) + 1", ["k = tg.float32"], k=tg.float64),
    "fraction": lambda: in_scope("x * float(k)", ["k = k + 1"], k=fractions.Fraction(1, 2)),
    "list": lambda: in_scope("x * sum(k)", ["k.append(5)", "k.pop()", "k[0] = 9"], k=[1, 2]),
    "empty list": lambda: in_scope("x * (1 + len(k))", ["k.append(1)"], k=[]),
    "long list": lambda: in_scope("x * k[5500]", ["k[5500] = 1"], k=list(range(6000))),
    "dict": lambda: in_scope("x * sum(k.values())", ["k['b'] = 2", "k.pop('b')"], k={"a": 1}),
    "order": lambda: in_scope("x * list(k.values())[0]", ["k['a'] = k.pop('a')"], k={"a": 1, "b": 2}),
    "set": lambda: in_scope("x * sum(k)", ["k.add(7)"], k={1, 2}),
    "deque": lambda: in_scope("x * k[0]", ["k.appendleft(5)"], k=collections.deque([1, 2])),
    "ordered dict": lambda: in_scope("x * k['a']", ["k['a'] = 3"], k=collections.OrderedDict(a=1)),
    "proxy": lambda: in_scope("x * k['a']", ["k = proxy({'a': 5})"], k=proxy({"a": 2}), proxy=proxy),
    "bytearray": lambda: in_scope("x * k[0]", ["k[0] = 3"], k=bytearray(b"\x02")),
    "deep": lambda: in_scope("x * k[0]['a'][1]['b'][0]", ["k[0]['a'][1]['b'][0] = 3"], k=[{"a": (0, {"b": [2]})}]),
    "named tuple": lambda: in_scope("x * k.a", ["k = k._replace(a=3)"], k=Pair(1, 2)),
    "namespace": lambda: in_scope("x * k.a", ["k.a = 3"], k=types.SimpleNamespace(a=2)),
    "hasattr": lambda: in_scope("x * 2 if hasattr(k, 'a') else x", ["k.a = 3"], k=types.SimpleNamespace()),
    "slots": lambda: in_scope("x * k.k", ["k.k = 3"], k=Slots()),
    "dataclass": lambda: in_scope("x * k.k + k.pair[0]", ["k.k = 3.0", "k.pair = (5, 6)"], k=Settings()),
    "property": lambda: in_scope("x * k.hidden", ["k._hidden = 3"], k=Holder()),
    "getattr": lambda: in_scope("x * getattr(k, 'k')", ["k.k = 3"], k=Holder()),
    "method's attribute": lambda: in_scope("k.scaled(x)", ["k.k = 3"], k=Holder()),
    "class": lambda: in_scope("x * k.a", ["k.a = 3"], k=type("Local", (), {"a": 2})),
    "class of object": lambda: in_scope("x * k.a", ["type(k).a = 3", "k.a = 9"], k=type("Local", (), {"a": 2})()),
    "module": lambda: in_scope("x * k.k", ["k.k += 1"], k=module),
    "function": lambda: in_scope("k(x)", ["k = lambda x: x * 3"], k=lambda x: x * 2),
    "partial": lambda: in_scope("k(x)", ["k.keywords['a'] = 3"], k=functools.partial(lambda x, a: x * a, a=2)),
    "builtin": lambda: in_scope("x * len([1, 2])", ["len = lambda v: 7"]),
    "globals": lambda: in_scope("x * globals()['k']", ["k = 3"], k=1),
    "array": lambda: in_scope("x * (k * 2)", ["k[0] = 9", "k = k + 1"], k=X.copy()),
    "array as tensor": lambda: in_scope("x * tg.as_tensor(k)", ["k[0] = 9"], k=X.copy()),
    "strided array": lambda: in_scope("x * tg.as_tensor(k)", ["k[0] = 9"], k=np.arange(6.0)[::2]),
    "number's array": lambda: in_scope("x * tg.as_tensor(k)", ["k[...] = 9"], k=np.array(2.0)),
    "array in list": lambda: in_scope("x * (k[0] + 1)", ["k[0][1] = 7"], k=[X.copy()]),
    "tensor in two places": lambda: in_scope("x * k + a[0]", ["k = tg.ones(3)"], **dict.fromkeys("k", W), a=[W]),
    "tensor": lambda: in_scope("x * k", ["k.add_(1)", "k = tg.tensor([2.0])", "k = tg.tensor(2)"], k=W.clone()),
    "tensor that requires grad": lambda: in_scope("x * k", ["k.requires_grad_()"], k=W.clone()),
    "tensors in list": lambda: in_scope("x * k[0]", ["k[0] = tg.ones(3)", "k.insert(0, -k[0])"], k=[W]),
    "tensor or none": lambda: in_scope("x if k is None else x * 2", ["k = None"], k=W),
    "shape of tensor": lambda: in_scope("x * k.shape[0]", ["k = tg.ones(7)"], k=W),
    "grad": lambda: in_scope("x * k.grad", ["k.grad = tg.zeros(3)", "k.grad = 5 * k.grad + 1"], k=LEAF),
    "mutable default": mutable_default, "other code": other_code, "variable": variable, "method": method,
    "callable object": callable_object, "inner jit": inner_jit, "transformed": transformed,
}  # fmt: skip
W = tg.tensor([1.0, 2.0, 3.0])
LEAF = tg.ones(3, requires_grad=True)
LEAF.grad = tg.ones(3)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_changes_are_followed(case: Callable[[], Case]) -> None:
    f, changes = case()
    compiled = tg.jit(f)
    for change in (lambda: None, *changes, *changes[:1]):
        change()
        expected = f(tg.tensor(X)).detach().numpy()
        for _ in range(2):
            found = compiled(X)
            if isinstance(found, tg.Tensor):  # as it requires grad
                found = found.detach().numpy()
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_unused_values_may_change() -> None:
    """A counter that another method keeps is no reason to record again."""
    holder = Holder()
    compiled = tg.jit(holder.scaled)
    for i in range(3):
        holder.calls = i  # type: ignore[attr-defined]
        compiled(X)
    assert len(compiled.tapes()) == 1
