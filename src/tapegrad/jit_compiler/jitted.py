"""`tapegrad.jit`: functions that are recorded once for each signature, compiled, and run again without Python."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import float32, float64, from_numpy_dtype, get_default_dtype
from ..base.errors import TapeError
from ..base.locks import new_lock
from ..functions.creation.generator import Draws
from ..ops.layout import Layout, contiguous
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.user_code import call_user
from ..transforms.closed_tape import ClosedTape
from ..transforms.closing import ClosedTrace, recording
from .compiled_tape import CompiledTape
from .fast_call import FastCall
from .surroundings import Surroundings
from .tracing import as_input

__all__ = ["Jitted", "compile", "jit"]

#: traces of one signature after which a warning names what differed
MANY = 8
REMEDY = "which jit cannot repeat"
RANDOM = (
    "jit: the function draws random numbers, which would be the same ones in every call; draw them outside, and give "
    "them to it as arguments"
)


class _Static(NamedTuple):
    """A leaf of the arguments whose value belongs to the signature."""

    kind: type
    value: Any


class Signature(NamedTuple):
    """What a trace was made for.

    Attributes
    ----------
    spec : Spec
        The structure of the arguments.
    leaves : tuple
        For each leaf (layout, whether it requires grad), or a `_Static`.
    mode : tuple
        Grad mode, default dtype.
    """

    spec: Any
    leaves: tuple[Any, ...]
    mode: tuple[Any, ...]


class _Trace(NamedTuple):
    """A tape for a signature, and what must hold for it to be the right one.

    Attributes
    ----------
    tape : ClosedTape
        Its results are the function's, and behind them the values that the function read.
    surroundings : Surroundings
    reads : tuple of bytes
        What those values were.
    outputs : tuple
        For each leaf of what the function returned the number of a result, or a constant.
    out_spec : Spec
    compiled : CompiledTape
    """

    tape: ClosedTape
    surroundings: Surroundings
    reads: tuple[np.ndarray, ...]
    outputs: tuple[Any, ...]
    out_spec: Any
    compiled: CompiledTape
    count: int


class _Constant(NamedTuple):
    """A part of what a function returned that is no tensor."""

    value: Any


class Jitted:
    """A function that is recorded and compiled for each signature of its arguments; made by `jit`."""

    def __init__(
        self,
        func: Callable[..., Any],
        static_argnums: Iterable[int],
        static_argnames: Iterable[str],
    ) -> None:
        functools.update_wrapper(self, func)
        self._func = func
        self._static, self._names = frozenset(static_argnums), frozenset(static_argnames)
        self._traces: dict[Signature, list[_Trace]] = {}
        self._reasons: list[str] = []
        self._lock = new_lock()
        # A cycle, which the collector breaks: the C function calls this object.
        self._fast = FastCall(self._general)

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else functools.partial(self, instance)

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
        leaves, signature, has_tensors = self._signature(tape, args, kwargs)
        traces = self._traces.get(signature)
        for trace in tuple(traces or ()):
            results = self._run(trace, leaves, tape)
            if results is not None:
                self._use(trace, args, kwargs, signature)
                return self._returned(trace, results, has_tensors)
        trace, results = self._record(signature, leaves, tape, args, kwargs)
        self._use(trace, args, kwargs, signature)
        return self._returned(trace, results, has_tensors)

    def _signature(
        self, tape: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], Signature, bool]:
        """The leaves that are inputs, as contiguous tensors or arrays; the signature; if there are Tensors."""
        static = self._static
        if static or self._names:
            static = {n % len(args) if args else n for n in static}
            args = tuple([_Static(type(x), x) if i in static else x for i, x in enumerate(args)])
            kwargs = {k: _Static(type(x), x) if k in self._names else x for k, x in kwargs.items()}
        values, spec = (
            trees.flatten((args, kwargs), is_leaf=_is_static)
            if static or self._names
            else trees.flatten((args, kwargs))
        )
        grad_mode, default = tape.grad_mode, get_default_dtype()
        floats = default is float64
        key: list[Any] = []
        inputs: list[Any] = []
        has_tensors = False
        for x in values:
            if record.is_tensor(x):
                has_tensors = True
                layout = record.layout_of(x)
                if not layout.is_contiguous:
                    x = x.contiguous()
                    layout = record.layout_of(x)
                key.append((layout.id, grad_mode and record.is_active(x)))
                floats = floats and layout.dtype is not float32
            elif isinstance(x, np.ndarray | np.generic):
                x = np.asarray(x)
                if not x.flags.c_contiguous:
                    x = np.ascontiguousarray(x)
                kind = from_numpy_dtype(x.dtype)
                floats = floats and kind is not float32
                key.append((contiguous(kind, x.shape).id, False))
            else:
                key.append(x)
                continue
            inputs.append(x)
        if floats:
            places = iter(inputs)
            inputs = []
            for i, x in enumerate(values):
                if type(x) is float:
                    key[i] = (_FLOAT.id, False)
                    inputs.append(np.array(x))
                elif type(key[i]) is tuple:
                    inputs.append(next(places))
        for i, x in enumerate(key):
            if type(x) is not tuple:
                key[i] = x if isinstance(x, _Static) else _Static(type(x), _keyed(x))
        return inputs, Signature(spec, tuple(key), (grad_mode, default)), has_tensors

    def _run(self, trace: _Trace, leaves: list[Any], tape: Any) -> list[Any] | None:
        """Results of a trace for inputs; None if it is not the right one."""
        captured = trace.surroundings.tensors()
        if captured is None:
            return None
        given = [*leaves, *captured]
        if True in trace.tape.active:
            tensors = [x if record.is_tensor(x) else as_input(x) for x in given]
            results = trace.tape.run(tensors)
            reads = [x.detach().numpy() for x in results[trace.count :]]
        else:
            arrays = [x._array() if record.is_tensor(x) else x for x in given]
            results = trace.compiled(arrays)
            reads = results[trace.count :]
        for read, known in zip(reads, trace.reads, strict=True):
            if read.tobytes() != known.tobytes():
                return None
        return results[: trace.count]

    def _use(self, trace: _Trace, args: Any, kwargs: Any, signature: Signature) -> None:
        """Let native code do calls like this one from now on, if it can."""
        places = trace.surroundings.checks
        if (
            kwargs
            or places is None
            or not all(type(x) is np.ndarray for x in args)
            or True in trace.tape.active
        ):
            return
        if any(isinstance(x, _Constant) for x in trace.outputs) or signature.mode[1] is not float64:
            return
        returned = trees.unflatten(trace.out_spec, trace.outputs)
        self._fast.use(trace.compiled, trace.tape.inputs, returned, trace.reads, places)

    def _returned(self, trace: _Trace, results: list[Any], has_tensors: bool) -> Any:
        """What the function returns, of results."""
        as_tensors = has_tensors or not trace.tape.inputs
        leaves = []
        for output in trace.outputs:
            if isinstance(output, _Constant):
                leaves.append(output.value)
                continue
            value = results[output]
            if as_tensors and not record.is_tensor(value):
                value = record.leaf_tensor(value, from_numpy_dtype(value.dtype))
            elif not as_tensors and record.is_tensor(value):
                value = value.detach().numpy()
            leaves.append(value)
        return trees.unflatten(trace.out_spec, leaves)

    # ------------------------------------------------------------------ traces
    def _record(
        self, signature: Signature, leaves: list[Any], tape: Any, args: Any, kwargs: Any
    ) -> tuple[_Trace, list[Any]]:
        """Run the function, and keep its tape."""
        self._note(signature)
        tensors = [x if record.is_tensor(x) else as_input(x) for x in leaves]
        trace = ClosedTrace(tape, "jit", REMEDY, may_read=True)
        draws = Draws()
        with recording(trace):
            given = iter(tensors)
            values = []
            for leaf in signature.leaves:
                if isinstance(leaf, _Static):
                    values.append(
                        leaf.value.value if isinstance(leaf.value, _Keyed) else leaf.value
                    )
                    continue
                x = next(given)
                layout = record.layout_of(x)
                values.append(trace.input(layout, active=leaf[1], outer=record.operand(tape, x)))
            args, kwargs = trees.unflatten(signature.spec, values)
            with draws:
                output = call_user(self._func, *args, **kwargs)
            if draws.rewind():
                raise TapeError(RANDOM)
            parts, out_spec = trees.flatten(output)
            results, outputs = [], []
            for part in parts:
                if isinstance(part, np.ndarray):
                    part = as_input(part)
                if record.is_tensor(part):
                    outputs.append(len(results))
                    results.append(part)
                else:
                    outputs.append(_Constant(part))
            slots = [read.slot for read in trace.reads]
            captured = list(trace.captured.values())
            in_spec = trees.flatten((*tensors, *captured))[1]
            closed = trace.close(
                results, in_spec, trees.flatten([0] * (len(results) + len(slots)))[1], slots
            )
        made = _Trace(
            closed, Surroundings(self._func, captured), tuple([r.value for r in trace.reads]),
            tuple(outputs), out_spec, CompiledTape(closed), len(results),
        )  # fmt: skip
        with self._lock:
            self._traces.setdefault(signature, []).insert(0, made)
        computed = self._run(made, leaves, tape)
        if computed is None:
            raise TapeError("jit: the function changes what it uses while it runs")
        return made, computed

    def _note(self, signature: Signature) -> None:
        """Note why there is a new trace; warn if there are many."""
        known = self._traces.get(signature)
        if known:
            reason = (
                "a value that the function read is another one, or something around it has changed"
            )
            if len(known) % MANY == 0:
                warnings.warn(
                    f"jit: {self._func!r} was recorded {len(known)} times for one signature, since {reason}",
                    UserWarning, stacklevel=4,
                )  # fmt: skip
        elif not self._traces:
            reason = "the first call"
        else:
            reason = _difference(signature, next(reversed(self._traces)))
        self._reasons.append(f"{reason}: {_shown(signature)}")

    # ------------------------------------------------------------------ looking at it
    def explain(self) -> str:
        """Return why there is each trace, a line each."""
        return (
            "\n".join(f"trace {i}: {reason}" for i, reason in enumerate(self._reasons))
            or "no trace yet"
        )

    def tapes(self) -> list[ClosedTape]:
        """Return the closed tapes that were recorded so far."""
        return [trace.tape for traces in self._traces.values() for trace in reversed(traces)]


_FLOAT = contiguous(float64, ())


def _is_static(x: Any) -> bool:
    return isinstance(x, _Static)


class _Keyed(NamedTuple):
    """A value that has no hash, by its identity."""

    number: int
    value: Any


def _keyed(value: Any) -> Any:
    """The value of a static leaf as part of a key: numbers by their bits."""
    if isinstance(value, float):
        return value if value == value and value != 0 else _Keyed(hash(str(value)), value)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"jit: an argument of type {type(value).__name__} is neither a tensor nor an array, and cannot be part "
            "of the signature as it has no hash"
        ) from None
    return value


def _difference(new: Signature, old: Signature) -> str:
    """What is different in a signature."""
    if new.spec != old.spec:
        return "another structure of arguments"
    for i, (a, b) in enumerate(zip(new.leaves, old.leaves, strict=True)):
        if a != b:
            if isinstance(a, _Static) or isinstance(b, _Static):
                return f"another value of argument leaf {i}"
            if a[0] != b[0]:
                return f"another shape or dtype of argument leaf {i}"
            return f"argument leaf {i} requires grad, or no more"
    return "another grad mode or default dtype"


def _shown(signature: Signature) -> str:
    from ..ops.layout import LAYOUTS

    def one(leaf: Any) -> str:
        if isinstance(leaf, _Static):
            return repr(leaf.value.value if isinstance(leaf.value, _Keyed) else leaf.value)
        layout: Layout = LAYOUTS[leaf[0]]
        return f"{layout.dtype.name}{list(layout.shape)}" + (" requires grad" if leaf[1] else "")

    return "(" + ", ".join(map(one, signature.leaves)) + ")"


def jit(
    func: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:  # fmt: skip
    """Return a function that does what `func` does, recorded once and compiled.

    Parameters
    ----------
    func : callable
        Takes and returns tensors, arrays and numbers, nested as it likes.
    static_argnums, static_argnames : int, str, or sequences of them
        Arguments whose values belong to the signature.

    Returns
    -------
    Jitted
        Arrays in, arrays out; Tensors in, Tensors out.

    Raises
    ------
    TapeError
        When it is called: if the function writes into its arguments or surroundings, or draws random numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> step = tg.jit(tg.value_and_grad(lambda x: (x * x).sum()))
    >>> step(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    """
    if func is None:
        return functools.partial(
            jit, static_argnums=static_argnums, static_argnames=static_argnames
        )
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    return Jitted(func, numbers, names)


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
