"""Kinds of statements: elementwise operations, views, writes, products, and what ends a tensor."""

from __future__ import annotations

import numpy as np

from .program import BINARY, BOUND, MOST, UNARY, Program, kind

__all__ = ["view_of"]


@kind(4)
def unary(p: Program) -> None:
    """An elementwise row of the op table on one tensor."""
    entry, name = p.rng.choice(UNARY), p.pick()
    if name is None:
        return
    domain = "positive" if entry.domain == "power" else entry.domain
    p.emit(f"lib.{entry.torch}({p.within(name, domain)})")


@kind(5)
def binary(p: Program) -> None:
    """An elementwise row of the op table on two tensors, or a tensor and a number."""
    entry, a = p.rng.choice(BINARY), p.pick()
    if a is None:
        return
    b = p.partner(p.shape(a))
    first, second = entry.domain, entry.domain
    if entry.domain == "power":
        first, second = "positive", "real"
    elif entry.name in ("add", "sub", "mul") or entry.domain == "apart":
        first = second = "real"
    other = p.within(b, second) if b and p.rng.random() < 0.85 else "1.25"
    symbol = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}.get(entry.name)
    left = p.within(a, first)
    if symbol:
        pair = (left, other) if p.rng.random() < 0.8 or other != "1.25" else (other, left)
        p.emit(f"{pair[0]} {symbol} {pair[1]}")
    elif other != "1.25":
        p.emit(f"lib.{entry.torch}({left}, {other})")


def view_of(p: Program, name: str) -> str:
    """Text of a random view."""
    shape = p.shape(name)
    rank = len(shape)
    texts = [
        f"{name}.unsqueeze({p.rng.randint(0, rank)})",
        f"{name}[None]",
        f"{name}.view_as({name})",
    ]
    if rank:
        d = p.rng.randrange(rank)
        n = shape[d]
        low = p.rng.randint(0, n)
        skip = ":, " * d
        texts += [
            f"{name}[{skip}{low}:]", f"{name}[{skip}::2]", f"{name}[..., {low % 2}:]",
            f"{name}.transpose(0, {d})", f"{name}.T" if rank == 2 else f"{name}[{low}:{n}]",
            f"{name}.squeeze()", f"({name} * 1).reshape(-1)", f"{name}.movedim(0, {d})",
            f"{name}.unflatten({d}, (-1, 1))", f"{name}.view(-1)", f"{name}.swapaxes({d}, -1)",
            f"{name}.split(2, {d})[0]", f"{name}.chunk(2, {d})[-1]", f"{name}.narrow({d}, 0, {low})",
        ]  # fmt: skip
        if n:
            texts.append(f"{name}[{skip}{p.rng.randrange(-n, n)}]")
            texts.append(f"{name}.select({d}, {p.rng.randrange(-n, n)})")
            texts.append(f"{name}.unbind({d})[-1]")
            texts.append(f"{name}.unfold({d}, {p.rng.randint(1, n)}, 1)")
        if n == 1:
            size = [*shape[:d], 3, *shape[d + 1 :]]
            texts.append(f"{name}.expand({size})")
        if rank > 1:
            other = p.rng.randrange(1, rank)
            texts += [f"{name}.diagonal(0, 0, {other})", f"{name}.permute({[*range(rank)][::-1]})"]
    else:
        texts += [f"{name}.expand(3)", f"{name}.view(1, 1)"]
    return p.rng.choice(texts)


def emit_view(p: Program, name: str) -> str | None:
    """Draw a view, with the bounds of its base; its name."""
    text = view_of(p, name)
    # Where the libraries lay out a result otherwise, one of them may have to copy, and says so.
    return p.emit(text, p.bounds[name], lenient=text.endswith(".view(-1)"))


@kind(5)
def view(p: Program) -> None:
    """A view, perhaps of a view."""
    name = p.pick()
    if name is not None:
        emit_view(p, name)


@kind(5)
def write(p: Program) -> None:
    """An in-place write, mostly into a copy that it makes, or a view of that."""
    target = p.pick(lambda s: 0 < np.prod(s) <= MOST)
    if target is None:
        return
    if p.rng.random() < 0.7:
        target = p.emit(f"{target}.clone()", p.bounds[target]) or target
    if p.rng.random() < 0.5:
        part = emit_view(p, target)
        if part is None or np.prod(p.shape(part)) == 0:
            return
        target = part
    shape = p.shape(target)
    source = p.narrower(shape)
    value = p.bounded(source) if source and p.rng.random() < 0.85 else "0.75"
    if value == source and p.shares_memory(target, source):
        value = f"({source} * 1)"  # torch reads what it has just written
    texts = [
        f"{target}.mul_({value})", f"{target}.add_({value})", f"{target}.sub_({value})",
        f"{target} += {value}", f"{target} *= {value}", f"{target}.tanh_()", f"{target}.neg_()",
        f"{target}.zero_()", f"{target}.add_({value}, alpha=0.5)", f"{target}.sigmoid_()",
        f"{target}.div_({value} * {value} + 0.5)", f"{target}.fill_(0.5)", f"{target}.sin_()",
        f"{target}.clamp_(-0.8, 0.9)", f"{target}.masked_fill_({target} > 0.5, 0.25)",
    ]  # fmt: skip
    if value != "0.75":
        texts += [f"{target}.copy_({value})"] * 2
    if shape:
        texts += [f"{target}[0] = {value if value == '0.75' else f'({value}).sum()'}"] * 2
        texts += [
            f"{target}[:, ...] = {value}", f"{target}[1:] *= {target}[:-1].clone()",
            f"{target}[{target} > 0] = 0.5", f"{target}[[0]] = {target}[[-1]] * 0.5",
            f"{target}.index_add_(0, lib.tensor([0, 0]), lib.ones_like({target}[[0, 0]]) * 0.3)",
        ]  # fmt: skip
    p.line(p.rng.choice(texts))
    p.raise_bounds()


@kind(0.7)
def untracked_write(p: Program) -> None:
    """A write under no_grad, or through ``.data``."""
    is_copy = p.rng.random() < 0.6
    target = p.emit(f"{p.some()}.clone()") if is_copy else p.some()
    if target is None:
        return
    texts = [
        f"with lib.no_grad():\n    {target}.mul_(0.9)",
        f"with lib.no_grad():\n    {target}[...] = 0.4",
        f"{target}.detach().add_(0.1)",
    ]
    if is_copy:  # else it may be a residual, and what is one depends on the formulas
        texts.append(f"{target}.data.mul_(0.9)")
    if p.shape(target):
        texts += [
            f"with lib.no_grad():\n    {target}[0] = 0.3",
            f"with lib.no_grad():\n    {target}[{target} > 0.2] *= 0.5",
        ]
    p.line(p.rng.choice(texts))
    p.raise_bounds()


@kind(2)
def product(p: Program) -> None:
    """A product of vectors or matrices."""
    name = p.pick(lambda s: len(s) > 0 and np.prod(s) > 0)
    if name is None:
        return
    shape = p.shape(name)
    x = p.bounded(name)
    if len(shape) == 1:
        other = p.pick(lambda s: len(s) == 2 and s[1] == shape[0])
        p.emit(f"{p.bounded(other)} @ {x}" if other else f"lib.dot({x}, {x})")
    elif len(shape) == 2:
        other = p.pick(lambda s: len(s) == 2 and s[0] == shape[1])
        p.emit(f"lib.mm({x}, {p.bounded(other)})" if other else f"{x}.T @ {x}")
    else:
        p.emit(f"{x} @ {x}.transpose(-1, -2)")


@kind(1)
def join(p: Program) -> None:
    """Tensors joined, in the given or a promoted dtype."""
    name = p.pick(lambda s: len(s) > 0 and np.prod(s) <= 16)
    if name is None:
        return
    other = p.pick(lambda s: s == p.shape(name))
    word, d = p.rng.choice(["cat", "stack"]), p.rng.randrange(len(p.shape(name)))
    p.emit(f"lib.{word}([{name}, {other}, {name}], {d})", 10.0)


@kind(1)
def passive(p: Program) -> None:
    """An operand that is detached, or computed without gradients."""
    name = p.pick()
    if name is None:
        return
    if p.rng.random() < 0.5:
        p.emit(f"{name}.detach()", p.bounds[name])
        return
    new = f"t{p.count}"
    if p.line(f"with lib.no_grad():\n    {new} = {p.bounded(name)} * 0.5"):
        p.adopt(new, BOUND)


@kind(0.5)
def convert(p: Program) -> None:
    """Another floating dtype."""
    name = p.pick()
    if name is not None:
        word = "float" if p.rng.random() < 0.3 else "double"
        p.emit(f"{name}.{word}()", p.bounds[name])


@kind(1)
def drop(p: Program) -> None:
    """Forget a tensor that is not a leaf."""
    names = [n for n in p.names[len(p.script.leaves) :]]
    if len(names) > 2:
        name = p.rng.choice(names)
        p.names.remove(name)
        p.line(f"del {name}")
