"""`@tg.njit`: functions that numba compiles and that record natively, on active scalars and arrays.

From Python, without numba until a function is decorated:

- compiled.py: `njit`, and the steps of a call (start here);
- containers.py: results as Tensors, in the containers that hold them;
- checkpointed_loop.py: `checkpointed_loop`, a long loop in bounded memory;
- failures.py: error texts for functions that numba cannot compile.

In numba's compiler, in reading order:

- numba_api.py: all names of numba that are not documented for extensions;
- types.py: the numba types of active values, their memory, and how they cross from Python and back;
- lowering/emit.py: the code that appends a statement to a recorder;
- lowering/scalars.py: operators and functions on active scalars;
- lowering/block.py, lowering/block_pass.py, lowering/block_codegen.py: runs of scalar statements that are
  recorded as one;
- lowering/array_pass.py: array expressions as one loop, with a block for each element;
- numpy/arrays.py, assign.py: arrays of active scalars, and assignment to their parts;
- numpy/elementwise.py and the files beside it: elementwise functions, reductions, products, joining, linear
  algebra and the rest of NumPy on arrays;
- creation.py: NumPy's functions that make arrays;
- leaving.py: refusal of statements that would take active values out of a function;
- compiler.py: numba's pipeline with these passes;
- dispatch.py: functions under `njit` as compiled code sees them; it imports all of the above;
- native_calls.py: native functions (`jit_compiler/native_function.py`) as ``numba.njit`` sees them.
"""
