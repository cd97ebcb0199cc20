"""NumPy's functions on Tensors, with NumPy's names and arguments: ``import tapegrad.numpy as np``.

`protocols.py` is what ``np.sin(tensor)`` calls where `np` is NumPy itself; start reading there. As a module,
the package stands for NumPy: `namespace.py` makes its names when they are looked up.

Examples
--------
>>> import tapegrad as tg
>>> import tapegrad.numpy as np
>>> tg.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, 1.0]))
tensor([0.0000, 0.9093])
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if not hasattr(_numpy, name):  # a module of this package is none of NumPy's names
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=None)
    from .namespace import face_of

    value = face_of(_numpy, __name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [name for name in dir(_numpy) if not name.startswith("_")]
