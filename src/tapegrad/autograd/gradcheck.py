"""PyTorch's ``gradcheck`` and ``gradgradcheck``: derivatives against finite differences.

gradcheck_run.py does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape.recording import is_tensor
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from .finite_differences import as_tuple
from .gradcheck_run import Check, GradcheckError
from .gradients import grad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
    check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:  # fmt: skip
    """Compare the derivatives of a function with central differences.

    Parameters
    ----------
    func : callable
        Takes tensors, and anything else, and returns a tensor or a tuple of them.
    inputs : Tensor or tuple
        The arguments. Derivatives are checked with respect to the tensors that require grad, which
        should be float64.
    eps : float
        Step of the differences.
    atol, rtol : float
        How far analytical and numerical derivatives may be apart: ``atol + rtol * abs(numerical)``.
    raise_exception : bool
        Raise if the check fails, instead of returning False.
    nondet_tol : float
        How far two runs of the same backward pass may be apart.
    check_undefined_grad : bool
        Also leave out the cotangent of each output in turn. An op with one output is not visited at
        all then, so this is about functions with several.
    check_grad_dtypes : bool
        Also check that gradients have their inputs' dtypes.
    check_batched_grad : bool
        Also compare ``is_grads_batched=True`` with one call for each cotangent.
    check_batched_forward_grad : bool
        The same for tangents.
    check_forward_ad, check_backward_ad : bool
        Which modes to check.
    fast_mode : bool
        Compare one product with random vectors instead of each element.
    masked : bool, optional
        Whether zero cotangents may give gradients that are only close to zero.

    Returns
    -------
    bool
        True if all derivatives are right.

    Raises
    ------
    GradcheckError
        If a derivative is wrong.
    ValueError, AssertionError, RuntimeError
        For wrong arguments; PyTorch's texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([0.3, 0.5], requires_grad=True)
    >>> tg.autograd.gradcheck(lambda x: x.sin() * x, x)
    True
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError(
            "Expected at least one of check_forward_ad or check_backward_ad to be True"
        )
    if check_batched_grad and not check_backward_ad:
        raise AssertionError(
            "Setting check_batched_grad=True requires check_backward_ad to be True"
        )
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError(
            "Setting check_batched_forward_grad=True requires check_forward_ad to be True"
        )
    check = Check(func, as_tuple(inputs), eps, atol, rtol, nondet_tol)
    compare = check.compare_products if fast_mode else check.compare_jacobians
    try:
        if check_backward_ad:
            compare(forward=False, check_dtypes=check_grad_dtypes)
        if check_forward_ad:
            compare(forward=True, check_dtypes=check_grad_dtypes)
            if check_batched_forward_grad:
                check.batched_tangents()
        if check_backward_ad:
            if check_batched_grad:
                check.batched_gradients()
            check.zero_cotangents(bool(masked))
            if check_undefined_grad:
                check.undefined_cotangents()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False,
    masked: bool = False,
) -> bool:  # fmt: skip
    """Compare second derivatives with central differences of the first.

    Parameters
    ----------
    func, inputs, eps, atol, rtol, raise_exception, nondet_tol, check_undefined_grad
        As for `gradcheck`, which checks the backward pass of `func` as a function of the inputs and
        the cotangents.
    grad_outputs : Tensor or tuple of Tensor, optional
        The cotangents; random ones that require grad if None.
    gen_non_contig_grad_outputs : bool
        Whether the random cotangents are not contiguous.
    check_grad_dtypes, check_batched_grad, fast_mode, masked
        As for `gradcheck`.
    check_fwd_over_rev, check_rev_over_rev : bool
        In which modes the backward pass is differentiated.

    Returns
    -------
    bool
        True if all derivatives are right.

    Raises
    ------
    GradcheckError
        If a derivative is wrong.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.tensor([0.3, 0.5], requires_grad=True)
    >>> tg.autograd.gradgradcheck(lambda x: x.sin() * x, x)
    True
    """
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError(
            "Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True"
        )
    for wrong, name in (
        (check_undefined_grad, "check_undefined_grad"), (check_batched_grad, "check_batched_grad"),
    ):  # fmt: skip
        if wrong and not check_rev_over_rev:
            raise AssertionError(f"Setting {name}=True requires check_rev_over_rev to be True")
    arguments = as_tuple(inputs)
    if grad_outputs is None:
        outputs = [y for y in as_tuple(call_user(func, *arguments)) if y.requires_grad]
        seeds = tuple([_random_leaf(y, gen_non_contig_grad_outputs) for y in outputs])
    else:
        seeds = as_tuple(grad_outputs)
    wanted = {i for i, x in enumerate((*arguments, *seeds)) if is_tensor(x) and x.requires_grad}

    def backward_pass(*args: Any) -> tuple[Any, ...]:
        leaves = [x.requires_grad_() if i in wanted else x for i, x in enumerate(args)]
        primals, cotangents = leaves[: len(arguments)], leaves[len(arguments) :]
        outputs = [y for y in as_tuple(call_user(func, *primals)) if y.requires_grad]
        active = [x for i, x in enumerate(primals) if i in wanted]
        gradients = grad(outputs, active, cotangents, create_graph=True, allow_unused=True)
        return tuple([g for g in gradients if g is not None])

    return gradcheck(
        backward_pass, (*arguments, *seeds), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, fast_mode=fast_mode,
        check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, masked=masked,
    )  # fmt: skip


def _random_leaf(like: Any, scattered: bool) -> Tensor:
    """Random numbers from -1 to 1 of a tensor's shape, that require grad."""
    shape = (*like.shape, 2) if scattered and like.ndim else tuple(like.shape)
    random = np.random.default_rng(1)
    numbers = random.uniform(-1, 1, shape)
    if like.dtype.is_complex:
        numbers = numbers + 1j * random.uniform(-1, 1, shape)
    leaf = like.new_tensor(numbers)
    if shape != tuple(like.shape):
        leaf = leaf[..., 0]
    return leaf.detach().requires_grad_()
