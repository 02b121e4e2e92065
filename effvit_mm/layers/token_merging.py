"""From a map to fewer, wider tokens: the stem and the down-sampling between two stages."""

from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple


class OverlappingMerging(nn.Module):
    """A strided convolution whose windows overlap, then a LayerNorm.

    Windows of ``2 * stride - 1`` (7 for stride 4, 3 for stride 2) with half of it as padding: a map of any size H x W
    becomes ``ceil(H / stride) x ceil(W / stride)`` tokens.

    Args:
        in_dim: Channels of the map.
        dim: Channels C of the tokens.
        stride: Down-sampling, in places of the map.
        norm_eps: Epsilon of the LayerNorm.

    Shape:
        fmap ``(B, in_dim, H, W)``; returns tokens ``(B, N, C)`` and their grid.

    Cost:
        ``(2 stride - 1)^2 in_dim C`` multiply-adds a token.

    Reference:
        Wang et al., "PVT v2", 2022, section 3.1 (overlapping patch embedding).

    Differs from the paper:
        Nothing.
    """

    def __init__(self, in_dim: int, dim: int, *, stride: int, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, dim, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)

    def forward(self, fmap: Tensor) -> tuple[Tensor, Grid]:
        """Merge places of ``fmap`` ``(B, in_dim, H, W)`` into tokens ``(B, N, C)`` on a grid."""
        merged = self.proj(fmap)
        height, width = merged.shape[-2:]
        return self.norm(map_to_tokens(merged)), (height, width)


class PatchMerging(nn.Module):
    """A strided convolution whose windows touch, then a LayerNorm: the patch embedding of ViT, on any map.

    A map whose size is no multiple of ``stride`` is zero-padded at the bottom and right, so H x W becomes
    ``ceil(H / stride) x ceil(W / stride)`` tokens.

    Args:
        in_dim: Channels of the map.
        dim: Channels C of the tokens.
        stride: Down-sampling, in places of the map.
        norm_eps: Epsilon of the LayerNorm.

    Shape:
        fmap ``(B, in_dim, H, W)``; returns tokens ``(B, N, C)`` and their grid.

    Cost:
        ``stride^2 in_dim C`` multiply-adds a token.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equation 1; the norm: Wang et al., "Pyramid
        Vision Transformer", ICCV 2021, and Liu et al., "Swin Transformer", ICCV 2021.

    Differs from the paper:
        Nothing. The weights start as torch's convolution does, which is what the code of PVT, Swin and DeiT leaves them
        at; ViT's, in Flax, draws them wider.
    """

    def __init__(self, in_dim: int, dim: int, *, stride: int, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, dim, stride, stride=stride)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)

    def reset_parameters(self) -> None:
        """Draw the convolution as torch does."""
        self.proj.reset_parameters()

    def forward(self, fmap: Tensor) -> tuple[Tensor, Grid]:
        """Merge places of ``fmap`` ``(B, in_dim, H, W)`` into tokens ``(B, N, C)`` on a grid."""
        merged = self.proj(pad_to_multiple(fmap, self.proj.stride[0]))
        height, width = merged.shape[-2:]
        return self.norm(map_to_tokens(merged)), (height, width)
