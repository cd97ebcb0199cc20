"""Gradients of parameters that are too long, made shorter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ...autograd import no_grad
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
]  # fmt: skip


def _listed(parameters: Any) -> list[Any]:
    """Return parameters as a list; one alone counts as a list of one."""
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def get_total_norm(
    tensors: Any,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of all elements of tensors together.

    Raises
    ------
    RuntimeError
        With `error_if_nonfinite`, if it is infinite or NaN.
    """
    tensors, kind = _listed(tensors), float(norm_type)
    if not tensors:
        nothing: Tensor = top_level("tensor")(0.0)
        return nothing
    norms = [top_level("linalg_vector_norm")(t, kind) for t in tensors]
    total: Tensor = top_level("linalg_vector_norm")(top_level("stack")(norms), kind)
    if error_if_nonfinite and not bool(top_level("isfinite")(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
            "anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None
) -> None:
    """Scale gradients, whose norm is known, so that it is `max_norm` at most."""
    gradients = [p.grad for p in _listed(parameters) if p.grad is not None]
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.to(gradient.dtype))


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale the gradients of parameters so that the norm of all together is `max_norm` at most.

    Parameters
    ----------
    parameters : Tensor, or iterable of them
    max_norm : float
    norm_type : float
        May be infinity.
    error_if_nonfinite : bool
        Whether a norm that is infinite or NaN is an error; nothing has changed then.

    Returns
    -------
    Tensor
        The norm before.
    """
    if isinstance(parameters, Iterable) and not isinstance(parameters, Tensor):
        parameters = list(parameters)
        if not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3
            )
    parameters = _listed(parameters)
    with no_grad():
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Do what `clip_grad_norm_` does, which is its name now."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp the elements of the gradients of parameters to ``[-clip_value, clip_value]``."""
    bound = float(clip_value)
    with no_grad():
        for parameter in _listed(parameters):
            if parameter.grad is not None:
                parameter.grad.clamp_(-bound, bound)
