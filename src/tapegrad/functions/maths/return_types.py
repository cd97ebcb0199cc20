"""Named tuples of results, as ``torch.return_types``: ``x.max(0)`` is ``(values, indices)``."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["aminmax", "max", "median", "min", "nanmedian", "sort", "topk"]


def _show(result: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in result._asdict().items())
    return f"torch.return_types.{type(result).__name__}(\n{fields})"


class max(NamedTuple):
    """Result of `max`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class min(NamedTuple):
    """Result of `min`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class median(NamedTuple):
    """Result of `median`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class nanmedian(NamedTuple):
    """Result of `nanmedian`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class sort(NamedTuple):
    """Result of `sort`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class topk(NamedTuple):
    """Result of `topk`."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class aminmax(NamedTuple):
    """Result of `aminmax`."""

    min: Any
    max: Any

    def __repr__(self) -> str:
        return _show(self)
