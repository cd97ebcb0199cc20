"""Vectors for SciPy, and what they stand for: arrays of any shape and containers of them.

SciPy's solvers know vectors of float64. A `VectorForm` lays the numbers of a start value behind each other,
gives a function its container of Tensors back (views of the vector), and a result the container that the
start value was. `Arguments` are the further arguments of a function: arrays that are handed over in
each call, and constants.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..func.arguments import to_tensor
from ..functions.creation.creation import from_numpy
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape.recording import is_active, is_tensor

__all__ = ["Arguments", "VectorForm", "as_constant", "joined", "name_of"]


def name_of(function: Any) -> str:
    """Return the name by which errors call a function of the user's."""
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return str(name).rpartition("<locals>.")[2]


def as_constant(caller: str, role: str, value: Any) -> np.ndarray:
    """Return the numbers of an array, a number or a Tensor.

    Raises
    ------
    RuntimeError
        For a Tensor that is differentiated: SciPy's result would be a constant.
    """
    if not is_tensor(value):
        return np.asarray(value)
    if is_active(value):
        raise RuntimeError(
            f"{caller}: {role} requires grad, and the result would be a constant with respect to it; "
            "tg.implicit differentiates through a solver, x.detach() says that a constant is meant"
        )
    return np.asarray(value.numpy())


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | complex | np.number)


def _is_variable(value: Any) -> bool:
    """Return True for a leaf of a container that a solver may change."""
    if is_tensor(value):
        return bool(value.dtype.is_inexact)
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fc"
    return isinstance(value, float | complex)


def joined(tree: Any, role: str) -> Any:
    """Return the elements of all tensors, arrays and numbers of a tree as one vector, a Tensor."""
    parts = [
        to_tensor(leaf, role).reshape(-1) for leaf in trees.flatten(tree, none_is_leaf=False)[0]
    ]
    if len(parts) == 1:
        return parts[0]
    return FUNCTIONS["cat"](parts)


class VectorForm:
    """Form of the vectors of a solver: the array or container that they stand for.

    Parameters
    ----------
    caller : str
        Function of the user's, for errors.
    start : object
        An array, a Tensor, numbers (SciPy's vector), or a container of such. In a container, whole numbers
        and what has no elements stay as they are.
    role : str
        The argument's name.

    Attributes
    ----------
    vector : ndarray
        Its numbers.
    is_plain : bool
        Whether it is a vector that SciPy takes.
    is_real : bool

    Raises
    ------
    TypeError
        If there are no numbers, or they are complex where `is_complex` is not set.
    """

    def __init__(self, caller: str, start: Any, role: str = "x0", is_complex: bool = False) -> None:
        is_list = type(start) in (list, tuple)
        if is_list and all(_is_number(leaf) for leaf in trees.leaves(start)):
            start = np.asarray(start)
        is_alone = is_tensor(start) or isinstance(start, np.ndarray) or _is_number(start)
        if is_alone and not is_tensor(start):
            start = np.atleast_1d(start)
        self.is_plain = is_alone and not is_tensor(start) and start.ndim == 1
        leaves, self._spec = trees.flatten(start)
        self._places = [i for i, x in enumerate(leaves) if is_alone or _is_variable(x)]
        self._constants = tuple([None if i in self._places else x for i, x in enumerate(leaves)])
        variables = [leaves[i] for i in self._places]
        # The result does not depend on where a solver starts.
        arrays = [x.detach().numpy() if is_tensor(x) else np.asarray(x) for x in variables]
        kinds = "biufc" if is_complex else "biuf"
        for text, array in zip(self.names(start, role), arrays, strict=True):
            if array.dtype.kind not in kinds:
                raise TypeError(
                    f"{caller}: {text} must be made of real numbers, not of {array.dtype}"
                )
        if not sum(array.size for array in arrays):
            raise TypeError(f"{caller}: {role} has no floating point numbers to solve for")
        self.shapes = [array.shape for array in arrays]
        self._sizes = [array.size for array in arrays]
        self._kinds = [
            "tensor" if is_tensor(x) else "array" if isinstance(x, np.ndarray) else "number"
            for x in variables
        ]
        self.is_real = not any(array.dtype.kind == "c" for array in arrays)
        dtype = float if self.is_real else complex
        self.vector = np.concatenate([np.ravel(array) for array in arrays]).astype(dtype)

    def names(self, start: Any, role: str) -> list[str]:
        """Return the texts by which the variables are written."""
        texts = trees.paths(start, role)
        return [texts[i] for i in self._places]

    @property
    def key(self) -> Hashable:
        """Stands for the form: two with the same are the same function of a vector."""
        constants = tuple([(type(x), x) for x in self._constants])
        return self._spec, tuple(self._places), constants, tuple(self.shapes)

    def _tree(self, parts: Sequence[Any]) -> Any:
        leaves = list(self._constants)
        for place, part in zip(self._places, parts, strict=True):
            leaves[place] = part
        return trees.unflatten(self._spec, leaves)

    def tree(self, vector: Any) -> Any:
        """Return the container for the elements of a Tensor with one dimension, which it has views of."""
        if len(self.shapes) == 1:
            shape = self.shapes[0]
            return self._tree([vector if len(shape) == 1 else vector.reshape(shape)])
        parts, end = [], 0
        for shape, size in zip(self.shapes, self._sizes, strict=True):
            start, end = end, end + size
            parts.append(vector[start:end].reshape(shape))
        return self._tree(parts)

    def parts(self, tree: Any) -> list[Any] | None:
        """Return what a tree has in the places of the arrays: parts of it, or None if it is another one."""
        parts = trees.parts(self._spec, tree)
        return None if parts is None else [parts[i] for i in self._places]

    def restored(self, values: Any) -> Any:
        """Return an array as the start value was: Tensors for Tensors, arrays for arrays.

        Further dimensions, behind the vector's, are kept.
        """
        if self.is_plain:
            return values
        parts: list[Any] = []
        end = 0
        for shape, size, kind in zip(self.shapes, self._sizes, self._kinds, strict=True):
            start, end = end, end + size
            part = np.array(values[start:end]).reshape((*shape, *values.shape[1:]))
            if kind == "tensor":
                parts.append(from_numpy(part))
            else:
                parts.append(part.item() if kind == "number" and not part.ndim else part)
        return self._tree(parts)

    def flat(self, tree: Any, role: str) -> np.ndarray:
        """Return a tree of numbers as a vector, for instance a gradient that the user computed.

        Raises
        ------
        ValueError
            If it has another number of elements.
        """
        if self.is_plain:
            return as_constant(role, "the result", tree)
        parts = [np.ravel(as_constant(role, "the result", x)) for x in self.variables(tree)]
        values = np.concatenate(parts) if parts else np.empty(0)
        if values.size != self.vector.size:
            raise ValueError(
                f"{role}: expected {self.vector.size} numbers, as x has, got {values.size}"
            )
        return values

    def variables(self, tree: Any) -> list[Any]:
        """Return the leaves of a tree in the places of the variables."""
        leaves = trees.flatten(tree)[0]
        if len(leaves) == len(self._constants):
            return [leaves[i] for i in self._places]
        return leaves


class Arguments:
    """The further arguments of a function: arrays and numbers, and what is constant.

    Parameters
    ----------
    caller : str
    args : tuple
    role : str

    Attributes
    ----------
    arrays : list of ndarray
        Handed over in each call.
    """

    def __init__(self, caller: str, args: Any, role: str = "args") -> None:
        if not isinstance(args, tuple):
            args = (args,)
        leaves, self._spec = trees.flatten(args)
        #: as they were given
        self.given = args
        self.arrays: list[np.ndarray] = []
        self._constants: list[Any] = []
        self._places: list[int] = []
        for i, leaf in enumerate(leaves):
            is_array = is_tensor(leaf) or isinstance(leaf, float | complex)
            if isinstance(leaf, np.ndarray | np.generic):
                is_array = leaf.dtype.kind in "biufc"
            if is_array:
                self._places.append(i)
                array = as_constant(caller, f"a Tensor in {role}", leaf)
                self.arrays.append(np.asarray(array, order="C"))
            self._constants.append(None if is_array else leaf)

    @property
    def key(self) -> Hashable:
        """Stands for the constants among them, and the arrays' dtypes and shapes."""
        constants = tuple([(type(x), x) for x in self._constants])
        layouts = tuple([(x.dtype, x.shape) for x in self.arrays])
        return self._spec, tuple(self._places), constants, layouts

    def tree(self, tensors: Sequence[Any]) -> Any:
        """Return the arguments, with Tensors in the place of arrays and numbers."""
        leaves = list(self._constants)
        for place, x in zip(self._places, tensors, strict=True):
            leaves[place] = x
        return trees.unflatten(self._spec, leaves)
