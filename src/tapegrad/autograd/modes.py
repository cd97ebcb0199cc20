"""Grad modes: context managers and decorators that say whether results are active."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..threads import current_tape

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


def is_grad_enabled() -> bool:
    """Return whether results of active operands are active in this thread."""
    return current_tape().grad_mode


class _GradMode:
    """Sets the grad mode on entry, puts it back on exit; decorates functions and generators."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        tape = current_tape()
        self._previous.append(tape.grad_mode)
        tape.grad_mode = self.mode

    def __exit__(self, *_: object) -> None:
        current_tape().grad_mode = self._previous.pop()

    def __call__(self, function: F) -> F:
        mode = self.mode
        if inspect.isgeneratorfunction(function):
            return _generator(function, mode)  # type: ignore[return-value]

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with _GradMode(mode):
                return function(*args, **kwargs)

        return decorated  # type: ignore[return-value]


def _generator(function: Callable[..., Any], mode: bool) -> Callable[..., Any]:
    """A generator function whose body runs in a mode, and whose caller does not."""

    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        with _GradMode(mode):
            try:
                value = generator.send(None)
            except StopIteration as stop:
                return stop.value
        while True:
            try:
                sent = yield value
            except GeneratorExit:
                with _GradMode(mode):
                    generator.close()
                raise
            except BaseException as error:
                with _GradMode(mode):
                    try:
                        value = generator.throw(error)
                    except StopIteration as stop:
                        return stop.value
            else:
                with _GradMode(mode):
                    try:
                        value = generator.send(sent)
                    except StopIteration as stop:
                        return stop.value

    return decorated


class _FixedMode(_GradMode):
    """A mode that its name says; ``@no_grad`` works with and without parentheses."""

    MODE = False

    @overload
    def __new__(cls, function: F) -> F: ...  # type: ignore[misc]
    @overload
    def __new__(cls) -> _FixedMode: ...
    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)

    def __init__(self) -> None:
        super().__init__(self.MODE)


class no_grad(_FixedMode):
    """Context manager or decorator: results are passive, whatever they are made of."""

    MODE = False


class enable_grad(_FixedMode):
    """Context manager or decorator: results of active operands are active again."""

    MODE = True


class set_grad_enabled(_GradMode):
    """Set the grad mode, at once; as a context manager, put it back on exit.

    Parameters
    ----------
    mode : bool
        Whether results of active operands are active.
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(
                "set_grad_enabled(): argument 'enabled' (position 1) must be bool, not "
                f"{type(mode).__name__}"
            )
        super().__init__(mode)
        tape = current_tape()
        self._outer: bool | None = tape.grad_mode
        tape.grad_mode = mode

    def __enter__(self) -> None:
        super().__enter__()
        if self._outer is not None:  # the mode before it was set, not the one it set
            self._previous[-1] = self._outer
            self._outer = None

    def __call__(self, function: F) -> F:
        """Decorate a function; the mode is put back to what it was."""
        if self._outer is not None:
            current_tape().grad_mode = self._outer
            self._outer = None
        return super().__call__(function)


class inference_mode(_GradMode):
    """Context manager or decorator: results are passive, as with `no_grad`.

    PyTorch's inference tensors save bookkeeping that a tape does not have, so there is no difference
    here but that ``mode=False`` switches recording on again.

    Parameters
    ----------
    mode : bool
    """

    def __new__(cls, mode: Any = True) -> Any:
        """Make a mode, or decorate a function with it."""
        made = super().__new__(cls)
        if callable(mode):
            made.__init__()  # type: ignore[misc]
            return made(mode)
        return made

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)
