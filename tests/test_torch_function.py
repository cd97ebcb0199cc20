"""PyTorch's protocol ``__torch_function__`` is not called, and whoever counts on it is told so."""

from __future__ import annotations

from typing import Any

import pytest

import tapegrad as tg


class Foreign:
    """No Tensor, but with the protocol."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError("is not called")

    def __radd__(self, other: Any) -> str:
        return "radd"


@pytest.mark.parametrize("call", [
    lambda f: tg.add(f, 1), lambda f: tg.add(tg.ones(2), f), lambda f: tg.sin(f), lambda f: tg.sum(f, dim=0),
    lambda f: tg.stack([tg.ones(2), f]), lambda f: tg.cat([f]), lambda f: tg.ones(2).mul(f),
    lambda f: tg.einsum("i,i->", f, tg.ones(2)), lambda f: tg.where(f, 1.0, 2.0),
    lambda f: tg.matmul(tg.ones(2), f), lambda f: tg.broadcast_tensors(f, tg.ones(2)),
    lambda f: tg.exp(f), lambda f: tg.maximum(tg.ones(2), f),
])  # fmt: skip
def test_functions_refuse_it_by_name(call: Any) -> None:
    with pytest.raises(
        TypeError, match="Foreign has a __torch_function__, which tapegrad does not"
    ):
        call(Foreign())


def test_operators_leave_it_to_the_other_operand() -> None:
    assert tg.ones(2) + Foreign() == "radd"
    with pytest.raises(TypeError, match="unsupported operand"):
        tg.ones(2) * Foreign()


@pytest.mark.parametrize("name", ["__torch_function__", "__torch_dispatch__"])
@pytest.mark.parametrize("inherited", [False, True])
def test_subclasses_that_define_it_are_refused(name: str, inherited: bool) -> None:
    body = {name: classmethod(lambda cls, *args: None)}
    bases, own = ((type("Mixin", (), body), tg.Tensor), {}) if inherited else ((tg.Tensor,), body)
    with pytest.raises(tg.UnsupportedError, match=f"Derived.{name} would not be called"):
        type("Derived", bases, own)


def test_other_subclasses_are_made() -> None:
    class Plain(tg.Tensor):
        """Without the protocol."""

        def twice(self) -> Any:
            return self * 2

    assert Plain([1.0, 2.0]).twice().tolist() == [2.0, 4.0]
