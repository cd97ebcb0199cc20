"""``save`` and ``load``: tensors, and containers of them, in files."""

from __future__ import annotations

import os
import pickle
from typing import Any, BinaryIO

from ..base.errors import UnsupportedError, must_be
from .registry import public

__all__ = ["load", "save"]

_HEAD = b"tapegrad.save 1\n"
#: names that a file may use when it is loaded, by module
_ALLOWED = {
    "tapegrad.tensors.tensor": {"_rebuild"},
    "collections": {"OrderedDict", "defaultdict"},
    "numpy": {"dtype", "ndarray", "float64", "float32", "int64", "bool_"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "builtins": {"set", "frozenset", "complex", "slice", "range", "bytearray"},
}


class _Restricted(pickle.Unpickler):
    """Makes tensors, arrays and containers only: a file is data, and runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f"the file asks for {module}.{name}, which is neither a tensor nor a plain container; if you "
            "trust who wrote the file, load it with weights_only=False"
        )


@public(out=False)
def save(obj: Any, f: str | os.PathLike[str] | BinaryIO) -> None:
    """Write tensors, or a nested container of tensors and numbers, to a file.

    Tensors are saved by value, with `requires_grad`, without graph or gradient.

    Parameters
    ----------
    obj : object
        Anything that can be pickled; only tensors, arrays, numbers, strings and containers of these can be
        loaded by default.
    f : path or binary file

    Examples
    --------
    >>> import io, tapegrad as tg
    >>> file = io.BytesIO()
    >>> tg.save({"w": tg.tensor([1.0, 2.0])}, file)
    >>> _ = file.seek(0)
    >>> tg.load(file)
    {'w': tensor([1., 2.])}
    """
    if isinstance(f, str | os.PathLike):
        with open(f, "wb") as file:
            save(obj, file)
        return
    if not hasattr(f, "write"):
        raise must_be("save", "f", 0, "a path or a file", f)
    f.write(_HEAD)
    pickle.dump(obj, f, protocol=5)


@public(out=False)
def load(f: str | os.PathLike[str] | BinaryIO, *, weights_only: bool = True) -> Any:
    """Read a file of `save`.

    Parameters
    ----------
    f : path or binary file
    weights_only : bool
        Refuse anything that is not a tensor, an array, a number, a string or a container. Without it a file
        may run any code: only for files that you trust.

    Raises
    ------
    UnsupportedError
        If the file is not one of `save`.
    pickle.UnpicklingError
        If it holds something else, or is damaged.
    """
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return load(file, weights_only=weights_only)
    if not hasattr(f, "read"):
        raise must_be("load", "f", 0, "a path or a file", f)
    head = f.read(len(_HEAD))
    if head != _HEAD:
        kind = "a file of PyTorch" if head.startswith(b"PK") else "no file of tapegrad.save"
        raise UnsupportedError(
            f"load(): this is {kind}; with torch, write arrays by tensor.numpy() and numpy.savez, and "
            "read them by numpy.load and tapegrad.from_numpy"
        )
    return (_Restricted if weights_only else pickle.Unpickler)(f).load()
