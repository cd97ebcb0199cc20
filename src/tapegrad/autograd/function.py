"""`Function`: operations with a derivative of one's own.

A call runs ``forward`` without recording, copies its results into statements of their own
(ops/custom_function.py), and leaves a context on the tape; the reverse pass calls ``backward`` with it
(python_steps.py).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ..functions.creation.generator import unwatched
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.tape import Tape
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from ..transforms.batch_trace import BatchTrace
from ..transforms.trace import NotLifted
from .function_checks import (
    MORE,
    apart,
    checked_rule,
    checked_tangent,
    count_write,
    in_parameter_order,
)
from .function_context import FunctionCtx, context_type, marked
from .function_recording import record_call
from .grad_mode import no_grad

__all__ = ["Function", "FunctionCtx", "InplaceFunction", "once_differentiable"]


class Function:
    """Base of operations with a derivative of one's own.

    A subclass has static methods: either ``forward(ctx, *args)``, or ``forward(*args)`` and
    ``setup_context(ctx, inputs, output)``; and ``backward(ctx, *grad_outputs)``, which returns a
    gradient (or None) for each argument of ``forward``. ``apply`` calls it.

    Forward mode is derived from ``backward``, or uses ``jvp(ctx, *tangents)`` where that is given: it
    returns a tangent for each output. Under `tapegrad.func.vmap` the static method ``vmap(info,
    in_dims, *args)`` is called with whole batches, and returns the output and its ``out_dims``; or, with
    ``generate_vmap_rule = True``, ``forward`` and ``backward`` are recorded on a slice and lifted.

    Attributes
    ----------
    clear_saved_tensors_on_access : bool
        Whether ``backward`` may look at ``ctx.saved_tensors`` only once, which then drops them.
    generate_vmap_rule : bool

    Examples
    --------
    >>> import tapegrad as tg
    >>> class Cube(tg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return grad * 3 * x**2
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Cube.apply(a).sum().backward()
    >>> a.grad
    tensor([ 3., 12.])
    """

    clear_saved_tensors_on_access = False
    generate_vmap_rule = False

    def __init__(self, *_: Any, **__: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so "
            "you should invoke them on the class itself. Instantiating an autograd function will raise "
            "an error in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise that ``apply`` is what calls a Function.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style "
            "autograd function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs; to be overridden."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> Any:
        """Leave for ``backward`` what it needs; to be overridden, if ``forward`` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any, **_: Any) -> Any:
        """Return the gradients of the arguments; to be overridden.

        (Type checkers let a method with ``**_`` be overridden with any further parameters.)
        """
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function "
            "to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any, **_: Any) -> Any:
        """Return the tangents of the outputs; to be overridden for a forward mode of one's own."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward "
            "mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any, **_: Any) -> Any:
        """Compute the outputs for a batch; to be overridden, or ``generate_vmap_rule`` to be set."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or set "
            "generate_vmap_rule=True."
        )

    @classmethod
    def node_name(cls) -> str:
        """PyTorch's name of the node of a call."""
        return f"{cls.__name__}Backward"

    @classmethod
    def has_jvp(cls) -> bool:
        """Return True if `jvp` is overridden."""
        return cls.jvp is not Function.jvp

    @classmethod
    def transposed(
        cls, ctx: FunctionCtx, tape: Tape, anchor: int, cts: dict[int, Tensor]
    ) -> list[Tensor | None]:
        """Gradients of the tensors among the arguments that are zero, and whose transpose is `jvp`.

        Forward mode records the reverse pass from seeds of zero, to differentiate it with respect to them.
        """
        place = record.new_tensor(tape, anchor, tape.instruction_of(anchor).out)
        like = [
            (tuple(x.shape), x.dtype)
            for x in (tape.instruction_of(s).out for s in tape.args_of(anchor))
        ]
        return list(_Transposed.apply(cls, ctx, place, like, tuple(cts), *cts.values()))

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the operation on `args`; tensors among the results are differentiable."""
        separate = cls.setup_context is not Function.setup_context
        if separate or kwargs:
            args = in_parameter_order(cls.forward, args, kwargs, takes_ctx=not separate)
        tape = current_tape()
        if isinstance(tape, BatchTrace) and _has_rule(cls, tape):
            return _by_rule(cls, tape, args)
        needs = tuple([record.is_tensor(a) and record.is_active(a) for a in args])
        ctx = context_type(cls.node_name())(cls, needs)
        with no_grad():
            if separate:
                output = call_user(cls.forward, *args)
                call_user(cls.setup_context, ctx, args, output)
            else:
                output = call_user(cls.forward, ctx, *args)
        outputs = list(output) if isinstance(output, tuple) else [output]
        if separate and (ctx._saved or ctx._saved_forward):
            ctx.check_returned(args, outputs)
        outputs = apart(ctx, args, outputs)
        if True in needs and tape.grad_mode:
            _settle_vjp(cls)
            outputs = record_call(cls, ctx, args, outputs)
        else:
            for t in ctx._dirty:
                count_write(t)
        return tuple(outputs) if isinstance(output, tuple) else outputs[0]


class VmapInfo(NamedTuple):
    """The first argument of a Function's ``vmap``."""

    batch_size: int
    randomness: str


def _has_rule(function: type[Function], trace: BatchTrace) -> bool:
    """Return True if a Function has a rule for vmap; raise PyTorch's errors if it cannot be lifted."""
    name, is_overridden = function.__name__, function.vmap is not Function.vmap
    if is_overridden and function.generate_vmap_rule:
        text = (
            f"You tried to vmap over {name}, but it has both generate_vmap_rule=True and an overridden "
            "vmap staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap "
            f"staticmethod to avoid ambiguity. {MORE}"
        )
    elif function.generate_vmap_rule:
        return False
    elif function.setup_context is Function.setup_context:
        text = (
            "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, "
            f"...), it must override the setup_context staticmethod. {MORE}"
        )
    elif is_overridden:
        return True
    else:
        text = (
            f"You tried to vmap over {name}, but it does not have vmap support. Please override and "
            f"implement the vmap staticmethod or set generate_vmap_rule=True. {MORE}"
        )
    trace.fail(text)


def _by_rule(function: type[Function], trace: BatchTrace, args: tuple[Any, ...]) -> Any:
    """Run the ``vmap`` of a Function on the batches of its arguments; return a slice's part of its outputs.

    Its outputs have the graph that it recorded around the trace; on the trace, the function stands for it.
    """
    arguments, spec = trees.flatten(args)
    batches, dims = trace.batches(arguments)
    with trace.around(), unwatched():  # the rule is told the mode
        try:
            batched = trees.unflatten(spec, batches)
            if any(d is not None for d in dims):
                info = VmapInfo(trace.size, trace.randomness)
                returned = call_user(function.vmap, info, trees.unflatten(spec, dims), *batched)
                output, places = checked_rule(returned)
            else:
                output = function.apply(*batched)
                places = [None] * len(trees.leaves(output))
        except NotLifted:
            raise
        except Exception as error:
            trace.error = error
            raise
    leaves, out_spec = trees.flatten(output)
    output = trees.unflatten(out_spec, trace.slices(leaves, places))
    needs = tuple(record.is_tensor(a) and record.is_active(a) for a in args)
    if not (trace.grad_mode and any(needs)):
        return output
    ctx = context_type(function.node_name())(function, needs)
    ctx._has_rule = True
    with no_grad():
        call_user(function.setup_context, ctx, args, output)
    outputs = list(output) if isinstance(output, tuple) else [output]
    _settle_vjp(function)
    outputs = record_call(function, ctx, args, outputs)
    return tuple(outputs) if isinstance(output, tuple) else outputs[0]


def _settle_vjp(function: type[Function]) -> None:
    """Let ``vjp`` be ``backward`` where only that is overridden."""
    if function.vjp is Function.vjp:
        return
    if function.backward is Function.backward:
        function.backward = function.vjp  # type: ignore[method-assign]
    elif function.backward is not function.vjp:
        raise RuntimeError(
            "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should "
            "only implement one of them."
        )


class _JvpCall(NamedTuple):
    """A Function's call that `_Transposed` stands for."""

    function: type[Function]
    context: Any
    #: an output of the `function` statement: the tape may be collected, and its slot move
    place: Tensor
    #: of the arguments of `_Transposed`, numbers of the outputs that they are cotangents of
    numbers: tuple[int, ...]


class _Transposed(Function):
    """Zeros for the arguments of another Function's call, whose derivative is that one's ``jvp``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        function: Any,
        context: Any,
        place: Any,
        like: Any,
        numbers: Any,
        *cts: Any,
    ) -> Any:
        ctx.call = _JvpCall(function, context, place, numbers)
        return tuple(FUNCTIONS["zeros"](shape, dtype=kind) for shape, kind in like)

    @staticmethod
    def backward(ctx: Any, *tangents: Any) -> Any:
        function, context, place, numbers = ctx.call
        tape = current_tape()
        tangents_of_args: list[Any] = [None] * len(context.needs_input_grad)
        for i, t in zip(context._arguments, tangents, strict=True):
            tangents_of_args[i] = t
        context.place = (tape, record.operand(tape, place))
        context._in_jvp = True
        try:
            returned = call_user(function.jvp, context, *tangents_of_args)
        finally:
            context.place, context._in_jvp = None, False
        images = returned if isinstance(returned, tuple) else (returned,)
        if len(images) != context.count:
            raise RuntimeError(
                "Function's jvp returned an invalid number of forward gradients (expected "
                f"{context.count} but got {len(images)})"
            )
        for j, tangent in enumerate(images):
            if tangent is not None and j not in context.differentiable:
                raise RuntimeError(
                    f"Function's jvp returned a gradient at position {j}, but the corresponding "
                    "forward output is not a differentiable Tensor. You should return None at that "
                    "position instead."
                )
        return None, None, None, None, None, *(
            checked_tangent(context, j, images[j]) for j in numbers
        )  # fmt: skip


class InplaceFunction(Function):
    """PyTorch's old base of Functions that write to their inputs; `Function` does all that it does.

    Examples
    --------
    >>> import tapegrad as tg
    >>> issubclass(tg.autograd.function.InplaceFunction, tg.autograd.Function)
    True
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Error(Function):
    """An identity whose derivative raises; the name is PyTorch's."""

    generate_vmap_rule = True

    @classmethod
    def node_name(cls) -> str:
        """PyTorch's name of the node of a call."""
        return cls.__name__

    @staticmethod
    def forward(ctx: FunctionCtx, *tensors: Any) -> Any:
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``backward`` that is not made of differentiable operations.

    It runs without recording; differentiating its results raises RuntimeError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> class Double(tg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return 2 * x
    ...
    ...     @staticmethod
    ...     @tg.autograd.function.once_differentiable
    ...     def backward(ctx, grad):
    ...         return 2 * grad
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Double.apply(a).sum().backward()
    >>> a.grad
    tensor([2., 2.])
    """

    @functools.wraps(function)
    def wrapped(ctx: FunctionCtx, *cts: Any) -> Any:
        recorded = current_tape().grad_mode
        with no_grad():
            returned = call_user(function, ctx, *cts)
        if not recorded or not any(record.is_tensor(c) and record.is_active(c) for c in cts):
            return returned
        outputs = returned if isinstance(returned, tuple) else (returned,)
        tensors = [g for g in outputs if record.is_tensor(g)]
        results = iter(Error.apply(*[marked(g) for g in tensors]))
        return tuple(next(results) if record.is_tensor(g) else g for g in outputs)

    return wrapped
