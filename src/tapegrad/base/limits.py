"""Limits of numbers, as `finfo` and `iinfo` have them."""

from __future__ import annotations

import numpy

from .dtypes import FLOATING, as_dtype, bool_, category, dtype, get_default_dtype, real_of

__all__ = ["finfo", "iinfo"]


class _Limits:
    """Common part of `finfo` and `iinfo`."""

    __slots__ = ("bits", "dtype")

    def __init__(self, dtype: dtype, bits: int) -> None:
        self.dtype, self.bits = dtype.name, int(bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Limits) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class finfo(_Limits):
    """Limits of a floating-point dtype, with PyTorch's attributes as Python numbers.

    Parameters
    ----------
    type : dtype, optional
        A floating-point dtype; the default dtype if left out.

    Attributes
    ----------
    bits : int
        Bits an element.
    eps : float
        Distance from 1.0 to the next number.
    max, min : float
        Largest and most negative finite number.
    tiny, smallest_normal : float
        Smallest positive normal number, under both its names.
    resolution : float
        ``10**-digits`` for the decimal digits that are always exact.
    dtype : str
        The dtype's name.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.finfo(tg.float32).eps
    1.1920928955078125e-07
    """

    __slots__ = ("eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: object = None) -> None:
        d = get_default_dtype() if type is None else as_dtype(type)
        d = real_of(d)
        if not d.is_floating_point:
            raise TypeError(
                "torch.finfo() requires a floating point input type. "
                "Use torch.iinfo to handle 'torch.finfo'"
            )
        limits = numpy.finfo(d.np)
        super().__init__(d, limits.bits)
        self.eps = float(limits.eps)
        self.max = float(limits.max)
        self.min = float(limits.min)
        self.tiny = self.smallest_normal = float(limits.tiny)
        # NumPy's own is rounded to the dtype, PyTorch's is not.
        self.resolution = float(f"1e-{limits.precision}")

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        limits = ", ".join(f"{name}={getattr(self, name):.6g}" for name in names)
        return f"finfo({limits}, dtype={self.dtype})"


class iinfo(_Limits):
    """Limits of the integer dtype, with PyTorch's attributes as Python numbers.

    Parameters
    ----------
    type : dtype
        `int64`, or ``int``.

    Attributes
    ----------
    bits : int
        Bits an element.
    max, min : int
        Largest and most negative number.
    dtype : str
        ``"int64"``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.iinfo(tg.int64).max
    9223372036854775807
    """

    __slots__ = ("max", "min")

    def __init__(self, type: object) -> None:
        d = as_dtype(type)
        if category(d) >= FLOATING:
            raise TypeError(
                "torch.iinfo() requires an integer input type. "
                "Use torch.finfo to handle 'torch.iinfo'"
            )
        if d is bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        limits = numpy.iinfo(d.np)
        super().__init__(d, limits.bits)
        self.max = int(limits.max)
        self.min = int(limits.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:.6g}, max={self.max:.6g}, dtype={self.dtype})"
