"""Depth on disk: 16-bit PNG of ``round(metres * scale)``, where 0 says that nothing was measured."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import get

from effvit_mm.errors import BadInputError

MILLIMETRES = 1000.0
FARTHEST = 2**16 - 1
WRITTEN_SO = (
    "fetch it again, or write the depth itself (8 bits are a coloured or coarsened copy): "
    "cv2.imwrite(file, np.rint(metres * 1000).astype(np.uint16))"
)


def read_depth(file: str | Path, scale: float = MILLIMETRES) -> np.ndarray:
    """Read a depth map.

    Args:
        file: A 16-bit PNG with one channel.
        scale: Units of the file in a metre: 1000 for millimetres.

    Returns:
        ``(H, W)`` float32, metres; 0 where nothing was measured.

    Raises:
        BadInputError: If it is missing, no picture, or of another kind.
    """
    stored, problem = stored_depth(file)
    if stored is None:
        raise BadInputError(f"depth map {file} {problem}; {WRITTEN_SO}")
    return stored.astype(np.float32) / np.float32(scale)


def stored_depth(file: str | Path) -> tuple[np.ndarray | None, str]:
    """Return what a depth map stores, ``(H, W)`` uint16, or None and what is wrong with it."""
    try:
        encoded = np.frombuffer(get(str(file)), np.uint8)
    except OSError as error:
        return None, f"cannot be read ({error})"
    stored = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if stored is None:
        return None, "is torn or no picture"
    if stored.dtype != np.uint16 or stored.ndim != 2:
        channels = 1 if stored.ndim == 2 else stored.shape[2]
        return None, f"has {8 * stored.dtype.itemsize} bits and {channels} channels, expected 16 bits and one channel"
    return stored, ""


def write_depth(file: str | Path, depth: np.ndarray, scale: float = MILLIMETRES) -> None:
    """Write a depth map as 16-bit PNG.

    Args:
        file: Its folder is made.
        depth: ``(H, W)``, metres, not negative; NaN is written as 0, nothing measured.
        scale: Units of the file in a metre; depth beyond ``65535 / scale`` metres is written as that.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(np.nan_to_num(depth) * scale), 0, FARTHEST).astype(np.uint16)
    file.write_bytes(cv2.imencode(".png", stored)[1].tobytes())


def unique_name(picture: str | Path) -> str:
    """Name a picture by its folder and its own name: ``bathroom_rgb_00045`` of ``bathroom/rgb_00045.jpg``.

    In BTS's layout of NYU the file's name alone is not unique.
    """
    picture = Path(picture)
    return f"{picture.parent.name}_{picture.stem}" if picture.parent.name else picture.stem
