"""Reads images to draw on, as a run loads them."""

from pathlib import Path

import mmcv
import numpy as np
from mmengine.fileio import get


def read_image(file: Path | str, *, turns: bool) -> np.ndarray:
    """Return an image, ``(H, W, 3)`` RGB.

    Args:
        file: The image.
        turns: Whether a run turns it as its EXIF says.
    """
    flag = "color" if turns else "color_ignore_orientation"
    # mmcv swaps the channels of the first flag alone.
    return np.ascontiguousarray(mmcv.imfrombytes(get(str(file)), flag=flag, channel_order="bgr")[..., ::-1])
