"""Agent attention: a few pooled queries gather from all tokens and hand on to all tokens.

Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention", ECCV 2024, section 3.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, pool_to, split_heads, visible, zero_padding


class AgentAttention(nn.Module):
    """Two softmax attentions through agents P, the queries pooled to ``agent_grid``.

    ``gathered = softmax(P K^T / sqrt(d)) V``, ``out = softmax(Q P^T / sqrt(d)) gathered + dwconv(V)``.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        agent_grid: ``(rows, columns)`` of the agents, M in all.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 4 N M C + 9 N C`` multiply-adds; memory ``O(N C)`` where a fused kernel runs, ``O(h N M)`` where
        none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``agent_grid`` has a side below 1.

    Reference:
        Han et al. 2024, equations 4 to 6.

    Differs from the paper:
        No agent biases: positions come through the convolution alone. The released dense code has them, and
        interpolates their tables to the map and to the agents. Its stages have tables for 9, 16, 49 and 49 agents and
        pool as many unless a config asks for more; here ``agent_grid`` is the same in all stages unless each is given
        its own. Prefix tokens give and take like the others, but no agent is pooled from them and they skip the
        convolution.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        agent_grid: Grid = (7, 7),
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if min(agent_grid) < 1:
            raise ValueError(f"agent_grid={agent_grid} must be (rows, columns), both at least 1")
        self.num_heads = num_heads
        self.agent_grid = agent_grid
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: agents are neither pooled from it nor see it.

        Returns:
            ``(B, N, C)``.
        """
        qkv = zero_padding(self.qkv(tokens), padding_mask)
        query, key, value = qkv.chunk(3, dim=-1)  # (B, N, C) each
        padding = None if padding_mask is None else padding_mask[:, num_prefix:].unflatten(1, grid)
        agents = map_to_tokens(pool_to(tokens_to_map(query[:, num_prefix:], grid), self.agent_grid, padding))
        nearby = map_to_tokens(self.local(tokens_to_map(value[:, num_prefix:], grid)))

        query, key, agents, values = (split_heads(x, self.num_heads) for x in (query, key, agents, value))
        gathered = F.scaled_dot_product_attention(agents, key, values, attn_mask=visible(padding_mask))
        mixed = merge_heads(F.scaled_dot_product_attention(query, agents, gathered))
        return self.proj_drop(self.proj(mixed + F.pad(nearby, (0, 0, num_prefix, 0))))
