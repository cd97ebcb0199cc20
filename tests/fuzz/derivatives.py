"""Kinds of statements: passes in the middle, hooks, Functions, checkpoints, transforms."""

from __future__ import annotations

import numpy as np

from .program import Program, kind

__all__ = ["transform_text"]

#: functions of one tensor that do not ask for its shape
BODIES = [
    "wave", "written", "mixed", "scaled", "lib.sin", "lib.tanh", "Cube.apply", "Result.apply",
    "(lambda a: a * a)", "(lambda a: a.exp().tanh() * a)", "(lambda a: a.flatten().cumsum(0))",
    "(lambda a: lib.where(a > 0, a * a, a.sin()))", "(lambda a: a.sum() * a)",
]  # fmt: skip


def _active(p: Program, names: list[str]) -> list[str]:
    tensors = p.machine.names
    return [n for n in names if tensors[n].requires_grad]


def _root(p: Program) -> str | None:
    names = [n for n in _active(p, p.names) if tuple(p.shape(n)) != (0,)]
    return p.rng.choice(names[-4:]) if names else None


@kind(1.2)
def hook(p: Program) -> None:
    """A hook of a tensor or its node, or a gradient that is kept."""
    name = p.rng.choice(_active(p, p.names) or ["t0"])
    # A hook of higher orders depends on what a derivative is written in: operands or results.
    p.script.order = min(p.script.order, 1)
    texts = [
        f"{name}.register_hook(lambda g: g * 1.5)", f"{name}.register_hook(note('{name}'))",
        f"{name}.register_hook(nested({name}))", f"{name}.register_hook(lambda g: None)",
    ]  # fmt: skip
    if not p.machine.names[name].is_leaf:
        texts += [f"{name}.retain_grad()\nkept['{name}'] = {name}"] * 2
        texts += [
            f"{name}.grad_fn.register_prehook(lambda gs: tuple(None if g is None else g * 0.5 for g in gs))"
        ]
    p.line(p.rng.choice(texts))


@kind(1.5)
def custom(p: Program) -> None:
    """A Function, perhaps one that writes in place or runs a pass of its own."""
    name = p.some()
    x = p.bounded(name)
    other = p.pick(lambda s: s == p.shape(name)) or name
    texts = [
        f"Cube.apply({x})", f"Result.apply({x})", f"Both.apply({x}, {p.bounded(other)}, 1.5)[0]",
        f"Both.apply({x}, {p.bounded(other)}, 1.5)[1]", f"Dirty.apply({x} * 1.0)", f"Inner.apply({x})",
    ]  # fmt: skip
    p.emit(p.rng.choice(texts))


@kind(0.8)
def checkpoint(p: Program) -> None:
    """A function that is computed again in the pass."""
    x = p.bounded(p.some())
    body = p.rng.choice([*BODIES, "(lambda a: checkpointed(wave, a) * a)"])
    p.emit(f"checkpointed({body}, {x})")


@kind(1)
def gradient(p: Program) -> None:
    """A gradient in the middle, which the program goes on with."""
    root = _root(p)
    if root is None:
        return
    names = _active(p, p.names)
    wanted = p.rng.sample(names, min(len(names), p.rng.randint(1, 2)))
    create = p.rng.random() < 0.5
    keep = "retain_graph=True" if p.rng.random() < 0.85 else "retain_graph=False"
    options = f"allow_unused=True, {'create_graph=True, ' if create else ''}{keep}"
    lines = [f"gs = lib.autograd.grad({root}.sum(), [{', '.join(wanted)}], {options})"]
    new = f"t{p.count}"
    lines.append(f"{new} = known(gs, [{', '.join(wanted)}], {p.rng.randrange(len(wanted))})")
    if p.line("\n".join(lines)):
        p.adopt(new)


@kind(0.7)
def accumulate(p: Program) -> None:
    """Gradients accumulated in the middle."""
    root = _root(p)
    if root is None:
        return
    keep = "retain_graph=True" if p.rng.random() < 0.8 else ""
    texts = [f"{root}.sum().backward({keep})"]
    leaves = _active(p, [f"t{i}" for i in range(len(p.script.leaves)) if f"t{i}" in p.names])
    if leaves:
        texts.append(
            f"{root}.sum().backward({keep}{', ' if keep else ''}inputs=[{p.rng.choice(leaves)}])"
        )
        texts.append(f"{p.rng.choice(leaves)}.grad = None")
    p.line(p.rng.choice(texts))


@kind(0.6)
def batched(p: Program) -> None:
    """Many cotangents at once."""
    root = _root(p)
    if root is None:
        return
    shape = p.shape(root)
    wanted = p.rng.choice(_active(p, p.names))
    values = (
        np.random.default_rng(p.rng.randrange(99)).uniform(-1, 1, (2, *shape)).round(2).tolist()
    )
    kind_of = p.machine.names[root].dtype
    kind_name = str(kind_of).rpartition(".")[2]
    create = ", create_graph=True" if p.rng.random() < 0.4 else ""
    new = f"t{p.count}"
    text = (
        f"gs = lib.autograd.grad({root}, [{wanted}], lib.tensor({values}, dtype=lib.{kind_name}), "
        f"is_grads_batched=True, allow_unused=True, retain_graph=True{create})\n"
        f"{new} = known_rows(gs, [{wanted}])"
    )
    if p.line(text, lenient=True):
        p.adopt(new)


def transform_text(p: Program, depth: int, rank: int) -> str:
    """Text of a function of one tensor of a rank: a transform of a function, `depth` deep."""
    if depth == 0:
        body = p.rng.choice(BODIES)
        if p.rng.random() < 0.3:  # a tensor around, which may be active
            other = p.pick(lambda s: s == ())
            if other:
                return f"(lambda a: {body}(a) * {p.bounded(other)})"
        return body
    words = ["grad", "jvp", "vjp", "jvp"]
    if depth == 1:
        words += ["jacrev", "jacfwd", "hessian"]
    if rank > 0:
        words += ["vmap"] * 3
    word = p.rng.choice(words)
    inner = transform_text(p, depth - 1, rank - (word == "vmap"))
    if word == "grad":
        return f"lib.func.grad(total({inner}))"
    if word in ("jvp", "vjp"):
        return f"(lambda a: {word}({inner}, a))"
    if word == "hessian":
        return f"lib.func.hessian(total({inner}))"
    return f"lib.func.{word}({inner})"


@kind(1.5)
def transform(p: Program) -> None:
    """A transform of a function, or transforms in each other."""
    name = p.pick(lambda s: 0 < np.prod(s, dtype=int) <= 6)
    if name is None:
        return
    function = transform_text(p, p.rng.randint(1, 3), len(p.shape(name)))
    p.emit(f"{function}({p.bounded(name)})", lenient=True)
