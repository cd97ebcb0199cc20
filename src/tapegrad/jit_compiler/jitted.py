"""`tapegrad.jit`: functions that are recorded once a signature, compiled, and run without Python."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..base import dtypes
from ..base.dtypes import from_numpy_dtype
from ..base.errors import OtherRecordingError, TapeError
from ..base.fast_paths import REFUSED
from ..base.locks import new_lock
from ..functions.creation.generator import Draws
from ..ops.layout import LAYOUTS
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.tape import Tape
from ..tape.user_code import call_user
from ..transforms.closed_tape import ClosedTape
from ..transforms.closing import ClosedTrace, recording
from .fast_call import FastCall
from .native_function import NativeFunction, as_array, native_function
from .reasons import Reasons
from .scripting import add_names
from .signatures import Arguments, Signature, arguments_of, both_ways, values_of
from .steady_call import SteadyCall
from .surroundings import Surroundings
from .traces import Constant, Trace
from .tracing import as_input
from .used_values import ITEM, Check

__all__ = ["Jitted", "compile", "jit"]

RANDOM = (
    "jit: the function draws random numbers, which would be the same ones in every call; draw them outside, "
    "and give them to it as arguments"
)


#: held while a trace is added
_LOCK = new_lock()


class Jitted:
    """A function that is recorded and compiled for each signature of its arguments; made by `jit`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> double = tg.jit(lambda x: 2 * x)
    >>> double(tg.ones(2))
    tensor([2., 2.])
    >>> print(double.explain())
    trace 0: the first call: (float64[2])
    """

    def __init__(
        self,
        func: Callable[..., Any],
        static_argnums: Iterable[int],
        static_argnames: Iterable[str],
    ) -> None:
        functools.update_wrapper(self, func, updated=())
        self._func = func
        self._static, self._names = both_ways(func, static_argnums, static_argnames)
        self._traces: dict[Signature, list[Trace]] = {}
        self._reasons = Reasons()
        self._steady: SteadyCall | None = None
        # A cycle, which the collector breaks: the C function calls this object.
        self._fast = FastCall(self._general)

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the function: parameters of a module, for one."""
        if name.startswith("__") or name == "_func":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._func, name)

    def __reduce__(self) -> Any:
        """Pickle the function: by its name, where that stands for this object."""
        names = getattr(self._func, "__module__", None), getattr(self._func, "__qualname__", "")
        named: Any = sys.modules.get(names[0] or "")
        for name in names[1].split("."):
            named = getattr(named, name, None)
        return names[1] if named is self else (Jitted, (self._func, self._static, self._names))

    def __copy__(self) -> Jitted:
        return self

    def __deepcopy__(self, memo: Any) -> Jitted:
        return self

    def __repr__(self) -> str:
        return f"<jit of {getattr(self._func, '__qualname__', self._func)!s}>"

    # ------------------------------------------------------------------ calls
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function."""
        return self._fast.function(*args, **kwargs)

    def _general(self, *args: Any, **kwargs: Any) -> Any:
        """Do a call with any arguments."""
        tape = current_tape()
        if tape.abstract:  # another jit, or a transform, records it
            return self._func(*args, **kwargs)
        steady = self._steady
        if steady is not None and not kwargs:
            results = steady.results(tape, args)
            if results is not None:
                return results
        given = arguments_of(tape, args, kwargs, self._static, self._names)
        trace, results = self._found(given, tape)
        self._use(trace, args, kwargs, given.signature, tape)
        return self._returned(trace, results, given.has_tensors)

    def _found(self, given: Arguments, tape: Tape) -> tuple[Trace, list[Any]]:
        """The trace that is right for arguments, and its results; the function is recorded if none is."""
        differences: list[str] = []
        for trace in tuple(self._traces.get(given.signature, ())):
            try:
                results = trace.run(given, differences)
            except Exception as error:
                if not trace.reads and not isinstance(error, OtherRecordingError):
                    raise
                # Perhaps the function goes another way: then it is recorded anew, or fails.
                differences.append(f"it raised {type(error).__name__}")
                continue
            if results is not None:
                return trace, results
        self._reasons.note(repr(self), given.signature, self._traces, differences)
        return self._record(given, tape)

    def _use(self, trace: Trace, args: Any, kwargs: Any, signature: Signature, tape: Tape) -> None:
        """Let native code do calls like this one from now on, if it can."""
        checks, tensors = trace.surroundings.checks, trace.surroundings.seen
        is_array = bool(args) and all(type(x) is np.ndarray for x in args)
        if kwargs or any(isinstance(x, Constant) for x in trace.outputs):
            return
        if is_array and (tensors or checks is None) and not trace.reads and trace.outputs:
            if trace.code is not None:
                self._steady = SteadyCall(trace, args, signature)
            return
        if checks is None or not (is_array or all(map(record.is_tensor, args))):
            return
        checks = [*checks, Check(ITEM, vars(dtypes), "_default_dtype", signature.mode[1])]
        returned = trees.unflatten(trace.out_spec, trace.outputs)
        if is_array:
            code = trace.code
            if code is not None and not tensors and (trace.is_compiled or not trace.reads):
                self._fast.use(code, trace.tape.inputs, returned, trace.reads, checks)
            return
        segment = None if trace.reads or REFUSED else trace.call.segment
        if segment is not None and len(args) + len(tensors) > 0:
            known = zip(trace.tape.inputs, trace.tape.active, strict=True)
            places = [*range(len(args)), *tensors]
            given = [
                (x, layout.id, active) for x, (layout, active) in zip(places, known, strict=False)
            ]
            others = [
                (x, record.layout_of(x).id, tape.grad_mode and record.is_active(x)) for x in tensors
            ]
            self._fast.use_statements(
                segment,
                (tape.pointer, tape.grad_mode),
                [*given, *others],
                len(args),
                returned,
                checks,
            )

    def _returned(self, trace: Trace, results: list[Any], has_tensors: bool) -> Any:
        """The function's result, put together of the tape's."""
        is_active = any(record.is_tensor(x) and record.is_active(x) for x in results)
        as_tensors = has_tensors or is_active
        leaves = []
        for output in trace.outputs:
            if isinstance(output, Constant):
                leaves.append(output.value)
                continue
            value = results[output]
            if as_tensors and not record.is_tensor(value):
                value = record.leaf_tensor(value, from_numpy_dtype(value.dtype))
            elif not as_tensors and record.is_tensor(value):
                value = value._array()  # a copy: a number may be one that all tapes have
            leaves.append(value)
        return trees.unflatten(trace.out_spec, leaves)

    # ------------------------------------------------------------------ traces
    def _record(self, given: Arguments, tape: Tape) -> tuple[Trace, list[Any]]:
        """Run the function, and keep its tape."""
        tensors = [x if record.is_tensor(x) else as_input(x) for x in given.inputs]
        trace = ClosedTrace(tape, "jit", "which jit cannot repeat", may_read=True)
        draws = Draws()
        with recording(trace):
            rest = iter(tensors)

            def make(leaf: tuple[int, bool]) -> Any:
                slot = record.operand(tape, next(rest))
                return trace.input(LAYOUTS[leaf[0]], active=leaf[1], outer=slot)

            args, kwargs = values_of(given.signature, make)
            with draws:
                output = call_user(self._func, *args, **kwargs)
            if draws.rewind():
                raise TapeError(RANDOM)
            parts, out_spec = trees.flatten(output)
            results: list[Any] = []
            outputs: list[Any] = []
            for part in parts:
                if isinstance(part, np.ndarray):
                    part = as_input(part)
                is_result = record.is_tensor(part)
                outputs.append(len(results) if is_result else Constant(part))
                results += [part] if is_result else []
            slots = [read.slot for read in trace.reads]
            captured = list(trace.captured.values())
            in_spec = trees.flatten((*tensors, *captured))[1]
            values_spec = trees.flatten([0] * (len(results) + len(slots)))[1]
            closed = trace.close(results, in_spec, values_spec, more=slots)
        new = Trace(
            closed, Surroundings(self._func, captured, closed.arrays, given.signature),
            tuple([r.value for r in trace.reads]), tuple([r.line for r in trace.reads]), tuple(outputs),
            out_spec, len(results),
        )  # fmt: skip
        results, agrees = new.first_results(
            [*given.inputs, *captured], has_tensors=given.has_tensors
        )
        if agrees:  # else it is for this call only
            with _LOCK:
                self._traces.setdefault(given.signature, []).insert(0, new)
        return new, results

    def native(self, *args: Any, **kwargs: Any) -> NativeFunction:
        """Return the function as a C function, for the signature and the values of example arguments.

        Its arguments are the tensors, arrays and floats among them, one by one; values of static ones belong
        to it. It goes all ways that were recorded so far for this signature. `NativeFunction` says how C,
        SciPy and numba call it.

        Raises
        ------
        TapeError
            If another function is being recorded that calls this one; and as a call does.

        Examples
        --------
        >>> import numpy as np
        >>> import tapegrad as tg
        >>> f = tg.jit(lambda x, n: (x**n).sum())
        >>> f.native(np.zeros(3), 2)
        <native int lambda(const double x[3], double *out)>
        """
        tape = current_tape()
        if tape.abstract:
            raise TapeError(
                "native: a function that is being recorded cannot make a native function"
            )
        args, kwargs = trees.tree_map(as_array, (args, kwargs))
        given = arguments_of(tape, args, kwargs, self._static, self._names)
        trace, _ = self._found(given, tape)
        name = getattr(self, "__name__", "")
        others = tuple(self._traces.get(given.signature, ()))
        return native_function(name, self._func, given, trace, others)

    # ------------------------------------------------------------------ looking at it
    def explain(self) -> str:
        """Return why there is each trace, a line each.

        Examples
        --------
        >>> import tapegrad as tg
        >>> f = tg.jit(lambda x: x + 1)
        >>> _ = f(tg.ones(2)), f(tg.ones(3))
        >>> print(f.explain())
        trace 0: the first call: (float64[2])
        trace 1: another shape or dtype of leaf 0 of the arguments: (float64[3])
        """
        return self._reasons.text()

    def captured(self) -> list[Any]:
        """Return the tensors of its surroundings that the function may use, in the ways that were recorded.

        Examples
        --------
        >>> import tapegrad as tg
        >>> w = tg.tensor(2.0, requires_grad=True)
        >>> f = tg.jit(lambda x: w * x)
        >>> _ = f(tg.ones(2))
        >>> f.captured()
        [tensor(2., requires_grad=True)]
        """
        every = [x.surroundings.visible() for traces in self._traces.values() for x in traces]
        return list({id(tensor): tensor for tensors in every for tensor in tensors}.values())

    def seen(self) -> list[Any]:
        """Return the tensors of its surroundings that native code knows, some of them perhaps replaced."""
        return [
            tensor
            for traces in self._traces.values() for x in traces for tensor in x.surroundings.seen
        ]  # fmt: skip

    def tapes(self) -> list[ClosedTape]:
        """Return the closed tapes that were recorded so far.

        Examples
        --------
        >>> import tapegrad as tg
        >>> f = tg.jit(lambda x: x + 1)
        >>> _ = f(tg.ones(2))
        >>> [len(tape) for tape in f.tapes()]
        [1]
        """
        return [trace.tape for traces in self._traces.values() for trace in reversed(traces)]


def jit(
    func: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:  # fmt: skip
    """Return a function that does what `func` does, recorded once a signature and compiled.

    A signature is the structure of the arguments, the dtypes and shapes of tensors, arrays and floats, and
    the values of all else (ints, texts, None). Tensors that the function uses from around it are looked up
    anew in each call, other values there are compared. A value that it reads (``if x.sum() > 0``) is compared
    as well; where it is another one, the function is recorded again, so no result is that of another way.
    docs/jit.md has the details, and errors with what to do.

    Parameters
    ----------
    func : callable
        Takes and returns tensors, arrays and numbers, nested as it likes. Without it, `jit` returns a
        decorator.
    static_argnums, static_argnames : int, str, or sequences of them
        Arguments whose values belong to the signature; they need a hash.

    Returns
    -------
    Jitted
        Arrays in, arrays out; Tensors in, Tensors out. `Jitted.explain` says why there was each recording,
        `Jitted.tapes` returns the tapes.

    Raises
    ------
    TypeError
        If `func` is no function; in a call, for a static argument that is a tensor or has no hash.
    TapeError
        In a call: if the function writes into its arguments or its surroundings, draws random numbers, or
        does something else that cannot be repeated.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> step = tg.jit(tg.value_and_grad(lambda x: (x * x).sum()))
    >>> step(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))

    >>> @tg.jit
    ... def halved(x):
    ...     while x.sum() > 1:
    ...         x = x / 2
    ...     return x
    >>> halved(np.array([1.0, 2.0])), halved(np.array([4.0, 3.0]))
    (array([0.25, 0.5 ]), array([0.5  , 0.375]))
    >>> len(halved.tapes())
    2
    """
    if func is None:
        return functools.partial(
            jit, static_argnums=static_argnums, static_argnames=static_argnames
        )
    if not callable(func):
        raise TypeError(f"jit: expected a function, got {type(func).__name__}")
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    return Jitted(func, numbers, names)


add_names(jit)


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = None, mode: str | None = None, options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:  # fmt: skip
    """Return a function that is recorded once and compiled: `jit`, with PyTorch's name and arguments.

    Parameters
    ----------
    model : callable
    fullgraph, dynamic, backend, mode, options
        For other compilers; they change nothing here.
    disable : bool
        Whether `model` is returned as it is.

    Returns
    -------
    Jitted

    Examples
    --------
    >>> import tapegrad as tg
    >>> double = tg.compile(lambda x: 2 * x)
    >>> double(tg.ones(2))
    tensor([2., 2.])
    """
    if model is None:
        return functools.partial(compile, disable=disable)
    return model if disable else jit(model)
