"""Keywords that PyTorch's functions take beside those of their signatures: NumPy's names, and ``out``.

`accept` puts a layer around a public function that looks at keywords only where there are some.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.errors import must_be
from ..tape import recording as record
from ..tape.current import current_tape
from .arguments import check_cast
from .help_texts import with_example
from .registry import FORMS, ShownSignature
from .signature import Signature, is_length

__all__ = ["accept"]

#: so many combinations of types are remembered for a function
_KNOWN_TYPES = 256


def accept(
    name: str, function: Callable[..., Any], *, out: bool, method: bool = False
) -> Callable[..., Any]:
    """Return a function whose arguments are checked, if it is declared, and with `out` that keyword.

    Parameters
    ----------
    name : str
        For error texts.
    function : callable
    out : bool
        Results may be written into tensors that exist: ``out=`` one, or a tuple where results are one.

    Raises
    ------
    RuntimeError
        By ``out=``, if something that it is called with requires grad, or results cannot be cast.
    """
    layer = _layer(name, function, out=out, method=method)
    if hasattr(layer, "__code__") and not method:  # tensor.py looks at those of methods
        layer.__doc__ = with_example(layer.__doc__, name)
    return layer


def _layer(
    name: str, function: Callable[..., Any], *, out: bool, method: bool
) -> Callable[..., Any]:
    if function in FORMS:
        return checked(name, function, method=method, out=out)
    if not (out and hasattr(function, "__code__")) or name.endswith("_"):
        return function

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        if out is None:
            return function(*args, **options)
        return _written(name, function, args, options, out)

    call.__wrapped__ = ShownSignature(function, _with_out)  # type: ignore[assignment]
    return call


def checked(
    name: str, function: Callable[..., Any], *, method: bool, out: bool
) -> Callable[..., Any]:
    """Return a declared function that checks what it is called with.

    Types that its signature took before are passed on at once; the function need not look at them. A
    sequence counts by its type: a function that stumbles over an element raises any TypeError, and the
    signature words it.

    Parameters
    ----------
    name : str
        For error texts.
    function : callable
    method : bool
        It is called as a method.
    out : bool
        Results may be written into tensors that exist, as in `accept`.
    """
    signature = Signature(name, function, method=method, out=out)
    at = signature.gathered
    known: dict[tuple[Any, ...], dict[str, str]] = {}
    #: types among which arrays and numbers were taken as Tensors -> their places
    arrays: dict[tuple[Any, ...], tuple[int, ...]] = {}

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            if at and len(args) >= at:
                kind = type(args[at - 1])
                if kind is int and not options:
                    return function(*args[: at - 1], args[at - 1 :])
                if kind is int or (kind is not tuple and is_length(args[at - 1])):
                    args = (*args[: at - 1], args[at - 1 :])
            if not options:
                kinds = tuple(map(type, args))
                if kinds in known:
                    return function(*args)
                places = arrays.get(kinds)
                if places is not None:
                    args = signature.at_places(args, places)
                    if tuple(map(type, args)) in known:
                        return function(*args)
                names = match(args, options)
            else:
                before = known.get((*map(type, args), *options, *map(type, options.values())))
                names = match(args, options) if before is None else before
            if not names:
                return function(*args, **options)
            named = {names.get(key, key): value for key, value in options.items()}
            target = named.pop("out", None)
            if target is None:
                return function(*args, **named)
            return _written(name, function, args, named, target)
        except TypeError:
            if at and len(args) >= at and is_length(args[at - 1]):
                args = (*args[: at - 1], args[at - 1 :])
            taken = signature.converted(args, options)
            if taken is not None:
                if not options and len(arrays) < _KNOWN_TYPES:
                    places = tuple([i for i, v in enumerate(args) if v is not taken[0][i]])
                    if not any(isinstance(v, np.ndarray) for v in taken[0]):
                        arrays[tuple(map(type, args))] = places
                return call(*taken[0], **taken[1])
            signature.reword(args, options)
            raise

    def match(args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, str]:
        """Ask the signature, and remember what holds for all arguments of these types."""
        names, settled = signature.check(args, options)
        if settled and len(known) < _KNOWN_TYPES:
            known[(*map(type, args), *options, *map(type, options.values()))] = names
        return names

    change = _with_out if out else None
    call.__wrapped__ = ShownSignature(function, change)  # type: ignore[assignment]
    return call


def _with_out(shown: inspect.Signature) -> inspect.Signature:
    """Add the keyword ``out`` to a signature."""
    if "out" in shown.parameters:
        return shown
    kind = "Tensor" if shown.return_annotation == "Tensor" else "Tensors"
    out = inspect.Parameter(
        "out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=f"{kind} | None"
    )
    return shown.replace(parameters=[*shown.parameters.values(), out])


def _tensors_in(values: Sequence[Any]) -> list[Any]:
    tensors: list[Any] = []
    for value in values:
        if record.is_tensor(value):
            tensors.append(value)
        elif isinstance(value, tuple | list):
            tensors += _tensors_in(value)
    return tensors


def _written(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], out: Any
) -> Any:  # fmt: skip
    """Call a function, and write its results into `out`."""
    targets = tuple(out) if isinstance(out, tuple | list) else (out,)
    for target in targets:
        if not record.is_tensor(target):
            raise must_be(name, "out", 0, "Tensor", target)
    operands = _tensors_in((*args, *options.values()))
    if current_tape().grad_mode and any(t.requires_grad for t in (*operands, *targets)):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    results = function(*args, **options)
    values = tuple(results) if isinstance(results, tuple) else (results,)
    if isinstance(results, tuple) != isinstance(out, tuple | list) or len(values) != len(targets):
        word = f"tuple of {len(values)} Tensors" if isinstance(results, tuple) else "Tensor"
        raise TypeError(f"{name}(): argument 'out' must be {word}, not {type(out).__name__}")
    for value, target in zip(values, targets, strict=True):
        if name != "bernoulli":  # whose zeros and ones are those of any dtype
            check_cast(value, target)
    for value, target in zip(values, targets, strict=True):
        _write(value, target)
    return type(results)(*targets) if hasattr(results, "_fields") else out


def _write(value: Any, target: Any) -> None:
    """Write a result into a tensor, which takes its shape if it has another one."""
    if value.shape == target.shape:
        target.copy_(value)
        return
    if target.numel():
        warnings.warn(
            f"An output with one or more elements was resized since it had shape "
            f"{list(target.shape)}, which does not match the required output shape "
            f"{list(value.shape)}. This behavior is deprecated, and in a future PyTorch release "
            "outputs will not be resized unless they have zero elements. You can explicitly reuse an "
            "out tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
            stacklevel=4,
        )
    target.data = record.cast(value, target.dtype)
