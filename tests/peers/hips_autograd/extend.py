"""`autograd.extend` by tapegrad."""

from .core import (  # noqa: F401
    JVPNode,
    SparseObject,
    VJPNode,
    VSpace,
    def_linear,
    defjvp,
    defjvp_argnum,
    defjvp_argnums,
    defvjp,
    defvjp_argnum,
    defvjp_argnums,
    vspace,
)  # fmt: skip
from .tracer import Box, notrace_primitive, primitive, register_notrace  # noqa: F401
