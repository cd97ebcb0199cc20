"""Write the stubs from which type checkers and editors know the public functions and methods.

These exist at run time only: a row of the op table is a builtin function, and `declared` registers the
others. `python tools/make_stubs.py` writes, from their signatures,

- `src/tapegrad/__init__.pyi`: the package's functions, beside what `__init__.py` imports;
- `src/tapegrad/linalg/__init__.pyi`, `fft/__init__.pyi`: the functions of these packages;
- `src/tapegrad/tensors/base.pyi`: the methods of Tensor.

`tests/test_typing.py` makes them again and compares. What a signature cannot say (a result that
depends on the arguments) is in `OVERLOADS`.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tapegrad as tg
from tapegrad.base.missing_names import LATER
from tapegrad.functions import registry
from tapegrad.functions.maths import return_types
from tapegrad.functions.signature import UNSET, Signature
from tapegrad.ops.table import TABLE
from tapegrad.tensors import operators
from tapegrad.tensors.autograd_methods import AutogradMethods

SOURCE = Path(tg.__file__).parent

#: annotation of a declared function -> that of a stub; other names stand for themselves
TYPES = {
    "Dims": "_Dims", "Device": "_Device", "Dtype": "_Dtype", "Ints": "Sequence[builtins.int]",
    "Layout": "_layout", "MemoryFormat": "_memory_format", "Number": "_Number", "Operand": "_Operand",
    "Scalars": "Sequence[_Number]", "Tensors": "Sequence[Tensor]", "Generator": "_Generator",
    "int": "builtins.int", "float": "builtins.float", "bool": "builtins.bool", "str": "builtins.str",
    "complex": "builtins.complex", "dtype": "_dtype", "dtypes.dtype": "_dtype", "device": "_device",
    "layout": "_layout", "AnyTensor": "Tensor", "node.Node": "Node", "np.ndarray": "np.ndarray[Any, Any]",
}  # fmt: skip
#: types of parameters that a ``def`` leaves open, by name
PARAMETERS = {
    "A": "Tensor", "a": "Tensor", "alpha": "_Number", "b": "Tensor", "device": "_Device | None",
    "dtype": "_Dtype | None", "dx": "_Number | None", "fill_value": "_Number", "gradient": "Tensor | None",
    "hook": "Callable[[Tensor], Any]", "inputs": "Tensor | Sequence[Tensor] | None", "force": "builtins.bool",
    "generator": "_Generator | None", "indices_or_sections": "_Dims | Tensor", "input": "Tensor",
    "keepdim": "builtins.bool", "layout": "_layout | None", "mean": "_Operand",
    "memory_format": "_memory_format | None", "new_state": "Tensor", "non_blocking": "builtins.bool",
    "num_samples": "builtins.int", "number": "builtins.int", "other": "_Operand",
    "p": "_Operand | builtins.str | None", "pin_memory": "builtins.bool", "repeats": "builtins.int | Tensor",
    "requires_grad": "builtins.bool", "seed": "builtins.int", "self": "Tensor", "shapes": "_Dims",
    "split_size": "_Dims", "split_size_or_sections": "_Dims", "src": "_Operand",
    "start": "builtins.int | Tensor", "std": "_Operand", "tensors": "Tensor",
    "value": "_Operand", "x1": "Tensor", "x2": "Tensor",
}  # fmt: skip
_DIM = "dim: builtins.int, keepdim: builtins.bool = False"
_MIN_MAX = (
    "({self}) -> Tensor", "({self}, other: Tensor{out}) -> Tensor",
    "({self}, " + _DIM + "{outs}) -> return_types.{name}",
)  # fmt: skip
_MEDIAN = (_MIN_MAX[0], _MIN_MAX[2])
_COPIED = (
    "non_blocking: builtins.bool = False, copy: builtins.bool = False, *, "
    "memory_format: _memory_format | None = None"
)
_MADE = (
    "*, generator: _Generator | None = None, dtype: _Dtype | None = None, layout: _layout | None = None, "
    "device: _Device | None = None, pin_memory: builtins.bool = False, requires_grad: builtins.bool = False"
)
_ATLEAST = ("(tensor: Tensor, /) -> Tensor", "(*tensors: Tensor) -> tuple[Tensor, ...]")
#: functions whose result, or whose keywords, depend on their arguments
OVERLOADS: dict[str, tuple[str, ...]] = {
    "max": _MIN_MAX,
    "min": _MIN_MAX,
    "median": _MEDIAN,
    "nanmedian": _MEDIAN,
    "nonzero": (
        "({self}, *, as_tuple: Literal[False] = False) -> Tensor",
        "({self}, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]",
    ),
    "size": ("({self}, dim: None = None) -> Size", "({self}, dim: builtins.int) -> builtins.int"),
    "stride": (
        "({self}, dim: None = None) -> tuple[builtins.int, ...]",
        "({self}, dim: builtins.int) -> builtins.int",
    ),
    "atleast_1d": _ATLEAST,
    "atleast_2d": _ATLEAST,
    "atleast_3d": _ATLEAST,
    "einsum": (
        "(equation: builtins.str, *operands: Tensor) -> Tensor",
        "(operand: Tensor, subscripts: Sequence[Any], *operands: Tensor | Sequence[Any]) -> Tensor",
    ),
    "njit": (
        "(function: Callable[..., Any]) -> Compiled",
        "(function: None = None, **options: Any) -> Callable[[Callable[..., Any]], Compiled]",
    ),
    "randint": (
        "(high: builtins.int, size: Sequence[builtins.int], {made}) -> Tensor",
        "(low: builtins.int, high: builtins.int, size: Sequence[builtins.int], {made}) -> Tensor",
    ),
    "to": (
        "({self}, dtype: _Dtype, {copied}) -> Tensor",
        "({self}, device: _Device | None = None, dtype: _Dtype | None = None, {copied}) -> Tensor",
        "({self}, other: Tensor, {copied}) -> Tensor",
    ),
    "type": (
        "({self}, dtype: None = None, non_blocking: builtins.bool = False) -> builtins.str",
        "({self}, dtype: _Dtype | builtins.str | type[Any], non_blocking: builtins.bool = False) -> Tensor",
    ),
}
#: beginnings of the names of functions that a package of their own has
NAMESPACES = ("fft_", "linalg_")
_HEAD = '''"""Made by `tools/make_stubs.py`, which `tests/test_typing.py` runs: do not edit."""

'''
_ALIASES = """
_Number: TypeAlias = builtins.int | builtins.float | np.number[Any]
_Operand: TypeAlias = Tensor | _Number
_Dims: TypeAlias = builtins.int | Sequence[builtins.int]
_Dtype: TypeAlias = _dtype | type[Any] | np.dtype[Any]
_Device: TypeAlias = builtins.str | _device
"""
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")


# --------------------------------------------------------------------------- one signature
def shown_type(annotation: Any, name: str, *, result: bool = False) -> str:
    """Return the type in a stub for the annotation of a parameter, or of a result."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")
    if annotation is inspect.Parameter.empty or (text == "Any" and not result):
        return PARAMETERS.get(name, "Any")
    return re.sub(r"[A-Za-z_][\w.]*", lambda word: TYPES.get(word[0], word[0]), text)


def shown_default(value: Any) -> str:
    """Return a default as a stub writes it."""
    simple = value is None or isinstance(value, bool | int | float | str | tuple)
    return repr(value) if simple and value not in (float("inf"), float("-inf")) else "..."


def written(p: inspect.Parameter) -> str:
    """Return a parameter as a stub writes it."""
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    kind = shown_type(p.annotation, p.name)
    if p.default is p.empty:
        return f"{stars}{p.name}: {kind}"
    if p.default is None and kind != "Any" and "None" not in kind:
        kind += " | None"
    default = "..." if p.default is UNSET else shown_default(p.default)
    return f"{p.name}: {kind} = {default}"


def parameters(function: Callable[..., Any], *, method: bool) -> list[str]:
    """Parameters of a function, with the marks between them; `self` comes first in a method."""
    words, starred = [], False
    for number, p in enumerate(inspect.signature(function).parameters.values()):
        if p.kind is p.KEYWORD_ONLY and not starred:
            words.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        words.append("self" if method and not number else written(p))
    return words


def row_parameters(name: str, *, method: bool) -> list[str]:
    """Parameters of an op's function, which is a builtin."""
    entry = next(e for e in TABLE.values() if name in (e.function or e.name, *e.aliases))
    if method:
        return ["self"] if entry.arity == 1 else ["self", "other: _Operand"]
    operands = ["input: Tensor"] if entry.arity == 1 else ["input: _Operand", "other: _Operand"]
    return [*operands, "*", "out: Tensor | None = None"]


def definitions(name: str, function: Callable[..., Any], *, method: bool) -> Iterator[str]:
    """Write the lines of a function's definition, or of each overload."""
    if name in OVERLOADS:
        fields = {
            "self": "self" if method else "input: Tensor",
            "name": name,
            "out": "" if method else ", *, out: Tensor | None = None",
            "made": _MADE,
            "copied": _COPIED,
            "outs": "" if method else ", *, out: Sequence[Tensor] | None = None",
        }
        for form in OVERLOADS[name]:
            yield f"@overload\ndef {name}{form.format(**fields)}: ..."
        return
    registered = registry.METHODS if method else registry.FUNCTIONS
    if name in operators.FUNCTIONS and name not in registered:
        words, result = row_parameters(name, method=method), "Tensor"
    else:
        source = registered.get(name, function)
        words = parameters(source, method=method)
        result = shown_type(inspect.signature(source).return_annotation, "", result=True)
    if name.endswith("_") and not name.endswith("__"):
        result = "Tensor"
    declared = f"({', '.join(words)}) -> {result}: ..."
    gathered = gathered_integers(registered.get(name), method=method)
    if not gathered:
        yield f"def {name}{declared}"
        return
    at = gathered - 1
    spread = [*words[:at], f"*{words[at].partition(':')[0]}: builtins.int"]
    spread += [w for w in words[at + 1 :] if w != "*"]
    yield f"@overload\ndef {name}{declared}"
    yield f"@overload\ndef {name}({', '.join(spread)}) -> {result}: ..."


def gathered_integers(function: Any, *, method: bool) -> int:
    """Return the position of the integers that may also come one by one, or 0."""
    while function is not None and function not in registry.FORMS:
        function = getattr(function, "__wrapped__", None)
    return 0 if function is None else Signature("", function, method=method, out=False).gathered


# --------------------------------------------------------------------------- files
def package_stub() -> str:
    """Return the text of `__init__.pyi`."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    dtypes = {"float_": "float", "bool_": "bool"}
    lines = [
        "import builtins", "from collections.abc import Callable, Sequence",
        "from typing import Any, BinaryIO, Literal, NoReturn, TypeAlias, overload", "import os", "",
        "import numpy as np", "",
    ]  # fmt: skip
    exported = set(tg.__all__)
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            name = dtypes.get(alias.name, alias.name)
            if name in OVERLOADS:
                lines += definitions(name, getattr(tg, name), method=False)
            elif name in exported and name == alias.name:
                lines.append(f"from {module} import {name} as {name}")
    later = [name for name, (_, part) in LATER["tapegrad"].items() if part is None]
    lines += [f"from . import {name} as {name}" for name in later]
    for name, (place, part) in LATER["tapegrad"].items():
        if part is not None and name in exported:
            lines.append(f"from {place.removeprefix(tg.__name__)} import {part} as {name}")
    lines += [
        "from .base.devices import device as _device, layout as _layout, memory_format as _memory_format",
        "from .base.dtypes import dtype as _dtype",
        "from .functions.creation.generator import Generator as _Generator",
        "from .functions.creation.legacy import TensorType as _TensorType",
        "from .functions.maths import return_types",
        "from .njit_compiler.compiled import Compiled",
        _ALIASES,
        "__version__: builtins.str", "e: builtins.float", "inf: builtins.float", "nan: builtins.float",
        "pi: builtins.float", "newaxis: None", "bool: _dtype", "float: _dtype",
    ]  # fmt: skip
    for name in sorted(public_functions()):
        value = getattr(tg, name)
        if isinstance(value, type) and value.__module__.startswith("tapegrad"):
            lines.append(f"{name} = {class_name(value, name)}")
        elif inspect.isroutine(value):
            lines += definitions(name, value, method=False)
        else:
            lines.append(f"{name}: {TYPES.get(type(value).__name__, '_' + type(value).__name__)}")
    return _HEAD + "\n".join(lines) + "\n" + all_of(tg.__all__)


def class_name(value: type, name: str) -> str:
    """Return the stub's name of a class that is public under `name`."""
    return f"_{name}" if value.__name__ == name else f"type[{value.__name__}]"


def all_of(names: list[str]) -> str:
    """Return the definition of ``__all__``."""
    return f"\n__all__ = {sorted(names)!r}\n"


def public_functions() -> set[str]:
    """Names at the top that are registered, and that `__init__.py` does not import."""
    functions = {**registry.FUNCTIONS, **operators.FUNCTIONS}
    return {name for name in functions if not name.startswith(("_", *NAMESPACES))}


def namespace_stub(prefix: str, module: Any) -> str:
    """Return the text of the stub of a package that has the functions registered with a prefix."""
    tree = ast.parse((SOURCE / module.__name__.partition(".")[2] / "__init__.py").read_text())
    lines = [
        "import builtins", "from collections.abc import Sequence", "from typing import Any, TypeAlias", "",
        "import numpy as np", "",
    ]  # fmt: skip
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names = [a.name for a in node.names if a.name in module.__all__]
            lines += [
                f"from .{'.' * (node.level - 1)}{node.module} import {n} as {n}" for n in names
            ]
    lines += [
        "from ..base.devices import device as _device, layout as _layout, memory_format as _memory_format",
        "from ..base.dtypes import dtype as _dtype", "from ..functions.maths import return_types",
        "from ..tensors.tensor import Tensor", _ALIASES,
    ]  # fmt: skip
    for name in module.__all__:
        full = prefix + name
        if full in registry.FUNCTIONS:
            for line in definitions(full, registry.FUNCTIONS[full], method=False):
                lines.append(line.replace(f"def {full}(", f"def {name}("))
    return _HEAD + "\n".join(lines) + "\n" + all_of(module.__all__)


def methods_stub() -> str:
    """Return the text of `tensors/base.pyi`."""
    body: list[str] = ["_state: builtins.int", "_handle: builtins.int", "_layout_id: builtins.int"]
    for name in sorted({*operators.METHODS, *registry.METHODS}):
        method = inspect.getattr_static(tg.Tensor, name, None)
        if method is None or (name.startswith("__") and name != "__array__"):
            continue
        body += definitions(name, method, method=True)
    for name, getter in sorted(registry.PROPERTIES.items()):
        kind = shown_type(inspect.signature(getter).return_annotation, "", result=True)
        body.append(f"@property\ndef {name}(self) -> {kind}: ...")
    for name, value in vars(AutogradMethods).items():
        if isinstance(value, property) and value.fget is not None:
            kind = shown_type(inspect.signature(value.fget).return_annotation, "", result=True)
            body.append(f"@property\ndef {name}(self) -> {kind}: ...")
            if value.fset is not None:
                body.append(f"@{name}.setter\ndef {name}(self, value: {kind}) -> None: ...")
        elif inspect.isfunction(value) and not name.startswith("_"):
            body += definitions(name, value, method=True)
    body += operator_lines()
    lines = [
        "import builtins", "from collections.abc import Callable, Sequence",
        "from typing import Any, Literal, NoReturn, TypeAlias, overload", "", "import numpy as np", "",
        "from ..base.devices import device as _device, layout as _layout, memory_format as _memory_format",
        "from ..base.dtypes import dtype as _dtype",
        "from ..base.size import Size", "from ..engine.node import Node",
        "from ..functions.creation.generator import Generator as _Generator",
        "from ..functions.maths import return_types", "from ..tape.hooks import RemovableHandle",
        "from .tensor import Tensor", _ALIASES, "class Base:",
    ]  # fmt: skip
    indented = ["    " + line for part in body for line in part.splitlines()]
    return _HEAD + "\n".join(lines + indented) + "\n"


def operator_lines() -> Iterator[str]:
    """Write the definitions of the operators."""
    other = "_Operand | np.ndarray[Any, Any]"
    for name in _ARITHMETIC:
        yield f"def __{name}__(self, other: {other}) -> Tensor: ..."
        yield f"def __r{name}__(self, other: {other}) -> Tensor: ..."
        yield f"def __i{name}__(self, other: _Operand) -> Tensor: ...  # type: ignore[misc]"
    yield "def __matmul__(self, other: Tensor | np.ndarray[Any, Any]) -> Tensor: ..."
    yield "def __rmatmul__(self, other: Tensor | np.ndarray[Any, Any]) -> Tensor: ..."
    for name in ("neg", "abs", "invert"):
        yield f"def __{name}__(self) -> Tensor: ..."
    for name in ("lt", "le", "gt", "ge"):
        yield f"def __{name}__(self, other: {other}) -> Tensor: ...  # type: ignore[misc]"
    for name in ("eq", "ne"):
        yield f"def __{name}__(self, other: object) -> Tensor: ...  # type: ignore[override]"
    yield "def __hash__(self) -> builtins.int: ..."
    yield "def __getitem__(self, index: Any) -> Tensor: ..."
    yield "def __setitem__(self, index: Any, value: _Operand) -> None: ..."


def result_types_stub() -> str:
    """Return the text of `functions/maths/return_types.pyi`."""
    lines = ["from typing import NamedTuple", "", "from ...tensors.tensor import Tensor", ""]
    for name in return_types.__all__:
        lines.append(f"class {name}(NamedTuple):")
        lines += [f"    {field}: Tensor" for field in getattr(return_types, name)._fields]
    return _HEAD + "\n".join(lines) + "\n" + all_of(return_types.__all__)


#: file in `src/tapegrad` -> the function that makes its text
FILES: dict[str, Callable[[], str]] = {
    "__init__.pyi": package_stub,
    "fft/__init__.pyi": lambda: namespace_stub("fft_", tg.fft),
    "linalg/__init__.pyi": lambda: namespace_stub("linalg_", tg.linalg),
    "functions/maths/return_types.pyi": result_types_stub,
    "tensors/base.pyi": methods_stub,
}


def main() -> int:
    """Write the stubs."""
    for name, text in FILES.items():
        (SOURCE / name).write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
