"""The package under another name: ``sys.modules["torch"] = tapegrad`` for programs that import torch.

``import torch.autograd`` finds ``torch`` in `sys.modules` and looks for the submodule where that one's files
are. Without more it would run them a second time, as modules of another name, with tensors, tapes and
tables of their own. `OtherNames` stands before the finder that would do so, and answers with the module
that is there. It also says what there is in the place of a part of PyTorch that is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .base.missing_names import instead_of

__all__ = ["OtherNames"]

PACKAGE = __name__.partition(".")[0]


class OtherNames(MetaPathFinder):
    """Finds submodules of a module that is this package, or a part of it, under another name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of `fullname`, if that is a submodule of this package under another name."""
        parent, _, child = fullname.rpartition(".")
        name = getattr(sys.modules.get(parent), "__name__", "")
        text = instead_of(f"{name}.{child}")
        if (
            text is not None
        ):  # with the module's name, `from ... import` would have words of its own
            raise ModuleNotFoundError(text)
        if name == parent or name.partition(".")[0] != PACKAGE:
            return None
        if importlib.util.find_spec(f"{name}.{child}") is None:
            return None
        return ModuleSpec(fullname, _There(f"{name}.{child}"))


class _There(Loader):
    """Gives the module of a name, and is no loader of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, imported under its own name."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it was, and let the others be found without this."""
        other = module.__spec__.name if module.__spec__ is not None else ""
        module.__spec__ = self.spec
        root = other.removesuffix(self.name.removeprefix(PACKAGE))
        for name, known in sys.modules.copy().items():
            if name.startswith(f"{PACKAGE}."):
                sys.modules.setdefault(root + name.removeprefix(PACKAGE), known)
        package, _, child = self.name.rpartition(".")
        if not isinstance(getattr(sys.modules[package], child, module), ModuleType):
            sys.modules[package].__class__ = _Keeping


class _Keeping(ModuleType):
    """A package with a function of a submodule's name (`tapegrad.autograd.gradcheck`, as PyTorch has it).

    The import of a submodule under a new name also binds it in the package.
    """

    def __setattr__(self, name: str, value: object) -> None:
        """Bind a name, but no module in the place of a function."""
        if not (isinstance(value, ModuleType) and callable(self.__dict__.get(name))):
            super().__setattr__(name, value)


def install() -> None:
    """Let the interpreter ask `OtherNames` first."""
    if not any(isinstance(finder, OtherNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OtherNames())
