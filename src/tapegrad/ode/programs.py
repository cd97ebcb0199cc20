"""The functions of a solve, compiled once for each right-hand side: `Program`.

Start reading at `program_for`. A function that is made anew before each solve (a lambda, a nested function)
runs on what was compiled for the one before: one function of that code stays, and takes over the new
one's variables, which `tapegrad.jit` looks up in each call.
"""

from __future__ import annotations

import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..base.errors import TapeError, UnsupportedError
from ..jit_compiler.jitted import jit
from ..native import abi as nt
from ..tape.current import current_tape
from ..tape.tape import slot_of
from .arguments import checked_slope
from .controller import error_norm, first_size, next_status
from .steppers import stepper_of

__all__ = ["Program", "program_for"]

#: programs that a thread keeps
KEPT = 64


class Program:
    """A right-hand side with a method: `start`, `step`, `dense` and `fixed`, compiled where they can be.

    Parameters
    ----------
    name : str
        Of the function that was called, for errors.
    func : callable
    method : str
    layout : object
        What takes a state apart, and puts it together (`arguments.StateLayout`).
    """

    def __init__(self, name: str, func: Callable[..., Any], method: str, layout: Any) -> None:
        self.name, self.func = name, func
        #: further arguments of `func`: a list, as `jit` looks at its items in each call
        self.args: list[Any] = []
        self.is_busy = False
        self.is_compiled = True
        functions = _functions(name, func, method, layout, self.args)
        self.slope, self.stepper, self.interpolate = functions[:3]
        self._eager = dict(zip(("start", "step", "dense", "fixed"), functions[3:], strict=True))
        self._eager |= {"slope": self.slope, "first": self._eager["step"]}
        self._compiled = {key: jit(function) for key, function in self._eager.items()}

    # ------------------------------------------------------------------ calls
    def start(self, *args: Any) -> Any:
        """Return the derivative at the beginning; the size of the first step and the derivative's norm."""
        return self._run("start", args)

    def step(self, *args: Any) -> Any:
        """Return the status after a step, the state, what is carried on, and the extra terms."""
        return self._run("step", args)

    def first(self, *args: Any) -> Any:
        """Return what `step` does: the state of the first one may not require grad as later ones do."""
        return self._run("first", args)

    def dense(self, *args: Any) -> Any:
        """Return the state at one place of a step."""
        return self._run("dense", args)

    def fixed(self, *args: Any) -> Any:
        """Return the state after a step that has no error estimate."""
        return self._run("fixed", args)

    @contextmanager
    def unseen_memory(self, y: Any) -> Iterator[None]:
        """Record calls natively although arrays share memory with what they use (after ``p.numpy()``).

        Statements on such memory are evaluated before anyone can write there. So are those that
        are recorded in here, by its end at the latest, and no code of the user's runs in between.
        """
        tape, tensors = current_tape(), [y]
        for key in ("start", "first", "step", "fixed") if self.is_compiled else ():
            tensors += self._compiled[key].seen()
        tensors = [
            x for x in tensors
            if x._state == tape.pointer and tape.flags[tape.base[slot_of(tape, x)]] & nt.VISIBLE
        ]  # fmt: skip
        if not tensors or tape.abstract or not self.is_compiled:
            yield
            return
        for x in tensors:
            tape.flags[tape.base[slot_of(tape, x)]] &= ~nt.VISIBLE & 0xFF
        try:
            yield
            tape.evaluate()
        finally:
            for x in tensors:
                tape.flags[tape.base[slot_of(tape, x)]] |= nt.VISIBLE

    def captured(self, t: Any, y: Any) -> list[Any] | None:
        """Return the tensors that the right-hand side uses from around it; None if it is not compiled."""
        if self.is_compiled:
            self._run("slope", (t, y))
        return self._compiled["slope"].captured() if self.is_compiled else None

    def _run(self, key: str, args: tuple[Any, ...]) -> Any:
        if self.is_compiled:
            try:
                return self._compiled[key](*args)
            except (TapeError, UnsupportedError) as error:
                if current_tape().abstract:
                    raise
                result = self._eager[key](*args)  # raises where that is not the compiler's fault
                self.is_compiled = False
                warnings.warn(
                    f"{self.name}: func is not compiled, which makes steps several times slower: {error}",
                    UserWarning,
                    stacklevel=5,
                )
                return result
        return self._eager[key](*args)


def _functions(
    name: str, func: Callable[..., Any], method: str, layout: Any, args: list[Any]
) -> tuple[Any, ...]:
    """The functions of a program. `jit` finds what `func` uses, as it is a variable of theirs."""
    pieces = layout.pieces

    def slope(t: Any, y: Any) -> Any:
        return checked_slope(name, func(t, layout.unpacked(y), *args), y, layout)

    stepper = stepper_of(method)
    order, carried = stepper.tableau.order, len(stepper.begin(None))

    def interpolate(x: Any, h: Any, y: Any, state: Any, *rest: Any) -> Any:
        carry, end, extra = rest[:carried], rest[carried : 2 * carried], rest[2 * carried :]
        return stepper.interpolate(x, h, y, carry, (state, end, extra))

    def start(status: Any, y: Any, shift: Any, rtol: Any, atol: Any, limits: Any) -> Any:
        t = status[1].to(y.dtype) + shift
        derivative = slope(t, y)
        size = first_size(slope, t.detach(), y, derivative, rtol, atol, limits, order, pieces)
        return derivative, size

    def step(
        status: Any, y: Any, shift: Any, rtol: Any, atol: Any, limits: Any, *carry: Any
    ) -> Any:
        t, h = status[1].to(y.dtype) + shift, status[2].to(y.dtype)
        state, error, carry, extra = stepper.advance(slope, t, h, y, *carry)
        largest = y.detach().abs().maximum(state.detach().abs())
        ratio = error_norm(error.detach() / (atol + rtol * largest), pieces)
        return next_status(ratio, status, limits, order), state, *carry, *extra

    def fixed(t: Any, h: Any, y: Any) -> Any:
        return stepper.advance(slope, t, h, y).state

    def dense(*args: Any) -> Any:
        return interpolate(*args)

    return slope, stepper, interpolate, start, step, dense, fixed


class _Programs(threading.local):
    """The programs of a thread, by the code of their functions, the last used one last."""

    def __init__(self) -> None:
        self.known: OrderedDict[Any, Program] = OrderedDict()


_programs = _Programs()


def program_for(
    name: str, func: Callable[..., Any], method: str, layout: Any, args: Any
) -> Program:
    """Return the program of a function, with the function's variables and further arguments."""
    key: Any = func
    if isinstance(func, types.FunctionType):
        key = func.__code__, id(func.__globals__)
    try:
        key = (key, name, method, layout, len(args))
        program = _programs.known.get(key)
    except TypeError:  # no hash
        return _filled(Program(name, func, method, layout), func, args)
    if program is None or program.is_busy:
        stays = _with_own_cells(func) if isinstance(func, types.FunctionType) else func
        program = Program(name, stays, method, layout)
        _programs.known[key] = program
        if len(_programs.known) > KEPT:
            _programs.known.popitem(last=False)
    _programs.known.move_to_end(key)
    return _filled(program, func, args)


def _with_own_cells(func: types.FunctionType) -> types.FunctionType:
    """A function of the same code, with cells of its own for its variables."""
    cells = tuple(types.CellType() for _ in func.__closure__ or ())
    same = types.FunctionType(func.__code__, func.__globals__, func.__name__, None, cells)
    same.__qualname__, same.__module__ = func.__qualname__, func.__module__
    return same


def _filled(program: Program, func: Any, args: tuple[Any, ...]) -> Program:
    """The program, with variables, defaults and arguments as they are now."""
    program.args[:] = args
    if isinstance(func, types.FunctionType) and program.func is not func:
        stays: Any = program.func
        stays.__defaults__, stays.__kwdefaults__ = func.__defaults__, func.__kwdefaults__
        for kept, cell in zip(stays.__closure__ or (), func.__closure__ or (), strict=True):
            try:
                kept.cell_contents = cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
    return program
