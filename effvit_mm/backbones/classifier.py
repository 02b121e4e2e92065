"""An image classifier over any backbone: what pre-training trains and released weights come as."""

from typing import cast

import torch
from torch import Tensor, nn

from effvit_mm.backbones.initialization import initialize_weights


class Classifier(nn.Module):
    """Average the last map of a backbone, or take its class token, and score the classes.

    A distilled network has a second token with a head of its own, and the two scores are averaged.

    Args:
        backbone: A network whose last output is a normed map ``(B, C, H, W)``, a class token ``(B, C)``, or those of a
            distilled network, ``num_class_tokens=2`` (an attribute of it), ``(B, P, C)``.
        num_classes: Classes; 0 for a network that returns features.

    Shape:
        x ``(B, 3, H, W)``; returns ``(B, num_classes)``, or ``(B, C)`` without classes.

    Cost:
        That of the backbone, and ``C num_classes`` multiply-adds a head.

    Raises:
        ValueError: If ``num_classes`` is negative, or the backbone has more than two class tokens.

    Reference:
        Liu et al., "Swin Transformer", ICCV 2021, section 3.3 (average pooling); Dosovitskiy et al., "An Image is Worth
        16x16 Words", ICLR 2021, section 3.1 (class token); Touvron et al., "Training data-efficient image transformers
        & distillation through attention", ICML 2021, section 4 (distillation token, and the average of both heads).

    Differs from the paper:
        DeiT averages the softmax of the two heads; here, as in its code, the scores are. They are averaged in training
        too, where its code returns a pair: :meth:`scores` has both for a distillation loss.
    """

    def __init__(self, backbone: nn.Module, num_classes: int = 1000) -> None:
        super().__init__()
        if num_classes < 0:
            raise ValueError(f"num_classes={num_classes} must be 0 (features) or more")
        num_tokens = getattr(backbone, "num_class_tokens", 0)
        if num_tokens > 2:
            raise ValueError(f"a classifier reads a class token and at most one of distillation, not {num_tokens}")
        self.backbone = backbone
        dim = cast(tuple[int, ...], backbone.channels)[-1]
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        initialize_weights(self.head)
        if num_tokens == 2:
            self.head_dist = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
            initialize_weights(self.head_dist)

    def features(self, x: Tensor) -> Tensor:
        """Compute one vector ``(B, C)`` for each picture ``(B, 3, H, W)``: the mean over class tokens or places."""
        return self._vectors(x).mean(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """Score the classes by each head: ``(B, P, num_classes)``, the distillation token's last where there is one."""
        vectors = self._vectors(x)
        if not hasattr(self, "head_dist"):
            return self.head(vectors)
        return torch.stack([self.head(vectors[:, 0]), self.head_dist(vectors[:, 1])], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes of pictures ``(B, 3, H, W)``."""
        return self.scores(x).mean(dim=1)

    def _vectors(self, x: Tensor) -> Tensor:
        """Compute what the heads read: ``(B, P, C)``."""
        last: Tensor = self.backbone(x)[-1]
        if last.ndim == 4:
            last = last.mean(dim=(2, 3))
        return last[:, None] if last.ndim == 2 else last
