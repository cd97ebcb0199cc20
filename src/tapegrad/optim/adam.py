"""Adam and its relatives: running averages of the gradient and of its square."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import (
    ElementwiseOptimizer,
    Update,
    decayed,
    number,
    number_of_steps,
    rate_of,
    scalar,
)
from .optimizer import ParamsT, check_at_least_zero, check_rate, check_unit_interval

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def _check(lr: Any, betas: Any, eps: float, weight_decay: Any) -> None:
    """Raise PyTorch's ValueErrors for options of this family."""
    check_rate(lr)
    check_at_least_zero(eps=eps)
    check_unit_interval(betas)
    check_at_least_zero(weight_decay=weight_decay)


def _averages(beta1: float, beta2: float) -> Update:
    """Return the update of both running averages."""

    def update(g: Any, mean: Any, square: Any) -> None:
        mean += (g - mean) * (1 - beta1)
        square *= beta2
        square += (1 - beta2) * g * g

    return update


class Adam(ElementwiseOptimizer):
    """Adam: steps in units of the gradient's root mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
        Learning rate.
    betas : tuple of float
        Coefficients of the running averages of the gradient and of its square.
    eps : float
        Added to the denominator.
    weight_decay : float
        Factor of an L2 penalty.
    amsgrad : bool
        Divide by the largest average so far.
    foreach, capturable, fused : bool, optional
        Taken, and of no effect: there is one way of computing.
    maximize : bool
        Ascend.
    differentiable : bool
        Record the step, for derivatives of it.
    decoupled_weight_decay : bool
        Shrink the parameters, instead of a penalty: this is `AdamW`.

    Raises
    ------
    ValueError
        PyTorch's, for options out of their range.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, amsgrad: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        _check(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                "maximize": maximize, "foreach": foreach, "capturable": capturable,
                "differentiable": differentiable, "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the averages."""
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        (step,) = numbers
        beta1, beta2 = map(number, group["betas"])
        lr = rate_of(group)
        size = lr / (1 - beta1**step)
        scale, eps = (1 - beta2**step) ** 0.5, group["eps"]
        gradient, average = decayed(group), _averages(beta1, beta2)

        def update(p: Any, g: Any, mean: Any, square: Any, largest: Any = None) -> None:
            g = gradient(p, g)
            average(g, mean, square)
            if largest is not None:
                largest[...] = square = np.maximum(largest, square)
            p -= size * mean / (np.sqrt(square) / scale + eps)

        return update


class AdamW(Adam):
    """Adam with a decay of the weights that is no part of the gradient.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    betas : tuple of float
    eps : float
    weight_decay : float
        Each step multiplies the parameters with one minus ``lr`` times this.
    amsgrad : bool
    maximize : bool
    foreach, capturable, fused : bool, optional
        Of no effect.
    differentiable : bool

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.AdamW([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8990], requires_grad=True)
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


class Adamax(ElementwiseOptimizer):
    """Adam by the largest gradient in the place of the mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    betas : tuple of float
    eps : float
    weight_decay : float
    foreach, capturable : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        _check(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the average and of the largest gradient."""
        return ("exp_avg", "exp_inf")

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        (step,) = numbers
        (beta1, beta2), eps = group["betas"], group["eps"]
        lr = rate_of(group)
        size, gradient = lr / (1 - beta1**step), decayed(group)

        def update(p: Any, g: Any, mean: Any, largest: Any) -> None:
            g = gradient(p, g)
            mean += (g - mean) * (1 - beta1)
            largest[...] = top = np.maximum(largest * beta2, np.abs(g) + eps)
            p -= size * mean / top

        return update


class NAdam(ElementwiseOptimizer):
    """Adam with Nesterov's momentum.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    betas : tuple of float
    eps : float
    weight_decay : float
    momentum_decay : float
    decoupled_weight_decay : bool
    foreach, capturable : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check(lr, betas, eps, weight_decay)
        check_at_least_zero(momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize, "foreach": foreach, "capturable": capturable,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the averages."""
        return ("exp_avg", "exp_avg_sq")

    def initial(self, group: dict[str, Any], param: Any) -> dict[str, Any]:
        """Return zeros, and the product of all momenta, which is one."""
        return {**super().initial(group, param), "mu_product": scalar(1.0)}

    def advance(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """Return the number of steps, this momentum and the next, and the product of all so far."""
        step, decay, beta1 = number_of_steps(state), group["momentum_decay"], group["betas"][0]
        now, following = (beta1 * (1.0 - 0.5 * 0.96 ** (k * decay)) for k in (step, step + 1))
        product = state["mu_product"].item() * now
        state["mu_product"] = scalar(product)
        return step, now, following, state["mu_product"].item()

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        step, now, following, product = numbers
        (beta1, beta2), eps = group["betas"], group["eps"]
        lr = rate_of(group)
        scale, gradient, average = 1 - beta2**step, decayed(group), _averages(beta1, beta2)
        of_gradient = lr * (1.0 - now) / (1.0 - product)
        of_mean = lr * following / (1.0 - product * following)

        def update(p: Any, g: Any, mean: Any, square: Any) -> None:
            g = gradient(p, g)
            average(g, mean, square)
            root = np.sqrt(square / scale) + eps
            p -= of_gradient * g / root
            p -= of_mean * mean / root

        return update


class RAdam(ElementwiseOptimizer):
    """Adam that waits until its average of squares is one to rely on.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
    betas : tuple of float
    eps : float
    weight_decay : float
    decoupled_weight_decay : bool
    foreach, capturable : bool, optional
        Of no effect.
    maximize : bool
    differentiable : bool
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "foreach": foreach, "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the averages."""
        return ("exp_avg", "exp_avg_sq")

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        (step,) = numbers
        (beta1, beta2), eps = group["betas"], group["eps"]
        lr = rate_of(group)
        correction, left = 1 - beta1**step, 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / left  # of the average's memory
        gradient, average = decayed(group), _averages(beta1, beta2)
        rectified = length > 5.0
        if rectified:
            rate = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            scale = (rate * left) ** 0.5

        def update(p: Any, g: Any, mean: Any, square: Any) -> None:
            g = gradient(p, g)
            average(g, mean, square)
            change = (lr / correction) * mean
            if rectified:
                change = change * scale / (np.sqrt(square) + eps)
            p -= change

        return update
