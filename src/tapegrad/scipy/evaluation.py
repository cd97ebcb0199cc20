"""Functions of a vector as SciPy calls them: on arrays, compiled, or recorded in each call.

An `Evaluation` is a function of Tensors that runs on arrays. `tg.jit` compiles it; where it cannot, a warning
says why, and the function is recorded in each call. Those of the last functions are kept, so that a
second solve with the same function compiles nothing.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ..base.errors import TapeError, UnsupportedError
from ..base.locks import new_lock
from ..functions.creation.creation import from_numpy
from ..jit_compiler.jitted import jit
from ..tape.recording import is_active, is_tensor

__all__ = ["Evaluation"]

#: ways through a function (by values that it reads) that are compiled
WAYS = 7
#: functions whose compiled form is kept
KEPT = 16
_kept: OrderedDict[Hashable, tuple[Callable[..., Any], _Ways]] = OrderedDict()
_keeping = new_lock()


class Evaluation:
    """A function of Tensors that returns a tuple of Tensors, as a function of arrays.

    Parameters
    ----------
    caller : str
        Function of SciPy's, for errors and warnings.
    name : str
        The user's function.
    function : callable
    compiled : bool
    key : callable, optional
        Returns what stands for the function: one that was compiled with the same key is used again.
    remedy : str
        Words for what to do about tensors that require grad.

    Attributes
    ----------
    reason : str or None
        Why it is not compiled.
    """

    def __init__(
        self, caller: str, name: str, function: Callable[..., tuple[Any, ...]], *, compiled: bool = True,
        key: Callable[[], Hashable] | None = None,
        remedy: str = "tg.implicit differentiates through a solver",
    ) -> None:  # fmt: skip
        self._caller, self._name, self._function = caller, name, function
        self._remedy = remedy
        self.reason = None if compiled else "compiled=False"
        self._run = _compiled(function, key) if compiled else self._recorded

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the function."""
        try:
            results = self._run(*arrays)
        except (TapeError, UnsupportedError) as error:
            if self.reason is not None:
                raise
            results = self._without_jit(error, arrays)
        if type(results[0]) is not np.ndarray:
            self._refuse_active(results)
        return results

    def _without_jit(self, error: Exception, arrays: tuple[np.ndarray, ...]) -> Any:
        """Record the function in this call and all that come, and say why."""
        results = self._recorded(*arrays)  # raises, if it is no matter of jit
        self.reason = str(error)
        self._run = self._recorded
        warnings.warn(
            f"{self._caller}: `{self._name}` is not compiled, but recorded in each call: {error} "
            "(compiled=False does so without this warning)",
            UserWarning, stacklevel=2,
        )  # fmt: skip
        return results

    def _recorded(self, *arrays: np.ndarray) -> tuple[Any, ...]:
        results = self._function(*[from_numpy(np.array(x)) for x in arrays])
        return tuple([x if is_active(x) else x.numpy() for x in results])

    def _refuse_active(self, results: Any) -> None:
        if any(is_tensor(x) and is_active(x) for x in results):
            raise RuntimeError(
                f"{self._caller}: `{self._name}` uses a tensor that requires grad, and the result would be "
                f"a constant with respect to it: {self._remedy}; detach() the tensor, or call under "
                "tg.no_grad(), if a constant is what you mean"
            )


class _Ways:
    """Number of ways through a function that were recorded for one evaluation."""

    def __init__(self) -> None:
        self.number = 0

    def add(self) -> None:
        """Count one.

        Raises
        ------
        TapeError
            If the function goes too many ways for each of them to be compiled.
        """
        self.number += 1
        if self.number > WAYS:
            raise TapeError(
                f"it went {WAYS} ways, by values that it reads, and each is compiled by itself"
            )


def _compiled(
    function: Callable[..., Any], key: Callable[[], Hashable] | None
) -> Callable[..., Any]:
    """Return the function compiled, or the one with the same key that was."""
    try:
        place = None if key is None else key()
        hash(place)
    except TypeError:  # an object without a hash belongs to the function
        place = None
    if place is None:
        return _jitted(function)[0]
    with _keeping:
        if place not in _kept:
            _kept[place] = _jitted(function)
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(place)
        compiled, ways = _kept[place]
    ways.number = 0
    return compiled


def _jitted(function: Callable[..., Any]) -> tuple[Callable[..., Any], _Ways]:
    ways = _Ways()

    @functools.wraps(function)
    def recorded(*tensors: Any) -> Any:
        ways.add()
        return function(*tensors)

    return jit(recorded), ways
