"""The type in which coordinates and the stand-in operations are computed."""

import torch
from torch import Tensor


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """``torch.float64`` for itself, ``torch.float32`` for every narrower type.

    torchvision's CPU kernels know neither float16 nor bfloat16, and near 1330 pixels neighbouring numbers are 1 pixel
    apart in the first and 8 in the second.
    """
    return torch.promote_types(dtype, torch.float32)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest type among the tensors, and float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
