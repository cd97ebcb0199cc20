"""PyTorch's ``torch.func``: transforms of functions, which nest to any order.

`gradients.py` has the transforms that take one product with a Jacobian, `jacobians.py` those that make
whole ones, `vectorized_map.py` has `vmap`, `implicit_function.py` derivatives through solvers, and
`jax_style.py` the same in JAX's call style; `arguments.py` is what they share, and
`autograd/transform_level.py` says how nested transforms are kept apart. No transform touches ``grad`` of the
caller's tensors.
"""

from __future__ import annotations

from ..base.missing_names import getattr_of
from .gradients import grad, grad_and_value, jvp, linearize, vjp
from .implicit_function import implicit
from .jacobians import hessian, jacfwd, jacrev
from .modules import functional_call, functionalize, stack_module_state
from .vectorized_map import vmap

__all__ = [
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "implicit",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
