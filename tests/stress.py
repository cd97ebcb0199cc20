"""A stress mode: Python code runs at every point where native code may run some.

Native code runs Python code where it allocates a handle, which may start the garbage collector, and so
finalizers (runtime/recording.py). `stressed` puts a function in the place of the allocator that calls a
Python function first, each time. As a plugin of pytest (``python -m pytest -p stress``, with ``tests`` on
the path) it runs tests so; TAPEGRAD_STRESS names what happens (`ACTIONS`).
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.native import machine_code

__all__ = ["ACTIONS", "stressed"]

_TEXT = """
declare i64 @PyObject_CallNoArgs(i64)
declare void @Py_DecRef(i64)
declare i64 @PyType_GenericAlloc(i64, i64)
define i64 @{name}(i64 %kind, i64 %count) {{
  %r = call i64 @PyObject_CallNoArgs(i64 {function})
  %fine = icmp ne i64 %r, 0
  br i1 %fine, label %go, label %fail
go:
  call void @Py_DecRef(i64 %r)
  %tensor = call i64 @PyType_GenericAlloc(i64 %kind, i64 %count)
  ret i64 %tensor
fail:
  ret i64 0
}}
"""
_kept: list[Any] = []


def _allocator(function: Callable[[], Any]) -> int:
    """Address of an allocator that calls a function first; what that raises, allocation raises."""
    name = f"tapegrad_stressed_{len(_kept)}"
    code = machine_code.assemble(_TEXT.format(name=name, function=id(function)))
    engine = machine_code._engine()
    engine.add(code)
    _kept.append(function)
    return engine.address(name)


@contextlib.contextmanager
def stressed(function: Callable[[], Any]) -> Iterator[None]:
    """Call a function at every point where native code may run Python code, but for those inside of it."""
    inside = False

    def once() -> None:
        nonlocal inside
        if (
            not inside and not tg.current_tape().abstract
        ):  # no garbage is collected while rules are traced
            inside = True
            try:
                function()
            finally:
                inside = False

    address, before = _allocator(once), int(nt.GLOBALS[nt.G_ALLOC])
    nt.GLOBALS[nt.G_ALLOC] = address
    try:
        yield
    finally:
        nt.GLOBALS[nt.G_ALLOC] = before


# --------------------------------------------------------------------------- what happens
class Cycle:
    """What only the garbage collector frees, with tensors, and a finalizer that uses them."""

    def __init__(self) -> None:
        self.me, self.tensor = self, tg.tensor([1.0, 2.0], requires_grad=True)

    def __del__(self) -> None:
        assert (self.tensor * 3).tolist() == [3.0, 6.0]


def collect() -> None:
    """Free tensors, and renumber slots where that is allowed."""
    Cycle()
    gc.collect(0)
    tg.current_tape().collect()


def record() -> None:
    """Record statements, and use up room and handles."""
    t = tg.tensor([1.0, 2.0])
    kept = [t * i for i in range(7)]
    assert (kept[3] + 1).tolist() == [4.0, 7.0]


def grow() -> None:
    """Move the tape's arrays and its table of handles."""
    tape = tg.current_tape()
    tape._allocate(len(tape.instruction))
    tape._grow_handles(int(tape.state[nt.S_HANDLE_CAPACITY]) + 8)


def backward() -> None:
    """Run a whole pass."""
    with tg.enable_grad():
        a = tg.tensor([1.0, 2.0], requires_grad=True)
        (a * a).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [2.0, 4.0]


def interrupt() -> None:
    """Raise, as a signal handler may."""
    raise KeyboardInterrupt


ACTIONS = {f.__name__: f for f in (collect, record, grow, backward, interrupt)}


# --------------------------------------------------------------------------- the plugin
def pytest_configure(config: Any) -> None:
    """Run everything under stress, if TAPEGRAD_STRESS says how."""
    name = os.environ.get("TAPEGRAD_STRESS")
    if not name:
        return
    action, count = ACTIONS[name], 0

    def act() -> None:
        nonlocal count
        count += 1
        action()

    context = stressed(act)
    context.__enter__()
    config.add_cleanup(lambda: context.__exit__(None, None, None))
    config.add_cleanup(lambda: print(f"stressed {count} times"))
