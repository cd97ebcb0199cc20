"""Limited-memory BFGS.

Nocedal, Updating quasi-Newton matrices with limited storage, Mathematics of Computation 35 (1980).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.grad_mode import enable_grad, no_grad
from ..base.dtypes import dtype_of
from ..tape import recording as record
from .elementwise import number
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer, ParamsT, check_rate

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """L-BFGS, with a line search or without.

    Parameters
    ----------
    params : iterable of Tensor
        One group of parameters, of one dtype.
    lr : float or Tensor
        Length of a step, in units of the direction.
    max_iter : int
        Most iterations of a step.
    max_eval : int, optional
        Most evaluations of a step; by default 1.25 times `max_iter`.
    tolerance_grad, tolerance_change : float
        End a step where the gradient, or the change of parameters or loss, is no larger.
    history_size : int
    line_search_fn : str, optional
        ``"strong_wolfe"``.

    Raises
    ------
    ValueError, RuntimeError
        PyTorch's, for a rate below zero, several groups, another line search.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> optimizer = tg.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - tg.tensor([1.0, 2.0])) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure)
    tensor(8., grad_fn=<SumBackward0>)
    >>> w
    tensor([1., 2.], requires_grad=True)
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        super().__init__(
            params,
            {
                "lr": lr, "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
                "history_size": history_size, "line_search_fn": line_search_fn,
            },
        )  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Any]:
        return self.param_groups[0]["params"]

    def _gradient(self) -> np.ndarray:
        """All gradients in one row, complex ones as pairs."""
        rows = []
        for p in self._params:
            grad = p.grad
            row = np.zeros(p.numel(), p.dtype.np) if grad is None else _row(grad)
            rows.append(row.view(row.real.dtype))
        return np.concatenate(rows)

    def _values(self) -> list[np.ndarray]:
        return [_row(p).copy() for p in self._params]

    def _write(self, values: list[np.ndarray], t: float = 0.0, direction: Any = None) -> None:
        """Write values into the parameters, moved by `t` times a part of the direction."""
        offset = 0
        for p, row in zip(self._params, values, strict=True):
            moved = row
            if direction is not None:
                real = row.view(row.real.dtype)
                moved = (real + t * direction[offset : offset + real.size]).view(row.dtype)
                offset += real.size
            p.copy_(_tensor(moved.reshape(tuple(p.shape))))

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Computes the loss anew, with its gradients, and returns it.

        Returns
        -------
        The loss before the step.

        Raises
        ------
        TypeError
            Without a closure.
        """
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        compute = enable_grad()(closure)
        group = self.param_groups[0]
        lr, max_iter, max_eval = float(number(group["lr"])), group["max_iter"], group["max_eval"]
        least_change = group["tolerance_change"]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = compute()
        loss, evaluations = float(first_loss), 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if np.abs(gradient).max(initial=0) <= group["tolerance_grad"]:
            return first_loss
        memory = _Memory(state, group["history_size"])
        iteration = 0
        while iteration < max_iter:
            iteration += 1
            state["n_iter"] += 1
            direction = memory.direction(gradient, first=state["n_iter"] == 1)
            memory.gradient, memory.loss, t = gradient.copy(), loss, lr
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / float(np.abs(gradient).sum())) * lr
            memory.t = t
            slope = float(gradient @ direction)
            if slope > -least_change:
                break
            values, calls = self._values(), 0
            if search is not None:

                def evaluate(t: float, values: Any = values, direction: Any = direction) -> Point:
                    self._write(values, t, direction)
                    value, row = float(compute()), self._gradient()
                    self._write(values)
                    return Point(t, value, row, float(row @ direction))

                point, calls = strong_wolfe(
                    evaluate, Point(0.0, loss, gradient, slope), t, float(np.abs(direction).max()),
                    max_ls=max_eval - evaluations,
                )  # fmt: skip
                loss, gradient, memory.t = point.value, point.gradient, point.t
                self._write(values, memory.t, direction)
            else:
                self._write(values, t, direction)
                if iteration != max_iter:
                    loss, gradient, calls = float(compute()), self._gradient(), 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                iteration == max_iter
                or evaluations >= max_eval
                or np.abs(gradient).max() <= group["tolerance_grad"]
                or np.abs(direction * memory.t).max() <= least_change
                or abs(loss - memory.loss) < least_change
            ):
                break
        memory.store(state)
        return first_loss


class _Memory:
    """The last steps and changes of the gradient, which stand for the inverse Hessian."""

    def __init__(self, state: dict[str, Any], size: int) -> None:
        self.size = size
        self.changes = [_row(y) for y in state.get("old_dirs") or ()]
        self.steps = [_row(s) for s in state.get("old_stps") or ()]
        self.weights = [float(r) for r in state.get("ro") or ()]
        self.scale = float(state.get("H_diag", 1.0))
        self.last = None if state.get("d") is None else _row(state["d"])
        self.t = float(state.get("t", 0.0))
        self.loss = float(state.get("prev_loss", 0.0))
        before = state.get("prev_flat_grad")
        self.gradient = None if before is None else _row(before)

    def direction(self, gradient: np.ndarray, *, first: bool) -> np.ndarray:
        """Return the direction for a gradient, after noting the last step."""
        if first:
            self.changes, self.steps, self.weights, self.scale = [], [], [], 1.0
            self.last = -gradient
            return self.last
        change: Any = gradient - self.gradient
        step: Any = self.last * self.t  # type: ignore[operator]
        product = float(change @ step)
        if product > 1e-10:
            if len(self.changes) == self.size:
                del self.changes[0], self.steps[0], self.weights[0]
            self.changes.append(change)
            self.steps.append(step)
            self.weights.append(1.0 / product)
            self.scale = product / float(change @ change)
        q, shares = -gradient, []
        rows = list(zip(self.changes, self.steps, self.weights, strict=True))
        for y, s, weight in reversed(rows):
            shares.append(float(s @ q) * weight)
            q -= shares[-1] * y
        q *= self.scale
        for (y, s, weight), share in zip(rows, reversed(shares), strict=True):
            q += (share - float(y @ q) * weight) * s
        self.last = q
        return q

    def store(self, state: dict[str, Any]) -> None:
        """Write everything into the optimizer's state, under PyTorch's names."""
        state["d"], state["t"] = _tensor(self.last), self.t
        state["old_dirs"] = [_tensor(y) for y in self.changes]
        state["old_stps"] = [_tensor(s) for s in self.steps]
        state["ro"], state["H_diag"] = list(self.weights), self.scale
        state["prev_flat_grad"], state["prev_loss"] = _tensor(self.gradient), self.loss


def _row(tensor: Any) -> np.ndarray:
    """A tensor's elements in one row; they may be its memory."""
    return np.ascontiguousarray(tensor.detach().numpy()).reshape(-1)


def _tensor(array: Any) -> Any:
    return record.leaf_tensor(array, dtype_of(array))
