"""Are the pictures of an annotation file there, whole, and of the size it says?"""

import stat
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image
from rich.progress import track

from effvit_mm.errors import BadInputError, listed

READERS = 8
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class Wording(NamedTuple):
    """How a message speaks of what says which pictures there are, and how large.

    Args:
        which: Which pictures were looked at.
        said_by: What says their size.
        remedy: How else to mend one than by fetching it again.
        setting: What in the config says where they lie, for a message where some are missing.
    """

    which: str
    said_by: str
    remedy: str
    setting: str = ""


def check_pictures(
    folder: Path, images: list[dict[str, Any]], annotations: Path, wording: Wording | None = None
) -> None:
    """Report pictures that are missing, cut off, or of another size than the annotation file says.

    Reads the header and the last bytes of each; decodes only those whose last bytes are odd.

    Args:
        folder: Where they lie.
        images: The annotation file's entries, with ``file_name``, ``height`` and ``width``.
        annotations: The annotation file.
        wording: For a message where there is no such file.

    Raises:
        BadInputError: With their number and the first few.
    """
    which, said_by, remedy, setting = wording or Wording(
        f"that {annotations} names",
        "its entry says",
        "correct their entries in the annotation file or take them out",
        "data_prefix=dict(img='...') of the data set, the folder of the pictures below data_root",
    )

    def state_of(image: dict[str, Any]) -> str:
        return picture_problem(folder / image["file_name"], (image["height"], image["width"]), said_by)

    with ThreadPoolExecutor(READERS) as readers:
        states: Iterable[str] = readers.map(state_of, images)
        # A bar is worth its lines only where a person would wait.
        if len(images) > 5000:
            states = track(states, total=len(images), description=f"Checking {folder}", transient=True)
        problems = [
            f"{str(folder / image['file_name'])[-300:]}  {state}"
            for image, state in zip(images, states, strict=True)
            if state
        ]
    if problems:
        missing = [image["file_name"] for image in images if setting and not (folder / image["file_name"]).exists()]
        elsewhere = f", or set {setting}{_place_of(folder, missing[0])}" if missing else ""
        raise BadInputError(
            f"{len(problems)} of the {len(images)} pictures {which} cannot be used:{listed(problems)}\n"
            f"fetch them again{elsewhere}, or {remedy}"
        )


def picture_problem(file: Path, said: tuple[int, int] | None = None, said_by: str = "") -> str:
    """Return what is wrong with a picture, or an empty string.

    Args:
        file: The picture.
        said: The size ``(H, W)`` it should have; None where any will do.
        said_by: What says so, for the message.
    """
    try:
        # Opening a pipe would wait for whoever writes into it.
        if not stat.S_ISREG(file.stat().st_mode):
            return "is no file"
        with file.open("rb") as stream, Image.open(stream) as picture, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            size = _size_as_loaded(picture, said) if said else None
            stream.seek(-min(16, file.stat().st_size), 2)
            if END_MARKERS.get(picture.format or "", b"?") not in stream.read():
                picture.load()
                _decode(file)
    except Image.DecompressionBombError:
        # Pillow refuses what OpenCV still reads; such a picture is right if its entry says that it is large.
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        if said is None or said[0] * said[1] > limit:
            return ""
        return f"has more than {limit} pixels, {said_by} {said[0]} x {said[1]}"
    except FileNotFoundError:
        return "missing"
    except (OSError, SyntaxError, ValueError) as error:
        return f"torn or no picture: {str(error)[:200]}"
    if said and size and size != said:
        return f"is {size[0]} x {size[1]} pixels (H x W), {said_by} {said[0]} x {said[1]}"
    return ""


def _place_of(folder: Path, name: str) -> str:
    """Say where a picture lies that is not in its folder, if in one beside, below or above it."""
    above = folder.parent
    near = [above, *(child for place in (above, folder) if place.is_dir() for child in sorted(place.iterdir()))]
    for wanted in dict.fromkeys((name, Path(name).name)):
        for place in near:
            if (place / wanted).is_file():
                return f" ({wanted} lies in {place}/)"
    return ""


def _size_as_loaded(picture: Image.Image, said: tuple[int, int] | None) -> tuple[int, int]:
    """Return (H, W) as OpenCV will load it: turned as the camera's note says."""
    width, height = picture.size
    if (height, width) != said and picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5:
        return width, height
    return height, width


def _decode(file: Path) -> None:
    if cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) is None:
        raise OSError("OpenCV cannot decode it")
