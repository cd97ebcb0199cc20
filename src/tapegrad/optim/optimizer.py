"""The base of all optimizers: groups of parameters, their state, and both as a dict.

A subclass defines `step`; the hooks around it come with `Optimizer.__init_subclass__`.
"""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain, count
from typing import Any, cast

from ..tape.hooks import RemovableHandle, Table
from ..tensors.tensor import Tensor

__all__ = [
    "Optimizer",
    "ParamsT",
    "check_at_least_zero",
    "check_rate",
    "check_unit_interval",
    "required",
]

#: what an optimizer takes: tensors, or dicts of ``params`` and options, or pairs of a name and a tensor
ParamsT = Iterable[Any]


class _Required:
    """Stands for the default of an option that each group has to give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def check_at_least_zero(**options: Any) -> None:
    """Raise PyTorch's ValueError for an option below zero, or that is not a number.

    Parameters
    ----------
    **options : float or Tensor
        Values; a keyword's underscores are spaces in the error, but for names that PyTorch shows as they are.
    """
    for name, value in options.items():
        if not value >= 0.0:
            words = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
            raise ValueError(f"Invalid {words}: {value}")


def check_rate(lr: Any) -> None:
    """Raise PyTorch's ValueError for a learning rate below zero, and for a tensor of several."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_at_least_zero(lr=lr)


def check_unit_interval(betas: Any) -> None:
    """Raise PyTorch's ValueError for coefficients of running averages outside of [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


class Optimizer:
    """Base of optimizers, as ``torch.optim.Optimizer``.

    Parameters
    ----------
    params : iterable
        Tensors, pairs of a name and a tensor, or dicts with ``"params"`` and options of that group.
    defaults : dict
        Options, for groups that do not have them.

    Attributes
    ----------
    param_groups : list of dict
    state : dict
        By parameter: a dict of tensors and numbers.

    Raises
    ------
    TypeError, ValueError
        PyTorch's, for parameters that are no leaves, given twice, or none.
    """

    param_groups: list[dict[str, Any]]
    state: defaultdict[Any, Any]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._set_up_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{_type_name(params)}"
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def _set_up_hooks(self) -> None:
        self._before_step: Table = Table()
        self._after_step: Table = Table()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_before_step" not in self.__dict__:
            self._set_up_hooks()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join([f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params"])
        return text + ")"

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew, with its gradients, and returns it.

        Returns
        -------
        The closure's result, or None.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            Set them to None; otherwise write zeros into them.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                else:
                    p.grad.detach_()
                    p.grad.zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, a dict of ``"params"`` and options.

        Raises
        ------
        TypeError, ValueError
            PyTorch's; nothing has changed then.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of "
                "tensors in sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names and len(names) != len(params):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        tensors = [p[1] if isinstance(p, tuple) else p for p in params]
        differentiable = self.defaults.get("differentiable")
        for p in tensors:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {_type_name(p)}"
                )
            if not (differentiable or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
        for group in self.param_groups:
            if bool(names) != ("param_names" in group):
                how = "with names" if names else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{how} to the optimizer"
                )
        ids = {id(p) for p in tensors}
        if len(ids) != len(tensors):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause "
                "an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        if ids & {id(p) for group in self.param_groups for p in group["params"]}:
            raise ValueError("some parameters appear in more than one parameter group")
        param_group["params"] = tensors
        if names:
            param_group["param_names"] = names
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        self.param_groups.append(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a dict, with the parameters' numbers in their place."""
        numbers: dict[int, int] = {}
        following = count()
        packed = []
        for group in self.param_groups:
            for p in group["params"]:
                if id(p) not in numbers:
                    numbers[id(p)] = next(following)
            row = {key: value for key, value in group.items() if key != "params"}
            packed.append({**row, "params": [numbers[id(p)] for p in group["params"]]})
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        return {"state": state, "param_groups": packed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of another optimizer of parameters like these.

        Parameters
        ----------
        state_dict : dict
            Of `state_dict`; its tensors are copied, and get the parameters' dtypes.

        Raises
        ------
        ValueError
            PyTorch's, for other numbers of groups or parameters, and for tensors of other shapes than the
            parameter's; nothing has changed then.
        """
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        numbers = chain.from_iterable(group["params"] for group in saved)
        params = dict(zip(numbers, _parameters(groups), strict=True))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                state[params[key]] = _cast(params[key], value)
            else:
                state[key] = value
        for old, new in zip(groups, saved, strict=True):
            new["params"] = old["params"]
            if "param_names" in old:
                new.setdefault("param_names", old["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return other arguments."""
        return _registered(self._before_step, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return _registered(self._after_step, hook)


def _registered(hooks: Table, hook: Callable[..., Any]) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step with the hooks around it; it notes for schedulers that there was one."""

    @functools.wraps(step)
    def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        for hook in tuple(self._before_step.values()):
            given = hook(self, args, kwargs)
            if given is not None:
                if not (isinstance(given, tuple) and len(given) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {given}."
                    )
                args, kwargs = given
        result = step(self, *args, **kwargs)
        for hook in tuple(self._after_step.values()):
            hook(self, args, kwargs)
        return result

    return stepped


def _parameters(groups: list[dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(group["params"] for group in groups)


def _type_name(value: object) -> str:
    """The name of a value's type as PyTorch writes it."""
    kind = type(value)
    if isinstance(value, Tensor):
        return "torch.FloatTensor" if str(value.dtype).endswith("float32") else "torch.Tensor"
    module = "" if kind.__module__ in ("builtins", "") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _cast(param: Any, value: Any, key: str | None = None) -> Any:
    """A copy of a parameter's state, its tensors in the parameter's dtype (but for counts of steps)."""
    if isinstance(value, Tensor):
        if key == "step" or not value.is_floating_point() or not param.is_floating_point():
            return value.detach().clone()
        return value.detach().to(param.dtype, copy=True)
    if isinstance(value, dict):
        return {name: _cast(param, entry, name) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return cast(Any, type(value))(_cast(param, entry) for entry in value)
    return value
