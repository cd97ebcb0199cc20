"""`einsum`: sums of products in index notation, through matrix products.

The equation becomes one list of labels (small integers) an operand: letters in PyTorch's order,
then the dimensions of the ellipsis, counted from the right. Repeated labels become diagonals,
labels that only one operand has and the result has not are summed, and then operands are contracted
pair by pair, in the order that `numpy.einsum_path` finds.

Start reading at `einsum`, then `_contract`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import tensor_list
from ..registry import public

__all__ = ["einsum"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ELLIPSIS = len(_LETTERS)  # stands for the ellipsis until its dimensions are counted


@public(out=False)
def einsum(*args: Any) -> Any:
    """Sum products of elements over indices that the equation names.

    Parameters
    ----------
    *args
        ``einsum("ij,jk->ik", x, y)``: an equation and operands, or operands each followed by a list
        of integers (or Ellipsis) in the place of letters, and the result's list at the end.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError, ValueError
        PyTorch's errors for an equation that is none or that the operands do not fit.

    Examples
    --------
    ``"ii"`` is the trace, ``"ij->ji"`` the transpose, ``"bij,bjk->bik"`` a batch of products, and
    ``"...i,...i"`` a dot product along the last dimension.
    """
    inputs, output, operands = _read_arguments(args)
    labels, shared = _expand(inputs, operands)
    result = _result_labels(output, labels, shared)
    operands, labels = _diagonals(operands, labels)
    _check_sizes(operands, labels)
    return _contract(operands, labels, result)


# --------------------------------------------------------------------------- reading
def _read_arguments(args: tuple[Any, ...]) -> tuple[list[list[int]], list[int] | None, list[Any]]:
    """Labels of the operands, labels of the result (None: left out), operands."""
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    if isinstance(args[0], str):
        rest = args[1:]
        listed = len(rest) == 1 and isinstance(rest[0], list | tuple)
        operands = list(rest[0] if listed else rest)
        inputs, output = _parse(args[0])
    else:
        operands = list(args[0 : len(args) - 1 : 2])
        inputs = [_from_list(a) for a in args[1::2]]
        output = _from_list(args[-1]) if len(args) % 2 else None
    operands = tensor_list(operands, argument=1)
    if len(inputs) != len(operands):
        more = "more" if len(inputs) < len(operands) else "fewer"
        raise RuntimeError(
            f"einsum(): {more} operands were provided than specified in the equation"
        )
    return inputs, output, operands


def _parse(equation: str) -> tuple[list[list[int]], list[int] | None]:
    arrow = equation.find("->")
    left = equation if arrow < 0 else equation[:arrow]
    inputs, start = [], 0
    for i, part in enumerate(left.split(",")):
        inputs.append(_labels_of(part, start, f"operand {i}"))
        start += len(part) + 1
    if arrow < 0:
        return inputs, None
    return inputs, _labels_of(equation[arrow + 2 :], arrow + 2, "the output")


def _labels_of(text: str, start: int, part: str) -> list[int]:
    """Labels in a part of the equation that begins at character `start`."""
    labels: list[int] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c == ".":
            if _ELLIPSIS in labels:
                raise RuntimeError(
                    f"einsum(): found '.' for {part} for which an ellipsis was already found"
                )
            if text[i : i + 3] != "...":
                raise RuntimeError(
                    f"einsum(): found '.' for {part} that is not part of any ellipsis"
                )
            labels.append(_ELLIPSIS)
            i += 2
        elif c != " ":
            if c not in _LETTERS:
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {start + i} in the equation string, "
                    "subscripts must be in [a-zA-Z]"
                )
            labels.append(_LETTERS.index(c))
        i += 1
    return labels


def _from_list(subscripts: Any) -> list[int]:
    """Labels given as integers and Ellipsis."""
    if isinstance(subscripts, str | bytes) or not isinstance(subscripts, Iterable):
        raise TypeError(
            f"einsum(): the subscripts of an operand must be a list of ints, not {type(subscripts).__name__}"
        )
    labels = []
    for label in subscripts:
        if label is Ellipsis:
            labels.append(_ELLIPSIS)
            continue
        if not hasattr(type(label), "__index__"):
            raise TypeError(f"einsum(): subscripts must be int, not {type(label).__name__}")
        if 0 <= label < _ELLIPSIS:
            labels.append(operator.index(label))
        else:
            raise ValueError(
                "einsum(): subscript in subscript list is not within the valid range [0, 52)"
            )
    return labels


def _expand(inputs: list[list[int]], operands: list[Any]) -> tuple[list[list[int]], list[int]]:
    """Replace ellipses by labels of their dimensions; those labels, outermost first."""
    widest = 0
    for i, (labels, x) in enumerate(zip(inputs, operands, strict=True)):
        spelt = sum(label != _ELLIPSIS for label in labels)
        if _ELLIPSIS in labels:
            if spelt > x.ndim:
                raise RuntimeError(
                    f"einsum(): the number of subscripts in the equation ({spelt}) is more than "
                    f"the number of dimensions ({x.ndim}) for operand {i}"
                )
            widest = max(widest, x.ndim - spelt)
        elif spelt != x.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({spelt}) does not match the "
                f"number of dimensions ({x.ndim}) for operand {i} and no ellipsis was given"
            )
    shared = [_ELLIPSIS + back for back in range(widest, 0, -1)]
    expanded = []
    for labels, x in zip(inputs, operands, strict=True):
        count = x.ndim - (len(labels) - 1)
        covered = shared[len(shared) - count :] if count > 0 else []
        expanded.append(
            [n for label in labels for n in (covered if label == _ELLIPSIS else [label])]
        )
    return expanded, shared


def _result_labels(
    output: list[int] | None, labels: list[list[int]], shared: list[int]
) -> list[int]:
    """Labels of the result; by default those that come once, in order, behind the ellipsis."""
    every = [n for part in labels for n in part]
    if output is None:
        return shared + sorted(n for n in set(every) if n < _ELLIPSIS and every.count(n) == 1)
    for n in output:
        if n != _ELLIPSIS and output.count(n) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {_LETTERS[n]} appears more than once in the output"
            )
        if n != _ELLIPSIS and n not in every:
            raise RuntimeError(
                f"einsum(): output subscript {_LETTERS[n]} does not appear in the equation for any "
                "input operand"
            )
    return [n for label in output for n in (shared if label == _ELLIPSIS else [label])]


# --------------------------------------------------------------------------- preparing operands
def _diagonals(operands: list[Any], labels: list[list[int]]) -> tuple[list[Any], list[list[int]]]:
    """Make views in which every label comes once."""
    views, view_labels = [], []
    for i, (x, of_x) in enumerate(zip(operands, labels, strict=True)):
        unique = list(dict.fromkeys(of_x))
        if len(unique) < len(of_x):
            layout = layout_of(x)
            for axis, n in enumerate(of_x):
                first = of_x.index(n)
                if layout.shape[axis] != layout.shape[first]:
                    raise RuntimeError(
                        f"einsum(): subscript {_label_name(n)} is repeated for operand {i} but the sizes "
                        f"don't match, {layout.shape[axis]} != {layout.shape[first]}"
                    )
            strides = [
                sum(s for s, m in zip(layout.strides, of_x, strict=True) if m == n) for n in unique
            ]
            shape = [layout.shape[of_x.index(n)] for n in unique]
            x = record.view(TABLE["diagonal"], x, shape, strides)
        views.append(x)
        view_labels.append(unique)
    return views, view_labels


def _label_name(label: int) -> str:
    return _LETTERS[label] if label < _ELLIPSIS else "..."


def _check_sizes(operands: list[Any], labels: list[list[int]]) -> None:
    """Raise unless lengths of equal labels are equal, or 1."""
    sizes: dict[int, int] = {}
    for i, (x, of_x) in enumerate(zip(operands, labels, strict=True)):
        for n, size in zip(of_x, x.shape, strict=True):
            known = sizes.setdefault(n, size)
            if known == 1:
                sizes[n] = size
            elif size not in (known, 1):
                raise RuntimeError(
                    f"einsum(): subscript {_label_name(n)} has size {size} for operand {i} which does "
                    f"not broadcast with previously seen size {known}"
                )


# --------------------------------------------------------------------------- contracting
def _contract(operands: list[Any], labels: list[list[int]], result: list[int]) -> Any:
    """Compute the result from operands in which no label is repeated."""
    original = operands[0]
    for first, second in _path(operands, labels, result):
        x, of_x = operands.pop(second), labels.pop(second)
        y, of_y = operands.pop(first), labels.pop(first)
        needed = {n for part in (*labels, result) for n in part}
        z, left = _pair(y, of_y, x, of_x, needed)
        operands.append(z)
        labels.append(left)
    x, of_x = _sum_out(operands[0], labels[0], set(result))
    order = [of_x.index(n) for n in result]
    is_new = x is not original
    return x if is_new and order == list(range(len(order))) else x.permute(order)


def _path(operands: list[Any], labels: list[list[int]], result: list[int]) -> list[tuple[int, int]]:
    """Pairs to contract, in order; a product goes to the end of the list."""
    if len(operands) < 3:
        return [(0, 1)] * (len(operands) - 1)
    every = {n for of_x in labels for n in of_x}
    if len(every) > len(_LETTERS):  # more than NumPy has labels for
        return [(0, len(operands) - 1 - i) for i in range(len(operands) - 1)]
    small = {n: i for i, n in enumerate(sorted(every))}
    stand_ins: list[Any] = []
    for x, of_x in zip(operands, labels, strict=True):
        stand_ins += [np.broadcast_to(0.0, tuple(x.shape)), [small[n] for n in of_x]]
    pairs: list[tuple[int, int]] = []
    for group in np.einsum_path(*stand_ins, [small[n] for n in result], optimize="greedy")[0][1:]:
        members = sorted(group, reverse=True)
        if len(members) < 2:
            continue
        pairs.append((members[1], members[0]))
        for k in members[2:]:  # more than two at once: the product, which is last, meets the next
            pairs.append((k, len(operands) - len(pairs) - 1))
    return pairs


def _sum_out(x: Any, labels: list[int], needed: set[int]) -> tuple[Any, list[int]]:
    """Sum over labels that are not needed any more."""
    gone = [axis for axis, n in enumerate(labels) if n not in needed]
    if not gone:
        return x, labels
    return x.sum(gone), [n for n in labels if n in needed]


def _pair(
    x: Any, of_x: list[int], y: Any, of_y: list[int], needed: set[int]
) -> tuple[Any, list[int]]:
    """Multiply two operands, summed over labels that are not needed."""
    x, of_x = _without_broadcast(x, of_x, y, of_y)
    y, of_y = _without_broadcast(y, of_y, x, of_x)
    x, of_x = _sum_out(x, of_x, needed | set(of_y))
    y, of_y = _sum_out(y, of_y, needed | set(of_x))
    batch = [n for n in of_x if n in of_y and n in needed]
    inner = [n for n in of_x if n in of_y and n not in needed]
    left = [n for n in of_x if n not in of_y]
    right = [n for n in of_y if n not in of_x]
    if not inner:
        a = x.reshape((*x.shape, *(1,) * len(right))) if right else x
        b = _ordered(y, of_y, batch + right)
        if left:  # its dimensions stand where the first operand has them
            size = dict(zip(of_y, y.shape, strict=True))
            b = b.reshape(tuple(size.get(n, 1) for n in of_x + right))
        return record.binary(TABLE["mul"], a, b), of_x + right
    size_x = dict(zip(of_x, x.shape, strict=True))
    size_y = dict(zip(of_y, y.shape, strict=True))
    depth = math.prod(size_x[n] for n in inner)
    a = _ordered(x, of_x, batch + left + inner)
    b = _ordered(y, of_y, batch + inner + right)
    outer = [size_x[n] for n in batch]
    rows, columns = [size_x[n] for n in left], [size_y[n] for n in right]
    a = a.reshape((*outer, math.prod(rows), depth))
    b = b.reshape((*outer, depth, math.prod(columns)))
    return (a @ b).view((*outer, *rows, *columns)), batch + left + right


def _without_broadcast(x: Any, of_x: list[int], y: Any, of_y: list[int]) -> tuple[Any, list[int]]:
    """Drop dimensions of length 1 that meet a longer one."""
    size = dict(zip(of_y, y.shape, strict=True))
    gone = [i for i, n in enumerate(of_x) if x.shape[i] == 1 and size.get(n, 1) != 1]
    if not gone:
        return x, of_x
    kept = [i for i in range(len(of_x)) if i not in gone]
    return x.reshape(tuple(x.shape[i] for i in kept)), [of_x[i] for i in kept]


def _ordered(x: Any, labels: list[int], order: list[int]) -> Any:
    """Permute an operand's dimensions to the order wanted."""
    return x if labels == order else x.permute([labels.index(n) for n in order])
