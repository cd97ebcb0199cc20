"""PyTorch's ``torch.utils.dlpack``: memory shared with other libraries."""

from __future__ import annotations

import enum

from ..base.missing_names import getattr_of
from ..functions.interchange import from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]


class DLDeviceType(enum.IntEnum):
    """Types of devices, by DLPack's numbers; tensors are on the CPU."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
