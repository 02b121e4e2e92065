"""The operations of ``mmcv._ext`` that detectors and segmentors need, under mmcv's C++ signatures.

All compute in float32 (float64 stays float64) and give the type they were given, on any device torchvision has kernels
for. Importing this package imports torchvision, so :mod:`effvit_mm.compat.mmcv_ext` does it only for ``mmcv.ops``.
"""

from effvit_mm.compat.ops.bbox_overlaps import bbox_overlaps
from effvit_mm.compat.ops.carafe import carafe_backward, carafe_forward, carafe_naive_backward, carafe_naive_forward
from effvit_mm.compat.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
)
from effvit_mm.compat.ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from effvit_mm.compat.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from effvit_mm.compat.ops.missing import MissingOpError, missing_op
from effvit_mm.compat.ops.modulated_deform_conv import modulated_deform_conv_backward, modulated_deform_conv_forward
from effvit_mm.compat.ops.multi_scale_deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from effvit_mm.compat.ops.nms import nms, nms_match, softnms
from effvit_mm.compat.ops.roi_align import roi_align_backward, roi_align_forward
from effvit_mm.compat.ops.roi_pool import roi_pool_backward, roi_pool_forward

OPERATIONS = (
    bbox_overlaps,
    carafe_forward,
    carafe_backward,
    carafe_naive_forward,
    carafe_naive_backward,
    deform_conv_forward,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    masked_im2col_forward,
    masked_col2im_forward,
    modulated_deform_conv_forward,
    modulated_deform_conv_backward,
    ms_deform_attn_forward,
    ms_deform_attn_backward,
    nms,
    nms_match,
    roi_align_forward,
    roi_align_backward,
    roi_pool_forward,
    roi_pool_backward,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
    softmax_focal_loss_forward,
    softmax_focal_loss_backward,
    softnms,
)

__all__ = ["OPERATIONS", "MissingOpError", "missing_op"]
