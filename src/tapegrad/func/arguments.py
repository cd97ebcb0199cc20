"""Arguments of transforms: which are differentiated, and what the function may return.

`TransformRun` runs the function of a transform once, on a level; the other modules of this package
differentiate what it recorded. `FlatFunction` stands between JAX's call style (jax_style.py) and
those transforms: a function over nested arguments, arrays and floats as a function of a flat tuple of
tensors. Errors are PyTorch's, with its texts, but for those of JAX's call style.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..autograd.transform_level import Level
from ..functions.creation.creation import tensor
from ..tape import pytree as trees
from ..tape.readout import note_arguments
from ..tape.recording import is_tensor
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor

__all__ = [
    "Argnums",
    "FlatFunction",
    "Parameters",
    "Result",
    "TransformRun",
    "argument_positions",
    "as_tensors",
    "differentiated",
    "replaced",
    "to_tensor",
]

Argnums = int | tuple[int, ...]
#: parameters and result of the user's function, which the transformed one has, too
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


# --------------------------------------------------------------------------- positions
def argument_positions(argnums: Any, count: int) -> tuple[int, ...]:
    """`argnums` as positions among `count` arguments; all of them for None.

    Raises
    ------
    RuntimeError
        PyTorch's errors: not an int or a tuple of ints, out of range, empty, or not unique.
    """
    if argnums is None:
        return tuple(range(count))
    if not isinstance(argnums, int | tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = tuple(
        [_position(n, count) for n in (argnums if isinstance(argnums, tuple) else (argnums,))]
    )
    if not numbers:
        raise RuntimeError("argnums must be non-empty")
    if len(set(numbers)) != len(numbers):
        raise RuntimeError(f"argnums elements must be unique, got {numbers}")
    return numbers


def _position(argnum: Any, count: int) -> int:
    if not isinstance(argnum, int):
        raise RuntimeError(f"argnum must be int, got: {type(argnum)}")
    if not -count <= argnum < count:
        raise RuntimeError(f"Got argnum={argnum}, but only {count} positional inputs")
    return argnum % count


def replaced(args: Sequence[Any], places: Sequence[int], values: Iterable[Any]) -> list[Any]:
    """The arguments, with values in some places."""
    arguments = list(args)
    for i, value in zip(places, values, strict=True):
        arguments[i] = value
    return arguments


def _call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
    places: Sequence[int], values: Iterable[Any],
) -> Any:  # fmt: skip
    """Call a function with values in the places that are differentiated; the rest it may write."""
    arguments = replaced(args, places, values)
    if kwargs or len(args) > len(places):
        note_arguments(trees.leaves((args, kwargs)))
    return call_user(function, *arguments, **kwargs)


def differentiated(primals: Any, args: Sequence[Any]) -> tuple[list[Any], trees.Spec]:
    """Return the leaves of arguments that are differentiated, arrays and floats as Tensors, and a structure.

    In containers, whole numbers, truth values, strings, None and other objects are not: they are handed to
    the function as they are (arrays as Tensors), and a gradient has None in their place. An argument that
    is one itself is a leaf, for the caller to refuse.

    Parameters
    ----------
    primals : object
        The tree of arguments.
    args : sequence
        The arguments, some of which may be leaves of the tree themselves.
    """
    leaves, spec = trees.flatten(primals)
    if all(is_tensor(x) and x.dtype.is_inexact for x in leaves):
        return leaves, spec
    bare = {id(x) for x in args}
    values = as_tensors(leaves)
    places = [
        i
        for i, (leaf, x) in enumerate(zip(leaves, values, strict=True))
        if id(leaf) in bare or (is_tensor(x) and x.dtype.is_inexact)
    ]
    chosen = [values[i] for i in places]
    if len(places) == len(values):
        return chosen, spec
    return chosen, trees.PartialSpec(spec, tuple(places), tuple(values))


def as_tensors(leaves: list[Any]) -> list[Any]:
    """Return the leaves of a tree, with arrays of numbers and floats as Tensors."""
    return [
        tensor(np.asarray(x))
        if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biufc"
        else tensor(x)
        if isinstance(x, float | complex)
        else x
        for x in leaves
    ]


# --------------------------------------------------------------------------- PyTorch's transforms
class TransformRun:
    """One run of a function on a level, with some of its arguments lifted.

    Parameters
    ----------
    level : Level
        Entered by the caller.
    name : str
        How the transform calls itself in errors, ``vjp(f, *primals)`` for instance.
    function : callable
    args : sequence
    argnums : int or tuple of int, optional
        Which arguments are differentiated; all if None.
    has_aux : bool
        Whether the function returns a pair, of which the second part is handed through.
    kwargs : mapping, optional
    floating : bool
        Whether arguments of other dtypes get forward mode's error.

    Attributes
    ----------
    output : object
        The function's result, without `aux`.
    aux : object
        Released, for the caller.
    inputs : list of Tensor
        The lifted leaves of the arguments that are differentiated.
    spec : Spec
        Their structure: that of the argument for a number, of the tuple of arguments otherwise.
    """

    def __init__(
        self, level: Level, name: str, function: Callable[..., Any], args: Sequence[Any],
        argnums: Argnums | None = None, *, has_aux: bool = False,
        kwargs: Mapping[str, Any] | None = None, floating: bool = False,
    ) -> None:  # fmt: skip
        places = argument_positions(argnums, len(args))
        is_alone = isinstance(argnums, int)
        primals = args[places[0]] if is_alone else tuple([args[i] for i in places])
        leaves, self.spec = differentiated(primals, (primals,) if is_alone else primals)
        if floating:
            for x in leaves:
                if hasattr(x, "dtype") and not x.dtype.is_inexact:
                    raise ValueError(
                        f"Expected primal to be floating point or complex, but got: {x.dtype}"
                    )
        for x in leaves:
            if not is_tensor(x):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        self.level = level
        self.name = name
        self.inputs = [level.lift(x) for x in leaves]
        lifted = trees.complete(self.spec, [level.handed(x) for x in self.inputs])
        self.output = _call(function, args, kwargs or {}, places, (lifted,) if is_alone else lifted)
        self.aux: Any = None
        if has_aux:
            if not (isinstance(self.output, tuple) and len(self.output) == 2):
                raise RuntimeError(
                    f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True"
                )
            self.output, aux = self.output
            self.aux = trees.tree_map(self._release, aux)

    def flat_output(self) -> tuple[list[Tensor], trees.Spec]:
        """The output's tensors and structure.

        Raises
        ------
        RuntimeError
            PyTorch's errors, if there is none, or something else than tensors.
        """
        outputs, spec = trees.flatten(self.output)
        if not outputs or (len(outputs) == 1 and outputs[0] is None):
            raise RuntimeError(
                f"{self.name}: Expected f to be a function that has non-empty output "
                f"(got output = {outputs})"
            )
        for y in outputs:
            if not is_tensor(y):
                raise RuntimeError(
                    f"{self.name}: expected f(*primals) to return only tensors, got unsupported type "
                    f"{type(y)}"
                )
        return outputs, spec

    def _release(self, value: Any) -> Any:
        if not is_tensor(value):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(value)}")
        return self.level.release(value)


# --------------------------------------------------------------------------- JAX's call style
def to_tensor(value: Any, role: str = "an argument that is differentiated") -> Any:
    """A tensor, an array or a number as a tensor.

    Raises
    ------
    TypeError
        For other values; it names their `role`.
    """
    if is_tensor(value):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return tensor(np.asarray(value))
    if isinstance(value, float | int | complex):
        return tensor(value)
    raise TypeError(
        f"{role} must be made of Tensors, NumPy arrays and numbers, not {type(value).__name__}; close "
        "over other values, or declare a dataclass's field with metadata={'static': True}"
    )


def _with_tensors(value: Any) -> Any:
    """An argument that is not differentiated, with its arrays as tensors."""
    leaves, spec = trees.flatten(value)
    if not any(isinstance(x, np.ndarray) for x in leaves):
        return value
    return trees.unflatten(spec, [tensor(x) if isinstance(x, np.ndarray) else x for x in leaves])


class FlatFunction:
    """A function over nested arguments as a function of a flat tuple of tensors.

    Parameters
    ----------
    function : callable
    args : tuple
    argnums : int or sequence of int, optional
        Which arguments are differentiated; all if None.
    has_aux : bool
        Whether the function returns a pair.
    kwargs : dict, optional

    Attributes
    ----------
    leaves : list of Tensor
        The arguments to call it with.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...],
        argnums: int | Sequence[int] | None = None, *, has_aux: bool = False,
        kwargs: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._function, self._has_aux = function, has_aux
        self._alone = isinstance(argnums, int)
        if not (argnums is None or isinstance(argnums, int)):
            argnums = tuple(argnums)
        self._places = argument_positions(argnums, len(args))
        primals = [args[i] for i in self._places]
        leaves, self.spec = differentiated(primals, primals)
        for i, x in enumerate(leaves):
            if not (is_tensor(x) and x.dtype.is_inexact):
                raise self._refused(primals, i, x)
        if not leaves:
            raise self._nothing(primals)
        self.leaves = leaves
        self._args = [x if i in self._places else _with_tensors(x) for i, x in enumerate(args)]
        self._kwargs = {name: _with_tensors(x) for name, x in (kwargs or {}).items()}

    def _refused(self, primals: list[Any], number: int, leaf: Any) -> Exception:
        """Return the error for the leaf of a number, which cannot be differentiated."""
        if leaf is None:
            return self._nothing(primals)
        texts = self._paths(primals)
        if isinstance(self.spec, trees.PartialSpec):
            texts = [texts[i] for i in self.spec.places]
        path, is_whole = texts[number], isinstance(leaf, int)
        if not (is_whole or is_tensor(leaf)):
            try:
                to_tensor(leaf, path)
            except TypeError as error:
                return error
        kind = f"an {type(leaf).__name__}" if is_whole else f"of dtype {leaf.dtype}"
        return RuntimeError(
            f"only Tensors of floating point dtype can require gradients, and {path} is {kind}: make it a "
            "float, or leave it out of argnums"
        )

    def _nothing(self, primals: list[Any]) -> Exception:
        """Return the error for arguments without a leaf that can be differentiated."""
        kinds = [
            f"{path} is of type {type(x).__name__}"
            for path, x in zip(self._paths(primals), trees.leaves(primals), strict=True)
        ]
        return TypeError(
            "there is nothing to differentiate with respect to: no Tensor, array or number of a floating "
            f"dtype in the arguments ({', '.join(kinds) or 'they are empty'})"
        )

    def _paths(self, primals: list[Any]) -> list[str]:
        """The text by which each leaf is written, as a part of ``args``."""
        return trees.paths(dict(zip(self._places, primals, strict=True)), "args")

    def __call__(self, *leaves: Any) -> Any:
        """Return the outputs as a flat tuple of tensors; with aux, as a list, behind it."""
        values = trees.complete(self.spec, leaves)
        output = _call(self._function, self._args, self._kwargs, self._places, values)
        aux: list[Any] = []
        if self._has_aux:
            if not (isinstance(output, tuple) and len(output) == 2):
                raise TypeError("with has_aux=True the function must return a pair: (output, aux)")
            output, aux_tree = output
            self._aux, self._aux_spec = trees.flatten(aux_tree)
            aux = [x for x in self._aux if is_tensor(x)]
        results, self._out_spec = trees.flatten(output, none_is_leaf=False)
        role = "the result of a function that is differentiated"
        outputs = tuple([to_tensor(y, role) for y in results])
        return (outputs, aux) if self._has_aux else outputs

    def scalar(self, *leaves: Any) -> Any:
        """As a call, of a function that returns one tensor."""
        result = self(*leaves)
        outputs, aux = result if self._has_aux else (result, [])
        output = trees.unflatten(self._out_spec, outputs)
        return (output, aux) if self._has_aux else output

    def arguments(self, values: Iterable[Any]) -> Any:
        """Values, one for each leaf, in the structure of the arguments that are differentiated."""
        arguments = trees.unflatten(self.spec, values)
        return arguments[0] if self._alone else tuple(arguments)

    def outputs(self, values: Iterable[Any]) -> Any:
        """Values, one for each output, in the structure of what the function returned."""
        return trees.unflatten(self._out_spec, values)

    def aux(self, tensors: Sequence[Any]) -> Any:
        """Return `aux` of the last call, with these tensors in the place of its own."""
        rest = iter(tensors)
        return trees.unflatten(
            self._aux_spec, [next(rest) if is_tensor(x) else x for x in self._aux]
        )

    @property
    def everything(self) -> tuple[int, ...]:
        """`argnums` for all leaves."""
        return tuple(range(len(self.leaves)))
