"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .elementwise import ElementwiseOptimizer, Update, decayed, rate_of
from .optimizer import ParamsT, check_at_least_zero

__all__ = ["SGD"]


class SGD(ElementwiseOptimizer):
    """Stochastic gradient descent, with momentum.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts with ``"params"`` and options.
    lr : float or Tensor
        Learning rate.
    momentum : float
        Factor of the last update.
    dampening : float
        The gradient's share is one minus this, from the second step on.
    weight_decay : float
        Factor of an L2 penalty.
    nesterov : bool
    maximize : bool
        Ascend.
    foreach, fused : bool, optional
        Taken, and of no effect: there is one way of computing.
    differentiable : bool
        Record the step, for derivatives of it.

    Raises
    ------
    ValueError
        PyTorch's, for options out of their range.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8000, 1.6000], requires_grad=True)
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_at_least_zero(lr=lr)
        check_at_least_zero(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
                "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the name of the momentum's buffer, if there is momentum."""
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def initial(self, group: dict[str, Any], param: Any) -> dict[str, Any]:
        """Return a buffer of zeros, and the note that the first gradient goes there undampened."""
        if group["momentum"] == 0:
            return {}
        buffer = super().initial(group, param)["momentum_buffer"]
        return {"momentum_buffer": buffer, "first": True}

    def advance(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """Return the gradient's share in the buffer."""
        return (1.0 if state.pop("first", False) else 1 - group["dampening"],)

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update of a step."""
        (share,) = numbers
        momentum, nesterov, gradient = group["momentum"], group["nesterov"], decayed(group)
        lr = rate_of(group)

        def update(p: Any, g: Any, buffer: Any = None) -> None:
            g = gradient(p, g)
            if momentum != 0:
                buffer *= momentum
                buffer += g if share == 1 else share * g
                g = g + momentum * buffer if nesterov else buffer
            p -= lr * g

        return update
