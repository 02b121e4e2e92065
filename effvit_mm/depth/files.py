"""Depth on disk: 16-bit PNG of ``round(metres * scale)``, where 0 says that nothing was measured."""

import os.path
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import get

from effvit_mm.errors import BadInputError

MILLIMETRES = 1000.0
FARTHEST = 2**16 - 1


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
        raise BadInputError(f"depth map {file} {problem}; {say_writing(scale)}")
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
        channels = "1 channel" if stored.ndim == 2 else f"{stored.shape[2]} channels"
        return None, f"has {8 * stored.dtype.itemsize} bits and {channels}, expected 16 bits and one channel"
    return stored, ""


def say_writing(scale: float) -> str:
    """Say how a depth map that cannot be used is mended.

    Args:
        scale: Units of the file in a metre, as its data set has them.
    """
    return (
        f"fetch it again, or write the depth itself (8 bits are a coloured or coarsened copy) in the unit that "
        f"depth_scale={scale:g} says: "
        f"cv2.imwrite(file, np.clip(np.rint(metres * {scale:g}), 0, {FARTHEST}).astype(np.uint16))"
    )


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


def refuse_clipping(max_depth: float, scale: float, setting: str = "png_scale") -> None:
    """Refuse a unit in which 16 bits do not reach as far as depth does.

    Args:
        max_depth: Farthest depth, metres.
        scale: Units of the files in a metre.
        setting: What sets it, for the message.

    Raises:
        BadInputError: If depth would be cut off.
    """
    if max_depth * scale > FARTHEST:
        fits = next((unit for unit in (MILLIMETRES, 256.0) if max_depth * unit <= FARTHEST), FARTHEST // max_depth)
        raise BadInputError(
            f"{setting}={scale:g} writes depth up to {FARTHEST / scale:g} m into 16 bits, but max_depth={max_depth:g} "
            f"m; set {setting}={fits:g}, that many units in a metre"
        )


def path_like(picture: str | Path, suffix: str = ".png") -> Path:
    """Name what is made of a picture after its whole path, so that no two pictures share a name.

    Args:
        picture: Its path.
        suffix: What takes the place of the picture's suffix.

    Returns:
        The path from the working folder where the picture lies below it, else from the root of the file system.
    """
    path = Path(os.path.abspath(picture))
    path = path.relative_to(Path.cwd() if path.is_relative_to(Path.cwd()) else path.anchor)
    return path.with_suffix(suffix)
