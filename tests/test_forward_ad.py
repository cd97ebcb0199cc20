"""Dual numbers beside torch's: results, levels, errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from beside_torch import Case, same, torch

import tapegrad as tg
from tapegrad.autograd import forward_ad

if torch is not None:
    import torch.autograd.forward_ad


def vec(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values or (0.3, 0.7)))


def on_a_level(run: Any) -> Case:
    """A case that runs inside a level."""

    def case(m: Any) -> Any:
        with m.autograd.forward_ad.dual_level():
            return run(m, m.autograd.forward_ad)

    return case


def dual(m: Any, fw: Any, *tangent: float) -> Any:
    return fw.make_dual(vec(m), vec(m, *(tangent or (1.0, 2.0))))


def named(cases: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


VALUES: dict[str, Any] = {
    "product": lambda m, fw: fw.unpack_dual(dual(m, fw) * dual(m, fw, 3.0, 4.0)),
    "function": lambda m, fw: fw.unpack_dual((dual(m, fw).sin() * vec(m)).cumsum(0)),
    "reduction": lambda m, fw: fw.unpack_dual(dual(m, fw).prod()),
    "the dual": lambda m, fw: fw.unpack_dual(dual(m, fw)),
    "passive": lambda m, fw: fw.unpack_dual(vec(m)),
    "independent": lambda m, fw: (dual(m, fw), fw.unpack_dual(vec(m) * 2))[1],
    "detached": lambda m, fw: fw.unpack_dual(dual(m, fw).detach()),
    "integer": lambda m, fw: fw.unpack_dual(dual(m, fw) > 0.5),
    "view": lambda m, fw: fw.unpack_dual(dual(m, fw)[1]),
    "other dtype": lambda m, fw: fw.unpack_dual(fw.make_dual(vec(m), vec(m).to(m.float32)) * 2).tangent,
    "given level": lambda m, fw: fw.unpack_dual(fw.make_dual(vec(m), vec(m), level=0) ** 2, level=0),
    "negative level": lambda m, fw: fw.unpack_dual(vec(m), level=-1),
    "written in place": lambda m, fw: fw.unpack_dual((dual(m, fw) * 1).mul_(3)),
    "written into": lambda m, fw: fw.unpack_dual(m.zeros(2).copy_(dual(m, fw))).tangent,
    "fields": lambda m, fw: fw.unpack_dual(vec(m))._fields,
}  # fmt: skip


@named(VALUES)
def test_values(case: Any) -> None:
    found = same(on_a_level(case))
    assert not isinstance(found, str), found


ACTIVE: dict[str, Any] = {
    "primal": lambda m, fw: (lambda w: grads(m, fw.unpack_dual(fw.make_dual(w, vec(m)) ** 3).tangent, w))(
        vec(m).requires_grad_()
    ),
    "tangent": lambda m, fw: (lambda w: grads(m, fw.unpack_dual(fw.make_dual(vec(m), w) ** 3).tangent, w))(
        vec(m).requires_grad_()
    ),
    "captured": lambda m, fw: (lambda w: grads(m, fw.unpack_dual(dual(m, fw) * w * w).tangent, w))(
        vec(m).requires_grad_()
    ),
    "forward over reverse": lambda m, fw: (
        lambda w: fw.unpack_dual(
            m.autograd.grad((fw.make_dual(w, vec(m)) ** 3).sum(), w, create_graph=True)[0]
        ).tangent
    )(vec(m).requires_grad_()),
}  # fmt: skip


def grads(lib: Any, result: Any, leaf: Any) -> Any:
    return result, lib.autograd.grad(result.sum(), leaf)


@named(ACTIVE)
def test_tangents_can_be_differentiated(case: Any) -> None:
    found = same(on_a_level(case))
    assert not isinstance(found, str), found


ERRORS: dict[str, Case] = {
    "no level": lambda m: m.autograd.forward_ad.make_dual(vec(m), vec(m)),
    "nothing to leave": lambda m: m.autograd.forward_ad.exit_dual_level(),
    "nested": on_a_level(lambda m, fw: fw.enter_dual_level()),
    "nested manager": on_a_level(lambda m, fw: fw.dual_level().__enter__()),
    "shape": on_a_level(lambda m, fw: fw.make_dual(vec(m), m.tensor(1.0))),
    "integer primal": on_a_level(lambda m, fw: fw.make_dual(m.tensor([1, 2]), vec(m))),
    "integer tangent": on_a_level(lambda m, fw: fw.make_dual(vec(m), m.tensor([1, 2]))),
    "twice": on_a_level(lambda m, fw: fw.make_dual(dual(m, fw), vec(m))),
    "result twice": on_a_level(lambda m, fw: fw.make_dual(dual(m, fw) * 2, vec(m))),
    "other level to unpack": on_a_level(lambda m, fw: fw.unpack_dual(dual(m, fw), level=1)),
    "other level to make": on_a_level(lambda m, fw: fw.make_dual(vec(m), vec(m), level=1)),
    "other level to leave": on_a_level(lambda m, fw: fw.exit_dual_level(level=3)),
    "negative level to make": on_a_level(lambda m, fw: fw.make_dual(vec(m), vec(m), level=-1)),
}


@named(ERRORS)
def test_errors(case: Case) -> None:
    found = same(case)
    assert isinstance(found, str), "this should have raised"


def test_levels_are_entered_and_left() -> None:
    def case(m: Any) -> Any:
        fw = m.autograd.forward_ad
        numbers = [fw.enter_dual_level()]
        d = fw.make_dual(vec(m), vec(m))
        fw.exit_dual_level(level=numbers[0])
        tangents = [fw.unpack_dual(d).tangent]
        numbers.append(fw.enter_dual_level())
        tangents.append(fw.unpack_dual(d).tangent)
        fw.exit_dual_level()
        return numbers, tangents

    same(case)


def test_decorator() -> None:
    def case(m: Any) -> Any:
        @m.autograd.forward_ad.dual_level()
        def run(x: Any) -> Any:
            fw = m.autograd.forward_ad
            return fw.unpack_dual(fw.make_dual(x, m.ones(2)) ** 2)

        return run(vec(m)), run(vec(m)), run.__name__

    same(case)


def test_an_outer_no_grad_does_not_matter() -> None:
    def case(m: Any) -> Any:
        with m.no_grad():
            with m.autograd.forward_ad.dual_level():
                fw = m.autograd.forward_ad
                found = fw.unpack_dual(dual(m, fw) ** 2)
            return found, m.is_grad_enabled()

    same(case)


@pytest.mark.smoke
def test_a_transform_inside_a_level() -> None:
    with forward_ad.dual_level():
        d = dual(tg, forward_ad)
        found = forward_ad.unpack_dual(tg.func.grad(lambda x: (x * x * d).sum())(d))
    assert found.primal.tolist() == pytest.approx([2 * 0.09, 2 * 0.49])
    assert found.tangent.tolist() == pytest.approx([4 * 0.3 * 1.0, 4 * 0.7 * 2.0])


def test_threads_have_levels_of_their_own() -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            with forward_ad.dual_level():
                pass
        except RuntimeError as error:
            errors.append(error)

    with forward_ad.dual_level():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert not errors


@pytest.mark.smoke
def test_an_error_leaves_no_level() -> None:
    with pytest.raises(KeyError), forward_ad.dual_level():
        raise KeyError
    with forward_ad.dual_level():
        assert tg.is_grad_enabled()
    assert tg.is_grad_enabled()


def test_leaves_are_forgotten() -> None:
    before = len(tg.current_tape().leaves)
    with forward_ad.dual_level():
        dual(tg, forward_ad)
    assert len(tg.current_tape().leaves) == before


def test_a_tangent_that_has_a_tangent_is_refused() -> None:
    text = "Setting a forward grad that itself has a forward gradient at the same level 0"
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
        for tangent in (dual, dual * 2):
            with pytest.raises(RuntimeError, match=text):
                forward_ad.make_dual(tg.tensor([5.0, 6.0]), tangent)
        fine = forward_ad.make_dual(tg.tensor([5.0, 6.0]), forward_ad.unpack_dual(dual).tangent)
        assert forward_ad.unpack_dual(fine * 2).tangent.tolist() == [6.0, 8.0]


def test_the_number_of_the_current_level() -> None:
    assert forward_ad._current_level == -1
    with forward_ad.dual_level():
        assert forward_ad._current_level == 0
    assert forward_ad._current_level == -1
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = forward_ad.nothing


def _duals() -> Any:
    duals = forward_ad._current.duals
    assert duals is not None
    return duals


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_long_level_keeps_the_duals_that_somebody_needs(requires_grad: bool) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=requires_grad)
    along = tg.tensor([1.0, 10.0])
    with forward_ad.dual_level():
        first = forward_ad.make_dual(tg.tensor([3.0, 4.0]), tg.tensor([1.0, 1.0]))
        product = first * first
        written = tg.zeros(2)
        written[1] = forward_ad.make_dual(tg.tensor(5.0), tg.tensor(7.0))
        compiled = tg.njit(lambda a: (a * a, a * 3))(forward_ad.make_dual(tg.tensor(2.0), -x[0]))[1]
        alone = forward_ad.make_dual(x, along)
        del first
        for i in range(200):
            dual = forward_ad.make_dual(x, along * i)
            tangent = forward_ad.unpack_dual((dual * dual).sum()).tangent
            assert tangent.item() == 42.0 * i
        assert len(_duals().primals) < 100
        assert len(_duals().level._leaves) < 100
        assert len(_duals().level._differentiated.tensors) < 100
        assert forward_ad.unpack_dual(product).tangent.tolist() == [6.0, 8.0]
        assert forward_ad.unpack_dual(written).tangent.tolist() == [0.0, 7.0]
        assert forward_ad.unpack_dual(compiled).tangent.item() == -3.0
        assert forward_ad.unpack_dual(alone).tangent is along
        if requires_grad:
            (g,) = tg.autograd.grad(forward_ad.unpack_dual((alone * alone).sum()).tangent, x)
            assert g.tolist() == [2.0, 20.0]
    assert not product.requires_grad


def test_duals_that_were_needed_go_when_nobody_needs_them() -> None:
    x = tg.tensor([1.0, 2.0])
    with forward_ad.dual_level():
        kept = [forward_ad.make_dual(x, x) * 2 for _ in range(200)]
        assert len(_duals().primals) == 200
        assert forward_ad.unpack_dual(kept[0]).tangent.tolist() == [2.0, 4.0]
        kept.clear()
        for _ in range(300):
            forward_ad.make_dual(x, x)
        assert len(_duals().primals) < 150


@pytest.mark.parametrize("value", [{}, None, "x", [1.0]])
def test_what_is_no_tensor_is_no_dual(value: object) -> None:
    with forward_ad.dual_level():
        with pytest.raises(TypeError, match=r"unpack_dual\(\).* must be Tensor, not"):
            forward_ad.unpack_dual(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"make_dual\(\).* must be Tensor, not"):
            forward_ad.make_dual(tg.tensor(1.0), value)  # type: ignore[arg-type]


def test_a_dual_made_under_no_grad_is_one() -> None:
    with forward_ad.dual_level():
        with tg.no_grad():
            u = forward_ad.make_dual(tg.tensor([1.0, 2.0]), tg.ones(2))
        assert forward_ad.unpack_dual(u * u).tangent.tolist() == [2.0, 4.0]
        b = forward_ad.make_dual(tg.tensor([1.0, 2.0], requires_grad=True) * 1, tg.ones(2))
        assert forward_ad.unpack_dual(b * u).tangent.tolist() == [2.0, 4.0]
