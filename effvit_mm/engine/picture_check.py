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

from effvit_mm.errors import BadInputError

NUM_EXAMPLES = 3
READERS = 8
UNREADABLE = (OSError, SyntaxError, ValueError)
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class Wording(NamedTuple):
    """How a message speaks of what says which pictures there are, and how large.

    Args:
        which: Which pictures were looked at.
        said_by: What says their size.
        remedy: How else to mend one than by fetching it again.
    """

    which: str
    said_by: str
    remedy: str


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
    which, said_by, remedy = wording or Wording(
        f"that {annotations} names", "its entry says", "correct their entries in the annotation file or take them out"
    )
    with ThreadPoolExecutor(READERS) as readers:
        states: Iterable[str] = readers.map(lambda image: _problem_of(folder, image, said_by), images)
        # A bar is worth its lines only where a person would wait.
        if len(images) > 5000:
            states = track(states, total=len(images), description=f"Checking {folder}", transient=True)
        problems = [
            f"  {str(folder / image['file_name'])[-300:]}  {state}"
            for image, state in zip(images, states, strict=True)
            if state
        ]
    if problems:
        more = f"\n  ... and {len(problems) - NUM_EXAMPLES} more" if len(problems) > NUM_EXAMPLES else ""
        raise BadInputError(
            f"{len(problems)} of the {len(images)} pictures {which} cannot be used:\n"
            + "\n".join(problems[:NUM_EXAMPLES])
            + more
            + f"\nfetch them again, or {remedy}"
        )


def _problem_of(folder: Path, image: dict[str, Any], said_by: str) -> str:
    """Return what is wrong with a picture, or an empty string."""
    file, height, width = folder / image["file_name"], image["height"], image["width"]
    try:
        size = _size_of_whole(file, (height, width))
    except Image.DecompressionBombError:
        # Pillow refuses what OpenCV still reads; such a picture is right if its entry says that it is large.
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return "" if height * width > limit else f"has more than {limit} pixels, {said_by} {height} x {width}"
    except UNREADABLE as error:
        return _in_words(error)
    if size != (height, width):
        return f"is {size[0]} x {size[1]} pixels (H x W), {said_by} {height} x {width}"
    return ""


def problem_of_file(file: Path) -> str:
    """Return what is wrong with the file of a picture, whatever its size; an empty string where it is whole."""
    try:
        _size_of_whole(file, None)
    except Image.DecompressionBombError:  # larger than Pillow opens; OpenCV says the rest
        return ""
    except UNREADABLE as error:
        return _in_words(error)
    return ""


def _size_of_whole(file: Path, said: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size (H, W) of a picture; raise one of ``UNREADABLE`` if its file is not whole."""
    # Opening a pipe would wait for whoever writes into it.
    if not stat.S_ISREG(file.stat().st_mode):
        raise IsADirectoryError
    with file.open("rb") as stream, Image.open(stream) as picture, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        size = _size_as_loaded(picture, said)
        stream.seek(-min(16, file.stat().st_size), 2)
        if END_MARKERS.get(picture.format or "", b"?") not in stream.read():
            picture.load()
            _decode(file)
    return size


def _in_words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, IsADirectoryError):
        return "is no file"
    return f"torn or no picture: {str(error)[:200]}"


def _size_as_loaded(picture: Image.Image, said: tuple[int, int] | None) -> tuple[int, int]:
    """Return (H, W) as OpenCV will load it: turned as the camera's note says."""
    width, height = picture.size
    if (height, width) != said and picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5:
        return width, height
    return height, width


def _decode(file: Path) -> None:
    if cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) is None:
        raise OSError("OpenCV cannot decode it")
