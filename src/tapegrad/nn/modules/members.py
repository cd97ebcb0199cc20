"""Members of a module: parameters, buffers and submodules, which attributes stand for.

Each kind is a dict in the module's own dict: ``_parameters``, ``_buffers``, ``_modules``. Assigning sorts a
value into one of them, and `Members.__getattr__` looks there for what is no ordinary attribute. Start
reading at `Members`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...tensors.tensor import Tensor
from ..parameter import Buffer, Parameter

__all__ = ["Members", "type_name"]


def type_name(value: Any) -> str:
    """Return the name of a value's type as PyTorch's errors write it."""
    if isinstance(value, Tensor):
        return str(value.type())
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__builtin__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


class Members:
    """An object whose attributes may be parameters, buffers, and objects of this kind."""

    #: `tapegrad.jit` looks at all attributes of such objects, and a call of one runs the method of this name
    _call_of_jit = "forward"

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: frozenset[str]
    _modules: dict[str, Any]

    def __init__(self) -> None:
        members = self.__dict__
        members["training"] = True
        members["_parameters"] = {}
        members["_buffers"] = {}
        members["_non_persistent_buffers_set"] = frozenset()
        members["_modules"] = {}

    # ------------------------------------------------------------------ attributes
    def __getattr__(self, name: str) -> Any:
        members = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind in members and name in members[kind]:
                return members[kind][name]
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        parameters = members.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._leave_other_kinds(name, "_parameters")
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
        elif isinstance(value, Members):
            if "_modules" not in members:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._leave_other_kinds(name, "_modules")
            self._modules[name] = value
        elif "_modules" in members and name in members["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif isinstance(value, Buffer) or ("_buffers" in members and name in members["_buffers"]):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as buffer '{name}' "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            persistent = name not in members.get("_non_persistent_buffers_set", ())
            if isinstance(value, Buffer):
                persistent = value.persistent
                members.pop(name, None)
            self.register_buffer(name, value, persistent)
        else:
            object.__setattr__(self, name, value)

    def _leave_other_kinds(self, name: str, kind: str) -> None:
        """Take a name away from where it stood for something of another kind."""
        members = self.__dict__
        members.pop(name, None)
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                members[other].pop(name, None)
        self._set_persistent(name, True)

    def _set_persistent(self, name: str, persistent: bool) -> None:
        names = self._non_persistent_buffers_set
        if persistent is (name in names):
            changed = names - {name} if persistent else names | {name}
            self.__dict__["_non_persistent_buffers_set"] = changed

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                self._set_persistent(name, True)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        kinds = [*self._parameters, *self._buffers, *self._modules]
        return sorted({*object.__dir__(self), *(k for k in kinds if not k[:1].isdigit())})

    # ------------------------------------------------------------------ registration
    def _check_name(self, kind: str, table: str, name: Any, dotted: str) -> None:
        """Raise PyTorch's errors for a name that a member cannot have."""
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type_name(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."{dotted}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None, under a name.

        Raises
        ------
        TypeError, KeyError, ValueError
            For what is no `Parameter` or no leaf, and a name that it cannot have.
        """
        self._check_name("parameter", "_parameters", name, "")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type_name(param)}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                f"explicitly. To express '{name}' as a function of another Tensor, compute the value in "
                "the forward() method."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: a tensor of the state that is no parameter, in `state_dict` if `persistent`."""
        self._check_name("buffer", "_buffers", name, "")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type_name(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        self._set_persistent(name, persistent)

    def add_module(self, name: str, module: Any) -> None:
        """Add a submodule, or None, under a name."""
        if module is not None and not isinstance(module, Members):
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        self._check_name("module", "_modules", name, f", got: {name}")
        self._modules[name] = module

    def register_module(self, name: str, module: Any) -> None:
        """Do what `add_module` does."""
        self.add_module(name, module)

    # ------------------------------------------------------------------ iteration
    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Iterate over this module and all below it, with their names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """Iterate over this module and all below it, each once."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the submodules of this module itself, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """Iterate over the submodules of this module itself."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]], prefix: str = "",
        recurse: bool = True, remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:  # fmt: skip
        """Iterate over tensors of a kind in this module, and those below."""
        seen = set()
        modules: Iterable[tuple[str, Any]] = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for place, module in modules:
            for name, value in get_members_fn(module):
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield (f"{place}.{name}" if place else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Iterate over the parameters of this module and those below, with their names."""
        return self._named_members(
            lambda module: module._parameters.items(), prefix, recurse, remove_duplicate
        )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Iterate over the parameters of this module and those below, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Iterate over the buffers of this module and those below, with their names."""
        return self._named_members(
            lambda module: module._buffers.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Iterate over the buffers of this module and those below, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # ------------------------------------------------------------------ by path
    def get_submodule(self, target: str) -> Any:
        """Return the submodule of a dotted name; the module itself for an empty one."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Members):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def _member(self, target: str, kind: str, noun: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in module.__dict__[kind]:
            raise AttributeError(f"`{name}` is not {noun}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter of a dotted name."""
        parameter: Parameter = self._member(target, "_parameters", "an nn.Parameter")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer of a dotted name."""
        buffer: Tensor = self._member(target, "_buffers", "a buffer")
        return buffer

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put a module in the place of a dotted name; with `strict` one has to be there."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Members):
            raise AttributeError(f"`{name}` is not an nn.Module")
        if not isinstance(module, Members):
            raise ValueError(f'"module" is not an nn.Module, found {type(module)}')
        setattr(parent, name, module)
