"""What every neck across scales does with the maps it is given."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from effvit_mm.backbones.initialization import initialize_weights


class AcrossScales(BaseModule, ABC):
    """A neck that returns maps of the channels and sizes it gets.

    Args:
        in_channels: Channels of the maps, finest first.
        init_cfg: MMEngine's initialisation, applied after our own.

    Attributes:
        in_channels: As given.
        out_channels: The same.

    Raises:
        ValueError: If there are fewer than two maps.
    """

    def __init__(self, in_channels: Sequence[int], init_cfg: dict[str, Any] | list[dict[str, Any]] | None) -> None:
        super().__init__(init_cfg)
        if isinstance(in_channels, int) or len(in_channels) < 2:
            raise ValueError(f"in_channels={in_channels!r} must be the channels of two maps or more, finest first")
        self.in_channels = self.out_channels = tuple(in_channels)

    def init_weights(self) -> None:
        """Draw every weight anew, then apply ``init_cfg``: once, as every module of MMEngine."""
        if not self.is_init:
            initialize_weights(self)
        super().init_weights()

    def forward(self, fmaps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Exchange between maps ``(B, in_channels[s], H_s, W_s)``; returns maps of the same shapes."""
        found = [fmap.shape[1] for fmap in fmaps]
        if tuple(found) != self.in_channels:
            raise ValueError(
                f"{type(self).__name__} was built for in_channels={self.in_channels}, but got {len(found)} maps of "
                f"{found} channels; set its in_channels to the backbone's channels"
            )
        return self.exchange(fmaps)

    @abstractmethod
    def exchange(self, fmaps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Exchange between maps whose number and channels are right."""


def per_scale(argument: str, value: Sequence[int], num_scales: int) -> tuple[int, ...]:
    """Check one positive number for each scale.

    Raises:
        ValueError: If there are more or fewer, or one is below 1.
    """
    if len(value) != num_scales or min(value) < 1:
        raise ValueError(f"{argument}={tuple(value)} must be a number of at least 1 for each of the {num_scales} maps")
    return tuple(value)
