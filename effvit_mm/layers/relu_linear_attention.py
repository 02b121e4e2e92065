"""ReLU linear attention over several scales of queries, keys and values.

Cai et al., "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV 2023, section 3.1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, zero_padding


class ReluLinearAttention(nn.Module):
    """Attention with the kernel ``relu(q) . relu(k)``, summed over the tokens once instead of for every query.

    Beside the projected queries, keys and values, each scale adds a set that a depth-wise convolution has gathered from
    the neighbourhood; every set has heads of its own.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h of a set; must divide ``dim``.
        kernel_sizes: Sides in tokens, odd, of the scales' depth-wise convolutions; empty for the plain kernel.
        qkv_bias: Whether the query-key-value projection and the scales' convolutions have biases.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``3 N C^2 + (1 + s) (N C^2 + 2 N C (d + 1)) + sum(3 N C (k^2 + d))`` multiply-adds with s scales of kernels k;
        memory ``O((1 + s) N C)``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or a kernel is not odd and positive.

    Reference:
        Cai et al. 2023, equations 2 and 3, figure 2.

    Differs from the paper:
        No BatchNorm behind the output projection: the block norms. Prefix tokens skip the depth-wise convolutions and
        pass the grouped 1x1 ones. The sums are computed in fp32. What is added to the denominator, 1e-5, is timm's; the
        authors' code has 1e-15.
    """

    eps = 1e-5

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        kernel_sizes: Sequence[int] = (5,),
        qkv_bias: bool = False,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f"kernel_sizes={tuple(kernel_sizes)} must be odd and positive")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3 * dim, 3 * dim, size, padding=size // 2, groups=3 * dim, bias=qkv_bias),
                nn.Conv2d(3 * dim, 3 * dim, 1, groups=3 * num_heads, bias=qkv_bias),
            )
            for size in kernel_sizes
        )
        self.proj = nn.Linear((1 + len(kernel_sizes)) * dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: sums and neighbourhoods leave it out.

        Returns:
            ``(B, N, C)``.
        """
        qkv = zero_padding(self.qkv(tokens), padding_mask)
        sets = [qkv]
        for scale in self.scales:
            depthwise, pointwise = scale.children()
            gathered = map_to_tokens(depthwise(tokens_to_map(qkv[:, num_prefix:], grid)))
            gathered = cat([qkv[:, :num_prefix], gathered], dim=1)
            gathered = pointwise(gathered.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
            sets.append(zero_padding(gathered, padding_mask))
        # A head's query, key and value stand side by side, set after set.
        heads = cat(sets, dim=-1).unflatten(-1, (self.num_heads * len(sets), 3, -1)).permute(3, 0, 2, 1, 4)
        mixed = merge_heads(self._attend(*heads))
        return self.proj_drop(self.proj(mixed))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with heads ``(B, h, N, d)``; padding has key 0."""
        with torch.autocast(query.device.type, enabled=False):
            query, key = at_least_fp32(query).relu(), at_least_fp32(key).relu()
            # A column of ones sums the weights beside the values.
            summary = key.transpose(-2, -1) @ F.pad(value.to(key.dtype), (0, 1), value=1.0)  # (B, h, d, d + 1)
            mixed = query @ summary
            return (mixed[..., :-1] / (mixed[..., -1:] + self.eps)).to(value.dtype)
