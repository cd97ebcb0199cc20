"""Functions over nested arguments, arrays and floats, as functions of a flat tuple of tensors.

That is what stands between JAX's call style (`tapegrad.func.jax_style`) and the transforms of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..functions.creation.creation import tensor
from ..tape.readout import note_arguments
from ..tape.recording import is_tensor
from ..tape.user_code import call_user
from ..tensors import pytree as trees
from .arguments import positions

__all__ = ["Flat", "as_tensor"]


def as_tensor(value: Any, what: str = "an argument that is differentiated") -> Any:
    """A tensor, an array or a number as a tensor; raise TypeError, which names `what`, for others."""
    if is_tensor(value):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return tensor(np.asarray(value))
    if isinstance(value, float | int):
        return tensor(value)
    raise TypeError(
        f"{what} must be made of Tensors, NumPy arrays and numbers, not {type(value).__name__}; close "
        "over other values, or declare a dataclass's field with metadata={'static': True}"
    )


def _plain(value: Any) -> Any:
    """An argument that is not differentiated, with its arrays as tensors."""
    found, spec = trees.flatten(value)
    if not any(isinstance(x, np.ndarray) for x in found):
        return value
    return trees.unflatten(spec, [tensor(x) if isinstance(x, np.ndarray) else x for x in found])


class Flat:
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
        What to call it with.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...],
        argnums: int | Sequence[int] | None = None, *, has_aux: bool = False,
        kwargs: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._function, self._has_aux = function, has_aux
        if argnums is None:
            self._where = tuple(range(len(args)))
        else:
            given = argnums if isinstance(argnums, int) else tuple(argnums)
            self._where = positions(given, len(args))
        self._alone = isinstance(argnums, int)
        chosen = [args[i] for i in self._where]
        found, self._spec = trees.flatten(chosen, none_is_leaf=False)
        if not found:
            raise TypeError(
                "there is nothing to differentiate with respect to: no tensor in the arguments"
            )
        self.leaves = [as_tensor(x) for x in found]
        if not all(x.dtype.is_floating_point for x in self.leaves):
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self._args = [x if i in self._where else _plain(x) for i, x in enumerate(args)]
        self._kwargs = {name: _plain(x) for name, x in (kwargs or {}).items()}

    def __call__(self, *leaves: Any) -> Any:
        """Return the outputs as a flat tuple of tensors; with aux, as a list, behind it."""
        args = list(self._args)
        for i, value in zip(self._where, trees.unflatten(self._spec, leaves), strict=True):
            args[i] = value
        if self._kwargs or len(self._args) > len(self._where):
            note_arguments(trees.leaves((self._args, self._kwargs)))
        output = call_user(self._function, *args, **self._kwargs)
        aux: list[Any] = []
        if self._has_aux:
            if not (isinstance(output, tuple) and len(output) == 2):
                raise TypeError("with has_aux=True the function must return a pair: (output, aux)")
            output, aux_tree = output
            found, self._aux_spec = trees.flatten(aux_tree)
            self._aux = found
            aux = [x for x in found if is_tensor(x)]
        outputs, self._out_spec = trees.flatten(output, none_is_leaf=False)
        made = tuple(
            [as_tensor(y, "the result of a function that is differentiated") for y in outputs]
        )
        return (made, aux) if self._has_aux else made

    def scalar(self, *leaves: Any) -> Any:
        """As a call, of a function that returns one tensor."""
        result = self(*leaves)
        outputs, aux = result if self._has_aux else (result, [])
        found = trees.unflatten(self._out_spec, outputs)
        return (found, aux) if self._has_aux else found

    def arguments(self, values: Iterable[Any]) -> Any:
        """Values, one for each leaf, in the structure of the arguments that are differentiated."""
        made = trees.unflatten(self._spec, values)
        return made[0] if self._alone else tuple(made)

    def outputs(self, values: Iterable[Any]) -> Any:
        """Values, one for each output, in the structure of what the function returned."""
        return trees.unflatten(self._out_spec, values)

    def aux(self, tensors: Sequence[Any]) -> Any:
        """What the function returned beside its output, with these tensors."""
        own = iter(tensors)
        return trees.unflatten(
            self._aux_spec, [next(own) if is_tensor(x) else x for x in self._aux]
        )

    @property
    def everything(self) -> tuple[int, ...]:
        """`argnums` for all leaves."""
        return tuple(range(len(self.leaves)))
