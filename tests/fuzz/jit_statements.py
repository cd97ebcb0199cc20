"""Kinds of statements that programs for `tapegrad.jit` are made of, and loops.

A kind takes the `Values`, and returns lines of text, the last of which defines the name that it is given.
Lines may fail when they are run for the first time: then they are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["KINDS", "Values", "block"]

UNARY = (
    "tg.tanh({})", "tg.sin({})", "tg.cos({})", "tg.exp(-{}.abs())", "tg.sigmoid({})", "tg.log1p({}.abs())",
    "tg.sqrt({}.abs() + 0.5)", "tg.relu({})", "{}.abs()", "-{}", "tg.erf({})", "tg.expm1(tg.tanh({}))", "{}.sign()",
    "tg.floor({})", "{}.clamp(-0.8, 1.1)", "1.0 / (1.5 + {} * {})", "{} ** 2", "{} * 1.0", "{} + 0", "{}.clone()",
    "{}.detach()", "{}.double()", "{}.float()", "{}.long()", "{} > 0.1", "~({} < 0)", "tg.atan({})", "tg.logit(tg.sigmoid({}))",
    "tg.where({} > 0, {}, 0.25)", "{}.round()", "tg.nan_to_num({} / {})", "{} * float('nan')", "tg.exp2({}.sin())",
    "{}.square().add(0.3).log()", "{}.reciprocal().tanh()", "tg.zeros_like({})", "tg.ones_like({})", "{}.contiguous()",
)  # fmt: skip
BINARY = (
    "{} + {}", "{} - {}", "{} * {}", "{} / (1.5 + tg.sin({}))", "tg.maximum({}, {})", "tg.minimum({}, {})",
    "tg.atan2({}, {})", "tg.hypot({}, {})", "tg.where({} > {}, 1.5, -0.5)", "{} > {}", "{} <= {}", "{} == {}",
    "({}.abs() + 0.2) ** tg.tanh({})", "tg.lerp({}, {}, 0.3)", "tg.logaddexp({}, {})", "{} * 0.5 - {} * 2",
    "tg.fmod({}, {}.abs() + 1)", "({} // ({}.abs() + 1))",
)  # fmt: skip
REDUCTIONS = (
    "{}.sum({})", "{}.mean({})", "{}.amax({})", "{}.amin({})", "{}.logsumexp({})", "{}.norm(dim={})", "{}.prod({})",
    "{}.var({})", "{}.std({})", "({} > 0).any({})", "({} < 1).all({})", "{}.argmax({})", "{}.argmin({})",
    "tg.linalg.vector_norm({}, 1, {})", "tg.linalg.vector_norm({}, float('inf'), {})", "{}.max({}).values",
    "{}.min({}).indices", "tg.count_nonzero({}, {})", "{}.median({}).values", "{}.nansum({})",
)  # fmt: skip
ALONG = (
    "{}.softmax({})", "{}.log_softmax({})", "{}.cumsum({})", "{}.cumprod({})", "{}.sort({}).values", "{}.argsort({})",
    "{}.sort({}, descending=True).values", "{}.flip({})", "{}.roll(2, {})", "{}.logcumsumexp({})", "{}.cummax({}).values",
    "{}.unsqueeze({})", "{}.squeeze({})", "{}.diff(dim={})",
)  # fmt: skip
VIEWS = (
    "{}.T", "{}.reshape(-1)", "{}[None]", "{}[..., None]", "{}.transpose(0, -1)", "{}.expand(2, *{}.shape)",
    "{}.flatten()", "{}.diagonal()", "{}.movedim(0, -1)", "tg.triu({})", "tg.tril({}, -1)", "{}.repeat_interleave(2, 0)",
    "{}.unfold(0, 2, 1)", "{}.permute(*reversed(range({}.ndim)))", "tg.diag({})", "{}.reshape(*reversed({}.shape))",
    "{}.broadcast_to(3, *{}.shape)", "{}.as_strided((2,), (1,), 0)", "{}.view(-1)", "{}.repeat(2)", "{}.ravel()[::2]",
)  # fmt: skip
PRODUCTS = (
    "{} @ {}", "{} @ {}.T", "{}.T @ {}", "tg.outer({}.flatten()[:5], {}.flatten()[:7])", "tg.dot({}, {})",
    "tg.einsum('ij,kj->ik', {}, {})", "tg.linalg.solve({} @ {}.T + 9 * tg.eye({}.shape[0]), {})",
    "tg.matmul({}, {}[..., None])", "tg.bmm({}, {}.transpose(1, 2))", "tg.addmm({}, {}, {})", "tg.kron({}, {})",
)  # fmt: skip
MANY = (
    "tg.cat([{}, {}])", "tg.stack([{}, {}])", "tg.cat([{}, {}, {}], -1)", "tg.stack([{}, {}, {}], -1)",
    "tg.where({} > 0, {}, {})", "tg.nn.functional.pad({}, (1, 2))", "tg.cat([{}[:1], {}[1:]])",
    "tg.cat([{}.flatten(), {}.flatten()])", "tg.addcmul({}, {}, {}, value=0.5)", "tg.stack([{}, {}.flip(0)], 1)",
)  # fmt: skip
INDEX = (
    "0", "-1", "1", "1:", ":-1", "::2", "::-1" , "..., 0", "..., -1", ":, 1:", "[0, 0]", "[-1, 0, 1]", "None, 0", ":1",
    "tg.tensor([0, -1])", "..., ::2", "1::3", ":, 0", "0:0", "[[0, 1], [1, 0]]", "..., [0]", "[True]", "2", "3:9:4",
)  # fmt: skip
WRITES = (
    "{0}[{1}] = {2}", "{0}[{1}] += {2}", "{0}[{1}] *= 0.5", "{0}.mul_({2})", "{0}.add_({2}, alpha=0.5)", "{0}.tanh_()",
    "{0}[{0} > 0] = 0.5", "{0}.masked_fill_({0} < 0.2, -1.0)", "{0}[{1}].copy_({2})", "{0}.fill_(0.3)", "{0}[{1}].sin_()",
    "{0}[{1}].zero_()", "{0}.flatten()[0] = 2.0", "{0}.T[{1}] = {2}", "{0} -= {2}", "{0}.clamp_(min=0.1)", "{0}.neg_()",
    "{0}.index_add_(0, tg.tensor([0, 0]), {0}[:2].detach())", "{0}.copy_({0}.flip(0))", "{0}[{1}] = {0}[{1}] * {2}",
    "{0}[1:] += {0}[:-1]", "{0}.scatter_(0, tg.zeros_like({0}, dtype=tg.int64)[:1], 0.5)", "{0}.reshape(-1)[1:] *= 2",
)  # fmt: skip


class Values(Protocol):
    """What a kind asks for.

    Attributes
    ----------
    rng : random.Random
    """

    rng: random.Random

    def pick(self, test: Callable[[Any], bool] = ...) -> str:
        """Return the name of a value."""

    def value(self, name: str) -> Any:
        """Return a value."""

    def fresh(self) -> str:
        """Return a name for another one."""


def is_float(x: Any) -> bool:
    return bool(x.dtype.is_floating_point)


def _filled(values: Values, text: str, near: str | None = None) -> str:
    """Put names into a text: mostly of what has the shape of the first, or can be broadcast."""
    count = text.count("{}")
    first = near or values.pick()
    names = [first]
    shape = tuple(values.value(first).shape)
    for _ in range(count - 1):
        if values.rng.random() < 0.4:
            names.append(first)
        elif values.rng.random() < 0.7:
            names.append(values.pick(lambda x: tuple(x.shape) == shape))
        else:
            names.append(values.pick())
    values.rng.shuffle(names)
    return text.format(*names)


def unary(values: Values, name: str) -> list[str]:
    """An elementwise function."""
    x = values.pick()
    text = values.rng.choice(UNARY)
    return [f"{name} = {text.replace('{}', x)}"]


def chain(values: Values, name: str) -> list[str]:
    """Several of them."""
    lines = [f"{name} = {values.pick()}"]
    for _ in range(values.rng.randint(2, 5)):
        lines.append(f"{name} = {values.rng.choice(UNARY[:24]).replace('{}', name)}")
    return lines


def binary(values: Values, name: str) -> list[str]:
    """A function of two values, be they broadcast."""
    return [f"{name} = {_filled(values, values.rng.choice(BINARY))}"]


def axis(values: Values, x: str, several: bool = True) -> str:
    """One dim, or several."""
    ndim = max(values.value(x).ndim, 1)
    dim = values.rng.randrange(-ndim, ndim)
    if several and ndim > 1 and values.rng.random() < 0.3:
        other = (dim + 1) % ndim
        return str((dim % ndim, other))
    return str(dim)


def reduction(values: Values, name: str) -> list[str]:
    """A reduction, which may be used beside what it reduces."""
    rng = values.rng
    x = values.pick()
    text = rng.choice(REDUCTIONS[:9] if rng.random() < 0.6 else REDUCTIONS)
    dims = axis(values, x, rng.random() < 0.5)
    keep = rng.random() < 0.5
    if keep and not text.endswith(("values", "indices")) and "count" not in text:
        dims += ", keepdim=True"
    elif rng.random() < 0.2 and "dim=" not in text:
        dims = "" if "_norm" not in text else "None"
    lines = [f"{name} = {text.format(x, dims)}"]
    if keep and rng.random() < 0.6:
        lines.append(f"{name} = {rng.choice(['{0} - {1}', '{0} * {1}', '{0} / (1 + {1}.abs())', '({0} > {1})'])}".format(x, name))  # fmt: skip
    return lines


def along(values: Values, name: str) -> list[str]:
    """Something along a dim."""
    x = values.pick()
    return [f"{name} = {values.rng.choice(ALONG).format(x, axis(values, x, several=False))}"]


def view(values: Values, name: str) -> list[str]:
    """A view, and perhaps one of it."""
    lines = [f"{name} = {values.rng.choice(VIEWS).replace('{}', values.pick())}"]
    if values.rng.random() < 0.4:
        lines.append(f"{name} = {name}[{values.rng.choice(INDEX)}]")
    return lines


def index(values: Values, name: str) -> list[str]:
    """A part."""
    rng = values.rng
    x = values.pick()
    if rng.random() < 0.2:
        i = values.pick(lambda v: v.dtype.is_floating_point is False)
        how = ["tg.gather({0}, 0, {1}.long().abs() % {0}.shape[0])", "{0}[{1}.long().abs() % {0}.shape[0]]",
               "tg.take({0}, {1}.long().abs() % {0}.numel())", "{0}.index_select(0, {1}.flatten().long().abs() % {0}.shape[0])",
               "{0}[:3][{0}[:3] == {0}[:3]]"]  # fmt: skip
        return [f"{name} = {rng.choice(how).format(x, i)}"]
    return [f"{name} = {x}[{rng.choice(INDEX)}]"]


def product(values: Values, name: str) -> list[str]:
    """A product of matrices."""
    x = values.pick(lambda v: v.ndim >= 2 and is_float(v) and v.numel() < 1000)
    return [f"{name} = {_filled(values, values.rng.choice(PRODUCTS), x)}"]


def many(values: Values, name: str) -> list[str]:
    """Several values in one."""
    return [f"{name} = {_filled(values, values.rng.choice(MANY))}"]


def write(values: Values, name: str) -> list[str]:
    """Writes into a temporary, with a view of it that is taken before and used behind."""
    rng = values.rng
    x = values.pick(is_float)
    lines = [f"{name} = {x}.clone()" if rng.random() < 0.7 else f"{name} = tg.zeros_like({x})"]
    watch = rng.random() < 0.4
    if watch:
        lines.append(f"{name}v = {name}[{rng.choice(INDEX[:8])}]")
    for _ in range(rng.randint(1, 3)):
        other = rng.choice([values.pick(), x, "0.7", f"{x}.sin()"])
        lines.append(rng.choice(WRITES).format(name, rng.choice(INDEX[:14]), other))
    if watch:
        lines.append(f"{name} = {name} * 1.5 + {name}v.sum()")
    return lines


def branch(values: Values, name: str) -> list[str]:
    """A branch on a value, or a loop whose length depends on one."""
    rng = values.rng
    x, y = values.pick(is_float), values.pick()
    test = rng.choice(["{}.sum() > 0.1", "{}.flatten()[0] < 0", "bool(({} > 0).any())", "int({}.abs().sum() * 3) % 2 == 0",
                       "{}.mean().item() > 0", "({} < 0).sum() > 1", "float({}.amax()) > 0.5", "tg.isnan({}).any()"])  # fmt: skip
    what = rng.random()
    if what < 0.6:
        lines = [f"if {test.format(y)}:", f"    {name} = {x} * 2", "else:"]
        lines.append(
            f"    {name} = {rng.choice(['tg.sin({})', '{} - 1', '-{}', '{}.clone()']).format(x)}"
        )
        return lines
    if what < 0.8:
        return [f"{name} = {x} * 1.0", f"for i in range(int(({y} > 0).sum()) % 9):", f"    {name} = tg.tanh({name} + 0.3 * i) * {x}"]  # fmt: skip
    return [f"{name}, i = {x} * 0.5, 0", f"while ({name} * {name}).sum() > 0.3 and i < 20:", f"    {name}, i = {name} * 0.6, i + 1"]  # fmt: skip


# ------------------------------------------------------------------ loops
def expression(rng: random.Random, atoms: Sequence[str], depth: int) -> str:
    """A random expression of bounded values."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(atoms)
    a = expression(rng, atoms, depth - 1)
    if rng.random() < 0.4:
        one = ["tg.tanh({})", "tg.sin({})", "-{}", "0.5 * {}", "({} + 1)", "tg.exp(-({}) ** 2)", "({}).abs()", "1 / (2 + ({}) ** 2)", "({} - 0.0)",
               "tg.where({} > 0, 0.4, -0.3)", "{} * {k}"]  # fmt: skip
        return (
            rng.choice(one).replace("{k}", rng.choice(["0.25", "1.0", "k", "2"])).replace("{}", a)
        )
    b = expression(rng, atoms, depth - 1)
    two = [
        "({} + {})",
        "({} - {})",
        "({} * {})",
        "{} / (2 + tg.cos({}))",
        "tg.maximum(tg.as_tensor({}), tg.as_tensor({}))",
        "({} * 0.3 + {})",
    ]
    return rng.choice(two).format(a, b)


def loop(values: Values, name: str) -> list[str]:
    """A loop over elements, rows, carried values or lists of them."""
    rng = values.rng
    x = values.pick(lambda v: v.ndim >= 1 and is_float(v) and v.shape[0] > 1)
    y = values.pick(lambda v: v.ndim >= 1 and is_float(v) and v.shape[0] > 1)
    z = values.pick(is_float)
    n = f"min({x}.shape[0], {y}.shape[0], {rng.choice([5, 17, 30, 60])})"
    times = rng.choice([5, 6, 6, 9, 9, 13, 13, 30, 60])
    return rng.choice(LOOPS)(rng, name, x, y, z, n, times)


def _bound(rng: random.Random, name: str) -> str:
    return rng.choice(["tg.tanh({})", "0.5 * tg.sin({})", "({}).clamp(-2, 2)", "({}) / (1 + ({}).abs())"]).replace("{}", name)  # fmt: skip


def carried(rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int) -> list[str]:
    """Arrays that are carried."""
    atoms = ["a", "b", x, z, "0.1 * i", "k", "a"]
    lines = [f"a, b, k = {x} * 0.5, {rng.choice([x, z])} * 0.3, 0.7", f"for i in range({times}):"]
    if rng.random() < 0.4:
        lines.append(f"    if i {rng.choice(['== 0', '< 3', '% 2 == 0', f'== {times - 1}'])}:")
        lines.append(f"        b = b {rng.choice(['+ 0.5', '* a', '- ' + z])}")
    lines.append(f"    {rng.choice(['a', 'a, b', 'b, a', 'b'])} = ".replace("a, b = ", "a, b = b * 0.7, ").replace("b, a = ", "b, a = a, ") + _bound(rng, expression(rng, atoms, 3)))  # fmt: skip
    if rng.random() < 0.3:
        lines.append(
            f"    k = {rng.choice(['k * 0.9', '0.3 + 0.01 * i', '1 - k', '(a * 0.1).sum()'])}"
        )
    if rng.random() < 0.2:
        lines.append(
            "    a[..., 0] = b.sum()" if rng.random() < 0.5 else "    a = a.clone(); a *= 0.9"
        )
    return [*lines, f"{name} = {rng.choice(['a', 'a + b', 'a * 2 - b', 'b', 'a.sum()'])}"]


def elements(
    rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int
) -> list[str]:
    """Elements of arrays, that move with the repetition."""
    atoms = [f"{x}[i]", f"{y}[n - 1 - i]", f"{y}[i]", f"{x}[i // 2]", f"{x}[n - 1 - i]", "s", "p", "0.1 * i", "k", f"{x}[-1 - i]", f"{y}[(i * 3) % n]", f"{x}[i - 1]", f"{x}[0]"]  # fmt: skip
    step = rng.choice(["range(n)", "range(n)", "range(0, n, 2)", "range(n - 1)", "range(1, n)", "reversed(range(n))", "range(n - 1, -1, -2)"])  # fmt: skip
    lines = [f"n, s, p, k = {n}, {x}[0] * 0, {y}[0], 0.5", "out = []", f"for i in {step}:"]
    if rng.random() < 0.3:
        lines.append("    if i == 0:")
        lines.append("        p = p * 2")
    lines.append(f"    t = {expression(rng, atoms, rng.choice([2, 3]))}")
    lines.append(
        f"    {rng.choice(['s = s + t', 's = s + t * t', 's = tg.tanh(s + t)', 'p, s = s, t * 0.9 + p * 0.1', 's = t', 'p = t'])}"
    )
    if rng.random() < 0.6:
        lines.append(f"    out.append({rng.choice(['t', 's', 'p', 't + s', 's * p'])})")
    lines.append(
        f"{name} = s + p * 0.5 + (tg.stack([tg.as_tensor(q).sum() for q in out]) if out else 0.0)"
    )
    return lines


def lists(rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int) -> list[str]:
    """Lists of carried values, of which each repetition makes new ones."""
    atoms = [
        "L[j]",
        "L[(j + 1) % m]",
        "L[j - 1]",
        "L[m - 1 - j]",
        f"{y}[j]",
        "0.1 * j",
        "0.01 * i",
        "k",
        "M[j]",
    ]
    lines = [f"m, k = min({n}, 6), 0.4", f"L = [{x}[j] * 1.0 for j in range(m)]", "M = list(L)", f"for i in range({times}):"]  # fmt: skip
    body = _bound(rng, expression(rng, atoms, rng.choice([2, 3])))
    lines.append(f"    N = [{body} for j in range({rng.choice(['m', 'm', 'm', '0, m, 2'])})]")
    lines.append(
        rng.choice(
            [
                "    L = N + L[len(N):]",
                "    M, L = L, N + L[len(N):]",
                "    L = L[1:] + L[:1]; L[0] = N[-1]",
            ]
        )
    )
    if rng.random() < 0.3:
        lines.append("    M[i % m] = L[0] * L[-1]")
    return [
        *lines,
        f"{name} = {rng.choice(['tg.stack(L)', 'sum(L)', 'tg.stack(L + M).sum(0)', 'L[0] * L[-1] + M[0]'])}",
    ]


def two(rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int) -> list[str]:
    """Two loops, of which the second uses what the first has computed on the way."""
    lines = [
        f"n, s, k = {n}, {rng.choice([x + '[0]', z])} * 0.5, 0.3",
        "out = []",
        "for i in range(n):",
    ]
    lines.append(
        f"    s = {_bound(rng, expression(rng, ['s', f'{x}[i]', f'{y}[i]', 'k', '0.1 * i'], 2))}"
    )
    lines.append(f"    out.append({rng.choice(['s', 's * s', f's + {x}[i]'])})")
    lines.append(f"r = {rng.choice(['s', 's * 0', z])}")
    lines.append(
        f"for i in {rng.choice(['range(n)', 'reversed(range(n))', 'range(1, n)', 'range(0, n, 2)', 'range(n - 1)'])}:"
    )
    atoms = ["out[i]", "out[n - 1 - i]", "r", f"{x}[i]", "out[i - 1]", "k", "s", "out[0]"]
    lines.append(f"    r = {_bound(rng, expression(rng, atoms, rng.choice([2, 3])))}")
    return [
        *lines,
        f"{name} = {rng.choice(['r', 'r + s', 'r * out[-1]', 'r + sum(tg.as_tensor(q).sum() for q in out)'])}",
    ]


def nested(rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int) -> list[str]:
    """A loop in a loop, perhaps of a length that changes."""
    inner = rng.choice(["range(n)", "range(i)", "range(i + 1, n)", "range(3)", "range(n - 1)"])
    atoms = [
        f"{x}[i]",
        f"{y}[j]",
        f"{x}[j]",
        "s",
        "p",
        "0.1 * i",
        "0.01 * j",
        f"{y}[n - 1 - j]",
        f"{x}[(i + j) % n]",
        "k",
    ]
    lines = [f"n, s, p, k = min({n}, 9), {x}[0] * 0.1, {y}[0] * 0.2, 0.6", "for i in range(n):"]
    if rng.random() < 0.5:
        lines.append(f"    p = {_bound(rng, expression(rng, ['p', 's', f'{x}[i]'], 2))}")
    lines += [
        f"    for j in {inner}:",
        f"        s = {_bound(rng, expression(rng, atoms, rng.choice([2, 3])))}",
    ]
    if rng.random() < 0.4:
        lines.append(f"    p = {rng.choice(['p + s', 's', 's * 0.5 - p'])}")
    return [*lines, f"{name} = s + p"]


def written(rng: random.Random, name: str, x: str, y: str, z: str, n: str, times: int) -> list[str]:
    """A temporary that is written element by element, and read."""
    atoms = ["t[i - 1]", f"{x}[i]", f"{y}[n - 1 - i]", "0.1 * i", "t[i]", "t[0]", "t[i // 2]", "k"]
    make = rng.choice([f"{x}[:n].clone()", f"tg.zeros_like({x}[:n])", f"{x}[:n] * 0.5"])
    lines = [f"n, k = {n}, 0.8", f"t = {make}", f"for i in {rng.choice(['range(n)', 'range(1, n)', 'range(0, n, 2)', 'reversed(range(n))'])}:"]  # fmt: skip
    body = _bound(rng, expression(rng, atoms, 2))
    lines.append(rng.choice(["    t[i] = {}", "    t[i] += {}", "    t[n - 1 - i] = {}", "    t = t + {}", "    t[:i] *= {}", "    t[i] = t[i - 1] * 0.5 + {}"]).format(body))  # fmt: skip
    if rng.random() < 0.3:
        lines.append("    t.mul_(0.9)")
    return [*lines, f"{name} = {rng.choice(['t', 't.cumsum(0)', 't * 2', 't[1:] - t[:-1]'])}"]


LOOPS = (carried, elements, elements, lists, two, nested, written)
KINDS = (
    unary,
    chain,
    binary,
    binary,
    reduction,
    reduction,
    along,
    view,
    index,
    product,
    many,
    write,
    write,
)


def block(values: Values, name: str, loops: bool, branches: bool) -> list[str]:
    """Draw lines that define a name."""
    what = values.rng.random()
    if loops and what < 0.25:
        return loop(values, name)
    if branches and what < 0.32:
        return branch(values, name)
    return values.rng.choice(KINDS)(values, name)
