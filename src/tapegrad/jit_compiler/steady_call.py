"""Calls with arrays of a function that uses tensors from around it, where nothing but numbers changes.

Native code does calls with arrays alone (fast_call.py). Tensors of the surroundings are looked up by
Python; a `SteadyCall` does that, and compares the arguments with those of the call before, in place of
looking their signature up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.dtypes import get_default_dtype
from ..tape import pytree as trees
from ..tape.tape import Tape
from .compiled_tape import memory_of
from .signatures import Signature
from .traces import Trace

__all__ = ["SteadyCall"]


class SteadyCall:
    """A trace, for arguments that are arrays of the dtypes and shapes of a call.

    Parameters
    ----------
    trace : Trace
        Without reads; all it returns are tensors.
    args : sequence of ndarray
    signature : Signature
    """

    def __init__(self, trace: Trace, args: tuple[np.ndarray, ...], signature: Signature) -> None:
        self._trace = trace
        self._layouts = [(x.dtype, x.shape) for x in args]
        self._mode = signature.mode[:2]

    def results(self, tape: Tape, args: tuple[Any, ...]) -> Any:
        """Return what the function returns; None if the trace is not known to be the right one."""
        mode, default = self._mode
        if len(args) != len(self._layouts) or tape.grad_mode != mode:
            return None
        for x, (dtype, shape) in zip(args, self._layouts, strict=True):
            if type(x) is not np.ndarray or x.dtype != dtype or x.shape != shape:
                return None
            if not (x.flags.c_contiguous and x.flags.aligned):
                return None
        trace = self._trace
        code, captured = trace.code, trace.surroundings.tensors()
        if code is None or captured is None or get_default_dtype() is not default:
            return None
        values = code.run([*args, *map(memory_of, captured)])
        return trees.unflatten(trace.out_spec, [values[i] for i in trace.outputs])
