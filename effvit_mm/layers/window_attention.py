"""Window attention, plain and shifted: softmax attention inside small squares of the grid.

Liu et al., "Swin Transformer", ICCV 2021, sections 3.1 and 3.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, split_heads, visible


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows of ``window_size`` squared tokens, with a bias for each relative position.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        window_size: Side S of a window in tokens.
        shift: Rows and columns by which the windows are moved; 0 for none. An axis that one window covers stays.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N' S^2 C`` multiply-adds, N' the tokens after both sides are padded to multiples of S; memory
        ``O(N C)``, and ``O(h N' S^2)`` for a mask where windows are shifted or padded.
        Parameters ``4 C^2 + 4 C + (2 S - 1)^2 h``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, ``window_size`` is below 1, or ``shift`` is not between 0
            and ``window_size - 1``.

    Reference:
        Liu et al. 2021, equations 3 and 4; the cyclic shift of figure 4.

    Differs from the paper:
        Places that pad the grid to whole windows are hidden; the released code lets tokens attend to them. Prefix
        tokens are keys of every window and ask all tokens, with bias 0. Whether an axis is shifted is a matter of the
        grid, under padding too.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_size: int = 7,
        shift: int = 0,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if window_size < 1:
            raise ValueError(f"window_size={window_size} must be at least 1 token")
        if not 0 <= shift < window_size:
            raise ValueError(f"shift={shift} must be at least 0 and below window_size={window_size}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.bias_table = nn.Parameter(torch.empty(num_heads, 2 * window_size - 1, 2 * window_size - 1))
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table; the projections belong to the network's initialisation."""
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens of each window.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: no token attends to it.

        Returns:
            ``(B, N, C)``.
        """
        qkv = self.qkv(tokens)  # (B, N, 3 C)
        mixed = self._attend_in_windows(qkv[:, num_prefix:], grid, qkv[:, :num_prefix], padding_mask)
        if num_prefix:
            query, key, value = (split_heads(x, self.num_heads) for x in qkv.chunk(3, dim=-1))
            asked = F.scaled_dot_product_attention(
                query[:, :, :num_prefix], key, value, attn_mask=visible(padding_mask)
            )
            mixed = cat([merge_heads(asked), mixed], dim=1)
        return self.proj_drop(self.proj(mixed))

    def _attend_in_windows(self, qkv: Tensor, grid: Grid, prefix: Tensor, padding_mask: Tensor | None) -> Tensor:
        fmap = pad_to_multiple(tokens_to_map(qkv, grid), self.window_size)
        padded_grid: Grid = (fmap.shape[2], fmap.shape[3])
        shifts = self._shifts(padded_grid)
        windows = self._cut(fmap, shifts)  # (B, n, S^2, 3 C)
        num_windows = windows.shape[1]
        bias = self._bias(windows, grid, padded_grid, prefix.shape[1], padding_mask)
        if prefix.shape[1]:
            windows = cat([prefix[:, None].expand(-1, num_windows, -1, -1), windows], dim=2)
        query, key, value = (split_heads(x, self.num_heads) for x in windows.flatten(0, 1).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(query[:, :, prefix.shape[1] :], key, value, attn_mask=bias)
        return map_to_tokens(self._join(merge_heads(mixed), padded_grid, shifts)[:, :, : grid[0], : grid[1]])

    def _bias(
        self, windows: Tensor, grid: Grid, padded_grid: Grid, num_prefix: int, padding_mask: Tensor | None
    ) -> Tensor:
        """Return what is added to the logits, ``(1 or B n, h, S^2, P + S^2)``."""
        bias = self._relative_bias().to(windows.dtype)
        apart = self._apart(windows, grid, padded_grid, num_prefix, padding_mask)
        if apart is not None:
            # Not -inf: a window of padding alone hides every key, and its softmax must stay finite.
            bias = bias.masked_fill(apart[:, :, None], torch.finfo(bias.dtype).min / 2)  # (1 or B, n, h, S^2, S^2)
            bias = bias.expand(windows.shape[0], -1, -1, -1, -1).flatten(0, 1)
        else:
            bias = bias[None]
        if not num_prefix:
            return bias
        front = bias.new_zeros(1, 1, num_prefix)
        if padding_mask is not None:
            hidden = padding_mask[:, :num_prefix].repeat_interleave(windows.shape[1], dim=0)
            front = front.masked_fill(hidden[:, None, None], torch.finfo(bias.dtype).min / 2)
        return cat([front.expand(*bias.shape[:-1], -1), bias], dim=-1)

    def _relative_bias(self) -> Tensor:
        """Read the table for every pair of a window, ``(h, S^2, S^2)``."""
        place = torch.arange(self.window_size, device=self.bias_table.device)
        offset = place[:, None] - place + self.window_size - 1  # (S, S)
        pairs = self.bias_table[:, offset[:, None, :, None], offset[None, :, None, :]]  # (h, S, S, S, S)
        return pairs.flatten(3, 4).flatten(1, 2)

    def _apart(
        self, windows: Tensor, grid: Grid, padded_grid: Grid, num_prefix: int, padding_mask: Tensor | None
    ) -> Tensor | None:
        """Mark the pairs of a window that may not attend, ``(1 or B, n, S^2, S^2)``; None where all may."""
        shifts = self._shifts(padded_grid)
        if grid == padded_grid and shifts == (0, 0) and padding_mask is None:
            return None
        # Places the cyclic shift brings together, and padding, differ in their labels; padding is nobody's key.
        label = torch.zeros(1, 1, *padded_grid, device=windows.device)
        label[:, :, : shifts[0]] += 1
        label[:, :, :, : shifts[1]] += 2
        hidden = torch.zeros(1 if padding_mask is None else windows.shape[0], 1, *grid, device=windows.device)
        if padding_mask is not None:
            hidden = padding_mask[:, None, num_prefix:].unflatten(2, grid).float()
        bottom, right = padded_grid[0] - grid[0], padded_grid[1] - grid[1]
        hidden = F.pad(hidden, (0, right, 0, bottom), value=1.0)
        label, hidden = self._cut(label, shifts)[..., 0], self._cut(hidden, shifts)[..., 0]  # (1 or B, n, S^2)
        return (label[:, :, :, None] != label[:, :, None]) | (hidden[:, :, None] > 0)

    def _shifts(self, padded_grid: Grid) -> tuple[int, int]:
        vertical, horizontal = (0 if side == self.window_size else self.shift for side in padded_grid)
        return vertical, horizontal

    def _cut(self, fmap: Tensor, shifts: tuple[int, int]) -> Tensor:
        """Cut a map ``(B, C, H, W)`` of whole windows into them, ``(B, n, S^2, C)``."""
        rolled = fmap.roll((-shifts[0], -shifts[1]), (2, 3)) if any(shifts) else fmap
        size = self.window_size
        windows = rolled.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, C, H/S, S, W/S, S)
        return windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)

    def _join(self, windows: Tensor, padded_grid: Grid, shifts: tuple[int, int]) -> Tensor:
        """Undo :meth:`_cut` for ``(B n, S^2, C)``; returns ``(B, C, H, W)``."""
        size = self.window_size
        counts = (padded_grid[0] // size, padded_grid[1] // size)
        windows = windows.unflatten(1, (size, size)).unflatten(0, (-1, *counts))  # (B, H/S, W/S, S, S, C)
        fmap = windows.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return fmap.roll(shifts, (2, 3)) if any(shifts) else fmap


class ShiftedWindowAttention(WindowAttention):
    """Window attention moved by half a window, so that tokens of neighbouring windows meet; alternate the two.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        window_size: Side S of a window in tokens.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        As :class:`WindowAttention`, of which it is one with ``shift=window_size // 2``.

    Cost:
        As :class:`WindowAttention`.

    Raises:
        ValueError: As :class:`WindowAttention`.

    Reference:
        Liu et al. 2021, section 3.2.

    Differs from the paper:
        As :class:`WindowAttention`.
    """

    def __init__(
        self, dim: int, num_heads: int, *, window_size: int = 7, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__(
            dim, num_heads, window_size=window_size, shift=window_size // 2, qkv_bias=qkv_bias, proj_drop=proj_drop
        )
