"""``detect_anomaly``: where a derivative went wrong, and which line recorded it (anomaly.py)."""

from __future__ import annotations

import warnings

from ..tape import anomaly

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
           "set_detect_anomaly"]  # fmt: skip


class set_detect_anomaly:
    """Switch anomaly detection on or off, at once; as a context manager, put it back on exit.

    While it is on, every statement keeps the stack of its call. An error in a backward pass comes
    with a warning that shows the line which recorded the statement at fault, and a NaN in a
    backward pass is such an error. Recording and sweeps go through Python: for debugging only.

    Parameters
    ----------
    mode : bool
    check_nan : bool
        Whether a NaN is an error.

    Examples
    --------
    >>> import tapegrad as tg
    >>> with tg.autograd.set_detect_anomaly(True):
    ...     tg.is_anomaly_enabled()
    True
    >>> tg.is_anomaly_enabled()
    False
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._previous = anomaly.set_mode(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        anomaly.set_mode(*self._previous)


class detect_anomaly:
    """Context manager: anomaly detection is on; see `set_detect_anomaly`.

    Parameters
    ----------
    check_nan : bool
        Whether a NaN in a backward pass is an error.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # it warns that it is slow
    ...     with tg.autograd.detect_anomaly():
    ...         tg.is_anomaly_enabled()
    True
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only "
            "be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._previous = anomaly.set_mode(True, self._check_nan)

    def __exit__(self, *_: object) -> None:
        anomaly.set_mode(*self._previous)


def is_anomaly_enabled() -> bool:
    """Return whether anomaly detection is on.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.is_anomaly_enabled()
    False
    """
    return anomaly.is_on()


def is_anomaly_check_nan_enabled() -> bool:
    """Return whether a NaN in a backward pass would be an error.

    Examples
    --------
    >>> import tapegrad as tg
    >>> with tg.autograd.set_detect_anomaly(True, check_nan=False):
    ...     tg.is_anomaly_check_nan_enabled()
    False
    """
    return anomaly.checks_nan()
