"""Compiled functions as native ones: for ctypes, SciPy, and functions under ``numba.njit``."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.errors import TapeError
from ..base.importing import imported
from ..native.machine_code import keep_for_ever
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.failures import Failed
from .c_function import CFunction
from .compiled_tape import CompiledTape, memory_of
from .low_level_callable import low_level_callable
from .native_code import OTHER_WAY, STATEMENT_FAILED, WITHOUT_MEMORY, Value
from .signatures import Arguments, Signature, Static
from .traces import Constant, Trace, agree

#: ways that a native function goes at most: each takes some of the stack, as long as none is the right one
MOST = 16

__all__ = ["NativeFunction", "as_array", "native_function"]


class NativeFunction(CFunction):
    """A compiled function as a C function that needs neither Python nor the GIL; made by `jit(f).native`.

    The C function takes numbers by value and arrays by the address of their first element: contiguous, of
    the shapes that `signature` says, and not checked. Behind them it takes addresses for the results,
    which must not overlap arguments. It returns a status: 0; 1 where a value that the function reads
    (``if x > 0``) is another one than in all recordings that there were; 2 where a statement failed (an
    index out of bounds); 3 without memory. The results are there only if it is 0. Any number of threads
    may call it.

    In Python, and in functions under ``numba.njit``, the object itself is called with the arguments: dtypes
    and shapes are checked, results are new arrays, or numbers where they have no dimensions, in tuples; and
    it raises where the status is not 0.

    What the function used from around it is as it was when this object was made; tensors and arrays are
    copied. The C function lives as long as the object, which those of `ctypes` and `low_level_callable`
    keep, and functions that numba compiled keep for ever.

    Attributes
    ----------
    address : int
        Of the C function.
    signature : str
        Its declaration.
    argtypes : tuple
        Types of its operands, as ctypes has them.
    ctypes : object
        A function of ctypes.
    names : tuple of str
        Of the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> def loss(x):
    ...     return (x * x).sum()
    >>> step = tg.jit(tg.value_and_grad(loss)).native(np.zeros(2))
    >>> step.signature
    'int loss(const double x[2], double *out0, double out1[2])'
    >>> step(np.array([1.0, 2.0]))
    (5.0, array([2., 4.]))

    >>> import numba
    >>> @numba.njit
    ... def descended(x, steps):
    ...     for _ in range(steps):
    ...         value, gradient = step(x)
    ...         x = x - 0.25 * gradient
    ...     return x
    >>> descended(np.array([1.0, 2.0]), 3)
    array([0.125, 0.25 ])
    """

    def __init__(
        self, code: CompiledTape, name: str, names: Sequence[str], returned: Any,
        bound: Sequence[np.ndarray] = (), reads: Sequence[np.ndarray] = (),
        other: CFunction | None = None,
    ) -> None:  # fmt: skip
        """Make the C function of a compiled tape; `returned` are numbers of results and `Constant`s."""
        super().__init__(code, name, names, bound, reads, other)
        self.returned = returned

    def __repr__(self) -> str:
        return f"<native {self.signature}>"

    def __reduce__(self) -> Any:
        code, name, names, *rest = self._parts
        return NativeFunction, (code, name, names, self.returned, *rest)

    def __call__(self, *args: Any) -> Any:
        """Run the C function on numbers and arrays.

        Raises
        ------
        TypeError, ValueError
            If arguments are not of the dtypes and shapes of the C function's.
        RuntimeError, IndexError, MemoryError
            If the C function returns a status.
        """
        if len(args) != len(self.names):
            raise TypeError(f"{self.name}: takes {len(self.names)} arguments, not {len(args)}")
        given = [
            self._checked(*item) for item in zip(self.plan.arguments, self.names, args, strict=True)
        ]
        results = [np.empty(x.shape, x.kind.np) for x in self.plan.results]
        values = [
            x.ctypes.data_as(kind) if issubclass(kind, ctypes._Pointer) else x.item()
            for x, kind in zip([*given, *results], self.argtypes, strict=True)
        ]
        status = self.ctypes(*values)
        if status:
            raise self.reasons[status].error()
        return _put_together(self.returned, results)

    def _checked(self, expected: Value, name: str, value: Any) -> np.ndarray:
        """An argument as a contiguous array."""
        array = np.asarray(value)
        is_number = type(value) in (bool, int, float)
        fits = np.can_cast(array.dtype, expected.kind.np, "same_kind" if is_number else "no")
        if not fits or array.shape != expected.shape:
            raise (ValueError if fits else TypeError)(
                f"{self.name}: `{name}` is {_shown(expected.kind.np, expected.shape)}, not "
                f"{_shown(array.dtype, array.shape)}"
            )
        return np.require(array, expected.kind.np, ["C", "A"])

    @property
    def reasons(self) -> dict[int, Failed]:
        """Errors for each status but 0."""
        failures = dict.fromkeys(self.failures)
        kinds = {x.kind for x in failures}
        return {
            OTHER_WAY: Failed(
                RuntimeError,
                f"{self.name}: a value that the function reads is not what it was in any recording; call the "
                "function with such arguments before the native one is made",
            ),
            STATEMENT_FAILED: Failed(
                kinds.pop() if len(kinds) == 1 else RuntimeError,
                f"{self.name}: {'; or '.join(x.text for x in failures) or 'a statement failed'}",
            ),
            WITHOUT_MEMORY: Failed(MemoryError, f"{self.name}: no memory for temporaries"),
        }

    @property
    def _numba_type_(self) -> Any:
        """The type that numba asks for where it compiles a function that uses this object."""
        keep_for_ever(self)  # nothing says when that function goes
        return imported("tapegrad.njit_compiler.native_calls").type_of(self)

    def low_level_callable(self, user_data: np.ndarray | None = None, use: str = "quad") -> Any:
        """Return a `scipy.LowLevelCallable`, by which SciPy calls the C function without Python.

        Parameters
        ----------
        user_data : ndarray, optional
            The last argument, which is the same in all calls: its memory is read at each one.
        use : str
            ``"quad"`` for `scipy.integrate.quad`, `dblquad`, `tplquad` and `nquad`; ``"generic_filter"``,
            ``"generic_filter1d"`` or ``"geometric_transform"`` for the functions of `scipy.ndimage`.

            SciPy gives numbers, which are the other arguments, one behind the other: for ``quad`` the
            variables of integration and ``args``, float64 all, or one array of them. The result is a float64;
            an array of float64 for ``generic_filter1d`` and ``geometric_transform``, which takes an array of
            int64.

        Returns
        -------
        scipy.LowLevelCallable
            Where the C function returns a status but 0, or SciPy gives another number of numbers, integrals
            become NaN, and functions of `scipy.ndimage` raise.

        Raises
        ------
        UnsupportedError
            Without SciPy.
        TypeError, ValueError
            If the arguments or results are not as said above, or `user_data` is no such array.

        Examples
        --------
        >>> import numpy as np
        >>> import tapegrad as tg
        >>> from scipy.integrate import quad
        >>> wave = tg.jit(lambda x, w: tg.exp(-x * w[0]) * tg.sin(x * w[1])).native(0.0, np.zeros(2))
        >>> value, error = quad(wave.low_level_callable(np.array([1.0, 2.0])), 0, np.inf)
        >>> round(value, 12)
        0.4
        """
        return low_level_callable(self, user_data, use)


def _put_together(tree: Any, results: Sequence[np.ndarray]) -> Any:
    """Put results together: arrays, and numbers, in tuples."""
    if isinstance(tree, Constant):
        return tree.value
    if isinstance(tree, tuple):
        return tuple([_put_together(part, results) for part in tree])
    result = results[tree]
    return result if result.shape else result.item()


def _shown(kind: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{kind} of shape {list(shape)}" if shape else str(kind)


# --------------------------------------------------------------------------- of functions under jit
def native_function(
    name: str, function: Callable[..., Any], given: Arguments, trace: Trace, others: Sequence[Trace]
) -> NativeFunction:
    """Make the native function of a trace that is right for arguments, and of other ways that it may go.

    Parameters
    ----------
    name : str
    function : callable
    given : Arguments
    trace : Trace
    others : sequence of Trace
        Of the same signature, the newest first.
    """
    for call in (x for x in trace.tape.segment.instructions if x.op.has_code):
        raise TapeError(f"native: the function has a {call.attrs['routine']!r}, which needs Python")
    code = trace.promise.compiled or CompiledTape(trace.tape)
    bound = [memory_of(x.detach()) for x in trace.surroundings.tensors() or ()]
    reads = code.run([*given.inputs, *bound])[trace.results :]
    if not all(map(agree, reads, trace.reads)):
        raise TapeError("native: compiled code does not compute the values that the function read")
    names = _parameter_names(function, given.signature)
    returned, other = _returned_tree(trace.out_spec, trace.outputs), None
    for way in reversed(others[:MOST]):
        captured, way_code = way.surroundings.tensors(), way.promise.compiled
        if way is trace or captured is None or way_code is None:
            continue
        is_known = way.is_compiled or not any(x.dtype.kind == "f" for x in way.reads)
        results = [x.tape.outputs[: x.results] for x in (way, trace)]
        if is_known and results[0] == results[1] and (
            _key(_returned_tree(way.out_spec, way.outputs)) == _key(returned)
        ):  # fmt: skip
            values = [memory_of(x.detach()) for x in captured]
            other = CFunction(way_code, name, names, values, way.reads, other)
    return NativeFunction(code, name, names, returned, bound, reads, other)


def _key(tree: Any) -> Any:
    """A tree that can be compared."""
    if isinstance(tree, tuple):
        return tuple(map(_key, tree))
    return (type(tree.value), repr(tree.value)) if isinstance(tree, Constant) else tree


def as_array(value: Any) -> Any:
    """A tensor's value; anything else as it is."""
    return value.detach().numpy() if record.is_tensor(value) else value


def _returned_tree(spec: Any, leaves: Sequence[Any]) -> Any:
    """Numbers of results, and `Constant`s, in tuples for whatever containers the function returns."""

    def tuples(tree: Any) -> Any:
        if isinstance(tree, int | Constant):
            return tree
        parts = tree.values() if isinstance(tree, dict) else tree
        if not isinstance(tree, tuple | list | dict):
            parts = trees.leaves(tree)
        return tuple(map(tuples, parts))

    return tuples(trees.unflatten(spec, leaves))


def _parameter_names(function: Callable[..., Any], signature: Signature) -> list[str]:
    """Names of the leaves of a signature that are inputs: those of parameters, and where in them they are."""
    names: dict[int, str] = {}

    def name(tree: Any, path: str) -> None:
        if isinstance(tree, int):
            names[tree] = path
        elif isinstance(tree, dict):
            for key, part in tree.items():
                name(part, f"{path}_{key}")
        else:
            fields = getattr(tree, "_fields", None)
            parts = tree if isinstance(tree, tuple | list) else trees.leaves(tree)
            for i, part in enumerate(parts):
                name(part, f"{path}_{fields[i] if fields else i}")

    args, kwargs = trees.unflatten(signature.spec, range(len(signature.leaves)))
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    for i, tree in enumerate(args):
        is_named = (
            i < len(parameters) and parameters[i].kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        name(tree, parameters[i].name if is_named else f"x{i}")
    for key, tree in kwargs.items():
        name(tree, key)
    return [names[i] for i, leaf in enumerate(signature.leaves) if not isinstance(leaf, Static)]
