"""Multi-scale deformable attention under mmcv's signatures, in plain torch.

Reference: Zhu et al., Deformable DETR, 2021, equation 3.

mmcv calls it for CUDA tensors; for others its own Python path does this work.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype


def _attend(value: Tensor, spatial_shapes: Tensor, level_starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of bilinear samples, ``(B, Q, h * d)``; levels one by one, so that no more than one is kept."""
    batch, _, num_heads, head_dim = value.shape
    num_queries = locations.size(1)
    total = value.new_zeros(batch * num_heads, head_dim, num_queries)
    for level, (start, (height, width)) in enumerate(zip(level_starts.tolist(), spatial_shapes.tolist(), strict=True)):
        tokens = value[:, start : start + height * width]
        fmap = tokens.permute(0, 2, 3, 1).reshape(-1, head_dim, height, width)  # (B * h, d, H, W)
        # grid_sample counts from -1 to 1 between the outer borders, the locations from 0 to 1.
        places = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (B * h, Q, K, 2)
        factors = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B * h, Q, K)
        samples = F.grid_sample(fmap, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        total = total + (samples * factors.unsqueeze(1)).sum(dim=-1)
    return total.view(batch, num_heads * head_dim, num_queries).transpose(1, 2).contiguous()


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sample each level at the places of each query and head, and sum the samples by weight.

    Args:
        value: The tokens of all levels, one level behind the other.
        value_spatial_shapes: Height and width of each level in tokens.
        value_level_start_index: The first token of each level.
        sampling_locations: Places ``(x, y)`` in the picture, from 0 to 1 between its borders; zero is sampled outside.
        attention_weights: A factor on each sample.
        im2col_step: Pictures the compiled operation takes at once; of no effect here.

    Shape:
        value ``(B, N, h, d)``, value_spatial_shapes ``(L, 2)``, value_level_start_index ``(L,)``, sampling_locations
        ``(B, Q, h, L, K, 2)``, attention_weights ``(B, Q, h, L, K)``; output ``(B, Q, h * d)``.
    """
    dtype = compute_dtype(value, sampling_locations, attention_weights)
    levels = (value_spatial_shapes, value_level_start_index)
    # Autocast would otherwise choose the type of the sampling for itself.
    with torch.autocast(value.device.type, enabled=False):
        total = _attend(value.to(dtype), *levels, sampling_locations.to(dtype), attention_weights.to(dtype))
    return total.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of the tokens, the places and the factors.

    Args:
        value: As in the forward pass, and so the next four.
        value_spatial_shapes: Of the levels.
        value_level_start_index: Of the levels.
        sampling_locations: Places.
        attention_weights: Factors.
        grad_output: Gradient of the output.
        grad_value: Written.
        grad_sampling_loc: Written.
        grad_attn_weight: Written.
        im2col_step: Of no effect.

    Shape:
        As in the forward pass; each gradient as what it belongs to.

    Cost:
        The forward pass is computed again.
    """
    dtype = compute_dtype(value, sampling_locations, attention_weights)
    leaves = [t.detach().to(dtype).requires_grad_() for t in (value, sampling_locations, attention_weights)]
    with torch.enable_grad(), torch.autocast(value.device.type, enabled=False):
        total = _attend(leaves[0], value_spatial_shapes, value_level_start_index, *leaves[1:])
    slopes = torch.autograd.grad(total, leaves, grad_output.to(dtype))
    for written, slope in zip((grad_value, grad_sampling_loc, grad_attn_weight), slopes, strict=True):
        written.copy_(slope)
