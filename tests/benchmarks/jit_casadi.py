"""CasADi's contenders: graphs of scalars (SX), run by its virtual machine or by C code of its own.

CasADi's matrices are stored by columns, so a NumPy array in rows is the transpose of a symbol.
"""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jit_programs as programs
from jit_contenders import Names
from racing import Result, Runner

FLAGS = ("-O2", "-march=native", "-ffast-math", "-fPIC", "-shared")


def names() -> Any:
    import casadi as ca

    return Names(
        ca,
        sum=ca.sum1,
        stack=lambda parts: ca.vertcat(*parts),
        roll=lambda x, k: ca.vertcat(x[-k:], x[:-k]),
    )


def folder() -> str:
    path = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def in_c(function: Any) -> Any:
    """Return the function from C code; itself where there is no compiler."""
    import casadi as ca

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return function
    path = Path(folder())
    generator = ca.CodeGenerator(f"{function.name()}.c")
    generator.add(function)
    generator.generate(f"{path}/")
    source, library = path / f"{function.name()}.c", path / "function.so"
    subprocess.run([compiler, *FLAGS, str(source), "-o", str(library), "-lm"], check=True)
    return ca.external(function.name(), str(library))


def buffered(
    function: Any, inputs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> tuple[Runner, list[np.ndarray]]:
    """Call through buffers that are set up once, CasADi's fastest way; the arrays it reads are returned."""
    arguments = [np.ascontiguousarray(part, dtype=np.float64) for part in inputs]
    results = tuple(np.empty(shape) for shape in shapes)
    buffer, call = function.buffer()
    for i, part in enumerate(arguments):
        buffer.set_arg(i, memoryview(part.reshape(-1)))
    for i, part in enumerate(results):
        assert function.nnz_out(i) == part.size, "a sparse result"
        buffer.set_res(i, memoryview(part.reshape(-1)))
    # What is called has only pointers.
    alive = buffer, arguments

    def run() -> Result:
        call()
        return results if alive else ()

    return run, arguments


def runner(*arguments: Any) -> Runner:
    return buffered(*arguments)[0]


def symbols(kind: Any, inputs: Sequence[np.ndarray]) -> list[Any]:
    """One symbol for each array; a matrix is transposed."""
    return [
        kind.sym(f"x{i}", *(np.shape(part)[::-1] if np.ndim(part) else (1,)))
        for i, part in enumerate(inputs)
    ]


def gradients(
    program: Callable[..., Any],
    *inputs: np.ndarray,
    data: Sequence[np.ndarray] = (),
    c: bool = False,
    kind: str = "SX",
) -> Callable[[], Runner]:
    """Value and gradients of `program(names, *symbols of the inputs, *symbols of the data)`."""

    def set_up() -> Runner:
        import casadi as ca

        given = symbols(getattr(ca, kind), [*inputs, *data])
        active = given[: len(inputs)]
        value = program(names(), *given)
        results = [value, *(ca.densify(ca.gradient(value, x)) for x in active)]
        function = ca.Function("f", given, results)
        shapes = [(), *(np.shape(part) for part in inputs)]
        return runner(in_c(function) if c else function, [*inputs, *data], shapes)

    return set_up


def looped(xp: Any, x: Any) -> Any:
    """Rosenbrock's function by the loop over `x[i]`."""
    from programs import rosenbrock_loop

    return rosenbrock_loop(xp, xp.vertsplit(x))


def stepped(step: Callable[..., Any], steps: int, end: Callable[..., Any]) -> Callable[..., Any]:
    """A program of many equal steps of a state, whose graph is kept once."""

    def program(xp: Any, *state: Any) -> Any:
        x = xp.vertcat(*state)
        symbol = xp.SX.sym("s", x.shape[0])
        function = xp.Function("step", [symbol], [step(xp, symbol)])
        return end(xp, function.fold(steps)(x))

    return program


def lorenz(steps: int) -> Callable[..., Any]:
    def step(xp: Any, state: Any) -> Any:
        def slope(s: Any) -> Any:
            x, y, z = xp.vertsplit(s)
            return xp.vertcat(
                programs.SIGMA * (y - x), x * (programs.RHO - z) - y, x * y - programs.BETA * z
            )

        return programs.runge_kutta(slope, state)

    return stepped(step, steps, lambda xp, x: xp.sum1(x))


def lorenz96(steps: int) -> Callable[..., Any]:
    def step(xp: Any, x: Any) -> Any:
        def slope(x: Any) -> Any:
            return (xp.roll(x, -1) - xp.roll(x, 2)) * xp.roll(x, 1) - x + programs.FORCING

        return programs.runge_kutta(slope, x)

    return stepped(step, steps, lambda xp, x: 0.5 * xp.sumsqr(x))


def lstm(xp: Any, main: Any, extra: Any, start: Any, sequence: Any) -> Any:
    """ADBench's LSTM with symbols that are transposed."""
    bits, count = sequence.shape
    layers = start.shape[1] // 2
    state = xp.horzsplit(start)
    total = 0.0

    def sigmoid(x: Any) -> Any:
        return 1.0 / (1.0 + xp.exp(-x))

    for t in range(count - 1):
        x = sequence[:, t] * extra[:, 0]
        for k in range(layers):
            w, b = xp.vertsplit(main[:, 2 * k], bits), xp.vertsplit(main[:, 2 * k + 1], bits)
            h, c = state[2 * k], state[2 * k + 1]
            f, a = sigmoid(x * w[0] + b[0]), sigmoid(h * w[1] + b[1])
            o, d = sigmoid(x * w[2] + b[2]), xp.tanh(h * w[3] + b[3])
            c = c * f + a * d
            x = o * xp.tanh(c)
            state[2 * k], state[2 * k + 1] = x, c
        y = x * extra[:, 1] + extra[:, 2]
        total += xp.sum1(sequence[:, t + 1] * (y - xp.log(xp.sum1(xp.exp(y)) + 2.0)))
    return -total / ((count - 1) * bits)


def derivative(order: int, x: np.ndarray) -> Callable[[], Runner]:
    def set_up() -> Runner:
        import casadi as ca

        symbol = ca.SX.sym("x")
        y = programs.curve(names(), symbol)
        for _ in range(order):
            y = ca.gradient(y, symbol)
        function = ca.Function("f", [symbol], [y])
        if x.ndim:
            function = function.map(len(x))
        return runner(in_c(function), [x], [x.shape])

    return set_up


def horner(x: np.ndarray) -> Callable[[], Runner]:
    """Value and derivative of one element, mapped over all."""

    def set_up() -> Runner:
        import casadi as ca

        symbol = ca.SX.sym("x")
        y = programs.horner(names(), symbol)
        both = ca.Function("g", [symbol], [y, ca.gradient(y, symbol)]).map(len(x))
        given = ca.MX.sym("x", 1, len(x))
        values, slopes = both(given)
        return runner(
            in_c(ca.Function("f", [given], [ca.sum2(values), slopes])), [x], [(), x.shape]
        )

    return set_up


def hessian_vector(x: np.ndarray, v: np.ndarray) -> Callable[[], Runner]:
    def set_up() -> Runner:
        import casadi as ca

        a, b = symbols(ca.SX, [x, v])
        gradient = ca.gradient(programs.rosenbrock(names(), a), a)
        product = ca.jtimes(gradient, a, b)
        return runner(ca.Function("f", [a, b], [product]), [x, v], [x.shape])

    return set_up


def rosenbrock_hessian(x: np.ndarray) -> Callable[[], Runner]:
    def set_up() -> Runner:
        import casadi as ca

        (a,) = symbols(ca.SX, [x])
        hessian = ca.densify(ca.hessian(programs.rosenbrock(names(), a), a)[0])
        return runner(ca.Function("f", [a], [hessian]), [x], [(x.size, x.size)])

    return set_up


def network_hessian(inputs: int, hidden: int, *arrays: np.ndarray) -> Callable[[], Runner]:
    def set_up() -> Runner:
        import casadi as ca

        p, x, target = given = symbols(ca.SX, arrays)
        size = inputs * hidden
        w = ca.reshape(p[:size], hidden, inputs)
        bias, v = p[size : size + hidden], p[size + hidden :]
        h = ca.tanh(w @ x + ca.repmat(bias, 1, x.shape[1]))
        loss = ca.sumsqr(h.T @ v - target) / x.shape[1]
        hessian = ca.densify(ca.hessian(loss, p)[0])
        return runner(ca.Function("f", given, [hessian]), arrays, [(p.numel(), p.numel())])

    return set_up


def observation_blocks(*arrays: np.ndarray) -> Callable[[], Runner]:
    """One observation's Jacobian, mapped; what is seen is gathered by NumPy."""
    cameras, points, weights, features, seen_by, seen = arrays

    def set_up() -> Runner:
        import casadi as ca

        sizes = 11, 3, 1, 2
        given = [ca.SX.sym(f"x{i}", size) for i, size in enumerate(sizes)]
        residual = programs.reprojection(names(), *given)
        jacobian = ca.densify(ca.jacobian(residual, ca.vertcat(*given[:3])))
        function = in_c(ca.Function("f", given, [jacobian]).map(len(weights)))
        gathered = [np.empty((len(weights), size)) for size in sizes[:2]]
        inner, read = buffered(function, [*gathered, weights, features], [(len(weights), 15, 2)])

        def run() -> Result:
            np.take(cameras, seen_by, axis=0, out=read[0])
            np.take(points, seen, axis=0, out=read[1])
            blocks = inner()[0].transpose(0, 2, 1)
            return blocks[:, :, :11], blocks[:, :, 11:14], blocks[:, :, 14]

        return run

    return set_up
