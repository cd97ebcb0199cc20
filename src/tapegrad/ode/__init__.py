"""Differential equations: `odeint`, and `odeint_adjoint` with gradients in constant memory.

interface.py has `odeint`, integration.py the loop over steps, steppers.py one step of each method
(tableaus.py its numbers), controller.py the step sizes, programs.py what is compiled of a right-hand side,
adjoint.py the continuous adjoint.
"""

from .adjoint import odeint_adjoint
from .interface import odeint

__all__ = ["odeint", "odeint_adjoint"]
