"""What has to be measured in a process of its own; each probe prints one JSON object.

    python probes.py start MODULE                      import, and time of day of the first gradient
    python probes.py loop MODULE                       time of day of the first gradient of a compiled loop
    python probes.py memory MODULE MODE ITERATIONS     resident memory of an endless loop
    python probes.py bytes MODULE STATEMENTS           memory a scalar statement
    python probes.py threads ROW SIZE SECONDS          a row of jit_rows.py on one thread and on all cores

MODULE is tapegrad, torch, jax, `limit` for numba alone, or `primal` for numba's loop without a gradient.
Imports are late: they are what is measured.
"""

import importlib
import json
import sys
import time
import warnings
from typing import Any


def start(module: str) -> dict[str, Any]:
    begin = time.perf_counter()
    if module == "limit":
        importlib.import_module("numba")
        imported = time.perf_counter() - begin
        import probe_limit

        gradient = probe_limit.first_gradient([1.0, 2.0, 3.0])
    else:
        xp = importlib.import_module(module)
        imported = time.perf_counter() - begin
        x = xp.tensor([1.0, 2.0, 3.0], dtype=xp.float64, requires_grad=True)
        (xp.sin(x) * x).sum().backward()
        gradient = x.grad.tolist()
    finished = time.time()
    return {"import": imported, "finished": finished, "gradient": gradient}


def euler(x: Any, y: Any, z: Any, n: int) -> Any:
    """Return the sum of the state after `n` steps of Lorenz's equations."""
    for _ in range(n):
        x, y, z = x + 0.1 * (y - x), y + 0.01 * (x * (28 - z) - y), z + 0.01 * (x * y - 2.5 * z)
    return x + y + z


def loop(module: str) -> dict[str, Any]:
    state, steps = (1.0, 1.1, 0.9), 100
    gradient: list[float] = []
    if module == "tapegrad":
        xp = importlib.import_module(module)
        leaves = [xp.tensor(v, requires_grad=True) for v in state]
        xp.njit(euler)(*leaves, steps).backward()
        gradient = [leaf.grad.item() for leaf in leaves]
    elif module == "jax":
        jax = importlib.import_module(module)
        jax.config.update("jax_enable_x64", True)

        def scanned(x: Any, y: Any, z: Any) -> Any:
            def step(s: Any, _: Any) -> Any:
                x, y, z = s
                return (
                    x + 0.1 * (y - x), y + 0.01 * (x * (28 - z) - y), z + 0.01 * (x * y - 2.5 * z)
                ), None  # fmt: skip

            return sum(jax.lax.scan(step, (x, y, z), None, length=steps)[0])

        found = jax.jit(jax.grad(scanned, argnums=(0, 1, 2)))(*state)
        gradient = [float(g) for g in found]
    else:
        importlib.import_module("numba").njit(euler)(*state, steps)
    return {"finished": time.time(), "gradient": gradient}


def resident() -> int:
    """Return this process's resident memory in bytes (Linux)."""
    import gc
    import resource

    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def memory(module: str, mode: str, iterations: str) -> dict[str, Any]:
    xp = importlib.import_module(module)
    x = xp.tensor(1.5, dtype=xp.float64, requires_grad=True)
    data = [0.5 + 0.1 * i for i in range(50)]

    def grad(_: int) -> None:
        (xp.sin(x * x) + x).backward()
        x.grad = None

    def create_graph(_: int) -> None:
        (xp.sin(x * x) + x).backward(create_graph=True)
        x.grad = None

    def no_grad(_: int) -> None:
        with xp.no_grad():
            xp.sin(x * x) + x

    def dropped(_: int) -> None:
        xp.sin(x * x) + x

    def evaluated(_: int) -> None:
        (xp.sin(x * x) + x).item()

    def vectors(i: int) -> None:
        leaf = xp.tensor(data[: 1 + i % 50], dtype=xp.float64, requires_grad=True)
        (leaf * leaf).sum().backward()

    warnings.simplefilter("ignore")  # of backward(create_graph=True), each time
    steps = {f.__name__: f for f in (grad, create_graph, no_grad, dropped, evaluated, vectors)}
    step, first = steps[mode], 0
    for i in range(int(iterations)):
        step(i)
        if i == 999:
            first = resident()
    return {"first": first, "last": resident()}


def threads(row: str, size: str, seconds: str) -> dict[str, Any]:
    """Least times of a compiled function, in rounds by turns: other processes disturb them least."""
    import os

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        del os.environ[name]
    tg = importlib.import_module("tapegrad")  # the number of cores is its default
    rows = importlib.import_module("jit_rows")
    (entry,) = [e for e in rows.ENTRIES if (e.row, e.size) == (row, size)]
    run = entry.task().setup("tg.jit")()
    cores = tg.get_num_threads()
    results, least = {}, {1: float("inf"), cores: float("inf")}
    end = time.perf_counter() + float(seconds)
    while time.perf_counter() < end or not results:
        for number in least:
            tg.set_num_threads(number)
            for _ in range(4):
                begin = time.perf_counter()
                result = run()
                least[number] = min(least[number], time.perf_counter() - begin)
            results[number] = [part.tobytes() for part in result]
    return {
        "cores": cores,
        "one": least[1],
        "all": least[cores],
        "same": results[1] == results[cores],
    }


def bytes_(module: str, statements: str) -> dict[str, Any]:
    xp = importlib.import_module(module)

    def record(n: int) -> Any:
        x = xp.tensor(1.0001, dtype=xp.float64, requires_grad=True)
        y = x
        for _ in range(n // 2):
            y = y * x
            y = xp.sin(y)
        y.backward(retain_graph=True)
        return x, y

    record(1_000)
    before = resident()
    kept = record(int(statements))
    figures = {"resident": (resident() - before) / int(statements)}
    if hasattr(xp, "current_tape"):
        stats = xp.current_tape().stats()
        figures["statements"] = stats["statements"]
        figures["tape"] = stats["bytes"] / stats["statements"]
    assert kept[0].grad is not None
    return figures


if __name__ == "__main__":
    probes = {"start": start, "loop": loop, "memory": memory, "bytes": bytes_, "threads": threads}
    probe = probes[sys.argv[1]]
    print(json.dumps(probe(*sys.argv[2:])))
