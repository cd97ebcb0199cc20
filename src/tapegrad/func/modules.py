"""PyTorch's functions for modules, which tapegrad has none of."""

from __future__ import annotations

from typing import Any, NoReturn

from ..base.errors import UnsupportedError

__all__ = ["functional_call", "functionalize", "stack_module_state"]


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> NoReturn:  # fmt: skip
    """Raise: tapegrad has no modules, and a function of a dict of tensors needs none.

    Raises
    ------
    UnsupportedError
        Always.

    Examples
    --------
    >>> import tapegrad as tg
    >>> model = lambda parameters, x: x * parameters["w"]  # takes no functional_call
    >>> tg.func.grad(model)({"w": tg.tensor(2.0)}, tg.tensor(3.0))
    {'w': tensor(3.)}
    """
    raise UnsupportedError(
        "functional_call() is for modules, which tapegrad does not have; write the model as a function "
        "f(parameters, x), where parameters is a dict of tensors: every transform takes it as it is"
    )


def stack_module_state(models: Any) -> NoReturn:
    """Raise: tapegrad has no modules, and dicts of tensors can be stacked.

    Raises
    ------
    UnsupportedError
        Always.

    Examples
    --------
    >>> import tapegrad as tg
    >>> models = [{"w": tg.tensor(1.0)}, {"w": tg.tensor(2.0)}]
    >>> {"w": tg.stack([m["w"] for m in models])}
    {'w': tensor([1., 2.])}
    """
    raise UnsupportedError(
        "stack_module_state() is for modules, which tapegrad does not have; stack the tensors of the "
        "parameter dicts, and map over them with vmap(f, in_dims=(0, None))"
    )


def functionalize(func: Any, *, remove: str = "mutations") -> NoReturn:
    """Raise: derivatives of in-place writes need no such transform here.

    Raises
    ------
    UnsupportedError
        Always.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.grad(lambda x: x.clone().mul_(x))(tg.tensor(3.0))  # needs no functionalize
    tensor(6.)
    """
    raise UnsupportedError(
        "functionalize() is not supported; in-place writes and views are differentiated as they are"
    )
