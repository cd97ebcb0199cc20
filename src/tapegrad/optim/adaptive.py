"""Optimizers that scale each element by the squares of its gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import ElementwiseOptimizer, Update, decayed, filled, rate_of, scalar
from .optimizer import ParamsT, check_at_least_zero, check_rate

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(ElementwiseOptimizer):
    """Steps in units of the running root mean square of the gradient.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    alpha : float
        Coefficient of the running average.
    eps : float
    weight_decay : float
    momentum : float
    centered : bool
        Take the variance instead of the mean square.
    capturable, foreach : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_at_least_zero(eps=eps)
        check_at_least_zero(momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the averages, and of the momentum's buffer."""
        names: tuple[str, ...] = ("square_avg",)
        names += ("momentum_buffer",) if group["momentum"] > 0 else ()
        return (*names, "grad_avg") if group["centered"] else names

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        alpha, eps, momentum = group["alpha"], group["eps"], group["momentum"]
        lr = rate_of(group)
        gradient, centered = decayed(group), group["centered"]

        def update(p: Any, g: Any, square: Any, *others: Any) -> None:
            g = gradient(p, g)
            square *= alpha
            square += (1 - alpha) * g * g
            if centered:
                mean = others[-1]
                mean += (g - mean) * (1 - alpha)
                root = np.sqrt(square - mean * mean) + eps
            else:
                root = np.sqrt(square) + eps
            if momentum > 0:
                buffer = others[0]
                buffer *= momentum
                buffer += g / root
                p -= lr * buffer
            else:
                p -= lr * g / root

        return update


class Adagrad(ElementwiseOptimizer):
    """Steps in units of the root of the sum of all squares of the gradient.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    lr_decay : float
    weight_decay : float
    initial_accumulator_value : float
        The sums before the first step.
    eps : float
    foreach, fused : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_at_least_zero(lr_decay=lr_decay, weight_decay=weight_decay)
        check_at_least_zero(initial_accumulator_value=initial_accumulator_value)
        check_at_least_zero(eps=eps)
        super().__init__(
            params,
            {
                "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self.initial(group, p)

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the name of the sums."""
        return ("sum",)

    def initial(self, group: dict[str, Any], param: Any) -> dict[str, Any]:
        """Return sums of the initial value."""
        value = group["initial_accumulator_value"]
        start = complex(value, value) if param.is_complex() else value
        return {"step": scalar(0.0), "sum": filled(param, start)}

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        (step,) = numbers
        lr = rate_of(group)
        size, eps = lr / (1 + (step - 1) * group["lr_decay"]), group["eps"]
        gradient = decayed(group)

        def update(p: Any, g: Any, squares: Any) -> None:
            g = gradient(p, g)
            squares += g * g
            p -= size * g / (np.sqrt(squares) + eps)

        return update


class Adadelta(ElementwiseOptimizer):
    """Steps of the size of earlier steps, in units of the gradient's root mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    rho : float
        Coefficient of the running averages.
    eps : float
    weight_decay : float
    foreach, capturable : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_at_least_zero(eps=eps)
        check_at_least_zero(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the averages."""
        return ("square_avg", "acc_delta")

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        lr = rate_of(group)
        rho, eps, gradient = group["rho"], group["eps"], decayed(group)

        def update(p: Any, g: Any, square: Any, moved: Any) -> None:
            g = gradient(p, g)
            square *= rho
            square += (1 - rho) * g * g
            delta = np.sqrt(moved + eps) / np.sqrt(square + eps) * g
            moved *= rho
            moved += (1 - rho) * delta * delta
            p -= lr * delta

        return update
