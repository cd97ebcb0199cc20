"""Grad modes: context managers and decorators that say whether results are active."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

from ..base import torch_messages as messages
from ..engine import inference
from ..native import abi as nt
from ..native.exchange import Change, Exchange
from ..tape.current import current_tape
from ..tape.tape import Tape
from ..tape.user_code import call_user

__all__ = [
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_multithreading_enabled",
    "mask_zero_cotangents",
    "no_grad",
    "recording",
    "set_grad_enabled",
    "set_multithreading_enabled",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def is_grad_enabled() -> bool:
    """Return whether results of active operands are active in this thread.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.is_grad_enabled()
    True
    """
    return current_tape().asked_grad_mode


def is_inference_mode_enabled() -> bool:
    """Return True inside `inference_mode`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.is_inference_mode_enabled()
    False
    """
    return current_tape().inference_start >= 0


class _TapeMode(Exchange):
    """Sets a mode of the tape on entry, puts it back on exit; decorates functions and generators."""

    #: index of the mode in the tape's state
    FIELD = nt.S_GRAD_MODE

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of the mode."""
        state = current_tape().state
        return ((state, self.FIELD, state[self.FIELD], self.mode),), None

    def again(self) -> _TapeMode:
        """The same mode, for one more block."""
        other = _TapeMode(self.mode)
        other.FIELD = self.FIELD
        return other

    def __call__(self, function: F) -> F:
        if not callable(function):
            raise TypeError(f"a grad mode decorates functions, not {type(function).__name__}")
        if inspect.isgeneratorfunction(function):
            return _generator(function, self)  # type: ignore[return-value]

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                return call_user(function, *args, **kwargs)

        return decorated  # type: ignore[return-value]


def _generator(function: Callable[..., Any], mode: _TapeMode) -> Callable[..., Any]:
    """A generator function whose body runs in a mode, and whose caller does not."""

    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        with mode.again():
            try:
                value = call_user(generator.send, None)
            except StopIteration as stop:
                return stop.value
        while True:
            try:
                sent = yield value
            except GeneratorExit:
                with mode.again():
                    call_user(generator.close)
                raise
            except BaseException as error:
                with mode.again():
                    try:
                        value = call_user(generator.throw, error)
                    except StopIteration as stop:
                        return stop.value
            else:
                with mode.again():
                    try:
                        value = call_user(generator.send, sent)
                    except StopIteration as stop:
                        return stop.value

    return decorated


class _GradMode(_TapeMode):
    """Sets the grad mode as a user asks for it: in inference mode it is noted, and nothing is active."""

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of the mode."""
        tape = current_tape()
        if tape.inference_start < 0:
            state = tape.state
            return ((state, nt.S_GRAD_MODE, state[nt.S_GRAD_MODE], self.mode),), None
        return ((vars(tape), "_asked_mode", tape._asked_mode, self.mode),), None

    def again(self) -> _TapeMode:
        """The same mode, for one more block."""
        return _GradMode(self.mode)


class _NamedMode(_GradMode):
    """A mode that its name says."""

    MODE = False

    def __init__(self, *_: Any) -> None:
        # The constructors of the bases, in one call: training loops make one a step.
        self._notes = []
        self.mode = self.MODE


class _FixedMode(_NamedMode):
    """The same, where ``@no_grad`` works with and without parentheses.

    Type checkers go by the constructor of the last class that has one, which is ``__new__`` here.
    """

    @overload
    def __new__(cls, function: F) -> F: ...  # type: ignore[misc]
    @overload
    def __new__(cls) -> Self: ...
    def __new__(cls, function: Any = None) -> Any:
        mode = object.__new__(cls)
        if function is None:
            return mode
        mode.__init__()  # type: ignore[misc]
        return mode(function)


class no_grad(_FixedMode):
    """Context manager or decorator: results are passive, also those of active operands.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = a * a
    >>> y.requires_grad
    False
    """

    MODE = False


class enable_grad(_FixedMode):
    """Context manager or decorator: results of active operands are active again.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     y = a * a
    >>> y.requires_grad
    True
    """

    MODE = True


class recording(_TapeMode):
    """The package's own `enable_grad`: results of active operands are active in inference mode, too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad(), tg.autograd.grad_mode.recording():
    ...     y = a * a
    >>> y.requires_grad
    True
    """

    def __init__(self) -> None:
        super().__init__(True)


class _SetMode(_TapeMode):
    """A mode that is set at once, not first on entry."""

    NAME = ""

    def __init__(self, mode: bool) -> None:
        messages.check_bool(self.NAME, "enabled", 1, mode)
        super().__init__(mode)
        self._done: tuple[Change, ...] | None = super().changes()[0]
        for container, key, _, meanwhile in self._done:
            container[key] = meanwhile

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change that was made at once, as one to be made; at a second entry, a new one."""
        done, self._done = self._done, None
        return (super().changes()[0] if done is None else done), None

    def __call__(self, function: F) -> F:
        """Decorate a function; the mode is put back to what it was."""
        for container, key, before, _ in self._done or ():
            container[key] = before
        self._done = None
        return super().__call__(function)


class set_grad_enabled(_SetMode, _GradMode):
    """Set the grad mode, at once; as a context manager, put it back on exit.

    Parameters
    ----------
    mode : bool
        Whether results of active operands are active.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.set_grad_enabled(False):
    ...     y = a * a
    >>> y.requires_grad
    False
    """

    NAME = "set_grad_enabled"


class _Multithreading(_TapeMode):
    """Sets PyTorch's switch for threads in backward."""

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of the switch."""
        tape = current_tape()
        return ((vars(tape), "multithreading", tape.multithreading, self.mode),), None

    def again(self) -> _TapeMode:
        """The same switch, for one more block."""
        return _Multithreading(self.mode)


class set_multithreading_enabled(_SetMode, _Multithreading):
    """Set PyTorch's switch for threads in backward, at once; as a context manager, put it back on exit.

    Here a pass runs in the thread that asks for it either way.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> import tapegrad as tg
    >>> with tg.autograd.set_multithreading_enabled(False):
    ...     print(tg.autograd.is_multithreading_enabled())
    False
    """

    NAME = "set_multithreading_enabled"


def is_multithreading_enabled() -> bool:
    """Return what `set_multithreading_enabled` set in this thread.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.is_multithreading_enabled()
    True
    """
    return current_tape().multithreading


class _InferenceMode(_TapeMode):
    """The mode of `inference_mode`, which decorates functions without parentheses, too."""

    def __init__(self, mode: bool = True) -> None:
        messages.check_bool("inference_mode", "mode", 1, mode)
        super().__init__(mode)
        self._was_on: list[tuple[Tape, bool]] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes of both modes."""
        tape = current_tape()
        was_on, book = tape.inference_start >= 0, vars(tape)
        self._was_on.append((tape, was_on))
        state, field = tape.state, self.FIELD
        changes: tuple[Change, ...] = (
            (book, "_asked_mode", tape.asked_grad_mode, not self.mode),
            (state, field, state[field], not self.mode),
        )
        if self.mode and not was_on:
            changes = (*changes, (book, "inference_start", -1, tape.count))
        elif not self.mode:
            inference.switch(tape, False)
        return changes, None

    def ending(self) -> None:
        """Note what is an inference tensor, and be where the block began."""
        inference.switch(*self._was_on.pop())

    def again(self) -> _InferenceMode:
        """The same mode, for one more block."""
        return inference_mode(self.mode)


class inference_mode(_InferenceMode):
    """Context manager or decorator: results are passive, as with `no_grad`, and stay so.

    Tensors that are created or computed inside are *inference tensors*: outside they are not written in
    place, do not come to require grad, and are not saved for backward, each of which raises a
    RuntimeError. `clone` makes a normal tensor of one. Views of normal tensors, and normal tensors that
    were written inside, are normal ones.

    Parameters
    ----------
    mode : bool
        Whether inference mode is on; ``mode=False`` switches recording on again.

    Examples
    --------
    >>> import tapegrad as tg
    >>> with tg.inference_mode():
    ...     x = tg.ones(2)
    >>> x.is_inference(), x.clone().is_inference()
    (True, False)
    """

    @overload
    def __new__(cls, mode: F) -> F: ...  # type: ignore[misc]
    @overload
    def __new__(cls, mode: bool = True) -> Self: ...
    def __new__(cls, mode: Any = True) -> Any:
        """Make a mode, or decorate a function with it."""
        new_mode = super().__new__(cls)
        if callable(mode):
            new_mode.__init__()  # type: ignore[misc]
            return new_mode(mode)
        return new_mode


class mask_zero_cotangents(_TapeMode):
    """Context manager or decorator: in reverse passes, zero cotangents give zeros.

    A branch that `where` does not take gets a cotangent of zero, and zero times the infinite derivative
    there (of ``sqrt`` at 0, say) is NaN, as in PyTorch. In this mode, an elementwise op passes on zeros
    wherever its cotangent is zero. It holds for the passes of this thread that start inside: `backward`,
    `grad`, and everything that is made of them, at every order. Other ops (products, reductions) are as ever.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([0.0, 4.0], requires_grad=True)
    >>> y = tg.where(x > 0, x.sqrt(), x).sum()
    >>> tg.autograd.grad(y, x, retain_graph=True)
    (tensor([   nan, 0.2500]),)
    >>> with tg.autograd.mask_zero_cotangents():
    ...     tg.autograd.grad(y, x)
    (tensor([1.0000, 0.2500]),)
    """

    FIELD = nt.S_MASKS_ZEROS

    def __init__(self, mode: bool = True) -> None:
        if not isinstance(mode, bool):
            raise TypeError(
                f"mask_zero_cotangents(): mode must be a bool, not {type(mode).__name__}; as a decorator "
                "it is written with parentheses"
            )
        super().__init__(mode)
