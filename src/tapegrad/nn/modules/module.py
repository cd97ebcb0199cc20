"""`Module`: what layers and networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from ...autograd import no_grad
from ...base import dtypes
from ...jit_compiler.jitted import compile as compiled
from ...tensors.tensor import Tensor
from .state import State

__all__ = ["Module", "indented"]


def indented(text: str) -> str:
    """Return a text whose lines after the first are moved to the right."""
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line if line.strip() else "" for line in rest)])


class Module(State):
    """A network, or a layer of one: parameters, buffers, submodules, and a method `forward`.

    A subclass calls ``super().__init__()``, assigns parameters and submodules to attributes, and defines
    ``forward``; a call of the module runs it. Modules work under `func.grad`, `vmap` and `jit`;
    `func.functional_call` calls one with other tensors in the place of its own.

    Attributes
    ----------
    training : bool
        Whether it is being trained: `Dropout` and `BatchNorm1d` differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad import nn
    >>> class Scaled(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(tg.tensor(3.0))
    ...
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> Scaled()(tg.tensor(2.0))
    tensor(6., grad_fn=<MulBackward0>)
    """

    # ------------------------------------------------------------------ all tensors, all modules
    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Give all parameters, their gradients, and buffers the data that a function makes of them."""
        for module in self.children() if recurse else ():
            module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            gradient = parameter.grad
            with no_grad():
                changed = fn(parameter)
            if changed is not parameter:
                parameter.data = changed
            if gradient is not None:
                with no_grad():
                    parameter.grad = fn(gradient)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def apply(self, fn: Callable[[Any], Any]) -> Self:
        """Call a function with each module below this one, and with this one; return it."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast parameters and buffers of floating dtypes; arguments are those of `Tensor.to`."""
        from_tensor = [x.dtype for x in (*args, kwargs.get("tensor")) if isinstance(x, Tensor)]
        given = [x for x in (*args, kwargs.get("dtype")) if isinstance(x, dtypes.dtype)]
        kind = next(iter([*given, *from_tensor]), None)
        if kind is not None and not kind.is_inexact:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={kind}"
            )
        placed = [x for x in args if not isinstance(x, dtypes.dtype | Tensor)]
        options = {k: x for k, x in kwargs.items() if k not in ("dtype", "tensor")}

        def cast(t: Any) -> Any:
            t = t.to(*placed, **options) if placed or options else t
            return t.to(kind) if kind is not None and t.dtype.is_inexact else t

        return self._apply(cast)

    def type(self, dst_type: Any) -> Self:
        """Cast all parameters and buffers."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast(self, kind: dtypes.dtype) -> Self:
        return self._apply(lambda t: t.to(kind) if t.dtype.is_floating_point else t)

    def float(self) -> Self:
        """Cast parameters and buffers of floating dtypes to float32."""
        return self._cast(dtypes.float32)

    def double(self) -> Self:
        """Cast parameters and buffers of floating dtypes to float64."""
        return self._cast(dtypes.float64)

    def half(self) -> Self:
        """Cast parameters and buffers of floating dtypes to float16, which operations do not take."""
        return self._cast(dtypes.float16)

    def cpu(self) -> Self:
        """Return the module: its tensors are on the CPU."""
        return self

    def cuda(self, device: Any = None) -> Self:
        """Raise the error of `Tensor.cuda`."""
        return self._apply(lambda t: t.cuda(device))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Change whether all parameters require grad; return the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients of all parameters away, or set them to zero."""
        for parameter in self.parameters():
            if parameter.grad is None or set_to_none:
                parameter.grad = None
                continue
            parameter.grad = parameter.grad.detach()
            parameter.grad.zero_()

    def share_memory(self) -> Self:
        """Return the module: threads share its memory anyway."""
        return self

    # ------------------------------------------------------------------ modes
    def train(self, mode: bool = True) -> Self:
        """Set whether this module and all below it are being trained; return it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set that this module and all below it are not being trained; return it."""
        return self.train(False)

    # ------------------------------------------------------------------ text
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return what stands in the module's text beside its submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extras = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(m))}" for name, m in self._modules.items()]
        if len(extras) == 1 and not children:
            return f"{self._get_name()}({extras[0]})"
        lines = [*extras, *children]
        inside = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({inside})"

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile calls of the module from now on, as ``tapegrad.compile(module)`` would."""
        self.__dict__["forward"] = compiled(self.forward, *args, **kwargs)
