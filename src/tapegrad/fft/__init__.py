"""PyTorch's ``torch.fft``: discrete Fourier transforms.

>>> import tapegrad as tg
>>> x = tg.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
>>> tg.fft.fft(x)
tensor([15.+0.j, -3.+6.j, -5.+0.j, -3.-6.j], grad_fn=<FftC2CBackward0>)

The functions are those of functions/maths/fourier.py, which are registered as ``fft_...``.
"""

from ..base.missing_names import getattr_of
from ..functions import registry
from ..tensors import tensor as _tensor  # which registers all functions

_functions = {
    name.removeprefix("fft_"): value
    for name, value in registry.FUNCTIONS.items()
    if name.startswith("fft_")
}
globals().update(_functions)
__all__ = sorted(_functions)
_ = _tensor


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
