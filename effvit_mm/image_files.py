"""What an image file is, which of them a folder holds, and where a missing one may lie: one rule for all readers."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from effvit_mm.errors import BadInputError

# Read by OpenCV, with which runs load images, and by Pillow.
SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Images that not every build of OpenCV and Pillow decodes, raw camera files, animations and videos.
OTHER_SUFFIXES = (
    *(".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".svg"),
    *(".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"),
)


def walk_files(folder: Path, _above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give the files of a folder and those below it, in the order of their names.

    Linked folders are followed, but not back into one that they lie in. What begins with a dot (macOS's ``._1.jpg``
    among them) and ``__MACOSX`` is no data.

    Args:
        folder: The folder.

    Raises:
        BadInputError: If it, or a folder below it, cannot be read.
    """
    here = os.path.realpath(folder)
    if here in _above:
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInputError(f"folder {folder} cannot be read ({error.strerror}); see who may read it") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            yield from walk_files(Path(folder, entry.name), (*_above, here))
        else:
            yield Path(folder, entry.name)


def has_suffix(file: str | Path, suffixes: Iterable[str] = SUFFIXES) -> bool:
    """Tell whether a file's name ends in one of the suffixes, in capitals or not."""
    return str(file).lower().endswith(tuple(suffix.lower() for suffix in suffixes))


def find_images(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> tuple[list[Path], list[Path]]:
    """Return the images of a folder and those below it, and the images and videos that are left out.

    Args:
        folder: The folder, see :func:`walk_files`.
        suffixes: What the names of the images end in.
    """
    suffixes = tuple(suffixes)
    images, left_out = [], []
    for file in walk_files(folder):
        if has_suffix(file, suffixes):
            images.append(file)
        elif has_suffix(file, (*SUFFIXES, *OTHER_SUFFIXES)):
            left_out.append(file)
    return images, left_out


def describe_left_out(folder: Path, left_out: list[Path], remedy: str) -> str:
    """Say how many images and videos of a folder are left out, of which kinds; an empty string for none.

    Args:
        folder: The folder.
        left_out: Of :func:`find_images`.
        remedy: How to have them read.
    """
    if not left_out:
        return ""
    kinds = Counter(file.suffix.lower() for file in left_out)
    counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(kinds.items()))
    verb = "is" if len(left_out) == 1 else "are"
    return f"of the files of {folder} {len(left_out):,} {verb} left out ({counts}), such as {left_out[0]}; {remedy}"


class NearFiles:
    """Finds files under names that differ from the asked for ones as systems and tools make them differ."""

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, str]] = {}

    def describe(self, file: str | Path) -> str:
        """Say which file lies where one is missing, and how their names differ; an empty string for none.

        Args:
            file: The one that is missing.
        """
        parts = Path(str(file).replace("\\", "/")).parts
        place = Path()
        for depth, part in enumerate(parts, 1):
            found = part if (place / part).exists() else self._near(place, part, is_last=depth == len(parts))
            if not found:
                return ""
            place = place / found
        if str(place) == str(file) or not place.is_file():
            return ""
        return f"there is {place}, whose name differs by {describe_difference(str(file), str(place))}"

    def _near(self, folder: Path, name: str, *, is_last: bool) -> str:
        if folder not in self._listings:
            names = os.listdir(folder) if folder.is_dir() and os.access(folder, os.R_OK) else []
            folded = {fold_name(Path(entry).stem) + "*": entry for entry in names if has_suffix(entry)}
            self._listings[folder] = folded | {fold_name(entry): entry for entry in names}
        listing = self._listings[folder]
        near = listing.get(fold_name(name), "")
        if not near and is_last and has_suffix(name):
            near = listing.get(fold_name(Path(name).stem) + "*", "")
        return near


def fold_name(name: str) -> str:
    """Return what names have in common that systems and tools write differently."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def describe_difference(asked: str, found: str) -> str:
    """Say by what two names differ.

    Args:
        asked: The one in a list or annotation file.
        found: The one of a file.
    """
    causes = []
    if "\\" in asked:
        causes.append("back slashes, which separate folders on Windows alone")
        asked = asked.replace("\\", "/")
    if unicodedata.normalize("NFC", asked) == unicodedata.normalize("NFC", found):
        causes += ["how accents are stored (Unicode's NFC and NFD, as of macOS)"] if asked != found else []
    else:
        causes.append("capitals" if fold_name(asked) == fold_name(found) else "the suffix")
    return " and ".join(causes)


def describe_missing(file: str | Path, near: NearFiles) -> str:
    """Say that a file is missing, and which lies there under a name that is nearly its own.

    Args:
        file: The missing one.
        near: Which remembers the folders that were looked into.
    """
    hint = near.describe(file)
    return f"is missing; {hint}" if hint else "is missing"
