"""Deformable token merging: a strided convolution whose windows bend towards what they merge.

The module is that of Pan et al., "Less is More: Pay Less Attention in Vision Transformers", arXiv 2105.14217 (LIT); the
operator inside is the deformable convolution of Dai et al., arXiv 1703.06211. Windows do not overlap, which gives the
operator a plain form: read the map at the displaced places into a map of the same size, then convolve that one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, is_exporting, map_to_tokens, pad_to_multiple
from effvit_mm.layers.heads import at_least_fp32


class DeformableMerging(nn.Module):
    """Merge ``stride x stride`` places of a map into a token, read where predicted offsets point.

    ``tokens = GELU(BatchNorm(deform_conv(fmap, offsets)))``. A convolution with the same windows predicts the offsets;
    it starts at zero, so that the module starts as a strided convolution. It runs in the dtype of its weights under
    autocast too, and positions are in fp32 at least: in bf16, a position near 300 would move by a whole place.

    Args:
        in_dim: Channels of the map.
        dim: Channels C of the tokens.
        stride: Down-sampling k, in places of the map; the windows are k x k.

    Shape:
        fmap ``(B, in_dim, H, W)``, fastest when channels-last; returns tokens ``(B, N, C)`` and their grid
        ``(ceil(H / stride), ceil(W / stride))``.

    Cost:
        Multiply-adds a token: ``k^2 in_dim C`` of the projection, ``2 k^4 in_dim`` of the offsets and ``4 k^2 in_dim``
        of the bilinear sampling. Memory: one more map of the input's size. Parameters
        ``k^2 in_dim C + 3 C + 2 k^4 in_dim + 2 k^2``.

    Raises:
        ValueError: If ``stride`` is less than 1.

    Reference:
        Pan et al., arXiv 2105.14217, deformable token merging; Dai et al., arXiv 1703.06211, equations 2 to 4.

    Differs from the paper:
        Maps whose size is no multiple of the stride are zero-padded at the bottom and right; the released code drops
        their last rows and columns.
    """

    def __init__(self, in_dim: int, dim: int, *, stride: int) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride={stride} must be at least 1 place of the map")
        self.stride = stride
        self.offset = nn.Conv2d(in_dim, 2 * stride**2, stride, stride=stride)
        self.conv = nn.Conv2d(in_dim, dim, stride, stride=stride)
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.GELU()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection as torch draws a convolution and set the offsets to zero, after any general rule."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, fmap: Tensor) -> tuple[Tensor, Grid]:
        """Merge places of ``fmap`` ``(B, in_dim, H, W)`` into tokens ``(B, N, C)`` on a grid."""
        fmap = pad_to_multiple(_channels_last(fmap), self.stride)
        merged = deform_conv(fmap, self.offsets(fmap), self.conv.weight, self.conv.bias, stride=self.stride)
        merged = self.act(self.norm(merged))
        height, width = merged.shape[-2:]
        return map_to_tokens(merged), (height, width)

    def offsets(self, fmap: Tensor) -> Tensor:
        """Predict where the windows read: (dy, dx) of their taps in places of ``fmap``, ``(B, k^2, 2, H', W')``.

        To draw them, :func:`sampling_positions` adds the places of the taps.
        """
        fmap = pad_to_multiple(fmap, self.stride)
        with torch.autocast(fmap.device.type, enabled=False):
            return self.offset(fmap.to(self.offset.weight.dtype)).unflatten(1, (self.stride**2, 2))


def deform_conv(fmap: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """Convolve windows of ``stride x stride``, each tap displaced by an offset of its own.

    Points outside the map read zeros, and points less than a place outside a share of the border. On CUDA the kernel of
    torchvision does it, as the natural choice there: only the CPU forms were timed against each other.

    Args:
        fmap: ``(B, C_in, H, W)``.
        offsets: ``(B, stride^2, 2, H // stride, W // stride)``: (dy, dx) of the taps in raster order, places of fmap.
        weight: ``(C_out, C_in, stride, stride)``.
        bias: ``(C_out,)``.
        stride: Side of the windows and step between them.

    Returns:
        ``(B, C_out, H // stride, W // stride)``, in the dtype a convolution of ``fmap`` gives; on CUDA in that of fmap.

    Raises:
        ValueError: If the offsets do not fit the map and the stride.

    Reference:
        Dai et al., arXiv 1703.06211, equations 2 to 4.
    """
    grid = (fmap.shape[-2] // stride, fmap.shape[-1] // stride)
    if offsets.shape[1:] != (stride**2, 2, *grid):
        raise ValueError(
            f"offsets has shape {tuple(offsets.shape)}, but stride={stride} on a map of {tuple(fmap.shape[-2:])} "
            f"places needs (B, {stride**2}, 2, {grid[0]}, {grid[1]})"
        )
    if fmap.is_cuda and not is_exporting():
        return _deform_conv_of_torchvision(fmap, offsets, weight, bias, stride)
    return F.conv2d(_resample(fmap, sampling_positions(offsets, stride), stride), weight, bias, stride=stride)


def sampling_positions(offsets: Tensor, stride: int) -> Tensor:
    """Return where taps read, (y, x) in places of the map, at least fp32, from offsets; both ``(B, k^2, 2, H', W')``.

    The centre of the first place is (0, 0).
    """
    offsets = at_least_fp32(offsets)
    height, width = offsets.shape[-2:]
    tap, row, column = (torch.arange(n, device=offsets.device) for n in (stride**2, height, width))
    ys = row * stride + (tap // stride)[:, None]  # (k^2, H')
    xs = column * stride + (tap % stride)[:, None]  # (k^2, W')
    return torch.stack((offsets[:, :, 0] + ys[:, :, None], offsets[:, :, 1] + xs[:, None, :]), dim=2)


def _resample(fmap: Tensor, positions: Tensor, stride: int) -> Tensor:
    """Read ``fmap`` at the positions into a channels-last map whose windows of ``stride x stride`` are the taps."""
    batch, channels, height, width = fmap.shape
    rows, columns = positions.shape[-2] * stride, positions.shape[-1] * stride
    windows = positions.unflatten(1, (stride, stride)).permute(3, 0, 4, 1, 5, 2)  # (2, B, H', k, W', k)
    top, bottom, is_top, is_bottom = _neighbours(windows[0], height)
    left, right, is_left, is_right = _neighbours(windows[1], width)
    first = torch.arange(batch, dtype=top.dtype, device=top.device).view(-1, 1, 1, 1, 1) * (height * width)
    top, bottom = first + top * width, first + bottom * width
    corners = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1).view(-1, 4)
    shares = torch.stack((is_top * is_left, is_top * is_right, is_bottom * is_left, is_bottom * is_right), dim=-1)
    places = at_least_fp32(_channels_last(fmap)).permute(0, 2, 3, 1).reshape(-1, channels)
    samples = _weighted_rows(places, corners, shares.view(-1, 4).to(places.dtype))
    return samples.to(fmap.dtype).view(batch, rows, columns, channels).permute(0, 3, 1, 2)


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the places before and after a position on an axis and their bilinear shares, 0 for places outside."""
    position = position.clamp(-1, size)  # all positions outside read the zeros around the map, infinite ones too
    before = position.detach().floor()
    share_after = position - before
    before = before.to(torch.int32)  # halves the traffic of int64
    share_before = (1 - share_after) * ((before >= 0) & (before < size))
    share_after = share_after * (before < size - 1)
    # Clamped as integers: a NaN becomes any integer, and its share remains NaN.
    return before.clamp(0, size - 1), (before + 1).clamp(0, size - 1), share_before, share_after


def _weighted_rows(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of ``table`` (R, C) by ``index`` (P, 4) with ``weights`` (P, 4): (P, C)."""
    if table.device.type == "cpu" and not is_exporting():
        if weights.requires_grad and not table.requires_grad and not torch.compiler.is_compiling():
            # Behind a frozen stage; torch 2.4 fails where the weights alone want a gradient.
            table = table.detach().requires_grad_()
        return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")
    # Other devices and formats may lack embedding_bag, which is outside the core ATen operators once it is exported.
    return sum(table.index_select(0, rows) * share[:, None] for rows, share in zip(index.T, weights.T, strict=True))


def _deform_conv_of_torchvision(
    fmap: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, stride: int
) -> Tensor:
    """Compute :func:`deform_conv` by torchvision's kernel, in fp32 at least."""
    # Importing torchvision takes about as long as importing torch: it waits until a GPU needs it.
    from torchvision.ops import deform_conv2d

    with torch.autocast(fmap.device.type, enabled=False):
        merged = deform_conv2d(
            at_least_fp32(fmap),
            at_least_fp32(offsets).flatten(1, 2),
            at_least_fp32(weight),
            None if bias is None else at_least_fp32(bias),
            stride=stride,
        )
    return merged.to(fmap.dtype)


def _channels_last(fmap: Tensor) -> Tensor:
    return fmap.contiguous(memory_format=torch.channels_last)
