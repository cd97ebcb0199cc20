"""`Stateless`: modules that call a function with options, which they are made with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from ..operations.loss import reduction_of
from .module import Module

__all__ = ["Loss", "Stateless"]


class Stateless(Module):
    """A module without parameters: a call is one of `function`, with the options as keywords.

    Attributes
    ----------
    function : callable
        Of a subclass.
    options : dict
        Of a subclass: names of options, each with its default, or `REQUIRED`.
    """

    #: stands for the default of an option that has none
    REQUIRED: ClassVar[Any] = inspect.Parameter.empty
    function: ClassVar[Callable[..., Any]]
    options: ClassVar[dict[str, Any]] = {}
    #: names of the options that keywords are made of, and how many of them the text shows by value alone
    _names: ClassVar[tuple[str, ...]] = ()
    _shown_by_value: ClassVar[bool] = False
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **more: Any) -> None:
        """Give the class the signature of its options."""
        super().__init_subclass__(**more)
        if "options" in vars(cls):
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters = [
                inspect.Parameter(name, kind, default=default)
                for name, default in cls.options.items()
            ]
            cls.__signature__ = inspect.Signature(parameters)
            cls._names = tuple(cls.options)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}.__init__() {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call the function."""
        options = self.__dict__
        return type(self).function(*inputs, **named, **{n: options[n] for n in self._names})

    def extra_repr(self) -> str:
        """Return the options."""
        options = {k: self.__dict__[k] for k in self._names}
        if options.get("inplace") is False:
            del options["inplace"]
        if self._shown_by_value:
            return ", ".join(map(str, options.values()))
        return ", ".join(f"{k}={v!r}" for k, v in options.items())


class Loss(Stateless):
    """A loss: of a prediction and a target. Weights are buffers."""

    reduction: str

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls._names = tuple(
            n for n in cls._names if n not in ("size_average", "reduce", "weight", "pos_weight")
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = self.__dict__
        average, reduce = options.pop("size_average", None), options.pop("reduce", None)
        if average is not None or reduce is not None:
            self.reduction = reduction_of(average, reduce, self.reduction)
        for name in ("weight", "pos_weight"):
            if name in self.options:
                self.register_buffer(name, options.pop(name, None))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return the loss."""
        options = {n: self.__dict__[n] for n in self._names}
        for name, buffer in self._buffers.items():
            options[name] = buffer
        return type(self).function(*inputs, **named, **options)

    def extra_repr(self) -> str:
        """Return nothing: PyTorch's text shows no options."""
        return ""
