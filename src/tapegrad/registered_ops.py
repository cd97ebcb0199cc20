"""Ops of users: `register_op` adds a ufunc of others to the op table.

What has an inner loop as NumPy's ufuncs have (struct ``PyUFuncObject``) is an op as good as those of the
package: its loop is called by address, and its rule is a function of Tensors, from which all else about its
derivative is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.gradcheck import gradcheck
from .base.dtypes import FLOATING, bool_, category, dtype, float32, float64, get_default_dtype
from .base.errors import UnsupportedError
from .base.importing import imported
from .base.locks import TABLE_LOCK
from .functions.operands import no_kernel
from .functions.registry import FUNCTIONS
from .numpy.operands import as_operand, as_tensor
from .numpy.ufuncs import UFUNCS, function_of_ufunc
from .ops.instruction import instruction, remember
from .ops.missing_derivative import missing
from .ops.registered import MOST_OPERANDS, core_of, registered_op, result_kinds
from .ops.table import TABLE, Op
from .tape import recording as record
from .tensors import operators

__all__ = ["register_op"]

#: ops of users by name: what each was made of
_REGISTERED: dict[str, Any] = {}
#: functions of such ops, of all that there were
_CALLS: set[Callable[..., Any]] = set()


def register_op(
    function: Any = None,
    vjp: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    domain: tuple[float, float] | None = None,
) -> Callable[..., Any]:
    """Make a ufunc, or a kernel that numba compiles, an op.

    The op runs natively in forward and reverse sweeps, and works under all transforms: gradients of any
    order, forward mode, `vmap`, `jit`, saved tapes. NumPy's protocol finds it, too: ``function(x)`` of a
    Tensor records. Without `function` it returns a decorator.

    Parameters
    ----------
    function : numpy.ufunc, or function of numba's
        A ufunc of NumPy, ``scipy.special`` or any other library; a function of ``numba.vectorize`` or
        ``numba.guvectorize``; a scalar function of ``numba.njit`` or ``numba.cfunc``, which takes numbers and
        returns one. It has loops for float64 or float32, at most seven operands, and one result.
    vjp : callable, optional
        The derivative, ``vjp(ct, *operands, out)``: from Tensors, the cotangent of the result, the operands
        and the result, it computes the cotangents of the operands, a tuple if they are several. It is called
        once for each combination of shapes and dtypes, so it may not look at values. Sums over broadcast
        dimensions are left out. None stands for a derivative that nobody has: asking for it raises
        `UnsupportedError`. Without `vjp` none has one.
    name : str, optional
        Of the op; by default the function's.
    domain : tuple of float, optional
        Numbers between which the op is smooth: the rule is then compared with differences at some of them,
        and one that is wrong is refused.

    Returns
    -------
    callable
        The function of Tensors, arrays and numbers that records the op.

    Raises
    ------
    TypeError
        For a function without such loops, and a `vjp` that takes another number of arguments.
    ValueError
        For a name that is taken, loops that run Python code or may raise errors, and a rule that is wrong.

    Examples
    --------
    >>> import numba
    >>> import tapegrad as tg
    >>> @numba.vectorize
    ... def cubed_below_one(x):
    ...     return x**3 if x < 1.0 else 3.0 * x - 2.0
    >>> f = tg.register_op(cubed_below_one, lambda ct, x, out: ct * (3 * x.clamp(max=1) ** 2))
    >>> x = tg.tensor([0.5, 2.0], requires_grad=True)
    >>> f(x).sum().backward()
    >>> x.grad
    tensor([0.7500, 3.0000])
    """
    if function is None:
        return lambda kernel: register_op(kernel, vjp, name=name, domain=domain)
    ufunc = _ufunc_of(function)
    known = function_of_ufunc(ufunc)
    if known is not None and known not in _CALLS:
        raise ValueError(f"register_op(): {ufunc.__name__} is an op of tapegrad's already")
    label = _name_of(function, ufunc, name)
    kinds = _kinds_of(ufunc, label)
    if vjp is not None:
        _check_signature(vjp, ufunc.nin, label)
    rule = _rule(label, ufunc, vjp)
    if domain is not None and (float64 not in kinds or bool_ in kinds.values()):
        raise ValueError(f"register_op(): domain= of {label} needs a loop from float64 to float64")
    call = _registered(label, ufunc, kinds, rule, domain)
    _REGISTERED[label] = function
    _CALLS.add(call)
    for key in (function, ufunc):
        if isinstance(key, np.ufunc) or hasattr(key, "ufunc"):
            UFUNCS[key] = call
    return call


# --------------------------------------------------------------------------- what is registered
def _ufunc_of(function: Any) -> np.ufunc:
    """Return the ufunc of a function.

    Raises
    ------
    TypeError
        If it has none.
    """
    if isinstance(function, np.ufunc):
        return function
    if type(function).__module__.partition(".")[0] == "numba":
        ufunc: np.ufunc = imported("tapegrad.njit_compiler.kernel_ufuncs").ufunc_of_numba(function)
        return ufunc
    kind = type(function).__name__
    advice = "autograd.Function wraps Python code"
    if inspect.isfunction(function):
        advice = (
            "decorate it with numba.njit or numba.vectorize, or wrap it in an autograd.Function"
        )
    raise TypeError(
        f"register_op(): argument 'function' must be a ufunc or a kernel that numba compiles, not {kind}; "
        f"{advice}"
    )


def _name_of(function: Any, ufunc: np.ufunc, name: str | None) -> str:
    label = name or getattr(function, "__name__", ufunc.__name__)
    if not isinstance(label, str) or not label.isidentifier():
        raise ValueError(f"register_op(): {label!r} cannot be a name; give another one with name=")
    known = _REGISTERED.get(label)
    # A cell of a notebook that runs again, or a module that is loaded again.
    again = known is not None and _origin(known) == _origin(function)
    if label in TABLE and not again:
        raise ValueError(
            f"register_op(): there is an op {label!r} already; give another name with name="
        )
    return label


def _origin(function: Any) -> Any:
    """Return module and name of a function; its identity if it has none."""
    module, label = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return (
        (module, label) if module and label and not isinstance(function, np.ufunc) else id(function)
    )


def _kinds_of(ufunc: np.ufunc, label: str) -> dict[dtype, dtype]:
    """Dtypes of results by those of operands."""
    if ufunc.nout != 1:
        raise TypeError(f"register_op(): {label} has {ufunc.nout} results, and an op has one")
    if ufunc.nin > MOST_OPERANDS or not ufunc.nin:
        raise TypeError(
            f"register_op(): {label} has {ufunc.nin} operands, and an op has 1 to {MOST_OPERANDS}; stack some"
        )
    kinds = result_kinds(ufunc)
    if not kinds:
        loops = ", ".join(ufunc.types) or "none"
        advice = "compile it for float64"
        if all("O" in each for each in ufunc.types):
            advice = "loops of objects run Python code, which autograd.Function wraps"
        raise TypeError(
            f"register_op(): {label} has no loop from float64 to float64, or float32 to float32 (its loops: "
            f"{loops}); {advice}"
        )
    if ufunc.signature is not None:
        core_of(ufunc.signature)
        if bool_ in kinds.values():
            raise TypeError(f"register_op(): {label} has truth values as results")
    return kinds


# --------------------------------------------------------------------------- the rule
def _check_signature(vjp: Callable[..., Any], count: int, label: str) -> None:
    """Raise TypeError for a rule that does not take a cotangent, the operands and the result."""
    if not callable(vjp):
        raise TypeError(f"register_op(): argument 'vjp' must be callable, not {type(vjp).__name__}")
    try:
        shown = inspect.signature(vjp)
    except (TypeError, ValueError):  # a builtin that does not say
        return
    try:
        shown.bind(*range(count + 2))
    except TypeError as error:
        names = ", ".join(
            ["ct", *(f"x{i}" for i in range(count)), "out"] if count > 1 else ["ct", "x", "out"]
        )
        raise TypeError(
            f"register_op(): vjp of {label} must take ({names}): the cotangent, {count} operand"
            f"{'s' * (count > 1)} and the result; it takes {shown}"
        ) from error


def _rule(label: str, ufunc: np.ufunc, vjp: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the row's rule: that of the user, with its results checked, and errors where it has none."""
    count = ufunc.nin
    core = None if ufunc.signature is None else core_of(ufunc.signature).operands

    def rule(ct: Any, *values: Any) -> Any:
        operands = values[:-1]
        if vjp is None:
            cotangents: tuple[Any, ...] = (None,) * count
        else:
            returned = vjp(ct, *values)
            cotangents = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
        if len(cotangents) != count:
            raise TypeError(
                f"{label}: its vjp returned {len(cotangents)} cotangents, and it has {count} operands"
            )
        checked = []
        for i, (c, x) in enumerate(zip(cotangents, operands, strict=True)):
            if c is None:
                which = f"operand {i}" if count > 1 else "its operand"
                advice = "" if vjp is not None else "register it with vjp="
                c = missing(ct, x, label, which, advice)
            elif not record.is_tensor(c):
                raise TypeError(
                    f"{label}: its vjp returned {type(c).__name__} for operand {i}, and not a Tensor"
                )
            _check_cotangent(label, i, c, x, values[-1], core)
            checked.append(c)
        return tuple(checked)

    return rule


def _check_cotangent(
    label: str, number: int, c: Any, x: Any, out: Any, core: Sequence[Sequence[int]] | None
) -> None:
    """Raise for a cotangent that is not one of its operand, broadcast."""
    if c.dtype is not x.dtype:
        raise TypeError(
            f"{label}: its vjp returned {c.dtype} for operand {number}, which is {x.dtype}"
        )
    shape, inner, lead = tuple(c.shape), tuple(x.shape), tuple(out.shape)
    if core is not None:
        n = len(core[number])
        lead = lead[: len(lead) - len(core[-1])]
        fits = len(shape) >= n and shape[len(shape) - n :] == inner[len(inner) - n :]
        shape = shape[: len(shape) - n]
    else:
        fits = True
    fits = fits and len(shape) <= len(lead)
    fits = fits and all(a in (1, b) for a, b in zip(shape[::-1], lead[::-1], strict=False))
    if not fits:
        raise RuntimeError(
            f"{label}: its vjp returned shape {list(c.shape)} for operand {number} of shape {list(x.shape)}, "
            f"where the result has shape {list(out.shape)}"
        )


def _check_rule(call: Any, entry: Op, domain: tuple[float, float]) -> None:
    """Raise ValueError for a rule that differences do not agree with."""
    low, high = domain
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(5,)] * entry.arity
    if entry.core:
        shapes = [tuple([3 + d for d in dims]) for dims in entry.core[:-1]]
    arrays = [rng.uniform(low, high, shape) for shape in shapes]
    for active in range(entry.arity):
        operands = [FUNCTIONS["tensor"](x, requires_grad=i == active) for i, x in enumerate(arrays)]
        try:
            gradcheck(call, tuple(operands))
        except UnsupportedError:  # there is none
            continue
        except RuntimeError as error:
            raise ValueError(
                f"register_op(): the derivative of {entry.name} with respect to operand {active} is not that "
                f"of differences between {low} and {high}: {str(error).partition(chr(10))[0]}"
            ) from error


# --------------------------------------------------------------------------- the function
def _registered(
    label: str, ufunc: np.ufunc, kinds: dict[dtype, dtype], rule: Callable[..., Any], domain: Any
) -> Callable[..., Any]:
    """Add the row, and return its function."""
    with TABLE_LOCK:
        before = TABLE.pop(label, None)
        try:
            entry = registered_op(label, ufunc, kinds, rule)
            call = _function(entry, kinds)
            if domain is not None:
                _check_rule(call, entry, domain)
        except BaseException:
            TABLE.pop(label, None)
            if before is not None:
                TABLE[label] = before
            raise
    return call


def _function(entry: Op, kinds: dict[dtype, dtype]) -> Callable[..., Any]:
    """Return the function that records a row: a builtin for one or two operands, element by element."""
    count, label = entry.arity, entry.name
    is_native = entry.is_elementwise and count <= 2

    def call(*operands: Any) -> Any:
        if len(operands) != count:
            raise TypeError(f"{label}() takes {count} operands, not {len(operands)}")
        values = [as_operand(x, label) for x in operands]
        if not any(map(record.is_tensor, values)):
            values[0] = as_tensor(values[0], label)
        kind = record.result_dtype(values)
        if category(kind) < FLOATING:
            kind = get_default_dtype()
        if kind.is_complex:
            raise no_kernel(label, kind)
        if kind not in kinds:
            if kind is float64:
                raise TypeError(f"{label}() has a loop for float32 only: convert its operands")
            kind = float32 if kind.itemsize < 4 and float32 in kinds else float64
        tensors = [record.as_operand(x, kind) for x in values]
        result = record.apply(entry, tensors)
        if is_native:
            remember(instruction(entry, tuple([record.layout_of(x) for x in tensors])))
        return result

    call.__name__ = call.__qualname__ = label
    names = ", ".join(f"x{i}" for i in range(count)) if count > 1 else "x"
    text = f"Record the op {label}, which `register_op` has added."
    if not is_native:
        call.__doc__ = text
        return call
    return operators.native_function(entry, call, f"{label}({names})\n--\n\n{text}")
