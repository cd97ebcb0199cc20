"""State of a module: `state_dict`, which is saved, and `load_state_dict`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...autograd import no_grad
from ...tape.hooks import RemovableHandle
from ...tensors.tensor import Tensor
from ..parameter import Parameter
from .hooks import NONE, Hooks

__all__ = ["IncompatibleKeys", "State"]

_EXTRA = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """Keys that a state dict lacks, and those that the module has no place for."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class State(Hooks):
    """A module's state: its parameters and persistent buffers, and those of the modules below, by name."""

    _version = 1
    _state_dict_hooks: Mapping[int, Any] = NONE
    _state_dict_pre_hooks: Mapping[int, Any] = NONE
    _load_state_dict_pre_hooks: Mapping[int, Any] = NONE
    _load_state_dict_post_hooks: Mapping[int, Any] = NONE

    def _own_state(self) -> dict[str, Tensor]:
        """The tensors that belong to this module itself."""
        hidden = self._non_persistent_buffers_set
        buffers = {k: x for k, x in self._buffers.items() if k not in hidden}
        return {k: x for k, x in [*self._parameters.items(), *buffers.items()] if x is not None}

    def _has_extra_state(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(State, name)

    def get_extra_state(self) -> Any:
        """Return what else belongs to the state; a subclass that has such defines this method."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` has returned."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called."
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._own_state().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._has_extra_state("get_extra_state"):
            destination[prefix + _EXTRA] = self.get_extra_state()

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Return the state by name: tensors that share the memory of the module's.

        Parameters
        ----------
        destination : dict, optional
            To add to.
        prefix : str
            Of the names.
        keep_vars : bool
            Whether the tensors are the module's own, and not detached.

        Returns
        -------
        OrderedDict
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            changed = hook(self, destination, prefix, metadata)
            destination = destination if changed is None else changed
        return destination

    # ------------------------------------------------------------------ loading
    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Take the state of this module itself; what does not fit is noted in the lists."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, tensor in self._own_state().items():
            key = prefix + name
            if key not in state_dict:
                missing_keys += [key] if strict else []
                continue
            value = state_dict[key]
            if not isinstance(value, Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
                    f"object from checkpoint but received {type(value)}"
                )
            elif value.shape != tensor.shape and not (tensor.ndim == 0 and value.shape == (1,)):
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
                    f"the shape in current model is {tensor.shape}."
                )
            elif assign:
                self._assign_state(name, tensor, value)
            else:
                self._copy_state(key, tensor, value.reshape(tensor.shape), error_msgs)
        key = prefix + _EXTRA
        if self._has_extra_state("set_extra_state"):
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing_keys.append(key)
        elif strict and key in state_dict:
            unexpected_keys.append(key)
        if strict:
            known = {*self._own_state(), _EXTRA}
            for key in state_dict:
                if key.startswith(prefix) and key != prefix + _EXTRA:
                    first, *rest = key[len(prefix) :].split(".", 1)
                    if first not in (self._modules if rest else known):
                        unexpected_keys.append(key)

    def _assign_state(self, name: str, tensor: Tensor, value: Tensor) -> None:
        if isinstance(tensor, Parameter) and not isinstance(value, Parameter):
            value = Parameter(value, requires_grad=tensor.requires_grad)
        elif isinstance(tensor, Parameter):
            value.requires_grad_(tensor.requires_grad)
        setattr(self, name, value)

    def _copy_state(self, key: str, tensor: Any, value: Any, error_msgs: list[str]) -> None:
        try:
            with no_grad():
                tensor.copy_(value)
        except Exception as error:
            error_msgs.append(
                f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{tensor.size()} and whose dimensions in the checkpoint are {value.size()}, an exception "
                f"occurred : {error.args}."
            )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy a state that `state_dict` has returned into this module's tensors.

        Parameters
        ----------
        state_dict : dict
        strict : bool
            Whether its names have to be those of this module.
        assign : bool
            Whether its tensors take the place of the module's, and are not copied.

        Returns
        -------
        IncompatibleKeys

        Raises
        ------
        TypeError, RuntimeError
            PyTorch's errors for what is no dict, for keys that are missing or too many, and for shapes that
            do not fit; what fits has been copied by then, as in PyTorch.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        copied = OrderedDict(state_dict)  # which hooks may change

        def load(module: Any, local: Any, prefix: str = "") -> None:
            facts = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            if assign:
                facts["assign_to_params_buffers"] = True
            module._load_from_state_dict(local, prefix, facts, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {k: v for k, v in local.items() if k.startswith(below)}, below)
            keys = IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to "
                        "return new values, if incompatible_keys need to be modified, it should be done "
                        "inplace."
                    )

        load(self, copied)
        if strict:
            for words, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    names = ", ".join(f'"{key}"' for key in keys)
                    errors.insert(0, f"{words} key(s) in state_dict: {names}. ")
        if errors:
            lines = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{lines}"
            )
        return IncompatibleKeys(missing, unexpected)

    # ------------------------------------------------------------------ hooks
    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a function ``hook(module, state_dict, prefix, local_metadata)`` for `state_dict`."""
        return self._register("_state_dict_hooks", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a function ``hook(module, prefix, keep_vars)`` that is called before `state_dict`."""
        return self._register("_state_dict_pre_hooks", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a function that is called, with the module first, before its state is loaded."""
        return self._register("_load_state_dict_pre_hooks", lambda *args: hook(self, *args))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a function ``hook(module, incompatible_keys)`` that is called after loading."""
        return self._register("_load_state_dict_post_hooks", hook)
