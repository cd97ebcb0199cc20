"""The translator of native code: Python's text over addresses as LLVM code.

A function is numbers, pointers, loops and calls of other such functions: no objects, no exceptions. It is
written once for the kinds of its operands, whatever calls it: all of native code takes 0.7 s here, where
numba's inference of types took 40 s, and LLVM has less to remove. Kinds of variables come from what is
assigned to them; where a later assignment has a wider one, the function is written again. A variable is read
only where each way has assigned it. A shift by a known count is checked; one by a variable is LLVM's: right
for 0 to 63 bits, any number for other counts (Python refuses those below 0, and has integers without end).

Start reading at `Translator.entry`, then `_Body` and expressions.py.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from llvmlite import ir

from .expressions import Expressions, TranslationError
from .kinds import F64, INT, NOTHING, Kind, MismatchError, Value, common
from .words import helper

__all__ = ["TranslationError", "Translator", "called"]

#: what text that is no native code raises
_ERRORS = MismatchError, TypeError, AttributeError, ValueError, LookupError, ArithmeticError
_KINDS = {"int64": INT, "float64": F64, "void": NOTHING}


class _Again(Exception):
    """Raised where what is known by now changes code that is written."""


class _Variable(NamedTuple):
    kind: Kind
    place: Any


class _Kept(NamedTuple):
    """Facts about the variables of a function: their kinds, and those that are computed integers."""

    kinds: dict[str, Kind]
    computed: set[str]


class _Loop(NamedTuple):
    """A loop that is being written: blocks that go on and end it, and what is assigned at each break."""

    again: Any
    end: Any
    at_breaks: list[set[str]]


class _Function(NamedTuple):
    value: Any
    result: Kind


class Translator:
    """Writes native functions into a module.

    Parameters
    ----------
    module : llvmlite.ir.Module
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._functions: dict[Any, _Function] = {}

    def entry(self, function: Callable[..., Any] | helper, signature: str, symbol: str) -> None:
        """Write a function that is called by its address.

        Parameters
        ----------
        function : callable
        signature : str
            ``"int64(int64, float64)"``.
        symbol : str

        Raises
        ------
        TranslationError
            If its text is no native code.
        """
        result, operands = signature.rstrip(")").split("(")
        kinds = [_KINDS[name.strip()] for name in operands.split(",") if name.strip()]
        kind = ir.FunctionType(_KINDS[result].type, [k.type for k in kinds])
        outer = ir.Function(self.module, kind, symbol)
        outer.attributes.add("nounwind")
        builder = ir.IRBuilder(outer.append_basic_block("start"))
        inside = function if isinstance(function, helper) else helper(function)
        values = [Value(k, v) for k, v in zip(kinds, outer.args, strict=True)]
        if _KINDS[result] == NOTHING:
            self.call(builder, inside, values)
            builder.ret_void()
        else:
            x = self.number(builder, inside, values)
            builder.ret(
                Expressions(inside.function, self.call, builder).converted(x, _KINDS[result])
            )

    def number(self, builder: Any, function: helper, values: Sequence[Value]) -> Value:
        """Write a call of a function for its result.

        Raises
        ------
        TranslationError
            If it returns nothing.
        """
        x = self.call(builder, function, values)
        if x is None:
            raise TranslationError(f"{function.name} returns nothing")
        return x

    def call(self, builder: Any, function: helper, values: Sequence[Value]) -> Value | None:
        """Write a call of a function, and the function if it is not there yet."""
        key = function.function, tuple(x.kind.name for x in values)
        known = self._functions.get(key) or self._written(key, function, [x.kind for x in values])
        result = builder.call(known.value, [x.value for x in values])
        return None if known.result == NOTHING else Value(known.result, result)

    def _written(self, key: Any, function: helper, kinds: Sequence[Kind]) -> _Function:
        kept = _Kept({}, set())
        tree = _parsed(function.function)
        # The first guess, for a function that calls itself.
        returns = any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(tree))
        result, guessed = INT if returns else NOTHING, returns
        while True:
            before = {*self._functions}
            name = self.module.get_unique_name(f"{function.function.__module__}.{function.name}")
            kind = ir.FunctionType(result.type, [k.type for k in kinds])
            value = ir.Function(self.module, kind, name)
            value.linkage = "internal"
            value.attributes.add("nounwind")
            if function.inlined:
                value.attributes.add("alwaysinline")
            known = self._functions[key] = _Function(value, result)
            body = _Body(function.function, self.call, kept, known, guessed)
            try:
                body.write(kinds)
                return known
            except _Again:
                if body.result != result:  # what was made of the guess is wrong, too
                    kept = _Kept({}, set())
                result, guessed = body.result, body.guessed
                for other in {*self._functions} - before | {key}:  # some of which call this one
                    del self.module.globals[self._functions.pop(other).value.name]


#: translators of modules that other code is written into, too
_TRANSLATORS: WeakKeyDictionary[Any, Translator] = WeakKeyDictionary()


def called(builder: Any, function: helper, values: Sequence[Any]) -> Any:
    """Write a call of a function of float64s and int64s where other code is written; its LLVM value."""
    translator = _TRANSLATORS.setdefault(builder.module, Translator(builder.module))
    kinds = {F64.type: F64, INT.type: INT}
    return translator.number(builder, function, [Value(kinds[x.type], x) for x in values]).value


class _Body(Expressions):
    """Writes the text of a function.

    Parameters
    ----------
    function : callable
    call : callable
        As in `Expressions`.
    kept : _Kept
        Grows.
    target : _Function
    guessed : bool
        True where the kind of its result is not known yet.
    """

    def __init__(
        self, function: Callable[..., Any], call: Any, kept: _Kept, target: _Function, guessed: bool
    ) -> None:
        super().__init__(function, call, ir.IRBuilder(target.value.append_basic_block("start")))
        self._function, self._kept, self._target = function, kept, target
        self.result, self.guessed = target.result, guessed
        self._loops: list[_Loop] = []

    def write(self, kinds: Sequence[Kind]) -> None:
        """Write the function for operands of some kinds."""
        tree: Any = _parsed(self._function).body[0]
        for argument, kind, x in zip(tree.args.args, kinds, self._target.value.args, strict=True):
            self._assign_name(argument.arg, Value(kind, x))
        self._statements(tree.body)
        if not self.builder.block.is_terminated:
            if self.result == NOTHING:
                self.builder.ret_void()
            elif _is_reached(self._target.value, self.builder.block):
                raise self._error(tree.end_lineno, "returns nothing at the end, a number elsewhere")
            else:
                self.builder.unreachable()

    def _statements(self, nodes: Sequence[ast.stmt]) -> None:
        for node in nodes:
            if self.builder.block.is_terminated:
                return
            try:
                write = getattr(self, f"_write_{type(node).__name__.lower()}", None)
                if write is None or (isinstance(node, ast.For | ast.While) and node.orelse):
                    raise MismatchError(f"native code has no such {type(node).__name__}")
                write(node)
            except _ERRORS as error:
                raise self._error(node.lineno, error) from error

    def _error(self, line: int, reason: object) -> TranslationError:
        code = self._function.__code__
        return TranslationError(f"{code.co_filename}:{code.co_firstlineno + line - 1}: {reason}")

    # ------------------------------------------------------------------ assignments
    def _write_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.expression(node.value)

    def _write_pass(self, node: ast.Pass) -> None:
        pass

    def _write_assign(self, node: ast.Assign) -> None:
        x = self.expression(node.value)
        for target in node.targets:
            self._assign(target, x)

    def _write_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, self.expression(node.value))

    def _write_augassign(self, node: ast.AugAssign) -> None:
        target = node.target
        if isinstance(target, ast.Subscript):
            base, index = self.expression(target.value), self.expression(target.slice)
            place = self.place(base, index)
            x = self.load(base.kind, place)
            self.store(
                base.kind, place, self.operation(type(node.op), x, self.expression(node.value))
            )
            return
        if not isinstance(target, ast.Name):
            raise MismatchError(f"nothing is assigned to {type(target).__name__}")
        x = self.expression(ast.Name(target.id, ast.Load()))
        self._assign_name(target.id, self.operation(type(node.op), x, self.expression(node.value)))

    def _assign(self, target: ast.expr, x: Any) -> None:
        if isinstance(target, ast.Name):
            self._assign_name(target.id, x)
        elif isinstance(target, ast.Tuple):
            for each, part in zip(target.elts, self.parts(x), strict=True):
                self._assign(each, part)
        elif isinstance(target, ast.Subscript):
            base, index = self.expression(target.value), self.expression(target.slice)
            self.store(base.kind, self.place(base, index), x)
        else:
            raise MismatchError(f"nothing is assigned to {type(target).__name__}")

    def _assign_name(self, name: str, x: Any) -> None:
        value = self.value(x)
        kind = self._kept.kinds.setdefault(name, value.kind)
        both = common([kind, value.kind])
        if value.kind == INT and isinstance(x, Value):
            self._kept.computed.add(name)
        if both == F64 and name in self._kept.computed:  # which has not all integers
            raise MismatchError(f"{name} is an integer, and a float elsewhere")
        if both != kind:
            self._kept.kinds[name] = both
            raise _Again
        if name not in self.variables:
            with self.builder.goto_entry_block():
                self.variables[name] = _Variable(kind, self.builder.alloca(kind.type, name=name))
        self.builder.store(self.converted(value, kind), self.variables[name].place)
        self.assigned.add(name)

    def _meet(self, ways: Sequence[set[str]]) -> None:
        """Go on where some ways meet, each with the variables that it has assigned; all on none."""
        self.assigned = {*self.locals}.intersection(*ways)

    # ------------------------------------------------------------------ control
    def _write_return(self, node: ast.Return) -> None:
        if node.value is None:
            if self.result != NOTHING:
                raise MismatchError("returns nothing here, and a number elsewhere")
            self.builder.ret_void()
            return
        x = self.value(self.expression(node.value))
        kind = x.kind if self.guessed else common([self.result, x.kind])
        self.guessed = False
        if kind != self.result:
            self.result = kind
            raise _Again
        self.builder.ret(self.converted(x, kind))

    def _write_if(self, node: ast.If) -> None:
        known = self._known(node.test)
        if known is not None:
            self._statements(node.body if known else node.orelse)
            return
        builder = self.builder
        yes, end = builder.append_basic_block("if"), builder.append_basic_block("endif")
        no = builder.append_basic_block("else") if node.orelse else end
        self.branch(node.test, yes, no)
        before, ways = {*self.assigned}, []
        for block, statements in ((yes, node.body), (no, node.orelse)):
            self.assigned = {*before}
            if block is not end:
                builder.position_at_end(block)
                self._statements(statements)
            if block is end or not builder.block.is_terminated:
                ways.append(self.assigned)
                self._go(end)
        builder.position_at_end(end)
        self._meet(ways)

    def _known(self, node: ast.expr) -> bool | None:
        """Truth of a condition that is known, which has no code."""
        if not {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & set(
            self.variables
        ) and not any(isinstance(n, ast.Call) for n in ast.walk(node)):
            x = self.expression(node)
            return None if isinstance(x, Value) else bool(x)
        return None

    def _go(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _write_while(self, node: ast.While) -> None:
        builder = self.builder
        test, body, end = map(builder.append_basic_block, ("while", "loop", "endwhile"))
        builder.branch(test)
        builder.position_at_end(test)
        known = self._known(node.test)
        if known is None:
            self.branch(node.test, body, end)
        else:
            builder.branch(body if known else end)
        before = {*self.assigned}
        at_breaks = self._loop(body, test, end, node.body)
        self._meet(at_breaks if known else [before])  # a break comes after more assignments

    def _loop(
        self, body: Any, again: Any, end: Any, statements: Sequence[ast.stmt]
    ) -> list[set[str]]:
        """Write the body of a loop; the variables that are assigned at each break."""
        self.builder.position_at_end(body)
        loop = _Loop(again, end, [])
        self._loops.append(loop)
        self._statements(statements)
        self._loops.pop()
        self._go(again)
        self.builder.position_at_end(end)
        return loop.at_breaks

    def _write_break(self, node: ast.Break) -> None:
        self._loops[-1].at_breaks.append({*self.assigned})
        self.builder.branch(self._loops[-1].end)

    def _write_continue(self, node: ast.Continue) -> None:
        self.builder.branch(self._loops[-1].again)

    def _write_for(self, node: ast.For) -> None:
        """``for i in range(...)``."""
        call = node.iter
        if not (isinstance(call, ast.Call) and self.expression(call.func) is range):
            raise MismatchError("native code loops over range")
        values = [self.expression(x) for x in call.args]
        step = values.pop() if len(values) == 3 else 1
        start, stop = values if len(values) == 2 else (0, *values)
        builder = self.builder
        last = self.converted(stop, INT)
        with builder.goto_entry_block():
            place = builder.alloca(INT.type, name="index")
        builder.store(self.converted(start, INT), place)
        test, body, again, end = map(builder.append_basic_block, ("for", "loop", "next", "endfor"))
        builder.branch(test)
        builder.position_at_end(test)
        index = builder.load(place)
        goes_on = builder.icmp_signed("<", index, last)
        if isinstance(step, Value) or step < 0:
            down = builder.icmp_signed("<", self.converted(step, INT), ir.Constant(INT.type, 0))
            goes_on = builder.select(down, builder.icmp_signed(">", index, last), goes_on)
        builder.cbranch(goes_on, body, end)
        builder.position_at_end(body)
        before = {*self.assigned}
        self._assign(node.target, Value(INT, index))
        self._loop(body, again, end, node.body)
        self._meet([before])
        builder.position_at_end(again)
        builder.store(builder.add(builder.load(place), self.converted(step, INT)), place)
        builder.branch(test)
        builder.position_at_end(end)


def _is_reached(function: Any, block: Any) -> bool:
    """Return True if there is a way from the start of a function to a block."""
    reached = [function.entry_basic_block]
    for each in reached:  # grows on the way
        if each.terminator is not None:
            blocks = [x for x in each.terminator.operands if isinstance(x, ir.Block)]
            reached += [x for x in dict.fromkeys(blocks) if x not in reached]
    return block in reached


_trees: dict[Any, ast.Module] = {}


def _parsed(function: Callable[..., Any]) -> ast.Module:
    """The text of a function.

    Raises
    ------
    TranslationError
        If that is no ``def``, or takes operands other than by position.
    """
    code = function.__code__
    if code not in _trees:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        written, place = tree.body[0], f"{code.co_filename}:{code.co_firstlineno}"
        if not isinstance(written, ast.FunctionDef):
            raise TranslationError(f"{place}: native code is written with def")
        names = tuple(x.arg for x in written.args.args)
        known = code.co_name, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if (written.name, names) != known or written.args.vararg or written.args.kwarg:
            raise TranslationError(f"{place}: {code.co_name} takes other operands than by position")
        _trees[code] = tree
    return _trees[code]
