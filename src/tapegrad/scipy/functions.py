"""Functions of the user's as functions of a vector, and their derivatives, each an `Evaluation`.

`Target` holds the function, the form of its first argument and the further arguments. Its methods make what
SciPy calls: values, gradients, Jacobians, Hessians and their products with vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..func.arguments import to_tensor
from ..func.gradients import grad_and_value
from ..func.jacobians import hessian, jacfwd, jacrev
from ..func.jax_style import hvp
from ..tape.recording import is_active, is_tensor
from .evaluation import Evaluation
from .progress import Progress
from .vectors import Arguments, VectorForm, joined, name_of

__all__ = ["Objective", "Target"]


class _Once:
    """Remembers that something happened."""

    happened = False


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
    """

    def __init__(
        self, caller: str, function: Callable[..., Any], form: VectorForm, arguments: Arguments, *,
        compiled: bool = True, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        if not callable(function):
            raise TypeError(f"{caller}: expected a function, got {type(function).__name__}")
        self.caller, self.function, self.name = caller, function, name_of(function)
        self.form, self.arguments, self.given = form, arguments, arguments.given
        self.compiled, self.progress = compiled, progress or Progress(caller, False)

    def evaluation(self, kind: str, function: Callable[..., tuple[Any, ...]]) -> Evaluation:
        """Return a function of Tensors (the vector, further arguments) as one of arrays."""
        return Evaluation(
            self.caller, self.name, function, compiled=self.compiled,
            key=lambda: (kind, self.function, self.form.key, self.arguments.key),
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
    def values(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function of an array that returns a vector."""
        vector, others, progress = self.vector(), self.arguments.arrays, self.progress
        run = self.evaluation("values", lambda *tensors: (vector(*tensors),))
        caller, name = self.caller, self.name

        def values(x: np.ndarray) -> np.ndarray:
            (result,) = run(as_vector(x), *others)
            if result.dot(result) != result.dot(result):
                raise ValueError(_not_a_number(caller, name, result, x))
            progress.note(result)
            return result

        return values

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
            if not runs:
                is_wide = outputs() < x.size
                transform = jacrev(vector) if is_wide else jacfwd(vector)
                kind = f"jacobian {is_wide}"
                runs.append(self.evaluation(kind, lambda *tensors: (transform(*tensors),)))
            (result,) = runs[0](as_vector(x), *others)
            flat = result.reshape(-1)
            if flat.dot(flat) != flat.dot(flat):
                raise ValueError(
                    f"{caller}: the Jacobian of `{name}` has nan at x = {_text(x)}, where its values are "
                    "finite"
                )
            return result

        return jacobian


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


def _text(x: np.ndarray) -> str:
    return np.array2string(np.asarray(x), threshold=8, edgeitems=3)


def _not_a_number(caller: str, name: str, value: Any, x: np.ndarray) -> str:
    return (
        f"{caller}: `{name}` returned {np.array2string(np.asarray(value), threshold=8, edgeitems=3)} at "
        f"x = {_text(x)}; where it is not defined, let it return inf (tg.where), or keep the solver "
        "away by bounds"
    )


class Objective(Target):
    """A function that returns a number, with its derivatives; the last point is remembered."""

    _point: bytes | None = None

    def start(self) -> None:
        """Prepare value and gradient."""
        number, once = self.number(), _Once()
        caller, name = self.caller, self.name

        def depending(*tensors: Any) -> Any:
            value = number(*tensors)
            if not once.happened and not is_active(value):
                raise ValueError(
                    f"{caller}: `{name}` does not depend on x: it returns {_described(value)}, computed "
                    "without it, or with x.detach(), x.item() or np.asarray(x)"
                )
            once.happened = True
            return value

        self._both = self.evaluation("gradient", grad_and_value(depending))

    def _move(self, x: np.ndarray, point: bytes) -> None:
        """Compute value and gradient at a point."""
        self._point = None
        gradient, value = self._both(x, *self.arguments.arrays)
        number = value.item()
        if number != number:
            raise ValueError(_not_a_number(self.caller, self.name, value, x))
        square = gradient.dot(gradient)
        if square != square and abs(number) != np.inf:
            raise ValueError(
                f"{self.caller}: the gradient of `{self.name}` is {_text(gradient)} at x = {_text(x)}, where "
                f"its value is {number}"
            )
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
                raise ValueError(_not_a_number(caller, name, result, x))
            progress.note(result)
            return result

        return value

    def pairs(self) -> Callable[[np.ndarray], tuple[Any, np.ndarray]]:
        """Return the function that computes values and gradients where the user's returns both."""
        function, form, arguments, others, caller, name = (
            self.function, self.form, self.arguments, self.arguments.arrays, self.caller, self.name,
        )  # fmt: skip

        def both(vector: Any, *rest: Any) -> tuple[Any, Any]:
            pair = function(form.tree(vector), *arguments.tree(rest))
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise TypeError(
                    f"{caller}: with jac=True, `{name}` must return a pair (value, gradient), not "
                    f"{type(pair).__name__}"
                )
            gradient = joined(form.variables(pair[1]), f"{caller}: the gradient of `{name}`")
            return as_number(pair[0], caller, name), gradient

        run = self.evaluation("pair", both)

        def pair(x: np.ndarray) -> tuple[Any, np.ndarray]:
            value, gradient = run(as_vector(x), *others)
            if value != value:
                raise ValueError(_not_a_number(caller, name, value, x))
            self.progress.note(value.item())
            return value.item(), gradient

        return pair

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


def _described(value: Any) -> str:
    return "a constant" if not is_tensor(value) else f"a constant of dtype {value.dtype}"
