"""Loops of compiled tapes on several threads.

A loop is cut into shares, which threads take one after the other until there are none. The calling thread
is one of them, and needs no other to come: a worker that is late, or that a fork has left behind, is not
waited for. Who does which share changes nothing, as sums are kept a share each.

`run_shares` opens the *gate*, wakes workers, takes shares, closes the gate and waits until those have left
that came in. A worker looks for another round for some microseconds, and sleeps then. It has no GIL, and
no Python object. One thread at a time has the pool; another one does its loop alone.
"""

from __future__ import annotations

import sys

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import (
    add_atomically,
    globals_address,
    helper,
    load_atomically,
    p64,
    stack_words,
    store_atomically,
    swap,
)

#: looks at a word until a worker sleeps, and until the calling thread does: microseconds
_PATIENCE, _LONG_PATIENCE = 20000, 20000
_IS_LINUX = sys.platform == "linux"
#: words of a set of cores
_CORES = 16


def run_shares(code, table, count):  # type: ignore[no-untyped-def]
    """Run all shares of a loop; OUTSIDE if one of them says so."""
    pool = p64(globals_address())[nt.G_POOL]
    p = p64(pool)
    used = min(p[nt.POOL_THREADS], count) - 1
    if used < 1 or not swap(pool + 8 * nt.POOL_BUSY, 0, 1):
        return it.call_shares(code, table, 0, count)
    start_workers(pool, used)
    used = min(used, p[nt.POOL_STARTED])
    p[nt.POOL_CODE], p[nt.POOL_TABLE], p[nt.POOL_COUNT] = code, table, count
    p[nt.POOL_USED], p[nt.POOL_STATUS], p[nt.POOL_NEXT] = used, 0, 0
    gate = pool + 8 * nt.POOL_GATE
    if _IS_LINUX:
        p[nt.POOL_CORE] = it.current_core() + 1
    store_atomically(gate, nt.OPEN)
    add_atomically(pool + 8 * nt.POOL_ROUND, 1)
    wake(pool, 0)
    status = take_shares(pool)
    inside = add_atomically(gate, -nt.OPEN) - nt.OPEN
    patience = _LONG_PATIENCE
    while inside != 0 and patience != 0:
        inside = load_atomically(gate)
        patience -= 1
    while inside != 0:
        if swap(gate, inside, inside + nt.WAITED_FOR):
            it.acquire_lock(p[nt.POOL_FINISHED], 1)
            break
        inside = load_atomically(gate)
    status |= p[nt.POOL_STATUS]
    store_atomically(pool + 8 * nt.POOL_BUSY, 0)
    return status


@helper
def take_shares(pool):  # type: ignore[no-untyped-def]
    """Take shares until there are none."""
    p, status = p64(pool), 0
    while True:
        k = add_atomically(pool + 8 * nt.POOL_NEXT, 1)
        if k >= p[nt.POOL_COUNT]:
            return status
        status |= it.call_shares(p[nt.POOL_CODE], p[nt.POOL_TABLE], k, k + 1)


@helper
def wake(pool, node):  # type: ignore[no-untyped-def]
    """Wake two workers, each of which wakes two: node 0 is the calling thread, node n worker n - 1."""
    for worker in range(2 * node, 2 * node + 2):
        row = pool + 8 * (nt.POOL_ROWS + nt.POOL_ROW * worker)
        if worker < p64(pool)[nt.POOL_USED] and swap(row + 8 * nt.W_SLEEPS, 1, 0):
            if _IS_LINUX and p64(row)[nt.W_AVOIDED] != p64(pool)[nt.POOL_CORE]:
                keep_off(p64(pool)[nt.POOL_CORE], row)
            it.release_lock(p64(row)[nt.W_LOCK])


@helper
def keep_off(core, worker):  # type: ignore[no-untyped-def]
    """Let a worker wake up on another core than that of the calling thread.

    Linux would wake it on that very core, where it waits until the calling thread has done all.
    """
    row = p64(worker)
    thread, avoided = row[nt.W_THREAD], row[nt.W_AVOIDED]
    cores = stack_words(_CORES)
    words, others = p64(cores), 0
    for i in range(_CORES):
        words[i] = 0
    if core < 1 or core > 64 * _CORES or it.get_affinity(thread, 8 * _CORES, cores) < 0:
        return
    if avoided != 0:
        words[(avoided - 1) >> 6] |= 1 << ((avoided - 1) & 63)
    words[(core - 1) >> 6] &= ~(1 << ((core - 1) & 63))
    for i in range(_CORES):
        others |= words[i]
    if others != 0 and it.set_affinity(thread, 8 * _CORES, cores) == 0:
        row[nt.W_AVOIDED] = core


@helper
def start_workers(pool, count):  # type: ignore[no-untyped-def]
    """Start workers that are not there; fewer where the system has no more threads."""
    p = p64(pool)
    if p[nt.POOL_FINISHED] == 0:
        p[nt.POOL_FINISHED] = held_lock()
    while p[nt.POOL_STARTED] < min(count, nt.POOL_WORKERS):
        number = p[nt.POOL_STARTED]
        address = pool + 8 * (nt.POOL_ROWS + nt.POOL_ROW * number)
        row = p64(address)
        row[nt.W_POOL], row[nt.W_NUMBER], row[nt.W_SLEEPS] = pool, number, 0
        row[nt.W_AVOIDED] = 0
        row[nt.W_SEEN] = load_atomically(pool + 8 * nt.POOL_ROUND)
        if row[nt.W_LOCK] == 0:
            row[nt.W_LOCK] = held_lock()
        add_atomically(pool + 8 * nt.POOL_ALIVE, 1)
        if row[nt.W_LOCK] == 0 or it.start_thread(p[nt.POOL_WORK], address) == -1:
            add_atomically(pool + 8 * nt.POOL_ALIVE, -1)
            return
        p[nt.POOL_STARTED] = number + 1


@helper
def held_lock():  # type: ignore[no-untyped-def]
    """Make a lock that is released to wake who waits for it."""
    lock = it.new_lock()
    if lock != 0:
        it.acquire_lock(lock, 1)
    return lock


def take_part(address):  # type: ignore[no-untyped-def]
    """Work: what the thread of a worker runs."""
    row = p64(address)
    pool, number = row[nt.W_POOL], row[nt.W_NUMBER]
    gate, seen = pool + 8 * nt.POOL_GATE, row[nt.W_SEEN]
    row[nt.W_THREAD] = it.native_id()
    while True:
        seen = next_round(address, seen)
        if p64(pool)[nt.POOL_STOPS] != 0:
            add_atomically(pool + 8 * nt.POOL_ALIVE, -1)
            return
        inside = load_atomically(gate)
        while (inside & nt.OPEN) != 0 and not swap(gate, inside, inside + 1):
            inside = load_atomically(gate)
        if (inside & nt.OPEN) == 0:
            continue
        if number < p64(pool)[nt.POOL_USED]:
            wake(pool, number + 1)
            status = take_shares(pool)
            if status != 0:
                p64(pool)[nt.POOL_STATUS] = status
        if add_atomically(gate, -1) == nt.WAITED_FOR + 1:
            it.release_lock(p64(pool)[nt.POOL_FINISHED])


@helper
def next_round(address, seen):  # type: ignore[no-untyped-def]
    """Wait for another round."""
    row = p64(address)
    rounds, sleeps = row[nt.W_POOL] + 8 * nt.POOL_ROUND, address + 8 * nt.W_SLEEPS
    patience = _PATIENCE
    while load_atomically(rounds) == seen and patience != 0:
        patience -= 1
    if load_atomically(rounds) == seen:
        store_atomically(sleeps, 1)
        # Who begins a round looks whether this one sleeps, after that.
        if load_atomically(rounds) == seen or not swap(sleeps, 1, 0):
            it.acquire_lock(row[nt.W_LOCK], 1)
    return load_atomically(rounds)


# --------------------------------------------------------------------------- forks
def end_workers():  # type: ignore[no-untyped-def]
    """Take the pool, and let all workers end; 0 while another thread has it."""
    pool = p64(globals_address())[nt.G_POOL]
    if not swap(pool + 8 * nt.POOL_BUSY, 0, 1):
        return np.int64(0)
    p = p64(pool)
    p[nt.POOL_STOPS] = 1
    add_atomically(pool + 8 * nt.POOL_ROUND, 1)
    for worker in range(p[nt.POOL_STARTED]):
        row = pool + 8 * (nt.POOL_ROWS + nt.POOL_ROW * worker)
        if swap(row + 8 * nt.W_SLEEPS, 1, 0):
            it.release_lock(p64(row)[nt.W_LOCK])
    while load_atomically(pool + 8 * nt.POOL_ALIVE) != 0:
        pass
    return np.int64(1)


def renew_pool(is_child):  # type: ignore[no-untyped-def]
    """Let the pool start workers again; in the child of a fork its locks are new ones, too."""
    pool = p64(globals_address())[nt.G_POOL]
    p = p64(pool)
    p[nt.POOL_STARTED], p[nt.POOL_STOPS] = 0, 0
    if is_child != 0:
        p[nt.POOL_GATE], p[nt.POOL_ALIVE], p[nt.POOL_FINISHED] = 0, 0, 0
        for worker in range(nt.POOL_WORKERS):
            p64(pool + 8 * (nt.POOL_ROWS + nt.POOL_ROW * worker))[nt.W_LOCK] = 0
    store_atomically(pool + 8 * nt.POOL_BUSY, 0)
    return np.int64(0)
