"""Active scalars and arrays: what the arguments of a `@tg.njit` function become when it is recorded.

- compiled.py: `njit`, and what a call does (start here);
- checkpointed_loop.py: `checkpointed_loop`;
- types.py: the numba types, how they lie in memory, and how they cross from Python and back;
- lowering/scalars.py: operators and functions on active scalars, which append to a recorder;
- numpy/arrays.py: NumPy functions and operators on arrays of them.

The last three import numba, and nothing imports them before a function is decorated.
"""
