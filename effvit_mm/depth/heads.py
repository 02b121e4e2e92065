"""Depth heads: from the maps of a backbone to metres."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from effvit_mm.registry import MODELS

DepthOutput = Literal["sigmoid", "bins"]

_BIN_FLOOR = 0.1  # added to every bin's weight, so that their sum is never 0


class DepthHead(BaseModule):
    """What every depth head does: turn scores into metres between two bounds, and hand them to the losses.

    Args:
        in_channels: Channels of the maps the head takes.
        in_index: Which of the maps it is given those are.
        output: ``'sigmoid'``: one score a place, squashed between the bounds. ``'bins'``: the mean of evenly spaced
            depths, weighted by ``relu(score) + 0.1``.
        num_bins: Number of depths with ``'bins'``.
        min_depth: Nearest depth it can predict, metres.
        max_depth: Farthest depth it can predict, metres.
        loss_decode: One loss or several, each ``(predicted, truth) -> scalar`` with a ``loss_name``.
        init_cfg: How the weights start; as torch draws them by default.

    Raises:
        ValueError: On a bound or length that cannot be.

    Reference:
        The bins: Bhat et al., "AdaBins", CVPR 2021, with bins that do not adapt; the weights: the linear
        depth head of Oquab et al., "DINOv2", 2023.
    """

    # Read by mmseg's EncoderDecoder.
    num_classes = 1
    out_channels = 1
    align_corners = False

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_index: Sequence[int],
        output: DepthOutput,
        num_bins: int,
        min_depth: float,
        max_depth: float,
        loss_decode: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        init_cfg: dict[str, Any] | None,
    ) -> None:
        super().__init__(init_cfg)
        if len(in_channels) != len(in_index):
            raise ValueError(
                f"in_channels={tuple(in_channels)} and in_index={tuple(in_index)} must have one entry a map each"
            )
        if output not in ("sigmoid", "bins"):
            raise ValueError(f"output={output!r} is not allowed; pass 'sigmoid' or 'bins'")
        if not 0 < min_depth < max_depth:
            raise ValueError(
                f"min_depth={min_depth} and max_depth={max_depth} are not allowed; pass metres, 0 < min < max"
            )
        if output == "bins" and num_bins < 2:
            raise ValueError(f"num_bins={num_bins} is not allowed; pass an integer of at least 2, such as 256")
        self.in_channels = tuple(in_channels)
        self.in_index = tuple(in_index)
        self.output = output
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.num_scores = num_bins if output == "bins" else 1
        centers = torch.linspace(min_depth, max_depth, self.num_scores).reshape(1, -1, 1, 1)
        self.register_buffer("bin_centers", centers, persistent=False)
        losses = [loss_decode] if isinstance(loss_decode, Mapping) else loss_decode
        self.loss_decode = nn.ModuleList(MODELS.build(loss) for loss in losses)

    def to_depth(self, scores: Tensor) -> Tensor:
        """Turn scores ``(B, 1 or num_bins, H, W)`` into metres ``(B, 1, H, W)``, in fp32: bf16 knows 5 m to 3 cm."""
        scores = scores.float()
        if self.output == "sigmoid":
            return self.min_depth + (self.max_depth - self.min_depth) * scores.sigmoid()
        weights = scores.relu() + _BIN_FLOOR
        return (weights * self.bin_centers).sum(1, keepdim=True) / weights.sum(1, keepdim=True)

    def select(self, fmaps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps of ``in_index``."""
        return [fmaps[index] for index in self.in_index]

    def loss(self, fmaps: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any = None) -> dict:
        """Return the losses by name, at the resolution of the ground truth.

        Depth that the head cannot predict does not train, as if it were not measured: 65535 for "no return", or sky.
        The metric leaves it out as well.
        """
        truth = torch.stack([sample.gt_depth_map.data for sample in batch_data_samples])
        truth = truth.where((truth > self.min_depth) & (truth < self.max_depth), 0)
        predicted = resize(self(fmaps), truth.shape[-2:])
        losses: dict[str, Tensor] = {}
        for loss in self.loss_decode:
            # Of one name, as mmseg's heads have them: their sum.
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + loss(predicted, truth)
        return losses


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind a ReLU, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, fmap: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        return fmap + self.conv2(self.conv1(fmap.relu()).relu())


@MODELS.register_module()
class PyramidDepthHead(DepthHead):
    """A light decoder: coarse maps are upsampled onto finer ones, and refined at every step.

    Each level is projected to C channels; from the coarsest on, the running map is upsampled to the next finer level,
    added to it and refined by one residual unit. Behind the finest level the map is narrowed, doubled in size and read.

    Args:
        in_channels: Channels of the maps, finest first.
        in_index: Which of the backbone's maps those are.
        channels: C.
        output: See :class:`DepthHead`.
        num_bins: See :class:`DepthHead`.
        min_depth: Metres.
        max_depth: Metres.
        loss_decode: See :class:`DepthHead`.
        init_cfg: See :class:`DepthHead`.

    Shape:
        maps ``(B, in_channels[i], H_i, W_i)`` of any sizes; returns metres ``(B, 1, 2 H_0, 2 W_0)``.

    Cost:
        At each level ``18 C^2`` multiply-adds a place, at the finest ``4.5 C^2 + 576 C`` more, and the projections:
        10.7 G at 480x640 with four levels, C = 128 and ``'sigmoid'``.

    Raises:
        ValueError: As :class:`DepthHead`.

    Reference:
        Ranftl et al., "Vision Transformers for Dense Prediction" (DPT), ICCV 2021, figure 1.

    Differs from the paper:
        The levels come from a pyramid, so nothing is reassembled from tokens; 128 channels for 256; one residual unit a
        level instead of two, behind the sum; bilinear upsampling to the size of the next level, whatever it is.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_index: Sequence[int] = (0, 1, 2, 3),
        channels: int = 128,
        output: DepthOutput = "sigmoid",
        num_bins: int = 256,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        loss_decode: Mapping[str, Any] | Sequence[Mapping[str, Any]] = dict(type="SILogLoss"),
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            in_index=in_index,
            output=output,
            num_bins=num_bins,
            min_depth=min_depth,
            max_depth=max_depth,
            loss_decode=loss_decode,
            init_cfg=init_cfg,
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.refine = nn.ModuleList(ResidualUnit(channels) for _ in in_channels)
        self.narrow = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.read = nn.Sequential(
            nn.Conv2d(channels // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, self.num_scores, 1)
        )

    def forward(self, fmaps: Sequence[Tensor]) -> Tensor:
        """Predict metres at twice the resolution of the finest map."""
        skips = [lateral(fmap) for lateral, fmap in zip(self.laterals, self.select(fmaps), strict=True)]
        running = self.refine[-1](skips[-1])
        for skip, refine in zip(skips[-2::-1], self.refine[-2::-1], strict=True):
            running = refine(skip + resize(running, skip.shape[-2:]))
        height, width = running.shape[-2:]
        return self.to_depth(self.read(resize(self.narrow(running), (2 * height, 2 * width))))


@MODELS.register_module()
class LinearDepthHead(DepthHead):
    """One linear layer on the maps of a backbone: what its features know of depth without a decoder.

    The maps are resized to ``upsample`` times the finest and concatenated, and a 1x1 convolution reads them.

    Args:
        in_channels: Channels of the maps, finest first.
        in_index: Which of the backbone's maps those are.
        upsample: 1 for a pyramid whose finest stride is 4; 4 for maps of stride 14 or 16.
        output: See :class:`DepthHead`.
        num_bins: See :class:`DepthHead`.
        min_depth: Metres.
        max_depth: Metres.
        loss_decode: See :class:`DepthHead`.
        init_cfg: See :class:`DepthHead`.

    Shape:
        maps ``(B, in_channels[i], H_i, W_i)``; returns metres ``(B, 1, upsample H_0, upsample W_0)``.

    Cost:
        ``in_channels[i] * num_bins`` multiply-adds a place of map i: the convolution is applied to each map before it
        is resized, which is the same, since both are linear and bilinear weights sum to one.

    Raises:
        ValueError: As :class:`DepthHead`.

    Reference:
        Oquab et al., "DINOv2", 2023 ("lin. 1" and "lin. 4").

    Differs from the paper:
        Takes maps of several scales; no class token is concatenated.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_index: Sequence[int] = (0, 1, 2, 3),
        upsample: int = 1,
        output: DepthOutput = "bins",
        num_bins: int = 256,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        loss_decode: Mapping[str, Any] | Sequence[Mapping[str, Any]] = dict(type="SILogLoss"),
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            in_index=in_index,
            output=output,
            num_bins=num_bins,
            min_depth=min_depth,
            max_depth=max_depth,
            loss_decode=loss_decode,
            init_cfg=init_cfg,
        )
        self.upsample = upsample
        # One bias is enough.
        self.read = nn.ModuleList(
            nn.Conv2d(width, self.num_scores, 1, bias=i == 0) for i, width in enumerate(in_channels)
        )

    def forward(self, fmaps: Sequence[Tensor]) -> Tensor:
        """Predict metres at ``upsample`` times the resolution of the finest map."""
        fmaps = self.select(fmaps)
        height, width = fmaps[0].shape[-2:]
        size = (self.upsample * height, self.upsample * width)
        return self.to_depth(sum(resize(read(fmap), size) for read, fmap in zip(self.read, fmaps, strict=True)))


def resize(fmap: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map bilinearly; corners of pixels, not their centres, coincide."""
    return F.interpolate(fmap, size=size, mode="bilinear", align_corners=False)
