"""Cross-covariance attention: channels attend to channels, then neighbours exchange.

El-Nouby et al., "XCiT: Cross-Covariance Image Transformers", NeurIPS 2021, sections 3.2 and 3.3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, split_heads, zero_padding


class CrossCovarianceAttention(nn.Module):
    """Attention among the d channels of a head, ``softmax(temperature * Q^T K) V^T`` with Q and K of unit norm over N.

    The map is ``d x d`` whatever the number of tokens. A token's result is a mixture of its own channels: tokens meet
    only in the statistics, hence the local patch interaction behind it.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        local: Whether the local patch interaction (two 3x3 depth-wise convolutions) follows.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N C d + 18 N C`` multiply-adds, the last term for the local patch interaction; memory
        ``O(N C + C d)``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Reference:
        El-Nouby et al. 2021, equation 1 and section 3.3.

    Differs from the paper:
        The local patch interaction reads the normed tokens plus the attention's result and has no LayerScale. In the
        paper it is a residual branch of its own, with one, and reads the tokens themselves plus the attention's result.
        Norms and map are computed in fp32.
    """

    def __init__(
        self, dim: int, num_heads: int, *, local: bool = True, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.empty(num_heads, 1, 1))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.local = LocalPatchInteraction(dim) if local else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the temperatures to 1."""
        nn.init.ones_(self.temperature)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the channels by all tokens, then the tokens with their neighbours.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid; they take part, and skip the local patch interaction.
            padding_mask: ``(B, N)``, True where a token is padding: it gives nothing to map and neighbours. In training
                it counts in the batch norm's statistics, as all that a batch holds does.

        Returns:
            ``(B, N, C)``.
        """
        qkv = zero_padding(self.qkv(tokens), padding_mask)
        query, key, value = (split_heads(x, self.num_heads) for x in qkv.chunk(3, dim=-1))  # (B, h, N, d)
        with torch.autocast(tokens.device.type, enabled=False):
            query, key = (F.normalize(at_least_fp32(x), dim=2) for x in (query, key))
            weights = (query.transpose(-2, -1) @ key * self.temperature).softmax(dim=-1)  # (B, h, d, d)
            mixed = merge_heads(value.to(weights.dtype) @ weights.transpose(-2, -1)).to(value.dtype)
        mixed = self.proj_drop(self.proj(mixed))
        if self.local is None:
            return mixed
        seen = zero_padding(self.local.norm(tokens + mixed), padding_mask)[:, num_prefix:]
        padding = None if padding_mask is None else padding_mask[:, num_prefix:]
        return mixed + F.pad(self.local(seen, grid, padding), (0, 0, num_prefix, 0))


class LocalPatchInteraction(nn.Module):
    """Two 3x3 depth-wise convolutions with GELU and BatchNorm between them.

    Args:
        dim: Channels C of a token.

    Shape:
        tokens ``(B, H * W, C)`` on grid ``(H, W)``, 0 where padding; returns ``(B, H * W, C)``.

    Cost:
        ``18 N C`` multiply-adds.

    Reference:
        El-Nouby et al. 2021, section 3.3.

    Differs from the paper:
        Nothing; ``norm`` stands in front of it, applied by the caller.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.act = nn.GELU()
        self.bn = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, grid: Grid, padding: Tensor | None = None) -> Tensor:
        """Let tokens exchange within 5x5 places; ``padding`` ``(B, H * W)`` is kept at 0 between the convolutions."""
        fmap = self.bn(self.act(self.conv1(tokens_to_map(tokens, grid))))
        if padding is not None:
            fmap = fmap.masked_fill(padding.unflatten(1, grid)[:, None], 0.0)
        return map_to_tokens(self.conv2(fmap))
