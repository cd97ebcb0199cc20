"""Write `src/tapegrad/functions/help.txt`: help texts of ops, and examples of all registered functions.

`nn/help.txt` has those of `tapegrad.nn`, by the calls of `nn_example_calls.txt`.

`python tools/make_help.py` runs the calls of `example_calls.txt` and writes what they print. The text of
an op's function has its formula, its derivative (which is read off the row's rule, by calling it with
symbols), its domain and what it does to dtypes. `tests/test_help.py` makes it all again and compares.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import tapegrad as tg
from tapegrad.base.dtypes import float64
from tapegrad.functions import registry
from tapegrad.functions.help_texts import HELP, SEPARATOR
from tapegrad.ops.table import TABLE, Op
from tapegrad.tensors import operators, plain_calls
from tapegrad.tensors.autograd_methods import AutogradMethods

#: definitions of the variables of examples
VARIABLES = {
    "a": "tg.tensor([1.0, 2.0], requires_grad=True)",
    "b": "tg.tensor([True, False, True])",
    "c": "tg.arange(8.0).reshape(2, 2, 2)",
    "d": "tg.tensor([-1.5, 0.25, 2.75])",
    "i": "tg.tensor([2, 0])",
    "j": "tg.tensor([1 + 2j, 3 - 1j])",
    "k": "tg.tensor([1, 2, 3])",
    "l": "tg.tensor([3, 2, 1])",
    "m": "tg.tensor([[1.0, 2.0], [3.0, 4.0]])",
    "q": "tg.tensor([-0.5, 0.0, 0.5])",
    "u": "tg.tensor([1.5, 2.0, 3.0])",
    "v": "tg.tensor([1.0, 2.0])",
    "w": "tg.tensor([[0.0, 1.0], [1.0, 0.0]])",
    "x": "tg.tensor([0.5, 1.0, 2.0])",
    "y": "tg.tensor([3.0, 1.0, 2.0])",
    "z": "tg.tensor([0.5, tg.nan, tg.inf])",
}
#: domain of a row -> its words (none where every number will do), and the variable of an example
DOMAINS = {
    "positive": ("input > 0", "x"), "nonzero": ("", "x"), "above_minus_one": ("input > -1", "x"),
    "unit": ("-1 < input < 1", "q"), "above_one": ("input > 1", "u"),
    "probability": ("0 < input < 1", "x / 4"),
}  # fmt: skip
#: domains that differ from what the tests draw from
WORDS = {
    "acos": "-1 <= input <= 1", "acosh": "input >= 1", "asin": "-1 <= input <= 1", "div": "other != 0",
    "reciprocal": "input != 0", "sqrt": "input >= 0", "tan": "input is no odd multiple of pi / 2",
    "special_entr": "input >= 0", "special_zeta": "input > 1, other > 0",
    "special_xlog1py": "other > -1, or input == 0", "igamma": "input > 0, other >= 0",
    "igammac": "input > 0, other >= 0", "special_rel_entr": "input >= 0, other > 0",
    "special_kl_div": "input >= 0, other > 0", "special_yv": "other > 0", "special_kv": "other > 0",
    "special_kve": "other > 0", "special_jv": "other >= 0, or a whole order",
    "special_iv": "other >= 0, or a whole order", "special_ive": "other >= 0, or a whole order",
    "lgamma": "all numbers but 0, -1, -2 and so on", "digamma": "all numbers but 0, -1, -2 and so on",
    "special_gamma": "all numbers but 0, -1, -2 and so on",
    "xlogy": "other > 0, or input == 0", "pow": "input > 0, or a whole exponent",
}  # fmt: skip
FORMULAS = {
    "abs": "|input|", "acos": "the angle in [0, pi] whose cosine is input",
    "acosh": "log(input + sqrt(input**2 - 1))", "add": "input + other",
    "asin": "the angle in [-pi/2, pi/2] whose sine is input", "asinh": "log(input + sqrt(input**2 + 1))",
    "atan": "the angle in (-pi/2, pi/2) whose tangent is input",
    "atan2": "the angle of the point (other, input), in [-pi, pi]",
    "atanh": "log((1 + input) / (1 - input)) / 2", "bitwise_and": "input & other",
    "bitwise_not": "~input", "bitwise_or": "input | other", "bitwise_xor": "input ^ other",
    "bitwise_left_shift": "input << other", "bitwise_right_shift": "input >> other",
    "nextafter": "the number after input on the way to other",
    "ceil": "the least integer >= input", "clamp_max": "the lesser of input and max",
    "clamp_min": "the greater of input and min", "clone": "a copy of input",
    "copysign": "|input| with the sign of other", "cos": "the cosine of input",
    "cosh": "(e**input + e**-input) / 2", "deg2rad": "input * pi / 180", "div": "input / other",
    "elu": "input where it is positive, else alpha * (e**input - 1)", "eq": "input == other",
    "erf": "the integral of 2 / sqrt(pi) * e**(-t**2) from 0 to input", "erfc": "1 - erf(input)",
    "exp": "e**input", "exp2": "2**input", "expm1": "e**input - 1, precise near 0",
    "floor": "the greatest integer <= input", "floor_divide": "floor(input / other)",
    "fmax": "the greater of input and other, or the one that is not NaN",
    "fmin": "the lesser of input and other, or the one that is not NaN",
    "fmod": "input - other * trunc(input / other)", "frac": "input - trunc(input)", "ge": "input >= other",
    "gelu": "input * Phi(input), Phi being the standard normal distribution function",
    "gt": "input > other", "heaviside": "0 where input < 0, 1 where input > 0, else values",
    "hypot": "sqrt(input**2 + other**2)", "isfinite": "input is neither infinite nor NaN",
    "isinf": "input is infinite", "isnan": "input is NaN", "le": "input <= other",
    "leaky_relu": "input where it is positive, else negative_slope * input",
    "log": "the natural logarithm of input",
    "log10": "log(input) / log(10)", "log1p": "log(1 + input), precise near 0", "log2": "log(input) / log(2)",
    "logaddexp": "log(e**input + e**other)", "logaddexp2": "log2(2**input + 2**other)",
    "logical_and": "input and other", "logical_not": "not input", "logical_or": "input or other",
    "logical_xor": "one of input and other, not both", "logit": "log(input / (1 - input))",
    "logsigmoid": "-log(1 + e**-input)", "lt": "input < other", "matmul": "the matrix product input @ other",
    "maximum": "the greater of input and other", "mean": "the sum of the elements, divided by their number",
    "minimum": "the lesser of input and other", "mul": "input * other", "ne": "input != other",
    "neg": "-input", "pow": "input**exponent", "rad2deg": "input * 180 / pi", "reciprocal": "1 / input",
    "relu": "max(input, 0)", "remainder": "input - other * floor(input / other)",
    "round": "the nearest integer, the even one of two", "rsqrt": "1 / sqrt(input)", "rsub": "other - input",
    "sgn": "-1, 0 or 1", "sigmoid": "1 / (1 + e**-input)", "sign": "-1, 0 or 1",
    "silu": "input * sigmoid(input)", "sin": "the sine of input",
    "sinc": "sin(pi * input) / (pi * input), 1 at 0",
    "sinh": "(e**input - e**-input) / 2", "softplus": "log(1 + e**(beta * input)) / beta",
    "sqrt": "the square root of input", "square": "input**2", "sub": "input - other",
    "sum": "the sum of all elements",
    "tan": "sin(input) / cos(input)", "tanh": "sinh(input) / cosh(input)",
    "trunc": "the integer part of input", "xlogy": "input * log(other), 0 where input is 0",
}  # fmt: skip
FORMULAS |= {
    "lgamma": "the logarithm of |gamma(input)|",
    "digamma": "the derivative of lgamma(input)",
    "erfinv": "the number whose erf is input",
    "i0": "the modified Bessel function of the first kind of order 0",
    "igamma": "the regularised lower incomplete gamma function P(input, other)",
    "igammac": "the regularised upper incomplete gamma function 1 - igamma(input, other)",
    "special_gamma": "the gamma function",
    "special_gammasgn": "the sign of the gamma function",
    "special_rgamma": "1 / gamma(input), 0 at 0, -1, -2 and so on",
    "special_beta": "gamma(input) * gamma(other) / gamma(input + other)",
    "special_betaln": "log(|beta(input, other)|)",
    "special_zeta": "the Hurwitz zeta function, the sum of (other + k)**-input over k = 0, 1, 2 and so on",
    "special_erfcinv": "the number whose erfc is input",
    "special_erfcx": "e**(input**2) * erfc(input)",
    "special_erfi": "-i * erf(i * input)",
    "special_dawsn": "Dawson's integral sqrt(pi) / 2 * e**(-input**2) * erfi(input)",
    "special_ndtr": "the standard normal distribution function",
    "special_log_ndtr": "log(ndtr(input))",
    "special_ndtri": "the number whose ndtr is input",
    "special_entr": "-input * log(input), 0 at 0, -inf below",
    "special_rel_entr": "input * log(input / other)",
    "special_kl_div": "input * log(input / other) - input + other",
    "special_xlog1py": "input * log(1 + other), 0 where input is 0",
    "special_exp10": "10**input",
    "special_expi": "the exponential integral Ei(input)",
    "special_exp1": "the exponential integral E1(input)",
    "special_jv": "the Bessel function of the first kind of order input at other",
    "special_yv": "the Bessel function of the second kind of order input at other",
    "special_iv": "the modified Bessel function of the first kind of order input at other",
    "special_ive": "e**-|other| * iv(input, other)",
    "special_kv": "the modified Bessel function of the second kind of order input at other",
    "special_kve": "e**other * kv(input, other)",
    "special_bessel_j0": "the Bessel function of the first kind of order 0",
    "special_bessel_j1": "the Bessel function of the first kind of order 1",
    "special_bessel_y0": "the Bessel function of the second kind of order 0",
    "special_bessel_y1": "the Bessel function of the second kind of order 1",
    "special_i0e": "e**-|input| * i0(input)",
    "special_i1": "the modified Bessel function of the first kind of order 1",
    "special_i1e": "e**-|input| * i1(input)",
    "special_modified_bessel_k0": "the modified Bessel function of the second kind of order 0",
    "special_modified_bessel_k1": "the modified Bessel function of the second kind of order 1",
    "special_scaled_modified_bessel_k0": "e**input * modified_bessel_k0(input)",
    "special_scaled_modified_bessel_k1": "e**input * modified_bessel_k1(input)",
}  # fmt: skip
#: derivatives of rows whose rule has cases, by operand
DERIVATIVES = {
    "abs": ("sign(input)",), "add": ("1", "alpha"), "sub": ("1", "-alpha"), "rsub": ("-alpha", "1"),
    "atan2": ("other / (input**2 + other**2)", "-input / (input**2 + other**2)"),
    "clone": ("1",), "copysign": ("sign(input) * sign(other)", "0"),
    "sum": ("1, for each element",), "mean": ("1 / n, for each of n elements",),
    "elu": ("1 where input > 0, else alpha * e**input",), "frac": ("1",), "floor_divide": ("none", "none"),
    "fmod": ("1", "-trunc(input / other)"), "remainder": ("1", "-floor(input / other)"),
    "gelu": ("Phi(input) + input * e**(-input**2 / 2) / sqrt(2 * pi)",),
    "heaviside": ("0", "1 where input == 0, else 0"),
    "hypot": ("input / hypot(input, other)", "other / hypot(input, other)"),
    "leaky_relu": ("1 where input > 0, else negative_slope",), "relu": ("1 where input > 0, else 0",),
    "logit": ("1 / input + 1 / (1 - input)",), "logsigmoid": ("sigmoid(-input)",),
    "maximum": ("1 where input > other, 1/2 where equal, else 0", "the same with input and other exchanged"),
    "minimum": ("1 where input < other, 1/2 where equal, else 0", "the same with input and other exchanged"),
    "fmax": ("1 where input is taken, else 0", "1 where other is taken, else 0"),
    "fmin": ("1 where input is taken, else 0", "1 where other is taken, else 0"),
    "clamp_min": ("1 where input >= min, else 0", "1 where input < min, else 0"),
    "clamp_max": ("1 where input <= max, else 0", "1 where input > max, else 0"),
    "matmul": ("grad @ other.mT", "input.mT @ grad"),
    "pow": ("exponent * input**(exponent - 1)", "input**exponent * log(input)"),
    "silu": ("sigmoid(input) * (1 + input * (1 - sigmoid(input)))",),
    "sinc": ("(cos(pi * input) - sinc(input)) / input, 0 at 0",),
    "square": ("2 * input",), "softplus": ("sigmoid(beta * input)",),
    "xlogy": ("log(other)", "input / other"),
    "igamma": ("none", "other**(input - 1) * e**-other / gamma(input)"),
    "igammac": ("none", "-other**(input - 1) * e**-other / gamma(input)"),
    "special_rgamma": ("-digamma(input) * rgamma(input)",),
    "special_erfcx": ("2 * input * erfcx(input) - 2 / sqrt(pi)",),
    "special_dawsn": ("1 - 2 * input * dawsn(input)",),
    "special_xlog1py": ("log(1 + other)", "input / (1 + other)"),
    "special_bessel_j1": ("bessel_j0(input) - bessel_j1(input) / input",),
    "special_i1": ("i0(input) - i1(input) / input",),
    "special_i1e": ("i0e(input) - i1e(input) / input - sign(input) * i1e(input)",),
}  # fmt: skip
CONSTANTS = {
    math.log(2): "log(2)", math.log(10): "log(10)", math.pi / 180: "pi / 180", 180 / math.pi: "180 / pi",
    math.sqrt(math.pi) / 2: "sqrt(pi) / 2", -math.sqrt(math.pi) / 2: "-sqrt(pi) / 2",
    math.sqrt(2 * math.pi): "sqrt(2 * pi)", 1 / math.sqrt(2 * math.pi): "1 / sqrt(2 * pi)",
    2 / math.sqrt(2 * math.pi): "sqrt(2 / pi)", -math.sqrt(0.5): "-1 / sqrt(2)",
    2 / math.sqrt(math.pi): "2 / sqrt(pi)", -2 / math.sqrt(math.pi): "-2 / sqrt(pi)",
}  # fmt: skip
INDENT = "    "


# --------------------------------------------------------------------------- derivatives as text
class Formula:
    """An expression that a rule makes of symbols; `rank` says how tightly it binds."""

    dtype = float64  # rules have cases for complex numbers

    def __init__(self, text: str, rank: int = 9) -> None:
        self.text, self.rank = text, rank

    def within(self, rank: int) -> str:
        """The text, in parentheses if it binds less tightly than `rank`."""
        return self.text if self.rank >= rank else f"({self.text})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: Formula(
            f"{name}({', '.join(as_formula(a).text for a in (self, *args))})"
        )

    def _zero(self) -> Formula:
        return Formula("0")

    def _number(self, value: float) -> Formula:
        return as_formula(value)

    def _apply(self, name: str, *others: Any, **attributes: Any) -> Formula:
        if name == "missing_derivative":
            return Formula("none")
        operands = [as_formula(x).text for x in (*attributes.values(), self, *others)]
        return Formula(f"{name.removeprefix('special_')}({', '.join(operands)})")

    def __neg__(self) -> Formula:
        return Formula(f"-{self.within(4)}", 2 if self.rank < 9 else 3)


def as_formula(value: Any) -> Formula:
    """Return a number or a formula as a formula."""
    if isinstance(value, Formula):
        return value
    text = CONSTANTS.get(value, repr(value))
    return Formula(text, 2 if " " in text else 9)


def binary(sign: str, rank: int, *, swapped: bool = False) -> Any:
    """Return the method of an operator."""

    def method(self: Formula, other: Any) -> Formula:
        left, right = (as_formula(other), self) if swapped else (self, as_formula(other))
        if sign == "*" and "1" in (left.text, right.text):
            return right if left.text == "1" else left
        if sign == "*" and left.text == "-1":
            return -right
        return Formula(f"{left.within(rank)} {sign} {right.within(rank + 1)}", rank)

    return method


for _name, _sign, _rank in (("add", "+", 1), ("sub", "-", 1), ("mul", "*", 2), ("truediv", "/", 2)):
    setattr(Formula, f"__{_name}__", binary(_sign, _rank))
    setattr(Formula, f"__r{_name}__", binary(_sign, _rank, swapped=True))


def derivatives(entry: Op) -> tuple[str, ...]:
    """Return the derivative with respect to each operand, as text; nothing where there is none."""
    if entry.name in DERIVATIVES:
        return DERIVATIVES[entry.name]
    if entry.vjp is None:
        return ()
    operands = [Formula(name) for name in ("input", "other")[: entry.arity]]
    name = entry.name.removeprefix("special_")
    out = Formula(f"{name}({', '.join(x.text for x in operands)})")
    try:
        returned = entry.vjp(Formula("1"), *operands, out)
    except (AttributeError, TypeError) as error:
        raise KeyError(
            f"DERIVATIVES needs a line for {entry.name}, whose rule has cases"
        ) from error
    cotangents = returned if isinstance(returned, tuple) else (returned,)
    return tuple("0" if c is None else as_formula(c).text for c in cotangents)


# --------------------------------------------------------------------------- examples
def call_table() -> dict[str, str]:
    """Return the lines of `example_calls.txt` by name: arguments, or statements after a ``>``."""
    table = {}
    for line in (Path(__file__).parent / "example_calls.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, mark, rest = re.split(r"([:>])", line, maxsplit=1)
            table[name] = rest.strip() if mark == ":" else "> " + rest.strip()
    return table


CALLS = call_table()


def arguments_of(name: str, functions: dict[str, Any]) -> str | None:
    """Return the line of a name, of the function of an in-place method, or of one of other names."""
    base = name.removesuffix("_")
    for label in (name, base):
        if label in CALLS:
            return CALLS[label]
        raw = inspect.unwrap(functions[label]) if label in functions else None
        same = [n for n, f in functions.items() if n in CALLS and inspect.unwrap(f) is raw]
        if same:
            return CALLS[same[0]]
        entry = next(
            (e for e in TABLE.values() if label in (e.function or e.name, *e.aliases)), None
        )
        if entry is not None and label in operators.FUNCTIONS:
            first = DOMAINS.get(entry.domain, ("", "x"))[1]
            return first if entry.arity == 1 else "x, y"
    return None


def statements(name: str, *, method: bool, entry: Op | None = None) -> list[str]:
    """Return the statements of an example, the last of which prints something.

    `entry` is the row of a function that stands in a module of its own.
    """
    functions = registry.METHODS if method else registry.FUNCTIONS
    arguments = CALLS.get(f"Tensor.{name}") if method else None
    if (
        arguments is None
        and method
        and isinstance(inspect.getattr_static(tg.Tensor, name), property)
    ):
        arguments = CALLS.get(name, f"> x.{name}")
    if entry is not None:
        first = DOMAINS.get(entry.domain, ("", "x"))[1]
        arguments = CALLS.get(name) or (first if entry.arity == 1 else "x, y")
    arguments = arguments or arguments_of(name, functions)
    if arguments is None:
        raise KeyError(f"example_calls.txt has no line for {'Tensor.' * method}{name}")
    if arguments.startswith("> "):
        lines = arguments[2:].split("; ")
    elif method:
        first, rest = split_first(arguments)
        lines = [f"{first}.{name}({rest})"]
    else:
        lines = [f"tg.{name}({arguments})"]
    used = "\n".join(lines)
    defined = {line.partition(" = ")[0] for line in lines if " = " in line}
    needed = [
        f"{v} = {text}" for v, text in VARIABLES.items()
        if v not in defined and re.search(rf"(?<![\w.\"]){v}(?![\w\"=])", used)
    ]  # fmt: skip
    return ["import tapegrad as tg", *needed, *lines]


def split_first(arguments: str) -> tuple[str, str]:
    """Split the first argument off, in parentheses if it is an operation."""
    depth = 0
    for place, letter in enumerate(arguments):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            first, rest = arguments[:place], arguments[place + 2 :]
            break
    else:
        first, rest = arguments, ""
    return (
        first if re.fullmatch(r"[\w.\[\]():, ]+", first) and " " not in first else f"({first})"
    ), rest


def example(lines: list[str]) -> str:
    """Run statements as a console does; return them with what they print."""
    scope: dict[str, Any] = {}
    shown = []
    for line in lines:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(line, "<example>", "single"), scope)
        shown += [f">>> {line}"]
        shown += [text or "<BLANKLINE>" for text in printed.getvalue().splitlines()]
    return "\n".join(shown)


# --------------------------------------------------------------------------- texts
def signature_line(name: str, entry: Op, *, method: bool) -> str:
    """Return the line from which `inspect.signature` reads the parameters of a builtin."""
    table = registry.METHODS if method else registry.FUNCTIONS
    if name in table:
        shown = inspect.signature(table[name])
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in shown.parameters.values()]
        shown = inspect.Signature(
            [p.replace(default=None) if repr(p.default) == "unset" else p for p in plain]
        )
        return f"{name}{shown}\n--\n\n"
    operands = "input" if entry.arity == 1 else "input, other"
    return f"{name}({operands}{'' if method else ', *, out=None'})\n--\n\n"


def module_text(module: str, name: str, entry: Op) -> tuple[str, str]:
    """Return name and text of a row's function that stands in a module of its own."""
    full = f"{module}.{name}"
    head = signature_line(name, entry, method=False) + op_text(
        full, entry, method=False, inside=True
    )
    return (
        f"op {full}",
        f"{head}\n\nExamples\n--------\n{example(statements(full, method=False, entry=entry))}",
    )


def op_text(name: str, entry: Op, *, method: bool, inside: bool = False) -> str:
    """Return the help text of an op's function."""
    declared = registry.FUNCTIONS.get(name)
    shown = inspect.signature(declared).parameters if declared is not None else ("input", "other")
    operands = list(shown)[: entry.arity]
    formula = FORMULAS.get(entry.name, f"{name}({', '.join(operands)})")
    if declared is not None:
        doc = inspect.cleandoc(declared.__doc__ or "").partition("\n\nExamples\n---")[0]
        lines = [doc, "", "Notes", "-----", f"Formula: {formula}.", ""]
    elif formula.startswith(("the ", "a ", "Dawson")):
        lines = [f"Return {formula}.", "", "Notes", "-----"]
    else:
        lines = [f"Return ``{formula}`` of each element.", "", "Notes", "-----"]
    slopes = derivatives(entry)
    if not slopes or set(slopes) == {"none"}:
        lines += ["Derivative: none flows through it."]
    elif set(slopes) == {"0"} or len(slopes) == 1:
        lines += [f"Derivative: {slopes[0]}."]
    else:
        lines += [
            f"Derivative with respect to {p}: {s}." for p, s in zip(operands, slopes, strict=True)
        ]
    words = WORDS.get(entry.name, DOMAINS.get(entry.domain, ("", ""))[0])
    lines += ["", f"Domain: {words or 'all numbers'}."]
    lines += ["", f"Dtypes: {dtypes_of(name, entry if inside else None)}."]
    return "\n".join(lines)


def dtypes_of(name: str, entry: Op | None = None) -> str:
    """Return what a function makes of operands of each dtype."""
    shown = []
    words = statements(name, method=False, entry=entry)
    for kind in ("float64", "float32", "int64", "bool"):
        scope: dict[str, Any] = {"tg": tg}
        call = re.sub(r"tg\.tensor\((.*?)\)", rf"tg.tensor(\1).to(tg.{kind})", words[-1])
        try:
            for line in words[1:-1]:
                variable, _, text = line.partition(" = ")
                scope[variable] = eval(text, scope).to(getattr(tg, kind))
            result = str(eval(call, scope).dtype).removeprefix("torch.")
        except (RuntimeError, TypeError):  # not of this dtype
            continue
        shown.append(f"{kind} -> {result}")
    return ", ".join(shown)


def texts() -> Iterator[tuple[str, str]]:
    """Names of functions and methods (``Tensor.name``), and their texts."""
    seen: set[int] = set()
    for module, functions in operators.MODULES.items():
        for name in sorted(functions):
            yield module_text(module, name, TABLE[f"{module}_{name}"])
    for method in (False, True):
        rows = operators.METHODS if method else operators.FUNCTIONS
        registered = dict(registry.METHODS if method else registry.FUNCTIONS)
        if method:
            registered.update(registry.PROPERTIES)
            registered.update(
                {
                    n: v for kind in (tg.Tensor, AutogradMethods) for n, v in vars(kind).items()
                    if n not in plain_calls.NAMES
                }
            )  # fmt: skip
        functions_of_rows = {e.function for e in TABLE.values()}
        rows_by_name = {n: e for e in TABLE.values() for n in (e.function or e.name, *e.aliases)}
        for name in sorted({*rows, *registered}):
            value = (
                inspect.getattr_static(tg.Tensor, name, None) if method else getattr(tg, name, None)
            )
            if name.startswith("_") or value is None:
                continue
            key = f"Tensor.{name}" if method else name
            entry = rows_by_name.get(name) if name in rows else None
            if name in plain_calls.NAMES and name not in functions_of_rows:
                entry = None  # recorded natively once it was called, but written in Python
            if entry is not None and (entry.function or entry.name) != name:
                continue  # another name of the same builtin
            if entry is not None:
                head = signature_line(name, entry, method=method) + op_text(
                    name, entry, method=method
                )
                yield (
                    f"op {key}",
                    f"{head}\n\nExamples\n--------\n{example(statements(name, method=method))}",
                )
            elif isinstance(registered[name], FunctionType | property):
                if id(registered[name]) in seen:
                    continue  # the same function, under another name
                seen.add(id(registered[name]))
                doc = getattr(registered[name], "__doc__", None) or ""
                if ">>>" in doc and not (key in HELP and doc.endswith(HELP[key])):
                    continue  # an example of its own
                body = f"Examples\n--------\n{example(statements(name, method=method))}"
                yield (
                    key,
                    "\n\n" + "\n".join(INDENT + line if line else "" for line in body.splitlines()),
                )


def help_file() -> str:
    """Return the text of the file."""
    tg.manual_seed(0)
    return "".join(f"{SEPARATOR}{name}\n{text}\n" for name, text in texts())


def nn_help_file() -> str:
    """Return the text of the file of `tapegrad.nn`: examples of its functions and modules."""
    tg.manual_seed(0)
    parts = []
    for line in (Path(__file__).parent / "nn_example_calls.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(">")
            calls = example(["import tapegrad as tg", *(x.strip() for x in rest.split(";"))])
            indented = "".join(f"\n{INDENT}{x}" if x else "\n" for x in calls.splitlines())
            parts.append(f"{SEPARATOR}{name}\n\n\n{INDENT}Examples\n{INDENT}--------{indented}\n")
    return "".join(parts)


def main() -> int:
    """Write the files."""
    (Path(tg.__file__).parent / "functions" / "help.txt").write_text(help_file())
    (Path(tg.__file__).parent / "nn" / "help.txt").write_text(nn_help_file())
    return 0


if __name__ == "__main__":
    sys.exit(main())
