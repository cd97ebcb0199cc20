"""Signatures: the arguments of a call, apart into inputs of a tape and what a tape is made for."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import float32, float64, from_numpy_dtype, get_default_dtype
from ..ops.layout import LAYOUTS, contiguous
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.tape import Tape

__all__ = ["Arguments", "Signature", "Static", "arguments_of", "both_ways", "difference"]

_FLOAT = contiguous(float64, ())


class Static(NamedTuple):
    """A leaf of the arguments, or an argument, whose value belongs to the signature.

    Attributes
    ----------
    kind : type
    key : object
        Compared: a value that has a hash; of a float its bits.
    value : object
    """

    kind: type
    key: Any
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])


class Signature(NamedTuple):
    """All that a tape is recorded for.

    Attributes
    ----------
    spec : Spec
        The structure of the arguments.
    leaves : tuple
        For each leaf (number of its layout, whether it requires grad), or a `Static`.
    mode : tuple
        Grad mode, default dtype.
    """

    spec: Any
    leaves: tuple[Any, ...]
    mode: tuple[Any, ...]

    def __str__(self) -> str:
        def shown(leaf: Any) -> str:
            if isinstance(leaf, Static):
                return repr(leaf.value)[:40]
            layout = LAYOUTS[leaf[0]]
            return f"{layout.dtype.name}{list(layout.shape)}" + (
                " requires grad" if leaf[1] else ""
            )

        return f"({', '.join(map(shown, self.leaves))})"


def _key(value: Any) -> Any:
    """Key by which a static value is compared, to tell 1 from 1.0, and -0.0 from 0.0; NaN is itself."""
    if isinstance(value, float):
        return np.float64(value).tobytes()
    if isinstance(value, complex):
        return np.complex128(value).tobytes()
    if isinstance(value, tuple):
        return tuple([(type(x), _key(x)) for x in value])
    if isinstance(value, frozenset):
        return frozenset([(type(x), _key(x)) for x in value])
    return value


def _orders(tree: Any) -> Any:
    """The orders of keys in a tree, which its structure does not tell apart."""
    if isinstance(tree, dict):
        return (*tree, *map(_orders, tree.values()))
    if isinstance(tree, list | tuple):
        parts = tuple(map(_orders, tree))
        return parts if any(parts) else ()
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _orders([getattr(tree, f.name, None) for f in dataclasses.fields(tree)])
    return ()


class Arguments(NamedTuple):
    """The arguments of a call.

    Attributes
    ----------
    inputs : list of Tensor or ndarray
        All are contiguous.
    signature : Signature
    has_tensors : bool
        Whether Tensors are among them.
    """

    inputs: list[Any]
    signature: Signature
    has_tensors: bool


def static(value: Any) -> Static:
    """Return a value as a part of a signature.

    Raises
    ------
    TypeError
        If it has no hash.
    """
    key = _key(value)
    try:
        hash(key)
    except TypeError:
        raise TypeError(
            f"jit: an argument of type {type(value).__name__} is neither a tensor nor an array, and has no "
            "hash by which it could be part of the signature"
        ) from None
    return Static(type(value), key, value)


def arguments_of(
    tape: Tape,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    numbers: Iterable[int],
    names: frozenset[str],
) -> Arguments:
    """Take the arguments of a call apart.

    Parameters
    ----------
    tape : Tape
        Of this thread.
    args, kwargs : tuple, dict
    numbers, names : collections
        Positions and names of arguments that are static.
    """
    if numbers or names:
        places = {n % len(args) for n in numbers if -len(args) <= n < len(args)}
        args = tuple([_Box(x, i) if i in places else x for i, x in enumerate(args)])
        kwargs = {k: _Box(x, k) if k in names else x for k, x in kwargs.items()}
    values, spec = trees.flatten((args, kwargs))
    grad_mode, default = tape.grad_mode, get_default_dtype()
    has_tensors, is_double = False, default is float64
    key: list[Any] = []
    inputs: list[Any] = []
    floats: list[tuple[int, int]] = []
    for x in values:
        if record.is_tensor(x):
            has_tensors = True
            layout = record.layout_of(x)
            if not layout.is_contiguous:
                x = x.contiguous()
                layout = record.layout_of(x)
            key.append((layout.id, grad_mode and record.is_active(x)))
            is_double = is_double and layout.dtype is not float32
        elif isinstance(x, np.ndarray | np.generic):
            x = np.asarray(x)
            if not (x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative):
                x = np.array(x, x.dtype.newbyteorder("="), order="C")
            kind = from_numpy_dtype(x.dtype)
            is_double = is_double and kind is not float32
            key.append((contiguous(kind, x.shape).id, False))
        elif type(x) is float:
            floats.append((len(key), len(inputs)))
            key.append((_FLOAT.id, False))
            x = np.array(x)
        else:
            key.append(x.static if isinstance(x, _Box) else static(x))
            continue
        inputs.append(x)
    if not is_double:  # beside float32, a number is not what a float64 tensor is
        for place, number in reversed(floats):
            key[place] = static(values[place])
            del inputs[number]
    return Arguments(
        inputs,
        Signature(spec, tuple(key), (grad_mode, default, _orders([args, kwargs]))),
        has_tensors or not inputs,
    )


def both_ways(
    func: Callable[..., Any], numbers: Iterable[int], names: Iterable[str]
) -> tuple[frozenset[int], frozenset[str]]:
    """Static arguments by number and by name, as each may be given either way."""
    numbers, names = frozenset(numbers), frozenset(names)
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return numbers, names
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    places = [p.name for p in parameters if p.kind in kinds]
    named = {places[n] for n in numbers if 0 <= n < len(places)}
    return numbers | {i for i, name in enumerate(places) if name in names}, names | named


class _Box:
    """A static argument, which is a leaf, whatever it is made of."""

    def __init__(self, value: Any, place: int | str) -> None:
        if record.is_tensor(value) or isinstance(value, np.ndarray):
            raise TypeError(
                f"jit: argument {place!r} is static, so calls are told apart by its value, and tensors and "
                "arrays are not compared; leave it out of the static arguments"
            )
        self.static = static(value)


def difference(new: Signature, old: Signature) -> str:
    """Return what is different in a signature, in words."""
    if new.spec != old.spec:
        return "another structure of arguments"
    for i, (a, b) in enumerate(zip(new.leaves, old.leaves, strict=True)):
        if a == b:
            continue
        if isinstance(a, Static) or isinstance(b, Static):
            return f"another value of leaf {i} of the arguments"
        if a[0] != b[0]:
            return f"another shape or dtype of leaf {i} of the arguments"
        return f"leaf {i} of the arguments {'requires' if a[1] else 'does not require'} grad now"
    return "another grad mode or default dtype"


def values_of(
    signature: Signature, make: Callable[[Any], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments of a signature: `make` makes an input of a leaf's layout and activity."""
    values = [leaf.value if isinstance(leaf, Static) else make(leaf) for leaf in signature.leaves]
    args, kwargs = trees.unflatten(signature.spec, values)
    return args, kwargs
