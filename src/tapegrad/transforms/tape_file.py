"""Closed tapes as files: one ``.npz`` of plain arrays, without pickle and without code.

The members, all of them one-dimensional but for the constants:

=====================  ========  =======================================================================
member                 dtype     holds
=====================  ========  =======================================================================
``format``             int64     `MAGIC`, `VERSION`
``digest``             uint8     SHA-256 of all other members
``text``               uint8     JSON: names of ops, attributes, structures, lines (see below)
``layouts``            int64     for each layout: code of the dtype, number of dimensions, shape, strides
``instructions``       int64     for each: number of the op in ``text``, number of operands, their layouts
``statements``         int64     for each: instruction, offset of a view, grad mode, operands
``leaves``             int64     rows (code, value): numbers, and inputs by number (arrays come behind)
``results``            int64     references: a statement (0, 1, ...), or -1 - i for leaf i
``noted``              int64     statements whose writes count as new versions
``inputs``             int64     rows (layout, whether it is active)
``array0``, ...        any       the constants
=====================  ========  =======================================================================

``text`` is ``{"ops": [...], "attributes": [...], "arguments": tree, "results": tree, "lines": [...]}``; in a
tree, a leaf is 0, None is null, and a container is a list of its kind ("list", "tuple", "dict") and its
items, for a dict each with its key. In attributes, ``{"layout": i}``, ``{"dtype": name}`` and
``{"instruction": i}`` stand for those.

Nothing of a file is trusted: instructions are lowered anew by `instruction`, and `tape_check` goes over what
comes of it. Files that are cut short, altered or hostile raise TapeError.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np

from ..base import dtypes
from ..base.errors import TapeError
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction, instruction
from ..ops.layout import Layout, intern
from ..ops.table import TABLE
from ..tape import pytree as trees
from ..tape.segment import Leaf, Segment, Step
from .closed_tape import TRANSFORMS, ClosedTape, structure
from .tape_check import MOST_BYTES, check, check_attributes, check_op, refuse

__all__ = ["from_bytes", "load_tape", "save_tape", "to_bytes"]

MAGIC, VERSION = 0x7461706567726164, 1
_MEMBERS = (
    "text", "layouts", "instructions", "statements", "leaves", "results", "noted", "inputs",
)  # fmt: skip
#: stands for the offset of what is no view
_NO_OFFSET = -1
_LARGEST = 1 << 44
_MOST_DIMS = 64
_CONTAINERS = {"list": list, "tuple": tuple, "dict": dict}


# --------------------------------------------------------------------------- writing
class _Writer:
    """Tables of what a tape refers to, by number."""

    def __init__(self) -> None:
        self.layouts: dict[Layout, int] = {}
        self.instructions: dict[Instruction, int] = {}
        self.words: list[int] = []
        self.attributes: list[Any] = []
        self.ops: dict[str, int] = {}

    def layout(self, layout: Layout) -> int:
        return self.layouts.setdefault(layout, len(self.layouts))

    def instruction(self, one: Instruction) -> int:
        known = self.instructions.get(one)
        if known is not None:
            return known
        check_op(one.op)
        attributes = {name: self.value(one, name, value) for name, value in one.attrs.items()}
        op = self.ops.setdefault(one.op.name, len(self.ops))
        self.words += [op, len(one.layouts), *map(self.layout, one.layouts)]
        self.attributes.append(attributes)
        return self.instructions.setdefault(one, len(self.instructions))

    def value(self, one: Instruction, name: str, value: Any) -> Any:
        """An attribute as JSON."""
        if isinstance(value, Layout):
            return {"layout": self.layout(value)}
        if isinstance(value, dtypes.dtype):
            return {"dtype": value.name}
        if one.op.lifted and name == "inner":
            return {"instruction": self.instruction(INSTRUCTIONS[value])}
        if isinstance(value, tuple):
            return [self.value(one, name, x) for x in value]
        if type(value) in (int, float, bool, str, type(None)):
            return value
        raise TapeError(
            f"{one.op.name}: the tape has a statement with {name} of type {type(value).__name__}, which "
            "cannot be saved"
        )


def _tree(value: Any) -> Any:
    """A structure as JSON."""
    if value is None or (type(value) is int and value == 0):
        return value
    if type(value) is dict:
        for key in value:
            if type(key) not in (str, int):
                raise TapeError(
                    f"a tape with a dict key of type {type(key).__name__} among arguments or results cannot "
                    "be saved"
                )
        return ["dict", *[[key, _tree(x)] for key, x in value.items()]]
    if type(value) in (list, tuple):
        return [type(value).__name__, *map(_tree, value)]
    raise TapeError(
        f"a tape with {type(value).__name__} among arguments or results cannot be saved: use tuples, lists "
        "and dicts"
    )


def to_bytes(tape: ClosedTape) -> bytes:
    """Return a tape as the bytes of a file."""
    check(tape, 1 << 62)
    writer, statements = _Writer(), []
    for step in tape.segment.steps:
        one = INSTRUCTIONS[step.number]
        if one.op.kind == nt.OUTPUT:
            continue
        offset = _NO_OFFSET if step.offset is None else step.offset
        statements += [writer.instruction(one), offset, step.mode, *step.references]
    inputs = [(writer.layout(x), int(a)) for x, a in zip(tape.inputs, tape.active, strict=True)]
    layouts: list[int] = []
    for x in writer.layouts:
        layouts += [x.dtype.code, x.ndim, *x.shape, *x.strides]
    text = {
        "ops": list(writer.ops), "attributes": writer.attributes,
        "arguments": _tree(_zeros(tape.in_spec)), "results": _tree(_zeros(tape.out_spec)),
        "lines": list(tape.lines),
    }  # fmt: skip
    members: dict[str, np.ndarray] = {
        "text": np.frombuffer(json.dumps(text).encode(), np.uint8),
        "layouts": np.array(layouts, np.int64),
        "instructions": np.array(writer.words, np.int64),
        "statements": np.array(statements, np.int64),
        "leaves": np.array([x for leaf in tape.segment.leaves for x in leaf], np.int64),
        "results": np.array(tape.segment.results, np.int64),
        "noted": np.array(tape.segment.noted, np.int64),
        "inputs": np.array([x for pair in inputs for x in pair], np.int64),
        **{f"array{i}": a for i, a in enumerate(tape.arrays)},
    }
    members["digest"] = _digest(members)
    members["format"] = np.array([MAGIC, VERSION], np.int64)
    file = io.BytesIO()
    np.savez(file, **members)  # type: ignore[arg-type]
    return file.getvalue()


def _zeros(spec: Any) -> Any:
    return trees.unflatten(spec, [0] * spec.num_leaves)


def _digest(members: dict[str, np.ndarray]) -> np.ndarray:
    digest = hashlib.sha256()
    for name in sorted(members):
        array = members[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


# --------------------------------------------------------------------------- reading
def _array(name: str, data: bytes) -> np.ndarray:
    """A member of the archive, whose header says just what is there."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise refuse(f"{name} is no array of version 1.0")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    if kind not in (np.uint8, *[x.np for x in dtypes.DTYPES]) or not kind.isnative:
        raise refuse(f"{name} is of dtype {kind}")
    rest = len(data) - file.tell()
    if fortran and len(shape) > 1:
        raise refuse(f"{name} is not in C order")
    if (
        len(shape) > _MOST_DIMS
        or min(shape, default=0) < 0
        or math.prod(shape) * kind.itemsize != rest
    ):
        raise refuse(f"{name} is of another length")
    array = np.frombuffer(data, kind, offset=file.tell()).reshape(shape).copy()
    if kind == np.bool_ and (array.view(np.uint8) > 1).any():
        raise refuse(f"{name} has bools that are none")
    return array


def _members(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive, checked against the digest."""
    members = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if (
                info.compress_type != zipfile.ZIP_STORED
                or info.file_size > len(data)
                or name in members
            ):
                raise refuse(f"{info.filename[:40]} is not stored as it is")
            members[name] = _array(name[:40], archive.read(info))
    for name in ("format", "digest", *_MEMBERS):
        if name not in members:
            raise refuse(f"{name} is missing")
    head = members.pop("format")
    if head.dtype != np.int64 or head.shape != (2,) or head[0] != MAGIC:
        raise TapeError("the file is no tape of tapegrad")
    if head[1] != VERSION:
        raise TapeError(f"the file is of version {head[1]}; this tapegrad reads version {VERSION}")
    digest = members.pop("digest")
    if digest.dtype != np.uint8 or not np.array_equal(digest, _digest(members)):
        raise refuse("it was altered since it was saved")
    for name in _MEMBERS:
        kind = np.uint8 if name == "text" else np.int64
        if members[name].dtype != kind or members[name].ndim != 1:
            raise refuse(f"{name} is of another dtype or shape")
    return members


class _Reader:
    """The parts of a file, made anew."""

    def __init__(self, members: dict[str, np.ndarray]) -> None:
        self.members = members
        self.text = json.loads(members["text"].tobytes().decode())
        if type(self.text) is not dict:
            raise refuse("its text is no object")
        self.layouts = list(self._layouts())
        self.instructions: list[Instruction] = []
        self._instructions()

    def words(self, name: str) -> Iterator[int]:
        return iter(self.members[name].tolist())

    def _layouts(self) -> Iterator[Layout]:
        words = self.words("layouts")
        for code in words:
            if not 0 <= code < len(dtypes.DTYPES):
                raise refuse("a dtype that there is not")
            ndim = next(words)
            if not 0 <= ndim <= _MOST_DIMS:
                raise refuse("a layout with too many dimensions")
            shape = tuple([next(words) for _ in range(ndim)])
            strides = tuple([next(words) for _ in range(ndim)])
            if not all(0 <= x < _LARGEST for x in (*shape, *strides)):
                raise refuse("a layout with negative or huge lengths or strides")
            kind = dtypes.DTYPES[code]
            reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n)
            if math.prod(shape) >= _LARGEST or reach >= _LARGEST:
                raise refuse("a layout that is too large")
            yield intern(kind, shape, strides)

    def layout(self, number: Any) -> Layout:
        return _item(self.layouts, number)

    def _instructions(self) -> None:
        ops, attributes, words = (
            self.text["ops"],
            self.text["attributes"],
            self.words("instructions"),
        )
        for number, op in enumerate(words):
            name = _item(ops, op)
            entry = TABLE.get(name) if type(name) is str else None
            if entry is None:
                raise refuse(
                    f"there is no op {str(name)[:40]}; if it is one of tg.register_op, register it before "
                    "the tape is loaded"
                )
            check_op(entry)
            count = next(words)
            if not 0 <= count < _LARGEST:
                raise refuse("a negative number of operands")
            layouts = tuple([self.layout(next(words)) for _ in range(count)])
            attrs = {str(k): self.value(x) for k, x in _item(attributes, number).items()}
            check_attributes(entry, layouts, attrs)
            self.instructions.append(instruction(entry, layouts, **attrs))

    def value(self, value: Any) -> Any:
        """An attribute."""
        if type(value) is list:
            return tuple([self.value(x) for x in value])
        if type(value) is not dict:
            return value
        ((kind, number),) = value.items()
        if kind == "layout":
            return self.layout(number)
        if kind == "instruction":
            return _item(self.instructions, number).id
        if kind == "dtype":
            return {x.name: x for x in dtypes.DTYPES}[number]
        raise refuse(f"an attribute of kind {kind[:40]}")

    def segment(self) -> Segment:
        """The statements."""
        steps: list[Step] = []
        words = self.words("statements")
        for number in words:
            one = _item(self.instructions, number)
            offset, mode = next(words), next(words)
            references = tuple([next(words) for _ in one.layouts])
            first = len(steps)
            steps.append(Step(one.id, references, None if offset == _NO_OFFSET else offset, mode))
            steps += [Step(output.id, (first,)) for output in one.outputs]
        flat = self.members["leaves"].tolist()
        leaves = tuple(map(Leaf, flat[::2], flat[1::2]))
        if len(flat) % 2:
            raise refuse("half a leaf")
        return Segment(
            tuple(steps), leaves, tuple(self.words("results")), tuple(self.words("noted"))
        )

    def tape(self) -> ClosedTape:
        """The tape, not checked yet."""
        flat = self.members["inputs"].tolist()
        if len(flat) % 2 or not all(active in (0, 1) for active in flat[1::2]):
            raise refuse("half an input")
        names = set(self.members) - set(_MEMBERS)
        arrays = [self.members[f"array{i}"] for i in range(len(names))]
        if any(a.dtype == np.uint8 for a in arrays):
            raise refuse("a constant of another dtype")
        lines = self.text.get("lines", [])
        segment = self.segment()
        if type(lines) is not list or any(type(x) is not str for x in lines):
            raise refuse("lines that are none")
        if lines and len(lines) != len(segment.steps):
            raise refuse("other lines than statements")
        return ClosedTape(
            segment, tuple(map(self.layout, flat[::2])), tuple(map(bool, flat[1::2])), tuple(arrays),
            structure(_container(self.text["arguments"]))[1],
            structure(_container(self.text["results"]))[1], tuple(lines),
        )  # fmt: skip


def _item(items: Any, number: Any) -> Any:
    """An item of a table."""
    if type(number) is not int or not 0 <= number < len(items):
        raise refuse(f"number {str(number)[:20]} of a table of {len(items)}")
    return items[number]


def _container(tree: Any) -> Any:
    """A structure, of JSON."""
    if tree is None or (type(tree) is int and tree == 0):
        return tree
    if type(tree) is not list or not tree or tree[0] not in _CONTAINERS:
        raise refuse("a structure of other containers")
    if tree[0] != "dict":
        return _CONTAINERS[tree[0]](map(_container, tree[1:]))
    pairs = {}
    for key, value in tree[1:]:
        if type(key) not in (str, int) or key in pairs:
            raise refuse("a structure with other keys")
        pairs[key] = _container(value)
    return pairs


def from_bytes(data: bytes, most_bytes: int = MOST_BYTES) -> ClosedTape:
    """Return the tape that a file's bytes hold.

    Raises
    ------
    TapeError
        If they hold none, or one that cannot be run safely.
    """
    try:
        tape = _Reader(_members(data)).tape()
        check(tape, most_bytes)
    except TapeError:
        raise
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever lowering, unpacking or parsing says of nonsense
        raise refuse(f"{type(error).__name__}: {str(error)[:200]}") from error
    return tape


def save_tape(tape: ClosedTape, path: str | PathLike[str]) -> None:
    """Write a tape; see `ClosedTape.save`."""
    data = to_bytes(tape)
    with open(path, "wb") as file:
        file.write(data)


def load_tape(path: str | PathLike[str], *, most_bytes: int = MOST_BYTES) -> ClosedTape:
    """Read a tape that `ClosedTape.save` has written.

    The function that was traced need not exist. A file is data: nothing of it is run before all of it has
    been checked.

    Parameters
    ----------
    path : str or path-like
    most_bytes : int
        Bytes that inputs and the results of all statements may take together; a tape that needs more is
        refused.

    Returns
    -------
    ClosedTape

    Raises
    ------
    TapeError
        If the file is no tape, is cut short or altered, or holds what cannot be run safely.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tapegrad as tg, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "square.npz"
    >>> tg.trace(lambda x: x * x)(3.0).save(path)
    >>> tg.load_tape(path)(5.0)
    tensor(25.)
    """
    with open(path, "rb") as file:
        return from_bytes(file.read(), most_bytes)


TRANSFORMS |= {"save": save_tape, "to_bytes": to_bytes, "from_bytes": from_bytes}
