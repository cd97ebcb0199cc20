"""PyTorch's words for the place and the form of a tensor's memory: `device`, `layout`, `memory_format`.

tapegrad has one of each: tensors are on the CPU, strided, in C order. These exist so that code that
names them runs, and so that code that asks for something else is told.
"""

from __future__ import annotations

import re
from typing import Any

from .errors import UnsupportedError, must_be

__all__ = [
    "CPU", "check_device", "contiguous_format", "device", "layout", "memory_format",
    "preserve_format", "strided",
]  # fmt: skip

_TYPES = (
    "cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, xla, lazy, vulkan, "
    "mps, meta, hpu, mtia, privateuseone"
)


class device:
    """Place of a tensor: PyTorch's class, of which tapegrad uses ``device("cpu")``.

    Parameters
    ----------
    type : str or device
        A device's name, with or without a number: ``"cpu"``, ``"cuda:1"``.
    index : int, optional
        The number, if the name has none.

    Attributes
    ----------
    type : str
    index : int or None

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.device("cpu")
    device(type='cpu')
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            self.type, self.index = type.type, type.index
            return
        if not isinstance(type, str):
            kind = type.__class__.__name__
            raise TypeError(f"device(): argument 'device' must be torch.device, not {kind}")
        if not type:
            raise RuntimeError("Device string must not be empty")
        parts = re.fullmatch(r"([a-z]+)(?::(0|[1-9][0-9]*))?", type)
        if parts is None:
            raise RuntimeError(f"Invalid device string: '{type}'")
        if parts[1] not in _TYPES.split(", "):
            raise RuntimeError(
                f"Expected one of {_TYPES} device type at start of device string: {type}"
            )
        if parts[2] is not None and index is not None:
            raise RuntimeError(
                "type (string) must not include an index because index was passed explicitly: "
                f"{type}"
            )
        self.type = parts[1]
        self.index = index if parts[2] is None else int(parts[2])

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{number})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (str(self),)


CPU = device("cpu")


def check_device(name: str, value: Any) -> None:
    """Raise unless `value` is None or names the CPU.

    Parameters
    ----------
    name : str
        The function that was called.
    value : None, str or device
    """
    if value is None or value is CPU:
        return
    if not isinstance(value, str | device):
        raise must_be(name, "device", 0, "torch.device", value)
    requested = device(value)
    if requested.type != "cpu":
        raise UnsupportedError(
            f"{name}(): tapegrad computes on the CPU only, not on '{requested}'; leave device out, or "
            "pass device='cpu'"
        )


class _NamedConstant:
    """A value that is only a name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class layout(_NamedConstant):
    """Form in which a tensor's elements are stored: always `strided`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ones(2).layout
    torch.strided
    """

    __slots__ = ()


class memory_format(_NamedConstant):
    """Order in which they are stored: always C order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ones(2).is_contiguous(memory_format=tg.contiguous_format)
    True
    """

    __slots__ = ()


strided = layout("strided")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
