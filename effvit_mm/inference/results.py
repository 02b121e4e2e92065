"""Predictions as files that programs read; each appears under its name once it is whole."""

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np

from effvit_mm.checkpoint import written_whole
from effvit_mm.errors import BadInputError
from effvit_mm.inference.sources import REMEDY, Picture

NUM_BEST = 5
MILLIMETRES, KITTIS = 1000.0, 256.0  # units of a depth file in a metre
FARTHEST = 2**16 - 1  # units
# COCO's 80 classes have the ids 1 to 90 without these.
COCO_LACKS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


class Results:
    """What is written of a task's predictions below one folder, ``results.json`` and the files it names.

    Used as a context manager: the JSON files are there when it ends without an exception, and not at all otherwise.

    Args:
        folder: Where the files go.
        classes: Names of the classes.
        about: What is said of the run, such as the config and the checkpoint.
    """

    def __init__(self, folder: Path, classes: Sequence[str], about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.about = dict(about)
        self._files = ExitStack()

    def __enter__(self) -> "Results":
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            self._files = opened
            self._begin()
            self._files = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._files.__exit__(kind, error, trace)
            return
        with self._files:
            self._end()

    def add(self, picture: Picture, sample: Any) -> None:
        """Write what was predicted of a picture."""
        raise NotImplementedError

    def _begin(self) -> None:
        self._rows = _Rows(self._open("results.json"), {**self.about, **self._head()}, "pictures")

    def _head(self) -> dict[str, Any]:
        return {}

    def _end(self) -> None:
        self._rows.close()

    def _open(self, name: str) -> TextIO:
        partial = self._files.enter_context(written_whole(self.folder / name, remedy=REMEDY))
        return self._files.enter_context(partial.open("w", encoding="utf-8", newline=""))

    def name_of(self, label: int) -> str:
        """Return the name of a class, by its number where it has none."""
        return str(self.classes[label]) if label < len(self.classes) else f"class {label}"


class DetectionResults(Results):
    """``results.json`` in COCO's format for results, and ``images.json`` with the pictures and classes it speaks of.

    ``COCO("images.json").loadRes("results.json")`` of pycocotools reads both. Every object the model gave is there.
    Pictures are numbered from 1 in their order, classes from 1, except that COCO's 80 classes have COCO's own ids.
    """

    def _begin(self) -> None:
        self._rows = _Rows(self._open("results.json"))
        self._images = _Rows(
            self._open("images.json"),
            {"info": self.about, "categories": self._categories(), "annotations": []},
            "images",
        )
        self._num_pictures = 0

    def _categories(self) -> list[dict[str, Any]]:
        from mmdet.datasets import CocoDataset

        ids = range(1, len(self.classes) + 1)
        if self.classes == tuple(CocoDataset.METAINFO["classes"]):
            ids = [number for number in range(1, 91) if number not in COCO_LACKS]
        self._ids = list(ids)
        return [dict(id=number, name=name) for number, name in zip(ids, self.classes, strict=True)]

    def add(self, picture: Picture, sample: Any) -> None:
        """Write the objects of a picture."""
        if "pred_instances" not in sample:
            raise BadInputError(
                f"{picture.name}: the model predicts {', '.join(sample.keys())} and no objects (pred_instances), which "
                f"cannot be written; predict with a detector, or call Predictor from Python"
            )
        self._num_pictures += 1
        height, width = sample.ori_shape[:2]
        self._images.add(dict(id=self._num_pictures, file_name=picture.name, height=height, width=width))
        found = sample.pred_instances
        segmentations = _run_lengths(found.masks.numpy()) if "masks" in found else None
        boxes, labels, scores = found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist()
        for place, ((left, top, right, bottom), label, score) in enumerate(zip(boxes, labels, scores, strict=True)):
            row = dict(image_id=self._num_pictures, file_name=picture.name, category_id=self._id_of(label))
            row |= dict(category=self.name_of(label), bbox=[left, top, right - left, bottom - top], score=score)
            if "mask_scores" in found:
                row["mask_score"] = float(found.mask_scores[place])
            if segmentations is not None:
                row["segmentation"] = segmentations[place]
            self._rows.add(row)

    def _id_of(self, label: int) -> int:
        return self._ids[label] if label < len(self._ids) else label + 1

    def _end(self) -> None:
        self._rows.close()
        self._images.close()


class SegmentationResults(Results):
    """A mask a picture under ``masks/``, and in ``results.json`` the classes and each picture's share of them.

    A mask is a PNG of one channel whose values are places in the list of classes, from 0; of 16 bits where there are
    more than 256 classes.
    """

    def _head(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def add(self, picture: Picture, sample: Any) -> None:
        """Write the mask of a picture."""
        labels = sample.pred_sem_seg.data[0].numpy()
        mask = Path("masks", f"{picture.stem}.png")
        write_picture(self.folder / mask, labels.astype(np.uint8 if len(self.classes) <= 256 else np.uint16))
        present, counts = np.unique(labels, return_counts=True)
        shares = {
            self.name_of(int(label)): round(float(count) / labels.size, 6)
            for label, count in zip(present, counts, strict=True)
        }
        height, width = labels.shape
        self._rows.add(dict(file_name=picture.name, mask=mask.as_posix(), height=height, width=width, shares=shares))


class DepthResults(Results):
    """A 16-bit PNG a picture under ``depth/``, and in ``results.json`` their unit and each picture's range in metres.

    Args:
        folder: As :class:`Results`.
        classes: As :class:`Results`.
        about: As :class:`Results`.
        max_depth: Farthest depth that is predicted, metres. Where millimetres cannot hold it, a unit is 1/256 metre.
    """

    def __init__(
        self, folder: Path, classes: Sequence[str], about: Mapping[str, Any], *, max_depth: float | None
    ) -> None:
        super().__init__(folder, classes, about)
        self.scale = MILLIMETRES if (max_depth or 0) * MILLIMETRES <= FARTHEST else KITTIS

    def _head(self) -> dict[str, Any]:
        return {"scale": self.scale, "metres": "value of the file / scale"}

    def add(self, picture: Picture, sample: Any) -> None:
        """Write the depth of a picture."""
        from effvit_mm.depth import write_depth

        depth = sample.pred_depth_map.data[0].float().numpy()
        name = Path("depth", f"{picture.stem}.png")
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file, remedy=REMEDY) as partial:
            write_depth(partial, depth, self.scale)
        near, median, far = (round(float(value), 4) for value in (depth.min(), np.median(depth), depth.max()))
        self._rows.add(dict(file_name=picture.name, depth=name.as_posix(), nearest=near, median=median, farthest=far))


class ClassificationResults(Results):
    """The best five classes of each picture, in ``results.json`` and, a line a class, in ``results.csv``."""

    def _begin(self) -> None:
        super()._begin()
        self._table = csv.writer(self._open("results.csv"))
        self._table.writerow(("file_name", "rank", "label", "class", "score"))

    def _head(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def add(self, picture: Picture, sample: Any) -> None:
        """Write the best classes of a picture."""
        scores, labels = sample.pred_score.topk(min(NUM_BEST, len(sample.pred_score)))
        pairs = list(zip(labels.tolist(), scores.tolist(), strict=True))
        best = [dict(label=label, **{"class": self.name_of(label)}, score=score) for label, score in pairs]
        self._rows.add(dict(file_name=picture.name, best=best))
        for rank, (label, score) in enumerate(pairs, 1):
            self._table.writerow((picture.name, rank, label, self.name_of(label), f"{score:.6g}"))


def results_of(task: str, folder: Path, classes: Sequence[str], about: Mapping[str, Any], model: Any) -> Results:
    """Return the results of a task; arguments as :class:`Results`, and the model that predicts."""
    if task == "depth":
        max_depth = getattr(getattr(model, "decode_head", None), "max_depth", None)
        return DepthResults(folder, classes, about, max_depth=max_depth)
    kinds = {
        "detection": DetectionResults,
        "segmentation": SegmentationResults,
        "classification": ClassificationResults,
    }
    return kinds[task](folder, classes, about)


def write_picture(file: Path, pixels: np.ndarray) -> None:
    """Write a picture, blue first, in the format of the file's suffix; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(file.suffix, pixels)[1]
    with written_whole(file, remedy=REMEDY) as partial:
        partial.write_bytes(encoded.tobytes())


class _Rows:
    """A list in a JSON file, alone or as the last entry of a dict, written a line at a time."""

    def __init__(self, stream: TextIO, head: Mapping[str, Any] | None = None, name: str = "") -> None:
        self._stream = stream
        self._end = "\n]\n" if head is None else "\n]}\n"
        self._separator = "\n"
        stream.write("[" if head is None else json.dumps({**head, name: []})[: -len("]}")])

    def add(self, row: Mapping[str, Any]) -> None:
        self._stream.write(self._separator + json.dumps(row))
        self._separator = ",\n"

    def close(self) -> None:
        self._stream.write(self._end)


def _run_lengths(masks: np.ndarray) -> list[dict[str, Any]]:
    """Encode masks ``(N, H, W)`` as COCO's run lengths, in text."""
    from mmdet.structures.mask import encode_mask_results

    return [{**encoded, "counts": encoded["counts"].decode()} for encoded in encode_mask_results(masks)]
