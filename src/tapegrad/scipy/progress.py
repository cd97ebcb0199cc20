"""Progress of a solver, shown by tqdm if that is installed: one step a call of the user's function."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..base.importing import imported

__all__ = ["Progress"]


class Progress:
    """A bar that counts calls and shows the last value; a context manager.

    Parameters
    ----------
    caller : str
        Its title.
    shown : bool
        Whether there is one.
    """

    def __init__(self, caller: str, shown: bool) -> None:
        self._bar: Any = None
        if not shown:
            return
        try:
            tqdm = imported("tqdm.auto").tqdm
        except ImportError:
            warnings.warn(
                f"{caller}: progress=True needs tqdm, which is not installed (pip install tqdm); "
                "nothing is shown",
                UserWarning, stacklevel=4,
            )  # fmt: skip
            return
        self._bar = tqdm(desc=caller, unit=" calls")

    def note(self, value: Any) -> None:
        """Count a call, which returned a value, or several: then their largest is shown."""
        if self._bar is not None:
            largest = np.max(np.abs(value), initial=0.0) if np.ndim(value) else value
            self._bar.set_postfix_str(f"{largest:.6g}", refresh=False)
            self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
