"""Optimizers whose update of an element depends on that element's past only: all but L-BFGS.

Such an optimizer is a formula, written once in NumPy's words, for arrays and for Tensors alike.

- Arrays: the memory of the parameters, of their gradients and of the optimizer's buffers, in blocks that
  stay in the cache with all temporaries. Each parameter's write is counted as a version, so a graph that
  needs the old value says so. This is how a step runs.
- Tensors: wherever a write has to be seen by more than the tape's memory, as with ``differentiable=True``,
  in a transform of functions or in forward mode.

Start reading at `ElementwiseOptimizer.step`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.grad_mode import enable_grad, set_grad_enabled
from ..base.dtypes import get_default_dtype
from ..base.errors import UnsupportedError
from ..base.fast_paths import REFUSED
from ..functions.maths.complex_numbers import view_as_real
from ..native import abi as nt
from ..tape import readout, versions
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import storage_of
from ..tape.tape import Tape, slot_of
from ..tensors.tensor import Tensor
from ..transforms import duals
from .optimizer import Optimizer

__all__ = [
    "ElementwiseOptimizer", "Update", "decayed", "filled", "is_used", "number", "number_of_steps", "rate_of",
    "scalar",
]  # fmt: skip

#: elements of a block: with its temporaries in the second cache, and long enough for NumPy's calls
BLOCK = 1 << 13

#: an update, ``update(parameter, gradient, *buffers)``; it writes to the parameter and the buffers
Update = Callable[..., None]


class _Job(NamedTuple):
    """One parameter of a step."""

    group: dict[str, Any]
    param: Any
    grad: Any
    state: dict[str, Any]
    buffers: tuple[Any, ...]


def number(value: Any) -> Any:
    """An option as a Python number, be it one or a tensor of one element."""
    return value.item() if isinstance(value, Tensor) else value


def rate_of(group: dict[str, Any]) -> Any:
    """Return a group's learning rate: as it is where steps are differentiated, else as a Python number."""
    return group["lr"] if group["differentiable"] else number(group["lr"])


def is_used(factor: Any) -> bool:
    """Return True for an option that is a tensor, or not zero."""
    return isinstance(factor, Tensor) or factor != 0


def decayed(group: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Return ``f(p, g)``: the gradient of the objective, with its sign and the decay of weights.

    A decoupled decay is no part of it: it is written to the parameter.
    """
    maximize, keep = group["maximize"], group["differentiable"]
    decay = group["weight_decay"] if keep else number(group["weight_decay"])
    decoupled = group.get("decoupled_weight_decay", False)
    kept = 1 - number(group["lr"]) * number(decay)

    def gradient(p: Any, g: Any) -> Any:
        if maximize:
            g = -g
        if not is_used(decay):
            return g
        if decoupled:
            p *= kept
            return g
        return g + decay * p

    return gradient


def number_of_steps(state: dict[str, Any]) -> float:
    """Count a step in a parameter's state; return the number of steps."""
    step = state["step"]
    storage = storage_of(step) if isinstance(step, Tensor) else None
    if storage is None or storage.array is None:
        state["step"] = step = scalar(float(step))
        storage = storage_of(step)
    array = storage.array  # type: ignore[union-attr]
    array += 1  # type: ignore[operator]
    return array.item()  # type: ignore[union-attr]


def scalar(value: float) -> Any:
    """A tensor of one number, in the default dtype."""
    kind = get_default_dtype()
    return record.leaf_tensor(np.array(value, kind.np), kind)


class ElementwiseOptimizer(Optimizer):
    """Base of optimizers that are formulas.

    A subclass gives the names of its buffers, the numbers that differ from step to step, and the update.
    """

    def buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the arrays of a parameter's shape in its state."""
        raise NotImplementedError

    def initial(self, group: dict[str, Any], param: Any) -> dict[str, Any]:
        """Return the state before the first step: a count of steps, and buffers of zeros."""
        state = {"step": scalar(0.0)}
        for name in self.buffers(group):
            state[name] = filled(param, 0)
        return state

    def advance(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """Count a step of a parameter; return the numbers that its update depends on."""
        return (number_of_steps(state),)

    def update(self, group: dict[str, Any], *numbers: Any) -> Update:
        """Return the update for a group's options and the numbers of `advance`."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step, in place.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew, with its gradients, and returns it.

        Returns
        -------
        The closure's result, or None.

        Raises
        ------
        RuntimeError
            If a parameter or its buffers have changed their shape; nothing has changed then.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        tape = current_tape()
        if tape.abstract:
            raise UnsupportedError(
                f"{type(self).__name__}.step() inside of a function that is recorded (tg.jit, tg.trace, a "
                "derivative rule); let the function return the gradients, and call step() outside"
            )
        jobs = self._jobs()
        in_tensors = self.defaults.get("differentiable") or readout.is_running() or duals.running()
        if in_tensors or REFUSED:
            with set_grad_enabled(bool(self.defaults.get("differentiable"))):
                self._step_tensors(jobs)
            return loss
        with tape.lock:
            rest = self._step_arrays(tape, jobs)
        if rest:
            with set_grad_enabled(False):
                self._step_tensors(rest)
        return loss

    def _jobs(self) -> list[_Job]:
        """The parameters that have gradients, with their state, made if there is none yet."""
        jobs = []
        for group in self.param_groups:
            names = self.buffers(group)
            for p in group["params"]:
                grad = p.grad
                if grad is None:
                    continue
                state = self.state.get(p, {})
                buffers = tuple([state.get(name) for name in names])
                if not state or any(b is None for b in buffers):
                    fresh = self.initial(group, p)
                    if fresh:
                        state.update({k: v for k, v in fresh.items() if state.get(k) is None})
                        self.state[p] = state
                    buffers = tuple([state[name] for name in names])
                for buffer in buffers:
                    if buffer._layout_id != p._layout_id:
                        _check_shape(buffer, p)
                jobs.append(_Job(group, p, grad, state, buffers))
        return jobs

    def _step_arrays(self, tape: Tape, jobs: list[_Job]) -> list[_Job]:
        """Write to the memory of parameters; return those that have none of their own."""
        if tape.state[nt.S_DONE] < tape.state[nt.S_COUNT]:
            tape.evaluate()  # statements that read the old values
        group: Any = None
        rest, numbers, update = [], None, None
        for job in jobs:
            arrays = _arrays(tape, job)
            if arrays is None:
                rest.append(job)
                continue
            advanced = self.advance(job.group, job.state)
            if job.group is not group or advanced != numbers:
                group, numbers = job.group, advanced
                update = self.update(group, *numbers)
            # Noted first: an interrupt may come in between.
            versions.note_write_from_python(tape, slot_of(tape, job.param))
            in_blocks(update, arrays)  # type: ignore[arg-type]
        return rest

    def _step_tensors(self, jobs: list[_Job]) -> None:
        for job in jobs:
            update = self.update(job.group, *self.advance(job.group, job.state))
            tensors = job.param, job.grad, *job.buffers
            update(*[view_as_real(t) if t.is_complex() else t for t in tensors])


def filled(param: Any, value: complex) -> Any:
    """A tensor like a parameter, of one number."""
    array = np.full(tuple(param.shape), value, param.dtype.np)
    return record.leaf_tensor(array, param.dtype)


def _check_shape(buffer: Any, param: Any) -> None:
    if buffer.shape != param.shape:
        raise RuntimeError(
            f"The size of tensor a ({list(buffer.shape)}) must match the size of tensor b "
            f"({list(param.shape)}): the optimizer's state is for a parameter of another shape; make a new "
            "optimizer, or load a state dict that fits"
        )


def _arrays(tape: Tape, job: _Job) -> list[Any] | None:
    """The arrays of a parameter, its gradient and its buffers; None if they are not simply in memory."""
    param, grad, buffers = job.param, job.grad, job.buffers
    storage = storage_of(param)
    if storage is None or not storage.leaf or storage.array is None or tape.mirrors:
        return None
    if param._state != tape.pointer:
        record.adopt(param)
    arrays: list[Any] = [storage.array, _array_of(grad)]
    for buffer in buffers:
        arrays.append(_array_of(buffer))
    return arrays


def _array_of(tensor: Any) -> np.ndarray:
    storage = storage_of(tensor)
    if storage is not None and storage.leaf and storage.array is not None:
        return storage.array
    return tensor.detach().numpy()


def in_blocks(update: Update, arrays: list[Any]) -> None:
    """Run an update on arrays, a block at a time; complex numbers are pairs.

    Parameters
    ----------
    update : callable
    arrays : list of numpy.ndarray
        Of one shape; all but the second are written.
    """
    first = arrays[0]
    if first.dtype.kind != "c":
        if first.size <= BLOCK:
            update(*arrays)
            return
        if all(a.flags.c_contiguous for a in arrays):
            flat = [a.reshape(-1) for a in arrays]
            for i in range(0, first.size, BLOCK):
                update(*[a[i : i + BLOCK] for a in flat])
            return
        update(*arrays)
        return
    copies = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    real = first.real.dtype
    update(*[a.view(real) for a in copies])
    for array, copy in zip(arrays, copies, strict=True):
        if not array.flags.c_contiguous:
            array[...] = copy.reshape(array.shape)
