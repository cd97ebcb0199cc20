"""Arguments of transforms: which are differentiated, and what the function may return.

`Run` runs the function of a transform once, on a level; the other modules of this package say what
is done with what it recorded. Errors are PyTorch's, with its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd.transform_level import Level
from ..tape.readout import note_arguments
from ..tape.recording import is_tensor
from ..tape.user_code import call_user
from ..tensors import pytree as trees
from ..tensors.tensor import Tensor

__all__ = ["Argnums", "Run", "filled", "positions"]

Argnums = int | tuple[int, ...]


def positions(argnums: Any, count: int) -> tuple[int, ...]:
    """`argnums` as positions among `count` arguments.

    Raises
    ------
    RuntimeError
        PyTorch's errors: not an int or a tuple of ints, out of range, empty, or not unique.
    """
    if not isinstance(argnums, int | tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    found = tuple(
        [_position(n, count) for n in (argnums if isinstance(argnums, tuple) else (argnums,))]
    )
    if not found:
        raise RuntimeError("argnums must be non-empty")
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique, got {found}")
    return found


def _position(argnum: Any, count: int) -> int:
    if not isinstance(argnum, int):
        raise RuntimeError(f"argnum must be int, got: {type(argnum)}")
    if not -count <= argnum < count:
        raise RuntimeError(f"Got argnum={argnum}, but only {count} positional inputs")
    return argnum % count


class Run:
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
        What the function returned, without `aux`.
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
        where = tuple(range(len(args))) if argnums is None else positions(argnums, len(args))
        primals: Any = tuple([args[i] for i in where])
        if isinstance(argnums, int):
            primals = primals[0]
        found, self.spec = trees.flatten(primals)
        if floating:
            for x in found:
                if hasattr(x, "dtype") and not x.dtype.is_floating_point:
                    raise ValueError(
                        f"Expected primal to be floating point or complex, but got: {x.dtype}"
                    )
        for x in found:
            if not is_tensor(x):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        self.level = level
        self.name = name
        self.inputs = [level.lift(x) for x in found]
        lifted = trees.unflatten(self.spec, [level.handed(x) for x in self.inputs])
        given = list(args)
        for i, value in zip(where, (lifted,) if isinstance(argnums, int) else lifted, strict=True):
            given[i] = value
        if kwargs or len(args) > len(where):
            note_arguments(trees.leaves((args, kwargs)))
        self.output = call_user(function, *given, **(kwargs or {}))
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
        found, spec = trees.flatten(self.output)
        if not found or (len(found) == 1 and found[0] is None):
            raise RuntimeError(
                f"{self.name}: Expected f to be a function that has non-empty output "
                f"(got output = {found})"
            )
        for y in found:
            if not is_tensor(y):
                raise RuntimeError(
                    f"{self.name}: expected f(*primals) to return only tensors, got unsupported type "
                    f"{type(y)}"
                )
        return found, spec

    def _release(self, value: Any) -> Any:
        if not is_tensor(value):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(value)}")
        return self.level.release(value)


def filled(found: Sequence[Tensor | None], like: Sequence[Any]) -> list[Tensor]:
    """Zeros for None, of the shapes of `like`."""
    return [x.new_zeros(x.shape) if g is None else g for g, x in zip(found, like, strict=True)]
