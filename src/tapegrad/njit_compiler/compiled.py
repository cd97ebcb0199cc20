"""`njit`: functions that numba compiles, and that record natively when they are called with Tensors.

A call with Tensors (`Compiled.__call__`) takes these steps:

1. the active arguments are joined into one vector, the head of a strip;
2. numba's dispatcher is called with active scalars and arrays in their place: the function runs, without
   the GIL, and appends its operations to a recorder (lowering/scalars.py);
3. the recorder goes onto the tape as one statement, and each result is a statement behind it
   (scalar_tape/recorder.py).

If the function raises, the recorder is dropped and the tape is as before.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from ctypes import c_double
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..base.importing import imported
from ..native import abi as nt
from ..ops.table import TABLE
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import layout_of
from ..tape.memory_views import address_of
from ..tensors.tensor import Tensor
from .containers import CONTAINERS, NUMBERS, RESULTS, as_tensors, passive_value, rebuilt
from .failures import came_from_compiler, explanation

if TYPE_CHECKING:
    from ..scalar_tape import recorder as strips

__all__ = ["Compiled", "njit", "value"]

#: options of `numba.njit` that are handed on
_OPTIONS = {
    "boundscheck", "cache", "debug", "error_model", "fastmath", "forceinline", "inline", "locals",
    "nogil", "parallel",
}  # fmt: skip
_SIGNATURES = (str, list, tuple)
#: attribute of numba's dispatchers where `of_numba` keeps the function under `njit`
_COMPILED = "_tapegrad_compiled"
#: bytes of large buffers after which a strip is preceded by a collection, unless more are in use
STRIPS_AT = 1 << 22


class Compiled:
    """A function under `njit`.

    Attributes
    ----------
    primal : callable
        The plain numba function, which takes numbers and arrays.
    py_func : callable
        The function as it was written.
    """

    def __init__(self, function: FunctionType, options: dict[str, Any], primal: Any = None) -> None:
        dispatch = imported("tapegrad.njit_compiler.dispatch")
        # imported now: a program that decorates no function waits for none of them
        self._strips = imported("tapegrad.scalar_tape.recorder")
        self._kinds = imported("tapegrad.njit_compiler.types")
        self._numba_api = imported("tapegrad.njit_compiler.numba_api")
        functools.update_wrapper(self, function)
        self.py_func = function
        options = {"error_model": "numpy", "nogil": True, **options}
        self.options = options
        njit = self._numba_api.njit
        self.primal = njit(function, **options) if primal is None else primal
        # Another name, so that the two do not share a file of numba's cache.
        active_function = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__,
            function.__closure__,
        )  # fmt: skip
        active_function.__kwdefaults__ = function.__kwdefaults__
        active_function.__module__, active_function.__doc__ = function.__module__, function.__doc__
        active_function.__qualname__ = f"{function.__qualname__}.active"
        # One recorder is one thread's, so ``prange`` is ``range`` there.
        active_options = {**options, "boundscheck": True, "parallel": False}
        self.active = njit(
            active_function, pipeline_class=dispatch.ActiveCompiler, **active_options
        )
        #: sizes of the last call's recorder, and the room that the next one begins with
        self._sizes, self._rooms = (0, 0), (128, 64)
        self._yields = inspect.isgeneratorfunction(function)
        #: statements recorded so far
        self.recorded = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the numba function, and record where an argument is a Tensor."""
        call = _RecordedCall(self._kinds, self._strips)
        call.find(args)
        if kwargs:
            call.find(tuple(kwargs.values()))
        if not call.has_tensors:
            try:
                return self.primal(*args, **kwargs)
            except Exception as error:
                self._explain(error, records=False)
                raise
        if call.tape.abstract:
            python_call = imported("tapegrad.njit_compiler.python_call")
            results = python_call.recorded_call(self, repr(self), args, kwargs, self.primal)
            if results is not None:
                return results[0]
        if not call.tensors:
            positional, named = call.replaced(args), call.replaced(kwargs)
            return as_tensors(self._run(self.primal, positional, named))
        if self._yields:
            raise UnsupportedError(
                f"tg.njit cannot record the generator {self.py_func.__name__}(); call it in a function "
                "that uses up what it yields"
            )
        return self._record(call, args, kwargs)

    def _record(self, call: _RecordedCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it on active values; if it raises, the tape is as before."""
        tape = call.tape
        call.make_room()
        count, failed = tape.state[nt.S_COUNT], True
        tape.counted += 1  # slots are known by number from here on: they stay
        try:  # at once: no interrupt comes between the two
            recorder = call.start(self._rooms)
            try:
                positional = [call.replaced(x) for x in args]
                named = call.replaced(kwargs) if kwargs else kwargs
                results = call.finish(self._run(self.active, positional, named))
                sizes = recorder.sizes
                if sizes != self._sizes:
                    self._sizes, self._rooms = sizes, recorder.rooms
                self.recorded += sizes[0]
                failed = False
                return results
            finally:
                recorder.close()
        finally:
            tape.counted -= 1
            if failed:
                tape.undo(count)

    def _run(self, dispatcher: Any, args: Any, kwargs: Any) -> Any:
        try:
            return dispatcher(*args, **kwargs)
        except Exception as error:
            self._explain(error, records=dispatcher is self.active)
            raise

    def _explain(self, error: Exception, *, records: bool) -> None:
        """Raise an error that says in few lines why numba could not compile the function, if it could not."""
        numba_api = self._numba_api
        if isinstance(error, numba_api.NumbaError) or came_from_compiler(
            error, numba_api.COMPILING_FRAME
        ):
            raise UnsupportedError(explanation(self.py_func, error, records=records)) from None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method it gets the instance first, as any function."""
        return self if instance is None else functools.partial(self, instance)

    def __copy__(self) -> Compiled:
        return self

    def __deepcopy__(self, memo: Any) -> Compiled:
        return self

    def __reduce__(self) -> Any:
        """By name where another process can look for it; else as numba does, with all that it closes over."""
        module, name = self.py_func.__module__, self.py_func.__qualname__
        importable: Any = sys.modules.get(module)
        for part in name.split("."):
            importable = getattr(importable, part, None)
        if importable is self and module not in ("__main__", "__mp_main__"):
            return name
        return _of_primal, (self.primal, self.options)

    def __repr__(self) -> str:
        return f"<tapegrad.njit {self.py_func.__qualname__}>"


def _of_primal(primal: Any, options: dict[str, Any]) -> Compiled:
    """A function under `njit` of the numba function that was pickled."""
    return Compiled(primal.py_func, options, primal=primal)


class _RecordedCall:
    """One call with Tensors among its arguments."""

    def __init__(self, kinds: Any, strips: Any) -> None:
        self.tape, self.kinds, self.strips = current_tape(), kinds, strips
        #: numbers and shapes of the active results
        self.result_numbers: list[int] = []
        self.result_shapes: list[tuple[int, ...]] = []
        #: True if there is a Tensor among the arguments
        self.has_tensors = False
        #: the active ones
        self.tensors: list[Tensor] = []
        #: first number of each in the head, by id
        self.starts: dict[int, int] = {}
        self.size = 0
        self.records = self.tape.grad_mode

    def find(self, arguments: Sequence[Any]) -> None:
        """Look for Tensors in the arguments."""
        for x in arguments:
            if isinstance(x, Tensor):
                self.has_tensors = True
                if self.records and record.is_active(x) and id(x) not in self.starts:
                    self.starts[id(x)] = self.size
                    self.size += layout_of(x).size
                    self.tensors.append(x)
            elif isinstance(x, CONTAINERS):
                self.find(x)

    def make_room(self) -> None:
        """Make room on the tape, which may collect."""
        tape = self.tape
        if tape.state[nt.S_OWNED_BYTES] > tape.strips_at and not tape.passes:
            tape.collect()  # reused memory is in the caches
            tape.strips_at = max(STRIPS_AT, 2 * int(tape.state[nt.S_OWNED_BYTES]))
        tape.make_room(8, 64)

    def start(self, rooms: tuple[int, int]) -> strips.Recorder:
        """Record the head, all active tensors in one vector, and open a recorder on it."""
        tape = self.tape
        recorder: strips.Recorder
        opened = self.strips.Recorder.on(tape, tuple(self.tensors), rooms)
        if opened is None:
            parts = [t if t.dtype is float64 else record.cast(t, float64) for t in self.tensors]
            joined = record.apply(TABLE["strip_head"], parts)
            self.head = record.operand(tape, joined)
            values = tape.value(self.head, layout_of(joined))
            recorder = self.strips.Recorder(tape, self.size, values, rooms)
        else:
            recorder, self.head = opened
        self.values = int(tape.address[self.head])
        self.recorder = recorder
        return recorder

    def replaced(self, argument: Any) -> Any:
        """An argument with values, and active values, in the place of Tensors."""
        if isinstance(argument, Tensor):
            start = self.starts.get(id(argument))
            return passive_value(argument) if start is None else self.activated(argument, start)
        if isinstance(argument, NUMBERS):
            return argument
        if isinstance(argument, dict):
            return {name: self.replaced(x) for name, x in argument.items()}
        if isinstance(argument, list):
            return self.listed(argument)
        if isinstance(argument, tuple):
            return rebuilt(argument, [self.replaced(x) for x in argument])
        return of_numba(argument) if isinstance(argument, self.kinds.CPUDispatcher) else argument

    def activated(self, tensor: Tensor, start: int) -> Any:
        """An active scalar or array, whose numbers begin with `start`."""
        kinds, layout = self.kinds, layout_of(tensor)
        values, pointer = self.values + 8 * start, self.recorder.pointer
        if not layout.ndim:
            return kinds.active_number(c_double.from_address(values).value, start, pointer)
        data = np.empty(layout.shape, kinds.ELEMENT)
        self.strips.fill_elements(address_of(data), values, start, layout.size, pointer)
        data.setflags(write=False)
        return kinds.Elements(data)

    def listed(self, argument: list[Any]) -> Any:
        """A list that holds Tensors as a tuple of one type: numba's lists of arguments are on the way out."""
        if not any(isinstance(x, Tensor) for x in argument):
            return argument
        items = [self.replaced(x) for x in argument]
        if any(isinstance(x, self.kinds.Number) for x in items):
            items = [
                self.kinds.active_number(float(x), -1, 0) if isinstance(x, NUMBERS) else x
                for x in items
            ]
        return tuple(items)

    # ------------------------------------------------------------------ results
    def finish(self, results: Any) -> Any:
        """Put the recorder on the tape; the results as Tensors."""
        placed = self.placed(results)
        if not self.result_numbers:
            return as_tensors(placed)
        tape, shapes = self.tape, tuple(self.result_shapes)
        strip, instructions = self.strips.put_on_tape(
            tape, self.recorder, self.result_numbers, shapes, self.head
        )
        self.results = [
            record.finish(tape, x, slot) for slot, x in enumerate(instructions, strip + 1)
        ]
        return self.as_tensors(placed)

    def placed(self, x: Any) -> Any:
        """Number and shape of an active result."""
        if isinstance(x, self.kinds.Number):
            if x.number < 0:
                return x.value
            return self.place(x.number, ())
        if isinstance(x, np.ndarray) and x.dtype == self.kinds.ELEMENT:
            return self.place(self.first(x), x.shape)
        if isinstance(x, CONTAINERS):
            return rebuilt(x, [self.placed(y) for y in x])
        if x is None or isinstance(x, (*RESULTS, complex, str)):
            return x
        raise UnsupportedError(  # it might hold active values, which are none when the call is over
            f"tg.njit: a result of type {type(x).__name__} is not supported where an argument is a Tensor "
            "that requires grad; return numbers, arrays, tuples and lists of them"
        )

    def place(self, number: int, shape: tuple[int, ...]) -> _PendingResult:
        """Note a result that begins at a number."""
        self.result_numbers.append(number)
        self.result_shapes.append(shape)
        return _PendingResult(len(self.result_numbers) - 1)

    def as_tensors(self, x: Any) -> Any:
        """Results, those that have a place as Tensors."""
        if isinstance(x, _PendingResult):
            return self.results[x.index]
        if isinstance(x, CONTAINERS):
            return rebuilt(x, [self.as_tensors(y) for y in x])
        return as_tensors(x)

    def first(self, elements: np.ndarray) -> int:
        """The number of the first of an array's elements, which lie one behind the other."""
        numbers = ~elements["mark"].ravel()
        if numbers.size and numbers[0] >= 0 and (np.diff(numbers) == 1).all():
            return int(numbers[0])
        return self.recorder.pack(numbers, elements["value"].ravel())


class _PendingResult:
    """A result on the strip, before it is a Tensor."""

    def __init__(self, index: int) -> None:
        self.index = index


def njit(function: Any = None, **options: Any) -> Any:
    """Compile a function with numba, and record it natively when it is called with Tensors.

    Called with numbers and arrays it is the plain numba function. Called with Tensors, wherever they
    stand among the arguments, its scalar operations are recorded in native code, at some nanoseconds
    each, loops, branches and calls included. Its results are Tensors.

    Parameters
    ----------
    function : callable
        A function that `numba.njit` takes. It may call functions under `njit` or `numba.njit`.
    **options
        Options of `numba.njit`; ``cache=True`` keeps what is compiled on disk. ``error_model`` is
        ``"numpy"``, and the GIL is released.

    Returns
    -------
    Compiled
        ``.primal(...)`` is the numba function alone.

    Raises
    ------
    TypeError
        For what is not a Python function, or an unknown option.
    UnsupportedError
        When it is called, if the function uses what cannot be recorded; the text names the line.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.njit
    ... def power(x, n):
    ...     y = 1.0
    ...     for _ in range(n):
    ...         y = y * x
    ...     return y
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> power(x, 3).backward()
    >>> x.grad
    tensor(12.)
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"njit() got an unexpected keyword argument '{name}'")
    if function is None:
        return functools.partial(njit, **options)
    if isinstance(function, Compiled):
        return function
    if isinstance(function, _SIGNATURES) or type(function).__name__ == "Signature":
        raise TypeError(
            f"njit() takes no signature (got {function!r}): a function is compiled for the types that it is "
            "called with; write @tg.njit"
        )
    function = getattr(function, "py_func", function)  # of a dispatcher of numba's
    if not isinstance(function, FunctionType):
        raise TypeError(f"njit() takes a Python function, not {type(function).__name__}")
    return Compiled(function, options)


def of_numba(dispatcher: Any) -> Compiled:
    """A function under `njit` for a dispatcher of ``numba.njit``, so that it takes active values.

    Options that would change its results are kept.
    """
    compiled = getattr(dispatcher, _COMPILED, None)
    if compiled is None:
        numba_options = dispatcher.targetoptions
        options = {
            name: numba_options[name]
            for name in ("error_model", "fastmath")
            if numba_options.get(name)
        }
        compiled = Compiled(dispatcher.py_func, options, primal=dispatcher)
        setattr(dispatcher, _COMPILED, compiled)
    return compiled


def value(x: Any) -> Any:
    """The value of a number, an array or a Tensor, without derivatives.

    It works inside of functions under `njit`, too, on active scalars and arrays.

    Parameters
    ----------
    x : Tensor, float or numpy.ndarray

    Returns
    -------
    float or numpy.ndarray
        A Tensor without dimensions gives a number, other tensors a copy of their values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.value(tg.tensor([1.0, 2.0], requires_grad=True) * 2)
    array([2., 4.])
    >>> tg.value(tg.tensor(3.0))
    3.0
    """
    if isinstance(x, Tensor):
        return x.item() if not x.ndim else x.detach().numpy().copy()
    return x
