"""One level of the simple feature pyramid: the last map of a plain ViT at another stride.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022, arXiv 2203.16527.
"""

from torch import Tensor, nn

BASE_STRIDE = 16


class SimplePyramidLevel(nn.Module):
    """Bring a map of stride 16 to stride 4, 8, 16 or 32.

    Stride 4 takes two transposed convolutions of stride 2 (a LayerNorm and a GELU between them), each of which halves
    the channels; stride 8 takes one; 16 is the map itself; 32 is a max pooling.

    Args:
        dim: Channels C of the map; a multiple of 4 for stride 4, of 2 for stride 8.
        stride: Stride of the level, in pixels.
        out_channels: None to stop there, for a neck that projects its inputs itself (FPN); or the channels of the
            paper's 1x1 and 3x3 convolutions, each with a LayerNorm, for heads that stand on the pyramid directly.
        norm_eps: Epsilon of the LayerNorms.

    Attributes:
        channels: Channels of the result: ``out_channels``, or C/4, C/2, C, C from stride 4 to 32.

    Shape:
        fmap ``(B, C, H, W)`` of stride 16; returns ``(B, channels, H', W')`` with ``H' = 4 H, 2 H, H, ceil(H / 2)``.

    Cost:
        For N places of stride 16: ``2 N C^2 + 2 N C^2`` multiply-adds at stride 4, ``2 N C^2`` at stride 8; and
        ``channels_in out_channels + 9 out_channels^2`` for each place of the level with ``out_channels``.

    Raises:
        ValueError: If ``stride`` is none of the four, or ``dim`` cannot be halved as often as it takes.

    Reference:
        arXiv 2203.16527, section 3 and figure 2.

    Differs from the paper:
        Odd maps are max-pooled to the ceiling of half their size. With ``out_channels=None`` the last two convolutions
        are left to the neck, so that a stock FPN does not repeat them.
    """

    def __init__(self, dim: int, stride: int, *, out_channels: int | None = None, norm_eps: float = 1e-6) -> None:
        super().__init__()
        halvings = {4: 2, 8: 1, 16: 0, 32: 0}
        if stride not in halvings:
            raise ValueError(f"stride={stride} must be one of {tuple(halvings)}")
        if dim % 2 ** halvings[stride]:
            raise ValueError(f"dim={dim} must be a multiple of {2 ** halvings[stride]} for a level of stride {stride}")
        # Importing timm takes longer than importing torch: it waits until a network needs it.
        from timm.layers import LayerNorm2d

        layers: list[nn.Module] = []
        for _ in range(halvings[stride]):
            if layers:
                layers += [LayerNorm2d(dim, eps=norm_eps), nn.GELU()]
            layers.append(nn.ConvTranspose2d(dim, dim // 2, 2, stride=2))
            dim //= 2
        if stride > BASE_STRIDE:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.resample = nn.Sequential(*layers)
        self.channels = out_channels or dim
        self.project: nn.Module = nn.Identity()
        if out_channels:
            self.project = nn.Sequential(
                nn.Conv2d(dim, out_channels, 1, bias=False),
                LayerNorm2d(out_channels, eps=norm_eps),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels, eps=norm_eps),
            )

    def forward(self, fmap: Tensor) -> Tensor:
        """Bring a map ``(B, C, H, W)`` of stride 16 to the level's stride."""
        return self.project(self.resample(fmap))
