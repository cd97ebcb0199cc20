"""The dtypes of tapegrad, their promotion, and the default dtype.

Everything here needs no tape: the class `dtype` with its singletons, and the way from NumPy's dtypes to them.
Names and texts are PyTorch's, so that they print the same.

Real and complex numbers are differentiated. Of whole numbers `int64` and `bool_` are what computes; the
smaller ones, and `float16`, are for data.

`dtype.code` is the number that stands for a dtype in the tape's arrays.

Start reading at `dtype`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Not `as np`: `dtype` has a field of that name.
import numpy

__all__ = [
    "DTYPES",
    "FLOATING",
    "as_dtype",
    "bool_",
    "c_name",
    "category",
    "cdouble",
    "cfloat",
    "complex64",
    "complex128",
    "complex_of",
    "double",
    "dtype",
    "dtype_of",
    "float16",
    "float32",
    "float64",
    "float_",
    "from_numpy_dtype",
    "get_default_dtype",
    "half",
    "int8",
    "int16",
    "int32",
    "int64",
    "int_",
    "legacy_name",
    "long",
    "real_of",
    "result_type",
    "scalar_name",
    "set_default_dtype",
    "short",
    "type_name",
    "uint8",
]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class dtype:
    """A tensor's element type: `float64`, `float32`, `int64`, `bool`, `complex128`, `complex64` and others.

    The instances are singletons, compared with ``is``; no others are made.

    Attributes
    ----------
    name : str
        Name without a prefix, e.g. ``"float64"``.
    np : numpy.dtype
        The NumPy dtype of the buffers.
    code : int
        Number in the tape's arrays: 0 float64, 1 float32, 2 int64, 3 bool, 4 complex128, 5 complex64 ...
    itemsize : int
        Bytes an element.
    is_floating_point, is_signed, is_complex : bool
        As in PyTorch.
    is_inexact : bool
        Whether it is a floating or complex dtype that is differentiated.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.float32.itemsize, tg.float32.is_floating_point
    (4, True)
    >>> tg.ones(2, dtype=tg.int64).dtype
    torch.int64
    """

    name: str
    np: numpy.dtype[Any]
    code: int
    itemsize: int = field(init=False)
    is_floating_point: bool = field(init=False)
    is_signed: bool = field(init=False)
    is_complex: bool = field(init=False)
    is_inexact: bool = field(init=False)

    def __post_init__(self) -> None:
        derived = {
            "itemsize": self.np.itemsize,
            "is_floating_point": self.np.kind == "f",
            "is_signed": self.np.kind in "fic",
            "is_complex": self.np.kind == "c",
            "is_inexact": self.np.kind in "fc" and self.np.itemsize > 2,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> bool:
        """Return True for the dtype itself, and for what NumPy takes for its dtype."""
        return self is other or (isinstance(other, type | numpy.dtype) and bool(self.np == other))

    __hash__ = object.__hash__

    # NumPy takes an object with these where it takes a dtype.

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """The NumPy dtype: ``np.zeros(3, dtype=x.dtype)`` and ``np.finfo(x.dtype)`` look here."""
        return self.np

    @property
    def type(self) -> Any:
        """NumPy's type of a number of this dtype, as of NumPy's dtypes."""
        return self.np.type

    @property
    def kind(self) -> str:
        """NumPy's letter for the kind of numbers: f, i or b."""
        return self.np.kind

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and unpickled dtypes are the singletons again.
        return from_numpy_dtype, (self.name,)


float64 = dtype("float64", numpy.dtype(numpy.float64), 0)
float32 = dtype("float32", numpy.dtype(numpy.float32), 1)
int64 = dtype("int64", numpy.dtype(numpy.int64), 2)
bool_ = dtype("bool", numpy.dtype(numpy.bool_), 3)
complex128 = dtype("complex128", numpy.dtype(numpy.complex128), 4)
complex64 = dtype("complex64", numpy.dtype(numpy.complex64), 5)
int32 = dtype("int32", numpy.dtype(numpy.int32), 6)
int16 = dtype("int16", numpy.dtype(numpy.int16), 7)
int8 = dtype("int8", numpy.dtype(numpy.int8), 8)
uint8 = dtype("uint8", numpy.dtype(numpy.uint8), 9)
float16 = dtype("float16", numpy.dtype(numpy.float16), 10)
#: by code
DTYPES = (
    float64, float32, int64, bool_, complex128, complex64, int32, int16, int8, uint8, float16,
)  # fmt: skip

# PyTorch's aliases; the package exports `float_` as `float`, `bool_` as `bool`, `int_` as `int`.
double = float64
float_ = float32
half = float16
long = int64
int_ = int32
short = int16
cdouble = complex128
cfloat = complex64

_BY_NUMPY: dict[numpy.dtype[Any], dtype] = {d.np: d for d in DTYPES}

# Remedies for arrays of other kinds, by `numpy.dtype.kind`.
_REMEDY = {
    "f": "convert with .astype(np.float64)",
    "i": "convert with .astype(np.int64)",
    "u": "convert with .astype(np.int64)",
    "b": "convert with .astype(np.bool_)",
    "c": "convert with .astype(np.complex128)",
    "m": "convert with .astype(np.int64)",
    "M": "convert with .astype(np.int64)",
}
_NOT_NUMBERS = "make an array of numbers first, e.g. with .astype(np.float64)"


def dtype_of(array: numpy.ndarray[Any, Any]) -> dtype:
    """Return the element type of an array."""
    return from_numpy_dtype(array.dtype)


def from_numpy_dtype(source: numpy.dtype[Any] | type | str) -> dtype:
    """Return the dtype of a NumPy dtype.

    Parameters
    ----------
    source : numpy.dtype, type or str
        Anything that names a NumPy dtype: ``array.dtype``, ``np.float32``, ``float``, ``"int64"``.

    Returns
    -------
    dtype
        The singleton.

    Raises
    ------
    TypeError
        If tapegrad has no such dtype; the text says what to convert to.

    Examples
    --------
    >>> from_numpy_dtype("float32")
    torch.float32
    """
    # np.dtype(None) is float64, which is never meant.
    if source is None:
        raise TypeError("expected a NumPy dtype, got None")
    source = numpy.dtype(source)
    known = _BY_NUMPY.get(source)
    if known is not None:
        return known
    order = "" if source.isnative else " in non-native byte order"
    raise TypeError(
        f"can't convert np.ndarray of type numpy.{source.type.__name__}{order}. The only supported "
        f"types are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, "
        f"and bool; {_REMEDY.get(source.kind, _NOT_NUMBERS)}"
    )


def as_dtype(obj: object) -> dtype:
    """Return `obj` as a dtype.

    Parameters
    ----------
    obj : dtype, numpy.dtype or type
        A dtype, a NumPy dtype or scalar type, or Python's ``float`` (float64), ``int`` (int64),
        ``complex`` (complex128) or ``bool``.

    Returns
    -------
    dtype
        The singleton.

    Raises
    ------
    TypeError
        If `obj` is none of these, or a NumPy dtype that tapegrad does not have.
    """
    if isinstance(obj, dtype):
        return obj
    if obj is float or obj is int or obj is bool or obj is complex:
        return from_numpy_dtype(obj)
    if isinstance(obj, numpy.dtype) or (isinstance(obj, type) and issubclass(obj, numpy.generic)):
        return from_numpy_dtype(obj)
    shown = obj.__name__ if isinstance(obj, type) else repr(obj)
    raise TypeError(
        f"dtype must be one of float64, float32, complex128, complex64, int64, bool ..., or the NumPy or "
        f"Python type for it, "
        f"not {shown}"
    )


def _promoted(a: dtype, b: dtype) -> dtype:
    if uint8 in (a, b) and a is not b:
        other = b if a is uint8 else a
        if other is int8:
            return int16
        return uint8 if other is bool_ else other
    if category(a) < category(b):
        a, b = b, a
    if a.is_complex and b.is_floating_point:
        b = complex_of(b)
    elif category(a) > category(b):
        return a
    return a if a.itemsize >= b.itemsize else b


def category(kind: dtype) -> int:
    """Rank of a dtype's kind: bool, whole, floating, complex."""
    return _CATEGORY[kind.np.kind]


_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def complex_of(kind: dtype) -> dtype:
    """Return the complex dtype whose parts have a dtype: complex128 for whole numbers."""
    if kind.is_complex:
        return kind
    return complex64 if kind in (float32, float16) else complex128


def real_of(kind: dtype) -> dtype:
    """Return the dtype of the parts of a complex one; any other itself.

    Examples
    --------
    >>> real_of(complex64), real_of(float64)
    (torch.float32, torch.float64)
    """
    return {complex128: float64, complex64: float32}.get(kind, kind)


#: the category of floating dtypes
FLOATING = 2
_TYPES = {(a, b): _promoted(a, b) for a in DTYPES for b in DTYPES}


def result_type(a: dtype, b: dtype) -> dtype:
    """Return the dtype that `a` and `b` promote to: bool < int64 < float32 < float64 < complex128.

    This is PyTorch's promotion of two operands of equal standing (both with dimensions, both 0-d,
    or both Python scalars). An operand of lower standing counts only if its kind (bool, integer,
    floating, complex) is higher; that is the caller's to decide.

    Examples
    --------
    >>> result_type(int64, float32), result_type(complex64, float64)
    (torch.float32, torch.complex128)
    """
    return _TYPES[a, b]


_default_dtype = float64


def get_default_dtype() -> dtype:
    """Return the dtype of tensors made from Python floats: float64, unless it was changed.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.get_default_dtype()
    torch.float64
    """
    return _default_dtype


def set_default_dtype(d: dtype, /) -> None:
    """Make `d` the dtype of tensors made from Python floats.

    Parameters
    ----------
    d : dtype
        `float64` or `float32`.

    Raises
    ------
    TypeError
        If `d` is not a floating-point dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.set_default_dtype(tg.float32)
    >>> tg.ones(2).dtype
    torch.float32
    >>> tg.set_default_dtype(tg.float64)
    """
    global _default_dtype
    message = "only floating-point types are supported as the default type"
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: {message}")
    if not d.is_floating_point:
        raise TypeError(message)
    _default_dtype = d


_SCALAR_NAMES = (
    "Double", "Float", "Long", "Bool", "ComplexDouble", "ComplexFloat", "Int", "Short", "Char", "Byte",
    "Half",
)  # fmt: skip
_C_NAMES = (
    "double", "float", "long int", "bool", "c10::complex<double>", "c10::complex<float>", "int", "short",
    "signed char", "unsigned char", "c10::Half",
)  # fmt: skip


def scalar_name(d: dtype) -> str:
    """Return PyTorch's other name of `d`, which most of its error messages show: ``Double``."""
    return _SCALAR_NAMES[d.code]


def c_name(d: dtype) -> str:
    """Return the C++ type of `d`, which some of PyTorch's error messages show: ``double``."""
    return _C_NAMES[d.code]


def legacy_name(d: dtype) -> str:
    """Return the legacy type of tensors of `d`: ``torch.DoubleTensor``."""
    return f"torch.{scalar_name(d)}Tensor"


def type_name(d: dtype) -> str:
    """Return the legacy type of tensors of `d` as PyTorch's error messages show it.

    The default dtype is called ``torch.FloatTensor``, be it float64 or float32: it stands where PyTorch's
    default, ``torch.float32``, stands in those messages.
    """
    return "torch.FloatTensor" if d is _default_dtype else legacy_name(d)
