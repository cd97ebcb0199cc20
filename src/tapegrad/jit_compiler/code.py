"""LLVM code of loops.

Each node at the top is a function of the buffers that it uses, which LLVM is told not to overlap; numbers
that pass between loops of one function are variables on the stack, of which LLVM makes registers.
`run(table)` calls them in order. The table has the addresses of the buffers and of what is called, so the
code has none in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import ir

from ..base.dtypes import bool_, dtype
from ..native import abi as nt
from ..native.machine_code import compiled
from ..ops.compiled import OUTSIDE
from .formulas import F32, F64, I1, I8, I64, value_type, write
from .groups import Layout, grouped, local_temporaries
from .loop_code import Edges, alias_scopes, end_of_tiles, keep_scalar, of_unit_matrix
from .loops import (
    WINDOW,
    Access,
    Band,
    Buffer,
    Call,
    Compute,
    Loop,
    Node,
    Number,
    Shared,
    Window,
    accesses,
    computes,
    loops_of,
)

__all__ = ["OUTSIDE", "object_code"]

P8 = I8.as_pointer()


#: of memory that a function has on the stack
LINE = 64


class _Function:
    """The code of one function."""

    def __init__(
        self, module: Any, name: str, nodes: Sequence[Node], layout: Layout, local: set[int],
        around: Sequence[Loop] = (),
    ) -> None:  # fmt: skip
        self.module, self.layout, self.local = module, layout, local
        buffers: dict[int, Buffer] = {}
        for node in nodes:
            for use in accesses(node):
                if id(use.access.buffer) not in local and use.access.buffer.role != WINDOW:
                    buffers[id(use.access.buffer)] = use.access.buffer
        self.buffers = list(buffers.values())
        self.root = nodes[0]
        kinds = [P8] * len(self.buffers) + [I64.as_pointer()]
        if isinstance(nodes[0], Shared):
            kinds += [I64, I64]  # the first of the shares to run, and the end of them
        self.function = ir.Function(module, ir.FunctionType(I64, kinds), name)
        self.function.linkage = "internal"
        self.function.attributes.add("nounwind")
        self.function.attributes.add("noinline")
        #: what loads and stores of a buffer say of others, where calls use the same memory in between
        self.scopes: dict[int, Any] = {}
        if any(_leaves(node) for node in nodes):
            self.scopes = alias_scopes(module, name, self.buffers)
        else:
            for argument in self.function.args[: len(self.buffers)]:
                argument.add_attribute("noalias")
        self.pointers = {id(b): a for b, a in zip(self.buffers, self.function.args, strict=False)}
        self.table = self.function.args[len(self.buffers)]
        self.start = self.function.append_basic_block("start")
        self.variables: dict[tuple[int, int], Any] = {}
        #: what has to be added to places in a window, for the tile that is being written
        self.shifts: dict[int, Any] = {}
        self.indices: dict[int, Any] = {}
        self.extents: dict[int, int] = {}
        self.builder = ir.IRBuilder(self.function.append_basic_block("code"))
        first = self.builder.block
        #: the variable that says whether all formulas held so far; None while none may not
        self.holds: Any = None
        for loop in around:
            word = self.builder.gep(self.table, [ir.Constant(I64, layout.indices[loop.number])])
            self.indices[loop.number], self.extents[loop.number] = (
                self.builder.load(word),
                loop.extent,
            )
        for node in nodes:
            self.node(node, ())
        status = ir.Constant(I64, 0)
        if self.holds is not None:
            status = self.builder.sub(self.builder.load(self.holds), ir.Constant(I64, 1))
        self.builder.ret(status)
        ir.IRBuilder(self.start).branch(first)

    def variable(self, place: Access) -> Any:
        """The variable of a place in a local temporary."""
        key = id(place.buffer), place.offset
        known = self.variables.get(key)
        if known is None:
            known = ir.IRBuilder(self.start).alloca(value_type(place.buffer.kind))
            self.variables[key] = known
        return known

    # ------------------------------------------------------------------ places
    def address(self, access: Access) -> Any:
        """Pointer to the bytes of a place."""
        b = self.builder
        pointer = self.pointers[id(access.buffer)]
        offset: Any = self.shifts.get(id(access.buffer))
        for number, stride in access.strides:
            part = self.indices[number]
            if stride != 1:
                part = b.mul(part, ir.Constant(I64, stride), flags=("nsw",))
            offset = part if offset is None else b.add(offset, part, flags=("nsw",))
        if access.offset:
            constant = ir.Constant(I64, access.offset)
            offset = constant if offset is None else b.add(offset, constant, flags=("nsw",))
        return pointer if offset is None else b.gep(pointer, [offset], inbounds=True)

    def load(self, operand: Any, kind: dtype) -> Any:
        """The value of an operand."""
        b = self.builder
        if isinstance(operand, Number):
            target = value_type(kind)
            if target in (F64, F32):
                return ir.Constant(target, float(operand.value))
            return ir.Constant(target, int(operand.value))
        if id(operand.buffer) in self.local:
            return b.load(self.variable(operand))
        if operand.buffer.identity:
            return of_unit_matrix(b, operand, self.indices, self.extents)
        memory = I8 if kind is bool_ else value_type(kind)
        value = b.load(b.bitcast(self.address(operand), memory.as_pointer()), align=kind.itemsize)
        self.apart(value, operand.buffer)
        return b.trunc(value, I1) if kind is bool_ else value

    def store(self, value: Any, access: Access, kind: dtype) -> None:
        """Write a value to a place."""
        b = self.builder
        if id(access.buffer) in self.local:
            b.store(value, self.variable(access))
            return
        if kind is bool_:
            value = b.zext(value, I8)
        place = b.bitcast(self.address(access), value.type.as_pointer())
        self.apart(b.store(value, place, align=kind.itemsize), access.buffer)

    def apart(self, instruction: Any, buffer: Buffer) -> None:
        """Let LLVM know that a load, or a store, is of no other buffer's memory."""
        for name, scopes in self.scopes.get(id(buffer), {}).items():
            instruction.set_metadata(name, scopes)

    # ------------------------------------------------------------------ nodes
    def node(self, node: Node, around: tuple[Loop, ...]) -> None:
        """Write the code of a node."""
        if isinstance(node, Loop):
            self.loop(node, around)
        elif isinstance(node, Shared):
            if node is self.root:
                self.shared(node)
            else:
                self.call_shares(node, around)
        elif isinstance(node, Band):
            self.band(node)
        elif isinstance(node, Compute):
            self.compute(node, around)
        else:
            self.call(node)

    def shared(self, node: Shared) -> None:
        """Write the shares of a loop."""
        b = self.builder
        begin, end = self.function.args[-2:]
        before = b.block
        body, after = (self.function.append_basic_block(name) for name in ("share", "shared"))
        b.branch(body)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(begin, before)
        self.indices[node.number], self.extents[node.number] = index, node.count
        edges = Edges(b, node, index)
        loops = loops_of(node.loop)
        ranges = [edges.range(r, x) for r, x in zip(node.ranges, loops, strict=True)]
        for each in node.body:
            if each is not node.loop:
                self.node(each, ())
            elif isinstance(each, Band):
                self.band(each, ranges, *edges.tiles(each))
            else:
                assert isinstance(each, Loop)
                self.loop(each, (), *ranges[0])
        following = b.add(index, ir.Constant(I64, 1), flags=("nsw", "nuw"))
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, end), body, after)
        b.position_at_end(after)

    def call_shares(self, node: Shared, around: tuple[Loop, ...]) -> None:
        """Write the call of shares inside of loops, which find in the table where these are."""
        for loop in around:
            word = ir.Constant(I64, self.layout.indices[loop.number])
            self.builder.store(self.indices[loop.number], self.builder.gep(self.table, [word]))
        name = f"{self.function.name}.{len(self.module.functions)}"
        part = _Function(self.module, name, [node], self.layout, self.local, around)
        status = _call_of_shares(self.builder, part, self.table)
        if part.holds is not None:
            self.note([self.builder.icmp_signed("==", status, ir.Constant(I64, 0))])

    def band(self, node: Band, ranges: Any = None, begin: Any = None, end: Any = None) -> None:
        """Write loops that run tile by tile; each in its range, if ranges are given."""
        b = self.builder
        loops = loops_of(node)
        if ranges is None:
            begin, end = ir.Constant(I64, 0), ir.Constant(I64, end_of_tiles(node))
            ranges = [(begin, ir.Constant(I64, part.extent)) for part in loops]
        before = b.block
        body, after = (self.function.append_basic_block(name) for name in ("tile", "tiled"))
        b.branch(body)
        b.position_at_end(body)
        start = b.phi(I64)
        start.add_incoming(begin, before)
        for window in node.windows:
            self.put_window(window, node.tile, start)
        for part, lag, (first, stop) in zip(loops, node.lags, ranges, strict=True):
            low = b.sub(start, ir.Constant(I64, lag))
            high = b.add(low, ir.Constant(I64, node.tile))
            low = b.select(b.icmp_signed("<", low, first), first, low)
            high = b.select(b.icmp_signed("<", high, stop), high, stop)
            with b.if_then(b.icmp_signed("<", low, high)):
                self.loop(part, (), low, high)
        for window in node.windows:
            self.move_window(window, node.tile)
        following = b.add(start, ir.Constant(I64, node.tile))
        start.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, end), body, after)
        b.position_at_end(after)

    def put_window(self, window: Window, tile: int, start: Any) -> None:
        """Let accesses to a buffer go to the window of the tile from `start` on."""
        b, key = self.builder, id(window.buffer)
        if key not in self.pointers:
            # what the first loop uses at its own place begins with a cache line
            ahead = window.low % LINE
            size = ir.Constant(I64, ahead + window.step * tile + window.kept)
            start_block = ir.IRBuilder(self.start)
            memory = start_block.alloca(I8, size=size)
            memory.align = LINE
            self.pointers[key] = start_block.gep(memory, [ir.Constant(I64, ahead)], inbounds=True)
        moved = b.mul(start, ir.Constant(I64, -window.step), flags=("nsw",))
        self.shifts[key] = b.sub(moved, ir.Constant(I64, window.low), flags=("nsw",))

    def move_window(self, window: Window, tile: int) -> None:
        """Move what the next tile looks back at to the front of a window."""
        if not window.kept:
            return
        b, kind = self.builder, window.buffer.kind
        memory = I8 if kind is bool_ else value_type(kind)
        pointer = b.bitcast(self.pointers[id(window.buffer)], memory.as_pointer())
        count, ahead = window.kept // kind.itemsize, window.step * tile // kind.itemsize
        before, body, after = (
            b.block, *(self.function.append_basic_block(name) for name in ("move", "moved"))
        )  # fmt: skip
        b.branch(body)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(ir.Constant(I64, 0), before)
        source = b.gep(pointer, [b.add(index, ir.Constant(I64, ahead))], inbounds=True)
        b.store(b.load(source), b.gep(pointer, [index], inbounds=True))
        following = b.add(index, ir.Constant(I64, 1), flags=("nsw", "nuw"))
        index.add_incoming(following, body)
        jump = b.cbranch(b.icmp_signed("<", following, ir.Constant(I64, count)), body, after)
        keep_scalar(jump)
        b.position_at_end(after)

    def loop(self, node: Loop, around: tuple[Loop, ...], low: Any = None, high: Any = None) -> None:
        """Write a loop; from `low` to `high`, if these are given."""
        b = self.builder
        before = b.block
        body = self.function.append_basic_block("loop")
        after = self.function.append_basic_block("after")
        b.branch(body)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(ir.Constant(I64, 0) if low is None else low, before)
        self.indices[node.number], self.extents[node.number] = index, node.extent
        for part in node.body:
            self.node(part, (*around, node))
        following = b.add(index, ir.Constant(I64, 1), flags=("nsw", "nuw"))
        stop = ir.Constant(I64, node.extent) if high is None else high
        index.add_incoming(following, b.block)
        jump = b.cbranch(b.icmp_signed("<", following, stop), body, after)
        if node.is_short:
            keep_scalar(jump)
        b.position_at_end(after)

    def compute(self, node: Compute, around: tuple[Loop, ...]) -> None:
        """Write an assignment."""
        kinds = [x.kind if isinstance(x, Number) else x.buffer.kind for x in node.reads]
        values = [self.load(x, kind) for x, kind in zip(node.reads, kinds, strict=True)]
        if (
            node.adds
            and around
            and not node.write.stride(around[-1].number)
            and value_type(node.result) in (F64, F32)
        ):
            result = self.builder.fadd(*values, flags=("reassoc",))
        else:
            inside: list[Any] | None = None
            if self.layout.fast and around and not around[-1].in_order:
                inside = []
            result = write(self.builder, node.formula, values, inside)
            self.note(inside or ())
        self.store(result, node.write, node.result)

    def note(self, conditions: Sequence[Any]) -> None:
        """Note where a formula does not hold: `run` then returns OUTSIDE."""
        b = self.builder
        for condition in conditions:
            if self.holds is None:
                start = ir.IRBuilder(self.start)
                self.holds = start.alloca(I64)
                start.store(ir.Constant(I64, 1), self.holds)
            b.store(b.and_(b.load(self.holds), b.zext(condition, I64)), self.holds)

    def call(self, node: Call) -> None:
        """Write a call of a statement's steps; what it returns ends the function if it failed."""
        b, word = self.builder, self.layout.calls[id(node)]
        places = (*node.operands, *node.results[: len(node.instruction.outs)])
        table = ir.IRBuilder(self.start).alloca(I64, size=ir.Constant(I64, nt.T_ARGS + len(places)))

        def put(i: int, value: Any) -> None:
            b.store(value, b.gep(table, [ir.Constant(I64, i)]))

        def given(i: int) -> Any:
            return b.load(b.gep(self.table, [ir.Constant(I64, i)]))

        scratch = b.add(given(1), ir.Constant(I64, self.layout.scratch[id(node)]))
        put(nt.T_SCRATCH, scratch)
        put(nt.T_SIZE, given(word + 1))
        put(nt.T_ONCE, ir.Constant(I64, 0))
        for i, place in enumerate(places):
            put(nt.T_ARGS + i, b.ptrtoint(self.address(place), I64))
        kind = ir.FunctionType(I64, [I64, I64])
        run = b.inttoptr(given(0), kind.as_pointer())
        failed = b.call(run, [given(word), b.ptrtoint(table, I64)])
        with b.if_then(b.icmp_signed("!=", failed, ir.Constant(I64, 0)), likely=False):
            b.store(ir.Constant(I64, word), b.gep(self.table, [ir.Constant(I64, 0)]))
            b.ret(failed)


def _leaves(node: Node) -> bool:
    """Return True if code of a node calls other code, which uses the same memory."""
    if isinstance(node, Loop):
        return any(isinstance(x, Shared) or _leaves(x) for x in node.body)
    return any(isinstance(c, Call) for c in computes(node))


def _call_of(builder: Any, part: _Function, table: Any, *shares: Any) -> Any:
    """Write the call of a node's function, with the places of its buffers."""
    pointers, layout = [], part.layout
    for buffer in part.buffers:
        word = layout.words.get(id(buffer), 1)
        pointer = builder.inttoptr(builder.load(builder.gep(table, [ir.Constant(I64, word)])), P8)
        offset = layout.offsets.get(id(buffer), 0)
        pointers.append(builder.gep(pointer, [ir.Constant(I64, offset)]) if offset else pointer)
    return builder.call(part.function, [*pointers, table, *shares])


def _call_of_shares(builder: Any, part: _Function, table: Any) -> Any:
    """Write the call of `run_shares` for a shared loop."""
    assert isinstance(part.root, Shared)
    kind = ir.FunctionType(I64, [table.type, I64, I64])
    function = ir.Function(part.module, kind, f"{part.function.name}.shares")
    function.linkage = "internal"
    inside = ir.IRBuilder(function.append_basic_block("start"))
    inside.ret(_call_of(inside, part, *function.args))
    kind = ir.FunctionType(I64, [I64, table.type, I64])
    place = builder.gep(table, [ir.Constant(I64, 2)])
    run = builder.inttoptr(builder.load(place), kind.as_pointer())
    count = ir.Constant(I64, part.root.count)
    return builder.call(run, [builder.ptrtoint(function, I64), table, count])


def module_of(symbol: str, nodes: Sequence[Node], layout: Layout) -> Any:
    """The module of a program."""
    module = ir.Module(symbol)
    run = ir.Function(module, ir.FunctionType(I64, [I64.as_pointer()]), symbol)
    builder = ir.IRBuilder(run.append_basic_block("start"))
    (table,) = run.args
    groups = grouped(nodes)
    local = local_temporaries(groups)
    outside: list[Any] = []
    for i, group in enumerate(groups):
        part = _Function(module, f"{symbol}.{i}", group, layout, local)
        if isinstance(group[0], Shared):
            status = _call_of_shares(builder, part, table)
        else:
            status = _call_of(builder, part, table)
        if part.holds is not None:
            outside.append(builder.icmp_signed("!=", status, ir.Constant(I64, 0)))
        elif any(isinstance(c, Call) for node in group for c in computes(node)):
            with builder.if_then(
                builder.icmp_signed("!=", status, ir.Constant(I64, 0)), likely=False
            ):
                builder.ret(status)
    result = ir.Constant(I64, 0)
    for condition in outside:
        result = builder.select(condition, ir.Constant(I64, OUTSIDE), result)
    builder.ret(result)
    return module


def object_code(symbols: Mapping[str, str], nodes: Sequence[Node], layout: Layout) -> bytes:
    """Object code of a program."""
    return compiled(module_of(symbols["run"], nodes, layout))
