"""Takes the official pictures out of ``nyu_depth_v2_labeled.mat``."""

from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from effvit_mm.data_tool.opening import show_progress
from effvit_mm.errors import BadInputError

FOCAL = "518.8579"  # pixels, of the Kinect's colour camera, as BTS's lists say
# What published tables compare is BTS's version of the pictures: a frame of black, and depth in whole millimetres.
ROWS, COLUMNS = slice(7, 474), slice(7, 632)
INDICES = {"train": "trainNdxs", "test": "testNdxs"}

Readers = tuple[Any, Any]
"""h5py and ``scipy.io.matlab``."""


def write_labelled_pictures(
    readers: Readers, labelled: Path, splits: bytes, split: str, folder: Path
) -> list[tuple[str, ...]]:
    """Write the official pictures of a split and their measured depth, named as BTS names them.

    Args:
        readers: From ``find_readers``.
        labelled: ``nyu_depth_v2_labeled.mat``, HDF5: ``images``, ``rawDepths``, ``sceneTypes``.
        splits: What ``splits.mat`` holds, whose ``trainNdxs`` and ``testNdxs`` count from 1.
        split: ``'train'`` or ``'test'``.
        folder: Where they go, one folder a type of scene.

    Returns:
        Picture, depth and focal length of each, sorted.

    Raises:
        BadInputError: If a file is not what its name says.
    """
    h5py, matlab = readers
    key = INDICES[split]
    try:
        chosen = sorted(int(number) - 1 for number in matlab.loadmat(BytesIO(splits))[key].ravel())
    except (OSError, ValueError, LookupError, NotImplementedError, matlab.MatReadError) as error:
        raise BadInputError(f"splits.mat holds no {key} ({error}); fetch the official split again") from error
    pairs = []
    try:
        with h5py.File(labelled, "r") as content:
            types = content["sceneTypes"][0]
            for index in show_progress(chosen, f"{split} pictures", len(chosen)):
                scene = "".join(chr(letter) for letter in np.ravel(content[types[index]][()]))
                names = (f"{scene}/rgb_{index:05d}.jpg", f"{scene}/sync_depth_{index:05d}.png")
                # MATLAB's columns come first: (3, W, H) and (W, H).
                _write(folder, names, content["images"][index].T, content["rawDepths"][index].T)
                pairs.append((*names, FOCAL))
    except (OSError, LookupError) as error:
        raise BadInputError(
            f"{labelled} cannot be read ({error}), expected images, rawDepths and sceneTypes in HDF5; fetch it again"
        ) from error
    return sorted(pairs)


def find_readers() -> Readers:
    """Return what reads MATLAB's files.

    Raises:
        BadInputError: If it is not installed.
    """
    try:
        return import_module("h5py"), import_module("scipy.io.matlab")
    except ImportError as error:
        raise BadInputError(
            f"reading nyu_depth_v2_labeled.mat needs {error.name}, which is not installed: in the clone, "
            f"pip install -e '.[nyu]'"
        ) from error


def _write(folder: Path, names: tuple[str, str], picture: np.ndarray, depth: np.ndarray) -> None:
    framed = np.zeros_like(picture)
    framed[ROWS, COLUMNS] = picture[ROWS, COLUMNS]
    (folder / names[0]).parent.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_bytes(cv2.imencode(".jpg", framed[..., ::-1])[1].tobytes())
    # Cut, not rounded, as in the files that tables were measured on.
    millimetres = np.clip(np.nan_to_num(depth) * 1000, 0, 65535).astype(np.uint16)
    (folder / names[1]).write_bytes(cv2.imencode(".png", millimetres)[1].tobytes())
