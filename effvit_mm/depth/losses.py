"""Losses on the logarithm of depth, over the pixels that were measured."""

import torch
from torch import Tensor, nn

from effvit_mm.registry import MODELS

_SMALLEST = 1e-6  # metres; keeps the logarithm finite


def log_difference(
    predicted: Tensor, truth: Tensor, min_depth: float, max_depth: float | None
) -> tuple[Tensor, Tensor]:
    """Return ``ln(predicted) - ln(truth)`` in fp32 (0 where nothing was measured), and where something was."""
    valid = truth > min_depth
    if max_depth is not None:
        valid = valid & (truth < max_depth)
    ratio = torch.where(valid, predicted.float().clamp(min=_SMALLEST) / truth.float().clamp(min=_SMALLEST), 1.0)
    return ratio.log(), valid


@MODELS.register_module()
class SILogLoss(nn.Module):
    """The scale-invariant logarithmic loss, ``alpha * sqrt(mean(d^2) - lambd * mean(d)^2)`` with d the log-difference.

    ``lambd=0`` is the RMSE of log depth; with ``lambd=1`` a factor common to all pixels costs nothing. Both means run
    over the valid pixels of all pictures of the batch at once.

    Args:
        lambd: Share of the squared mean that is forgiven.
        alpha: Factor that lifts the loss to the order of 1.
        min_depth: Ground truth at or below it, metres, is not valid; 0 is what "not measured" is stored as.
        max_depth: Ground truth at or beyond it is not valid; None for no bound.
        loss_weight: Weight in the sum of losses.
        loss_name: Its name in the log.

    Shape:
        predicted and truth ``(B, 1, H, W)``, metres; returns a scalar.

    Reference:
        Eigen et al., "Depth Map Prediction from a Single Image", NeurIPS 2014, equation 4; the square root, 0.85 and
        10: Lee et al., "From Big to Small", 2019, whose code (BTS) learns from depth beyond 0.1 m: ``min_depth=0.1``,
        as in ``configs/nyu``. The default of 1e-3 is AdaBins'.

    Differs from the paper:
        Computed as ``var(d) + (1 - lambd) * mean(d)^2``, which is the same and cannot become negative by rounding; 1e-8
        is added under the square root, whose slope has no bound at 0. A batch without a valid pixel costs 0.
    """

    def __init__(
        self,
        *,
        lambd: float = 0.85,
        alpha: float = 10.0,
        min_depth: float = 1e-3,
        max_depth: float | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_silog",
    ) -> None:
        super().__init__()
        if not 0 <= lambd <= 1:
            raise ValueError(f"lambd={lambd} is not allowed; pass a number from 0 to 1, such as 0.85")
        self.lambd = lambd
        self.alpha = alpha
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of a batch."""
        difference, valid = log_difference(predicted, truth, self.min_depth, self.max_depth)
        difference = difference[valid]
        if not difference.numel():
            # Every process of a parallel run needs a gradient.
            return predicted.sum() * 0.0
        mean = difference.mean()
        variance = (difference - mean).square().mean()
        return self.loss_weight * self.alpha * (variance + (1 - self.lambd) * mean.square() + 1e-8).sqrt()


@MODELS.register_module()
class DepthGradientLoss(nn.Module):
    """How much the log-difference changes between neighbours, at several scales: depth edges should lie where they are.

    At scale k every 2^k-th pixel of every 2^k-th row is kept, and absolute differences of neighbours whose ends are
    both valid are averaged.

    Args:
        num_scales: Number of scales.
        min_depth: As in :class:`SILogLoss`.
        max_depth: As in :class:`SILogLoss`.
        loss_weight: Weight in the sum of losses.
        loss_name: Its name in the log.

    Shape:
        predicted and truth ``(B, 1, H, W)``, metres; returns a scalar.

    Reference:
        Li and Snavely, "MegaDepth", CVPR 2018 (the multi-scale gradient matching term).

    Differs from the paper:
        Each scale is divided by its own number of pairs, not by the number of pixels, so missing pixels do not weaken
        it; the scales are added.
    """

    def __init__(
        self,
        *,
        num_scales: int = 4,
        min_depth: float = 1e-3,
        max_depth: float | None = None,
        loss_weight: float = 0.5,
        loss_name: str = "loss_gradient",
    ) -> None:
        super().__init__()
        if num_scales < 1:
            raise ValueError(f"num_scales={num_scales} is not allowed; pass an integer of at least 1")
        self.num_scales = num_scales
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of a batch."""
        difference, valid = log_difference(predicted, truth, self.min_depth, self.max_depth)
        total = predicted.sum() * 0.0
        for scale in range(self.num_scales):
            step = 2**scale
            kept, counted = difference[..., ::step, ::step], valid[..., ::step, ::step]
            for dim in (-2, -1):
                pairs = counted.narrow(dim, 1, counted.shape[dim] - 1) & counted.narrow(dim, 0, counted.shape[dim] - 1)
                total = total + (kept.diff(dim=dim).abs() * pairs).sum() / pairs.sum().clamp(min=1)
        return self.loss_weight * total
