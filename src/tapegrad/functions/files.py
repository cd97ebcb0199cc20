"""``save`` and ``load``: tensors, and containers of them, in files.

A file is a head, a pickle of the containers, and the memory of the tensors in it, each with a checksum:

    a line that names it
    bytes of the pickle, blocks of memory         2 words
    of each block: bytes, first byte              2 words each
    the pickle; its checksum, with all before     4 bytes
    the blocks; their checksum                    4 bytes

The pickle says of a tensor in which block it lies and where, so a tensor and its views share memory again
when they are read. Of memory only those bytes are written which some tensor reaches over. Start reading at
`save`.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from typing import IO, Any, BinaryIO

import numpy as np

from ..base.devices import check_device
from ..base.errors import UnsupportedError, must_be
from ..tape import readout
from ..tape import recording as record
from ..tape.leaf_storage import layout_of
from .copies import MemoryPlace, attributes_of, class_of, converted_class, leaf_in, place_of
from .registry import public

__all__ = ["load", "save"]

_HEAD = b"tapegrad.save 1\n"
_LENGTHS, _SUM = struct.Struct("<QQ"), struct.Struct("<I")
#: names that a file may use when it is loaded, by module
_ALLOWED = {
    "tapegrad.functions.copies": {"rebuilt"},
    "tapegrad.base.dtypes": {"from_numpy_dtype"},
    "tapegrad.base.devices": {"device"},
    "tapegrad.base.size": {"Size"},
    "collections": {"OrderedDict", "defaultdict", "Counter"},
    "numpy": {"dtype", "ndarray", "float64", "float32", "int64", "bool_"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range", "set",
        "slice", "str", "tuple",
    },
}  # fmt: skip


def tensor_in_file(*_: Any) -> Any:
    """Stand, in a pickle, for the function of `_Reader` that makes a tensor of the file's memory."""
    raise UnsupportedError("a file of tapegrad.save is read by tapegrad.load, and not by pickle")


_IN_FILE = tensor_in_file.__module__, tensor_in_file.__name__


# --------------------------------------------------------------------------- writing
class _Writer(pickle.Pickler):
    """Pickles, and notes the memory of the tensors that it meets."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        #: memory by its address -> its number, and the bytes that tensors reach over
        self.numbers: dict[int, int] = {}
        self.places: list[MemoryPlace] = []
        self.ranges: list[tuple[int, int]] = []

    def reducer_override(self, obj: Any) -> Any:
        """Return where a tensor lies; anything else is pickled as ever."""
        if not record.is_tensor(obj) or not layout_of(obj).span:
            return NotImplemented
        readout.check(obj, "save()", warns=False)
        place, layout = place_of(obj), layout_of(obj)
        number = self.numbers.setdefault(place.address, len(self.places))
        first, end = place.offset, place.offset + place.extent
        if number == len(self.places):
            self.places.append(place)
            self.ranges.append((first, end))
        else:
            known = self.ranges[number]
            self.ranges[number] = min(first, known[0]), max(end, known[1])
        where = number, layout.dtype.name, tuple(layout.shape), place.strides, place.offset
        parts = (*where, obj.requires_grad, class_of(obj))
        return tensor_in_file, parts, attributes_of(obj)

    def blocks(self) -> list[np.ndarray]:
        """The bytes to be written."""
        return [
            place.bytes()[first:end]
            for place, (first, end) in zip(self.places, self.ranges, strict=True)
        ]


@public(out=False)
def save(
    obj: Any,
    f: str | os.PathLike[str] | BinaryIO,
    pickle_module: Any = None,
    pickle_protocol: Any = None,
) -> None:
    """Write tensors, or a nested container of tensors and numbers, to a file.

    Tensors are saved by value, with `requires_grad`, class and attributes, without graph or gradient. A
    tensor and its views share memory again when they are loaded.

    Parameters
    ----------
    obj : object
        Anything that can be pickled; only tensors, arrays, numbers, strings and containers of these can be
        loaded by default.
    f : path or binary file
        Files may have several, one behind the other.
    pickle_module, pickle_protocol : optional
        For PyTorch's sake: it is Python's, with protocol 5.

    Examples
    --------
    >>> import io, tapegrad as tg
    >>> file = io.BytesIO()
    >>> tg.save({"w": tg.tensor([1.0, 2.0])}, file)
    >>> _ = file.seek(0)
    >>> tg.load(file)
    {'w': tensor([1., 2.])}
    """
    is_path = isinstance(f, str | os.PathLike)
    if not is_path and not hasattr(f, "write"):
        raise must_be("save", "f", 0, "a path or a file", f)
    _check_module("save", pickle_module)
    packed = io.BytesIO()
    writer = _Writer(packed)
    writer.dump(obj)
    blocks = writer.blocks()
    parts = [_HEAD, _LENGTHS.pack(packed.tell(), len(blocks))]
    parts += [
        _LENGTHS.pack(len(b), first) for b, (first, _) in zip(blocks, writer.ranges, strict=True)
    ]
    head = b"".join([*parts, packed.getvalue()])
    if is_path:
        with open(f, "wb") as file:  # type: ignore[arg-type]
            _write(file, head, blocks)
    else:
        _write(f, head, blocks)  # type: ignore[arg-type]


def _write(file: IO[bytes], head: bytes, blocks: list[np.ndarray]) -> None:
    file.write(head + _SUM.pack(zlib.crc32(head)))
    total = 0
    for block in blocks:
        file.write(block.data)
        total = zlib.crc32(block.data, total)
    file.write(_SUM.pack(total))


def _check_module(name: str, module: Any) -> None:
    if module is not None and module is not pickle:
        raise UnsupportedError(f"{name}(): pickle_module is Python's pickle here; leave it out")


# --------------------------------------------------------------------------- reading
class _Reader(pickle.Unpickler):
    """Unpickles, and makes the tensors of a file's memory.

    With `restricted` it makes tensors, arrays and containers only: a file is data, and runs no code.
    """

    def __init__(self, packed: bytes, table: list[tuple[int, int]], restricted: bool) -> None:
        super().__init__(io.BytesIO(packed))
        self.restricted = restricted
        self.blocks = [np.empty(size, np.uint8) for size, _ in table]
        self.starts = [first for _, first in table]
        self.users = [0] * len(table)

    def tensor(
        self, number: int, kind: str, shape: Any, strides: Any, offset: int, requires_grad: bool, cls: Any
    ) -> Any:  # fmt: skip
        """Make a tensor of a block, the second and further ones of which see each other's writes."""
        self.users[number] += 1
        leaf = leaf_in(
            self.blocks[number], kind, shape, strides, offset - self.starts[number], requires_grad,
            shared=self.users[number] > 1,
        )  # fmt: skip
        return leaf if cls is None else converted_class(leaf, cls)

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function of a name, if the file may use it."""
        if (module, name) == _IN_FILE:
            return self.tensor
        if not self.restricted or name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        if module.startswith("tapegrad.nn."):  # parameters and buffers of modules
            kind = super().find_class(module, name)
            if isinstance(kind, type) and issubclass(kind, record.tensor_type()):
                return kind
        raise pickle.UnpicklingError(
            f"load(): the file asks for {module}.{name}, which is neither a tensor nor a plain container; if "
            "you trust who wrote the file, load it with weights_only=False"
        )


@public(out=False)
def load(
    f: str | os.PathLike[str] | BinaryIO, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = True, mmap: bool | None = None,
) -> Any:  # fmt: skip
    """Read a file of `save`.

    Parameters
    ----------
    f : path or binary file
    map_location : optional
        Nothing but the CPU.
    pickle_module : optional
        For PyTorch's sake: it is Python's.
    weights_only : bool
        Refuse anything that is not a tensor, an array, a number, a string or a container. Without it a file
        may run any code: only for files that you trust.
    mmap : bool, optional
        For PyTorch's sake: the file is read at once.

    Raises
    ------
    UnsupportedError
        If the file is not one of `save`.
    EOFError
        If it is empty.
    pickle.UnpicklingError
        If it holds something else, or is damaged.
    """
    _check_module("load", pickle_module)
    if map_location is not None and not callable(map_location):
        for place in map_location.values() if isinstance(map_location, dict) else (map_location,):
            check_device("load", place)
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return _read(file, weights_only is None or weights_only)
    if not hasattr(f, "read"):
        raise must_be("load", "f", 0, "a path or a file", f)
    return _read(f, weights_only is None or weights_only)


def _damaged(file: Any, text: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"load(): {getattr(file, 'name', 'the file')} {text}")


def _taken(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _damaged(file, f"is cut off: {len(data)} of {count} bytes are left of a part of it")
    return data


def _check_head(file: BinaryIO) -> None:
    head: Any = file.read(len(_HEAD))
    if isinstance(head, str):
        raise TypeError(
            "load(): argument 'f' must be a file of bytes, as open(path, 'rb') gives it"
        )
    if not head:
        raise EOFError("load(): the file is empty, or read to its end")
    if head != _HEAD:
        kind = "a file of PyTorch" if head.startswith(b"PK") else "no file of tapegrad.save"
        raise UnsupportedError(
            f"load(): this is {kind}; with torch, write arrays by tensor.numpy() and numpy.savez, and "
            "read them by numpy.load and tapegrad.from_numpy"
        )


def _read(file: BinaryIO, restricted: bool) -> Any:
    _check_head(file)
    parts = [_HEAD, _taken(file, _LENGTHS.size)]
    length, count = _LENGTHS.unpack(parts[-1])
    parts.append(_taken(file, _LENGTHS.size * count))
    table = list(_LENGTHS.iter_unpack(parts[-1]))
    packed = _taken(file, length)
    if _SUM.unpack(_taken(file, _SUM.size))[0] != zlib.crc32(b"".join([*parts, packed])):
        raise _damaged(file, "is damaged: its checksum is another")
    reader, total = _Reader(packed, table, restricted), 0
    for block in reader.blocks:
        block[...] = np.frombuffer(_taken(file, len(block)), np.uint8)
        total = zlib.crc32(block.data, total)
    if _SUM.unpack(_taken(file, _SUM.size))[0] != total:
        raise _damaged(file, "is damaged: its checksum is another")
    return reader.load()
