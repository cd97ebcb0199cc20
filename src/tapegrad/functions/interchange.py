"""Memory shared with other libraries: DLPack, the buffer protocol, and the names that pandas has for it.

Nothing is copied, in either direction, but memory that must not be written. Who is given a tensor's memory
keeps it alive, wherever the tape goes (`Values.expose`), and a tensor keeps alive what it was made of. From
then on the memory is VISIBLE: statements that use it are evaluated as they are recorded, so both sides see
the other's writes in Python's order. Writes that are not the tape's count as no version.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..base.devices import check_device
from ..base.dtypes import from_numpy_dtype
from ..base.errors import UnsupportedError, must_be
from ..native import abi as nt
from ..native.handle_type import register_slow, status_of
from ..tape import readout
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.memory_views import address_of, array_at, array_layout
from .creation.creation import from_numpy
from .leaf import numpy
from .options import check_requires_grad, read_dtype
from .registry import public
from .signature import Tensor

__all__ = ["from_dlpack", "frombuffer", "to_dlpack"]

#: types of devices whose memory the CPU reads and writes (DLDeviceType)
_CPU, _READABLE = (
    1,
    {1: "CPU", 3: "CUDA, pinned memory of the host", 11: "ROCm, pinned memory of the host"},
)
_NAMES = {
    2: "CUDA",
    4: "OpenCL",
    7: "Vulkan",
    8: "Metal",
    9: "VPI",
    10: "ROCm",
    13: "CUDA, managed memory",
}
_capsule_name = ctypes.pythonapi.PyCapsule_GetName
_capsule_name.restype, _capsule_name.argtypes = ctypes.c_char_p, [ctypes.py_object]


# --------------------------------------------------------------------------- to other libraries
def _shared(input: Any, how: str) -> np.ndarray:
    """An array over the memory of a tensor that does not require grad."""
    record.check_tensors(how, (input,))
    status = status_of(input)
    if status > 0 and status & 1:
        readout.check(input, f"{how}()", warns=False)
    if input.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return numpy(input, force=True)


@public(method=True, function=False, name="__dlpack__")
def as_capsule(
    input: Any,
    *,
    stream: Any = None,
    max_version: Any = None,
    dl_device: Any = None,
    copy: bool | None = None,
) -> Any:
    """Return a DLPack capsule, for ``from_dlpack(tensor)`` of another library; the memory is shared.

    Parameters
    ----------
    input : Tensor
        Must not require grad.
    stream : None
        A CPU has none.
    max_version : tuple of int, optional
        The newest version that the other library reads.
    dl_device : tuple of int, optional
        The CPU, ``(1, 0)``.
    copy : bool, optional
        True: the capsule has memory of its own.

    Raises
    ------
    BufferError
        For a tensor that requires grad, or another device.
    """
    array = _shared(input, "__dlpack__")
    if stream is not None and stream != -1:
        raise BufferError("stream should be None on cpu.")
    if dl_device is not None and tuple(dl_device) != (_CPU, 0):
        raise BufferError(
            f"__dlpack__(): tensors are on the CPU, dl_device (1, 0), and not on {tuple(dl_device)}"
        )
    exported: Any = array.copy() if copy else array
    return exported.__dlpack__(max_version=max_version)


@public(method=True, function=False, name="__dlpack_device__")
def capsule_device(input: Any) -> tuple[int, int]:
    """Return the device as DLPack has it: the CPU."""
    return (_CPU, 0)


@public(out=False)
def to_dlpack(input: Any) -> Any:
    """Return a DLPack capsule, which one call of ``from_dlpack`` takes; give the tensor itself where you can.

    Parameters
    ----------
    input : Tensor
        Must not require grad. The memory is shared.
    """
    return as_capsule(input)


def _buffer(input: Any) -> np.ndarray:
    """An array for the buffer protocol, to which NumPy turns first: what `numpy` gives, and refuses."""
    if current_tape().grad_mode:
        return _shared(input, "memoryview")
    return numpy(input)


register_slow(nt.BUFFER_CODE, _buffer)


@public(method=True, function=False)
def to_numpy(input: Any, dtype: Any = None, copy: bool = False) -> np.ndarray:
    """Return the value as an ndarray: `numpy` under the name that pandas has, which matplotlib asks for.

    Parameters
    ----------
    input : Tensor
        Must not require grad.
    dtype : numpy.dtype, optional
    copy : bool
        Copy in any case; without it the memory is shared, if the dtype is the tensor's.
    """
    array = numpy(input)
    return np.array(array, dtype) if copy else np.asarray(array, dtype)


# --------------------------------------------------------------------------- from other libraries
class _Producer:
    """Hands a capsule to NumPy, which reads it."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CPU, 0)


_USED = (
    "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
    "might have already constructed a tensor from it once."
)


def _capsule_of(producer: Any, copy: bool | None) -> tuple[Any, bool]:
    """The capsule of an object, of the newest version that it gives; and if it was one itself.

    Before version 1 capsules do not say if memory may be written. A bare one is shared, as in PyTorch; an
    object that has no other may be JAX's, whose arrays never change.
    """
    capsule = producer
    if hasattr(producer, "__dlpack__"):
        kind = int(producer.__dlpack_device__()[0])
        if kind not in _READABLE:
            raise UnsupportedError(
                f"from_dlpack(): the array is on a device of type {kind} ({_NAMES.get(kind, 'unknown')}), "
                "and tapegrad computes on the CPU only; copy it there first"
            )
        wishes: dict[str, Any] = {"max_version": (1, 0)} | ({} if copy is None else {"copy": copy})
        try:
            capsule = producer.__dlpack__(**wishes)
        except TypeError:  # an older one
            capsule = producer.__dlpack__()
    try:
        name = _capsule_name(capsule)
    except ValueError:
        name = None
    if name not in (b"dltensor", b"dltensor_versioned"):
        raise RuntimeError(_USED)
    return capsule, capsule is producer and name == b"dltensor"


@public(out=False)
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Return a tensor that shares the memory of an array of another library.

    Parameters
    ----------
    ext_tensor : object with ``__dlpack__``, or DLPack capsule
        Such as tensors and arrays of PyTorch, JAX and NumPy.
    device : device, optional
        The CPU.
    copy : bool, optional
        True: copy. None: share the memory, but copy what its owner marks as read-only (as JAX does).
        False: share that, too; then it must not be written in place.

    Raises
    ------
    UnsupportedError
        For an array on another device.
    RuntimeError
        For anything else, and for a capsule that was taken before.
    TypeError, ValueError
        For dtypes and strides that tensors do not have.

    Examples
    --------
    >>> import numpy as np, tapegrad as tg
    >>> a = np.zeros(2)
    >>> x = tg.from_dlpack(a)
    >>> a[0] = 1
    >>> x
    tensor([1., 0.])
    """
    check_device("from_dlpack", device)
    if copy is not None and not isinstance(copy, bool):
        raise must_be("from_dlpack", "copy", 0, "bool or None", copy)
    capsule, is_bare = _capsule_of(ext_tensor, copy)
    try:
        array = np.from_dlpack(_Producer(capsule))
    except RuntimeError as error:
        raise TypeError(
            f"from_dlpack(): {error} Of dtypes there are float64, float32, float16, complex128, complex64, "
            "int64, int32, int16, int8, uint8 and bool; convert the array to one of them first"
        ) from None
    if copy or not (array.flags.writeable or is_bare or copy is False):
        return from_numpy(array.copy())
    if not array.flags.writeable:  # NumPy can be told of no other way to write there
        layout = array_layout(array, from_numpy_dtype(array.dtype))
        if all(stride >= 0 for stride in array.strides):
            array = array_at(address_of(array), layout, array)
    return from_numpy(array)


@public(out=False)
def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """Return a 1-d tensor over the bytes of an object; a buffer that must not be written is copied.

    Parameters
    ----------
    buffer : object with the buffer protocol
        Such as `bytearray`, `memoryview` and `mmap`.
    dtype : dtype
        That of the elements.
    count : int
        Elements to read; by default all.
    offset : int
        Bytes before the first.
    requires_grad : bool
        Whether operations on it are differentiated.

    Raises
    ------
    ValueError
        If there are not as many bytes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> data = bytearray(16)
    >>> x = tg.frombuffer(data, dtype=tg.float64)
    >>> data[7] = 64
    >>> x
    tensor([2., 0.])
    """
    kind = read_dtype("frombuffer", dtype)
    for name, value in (("count", count), ("offset", offset)):
        if not isinstance(value, int):
            raise must_be("frombuffer", name, 0, "int", value)
    check_requires_grad("frombuffer", requires_grad, kind)
    try:
        raw = memoryview(buffer).cast("B")
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size, width = len(raw), kind.itemsize
    if not size or not count:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes) "
            "minus 1"
        )
    if count < 0 and (size - offset) % width:
        raise ValueError(
            f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of "
            f"element size ({width})"
        )
    if offset + count * width > size:
        raise ValueError(
            f"requested buffer length ({count} * {width} bytes) after offset ({offset} bytes) must not be "
            f"greater than actual buffer length ({size} bytes)"
        )
    array = np.frombuffer(raw, kind.np, count, offset)
    return from_numpy(array if array.flags.aligned else array.copy()).requires_grad_(requires_grad)
