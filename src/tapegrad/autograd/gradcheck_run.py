"""One run of `gradcheck`: which derivatives are compared with which, and what else must hold.

Slow mode compares whole Jacobians, fast mode one product of each with random vectors from both sides.
Jacobians are transposed here, as in PyTorch's messages: a row for each element of the input.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.dtypes import float64
from ..functions.creation.creation import tensor
from ..tape.recording import is_tensor
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from . import finite_differences
from .finite_differences import as_tuple, of_parts
from .gradients import grad
from .jacobian_products import Pushforward, pull, unit_batches
from .transform_level import Level

__all__ = ["Check", "GradcheckError"]


class GradcheckError(RuntimeError):
    """`gradcheck` found a derivative that is wrong.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.ones(2, requires_grad=True)
    >>> wrong = lambda x: x * x.detach()
    >>> try:
    ...     tg.autograd.gradcheck(wrong, (x,))
    ... except tg.autograd.GradcheckError as error:
    ...     print(str(error).splitlines()[0])
    Jacobian mismatch for output 0 with respect to input 0,
    """


GradcheckError.__module__ = __name__.rpartition(".")[0]  # tracebacks print a name to catch it by


class Check:
    """One run of `gradcheck`."""

    def __init__(
        self, func: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float,
        rtol: float, nondet_tol: float,
    ) -> None:  # fmt: skip
        func, inputs = of_parts(func, inputs)
        self.func, self.inputs = func, inputs
        self.eps, self.atol, self.rtol, self.nondet_tol = eps, atol, rtol, nondet_tol
        self.positions = [i for i, x in enumerate(inputs) if is_tensor(x) and x.requires_grad]
        self.wanted: list[Any] = [inputs[i] for i in self.positions]
        self._check_inputs()
        self.returned = as_tuple(call_user(func, *inputs))
        #: positions of the outputs that can be differentiated, among all
        self.differentiable = [i for i, y in enumerate(self.returned) if y.requires_grad]
        self.outputs: list[Any] = [self.returned[i] for i in self.differentiable]

    def _check_inputs(self) -> None:
        for i, x in zip(self.positions, self.wanted, strict=True):
            if x.dtype is not float64:
                warnings.warn(
                    f"Input #{i} requires gradient and is not a double precision floating point or "
                    "complex. This check will likely fail if all the inputs are not of double precision "
                    "floating point or complex. ",
                    UserWarning,
                    stacklevel=4,
                )
            if any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape, strict=True)):
                raise RuntimeError(
                    f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that "
                    "are non-overlapping to be able to compute the numerical gradients correctly. You "
                    "should call .contiguous on the input before passing it to gradcheck."
                )
        if not self.wanted:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of them have "
                "requires_grad=True."
            )

    # ------------------------------------------------------------------ whole Jacobians
    def compare_jacobians(self, *, forward: bool, check_dtypes: bool) -> None:
        """Compare every element of the Jacobians."""
        numerical = [
            finite_differences.numerical_columns(self.func, self.inputs, i, self.eps)
            for i in self.positions
        ]
        if not self.outputs:
            for known in (n for by_output in numerical for n in by_output if n is not None):
                if np.any(known != 0):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
            return
        analytical = self._columns() if forward else None
        for i, position in enumerate(self.differentiable):
            blocks = self._rows(i, check_dtypes) if analytical is None else analytical[i]
            for j, a in enumerate(blocks):
                n = numerical[j][position]
                assert n is not None
                if not np.allclose(a, n, self.rtol, self.atol):
                    raise GradcheckError(_mismatch(i, j, tensor(n), tensor(a), forward))

    def _pull(self, output: Tensor, cotangent: Tensor) -> list[Tensor | None]:
        return pull([output], self.wanted, [cotangent], retain_graph=True)

    def _rows(self, i: int, check_dtypes: bool) -> list[np.ndarray]:
        """Transposed Jacobians of output `i`, one for each input, computed twice."""
        y = self.outputs[i]
        runs = []
        for _ in range(2):
            rows = [self._pull(y, seed) for batch in unit_batches(y) for seed in batch]
            if check_dtypes:
                self._check_dtypes(rows)
            runs.append(
                [_matrix_of([r[j] for r in rows], x.numel()).T for j, x in enumerate(self.wanted)]
            )
        for first, second in zip(*runs, strict=True):
            self._check_equal(first, second)
        return runs[0]

    def _check_dtypes(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            for g, x in zip(row, self.wanted, strict=True):
                if g is not None and g.dtype is not x.dtype:
                    raise GradcheckError("Gradient has dtype mismatch")

    def _check_equal(self, first: np.ndarray, second: np.ndarray) -> None:
        if first.size and np.abs(first - second).max() > self.nondet_tol:
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output "
                "multiple times gives different values, although analytical gradient matches numerical "
                f"gradient.The tolerance for nondeterminism was {self.nondet_tol}."
                "\n\nNOTE: If the function is not deterministic, call gradcheck/gradgradcheck\n"
                "with `nondet_tol=<tol>` as a keyword argument."
            )

    def _push(self, j: int, tangent: Tensor, *, batched: bool = False) -> list[Tensor | None]:
        """The outputs' tangents for one of the wanted input `j`, of a run of the function of its own.

        A Function's ``jvp`` may drop what it has used, so it is called once on each context.
        """
        with Level(guards=False) as level:  # gradgradcheck's function runs backward
            lifted = list(self.inputs)
            for i in self.positions:
                lifted[i] = level.lift(self.inputs[i])
            outputs = as_tuple(call_user(self.func, *lifted))
            push = Pushforward(
                [outputs[i] for i in self.differentiable], [lifted[i] for i in self.positions]
            )
        return push(
            [tangent if k == j else None for k in range(len(self.positions))], batched=batched
        )

    def _columns(self) -> list[list[np.ndarray]]:
        """Transposed Jacobians by forward mode, for each output and input."""
        blocks: list[list[np.ndarray]] = [[] for _ in self.outputs]
        for j, x in enumerate(self.wanted):
            columns = [self._push(j, unit) for batch in unit_batches(x) for unit in batch]
            for i, y in enumerate(self.outputs):
                blocks[i].append(_matrix_of([c[i] for c in columns], y.numel()))
        return blocks

    # ------------------------------------------------------------------ products with random vectors
    def compare_products(self, *, forward: bool, check_dtypes: bool) -> None:
        """Compare one product of each Jacobian."""
        stream = np.random.default_rng(0)
        u = [_random(stream, x) for x in self.wanted]
        v = [_random(stream, y) for y in self.outputs]
        for j, (i, x) in enumerate(zip(self.positions, self.wanted, strict=True)):
            numerical = finite_differences.numerical_product(
                self.func, self.inputs, i, u[j], self.eps
            )
            if not self.outputs:
                if any(n is not None and np.any(np.abs(n) > self.nondet_tol) for n in numerical):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
                continue
            tangents = self._push(j, x.new_tensor(u[j])) if forward else None
            for k, position in enumerate(self.differentiable):
                y, n = self.outputs[k], numerical[position]
                assert n is not None
                if tangents is None:
                    a = self._product(y, x.new_tensor(v[k]), j, check_dtypes) @ u[j].ravel()
                else:
                    a = _flat(tangents[k], y.numel()) @ v[k].ravel()
                expected = n @ v[k].ravel()
                atol = self.atol * float(u[j].sum()) * float(v[k].sum())
                if not np.allclose(a, expected, self.rtol, atol):
                    raise GradcheckError(
                        _mismatch(k, j, expected, a, forward) + self._in_slow_mode(k, j, forward)
                    )

    def _product(self, y: Any, v: Tensor, j: int, check_dtypes: bool) -> np.ndarray:
        runs = [self._pull(y, v) for _ in range(2)]
        if check_dtypes:
            self._check_dtypes(runs)
        first, second = (_flat(r[j], self.wanted[j].numel()) for r in runs)
        self._check_equal(first, second)
        return first

    def _in_slow_mode(self, i: int, j: int, forward: bool) -> str:
        """Text for an error: a comparison of the whole Jacobians."""
        n = finite_differences.numerical_columns(
            self.func, self.inputs, self.positions[j], self.eps
        )[self.differentiable[i]]
        assert n is not None
        a = self._columns()[i][j] if forward else self._rows(i, False)[j]
        text = (
            "\nThe above quantities relating the numerical and analytical jacobians are computed \n"
            "in fast mode. See: https://github.com/pytorch/pytorch/issues/53876 for more background \n"
            "about fast mode. Below, we recompute numerical and analytical jacobians in slow mode:\n\n"
            f"Numerical:\n {tensor(n)}\nAnalytical:\n{tensor(a)}\n\n"
            f"The max per-element difference (slow mode) is: {np.abs(n - a).max()}.\n"
        )
        if np.allclose(a, n, self.rtol, self.atol):
            text += (
                "\nFast gradcheck failed but element-wise differences are small. This means that the\n"
                "test might've passed in slow_mode!\n"
            )
        return text

    # ------------------------------------------------------------------ further properties
    def zero_cotangents(self, masked: bool) -> None:
        """Zero cotangents must give zero gradients."""
        zeros = [y.new_zeros(y.shape) for y in self.outputs]
        for g in pull(self.outputs, self.wanted, zeros, retain_graph=True):
            if g is None:
                continue
            value = g._array()
            if not (np.allclose(value, 0) if masked else bool((value == 0).all())):
                raise GradcheckError("backward not multiplied by grad_output")

    def undefined_cotangents(self) -> None:
        """With the cotangent of an output undefined, and zeros for the others, gradients are zero."""
        for left_out in range(len(self.outputs) if len(self.outputs) > 1 else 0):
            outputs = [y for y in as_tuple(call_user(self.func, *self.inputs)) if y.requires_grad]
            others = [y for k, y in enumerate(outputs) if k != left_out]
            try:
                gradients = grad(
                    others, self.wanted, [y.new_zeros(y.shape) for y in others], allow_unused=True
                )
            except RuntimeError as error:
                raise GradcheckError(
                    "Expected backward function to handle undefined output grads. Please look at "
                    '"Notes about undefined output gradients" in "tools/autograd/derivatives.yaml"'
                ) from error
            if any(g is not None and bool((g != 0).any()) for g in gradients):
                raise GradcheckError(
                    "Expected all input grads to be undefined or zero when all output grads are "
                    'undefined or zero. Please look at "Notes about undefined output gradients" in '
                    '"tools/autograd/derivatives.yaml"'
                )

    def batched_gradients(self) -> None:
        """Two cotangents at once must give what they give one after the other."""
        stream = np.random.default_rng(0)
        for i, y in enumerate(self.outputs):
            seeds = y.new_tensor(stream.standard_normal((2, *y.shape)))
            expected = [self._pull(y, seeds[k]) for k in range(2)]
            batch = pull([y], self.wanted, [seeds], retain_graph=True, batched=True)
            self._check_batch(i, batch, expected)

    def batched_tangents(self) -> None:
        """Two tangents at once must give what they give one after the other."""
        stream = np.random.default_rng(0)
        for j, x in enumerate(self.wanted):
            tangents = x.new_tensor(stream.standard_normal((2, *x.shape)))
            expected = [self._push(j, tangents[k]) for k in range(2)]
            batch = self._push(j, tangents, batched=True)
            self._check_batch(j, batch, expected)

    def _check_batch(
        self, number: int, batch: Sequence[Any], expected: Sequence[Sequence[Any]]
    ) -> None:
        for other, whole in enumerate(batch):
            parts = [e[other] for e in expected]
            if whole is None and all(p is None for p in parts):
                continue
            if not np.allclose(whole._array(), np.stack([p._array() for p in parts])):
                raise GradcheckError(
                    f"For output {number} and input {other}:\n\ngradcheck or gradgradcheck failed while "
                    f"testing batched gradient computation.\n\nGot:\n{whole}\n\nExpected:\n{parts}"
                )


def _random(stream: np.random.Generator, like: Any) -> np.ndarray:
    """A vector of length one with positive elements, of a tensor's shape."""
    vector = np.asarray(stream.random(like.shape))
    return vector / max(float(np.linalg.norm(vector)), 1e-300)


def _flat(t: Any, size: int) -> np.ndarray:
    return np.zeros(size) if t is None else t._array().ravel()


def _matrix_of(parts: Sequence[Any], size: int) -> np.ndarray:
    return np.stack([_flat(t, size) for t in parts]) if parts else np.zeros((0, size))


def _mismatch(i: int, j: int, numerical: Any, analytical: Any, forward: bool) -> str:
    mode = "computed with forward mode " if forward else ""
    return (
        f"Jacobian {mode}mismatch for output {i} with respect to input {j},\n"
        f"numerical:{numerical}\nanalytical:{analytical}\n"
    )
