"""PyTorch's forward mode (``torch.autograd.forward_ad``): dual numbers.

>>> import tapegrad as tg
>>> from tapegrad.autograd import forward_ad
>>> with forward_ad.dual_level():
...     x = forward_ad.make_dual(tg.tensor(3.0), tg.tensor(1.0))
...     forward_ad.unpack_dual(x * x)
UnpackedDualTensor(primal=tensor(9.), tangent=tensor(6.))

A dual is a copy of the tensor on a graph of the level's own (duals.py), and its tangent is noted with the
level. `unpack_dual` computes the tangent of a result when it is asked for, from the statements recorded
(forward_mode.py). Three things differ from PyTorch: writing to a dual leaves the tensor alone that it was
made of, printing one does not show its tangent, and results computed under `no_grad` in a level have none.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..functions.arguments import as_tensors
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.tape import Tape, slot_of
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from ..transforms.duals import LEVELS, switch
from .grad_mode import enable_grad
from .jacobian_products import push
from .transform_level import Level

__all__ = [
    "UnpackedDualTensor",
    "check_dual",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]

F = TypeVar("F", bound=Callable[..., Any])

#: number of duals up to which none is dropped
_FEW = 32


class UnpackedDualTensor(NamedTuple):
    """Result of `unpack_dual`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> primal, tangent = fwAD.unpack_dual(tg.tensor(3.0))  # outside of a level
    >>> primal, tangent
    (tensor(3.), None)
    """

    primal: Tensor
    tangent: Tensor | None


class _Duals:
    """The duals of a level."""

    def __init__(self) -> None:
        self.level = Level(forward=True, hands_out=True)
        self.primals: list[Tensor] = []
        self.tangents: list[Tensor] = []
        #: the duals that were handed out
        self._handed: list[weakref.ref[Tensor]] = []
        #: number of duals at which those are dropped that no tensor depends on
        self._limit = _FEW

    def add(self, tensor: Tensor, tangent: Tensor) -> Tensor:
        """Make a dual."""
        if len(self.primals) >= self._limit:
            self._drop_unneeded()
            self._limit = max(_FEW, 2 * len(self.primals))
        with enable_grad():  # as in PyTorch, a dual that is made under `no_grad` is one
            primal = self.level.lift(tensor)
            dual = self.level.handed(primal)
        self.primals.append(primal)
        self.tangents.append(tangent)
        self._handed.append(weakref.ref(dual))
        return dual

    def _drop_unneeded(self) -> None:
        """Drop the duals that no tensor of the user's depends on: a level may be a long loop."""
        needed = _needed(current_tape(), self.primals)
        gone = [p for p, kept in zip(self.primals, needed, strict=True) if not kept]
        self.primals = list(compress(self.primals, needed))
        self.tangents = list(compress(self.tangents, needed))
        self._handed = list(compress(self._handed, needed))
        self.level.let_go(gone)

    def tangent_of(self, dual: Tensor) -> Tensor | None:
        """Tangent that a dual was made with, unless it was written to since."""
        for handed, primal, tangent in zip(self._handed, self.primals, self.tangents, strict=True):
            if handed() is dual and dual._version == 0 and record.is_copy(dual, primal):
                return tangent
        return None


def _needed(tape: Tape, tensors: Sequence[Tensor]) -> list[bool]:
    """Tell of each tensor if another one depends on it, by what a tape has recorded."""
    if tape.abstract:
        return [True] * len(tensors)
    with tape.lock:
        count = tape.count
        handles = tape._handles
        uses = np.bincount(handles[handles > 0], minlength=count)
        places = [slot_of(tape, t) if t._state == tape.pointer else 0 for t in tensors]
        np.subtract.at(uses, places, 1)
        uses[0] = 1
        needed = (uses > 0).tolist()
        starts = tape.arg_start[: count + 1].tolist()
        operands = tape.arg[: starts[-1]].tolist()
        numbers = tape.instruction[:count].tolist()
        for k in range(count - 1, min(places, default=count), -1):
            instruction = INSTRUCTIONS[numbers[k]]
            if needed[k] or instruction.op.kind in (nt.WRITE, nt.ACCUMULATE):
                needed[k - 1] |= (
                    instruction.op.kind == nt.OUTPUT
                )  # a further result of that statement
                for slot in operands[starts[k] : starts[k + 1]][: len(instruction.layouts)]:
                    needed[slot] = True
        return [needed[slot] for slot in places]


class _Current(threading.local):
    """The level of a thread, if it has entered one."""

    duals: _Duals | None = None


_current = _Current()


def enter_dual_level() -> int:
    """Begin a level and return its number.

    Raises
    ------
    RuntimeError
        Inside another level: PyTorch has just one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> fwAD.enter_dual_level()
    0
    >>> fwAD.exit_dual_level()
    """
    if _current.duals is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _current.duals = _Duals()
    _current.duals.level.__enter__()
    if not LEVELS.enabled:
        for private in LEVELS.levels[-1:]:
            private.mark(False)
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level; its duals have no tangents any more.

    Parameters
    ----------
    level : int, optional
        The number that `enter_dual_level` returned.

    Raises
    ------
    RuntimeError
        If that is not the current level, or there is none.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> level = fwAD.enter_dual_level()
    >>> fwAD.exit_dual_level(level=level)
    """
    duals = _current.duals
    if level is not None and level != _level_number():
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not "
            "supported."
        )
    if duals is None:
        raise RuntimeError("Dual level must be a positive number.")
    _current.duals = None
    duals.level.__exit__()


def _level_number() -> int:
    """Number of the current level, -1 outside."""
    return -1 if _current.duals is None else 0


def __getattr__(name: str) -> int:
    """Return PyTorch's private module variable, which says whether a level was entered."""
    if name == "_current_level":
        return _level_number()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """Give a tensor a tangent at the current level.

    Parameters
    ----------
    tensor, tangent : Tensor
        Of the same shape and of floating dtypes.
    level : int, optional
        Nothing but the current level.

    Returns
    -------
    Tensor
        The dual: results computed from it have tangents that `unpack_dual` returns.

    Raises
    ------
    RuntimeError, ValueError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     dual = fwAD.make_dual(tg.tensor(3.0), tg.tensor(1.0))
    ...     print(fwAD.unpack_dual(dual**2).tangent)
    tensor(6.)
    """
    duals = _current.duals
    if duals is None or (level is not None and level < 0):
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    tensor, tangent = as_tensors("make_dual", (tensor, tangent))
    check_dual(tensor, tangent)
    _check_level(level, "_make_dual")
    if duals.tangent_of(tensor) is not None or _tangent(duals, tensor) is not None:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same "
            "level 0 is not supported."
        )
    if _tangent(duals, tangent) is not None:
        raise RuntimeError(
            "Setting a forward grad that itself has a forward gradient at the same level 0 is not "
            "supported."
        )
    return duals.add(tensor, tangent)


def check_dual(primal: Any, tangent: Any) -> None:
    """Raise PyTorch's errors unless a tensor can have this tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> fwAD.check_dual(tg.ones(2), tg.ones(2))
    """
    for role, t in (("primal", primal), ("tangent", tangent)):
        if not t.dtype.is_inexact:
            raise ValueError(f"Expected {role} to be floating point or complex, but got: {t.dtype}")
    if primal.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(primal.shape)} while the given "
            f"forward gradient is of size {list(tangent.shape)}."
        )


def _check_level(level: int | None, name: str) -> None:
    if level is not None and level != 0:
        raise RuntimeError(f"Invalid level given to {name}")


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """Take a result apart into its value and its tangent.

    Parameters
    ----------
    tensor : Tensor
    level : int, optional
        Nothing but the current level.

    Returns
    -------
    UnpackedDualTensor
        A namedtuple of `primal` and `tangent`; the tangent is None if the tensor does not depend on a
        dual of the level, or outside of one.

    Raises
    ------
    TypeError
        For an argument that is no tensor, inside of a level.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     primal, tangent = fwAD.unpack_dual(fwAD.make_dual(tg.tensor(3.0), tg.tensor(1.0)).sin())
    >>> primal, tangent
    (tensor(0.1411), tensor(-0.9900))
    """
    duals = _current.duals
    if duals is None or (level is not None and level < 0):
        return UnpackedDualTensor(tensor, None)
    record.check_tensors("unpack_dual", (tensor,))
    _check_level(level, "_fw_primal")
    tangent = _tangent(duals, tensor)
    return UnpackedDualTensor(duals.level.release(tensor), tangent)


def _tangent(duals: _Duals, tensor: Tensor) -> Tensor | None:
    """The tangent of any tensor."""
    tangent = duals.tangent_of(tensor)
    if tangent is not None or not duals.primals or not record.is_active(tensor):
        return tangent
    level = duals.level
    tracked = level.outside([tensor, *duals.tangents])
    (product,) = push(
        [tensor], duals.primals, duals.tangents, create_graph=tracked, gaps=level.gaps
    )
    if product is None and not level.gaps:  # zeros, if a dual was written over
        return tensor.new_zeros(tensor.shape) if level.depends([tensor]) else None
    return None if product is None else level.release(product)


def _is_fwd_grad_enabled() -> bool:
    """Return True unless `_set_fwd_grad_enabled` has switched tangents off."""
    return LEVELS.enabled


class _set_fwd_grad_enabled:
    """Switch tangents on or off, for the rest of the thread or, as a context manager, of a block.

    Results computed while they are off have none; the tensors they are computed from keep theirs.
    """

    def __init__(self, mode: bool) -> None:
        self._before = LEVELS.enabled
        switch(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        switch(self._before)


class dual_level:
    """Context manager or decorator: a level of forward mode.

    Raises
    ------
    RuntimeError
        Inside another level.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import tapegrad.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     print(fwAD.unpack_dual(tg.tensor(3.0)).tangent)
    None
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: object) -> None:
        exit_dual_level()

    def __call__(self, function: F) -> F:
        """Decorate a function that runs on a level of its own."""

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with dual_level():
                return call_user(function, *args, **kwargs)

        return decorated  # type: ignore[return-value]
