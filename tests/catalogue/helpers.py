"""The library under test, and the few checks that many rows share.

``torch`` is tapegrad unless the environment variable ``CATALOGUE_WITH`` names another module, so
that the tests read as the tutorials' snippets do: ``import tapegrad as torch``.
"""

import importlib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

LIBRARY = os.environ.get("CATALOGUE_WITH", "tapegrad")

torch: Any = importlib.import_module(LIBRARY)
# what `from torch.autograd import Variable` binds
Variable: Any = importlib.import_module(f"{LIBRARY}.autograd").Variable

DEFAULT_DTYPE: Any = torch.ones(1).dtype
IS_DOUBLE: bool = torch.float64 == DEFAULT_DTYPE
OTHER_DTYPE: Any = torch.float32 if IS_DOUBLE else torch.float64

SECOND_BACKWARD = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you "
    "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
    "through the graph a second time or if you need to access saved tensors after calling "
    "backward."
)
NOT_TRACKED = "element 0 of tensors does not require grad and does not have a grad_fn"
NOT_SCALAR = "grad can be implicitly created only for scalar outputs"
NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
    "attribute won't be populated"
)
RANGE_DEPRECATED = (
    "torch.range is deprecated and will be removed in a future release because its behavior is "
    "inconsistent with Python's range builtin. Instead, use torch.arange"
)


def raises(kind: type[Exception], message: str) -> AbstractContextManager[Any]:
    """Expect an error with exactly this text."""
    return pytest.raises(kind, match=rf"\A{re.escape(message)}\Z")


def warns(kind: type[Warning], start: str) -> AbstractContextManager[Any]:
    """Expect a warning whose text starts like this."""
    return pytest.warns(kind, match=rf"\A{re.escape(start)}")


@contextmanager
def reference_cycle_warning_allowed() -> Iterator[None]:
    """Allow torch's advice against ``backward(create_graph=True)``; it is no row's subject."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
        yield


def grad_fn_name(tensor: Any) -> str:
    """Name of the function that made a tensor, from how ``print(tensor.grad_fn)`` shows it."""
    shown = re.fullmatch(r"<(\w+) object at 0x[0-9A-Fa-f]+>", repr(tensor.grad_fn))
    assert shown is not None, repr(tensor.grad_fn)
    return shown[1]
