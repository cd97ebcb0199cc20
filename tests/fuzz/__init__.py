"""Fuzzers: ``python -m fuzz programs``, in the folder ``tests``, runs random programs beside torch,
``python -m fuzz calls`` calls public functions with odd arguments, and ``python -m fuzz interrupts`` raises
in signal handlers at random times.

All is drawn from a seed, so that a program that is reported can be run again.

script.py        a program as text, and how a library runs it
prelude.py       functions and classes that programs use
program.py       the drawing of a program
statements.py    kinds of statements: operations, views, writes
functions.py     kinds of statements: functions with options, from a list of texts
gradients.py   kinds of statements: passes in the middle, hooks, Functions, checkpoints, transforms
verdict.py       the comparison of what two libraries did, and shrinking
beside.py        programs run in tapegrad and in torch
builtin_calls.py         odd calls
odd_values.py    what they are made with
odd_programs.py  odd Functions, hooks, compiled functions
surroundings.py  where they are made: threads, modes, transforms, hooks
interrupts.py    interrupts at random times
workers.py       processes that may crash or hang
"""
