"""Named tuples of results, as ``torch.return_types``: ``x.max(0)`` is ``(values, indices)``."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "aminmax", "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk",
]  # fmt: skip


def _show(result: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in result._asdict().items())
    return f"torch.return_types.{type(result).__name__}(\n{fields})"


class _ValuesAndIndices(NamedTuple):
    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class max(_ValuesAndIndices):
    """Result of `max`."""

    __slots__ = ()


class min(_ValuesAndIndices):
    """Result of `min`."""

    __slots__ = ()


class median(_ValuesAndIndices):
    """Result of `median`."""

    __slots__ = ()


class nanmedian(_ValuesAndIndices):
    """Result of `nanmedian`."""

    __slots__ = ()


class sort(_ValuesAndIndices):
    """Result of `sort`."""

    __slots__ = ()


class cummax(_ValuesAndIndices):
    """Result of `cummax`."""

    __slots__ = ()


class cummin(_ValuesAndIndices):
    """Result of `cummin`."""

    __slots__ = ()


class kthvalue(_ValuesAndIndices):
    """Result of `kthvalue`."""

    __slots__ = ()


class mode(_ValuesAndIndices):
    """Result of `mode`."""

    __slots__ = ()


class topk(_ValuesAndIndices):
    """Result of `topk`."""

    __slots__ = ()


class aminmax(NamedTuple):
    """Result of `aminmax`."""

    min: Any
    max: Any

    def __repr__(self) -> str:
        return _show(self)
