"""``grad`` and ``backward`` with PyTorch's arguments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias, overload

from ..engine import reverse as engine
from ..engine.edges import GradientEdge, as_inputs, as_roots, sequence_of
from ..functions.arguments import from_array, is_array
from ..functions.registry import FUNCTIONS
from ..tape import readout
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import summed, with_earlier
from ..tensors.tensor import Tensor
from ..transforms import duals
from .batched_grad import grad_batched

__all__ = ["backward", "grad"]

#: roots or targets of a pass, and cotangents of roots
Places: TypeAlias = Tensor | GradientEdge | Sequence[Tensor | GradientEdge]
Cotangents: TypeAlias = Tensor | Sequence[Tensor | None] | None


def _matching(values: Any, count: int) -> tuple[Any, ...]:
    """Cotangents for `count` tensors; None stands for none given."""
    if values is None:
        return (None,) * count
    alone = record.is_tensor(values) or is_array(values)
    cotangents = (values,) if alone else tuple(values)
    if len(cotangents) < count:
        raise RuntimeError(f"got {count} tensors and {len(cotangents)} gradients")
    return tuple([from_array(x) if is_array(x) else x for x in cotangents[:count]])


def backward(
    tensors: Places,
    grad_tensors: Cotangents = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Cotangents = None,
    inputs: Places | dict[Any, Any] | None = None,
) -> None:
    """Add the gradients of the sum of `tensors` to the ``grad`` of the graph's leaves.

    Parameters
    ----------
    tensors : Tensor, GradientEdge, or sequence of these
        Roots of the graph.
    grad_tensors : Tensor or sequence of (Tensor or None), optional
        A cotangent a root, of its shape; not needed for one-element roots.
    retain_graph : bool, optional
        Keep the residuals for another backward; by default as `create_graph`.
    create_graph : bool
        Record the backward pass, so that it can be differentiated.
    grad_variables : optional
        Deprecated name of `grad_tensors`.
    inputs : Tensor, GradientEdge, sequence or dict of these, optional
        Accumulate into these only.

    Raises
    ------
    RuntimeError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.autograd.backward((a * a).sum())
    >>> a.grad
    tensor([2., 4.])
    """
    if grad_variables is not None:
        warnings.warn(
            "`grad_variables` is deprecated. Use `grad_tensors` instead.",
            FutureWarning,
            stacklevel=2,
        )
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                "`backward()`. Please only use `grad_tensors`."
            )
        grad_tensors = grad_variables
    readout.guard("backward")
    roots = as_roots(tensors)
    duals.check_roots(roots)
    cotangents = _matching(grad_tensors, len(roots))
    if not roots:
        return
    engine.backward(
        roots, cotangents, retain_graph=retain_graph, create_graph=create_graph, inputs=inputs
    )


@overload
def grad(
    outputs: Places, inputs: Places, grad_outputs: Cotangents = None,
    retain_graph: bool | None = None, create_graph: bool = False, only_inputs: bool = True,
    allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor, ...]: ...  # fmt: skip
@overload
def grad(
    outputs: Places, inputs: dict[Any, Any], grad_outputs: Cotangents = None,
    retain_graph: bool | None = None, create_graph: bool = False, only_inputs: bool = True,
    allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False,
) -> dict[Any, Tensor]: ...  # fmt: skip
def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Any:
    """Return the gradients of the sum of `outputs` with respect to `inputs`.

    Parameters
    ----------
    outputs : Tensor, GradientEdge, or sequence of these
    inputs : Tensor, GradientEdge, sequence or dict of these
    grad_outputs : Tensor or sequence of (Tensor or None), optional
        A cotangent an output, of its shape; not needed for one-element outputs.
    retain_graph : bool, optional
        Keep the residuals for another pass; by default as `create_graph`.
    create_graph : bool
        Record the pass, so that its results can be differentiated.
    only_inputs : bool
        Deprecated and ignored, as in PyTorch.
    allow_unused : bool, optional
        Return None for inputs that the outputs do not depend on, instead of raising; by default as
        `materialize_grads`.
    is_grads_batched : bool
        Whether the first dimension of each of `grad_outputs` counts cotangents: gradients get that
        dimension, too. The pass is prepared once for all of them.
    materialize_grads : bool
        Return zeros instead of None; with `create_graph`, they require grad, too.

    Returns
    -------
    tuple of (Tensor or None), or dict
        One gradient an input, of its shape and dtype; a dict for a dict of inputs.

    Raises
    ------
    RuntimeError
        PyTorch's errors, with its texts.
    UnsupportedError
        Without `create_graph`, inside of a function that `tapegrad.func.jvp` runs, of outputs that depend on
        its arguments: the result would have no tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.autograd.grad((a * a).sum(), a)
    (tensor([2., 4.]),)
    """
    must_be_used = allow_unused is None or allow_unused is False
    usual = only_inputs and must_be_used and not (is_grads_batched or materialize_grads)
    moved = current_tape().has_earlier  # leaves in a graph were given other data
    usual = usual and not (duals.running() or moved)
    if usual and grad_outputs is None and record.is_tensor(outputs) and record.is_tensor(inputs):
        # Most calls, without the many small steps of the others.
        alone = engine.grad(
            (outputs,), (inputs,), (None,), retain_graph=retain_graph, create_graph=create_graph
        )
        return tuple(alone)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate "
            "gradient for other parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    keys: Sequence[Any] | None = None
    if isinstance(inputs, dict):
        keys = list(inputs)
        inputs = tuple(inputs.values())
    roots = as_roots(outputs)
    duals.check_roots(roots)
    targets = sequence_of(inputs)
    wanted = as_inputs(targets)
    if not wanted:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    cotangents = _matching(grad_outputs, len(roots))
    if duals.running() and not create_graph:
        duals.check_tangents((*roots, *cotangents))
    derive = grad_batched if is_grads_batched else engine.grad
    if not roots and not allow_unused:
        raise RuntimeError(engine.unused(0))
    every, counts = with_earlier(wanted) if moved else (wanted, [])
    moved = len(every) > len(wanted)
    gradients: list[Any] = [None] * len(every) if not roots else derive(
        roots, every, cotangents, retain_graph=retain_graph, create_graph=create_graph,
        allow_unused=True if moved else allow_unused,
    )  # fmt: skip
    if moved:
        gradients = summed(gradients, counts)
        for i, g in enumerate(gradients):
            if g is None and not allow_unused:
                raise RuntimeError(engine.unused(i))
    if materialize_grads:
        if any(
            g is None and isinstance(x, GradientEdge)
            for x, g in zip(targets, gradients, strict=True)
        ):
            raise RuntimeError(
                "materialize_grads cannot be used when the given input is a GradientEdge"
            )
        gradients = [
            _zeros(x, cotangents, is_grads_batched, create_graph) if g is None else g
            for x, g in zip(wanted, gradients, strict=True)
        ]
    if keys is not None:
        return dict(zip(keys, gradients, strict=True))
    return tuple(gradients)


def _zeros(x: Tensor, cotangents: tuple[Any, ...], is_batched: bool, active: bool) -> Any:
    shape = tuple(x.shape)
    if is_batched:
        shape = (next(c.shape[0] for c in cotangents if c is not None), *shape)
    return FUNCTIONS["zeros"](shape, dtype=x.dtype, requires_grad=active)
