"""Complex numbers: their parts, conjugates and angles, and views between them and pairs of real numbers."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import complex_of, float32, float64, real_of, scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.leaf_storage import layout_of
from ..registry import declared, public
from ..shape.reshape import matrix_transpose
from ..signature import Tensor

__all__: list[str] = []


def _parts(name: str, tensor: Any, number: int) -> Any:
    """A view of the real (0) or imaginary (1) parts."""
    layout = layout_of(tensor)
    offset = number * real_of(layout.dtype).itemsize
    return record.view(
        TABLE[name], tensor, layout.shape, layout.strides, offset, real_of(layout.dtype)
    )


def _real(input: Any) -> Any:
    return _parts("real", input, 0) if input.dtype.is_complex else input


def _imag(input: Any) -> Any:
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _parts("imag", input, 1)


@declared(method=False, out=False)
def real(input: Tensor) -> Tensor:
    """Return a view of the real parts; of a real tensor itself.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.real(tg.tensor([1 + 2j, 3 - 1j]))
    tensor([1., 3.])
    """
    return _real(input)


@declared(method=False, out=False)
def imag(input: Tensor) -> Tensor:
    """Return a view of the imaginary parts.

    Raises
    ------
    RuntimeError
        If the tensor is real.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.imag(tg.tensor([1 + 2j, 3 - 1j]))
    tensor([ 2., -1.])
    """
    return _imag(input)


public(
    prop=True, function=False, name="real", doc="View of the real parts; of a real tensor itself."
)(lambda input: _real(input))
public(prop=True, function=False, name="imag", doc="View of the imaginary parts.")(
    lambda input: _imag(input)
)


@declared(name="complex")
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """Return the complex numbers with given parts.

    Parameters
    ----------
    real, imag : Tensor
        float64 or float32, of one dtype; they broadcast.

    Raises
    ------
    RuntimeError
        If the parts have other dtypes.
    """
    for x in (real, imag):
        if x.dtype not in (float64, float32):
            raise RuntimeError(
                f"Expected both inputs to be Half, Float or Double tensors but got {scalar_name(real.dtype)} "
                f"and {scalar_name(imag.dtype)}"
            )
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {scalar_name(real.dtype)} but got scalar type "
            f"{scalar_name(imag.dtype)} for second argument"
        )
    return record.apply(TABLE["complex"], (real, imag))


@declared(method=False)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Return the complex numbers with given lengths and angles (in radians).

    Parameters
    ----------
    abs, angle : Tensor
        float64 or float32, of one dtype; they broadcast.
    """
    return complex_(abs * angle.cos(), abs * angle.sin())


@declared(out=False)
def conj(input: Tensor) -> Tensor:
    """Return the conjugates; of a real tensor itself.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.conj(tg.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    return record.unary(TABLE["conj"], input) if input.dtype.is_complex else input


@declared()
def conj_physical(input: Tensor) -> Tensor:
    """Return the conjugates, as `conj` does."""
    return conj(input)


@declared()
def angle(input: Tensor) -> Tensor:
    """Return the angle of each number, in radians: 0 or pi for real ones."""
    if input.dtype.is_complex:
        return _imag(input).atan2(_real(input))
    x = input if input.dtype.is_floating_point else record.cast(input, float64)
    zero = x._zero()
    return zero.where(~(x < 0), 3.141592653589793).where(~x.isnan(), x)


@declared(out=False)
def isreal(input: Tensor) -> Tensor:
    """Return True where a number has no imaginary part."""
    if input.dtype.is_complex:
        return _imag(input) == 0
    return record.apply(TABLE["eq"], (input._zero(), input._zero()))


@declared(method=False, out=False)
def view_as_real(input: Tensor) -> Tensor:
    """Return a view with real and imaginary parts in a last dimension of two.

    Raises
    ------
    RuntimeError
        If the tensor is real.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.view_as_real(tg.tensor([1 + 2j, 3 - 1j]))
    tensor([[ 1.,  2.],
            [ 3., -1.]])
    """
    layout = layout_of(input)
    if not layout.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    kind = real_of(layout.dtype)
    shape, strides = (*layout.shape, 2), (*layout.strides, kind.itemsize)
    return record.view(TABLE["view_as_real"], input, shape, strides, 0, kind)


@declared(method=False, out=False)
def view_as_complex(input: Tensor) -> Tensor:
    """Return a view of pairs in the last dimension as complex numbers.

    Raises
    ------
    RuntimeError
        If the last dimension is not of two neighbours, or the dtype not float64 or float32.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.view_as_complex(tg.tensor([[1.0, 2.0], [3.0, -1.0]]))
    tensor([1.+2.j, 3.-1.j])
    """
    layout = layout_of(input)
    kind = layout.dtype
    if kind not in (float64, float32):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of "
            f"scalar type: {scalar_name(kind)}"
        )
    if not layout.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if layout.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if layout.strides[-1] != kind.itemsize:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    wide = complex_of(kind)
    if any(
        s % wide.itemsize for s, n in zip(layout.strides[:-1], layout.shape, strict=False) if n > 1
    ):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return record.view(
        TABLE["view_as_complex"], input, layout.shape[:-1], layout.strides[:-1], 0, wide
    )


# --------------------------------------------------------------------------- conjugate transposes
@public(prop=True, name="mH", function=False)
def conjugate_transpose(input: Any) -> Tensor:
    """Conjugates with the last two dimensions exchanged."""
    return conj(matrix_transpose(input))


@public(prop=True, name="H", function=False)
def matrix_conjugate_transpose(input: Any) -> Tensor:
    """Conjugates of a matrix, transposed."""
    ndim = layout_of(input).ndim
    if ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor."
        )
    return conj(input if ndim == 0 else matrix_transpose(input))


@declared(out=False)
def adjoint(input: Tensor) -> Tensor:
    """Return the conjugates with the last two dimensions exchanged.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.adjoint(tg.tensor([[1 + 1j, 2.0]]))
    tensor([[1.-1.j],
            [2.-0.j]])
    """
    return conj(matrix_transpose(input))
