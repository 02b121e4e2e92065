"""The operations of ``mmcv._ext`` that detectors and segmentors need, under mmcv's C++ signatures.

All compute in float32 (float64 stays float64) and give the type they were given, on any device torchvision has kernels
for. Importing this package imports torchvision, so :mod:`effvit_mm.compat.mmcv_ext` does it only for ``mmcv.ops``.
"""

from effvit_mm.compat.ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from effvit_mm.compat.ops.missing import MissingOpError, missing_op
from effvit_mm.compat.ops.nms import nms
from effvit_mm.compat.ops.roi_align import roi_align_backward, roi_align_forward

OPERATIONS = (
    nms,
    roi_align_forward,
    roi_align_backward,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
    softmax_focal_loss_forward,
    softmax_focal_loss_backward,
)

__all__ = [
    "OPERATIONS",
    "MissingOpError",
    "missing_op",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
]
