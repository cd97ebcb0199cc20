"""Names that a module does not have: packages that come when they are asked for, and errors for all others.

Start reading at `LATER` and at `INSTEAD`, which says what stands in the place of a part of PyTorch.
`getattr_of` makes a module's ``__getattr__``, which runs for missing names only; `instead_of` answers for
imports of missing submodules (other_names.py). Where a name is misspelt, Python itself says which is near;
notebooks do not, and have `near_names` (notebook_errors.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .importing import imported

__all__ = ["INSTEAD", "LATER", "getattr_of", "instead_of", "near_names"]

_COMPILED = (
    "@tg.jit records and compiles a function (docs/jit.md), @tg.njit compiles one with loops "
    "(docs/njit.md), and operations that run often are fused and compiled by themselves"
)
_DTYPES = (
    "dtypes are float64 (the default), float32, complex128, complex64, int64, bool, and for data float16, "
    "int32, int16, int8 and uint8"
)
_LINALG = "tg.linalg has solve, inv, cholesky, qr, eigh, svd, lstsq and their like"
_CPU = "tapegrad computes on the CPU only; leave the device out"
_ONE = (
    "tapegrad computes in one process: use Python's multiprocessing, in which tensors are pickled"
)

#: functions of ``torch.nn.functional`` that PyTorch has at its top level, too
_OF_NN = [
    "adaptive_avg_pool1d",
    "alpha_dropout",
    "avg_pool1d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "dropout",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "group_norm",
    "hardshrink",
    "hinge_embedding_loss",
    "instance_norm",
    "kl_div",
    "layer_norm",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "poisson_nll_loss",
    "prelu",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
]
#: names that are there once their module is imported, which happens when one is asked for: by module -> (the
#: module to import, its attribute or None for itself)
LATER: dict[str, dict[str, tuple[str, str | None]]] = {
    "tapegrad": {
        "distributions": ("tapegrad.distributions", None),
        "nn": ("tapegrad.nn", None),
        "odeint": ("tapegrad.ode", "odeint"),
        "odeint_adjoint": ("tapegrad.ode", "odeint_adjoint"),
        "optim": ("tapegrad.optim", None),
        "scipy": ("tapegrad.scipy", None),
        **{name: ("tapegrad.nn.functional", name) for name in _OF_NN},
    },
    "tapegrad.utils": {name: (f"tapegrad.utils.{name}", None) for name in ("benchmark", "data")},
}

#: a part of PyTorch's, by module -> the words for what there is instead
INSTEAD: dict[str, dict[str, str]] = {
    "tapegrad": {
        **dict.fromkeys(["compiler", "fx", "export", "cond", "while_loop"], _COMPILED),
        **dict.fromkeys(
            [
                "bfloat16",
                "uint16",
                "uint32",
                "uint64",
                "chalf",
                "complex32",
                "qint8",
            ],
            _DTYPES,
        ),
        **dict.fromkeys(["eig", "geqrf", "lstsq", "lu", "lu_unpack", "symeig"], _LINALG),
        **dict.fromkeys(
            ["accelerator", "amp", "autocast", "backends", "cpu", "mps", "mtia", "xpu"], _CPU
        ),
        "set_default_device": _CPU,
        **dict.fromkeys(["distributed", "futures", "multiprocessing"], _ONE),
        "sparse": "tensors are dense",
        "profiler": "print(tg.current_tape()) shows what was recorded, tg.current_tape().stats() counts, and "
        "docs/timing.md says how to time",
        "set_default_tensor_type": "tg.set_default_dtype sets the dtype of new tensors",
    },
}


def instead_of(name: str) -> str | None:
    """Return the words for a missing module or attribute (its whole name), or None where there are none."""
    module, _, child = name.rpartition(".")
    text = INSTEAD.get(module, {}).get(child)
    return None if text is None else f"{module} has no {child}: {text}"


def getattr_of(module: str, otherwise: str | None = None) -> Callable[[str], Any]:
    """Return ``__getattr__`` of a module: it imports what comes later, and raises errors.

    Parameters
    ----------
    module : str
        Its name.
    otherwise : str, optional
        Words for all names that `INSTEAD` does not have.
    """
    later = LATER.get(module, {})

    def missing(name: str) -> Any:
        if name in later:
            place, attribute = later[name]
            home = imported(place)
            return home if attribute is None else getattr(home, attribute)
        text = None if name.startswith("__") else instead_of(f"{module}.{name}")
        if text is None and otherwise and not name.startswith("_"):
            text = f"{module} has no {name}: {otherwise}"
        if text is not None:  # an object of the error's would have Python look for near misses
            raise AttributeError(text, name=name, obj=None)
        text = f"module {module!r} has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[module])

    return missing


def near_names(owner: object, name: str) -> list[str]:
    """Return the attributes of an object that are like a misspelt one."""
    import difflib  # for an error only

    return difflib.get_close_matches(name, dir(owner), n=3, cutoff=0.7)
