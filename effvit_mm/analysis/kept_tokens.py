"""Which tokens a network keeps, drawn over the pictures: a row a picture, a panel a pair of layers."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from effvit_mm.backbones import ToSADeiT
from effvit_mm.backbones.plain import PATCH_SIZE

DIMMED = 0.25  # of the brightness, where a token bypasses the layer
MIN_WIDTH = 224  # pixels of a panel; smaller pictures are enlarged by a whole number
GAP = 6  # pixels between panels
TITLE_HEIGHT = 24  # pixels
FONT = cv2.FONT_HERSHEY_SIMPLEX


@torch.no_grad()
def kept_maps(backbone: ToSADeiT, x: Tensor) -> dict[str, Tensor]:
    """Say where the tokens lie that a network keeps.

    Args:
        backbone: A network that selects tokens, in evaluation mode.
        x: Pictures ``(B, 3, H, W)``, prepared as in training.

    Returns:
        By the name of each pair that selects, such as ``'blocks 2, 3'``: maps ``(B, ceil(H / 16), ceil(W / 16))``, 1
        where the token passes the pair's second layer and 0 where it bypasses it; where heads choose for themselves,
        the share of the heads.
    """
    height, width = (-(-side // PATCH_SIZE) for side in x.shape[-2:])
    maps = {}
    for (first, second), kept in zip(backbone.pairs, backbone.kept_tokens(x), strict=False):
        if kept is None:
            continue
        chosen = kept.as_mask(backbone.num_prefix + height * width).float()
        if chosen.ndim == 3:  # (B, h, N)
            chosen = chosen.mean(dim=1)
        maps[f"blocks {first}, {second}"] = chosen[:, backbone.num_prefix :].unflatten(1, (height, width))
    return maps


def draw_kept_tokens(pictures: Sequence[np.ndarray], maps: Mapping[str, Sequence[Tensor]]) -> np.ndarray:
    """Draw pictures, and beside each what every pair of layers keeps of it, the rest dark and grey.

    Args:
        pictures: Each ``(H, W, 3)`` uint8, RGB, of any sizes; without the padding that the network may have seen.
        maps: What :func:`kept_maps` returns for them.

    Returns:
        ``(rows, columns, 3)`` uint8, RGB: a row for each picture, a column for each pair that selects.

    Raises:
        ValueError: If there are not as many maps as pictures, or none.
    """
    if not pictures or any(len(kept) != len(pictures) for kept in maps.values()):
        counts = {name: len(kept) for name, kept in maps.items()}
        raise ValueError(f"there are {len(pictures)} pictures and maps for {counts}; give one of each pair for each")
    panel_width = max(_enlarged(picture).shape[1] for picture in pictures)
    rows = [_titles(["picture", *maps], panel_width)]
    for i, picture in enumerate(pictures):
        panels = [picture, *(_dimmed(picture, kept[i].cpu().numpy()) for kept in maps.values())]
        rows.append(np.concatenate([_bordered(_enlarged(panel), panel_width) for panel in panels], axis=1))
    return np.concatenate(rows)


def _dimmed(picture: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Take color and brightness from the places of a picture that are not kept."""
    height, width = picture.shape[:2]
    patches = np.kron(kept, np.ones((PATCH_SIZE, PATCH_SIZE), kept.dtype))[:height, :width, None]
    grey = picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.rint(patches * picture + (1 - patches) * DIMMED * grey).astype(np.uint8)


def _enlarged(panel: np.ndarray) -> np.ndarray:
    factor = -(-MIN_WIDTH // panel.shape[1])
    return cv2.resize(panel, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else panel


def _bordered(panel: np.ndarray, width: int) -> np.ndarray:
    return np.pad(panel, ((0, GAP), (0, width - panel.shape[1] + GAP), (0, 0)), constant_values=255)


def _titles(titles: Sequence[str], panel_width: int) -> np.ndarray:
    strip = np.full((TITLE_HEIGHT, len(titles) * (panel_width + GAP), 3), 255, np.uint8)
    for i, title in enumerate(titles):
        cv2.putText(strip, title, (i * (panel_width + GAP) + 4, 17), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
