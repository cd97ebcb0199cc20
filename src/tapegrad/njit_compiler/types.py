"""The numba types of active values.

An active scalar is a value, a mark, and the address of the recorder. The mark is ``~number`` for a number on
the strip, and 0 for a passive value, so that memory which numba fills with zeros holds passive zeros. An
array of them is numba's own array with active scalars as elements, so that indexing, slicing, views,
assignment and iteration are numba's; `ActiveArray` only says how it crosses from Python and back. In
Python such an array is a structured ndarray (`ELEMENT`).

The types carry a fingerprint of the opcodes and of this package, so that code which numba keeps on disk for
others does not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import NativeValue, box, lower_cast, models, register_model, unbox

from ..scalar_tape import opcodes as strip_code
from .numba_api import (
    ConfigStack,
    Conversion,
    CPUDispatcher,
    NumbaTypeError,
    cgutils,
    unbox_array,
)

__all__ = [
    "ACTIVE",
    "ELEMENT",
    "NUMBERS",
    "ActiveArray",
    "ActiveScalar",
    "CPUDispatcher",
    "InferredArray",
    "Number",
    "active_number",
    "arrays_of",
    "has_active",
    "is_active",
    "is_given",
    "numbers_of",
    "refuse_threads",
]  # fmt: skip

#: an element of an array of active scalars
ELEMENT = np.dtype([("value", "f8"), ("mark", "i8"), ("recorder", "i8")])


def _fingerprint() -> str:
    """Return a digest of everything that the code of a function with active values depends on."""
    parts = [strip_code.fingerprint().encode()]
    parts += [file.read_bytes() for file in sorted(Path(__file__).parent.rglob("*.py"))]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:12]


class ActiveScalar(types.Type):
    """A float64 that takes part in differentiation."""

    def __init__(self) -> None:
        super().__init__(name=f"active[{_fingerprint()}]")

    def unify(self, typingctx: Any, other: Any) -> Any:
        """A variable that is active here and a number there is active."""
        if isinstance(other, types.Integer | types.Float | types.Boolean):
            return self
        return None

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:
        """Numbers may become active scalars, which are passive then."""
        if isinstance(other, types.Integer | types.Float | types.Boolean):
            return Conversion.safe
        return None


ACTIVE: Any = ActiveScalar()


class ActiveArray(types.Array):
    """An array of active scalars."""

    def __init__(self, ndim: int, layout: str, readonly: bool = False) -> None:
        kind = "readonly active array" if readonly else "active array"
        name = f"{kind}({ACTIVE}, {ndim}d, {layout})"
        super().__init__(ACTIVE, ndim, layout, readonly=readonly, name=name)

    def copy(
        self, dtype: Any = None, ndim: Any = None, layout: Any = None, readonly: Any = None
    ) -> Any:
        """The type with some of its parts changed."""
        ndim = self.ndim if ndim is None else ndim
        layout = self.layout if layout is None else layout
        readonly = not self.mutable if readonly is None else readonly
        if dtype is not None and dtype is not ACTIVE and dtype != ACTIVE:
            return types.Array(dtype, ndim, layout, readonly=readonly)
        return ActiveArray(ndim, layout, readonly)

    def unify(self, typingctx: Any, other: Any) -> Any:
        """The type of a variable that has either."""
        if isinstance(other, ActiveArray) and other.ndim == self.ndim:
            layout = self.layout if self.layout == other.layout else "A"
            return ActiveArray(self.ndim, layout, not (self.mutable and other.mutable))
        return None


class InferredArray(types.Array):  # type: ignore[misc]
    """A new array before numba knows what it holds; it is active if active scalars are put into it."""

    def __init__(self, ndim: int, layout: str = "C") -> None:
        name = f"inferred array({ndim}d, {layout})"
        super().__init__(types.undefined, ndim, layout, name=name)

    def copy(
        self, dtype: Any = None, ndim: Any = None, layout: Any = None, readonly: Any = None
    ) -> Any:
        """The type with some of its parts changed."""
        shape = self.ndim if ndim is None else ndim, self.layout if layout is None else layout
        if dtype is None:
            return InferredArray(*shape)
        return ActiveArray(*shape) if dtype == ACTIVE else types.Array(dtype, *shape)

    def unify(self, typingctx: Any, other: Any) -> Any:
        """Take the type that is known later."""
        return other if isinstance(other, types.Array) and other.ndim == self.ndim else None


#: types of a scalar argument
NUMBERS = types.Number, types.Boolean, ActiveScalar


def is_active(kind: Any) -> bool:
    """Return True for an active scalar or an array of them."""
    return isinstance(kind, ActiveScalar | ActiveArray)


def is_given(argument: Any) -> bool:
    """Return True if an optional argument of a function is there."""
    return not (argument is None or isinstance(argument, types.NoneType | types.Omitted))


def arrays_of(*kinds: Any, ndim: tuple[int, ...]) -> bool:
    """Return True if all are arrays of such dimensions, and one of them is active."""
    fit = all(isinstance(k, types.Array) and k.ndim in ndim for k in kinds)
    return fit and any(map(is_active, kinds))


def numbers_of(*kinds: Any) -> bool:
    """Return True if all are numbers or active scalars, and one of them is active."""
    return all(isinstance(k, NUMBERS) for k in kinds) and any(map(is_active, kinds))


def has_active(kind: Any) -> bool:
    """Return True if a numba type is active or contains one that is."""
    if is_active(kind):
        return True
    if isinstance(kind, types.BaseTuple):
        return any(has_active(k) for k in kind)
    if isinstance(kind, types.List | types.ListType):
        return has_active(kind.dtype)
    return False


def refuse_threads() -> None:
    """Raise where the function that is being compiled would run in several threads.

    One recorder is one thread's.
    """
    flags = ConfigStack.top_or_none()
    if flags is not None and getattr(flags, "auto_parallel", None) and flags.auto_parallel.enabled:
        raise NumbaTypeError(
            "a function compiled with parallel=True cannot take active values; compile it without, or "
            "under tg.njit, which runs it in one thread then"
        )


@register_model(ActiveScalar)
class _ScalarModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        members = [("value", types.float64), ("mark", types.int64), ("recorder", types.int64)]
        super().__init__(manager, kind, members)


register_model(ActiveArray)(models.ArrayModel)


# --------------------------------------------------------------------------- numbers become active
def passive_scalar(context: Any, builder: Any, value: Any) -> Any:
    """An active scalar that is not on a strip."""
    scalar = cgutils.create_struct_proxy(ACTIVE)(context, builder)
    scalar.value = value
    scalar.mark = ir.Constant(ir.IntType(64), 0)
    scalar.recorder = ir.Constant(ir.IntType(64), 0)
    return scalar._getvalue()


@lower_cast(types.Float, ActiveScalar)
@lower_cast(types.Integer, ActiveScalar)
@lower_cast(types.Boolean, ActiveScalar)
def _from_number(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return passive_scalar(context, builder, context.cast(builder, value, source, types.float64))


@lower_cast(ActiveArray, ActiveArray)
def _from_array(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return value


# --------------------------------------------------------------------------- to Python and back
class Number:
    """An active scalar in Python.

    Native code makes and fills it, without Python code in which an interrupt could come.
    """

    __slots__ = ("number", "recorder", "value")
    _numba_type_ = ACTIVE
    KINDS: ClassVar = {"value": types.float64, "number": types.int64, "recorder": types.int64}
    value: float
    number: int
    recorder: int

    def __repr__(self) -> str:  # `print` of a tuple in compiled code comes here
        return repr(self.value)


def active_number(value: float, number: int, recorder: int) -> Number:
    """An active scalar with its number on a strip."""
    scalar = Number()
    scalar.value, scalar.number, scalar.recorder = value, number, recorder
    return scalar


class Elements:
    """A (read-only) array of active scalars in Python."""

    __slots__ = ("_numba_type_", "data")

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self._numba_type_ = _argument_type(data.ndim)


_ARGUMENTS: dict[int, Any] = {}


def _argument_type(ndim: int) -> Any:
    if ndim not in _ARGUMENTS:
        _ARGUMENTS[ndim] = ActiveArray(ndim, "C", readonly=True)
    return _ARGUMENTS[ndim]


# An interrupt, and a lack of memory, show as NULL wherever a function of the C API is called, and most of
# those must not be called then. Constants come from the environment of the compiled function, not from
# numba's `unserialize`, which runs Python code, and so signal handlers, each time.
def _constant(c: Any, value: Any) -> Any:
    """A borrowed reference to a Python object that the compiled function keeps."""
    return c.env_manager.read_const(c.env_manager.add_const(value))


def _attribute(c: Any, obj: Any, name: str, use: Callable[[Any], None]) -> None:
    """Use an attribute of an object, if there is one; otherwise a Python error is set."""
    attribute = c.pyapi.object_getattr_string(obj, name)
    with c.builder.if_then(cgutils.is_not_null(c.builder, attribute), likely=True):
        use(attribute)
        c.pyapi.decref(attribute)


@unbox(ActiveScalar)
def _unbox_scalar(typ: Any, obj: Any, c: Any) -> Any:
    scalar = cgutils.create_struct_proxy(typ)(c.context, c.builder)
    failed = cgutils.alloca_once_value(c.builder, cgutils.false_bit)
    for member, (name, kind) in zip(
        ("value", "mark", "recorder"), Number.KINDS.items(), strict=True
    ):
        part = cgutils.alloca_once(c.builder, c.context.get_value_type(kind))
        part_failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)

        def use(
            attribute: Any, kind: Any = kind, part: Any = part, error_flag: Any = part_failed
        ) -> None:
            native = c.unbox(kind, attribute)
            c.builder.store(native.value, part)
            c.builder.store(native.is_error, error_flag)

        _attribute(c, obj, name, use)
        setattr(scalar, member, c.builder.load(part))
        both = c.builder.or_(c.builder.load(failed), c.builder.load(part_failed))
        c.builder.store(both, failed)
    scalar.mark = c.builder.not_(scalar.mark)
    return NativeValue(scalar._getvalue(), is_error=c.builder.load(failed))


@unbox(ActiveArray)
def _unbox_elements(typ: Any, obj: Any, c: Any) -> Any:
    elements = cgutils.alloca_once(c.builder, c.context.get_value_type(typ))
    failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)

    def use(data: Any) -> None:
        native = unbox_array(typ, data, c)
        c.builder.store(native.value, elements)
        c.builder.store(native.is_error, failed)

    _attribute(c, obj, "data", use)
    return NativeValue(c.builder.load(elements), is_error=c.builder.load(failed))


@box(ActiveScalar)
def _box_scalar(typ: Any, value: Any, c: Any) -> Any:
    scalar = cgutils.create_struct_proxy(typ)(c.context, c.builder, value=value)
    result = cgutils.alloca_once_value(
        c.builder, c.pyapi.call_function_objargs(_constant(c, Number), [])
    )

    def store(name: str, part: Any) -> None:
        """Give the result an attribute; or drop it if there is no memory."""
        failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)
        with c.builder.if_then(cgutils.is_not_null(c.builder, part), likely=True):
            code = c.pyapi.object_setattr_string(c.builder.load(result), name, part)
            c.builder.store(cgutils.is_not_null(c.builder, code), failed)
            c.pyapi.decref(part)
        with c.builder.if_then(c.builder.load(failed), likely=False):
            c.pyapi.decref(c.builder.load(result))
            c.builder.store(c.pyapi.get_null_object(), result)

    makers = {
        "value": lambda: c.pyapi.float_from_double(scalar.value),
        "number": lambda: c.pyapi.long_from_longlong(c.builder.not_(scalar.mark)),
        "recorder": lambda: c.pyapi.long_from_longlong(scalar.recorder),
    }
    for name, make in makers.items():
        present = cgutils.is_not_null(c.builder, c.builder.load(result))
        with c.builder.if_then(present, likely=True):
            store(name, make())
    return c.builder.load(result)


@box(ActiveArray)
def _box_elements(typ: Any, value: Any, c: Any) -> Any:
    dtype, kind = _constant(c, ELEMENT), _constant(c, np.ndarray)
    array = cgutils.alloca_once_value(c.builder, value)
    word = ir.IntType(32)
    function = cgutils.get_or_insert_function(
        c.builder.module,
        ir.FunctionType(c.pyapi.pyobj, [c.pyapi.voidptr, c.pyapi.pyobj, word, word, c.pyapi.pyobj]),
        "NRT_adapt_ndarray_to_python_acqref",
    )
    pointer = c.builder.bitcast(array, c.pyapi.voidptr)
    arguments = pointer, kind, word(typ.ndim), word(int(typ.mutable)), dtype
    result = c.builder.call(function, arguments)
    c.context.nrt.decref(c.builder, typ, value)
    return result
