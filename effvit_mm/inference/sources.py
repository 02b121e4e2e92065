"""What is predicted: a picture, the pictures of a folder, or the frames of a video."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from effvit_mm.checkpoint import written_whole
from effvit_mm.errors import BadInputError, NotSavedError
from effvit_mm.image_files import SUFFIXES, describe_left_out, find_images, has_suffix

REMEDY = "{first} or give another --out, and start again with --overwrite"
USUAL_RATE = 25.0  # pictures a second, where a video does not say
WORTH_SAYING = 0.9  # of the frames that a video announces; some only estimate their number


@dataclass(frozen=True)
class Picture:
    """One picture to predict.

    Args:
        name: What results call it: its path below the folder that was given, ``clip.mp4/000012`` for a frame.
        stem: Where its own files go below a folder of results, without their suffix.
        source: Its file, or its pixels ``(H, W, 3)`` uint8 in OpenCV's order, blue first.
    """

    name: str
    stem: str
    source: Path | np.ndarray


def is_video(file: Path) -> bool:
    """Tell whether a file is taken for a video: it has no picture's suffix, and is no still picture."""
    if has_suffix(file):
        return False
    return file.suffix.lower() == ".gif" or not cv2.haveImageReader(str(file))


def find_pictures(source: Path, *, without: Path | None = None) -> tuple[list[Picture], str]:
    """List a picture, or the pictures of a folder and the folders in it by their names, and say what is left out.

    Args:
        source: The picture or folder. Of a folder, files with the suffix of a picture, hidden ones passed over.
        without: A folder whose content is passed over.

    Returns:
        The pictures, and how many images and videos are left out; an empty string for none.

    Raises:
        BadInputError: If there is no picture.
    """
    if not source.is_dir():
        return [Picture(source.name, source.stem, source)], ""
    skipped = without.resolve() if without is not None else None
    found, others = (
        [file for file in files if skipped is None or skipped not in file.resolve().parents]
        for files in find_images(source)
    )
    remedy = f"a video is given by its own path, and other images are to be converted to one of {', '.join(SUFFIXES)}"
    left_out = describe_left_out(source, others, remedy)
    if not found:
        raise BadInputError(
            f"folder {source} holds no picture: no name ends in {', '.join(SUFFIXES)}; "
            f"{left_out or 'a video is given by its own path'}"
        )
    names = [file.relative_to(source) for file in found]
    # cat.jpg and cat.png would write the same files.
    counts = Counter(name.with_suffix("") for name in names)
    stems = [name if counts[name.with_suffix("")] > 1 else name.with_suffix("") for name in names]
    pictures = [
        Picture(name.as_posix(), stem.as_posix(), file) for name, stem, file in zip(names, stems, found, strict=True)
    ]
    return pictures, left_out


class Video:
    """The frames of a video file, turned as its camera noted.

    Args:
        file: A file that OpenCV can read.

    Attributes:
        rate: Frames a second.
        num_frames: How many the file announces, None where it does not say; some containers only estimate it.

    Raises:
        BadInputError: If it is no video, or a torn one.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        readable = capture.isOpened() and capture.grab()
        capture.release()
        if not readable:
            raise BadInputError(
                f"{file} is neither a picture nor a video that OpenCV can read; give a picture ending in "
                f"{', '.join(SUFFIXES)}, a folder of them, or a whole video"
            )
        self.rate = rate if np.isfinite(rate) and 0 < rate <= 1000 else USUAL_RATE
        self.num_frames = int(count) if np.isfinite(count) and count > 0 else None
        self.num_read = 0

    def __iter__(self) -> Iterator[Picture]:
        capture = self._open()
        self.num_read = 0
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                number = f"{self.num_read:06d}"
                yield Picture(f"{self.file.name}/{number}", f"{self.file.stem}/{number}", frame)
                self.num_read += 1
        finally:
            capture.release()

    def shortfall(self) -> str:
        """Say that the file ended early, once its frames are read; an empty string where it did not."""
        if self.num_frames is None or self.num_read >= WORTH_SAYING * self.num_frames:
            return ""
        return f"{self.file}: only {self.num_read} of {self.num_frames} frames can be read; the file may be cut off"

    def _open(self) -> cv2.VideoCapture:
        # FFmpeg alone: OpenCV's other readers take digits in a name for a numbered series of pictures.
        return cv2.VideoCapture(str(self.file), cv2.CAP_FFMPEG)


@contextmanager
def written_video(file: Path, rate: float) -> Iterator[Any]:
    """Give a function that appends pictures ``(H, W, 3)``, blue first, to an MP4 that is there once it is whole.

    The first picture says the size; it is made even, as the codec (MPEG-4 part 2) asks.
    """
    writer, size = None, (0, 0)

    def append(picture: np.ndarray) -> None:
        nonlocal writer, size
        height, width = picture.shape[:2]
        if writer is None:
            size = (width + width % 2, height + height % 2)
            writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
            if not writer.isOpened():
                raise NotSavedError(f"{file} was not saved: OpenCV cannot write MP4 here. Use --frames --drawn png")
        writer.write(cv2.copyMakeBorder(picture, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE))

    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file, remedy=REMEDY) as partial:
        # OpenCV chooses the container by the name's end.
        film = partial.with_name(f"{partial.name}.mp4")
        try:
            yield append
            if writer is not None:
                writer.release()
                film.replace(partial)
            else:
                raise BadInputError(f"no frame could be predicted, so {file} was not written")
        finally:
            if writer is not None:
                writer.release()
            film.unlink(missing_ok=True)
