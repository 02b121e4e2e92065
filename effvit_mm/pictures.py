"""Pictures as files: which a folder holds, and each as a network takes it."""

import logging
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image, ImageOps
from torch import Tensor

from effvit_mm.errors import BadInputError
from effvit_mm.image_files import SUFFIXES, describe_left_out, find_images

# ImageNet's, of RGB between 0 and 1: what pre-trained networks and every config here expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Side of the cut over the shorter side of the picture, as DeiT is evaluated.
CROP_RATIO = 0.9


def list_pictures(folder: str | Path, *, named: str = "folder") -> list[Path]:
    """List the pictures of a folder and those below it, by their suffix, in the order of their names.

    What is left out is counted in a warning.

    Args:
        folder: The folder.
        named: What to call it in an error.

    Raises:
        BadInputError: If it is missing, is no folder, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "is no folder" if folder.exists() else "does not exist"
        raise BadInputError(f"{named} {folder} {state}; give a folder of pictures ({', '.join(SUFFIXES)})")
    pictures, others = find_images(folder)
    left_out = describe_left_out(folder, others, f"convert them to one of {', '.join(SUFFIXES)} to have them read")
    if not pictures:
        raise BadInputError(
            f"{named} {folder} holds no picture, expected files in {', '.join(SUFFIXES)}; fill it"
            + (f"\n{left_out}" if left_out else "")
        )
    if left_out:
        print_log(left_out, "current", logging.WARNING)
    return pictures


def read_picture(file: str | Path) -> Image.Image:
    """Read a picture whole: RGB, turned as its camera noted.

    Raises:
        BadInputError: If it is missing, cut off or no picture.
    """
    try:
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except FileNotFoundError as error:
        raise BadInputError(f"picture {file} does not exist; give the path of a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = str(error)[:200]
        raise BadInputError(f"picture {file} is torn or no picture ({why}); fetch it again or take it away") from error


def read_pictures(folder: str | Path, size: int, *, num_pictures: int, named: str = "folder") -> Tensor:
    """Read pictures of a folder, evenly spread over the order of their names, as a classifier is evaluated on them.

    Args:
        folder: As for :func:`list_pictures`.
        size: Side of the square cut from the middle, in pixels.
        num_pictures: How many at most.
        named: What to call the folder in an error.

    Returns:
        ``(P, 3, size, size)``, normalised by ImageNet's statistics.

    Raises:
        BadInputError: As :func:`list_pictures` and :func:`read_picture`.
    """
    files = list_pictures(folder, named=named)
    # Class folders come one after the other: the first pictures alone would be of one class.
    places = np.linspace(0, len(files) - 1, min(num_pictures, len(files))).round().astype(int)
    side = round(size / CROP_RATIO)
    squares = []
    for place in places:
        square = ImageOps.fit(read_picture(files[place]), (side, side), Image.Resampling.BICUBIC)
        edge = (side - size) // 2
        squares.append(as_tensor(square.crop((edge, edge, edge + size, edge + size))))
    return torch.stack(squares)


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture as ``(3, H, W)``, normalised by ImageNet's statistics."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
