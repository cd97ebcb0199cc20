"""PyTorch's ``torch.linalg``: linear algebra on matrices and batches of them.

>>> import tapegrad as tg
>>> A = tg.tensor([[2.0, 0.0], [1.0, 4.0]], requires_grad=True)
>>> tg.linalg.solve(A, tg.tensor([2.0, 9.0]))
tensor([1., 2.], grad_fn=<LinalgSolveExBackward0>)

The functions are those of functions/linalg/ that are registered as ``linalg_...``.
"""

from ..base.errors import LinAlgError
from ..base.missing_names import getattr_of
from ..functions import registry
from ..tensors import tensor as _tensor  # which registers all functions

_functions = {
    name.removeprefix("linalg_"): value
    for name, value in registry.FUNCTIONS.items()
    if name.startswith("linalg_")
}
globals().update(_functions)
__all__ = sorted([*_functions, "LinAlgError"])
_ = LinAlgError, _tensor


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
