"""Contenders of the races of compiled code: one `Task`, differentiated by everybody.

`tg.jit` and `jax.jit` get NumPy arrays and give NumPy arrays; eager libraries have leaves of their own,
made beforehand. A task's program is written against PyTorch's names; `Names` translates them.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jit_transforms import Program, Recorded, Transform, backward, value_and_gradients
from racing import BEST_PEER, FIRST_CALL, Aim, Race, Result, Runner

SINGLE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Names:
    """A library of arrays under PyTorch's names."""

    def __init__(self, module: Any, **others: Any) -> None:
        self.module = module
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def for_jax() -> Any:
    os.environ.setdefault("XLA_FLAGS", SINGLE_THREAD)
    import jax

    jax.config.update("jax_enable_x64", True)
    return Names(
        jax.numpy,
        cat=jax.numpy.concatenate,
        erf=jax.scipy.special.erf,
        logsumexp=jax.nn.logsumexp,
        sigmoid=jax.nn.sigmoid,
        solve_triangular=partial(jax.scipy.linalg.solve_triangular, lower=True),
    )


def for_autograd() -> Any:
    np = importlib.import_module("autograd.numpy")
    special = importlib.import_module("autograd.scipy.special")
    return Names(
        np,
        cat=np.concatenate,
        erf=special.erf,
        logsumexp=lambda x, axis: special.logsumexp(x, axis=axis),
        sigmoid=special.expit,
    )


def for_torch() -> Any:
    import torch

    torch.set_num_threads(1)
    return torch


def solving(lib: Any) -> Any:
    """Return PyTorch, or a package of its names, with a function that JAX has, too."""
    if isinstance(lib, Names):
        return lib
    return Names(lib, solve_triangular=partial(lib.linalg.solve_triangular, upper=False))


def numpy_parts(parts: Result) -> Result:
    return tuple(np.asarray(part.detach() if hasattr(part, "detach") else part) for part in parts)


def same_names(lib: Any) -> Any:
    return lib


@dataclass(frozen=True)
class Task:
    """What a race's contenders compute.

    `program(xp, *inputs, *data)` is differentiated in its inputs. `in_jax` is a second text of it, a
    function of the same arguments, where jax has loops of its own; `casadi` and `limit` set up runners.
    `closed_form` is a second hand-written one that uses what no differentiator can know.
    """

    program: Program
    inputs: tuple[Any, ...]
    limit: Callable[[], Runner]
    data: tuple[Any, ...] = ()
    transform: Transform = value_and_gradients
    recorded: Recorded = backward
    in_jax: Callable[[], Program] | None = None
    casadi: Callable[[], Runner] | None = None
    closed_form: Callable[[], Runner] | None = None
    names: Callable[[Any], Any] = same_names

    def bound(self, xp: Any) -> Program:
        # and not all that a task has: what a function uses is compared in each call
        program, xp = self.program, self.names(xp)
        return lambda *arguments: program(xp, *arguments)

    def called(self, function: Callable[..., Result]) -> Runner:
        """Return a runner that passes NumPy arrays, as they are."""
        arguments = (*self.inputs, *self.data)
        return lambda: function(*arguments)

    def eager(self, lib: Any, wrapped: Callable[[Program], Program] = lambda f: f) -> Runner:
        def leaf(part: Any, active: bool) -> Any:
            floating = np.asarray(part).dtype.kind == "f"
            return lib.tensor(part, requires_grad=True) if active and floating else lib.tensor(part)

        leaves = [leaf(part, True) for part in self.inputs]
        data = [leaf(part, False) for part in self.data]
        return self.recorded(lib, wrapped(self.bound(lib)), leaves, data)

    # The contenders. ------------------------------------------------------------------------------
    def tapegrad(self) -> Runner:
        import tapegrad

        return self.eager(tapegrad)

    def jit(self) -> Runner:
        import tapegrad as tg

        lib = Names(tg, jacrev=tg.func.jacrev)
        differentiated = self.transform(lib, self.bound(tg), len(self.inputs))
        run = self.called(tg.jit(differentiated))
        run.settle = tg.synchronize  # type: ignore[attr-defined]
        return run

    def jax(self) -> Runner:
        names = for_jax()
        import jax

        function = self.bound(names) if self.in_jax is None else self.in_jax()
        compiled = jax.jit(self.transform(jax, function, len(self.inputs)))
        return self.called(lambda *arguments: numpy_parts(compiled(*arguments)))

    def torch(self) -> Runner:
        return self.eager(for_torch())

    def torch_compile(self) -> Runner:
        torch = for_torch()
        return self.eager(torch, torch.compile)

    def autograd(self) -> Runner:
        names = for_autograd()
        from autograd import value_and_grad

        differentiated = value_and_grad(self.bound(names), argnum=tuple(range(len(self.inputs))))

        def run() -> Result:
            value, gradients = differentiated(*self.inputs, *self.data)
            return (value, *gradients)

        return run

    def setup(self, name: str) -> Callable[[], Runner]:
        """Return the function that sets a contender up."""
        method = {"tg.jit": "jit", "closed form": "closed_form"}.get(name, name.replace(".", "_"))
        found = getattr(self, method)
        assert found is not None, name
        return found


@dataclass(frozen=True)
class Entry:
    """One figure of the table: its row, its column, its aim in limits and its task, made when wanted."""

    row: str
    size: str
    aim: float
    work: int
    task: Callable[[], Task]
    peers: tuple[str, ...] = ("jax", "torch")
    rtol: float = 1e-9

    @property
    def group(self) -> str:
        return f"compiled: {self.row}, {self.size}"

    @property
    def names(self) -> tuple[str, ...]:
        return ("limit", "tapegrad", "tg.jit", *self.peers)

    def race(self) -> Race:
        task = self.task()
        return Race(
            self.group,
            {name: task.setup(name) for name in self.names},
            work=self.work,
            aims=(
                Aim(f"at most {self.aim:g} limits", self.aim, to="limit"),
                Aim("ahead of the best peer", 1.0, to=BEST_PEER),
                Aim("first call at most 0.15 s", 0.15, to=FIRST_CALL),
            ),
            rtol=self.rtol,
            aimed="tg.jit",
            row=(self.row, self.size, self.aim),
        )
