"""Modules (nn/) as functions of their tensors: `functional_call`, `stack_module_state`.

A module is known by its tables of members, ``_parameters``, ``_buffers`` and ``_modules``, which a call of
`functional_call` changes for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from ..base.errors import UnsupportedError
from ..functions.registry import FUNCTIONS
from ..tape import recording as record

__all__ = ["functional_call", "functionalize", "stack_module_state"]


def _is_module(value: Any) -> bool:
    return hasattr(value, "named_parameters") and hasattr(value, "_parameters") and callable(value)


def _table_of(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """Return the table that a dotted name is in, and its last part."""
    path, _, last = name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        owner = None
    for table in () if owner is None else (owner._parameters, owner._buffers):
        if last in table:
            return table, last
    raise KeyError(name)


def _places(
    module: Any, tensors: Mapping[str, Any], tie_weights: bool
) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Return the places for each tensor: one, or more where a parameter has several names."""
    named: dict[int, list[str]] = {}
    if tie_weights:
        for kind in (module.named_parameters, module.named_buffers):
            for name, value in kind(remove_duplicate=False):
                named.setdefault(id(value), []).append(name)
    places: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for name in tensors:
        try:
            table, last = _table_of(module, name)
        except KeyError:
            places[name] = []
            continue
        others = [n for n in named.get(id(table[last]), ()) if n != name]
        for other in others:
            if other in tensors and tensors[other] is not tensors[name]:
                raise ValueError(
                    f"functional_call got multiple values for keys {sorted([name, *others])}, which are "
                    "tied. Consider using tie_weights=False"
                )
        places[name] = [(table, last), *(_table_of(module, n) for n in others)]
    return places


@contextmanager
def _with_tensors(
    module: Any, tensors: Mapping[str, Any], tie_weights: bool, strict: bool
) -> Iterator[None]:
    """Put other tensors in the place of a module's, for as long as this lasts."""
    for name, value in tensors.items():
        if not record.is_tensor(value):
            raise TypeError(
                f"functional_call: {name} has to be a Tensor, but is a {type(value).__name__}"
            )
    places = _places(module, tensors, tie_weights)
    unexpected = [name for name, found_at in places.items() if not found_at]
    if strict:
        reached = {(id(table), last) for each in places.values() for table, last in each}
        kinds = module.named_parameters, module.named_buffers
        members = [name for kind in kinds for name, _ in kind(remove_duplicate=False)]
        owners = {name: _table_of(module, name) for name in members}
        missing = [n for n, (table, last) in owners.items() if (id(table), last) not in reached]
        errors = []
        if unexpected:
            errors.append(f"Unexpected key(s): {', '.join(map(repr, unexpected))}.")
        if missing:
            errors.append(f"Missing key(s): {', '.join(map(repr, missing))}.")
        if errors:
            lines = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in reparametrizing for {type(module).__name__}:\n\t{lines}"
            )
    if unexpected:
        path, _, last = unexpected[0].rpartition(".")
        owner = module.get_submodule(path)  # raises where there is none
        raise AttributeError(f"{type(owner).__name__} has no attribute `{last}`")
    before = [(table, last, table[last]) for each in places.values() for table, last in each]
    try:
        for name, each in places.items():
            for table, last in each:
                table[last] = tensors[name]
        yield
    finally:
        for table, last, value in before:
            table[last] = value


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """Call a module with other tensors in the place of its parameters and buffers.

    Parameters
    ----------
    module : nn.Module
    parameter_and_buffer_dicts : dict, or sequence of dicts
        Names, as `named_parameters` gives them, with the tensors to use.
    args : object or tuple
        The module's argument, or its arguments.
    kwargs : dict, optional
    tie_weights : bool
        Whether a parameter with several names is meant by each of them.
    strict : bool
        Whether all parameters and buffers have to be among the names.

    Returns
    -------
    object
        The module's result.

    Raises
    ------
    TypeError, ValueError, AttributeError, RuntimeError
        If `module` is none, names do not fit, or what is given is no tensor; the module is as it was then.

    Examples
    --------
    >>> import tapegrad as tg
    >>> model = tg.nn.Linear(2, 1, bias=False)
    >>> loss = lambda parameters: tg.func.functional_call(model, parameters, tg.ones(2)).sum()
    >>> tg.func.grad(loss)({"weight": tg.zeros(1, 2)})
    {'weight': tensor([[1., 1.]])}
    """
    if not _is_module(module):
        raise TypeError(
            f"functional_call: expected an nn.Module, but got {type(module).__name__}; a function "
            "f(parameters, x) needs no functional_call: every transform takes it as it is"
        )
    tensors = parameter_and_buffer_dicts
    if isinstance(tensors, Sequence):
        if not all(isinstance(d, Mapping) for d in tensors):
            raise ValueError(
                "Expected all elements of parameter_and_buffer_dicts to be dictionaries"
            )
        names = [name for d in tensors for name in d]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
            )
        tensors = {name: value for d in tensors for name, value in d.items()}
    if not isinstance(tensors, Mapping):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(tensors)}"
        )
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _with_tensors(module, tensors, tie_weights, strict):
        return module(*arguments, **({} if kwargs is None else kwargs))


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stack the parameters of modules of one architecture, and their buffers, for `vmap`.

    Parameters
    ----------
    models : sequence of nn.Module
        Of one class, all in training or none.

    Returns
    -------
    tuple of dict
        Parameters and buffers by name, each with a first dimension for the models. They are leaves.

    Raises
    ------
    RuntimeError
        For no models, models of several classes or modes, and tensors of several shapes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> models = [tg.nn.Linear(2, 3) for _ in range(5)]
    >>> parameters, buffers = tg.func.stack_module_state(models)
    >>> parameters["weight"].shape
    torch.Size([5, 3, 2])
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if not all(type(m) is type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {
        name: _stacked([dict(m.named_parameters())[name] for m in models])
        for name, _ in models[0].named_parameters()
    }
    buffers = {
        name: _stacked([dict(m.named_buffers())[name] for m in models])
        for name, _ in models[0].named_buffers()
    }
    return parameters, buffers


def _stacked(tensors: list[Any]) -> Any:
    """Return a leaf of stacked tensors, which requires grad as they do."""
    wanted = {t.requires_grad for t in tensors}
    if len(wanted) > 1:
        raise RuntimeError(
            f"Expected {type(tensors[0]).__name__}s from each model to have the same .requires_grad"
        )
    stack = FUNCTIONS["stack"]([t.detach() for t in tensors])
    return stack.requires_grad_(wanted.pop())


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
