"""Functions of the user's as functions of a vector, and their derivatives, each an `Evaluation`.

`Target` holds the function, the form of its first argument and the further arguments. Its methods make what
SciPy calls: values, gradients, Jacobians, Hessians and their products with vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..func.arguments import to_tensor
from ..func.gradients import grad, grad_and_value
from ..func.jacobians import hessian, jacfwd, jacrev
from ..func.jax_style import hvp
from ..functions.creation.creation import from_numpy
from ..tape.recording import is_active, is_tensor
from .evaluation import Evaluation
from .progress import Progress
from .vectors import Arguments, VectorForm, as_constant, joined, name_of

__all__ = [
    "Objective", "Target", "Values", "as_number", "as_vector", "check_dependence", "handed_matrix",
    "not_a_number",
]  # fmt: skip


#: what to do about an objective that is not defined everywhere
HINT = "; where it is not defined, let it return inf (tg.where), or keep the solver away by bounds"


class Target:
    """A function of a container and further arguments, as functions of a vector.

    Parameters
    ----------
    caller : str
        Function of SciPy's, for errors.
    function : callable
    form : VectorForm
        Of its first argument.
    arguments : Arguments
    compiled : bool
    progress : Progress
    identity : hashable
        Stands for the function, where that is made anew for each solve.
    """

    def __init__(
        self, caller: str, function: Callable[..., Any], form: VectorForm, arguments: Arguments, *,
        compiled: bool = True, progress: Progress | None = None, identity: Any = None,
    ) -> None:  # fmt: skip
        if not callable(function):
            raise TypeError(f"{caller}: expected a function, got {type(function).__name__}")
        self.caller, self.function, self.name = caller, function, name_of(function)
        self.form, self.arguments, self.given = form, arguments, arguments.given
        self._identity = function if identity is None else identity
        self.compiled, self.progress = compiled, progress or Progress(caller, False)

    def evaluation(self, kind: str, function: Callable[..., tuple[Any, ...]]) -> Evaluation:
        """Return a function of Tensors (the vector, further arguments) as one of arrays."""
        return Evaluation(
            self.caller, self.name, function, compiled=self.compiled,
            key=lambda: (kind, self._identity, self.form.key, self.arguments.key),
        )  # fmt: skip

    # ------------------------------------------------------------------ functions of Tensors
    def number(self) -> Callable[..., Any]:
        """Return the function as one of a vector that returns a number.

        Raises
        ------
        TypeError, ValueError
            By a call that does not return one.
        """
        # Plain functions, and no methods, so that jit compares what the user's function uses.
        function, form, arguments, caller, name = (
            self.function, self.form, self.arguments, self.caller, self.name,
        )  # fmt: skip

        def number(vector: Any, *others: Any) -> Any:
            value = function(form.tree(vector), *arguments.tree(others))
            return as_number(value, caller, name)

        return number

    def vector(self) -> Callable[..., Any]:
        """Return the function as one of a vector that returns a vector."""
        function, form, arguments, caller, name = (
            self.function, self.form, self.arguments, self.caller, self.name,
        )  # fmt: skip

        def vector_of(vector: Any, *others: Any) -> Any:
            values = function(form.tree(vector), *arguments.tree(others))
            return joined(values, f"{caller}: the result of `{name}`")

        return vector_of

    # ------------------------------------------------------------------ functions of arrays
    def pairs(
        self, values_of: Callable[[Any], Any], derivatives_of: Callable[[Any], Any]
    ) -> Callable[[np.ndarray], tuple[Any, Any]]:
        """Return the function that computes what the user's does, where that returns a derivative, too.

        It is called with arrays, and is not compiled.

        Parameters
        ----------
        values_of, derivatives_of : callable
            Make what SciPy takes of the two parts.
        """

        def pair(x: np.ndarray) -> tuple[Any, Any]:
            both = self.function(self.form.restored(x), *self.given)
            if not (isinstance(both, tuple | list) and len(both) == 2):
                raise TypeError(
                    f"{self.caller}: with jac=True, `{self.name}` must return a pair (value, derivative), "
                    f"not {type(both).__name__}"
                )
            value, derivative = values_of(both[0]), derivatives_of(both[1])
            if np.isnan(value).any():
                raise ValueError(not_a_number(self.caller, self.name, value, x))
            self.progress.note(value)
            return value, derivative

        return pair

    def values(self) -> Values:
        """Return the function of an array that returns a vector."""
        return Values(self)

    def jacobian(self, outputs: Callable[[], int]) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function of an array that returns the Jacobian.

        Parameters
        ----------
        outputs : callable
            Returns how many values the function has: few are differentiated by rows, many by columns.
        """
        vector, others = self.vector(), self.arguments.arrays
        runs: list[Evaluation] = []
        caller, name = self.caller, self.name

        def jacobian(x: np.ndarray) -> np.ndarray:
            is_first = not runs
            if is_first:
                is_wide = outputs() < x.size
                transform = jacrev(vector) if is_wide else jacfwd(vector)
                kind = f"jacobian {is_wide}"
                runs.append(self.evaluation(kind, lambda *tensors: (transform(*tensors),)))
            (result,) = runs[0](as_vector(x), *others)
            if is_first and not result.any():
                check_dependence(vector, x, others, caller, name)
            flat = result.reshape(-1)
            if flat.dot(flat) != flat.dot(flat):
                raise ValueError(
                    f"{caller}: the Jacobian of `{name}` has nan at x = {_text(x)}, where its values are "
                    "finite"
                )
            return result

        return jacobian


class Values:
    """A function of an array that returns a vector, of which it remembers the size."""

    def __init__(self, target: Target) -> None:
        vector = target.vector()
        self._run = target.evaluation("values", lambda *tensors: (vector(*tensors),))
        self._target, self._others = target, target.arguments.arrays
        self._size: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the values."""
        (result,) = self._run(as_vector(x), *self._others)
        square = result.dot(result)
        if square != square:
            raise ValueError(not_a_number(self._target.caller, self._target.name, result, x))
        self._size = result.size
        self._target.progress.note(result)
        return result

    @property
    def size(self) -> int:
        """Number of values."""
        if self._size is None:
            self(self._target.form.vector)
        return self._size or 0


def handed_matrix(target: Target, function: Callable[..., Any]) -> Callable[[np.ndarray], Any]:
    """Return a Jacobian that the user gave, as a function of a vector."""
    form, args = target.form, target.given

    def matrix(x: np.ndarray) -> Any:
        value = function(form.restored(x), *args)
        return as_constant(target.caller, "jac", value) if is_tensor(value) else value

    return matrix


def check_dependence(
    function: Callable[..., Any],
    x: np.ndarray,
    others: Sequence[np.ndarray],
    caller: str,
    name: str,
) -> None:
    """Check that a function depends on x; called where all its derivatives are zero.

    Raises
    ------
    ValueError
        If it does not.
    """
    constants = [from_numpy(np.array(a)) for a in others]

    def probe(vector: Any) -> Any:
        value = function(vector, *constants)
        if not is_active(value):
            raise ValueError(
                f"{caller}: `{name}` does not depend on x: it returns a constant, computed without it, or "
                "with x.detach(), x.item() or np.asarray(x)"
            )
        return value.sum()

    grad(probe)(from_numpy(np.array(x, dtype=float)))


def as_vector(x: Any) -> np.ndarray:
    """Return what SciPy hands over as the array that compiled code takes."""
    return x if type(x) is np.ndarray and x.dtype.kind in "fc" else np.asarray(x, dtype=float)


def as_number(value: Any, caller: str, name: str) -> Any:
    """Return the result of an objective as a Tensor without dimensions.

    Raises
    ------
    TypeError, ValueError
        If it is no number.
    """
    if value is None:
        raise TypeError(
            f"{caller}: `{name}` must return a number, not None (is a `return` missing?)"
        )
    if isinstance(value, tuple | list | dict):
        raise TypeError(f"{caller}: `{name}` must return a number, not a {type(value).__name__}")
    result = to_tensor(value, f"{caller}: the result of `{name}`")
    if result.numel() != 1:
        raise ValueError(
            f"{caller}: `{name}` must return a number, and returned {result.numel()}, of shape "
            f"{list(result.shape)}; sum them, or give them to least_squares"
        )
    return result.reshape(())


def _text(x: Any) -> str:
    return np.array2string(np.asarray(x), threshold=8, edgeitems=3)


def not_a_number(caller: str, name: str, value: Any, x: Any, hint: str = "") -> str:
    """Return the error's text for a function that returned nan at a point."""
    return f"{caller}: `{name}` returned {_text(value)} at x = {_text(x)}{hint}"


class Objective(Target):
    """A function that returns a number, with its derivatives; the last point is remembered."""

    _point: bytes | None = None

    def start(self) -> None:
        """Prepare value and gradient."""
        self._number, self._is_first = self.number(), True
        self._both = self.evaluation("gradient", grad_and_value(self._number))

    def _move(self, x: np.ndarray, point: bytes) -> None:
        """Compute value and gradient at a point."""
        self._point = None
        gradient, value = self._both(x, *self.arguments.arrays)
        number = value.item()
        if number != number:
            raise ValueError(not_a_number(self.caller, self.name, value, x, HINT))
        square = gradient.dot(gradient)
        if square != square and abs(number) != np.inf:
            raise ValueError(
                f"{self.caller}: the gradient of `{self.name}` is {_text(gradient)} at x = {_text(x)}, where "
                f"its value is {number}"
            )
        if self._is_first and not gradient.any():  # later, a way through it may be constant
            check_dependence(self._number, x, self.arguments.arrays, self.caller, self.name)
        self._is_first = False
        self.progress.note(number)
        self._value, self._gradient, self._point = number, gradient, point

    def value(self, x: np.ndarray) -> float:
        """Return the value."""
        x = as_vector(x)
        point = x.tobytes()
        if point != self._point:
            self._move(x, point)
        return self._value

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient, which was computed with the value."""
        x = as_vector(x)
        point = x.tobytes()
        if point != self._point:
            self._move(x, point)
        return self._gradient

    def only_values(self) -> Callable[[np.ndarray], Any]:
        """Return the function that computes values, without derivatives."""
        number, others, progress = self.number(), self.arguments.arrays, self.progress
        run = self.evaluation("number", lambda *tensors: (number(*tensors),))
        caller, name = self.caller, self.name

        def value(x: np.ndarray) -> Any:
            x = as_vector(x)
            result = run(x, *others)[0].item()
            if result != result:
                raise ValueError(not_a_number(caller, name, result, x, HINT))
            progress.note(result)
            return result

        return value

    def hessian(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function that computes second derivatives."""
        number, others = self.number(), self.arguments.arrays
        second = hessian(number)
        run = self.evaluation("hessian", lambda *tensors: (second(*tensors),))
        return lambda x: run(as_vector(x), *others)[0]

    def hessian_product(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return the function that multiplies second derivatives with a vector."""
        number, others = self.number(), self.arguments.arrays

        def product(x: Any, direction: Any, *rest: Any) -> tuple[Any]:
            return (hvp(lambda v: number(v, *rest), x, direction),)

        run = self.evaluation("product", product)
        return lambda x, direction: run(as_vector(x), as_vector(direction), *others)[0]
