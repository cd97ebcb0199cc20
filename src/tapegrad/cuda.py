"""``tapegrad.cuda``: the questions that programs ask before they use a graphics card. There is none."""

from __future__ import annotations

from .base.errors import UnsupportedError
from .base.missing_names import getattr_of

__all__ = ["current_device", "device_count", "is_available", "is_initialized", "manual_seed_all"]


def __dir__() -> list[str]:
    return sorted(__all__)


def is_available() -> bool:
    """Return False: tapegrad computes on the CPU.

    Examples
    --------
    >>> import tapegrad as tg
    >>> "cuda" if tg.cuda.is_available() else "cpu"
    'cpu'
    """
    return False


def device_count() -> int:
    """Return 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cuda.device_count()
    0
    """
    return 0


def is_initialized() -> bool:
    """Return False.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cuda.is_initialized()
    False
    """
    return False


def manual_seed_all(seed: int) -> None:
    """Do nothing, as PyTorch does where there is no graphics card.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cuda.manual_seed_all(0)
    """


def current_device() -> int:
    """Raise: there is no device.

    Raises
    ------
    UnsupportedError

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cuda.current_device() if tg.cuda.is_available() else "cpu"
    'cpu'
    """
    raise UnsupportedError("cuda.current_device(): tapegrad computes on the CPU only")


__getattr__ = getattr_of(
    __name__, "tapegrad computes on the CPU only; ask cuda.is_available() first"
)
