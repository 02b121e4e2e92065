"""Are the pictures of an annotation file there, whole, and of the size it says, as a run loads them?"""

import stat
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image
from rich.progress import track

from effvit_mm.errors import BadInputError, listed
from effvit_mm.image_files import NearFiles

READERS = 8
NUM_NAMED = 3
MISSING = "missing"
TURNED = "its EXIF orientation"
STORED_REMEDY = (
    "where stored pixels were annotated, take the orientation out of the files: exiftool -Orientation= FILES"
)
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


class Look(NamedTuple):
    """What opening an image showed.

    Args:
        problem: What is wrong with it, or an empty string.
        orientation: Of its EXIF, 1 where it has none.
    """

    problem: str = ""
    orientation: int = 1


def check_pictures(
    folder: Path,
    images: list[dict[str, Any]],
    annotations: Path,
    wording: Wording | None = None,
    *,
    turns: bool = True,
    tell: Callable[[str], object] = print,
) -> None:
    """Report pictures that are missing, cut off, or of another size than the annotation file says.

    Reads the header and the last bytes of each; decodes only those whose last bytes are odd. Those whose EXIF
    orientation leaves open what was annotated are counted.

    Args:
        folder: Where they lie.
        images: The annotation file's entries, with ``file_name``, ``height`` and ``width``.
        annotations: The annotation file.
        wording: For a message where there is no such file.
        turns: Whether a run turns them as their EXIF says, see :func:`turns_images`.
        tell: Takes a line on what is no reason to stop.

    Raises:
        BadInputError: With their number and the first few.
    """
    which, said_by, remedy, setting = wording or Wording(
        f"that {annotations} names",
        "its entry says",
        "correct their entries in the annotation file or take them out",
        "data_prefix=dict(img='...') of the data set, the folder of the pictures below data_root",
    )

    def look_at(image: dict[str, Any]) -> Look:
        return look_at_image(folder / image["file_name"], (image["height"], image["width"]), said_by, turns=turns)

    with ThreadPoolExecutor(READERS) as readers:
        looks: Iterable[Look] = readers.map(look_at, images)
        # A bar is worth its lines only where a person would wait.
        if len(images) > 5000:
            looks = track(looks, total=len(images), description=f"Checking {folder}", transient=True)
        looks = list(looks)
    bad = [(folder / image["file_name"], look) for image, look in zip(images, looks, strict=True) if look.problem]
    if bad:
        near = NearFiles()
        problems = [_describe(file, look.problem, near) for file, look in bad[:NUM_NAMED]] + [
            str(file) for file, _ in bad[NUM_NAMED:]
        ]
        missing = [image["file_name"] for image in images if setting and not (folder / image["file_name"]).exists()]
        elsewhere = f", or set {setting}{_place_of(folder, missing[0])}" if missing else ""
        turned = f"; {STORED_REMEDY}" if any(TURNED in look.problem for _, look in bad) else ""
        raise BadInputError(
            f"{len(problems)} of the {len(images)} pictures {which} cannot be used:{listed(problems, NUM_NAMED)}\n"
            f"fetch them again{elsewhere}, or {remedy}{turned}"
        )
    told = describe_orientations([look.orientation for look in looks], turns=turns)
    if told:
        tell(f"{folder}: {told}")


def describe_orientations(orientations: Iterable[int], *, turns: bool) -> str:
    """Say how many images carry an EXIF orientation that keeps their size, and how annotations are taken.

    Sizes cannot tell of these whether the image as it is stored or as it is shown was annotated.

    Args:
        orientations: Of all images.
        turns: Whether a run turns them.

    Returns:
        A sentence, or an empty string where there are none.
    """
    orientations = list(orientations)
    num_carried = sum(orientation != 1 for orientation in orientations)
    num_unsure = sum(orientation in (2, 3, 4) for orientation in orientations)
    if not num_unsure:
        return ""
    taken = "turned or mirrored, as viewers show them" if turns else "as they are stored"
    return (
        f"{num_carried:,} of the {len(orientations):,} images carry an EXIF orientation, {num_unsure:,} of them one "
        f"that keeps their size (upside down or mirrored): a run loads images {taken}, and takes boxes, masks and "
        f"depth to be of that; {STORED_REMEDY if turns else 'annotate stored pixels'}"
    )


def turns_images(spec: Mapping[str, Any]) -> bool:
    """Tell whether the pipeline of a data set loads images turned as their EXIF says, as it does by default.

    Args:
        spec: The data set's dict.
    """
    for step in spec.get("pipeline") or ():
        kind = step.get("type") if isinstance(step, dict) else None
        if str(getattr(kind, "__name__", kind)).rpartition(".")[2] == "LoadImageFromFile":
            backend = step.get("imdecode_backend", "cv2")
            return backend in ("cv2", "pillow") and step.get("color_type", "color") in ("color", "grayscale")
    return True


def picture_problem(file: Path, said: tuple[int, int] | None = None, said_by: str = "", *, turns: bool = True) -> str:
    """Return what is wrong with a picture, or an empty string; see :func:`look_at_image`."""
    return look_at_image(file, said, said_by, turns=turns).problem


def look_at_image(file: Path, said: tuple[int, int] | None = None, said_by: str = "", *, turns: bool = True) -> Look:
    """Look at an image: its header and its last bytes.

    Args:
        file: The image.
        said: The size ``(H, W)`` it should have as a run loads it; None where any will do.
        said_by: What says so, for the message.
        turns: Whether the run turns it as its EXIF says.
    """
    orientation, size = 1, None
    try:
        # Opening a pipe would wait for whoever writes into it.
        if not stat.S_ISREG(file.stat().st_mode):
            return Look("is no file")
        with file.open("rb") as stream, Image.open(stream) as picture, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if said:
                size, orientation = picture.size[::-1], _orientation_of(picture)
            stream.seek(-min(16, file.stat().st_size), 2)
            if END_MARKERS.get(picture.format or "", b"?") not in stream.read():
                picture.load()
                _decode(file)
        is_turned = turns and orientation >= 5 and _loads_turned(file, size)
    except Image.DecompressionBombError:
        # Pillow refuses what OpenCV still reads; such a picture is right if its entry says that it is large.
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        if said is None or said[0] * said[1] > limit:
            return Look()
        return Look(f"has more than {limit} pixels, {said_by} {said[0]} x {said[1]}")
    except FileNotFoundError:
        return Look(MISSING)
    except (OSError, SyntaxError, ValueError) as error:
        return Look(f"torn or no picture: {str(error)[:200]}")
    if is_turned:
        size = size[::-1]
    if said and size != said:
        why = f"; {TURNED} {orientation} turns it as it is loaded" if is_turned and size[::-1] == said else ""
        return Look(f"is {size[0]} x {size[1]} pixels (H x W), {said_by} {said[0]} x {said[1]}{why}", orientation)
    return Look("", orientation)


def _describe(file: Path, problem: str, near: NearFiles) -> str:
    hint = near.describe(file) if problem == MISSING else ""
    return f"{str(file)[-300:]}  {problem}" + (f"; {hint}" if hint else "")


def _place_of(folder: Path, name: str) -> str:
    """Say where a picture lies that is not in its folder, if in one beside, below or above it."""
    above = folder.parent
    near = [above, *(child for place in (above, folder) if place.is_dir() for child in sorted(place.iterdir()))]
    for wanted in dict.fromkeys((name, Path(name).name)):
        for place in near:
            if (place / wanted).is_file():
                return f" ({wanted} lies in {place}/)"
    return ""


def _orientation_of(picture: Image.Image) -> int:
    # Of a PNG without EXIF in front of its pixels Pillow would decode these to look behind them.
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def _loads_turned(file: Path, size: tuple[int, int]) -> bool:
    """Tell whether OpenCV turns an image by a right angle, which it does not of every format."""
    small = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    if small is None:
        raise OSError("OpenCV cannot decode it")
    return bool((small.shape[0] - small.shape[1]) * (size[0] - size[1]) < 0)


def _decode(file: Path) -> None:
    if cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) is None:
        raise OSError("OpenCV cannot decode it")
