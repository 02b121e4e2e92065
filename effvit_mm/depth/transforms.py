"""What stock transforms lack for depth: loading with checks, the border of NYU's pictures, colours.

Flipping, cropping, rotating and resizing are mmseg's own, which treat everything in ``seg_fields`` alike and by nearest
neighbours; give ``RandomRotate`` ``seg_pad_val=0``, the value of "nothing measured" (its default is 255 metres).
"""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from effvit_mm.depth.files import read_depth
from effvit_mm.errors import BadInputError
from effvit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadDepth(BaseTransform):
    """Load the depth map of a picture in metres.

    Reads ``depth_map_path`` and ``depth_scale`` (units in a metre), which the data sets of this package set; writes
    ``gt_depth_map`` ``(H, W)`` float32, and adds its name to ``seg_fields``.

    Raises:
        BadInputError: If the file cannot be used, or is of another size than the picture.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load it; the picture itself may have been loaded and resized before."""
        depth = read_depth(results["depth_map_path"], results["depth_scale"])
        size = tuple(results.get("ori_shape", depth.shape))
        if depth.shape != size:
            raise BadInputError(
                f"depth map {results['depth_map_path']} is {depth.shape[0]} x {depth.shape[1]} pixels (H x W), but its "
                f"picture {results['img_path']} is {size[0]} x {size[1]}; resize the depth map by nearest neighbours, "
                f"or pair the files that belong together"
            )
        results["gt_depth_map"] = depth
        results["seg_fields"].append("gt_depth_map")
        return results


@TRANSFORMS.register_module()
class BorderCrop(BaseTransform):
    """Cut off the border of a camera's pictures, where its depth is always missing.

    NYU's depth was projected into the colour picture, which left a frame without it; the default box is the one that
    BTS and AdaBins train on.

    Args:
        rows: First row kept, and first one below it that is not.
        columns: The same of the columns.
        size: ``(H, W)`` of the pictures for which the box is meant.

    Raises:
        BadInputError: If a picture is of another size.
    """

    def __init__(
        self,
        *,
        rows: tuple[int, int] = (45, 472),
        columns: tuple[int, int] = (43, 608),
        size: tuple[int, int] = (480, 640),
    ) -> None:
        if not (0 <= rows[0] < rows[1] <= size[0] and 0 <= columns[0] < columns[1] <= size[1]):
            raise ValueError(f"rows={rows} and columns={columns} are no box inside size={size}; pass (first, end)")
        self.box = (slice(*rows), slice(*columns))
        self.size = tuple(size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop picture and depth."""
        size = results["img"].shape[:2]
        if size != self.size:
            raise BadInputError(
                f"picture {results.get('img_path', '')} is {size[0]} x {size[1]} pixels (H x W), but BorderCrop is for "
                f"{self.size[0]} x {self.size[1]}; take BorderCrop out of the pipeline, or give it rows, columns and "
                f"size of this camera"
            )
        for key in ("img", *results.get("seg_fields", [])):
            results[key] = results[key][self.box]
        results["img_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class RandomGammaBrightnessColor(BaseTransform):
    """Change gamma, brightness and the balance of the channels, by factors drawn evenly from their ranges.

    On values from 0 to 1: ``clip(brightness * color[c] * value^gamma, 0, 1)``.

    Args:
        prob: Share of the pictures that are changed.
        gamma: Range of the exponent.
        brightness: Range of the factor of all channels.
        color: Range of the factor of each channel.

    Reference:
        Lee et al., "From Big to Small", 2019; the ranges are those of its released code for NYU.

    Differs from the paper:
        The result is rounded to 8 bits again.
    """

    def __init__(
        self,
        *,
        prob: float = 0.5,
        gamma: tuple[float, float] = (0.9, 1.1),
        brightness: tuple[float, float] = (0.75, 1.25),
        color: tuple[float, float] = (0.9, 1.1),
    ) -> None:
        for name, (low, high) in dict(gamma=gamma, brightness=brightness, color=color).items():
            if not 0 < low <= high:
                raise ValueError(f"{name}={(low, high)} is not allowed; pass (low, high) with 0 < low <= high")
        self.prob = prob
        self.gamma = gamma
        self.brightness = brightness
        self.color = color

    @cache_randomness
    def draw(self) -> tuple[bool, float, np.ndarray]:
        """Draw whether to change, the exponent, and the factor of each channel."""
        changes = np.random.rand() < self.prob  # noqa: NPY002  (the generator a run seeds)
        gamma = np.random.uniform(*self.gamma)  # noqa: NPY002
        factors = np.random.uniform(*self.brightness) * np.random.uniform(*self.color, size=3)  # noqa: NPY002
        return changes, gamma, factors

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change the picture, ``(H, W, 3)`` uint8."""
        changes, gamma, factors = self.draw()
        if changes:
            table = np.clip(np.linspace(0, 1, 256)[:, None] ** gamma * factors, 0, 1)
            table = np.rint(255 * table).astype(np.uint8)
            results["img"] = np.stack([table[results["img"][..., c], c] for c in range(3)], axis=-1)
        return results
