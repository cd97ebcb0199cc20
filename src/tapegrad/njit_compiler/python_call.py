"""Functions that are one statement of a trace: those under `njit`, and `checkpointed_loop`.

While `tapegrad.jit` or `trace` record a function there are no values that numba's code could run on. So a
call becomes a statement (``python_call``, ops/compiled.py) whose kernel calls Python, on tensors over the
operands' memory, wherever the tape runs: in the interpreter, or out of machine code. Its derivative is
such a statement as well, the function's `_Pullback`, and so on for derivatives of any order.

Shapes of results come from one run on the values that there are while the function is recorded.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..autograd.gradients import grad
from ..base.dtypes import bool_, float32, float64, from_numpy_dtype, int64
from ..base.errors import OtherRecordingError, TapeError
from ..functions.registry import FUNCTIONS
from ..native.machine_code import keep_for_ever
from ..ops.compiled import parts_of
from ..ops.layout import Layout, contiguous
from ..ops.program import padded
from ..ops.table import TABLE
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.apart import apart
from ..tape.current import current_tape
from ..tape.memory_views import address_of, array_at
from ..transforms.closing import ClosedTrace

__all__ = ["PythonCall", "recorded_call"]

#: dtypes of results that calls may have, beside None
_KINDS: dict[Any, Any] = {
    np.dtype(np.float64): float64, np.dtype(np.int64): int64, np.dtype(bool): bool_, None: None,
}  # fmt: skip
#: whole numbers up to this one are floating point numbers
_LARGEST = 1 << 53
#: words of a call's table: its number, the memory for temporaries, then addresses of operands and of results
_NUMBER, _OPERANDS = 0, 2
_calls: WeakValueDictionary[int, PythonCall] = WeakValueDictionary()
_numbers = count(1)


class _Pullback:
    """Cotangents of a function's operands, as a function of these and of cotangents of its results."""

    def __init__(self, call: PythonCall) -> None:
        self.call, self.reached = call, call.reached

    def __call__(self, given: list[Any]) -> list[Any]:
        """Return the cotangents of the operands that it is differentiated by."""
        size = len(self.call.inputs)
        operands, cotangents = given[:size], given[size:]
        again = any(x.requires_grad for x in given)
        for i in self.reached:
            if not operands[i].requires_grad:
                operands[i] = operands[i].detach().requires_grad_()
        results = self.call.checked(self.call.function(operands))
        pairs = [p for p in zip(results, cotangents, strict=True) if p[0].requires_grad]
        inputs = [operands[i] for i in self.reached]
        if not pairs:
            return [x._zero() for x in inputs]
        outputs, seeds = zip(*pairs, strict=True)
        return list(grad(outputs, inputs, seeds, create_graph=again, materialize_grads=True))


class _Batched:
    """A function of a batch of operands, which calls another one once a slice."""

    def __init__(self, call: PythonCall, size: int, flags: Sequence[bool]) -> None:
        self.call, self.size, self.flags = call, size, flags

    def __call__(self, given: list[Any]) -> list[Any]:
        """Return the results, all in one as those of `call`, with the batch as first dimension."""
        zeros, rows = partial(FUNCTIONS["zeros"], dtype=float64), []
        for i in range(self.size):
            operands = [x[i] if flag else x for x, flag in zip(given, self.flags, strict=True)]
            results = self.call.checked(self.call.function(operands))
            flat = [x.reshape(-1) for x in results] or [zeros(0)]
            rows.append(results[0] if len(results) == 1 else FUNCTIONS["cat"](flat))
        return [FUNCTIONS["stack"](rows) if rows else zeros(0, *self.call.out.shape)]


class PythonCall:
    """A function of Python's as the kernel of statements; what ops/compiled.py calls a routine.

    Parameters
    ----------
    function : callable
        Takes a list of tensors, and returns a list of float64 tensors.
    name : str
        For errors.
    inputs : tuple of Layout
        Contiguous ones.
    shapes : sequence of tuple of int
        Of the results.
    is_kept : bool
        Whether it is called even if nothing needs its results, as the function around may have used shapes.
    primal : callable, optional
        Computes the same of read-only arrays and numbers, without tensors, which take longer.

    Attributes
    ----------
    results : tuple of Layout
    out : Layout
        Of the statement's result: the only one, or all in one, flat.
    reached : tuple of int
        Operands that it is differentiated by.
    """

    #: name of the row of its statements
    row = "python_call"

    def __init__(
        self, function: Callable[[list[Any]], list[Any]], name: str, inputs: tuple[Layout, ...],
        shapes: Sequence[tuple[int, ...]], *, is_kept: bool = False,
        primal: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:  # fmt: skip
        self.function, self.name, self.inputs, self.is_kept = function, name, inputs, is_kept
        self.primal = primal
        self.results = tuple([contiguous(float64, x) for x in shapes])
        size = sum(x.size for x in self.results)
        self.out = self.results[0] if len(self.results) == 1 else contiguous(float64, (size,))
        self.reached = tuple([i for i, x in enumerate(inputs) if x.dtype is float64])
        self._errors: dict[int, BaseException] = {}
        self._number = next(_numbers)
        _calls[self._number] = self

    def __repr__(self) -> str:
        return f"<call of {self.name}>"

    # ------------------------------------------------------------------ what the kernel reads
    @property
    def address(self) -> int:
        """Address of what the kernel reads."""
        return address_of(self._data[0])

    @property
    def bytes(self) -> int:
        """Bytes of scratch memory."""
        return 8 * len(self._data[1]) + 64

    @cached_property
    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        first = _OPERANDS + len(self.inputs)
        table = np.zeros(first + len(self.results), np.int64)
        table[_NUMBER] = self._number
        places, start = list[int](), 0
        for i, x in enumerate(self.results):
            places += [first + i, start]
            start += x.size * x.dtype.itemsize
        words = [
            _CALLBACK, 0, address_of(table), len(table), padded(8 * len(table)), len(self.inputs),
            _OPERANDS, len(self.results), 0, *places,
        ]  # fmt: skip
        return np.array(words, np.int64), table

    # ------------------------------------------------------------------ runs
    def run(self, addresses: Sequence[int]) -> None:
        """Compute results from operands, at the addresses of both."""
        arrays = [
            array_at(a, x) for a, x in zip(addresses, (*self.inputs, *self.results), strict=False)
        ]
        operands, places = arrays[: len(self.inputs)], arrays[len(self.inputs) :]
        if self.primal is None:
            results = values_of(lambda tensors: self.checked(self.function(tensors)), operands)
        else:
            for x in operands:
                x.flags.writeable = False
            results = self.checked(self.primal([x if x.shape else x.item() for x in operands]))
        for place, result in zip(places, results, strict=True):
            place[...] = result

    def checked(self, results: list[Any]) -> list[Any]:
        """Return a run's results; raises if they are not as they were when the function was recorded."""
        kinds = [_kind(x) for x in results]
        if kinds != [(x.dtype, x.shape) for x in self.results]:
            shown, known = (
                ", ".join(f"{getattr(kind, 'name', kind)}{list(shape)}" for kind, shape in each)
                for each in (kinds, [(x.dtype, x.shape) for x in self.results])
            )
            raise OtherRecordingError(
                f"{self.name}: results are {shown}, and were {known} when the function around was recorded"
            )
        return results

    def note(self, error: BaseException) -> None:
        """Keep the error of this thread's run."""
        self._errors[threading.get_ident()] = error

    def failed(self) -> BaseException:
        """Return the error of this thread's last run."""
        error = self._errors.pop(threading.get_ident(), None)
        return error or TapeError(f"{self.name}: it was interrupted")

    # ------------------------------------------------------------------ transforms
    def batched(self, size: int, flags: Sequence[bool]) -> PythonCall:
        """Return the call for a batch: `flags` says which operands have it as first dimension."""
        inputs = [
            contiguous(x.dtype, (size, *x.shape)) if flag else x
            for x, flag in zip(self.inputs, flags, strict=True)
        ]
        function = _Batched(self, size, flags)
        shapes = [(size, *self.out.shape)]
        return PythonCall(function, self.name, tuple(inputs), shapes, is_kept=self.is_kept)

    @cached_property
    def pullback(self) -> PythonCall | None:
        """The call that takes the operands and cotangents of the results, and gives those of operands."""
        if not self.reached:
            return None
        shapes = [self.inputs[i].shape for i in self.reached]
        return PythonCall(
            _Pullback(self), f"the derivative of {self.name}", (*self.inputs, *self.results), shapes
        )


def _kind(result: Any) -> tuple[Any, tuple[int, ...]]:
    """Dtype and shape of a result."""
    if record.is_tensor(result):
        return result.dtype, result.shape
    if isinstance(result, np.ndarray) and result.dtype == np.float64:
        return float64, result.shape
    return getattr(result, "dtype", type(result)), np.shape(result)


def values_of(
    function: Callable[[list[Any]], list[Any]], operands: Sequence[np.ndarray]
) -> list[Any]:
    """Results of a function of tensors, as arrays; what is no tensor as it is."""
    tensors = [record.leaf_tensor(x, from_numpy_dtype(x.dtype)) for x in operands]
    results = function(tensors)
    return [np.array(x.detach().numpy()) if record.is_tensor(x) else x for x in results]


def _called(address: int) -> None:
    """Run the call whose table is at an address: what native code calls, with or without the GIL."""
    call: PythonCall | None = None
    try:
        number = ctypes.c_int64.from_address(address)
        call = _calls[number.value]
        size = len(call.inputs) + len(call.results)
        addresses = (ctypes.c_int64 * size).from_address(address + 8 * _OPERANDS)
        apart(call.run, [*addresses])
        number.value = 0
    except BaseException as error:
        if call is not None:
            call.note(error)


_callback = ctypes.CFUNCTYPE(None, ctypes.c_int64)(_called)
keep_for_ever(_callback)
_CALLBACK = ctypes.cast(_callback, ctypes.c_void_p).value


# --------------------------------------------------------------------------- calls in traces
def recorded_call(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    primal: Callable[..., Any] | None = None,
) -> list[Any] | None:  # fmt: skip
    """Record a call as one statement of the trace that records this thread.

    Parameters
    ----------
    function : callable
    name : str
    args : tuple
    kwargs : dict
    primal : callable, optional
        Computes the same of read-only arrays and numbers.

    Returns
    -------
    list or None
        The function's result in a list; None if it cannot be a statement: there are no values from which
        shapes of results would be known, or results are other than tensors (not of float32) and None.
    """
    tape = current_tape()
    if not (isinstance(tape, ClosedTrace) and tape.has_values):
        return None
    leaves, spec = trees.flatten((args, kwargs))
    leaves = [_constant(x) for x in leaves]
    places = [i for i, x in enumerate(leaves) if record.is_tensor(x)]
    tensors = [_operand(leaves[i]) for i in places]
    layouts = tuple([record.layout_of(x) for x in tensors])
    slots = [record.operand(tape, x) for x in tensors]
    for i in places:
        leaves[i] = None
    spread: list[Any] = []

    def results_of(operands: list[Any], function: Callable[..., Any] = function) -> list[Any]:
        given = list(leaves)
        for i, x in zip(places, operands, strict=True):
            given[i] = x
        args, kwargs = trees.unflatten(spec, given)
        results, out_spec = trees.flatten(function(*args, **kwargs))
        spread[:] = [out_spec]
        return results

    def flat(operands: list[Any], function: Callable[..., Any] = function) -> list[Any]:
        results = results_of(operands, function)
        return [_as_number(x, name) for x in results if x is not None]

    operands = [tape.example(slot, x) for slot, x in zip(slots, layouts, strict=True)]
    results, (out_spec,) = apart(values_of, results_of, operands), spread
    kinds: list[Any] = [None if x is None else getattr(x, "dtype", object) for x in results]
    if not {*kinds} <= _KINDS.keys():
        return None
    shapes = tuple([x.shape for x in results if x is not None])
    statics = tuple(map(_static_key, leaves))
    key: Any = function, spec, tuple(places), statics, layouts, shapes
    try:  # the same call has the same statement, so a loop of them is one to the compiler
        call = tape.calls.get(key)
    except TypeError:  # something has no hash
        key, call = object(), None
    if call is None:
        call = tape.calls[key] = PythonCall(
            flat, name, layouts, shapes, is_kept=True,
            primal=partial(flat, function=primal) if primal and not _has_list((args, kwargs)) else None,
        )  # fmt: skip
    whole = record.apply(TABLE["python_call"], tensors, routine=call)
    parts = iter(parts_of(whole, call.results))
    values = [None if x is None else record.cast(next(parts), _KINDS[x]) for x in kinds]
    return [trees.unflatten(out_spec, values)]


def _constant(x: Any) -> Any:
    """An argument that is no tensor as a call keeps it: an array as it is now."""
    if isinstance(x, np.ndarray):
        x = x.copy(order="K")
        x.flags.writeable = False
    return x


def _static_key(x: Any) -> Any:
    """A key that tells an argument from all others, zeros with other signs among them."""
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, x.strides, x.tobytes()
    return type(x), repr(x) if isinstance(x, float | complex | np.generic) else x


def _as_number(result: Any, name: str) -> Any:
    """A result as floating point numbers, as statements have results of one dtype."""
    is_tensor = record.is_tensor(result)
    if is_tensor and result.dtype is float64:
        return result
    array = result.detach().numpy() if is_tensor else np.asarray(result)
    if array.dtype.kind == "i" and not (
        -_LARGEST <= array.min(initial=0) <= array.max(initial=0) <= _LARGEST
    ):
        raise TapeError(
            f"{name}: a whole number among the results is beyond 2**53, which a statement cannot hold; "
            "return it as a float"
        )
    if is_tensor:
        return record.cast(result, float64)
    return array.astype(np.float64) if array.dtype.kind in "bi" else array


def _has_list(tree: Any) -> bool:
    """Return True for a list, or containers with one: numba gets a tuple in its place."""
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple) else ()
    return isinstance(tree, list) or any(map(_has_list, parts))


def _operand(tensor: Any) -> Any:
    """A tensor as an operand: contiguous, float64 where it is float32, and not what may be written later."""
    if tensor.dtype is float32:
        return record.cast(tensor, float64)
    return record.apply(TABLE["clone"], (tensor,))
