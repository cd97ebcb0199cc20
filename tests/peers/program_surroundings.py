"""Runs one program with a library as its torch, for `run_public_programs.py`.

    python program_surroundings.py tapegrad|torch FILE REPORT

Both libraries draw their random numbers from NumPy here, in the same order, and compute in float64. In the
place of torchvision are small models and random pictures, made with the library itself. The report says how
long the program took, what it printed, and the error if there was one.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import random
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RANDOM = np.random.default_rng(0)


# --------------------------------------------------------------------------- random numbers
def seed(value: Any) -> None:
    """Begin again with other random numbers."""
    RANDOM.bit_generator.state = np.random.default_rng(int(value) % 2**32).bit_generator.state


def shape_of(sizes: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...]:
    """Shape from ``f(2, 3)``, ``f((2, 3))`` or ``f(size=(2, 3))``."""
    if "size" in options:
        sizes = (options["size"],)
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        return tuple(map(int, sizes[0]))
    return tuple(map(int, sizes))


def share_random_numbers(lib: Any) -> None:
    """Let a library draw from `RANDOM`."""

    def leaf(array: Any, options: dict[str, Any], kind: Any = None) -> Any:
        kind = options.get("dtype") or kind or lib.get_default_dtype()
        tensor = lib.tensor(np.asarray(array)).to(kind)
        return tensor.requires_grad_() if options.get("requires_grad") else tensor

    def drawing(draw: Callable[[Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return (
            lambda *sizes, **options: leaf(draw(shape_of(sizes, options)), options),
            lambda other, **options: leaf(draw(tuple(other.shape)), options, other.dtype),
        )

    def randint(*args: Any, **options: Any) -> Any:
        args = *args, *(options[k] for k in ("low", "high", "size") if k in options)
        low, high, size = args if len(args) == 3 else (0, *args)
        return leaf(RANDOM.integers(low, high, tuple(size)), options, lib.int64)

    def normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> Any:
        shape = np.broadcast_shapes(np.shape(mean), np.shape(std)) if size is None else tuple(size)
        return leaf(RANDOM.standard_normal(shape) * np.asarray(std) + np.asarray(mean), options)

    def writing(draw: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Any, *args: Any, generator: Any = None, **options: Any) -> Any:
            with lib.no_grad():
                self.copy_(leaf(draw(tuple(self.shape), *args, **options), {}, self.dtype))
            return self

        return write

    lib.rand, lib.rand_like = drawing(RANDOM.random)
    lib.randn, lib.randn_like = drawing(RANDOM.standard_normal)
    lib.randint, lib.normal = randint, normal
    lib.randperm = lambda n, **options: leaf(RANDOM.permutation(int(n)), options, lib.int64)
    lib.bernoulli = lambda p, **options: leaf(
        RANDOM.random(tuple(p.shape)) < p.numpy(), options, p.dtype
    )
    lib.manual_seed = seed
    zeros, zeros_like = lib.zeros, lib.zeros_like  # what is not initialised is no number to compare
    lib.empty = lambda *sizes, memory_format=None, **options: zeros(*sizes, **options)
    lib.empty_like = zeros_like
    lib.Tensor.uniform_ = writing(
        lambda n, a=0.0, b=1.0, **k: RANDOM.uniform(k.get("from", a), k.get("to", b), n)
    )
    lib.Tensor.normal_ = writing(
        lambda n, mean=0.0, std=1.0: RANDOM.standard_normal(n) * std + mean
    )
    lib.Tensor.bernoulli_ = writing(lambda n, p=0.5: RANDOM.random(n) < np.asarray(p))
    lib.Tensor.random_ = lambda self, *args, **options: (
        self
    )  # seeds of samplers, which are not used

    def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        return (
            input * lib.bernoulli(lib.full_like(input.detach(), 1 - p)) / (1 - p)
            if training
            else input
        )

    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("torch.nn.functional").dropout = dropout  # type: ignore[attr-defined]


# --------------------------------------------------------------------------- torchvision
class Pictures:
    """Random pictures with labels, in the place of a data set."""

    classes = tuple("abcdefghij")

    def __init__(
        self, *args: Any, train: bool = True, transform: Any = None, **options: Any
    ) -> None:
        import torch

        generator = np.random.default_rng(int(train))
        count = 256 if train else 64
        pictures = generator.random((count, 1, 28, 28), np.float32)
        self.data = [torch.tensor(a).to(torch.get_default_dtype()) for a in pictures]
        self.targets = generator.integers(0, 10, count).tolist()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        if i >= len(self):
            raise IndexError(i)
        return self.data[i], self.targets[i]


def small_model(models: Any) -> Callable[..., Any]:
    """Make the class of a picture's convolution and a linear layer, in the place of large models."""
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 8, 8, stride=8)
            self.fc = nn.Linear(512, 1000)

        def forward(self, x: Any) -> Any:
            return self.fc(self.conv1(x)[:, :, :8, :8].flatten(1))

    Model.__module__, Model.__qualname__ = models.__name__, "Model"
    models.Model = Model
    return Model


def install_stand_ins() -> None:
    """Put modules in the place of torchvision and its parts."""

    def nothing(*args: Any, **options: Any) -> None:
        """Stand for a transform of pictures, which are tensors already."""

    parts: dict[str, dict[str, Any]] = {
        "datasets": dict.fromkeys(["MNIST", "FashionMNIST", "CIFAR10"], Pictures),
        "transforms": dict.fromkeys(
            ["Compose", "Lambda", "Normalize", "ToTensor", "Resize"], nothing
        ),
        "models": {"ResNet18_Weights": types.SimpleNamespace(DEFAULT=None)},
    }
    package = sys.modules["torchvision"] = types.ModuleType("torchvision")
    for name, contents in parts.items():
        part = sys.modules[f"torchvision.{name}"] = types.ModuleType(f"torchvision.{name}")
        vars(part).update(contents)
        setattr(package, name, part)
    with contextlib.suppress(ImportError):
        vars(part).update(dict.fromkeys(["resnet18", "vgg16", "vit_l_16"], small_model(part)))


# --------------------------------------------------------------------------- the run
def error_text(error: BaseException, name: str) -> str:
    """The error, and the line of the program where it came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    line = (
        f" at line {frames[-1].lineno}, `{(frames[-1].line or '').strip()[:70]}`" if frames else ""
    )
    return f"{type(error).__name__}: {str(error)[:160]}{line}"


def main(library: str, name: str, report: str) -> None:
    """Run a program, and write the report."""
    lib: Any = importlib.import_module(library)
    if library != "torch":
        sys.modules["torch"] = lib
    lib.set_default_dtype(lib.float64)
    warnings.simplefilter("ignore")
    random.seed(0)
    np.random.seed(0)
    share_random_numbers(lib)
    install_stand_ins()
    if library != "torch":  # a package that comes with torch, of its functions
        sys.modules["functorch"] = lib.func
    code = compile(Path(name).read_text(), name, "exec")
    main_module = sys.modules["__main__"] = types.ModuleType("__main__")
    main_module.__file__ = name
    printed, text = io.StringIO(), ""
    start = time.perf_counter()
    with contextlib.redirect_stdout(printed):
        try:
            exec(code, vars(main_module))
        except BaseException as error:
            text = error_text(error, name)
    seconds = time.perf_counter() - start
    output = "\n".join(itertools.islice(printed.getvalue().splitlines(), 20_000))
    Path(report).write_text(json.dumps({"error": text, "output": output, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
