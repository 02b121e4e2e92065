"""Toy scenes on disk, in the layouts that the stock data sets read.

`ensure_toy_scenes(root)` writes, from one set of scenes::

    root/
      toy_scenes.json                               parameters and format version; marks the folder as ours
      coco/                                         COCO instances; masks are run-length encoded
        annotations/instances_{train,val}2017.json
        {train,val}2017/000000000001.jpg            numbers run on from the training to the validation split
      ade20k/                                       masks: 0 is ignored, 1.. are SEMANTIC_CLASSES
        images/{training,validation}/scene_00001.jpg
        annotations/{training,validation}/scene_00001.png
        classes.txt
      nyu/                                          depth is uint16 millimetres, 0 is invalid
        nyu_train.txt  nyu_test.txt                 BTS: "rgb depth focal", under sync/ and official_splits/test/
        sync/scene_00001/{rgb,sync_depth}_00000.{jpg,png}
        official_splits/test/scene_00301/{rgb,sync_depth}_00000.{jpg,png}
        images/{train,test}/scene_00001.jpg         the same files as mmseg's NYUDataset lists them
        annotations/{train,test}/scene_00001.png
      imagenet/                                     one square crop around one object of each picture
        {train,val}/{box,sphere,cylinder}/scene_00001.jpg
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import track

from effvit_mm.datasets.toy_layouts import SPLITS, Entry, write_lists, write_scene
from effvit_mm.datasets.toy_scenes import OBJECT_CLASSES, SEMANTIC_CLASSES, check_size, render_scene
from effvit_mm.parent_death import end_with

__all__ = ["FORMAT_VERSION", "MANIFEST", "OBJECT_CLASSES", "SEMANTIC_CLASSES", "ensure_toy_scenes", "scene_seed"]

FORMAT_VERSION = 1  # raise it whenever the same parameters give other files
MANIFEST = "toy_scenes.json"

_INDEX_BITS = 32
_MAX_DEFAULT_WORKERS = 4
_PIXELS_PER_WORKER = 200 * 128 * 160  # takes about 4 s, as long as it takes another process to import this package


@dataclass(frozen=True)
class _Job:
    """One scene to render and write."""

    root: Path
    split: str
    image_id: int
    seed: int
    size: tuple[int, int]


def scene_seed(seed: int, split: str, index: int) -> int:
    """Return the seed of a scene; different arguments never share one, since each has bits of its own.

    Args:
        seed: Of the whole set, non-negative.
        split: One of `SPLITS`.
        index: Position in the split, below 2**32.
    """
    return (seed << (_INDEX_BITS + 1)) | (SPLITS.index(split) << _INDEX_BITS) | index


def ensure_toy_scenes(
    root: Path | str,
    *,
    num_train: int = 300,
    num_val: int = 60,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
    num_workers: int | None = None,
    before_rendering: Callable[[], None] | None = None,
) -> Path:
    """Return the folder of a set of toy scenes; make it first where it is missing or was made with other parameters.

    A line on stderr says which parameters differ before a folder is replaced. The files are written beside `root` and
    moved there at the end, so a folder at `root` is always complete, also when two processes make it at once.

    Args:
        root: Folder of the set.
        num_train: Training scenes.
        num_val: Validation scenes.
        size: `(H, W)` of the pictures in pixels.
        seed: The same seed gives the same files.
        num_workers: Processes; by default one a core, at most four, and only the calling one for a set of the default
            size, which is done before others have started. The files do not depend on it. With more than one, a script
            that calls this needs the usual `if __name__ == "__main__":`.
        before_rendering: Called where there is something to render; what it raises leaves the folder as it was.

    Raises:
        ValueError: On a bad argument, or if there is something at `root` that this function did not write.
    """
    _check_arguments(num_train, num_val, size, seed, num_workers)
    root = Path(root).resolve()
    size = (int(size[0]), int(size[1]))
    manifest = {"num_train": num_train, "num_val": num_val, "size": list(size), "seed": seed}
    manifest["format_version"] = FORMAT_VERSION
    found = _read_manifest(root)
    if found == manifest:
        return root
    if before_rendering is not None:
        before_rendering()
    if found is not None:
        Console(stderr=True).print(_say_replaced(root, found, manifest), markup=False, highlight=False, soft_wrap=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    with _sibling(root) as made:
        jobs = [
            _Job(made, split, first_id + index, scene_seed(seed, split, index), size)
            for split, count, first_id in (("train", num_train, 1), ("val", num_val, num_train + 1))
            for index in range(count)
        ]
        entries = _run(jobs, num_workers)
        write_lists(made, "train", entries[:num_train])
        write_lists(made, "val", entries[num_train:])
        (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _publish(made, root, manifest)
    return root


def _check_arguments(num_train: int, num_val: int, size: tuple[int, int], seed: int, num_workers: int | None) -> None:
    check_size(size)
    limits = {"num_train": (num_train, 1), "num_val": (num_val, 1), "seed": (seed, 0), "num_workers": (num_workers, 1)}
    for name, (value, least) in limits.items():
        if value is None and name == "num_workers":
            continue
        if not isinstance(value, int) or not least <= value < 2**_INDEX_BITS:
            allowed = f"an integer of at least {least} and below 2**{_INDEX_BITS}"
            raise ValueError(f"{name}={value!r} is not allowed; pass {allowed}")


def _read_manifest(root: Path) -> dict[str, Any] | None:
    """Return the parameters of the set at `root`, None where there is nothing.

    Raises:
        ValueError: If what is there is not ours.
    """
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            return None
        manifest = None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise ValueError(
            f"root={str(root)!r} has no valid {MANIFEST}, so it is not a folder of toy scenes and is not replaced; "
            "pass a new or an empty folder, or remove this one"
        )
    return manifest


def _say_replaced(root: Path, found: dict[str, Any], asked: dict[str, Any]) -> str:
    """Name every parameter that differs, or the version of the format alone."""
    held = [f"{name}={found.get(name)}" for name in asked if found.get(name) != asked[name]]
    wanted = [f"{name}={value}" for name, value in asked.items() if found.get(name) != value]
    return f"toy scenes: {root} is rendered anew: it holds {', '.join(held)}, asked for is {', '.join(wanted)}"


@contextmanager
def _sibling(root: Path) -> Iterator[Path]:
    """Give a new folder beside `root`, on the same file system, and remove what is left of it."""
    folder = root.with_name(f".{root.name}.{uuid.uuid4().hex[:12]}.partial")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(made: Path, root: Path, manifest: dict[str, Any]) -> None:
    """Move a finished folder to `root`; if another process was faster with the same parameters, use its folder."""
    while True:
        try:
            # Succeeds onto a missing or an empty folder only, so two sets are never mixed.
            made.rename(root)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        found = _read_manifest(root)
        if found == manifest:
            return
        if found is not None:
            # Another process may retire the same folder first.
            with _sibling(root) as retired, suppress(FileNotFoundError):
                root.rename(retired)


def _run(jobs: Sequence[_Job], num_workers: int | None) -> list[Entry]:
    """Make all scenes with a progress bar; the entries come back in the order of the jobs."""
    if num_workers is None:
        height, width = jobs[0].size
        worthwhile = max(1, len(jobs) * height * width // _PIXELS_PER_WORKER)
        num_workers = min(os.cpu_count() or 1, _MAX_DEFAULT_WORKERS, worthwhile)
    if num_workers == 1:
        return _show_progress(map(_make, jobs), len(jobs))
    # Spawned, not forked: the caller may hold threads or a GPU, which a fork does not survive.
    with multiprocessing.get_context("spawn").Pool(num_workers, _start_worker) as pool:
        return _show_progress(pool.imap(_make, jobs, chunksize=4), len(jobs))


def _show_progress(entries: Iterable[Entry], total: int) -> list[Entry]:
    return list(track(entries, "toy scenes", total=total, console=Console(stderr=True), transient=True))


def _start_worker() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_with(parent.pid)
    cv2.setNumThreads(1)


def _make(job: _Job) -> Entry:
    return write_scene(job.root, job.split, job.image_id, render_scene(job.seed, job.size))
