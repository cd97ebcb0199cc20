"""Streams of random numbers, and the one that functions use where none is given.

A `Generator` wraps NumPy's. The same seed gives the same numbers on every run, but not PyTorch's.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ...base.devices import CPU, check_device
from ...base.dtypes import int64
from ...base.errors import must_be
from ...base.locks import new_lock
from ...native.exchange import Change, Exchange, Exchanged
from ...tape import recording as record
from ..registry import FUNCTIONS, public
from ..signature import Tensor

__all__ = [
    "Draws",
    "Generator",
    "Unused",
    "default_generator",
    "manual_seed",
    "stream_of",
    "unwatched",
]

_DEFAULT_SEED = 67280421310721  # PyTorch's


class _Watches(threading.local):
    """Listeners that hear of a stream before this thread draws from it: see `Draws`."""

    def __init__(self) -> None:
        self.draws: tuple[Draws, ...] = ()


_WATCHES = _Watches()


class Generator:
    """A stream of random numbers.

    Parameters
    ----------
    device : optional
        Nothing but the CPU.

    Examples
    --------
    >>> g = Generator().manual_seed(3)
    >>> g.initial_seed()
    3
    """

    #: NumPy's generators are not safe to share between threads
    lock = new_lock()

    def __init__(self, device: Any = None) -> None:
        check_device("Generator", device)
        self.device = CPU
        self.manual_seed(_DEFAULT_SEED)

    def manual_seed(self, seed: Any) -> Generator:
        """Start the stream that belongs to a seed; return the generator.

        Raises
        ------
        ValueError
            If the seed does not fit in 64 bits.
        """
        number = int(seed)
        if not -(2**63) <= number < 2**64:
            raise ValueError("Overflow when unpacking long long")
        self._seed = number % 2**64
        self._numpy = np.random.Generator(np.random.PCG64(self._seed))
        return self

    @property
    def numpy(self) -> np.random.Generator:
        """NumPy's generator, to draw from."""
        for draws in _WATCHES.draws:
            draws.note(self, self._numpy.bit_generator)
        return self._numpy

    def initial_seed(self) -> int:
        """Return the seed."""
        return self._seed

    def seed(self) -> int:
        """Seed with a number from the operating system, and return it."""
        self.manual_seed(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        return self._seed

    def get_state(self) -> Any:
        """Return the state of the stream as an int64 tensor."""
        state: Any = self.numpy.bit_generator.state
        inner = state["state"]
        words = [inner[key] >> shift & 2**64 - 1 for key in ("state", "inc") for shift in (0, 64)]
        words += [self._seed, state["has_uint32"], state["uinteger"]]
        return record.leaf_tensor(np.array(words, np.uint64).view(np.int64), int64)

    def set_state(self, new_state: Any) -> Generator:
        """Go to a state that `get_state` returned; return the generator."""
        record.check_tensors("set_state", (new_state,))
        if new_state.dtype is not int64 or tuple(new_state.shape) != (7,):
            raise RuntimeError("RNG state must be a tensor that get_state() returned")
        words = [int(w) for w in new_state.detach().numpy().view(np.uint64)]
        self._seed = words[4]
        bits = np.random.PCG64(0)
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": words[0] | words[1] << 64, "inc": words[2] | words[3] << 64},
            "has_uint32": words[5],
            "uinteger": words[6],
        }
        self._numpy = np.random.Generator(bits)
        return self


class Draws(Exchange):
    """Context manager that notes the streams from which its block draws, with their states before.

    A state is read when its stream is first asked for: it takes NumPy longer than many a small function runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[Generator, Any] = {}

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of this thread's listeners to draws."""
        before = _WATCHES.draws
        return ((vars(_WATCHES), "draws", before, (*before, self)),), self

    def note(self, stream: Generator, bits: Any) -> None:
        """Keep the state of a stream that is about to be drawn from, if it is the first time."""
        if stream not in self._before:
            self._before[stream] = bits.state

    def rewind(self) -> bool:
        """Set all streams back to where they were first drawn from; return True if one had moved."""
        moved = False
        for stream, state in self._before.items():
            bits: Any = stream._numpy.bit_generator
            if bits.state != state:
                bits.state, moved = state, True
        return moved


def unwatched() -> Exchange:
    """Return a context manager in which draws have no listener."""
    return Exchanged((vars(_WATCHES), "draws", _WATCHES.draws, ()))


class Unused(Draws):
    """Context manager in which no stream must be drawn from.

    Raises
    ------
    RuntimeError
        At the end, with the given text, and with the streams as they were.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __exit__(self, kind: object = None, *rest: object) -> None:
        super().__exit__(kind, *rest)
        if kind is None and self.rewind():
            raise RuntimeError(self.text)


default_generator = Generator()
_EXPORTED: dict[str, Any] = {"Generator": Generator, "default_generator": default_generator}
FUNCTIONS.update(_EXPORTED)


def stream_of(name: str, generator: Any) -> Generator:
    """Return a generator argument, or the default for None."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise must_be(name, "generator", 0, "torch.Generator", generator)
    return generator


@public(out=False)
def manual_seed(seed: Any) -> Generator:
    """Seed the generator that random functions use, and return it."""
    return default_generator.manual_seed(seed)


@public(out=False)
def seed() -> int:
    """Seed the generator that random functions use with a random number, and return that."""
    return default_generator.seed()


@public(out=False)
def initial_seed() -> int:
    """Return the seed of the generator that random functions use."""
    return default_generator.initial_seed()


@public(out=False)
def get_rng_state() -> Tensor:
    """Return the state of the generator that random functions use."""
    return default_generator.get_state()


@public(out=False)
def set_rng_state(new_state: Any) -> None:
    """Set the state of the generator that random functions use."""
    default_generator.set_state(new_state)
