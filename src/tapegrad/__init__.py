"""tapegrad: a JIT-compiling, tape-based differentiator for Python, under PyTorch's interface.

>>> import tapegrad as tg
>>> x = tg.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])

The functions come from two places: a row of the op table is a builtin function (``tg.sin``), and
functions with options stand in `tapegrad.functions`.
"""

import math as _math

from .base.platform_check import check_platform

check_platform()  # before anything else is loaded

from .native.targets import target as _target

_target()  # raises if the environment names one that is none

from . import (
    autograd,
    cuda,
    fft,
    func,
    linalg,
    notebook_errors,
    other_names,
    special,
    testing,
    utils,
)
from .autograd import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .base.dtypes import (
    bool_,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    float16,
    float32,
    float64,
    float_,
    get_default_dtype,
    half,
    int8,
    int16,
    int32,
    int64,
    int_,
    long,
    set_default_dtype,
    short,
    uint8,
)
from .base.errors import TapeError, UnsupportedError
from .base.limits import finfo, iinfo
from .base.missing_names import getattr_of
from .base.size import Size
from .engine.inference import is_inference
from .func import vmap
from .func.custom_vjp import custom_vjp
from .func.implicit_function import implicit
from .func.jax_style import (
    checkpoint,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
)
from .functions import registry
from .jit_compiler import tracing
from .jit_compiler.jitted import compile, jit
from .njit_compiler.checkpointed_loop import checkpointed_loop
from .njit_compiler.compiled import njit, value
from .numpy import protocols as _protocols
from .registered_ops import register_op
from .tape.current import current_tape, synchronize
from .tape.recording import is_tensor
from .tape.tape import Tape
from .tensors.printing import set_printoptions
from .tensors.tensor import FUNCTIONS, Tensor
from .transforms.closed_tape import ClosedTape
from .transforms.tape_file import load_tape

__version__ = "0.1.0"

e, inf, nan, pi = _math.e, _math.inf, _math.nan, _math.pi
newaxis = None

__all__ = [
    "ClosedTape",
    "Size",
    "Tape",
    "TapeError",
    "Tensor",
    "UnsupportedError",
    "autograd",
    "bool",
    "cdouble",
    "cfloat",
    "checkpoint",
    "checkpointed_loop",
    "compile",
    "complex64",
    "complex128",
    "cuda",
    "current_tape",
    "custom_vjp",
    "distributions",
    "double",
    "dtype",
    "e",
    "enable_grad",
    "fft",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "func",
    "get_default_dtype",
    "grad",
    "half",
    "hessian",
    "hvp",
    "iinfo",
    "implicit",
    "inf",
    "inference_mode",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference",
    "is_inference_mode_enabled",
    "is_tensor",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linalg",
    "load_tape",
    "long",
    "nan",
    "newaxis",
    "njit",
    "nn",
    "no_grad",
    "odeint",
    "odeint_adjoint",
    "optim",
    "pi",
    "register_op",
    "set_default_dtype",
    "set_grad_enabled",
    "set_printoptions",
    "short",
    "special",
    "stop_gradient",
    "synchronize",
    "testing",
    "uint8",
    "utils",
    "value",
    "value_and_grad",
    "vjp",
    "vmap",
]

_protocols.install()
_public = {**registry.FUNCTIONS, **FUNCTIONS}
_public = {k: v for k, v in _public.items() if not k.startswith(("_", "fft_", "linalg_"))}
globals().update(_public)
__all__ += sorted(_public)


def __dir__() -> list[str]:
    """Return the public names: the packages inside are for those who read the source."""
    return sorted([*__all__, "scipy", "__doc__", "__version__"])


__getattr__ = getattr_of(__name__)
other_names.install()
notebook_errors.install()
# PyTorch's names for three dtypes are Python's own names: nothing below here may mean those.
float, bool, int = float_, bool_, int_
del _public, FUNCTIONS, tracing, check_platform, getattr_of, registry, float_, bool_, int_
