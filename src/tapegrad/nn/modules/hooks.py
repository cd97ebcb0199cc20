"""Calls of a module, with its hooks: before and after `forward`, and in the backward pass.

Where a module has no hooks, a call of it is one of `forward`. Backward hooks stand in two Functions that do
nothing else (`_Outputs`, `_Inputs`), around what the module computes: in a pass the gradients of the
outputs come by the first, and those of the inputs by the second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ...autograd.function import Function
from ...tape.hooks import RemovableHandle, Table
from ...tensors.tensor import Tensor
from .members import Members

__all__ = ["Hooks"]

#: stands for no hooks of a kind; the first that is registered gives the module a table of its own
NONE: Mapping[int, Any] = MappingProxyType({})


class Hooks(Members):
    """An object that is called, and whose calls hooks see."""

    _forward_hooks: Mapping[int, Any] = NONE
    _forward_pre_hooks: Mapping[int, Any] = NONE
    _backward_hooks: Mapping[int, Any] = NONE
    _backward_pre_hooks: Mapping[int, Any] = NONE
    _forward_hooks_with_kwargs: frozenset[int] = frozenset()
    _forward_hooks_always_called: frozenset[int] = frozenset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result of a call; subclasses define it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and the hooks around it."""
        if not (
            self._forward_pre_hooks
            or self._forward_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        ):
            return self.forward(*args, **kwargs)
        try:
            return self._call_with_hooks(args, kwargs)
        except Exception:
            for number in self._forward_hooks_always_called:
                hook = self._forward_hooks.get(number)
                try:
                    if hook is not None:
                        self._run_forward_hook(number, hook, args, kwargs, None)
                except Exception as error:
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that was "
                        f"silenced as another error was raised in forward: {error!s}",
                        stacklevel=2,
                    )
            raise

    def _call_with_hooks(self, args: Any, kwargs: Any) -> Any:
        for number, hook in list(self._forward_pre_hooks.items()):
            if number in self._forward_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple "
                        f"of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        backward = None
        if self._backward_hooks or self._backward_pre_hooks:
            backward = _BackwardHooks(self)
            args = backward.inputs(args)
        result = self.forward(*args, **kwargs)
        for number, hook in list(self._forward_hooks.items()):
            changed = self._run_forward_hook(number, hook, args, kwargs, result)
            result = result if changed is None else changed
        if backward is None:
            return result
        if not isinstance(result, Tensor | tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                f"but received {type(result)}",
                stacklevel=3,
            )
        return backward.outputs(result)

    def _run_forward_hook(self, number: int, hook: Any, args: Any, kwargs: Any, result: Any) -> Any:
        if number in self._forward_hooks_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    # ------------------------------------------------------------------ registration
    def _register(
        self, kind: str, hook: Callable[..., Any], *, first: bool = False
    ) -> RemovableHandle:
        table = self.__dict__.get(kind)
        if table is None:
            table = self.__dict__[kind] = Table()
        handle = RemovableHandle(table)
        if first:
            others = dict(table)
            table.clear()
            table[handle.id] = hook
            table.update(others)
        else:
            table[handle.id] = hook
        return handle

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Register a function that is called with the module and its arguments before `forward`.

        What it returns, if not None, takes the place of the arguments.
        """
        handle = self._register("_forward_pre_hooks", hook, first=prepend)
        if with_kwargs:
            self._forward_hooks_with_kwargs = self._forward_hooks_with_kwargs | {handle.id}
        return handle

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:  # fmt: skip
        """Register a function that is called with the module, its arguments and its result after `forward`.

        What it returns, if not None, takes the place of the result.
        """
        handle = self._register("_forward_hooks", hook, first=prepend)
        if with_kwargs:
            self._forward_hooks_with_kwargs = self._forward_hooks_with_kwargs | {handle.id}
        if always_call:
            self._forward_hooks_always_called = self._forward_hooks_always_called | {handle.id}
        return handle

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Register a function that is called with the module and the gradients of its outputs.

        What it returns, if not None, takes the place of these gradients.
        """
        return self._register("_backward_pre_hooks", hook, first=prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Register a function that is called with the module and the gradients of its inputs and outputs.

        What it returns, if not None, takes the place of the gradients of the inputs.
        """
        return self._register("_backward_hooks", hook, first=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a backward hook: the one of `register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)


class _BackwardHooks:
    """The backward hooks of one call of a module.

    Attributes
    ----------
    of_inputs, of_outputs : int
        Numbers of arguments and of results.
    arrived : tuple or None
        Gradients of the outputs, once a pass has come by.
    """

    def __init__(self, module: Hooks) -> None:
        self.module = module
        self.before = list(module._backward_pre_hooks.values())
        self.after = list(module._backward_hooks.values())
        self.of_inputs = self.of_outputs = 0
        self.places: list[int] = []
        self.arrived: tuple[Any, ...] | None = None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments, through the Function that their gradients come by."""
        places = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
        self.of_inputs = len(args)
        if any(args[i].requires_grad for i in places):
            self.places = places
            return _replaced(args, places, _Inputs.apply(self, *[args[i] for i in places]))
        return args

    def outputs(self, result: Any) -> Any:
        """Return the results, through the Function that their gradients come by."""
        results = result if isinstance(result, tuple) else (result,)
        places = [i for i, x in enumerate(results) if isinstance(x, Tensor)]
        if any(results[i].requires_grad for i in places):
            self.of_outputs = len(results)
            new = _Outputs.apply(self, tuple(places), *[results[i] for i in places])
            results = _replaced(results, places, new)
        return results if isinstance(result, tuple) else results[0]


def _replaced(values: tuple[Any, ...], places: list[int], new: Any) -> tuple[Any, ...]:
    changed = list(values)
    for i, x in zip(places, new if isinstance(new, tuple) else (new,), strict=True):
        changed[i] = x
    return tuple(changed)


def _spread(gradients: tuple[Any, ...], places: Any, count: int) -> tuple[Any, ...]:
    spread: list[Any] = [None] * count
    for i, g in zip(places, gradients, strict=True):
        spread[i] = g
    return tuple(spread)


class _Inputs(Function):
    """The identity, whose derivative calls the hooks with the gradients of a module's inputs."""

    @staticmethod
    def forward(ctx: Any, hooks: _BackwardHooks, *args: Any) -> Any:
        """Return the arguments."""
        ctx.of_module = hooks
        ctx.set_materialize_grads(False)
        return tuple([x.view_as(x) for x in args])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Call the hooks."""
        hooks: _BackwardHooks = ctx.of_module
        given = _spread(gradients, hooks.places, hooks.of_inputs)
        for hook in hooks.after:
            if hooks.arrived is None:
                raise RuntimeError(
                    "Module backward hook for grad_input is called before the grad_output one. This "
                    "happens because the gradient in your nn.Module flows to the Module's input without "
                    "passing through the Module's output. Make sure that the output depends on the input "
                    "and that the loss is computed based on the output."
                )
            given = _changed(hook(hooks.module, given, hooks.arrived), given, "grad_input")
        hooks.arrived = None
        return (None, *[given[i] for i in hooks.places])


class _Outputs(Function):
    """The identity, whose derivative calls the hooks with the gradients of a module's outputs."""

    @staticmethod
    def forward(ctx: Any, hooks: _BackwardHooks, places: Any, *args: Any) -> Any:
        """Return the arguments."""
        ctx.of_module, ctx.at = hooks, places
        ctx.set_materialize_grads(False)
        return tuple([x.view_as(x) for x in args])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Call the hooks."""
        hooks: _BackwardHooks = ctx.of_module
        given = _spread(gradients, ctx.at, hooks.of_outputs)
        for hook in hooks.before:
            given = _changed(hook(hooks.module, given), given, "grad_output")
        hooks.arrived = given
        if not hooks.places and hooks.after:  # no gradient of an input will come by
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs "
                "since no inputs require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module."
                "html#torch.nn.Module.register_full_backward_hook for more details.",
                stacklevel=2,
            )
            nothing = (None,) * hooks.of_inputs
            for hook in hooks.after:
                result = hook(hooks.module, nothing, given)
                if result is not None and any(x is not None for x in result):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return "
                        "None or None for all gradients."
                    )
            hooks.arrived = None
        return (None, None, *[given[i] for i in ctx.at])


def _changed(result: Any, before: tuple[Any, ...], kind: str) -> tuple[Any, ...]:
    """Return the gradients that a hook has returned, or those it was given."""
    if result is None:
        return before
    new = result if isinstance(result, tuple) else (result,)
    if len(new) != len(before):
        raise RuntimeError(
            f"Backward hook returned an invalid number of {kind}, got {len(new)}, but expected {len(before)}"
        )
    return new
