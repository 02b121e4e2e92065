"""A trained model as a function of pictures."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from effvit_mm.engine.explain import explained
from effvit_mm.engine.picture_check import picture_problem
from effvit_mm.engine.segmentation_drawing import without_scores
from effvit_mm.errors import BadInputError
from effvit_mm.inference.drawing import Drawer
from effvit_mm.inference.pipeline import PicturePipeline, as_shown
from effvit_mm.inference.sources import Picture
from effvit_mm.inference.trained import config_for_predicting, load_model, task_of

# What a picture that no model was made for brings a transform or a network to raise.
UNPREDICTABLE = (ValueError, RuntimeError, AssertionError, IndexError, ArithmeticError, cv2.error)

# How a picture is given.
Source = str | Path | np.ndarray | Picture

USUAL_STRIDE = 32  # of the coarsest map, where a backbone does not say


@dataclass(frozen=True)
class Prediction:
    """What became of one picture.

    Args:
        picture: The picture that was asked for.
        pixels: As it was read, ``(H, W, 3)`` uint8, blue first; None if it could not be.
        sample: The library's data sample on the CPU, in pixels of the picture; None if it could not be predicted.
        error: Why not.
    """

    picture: Picture
    pixels: np.ndarray | None = None
    sample: Any = None
    error: BadInputError | None = None


class Predictor:
    """A detector, segmenter, depth estimator or classifier with its trained weights.

    Pictures go through the config's own test pipeline. Those whose inputs differ in size never share a batch, so what
    is predicted of one does not depend on the others.

    Args:
        config: The config the checkpoint was trained with; training leaves it beside the checkpoint.
        checkpoint: The weights, read without running code from the file.
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``; by default an accelerator if there is one.
        batch_size: Most pictures that go through the network at once.
        overlays: Folder of overlays that the model was trained under, such as ``configs/_base_/toy``.
        options: Values of the config by dotted key.

    Attributes:
        task: ``'detection'``, ``'segmentation'``, ``'depth'`` or ``'classification'``.
        dataset_meta: ``classes`` and ``palette`` of the training data, as the checkpoint notes them.
        classes: The names of the classes; empty where there are none.
        cfg: The config.
        model: The network.

    Raises:
        BadInputError: If the config, the checkpoint or the device cannot be used, or do not belong together.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        batch_size: int = 1,
        overlays: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        config, checkpoint = Path(config), Path(checkpoint)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise BadInputError(f"the batch is {batch_size!r}, expected a whole number of pictures, at least 1")
        self.batch_size = batch_size
        self.cfg = config_for_predicting(config, Path(overlays) if overlays else None, options)
        self.model, self.dataset_meta = load_model(self.cfg, checkpoint, device)
        self.task = task_of(self.model)
        with explained(self.cfg), self._scope():
            self._pipeline = PicturePipeline(self.cfg)
        self.classes: tuple[str, ...] = tuple(self.dataset_meta.get("classes") or ())
        self._drawer: Drawer | None = None

    def __call__(self, pictures: Source | Iterable[Source]) -> Any:
        """Predict one picture or several.

        Args:
            pictures: Files, or pixels ``(H, W, 3)`` uint8 as ``cv2.imread`` gives them, blue first.

        Returns:
            For one picture its data sample, for several a list, in pixels of the pictures and on the CPU:
            ``pred_instances`` (``bboxes`` as x1, y1, x2, y2, ``labels``, ``scores``, ``masks``) of detectors,
            ``pred_sem_seg.data`` ``(1, H, W)`` of segmenters, ``pred_depth_map.data`` ``(1, H, W)`` in metres,
            ``pred_score`` ``(classes,)`` and ``pred_label`` of classifiers.

        Raises:
            BadInputError: At the first picture that cannot be read or predicted.
        """
        samples = []
        for prediction in self.stream(pictures):
            if prediction.error is not None:
                raise prediction.error
            samples.append(prediction.sample)
        return samples[0] if _is_one(pictures) else samples

    def stream(self, pictures: Source | Iterable[Source]) -> Iterator[Prediction]:
        """Predict pictures one batch after the other; one that cannot be is given with the error, and the rest go on.

        Args:
            pictures: As for a call, any number of them; a batch of them is held at a time.

        Yields:
            What became of each, in their order.
        """
        waiting = map(_as_picture, [pictures] if _is_one(pictures) else pictures)
        while batch := list(islice(waiting, self.batch_size)):
            loaded = [self._load(picture) for picture in batch]
            by_size: dict[Any, list[int]] = {}
            for place, (_, inputs) in enumerate(loaded):
                if inputs is not None:
                    by_size.setdefault(tuple(inputs["inputs"].shape), []).append(place)
            done = {place: prediction for place, (prediction, inputs) in enumerate(loaded) if inputs is None}
            for places in by_size.values():
                done |= dict(zip(places, self._predict([loaded[place] for place in places]), strict=True))
            yield from (done[place] for place in range(len(batch)))

    def draw(
        self,
        picture: str | Path | np.ndarray,
        sample: Any,
        *,
        score_threshold: float = 0.3,
        same_size: bool = False,
    ) -> np.ndarray:
        """Draw what was predicted of a picture.

        Args:
            picture: The picture, as it was given to be predicted.
            sample: What was predicted.
            score_threshold: Objects below it are not drawn.
            same_size: Whether all drawings of pictures of one size have one size and one scale of depth, as those of a
                video must.

        Returns:
            ``(H', W', 3)`` uint8, blue first: large enough to read, at most 1600 pixels a side and panel.
        """
        if not isinstance(picture, np.ndarray):
            picture = as_shown(self._pipeline.load(Path(picture))["img"])
        if self._drawer is None:
            with self._scope():
                self._drawer = Drawer(self.task, self.cfg, self.dataset_meta)
        return self._drawer(picture, sample, score_threshold=score_threshold, same_size=same_size)

    def _load(self, picture: Picture) -> tuple[Prediction, dict[str, Any] | None]:
        """Read a picture and make it an input; None in place of that where it cannot be."""
        problem = _problem_of(picture.source)
        if problem:
            return Prediction(picture, error=BadInputError(f"picture {_named(picture)}: {problem}")), None
        pixels = None
        try:
            with self._scope():
                results = self._pipeline.load(picture.source)
                pixels = as_shown(results["img"])
                return Prediction(picture, pixels), self._pipeline(results)
        except BadInputError:
            raise
        except UNPREDICTABLE as error:
            return Prediction(picture, pixels, error=_explained(picture, pixels, error)), None

    def _predict(self, loaded: list[tuple[Prediction, Any]]) -> list[Prediction]:
        """Predict pictures whose inputs are of one size."""
        failed: BadInputError | None = None
        try:
            with torch.no_grad(), self._scope(), self._large_enough(loaded[0][1]["inputs"].shape[-2:]):
                samples = self.model.test_step(pseudo_collate([inputs for _, inputs in loaded]))
        except UNPREDICTABLE as error:
            failed = _explained(loaded[0][0].picture, loaded[0][0].pixels, error)
        if failed is not None and len(loaded) > 1:
            # What only one of them cannot do, or memory that is too little for all: freed here, behind the handler.
            del failed
            return [prediction for one in loaded for prediction in self._predict([one])]
        if failed is not None:
            return [Prediction(loaded[0][0].picture, loaded[0][0].pixels, error=failed)]
        return [
            Prediction(prediction.picture, prediction.pixels, without_scores(sample).cpu())
            for (prediction, _), sample in zip(loaded, samples, strict=True)
        ]

    @contextmanager
    def _large_enough(self, size: tuple[int, int]) -> Iterator[None]:
        """Pad inputs that are smaller than a place of the coarsest map, where mmseg's preprocessor can, and cut it off.

        mmdet's preprocessors pad anyway, and classifiers get pictures of one size.
        """
        preprocessor = self.model.data_preprocessor
        stride = max(getattr(self.model.backbone, "strides", (USUAL_STRIDE,)))
        if self.task not in ("segmentation", "depth") or min(size) >= stride or preprocessor.test_cfg:
            yield
            return
        preprocessor.test_cfg = dict(size=tuple(max(side, stride) for side in size))
        try:
            yield
        finally:
            preprocessor.test_cfg = None

    def _scope(self) -> Any:
        return DefaultScope.overwrite_default_scope(self.cfg.get("default_scope"))


def _is_one(pictures: Any) -> bool:
    return isinstance(pictures, Source) or not isinstance(pictures, Iterable)


def _as_picture(source: Source) -> Picture:
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return Picture("", "", source)
    if not isinstance(source, str | Path):
        raise BadInputError(
            f"a picture is given as {type(source).__name__}, expected a file, or an array uint8 (H, W, 3), blue first, "
            f"as cv2.imread gives; of a PIL.Image: numpy.asarray(image.convert('RGB'))[..., ::-1]"
        )
    return Picture(Path(source).name, Path(source).stem, Path(source))


def _problem_of(source: Path | np.ndarray) -> str:
    if isinstance(source, Path):
        return "is a folder, which infer takes, expected a picture" if source.is_dir() else picture_problem(source)
    if source.ndim == 3 and source.shape[2] == 3 and source.dtype == np.uint8 and source.size:
        return ""
    return f"is an array of {source.dtype} {source.shape}, expected uint8 (H, W, 3), blue first, as cv2.imread gives"


def _named(picture: Picture) -> str:
    return str(picture.source) if isinstance(picture.source, Path) else picture.name or "given as pixels"


def _explained(picture: Picture, pixels: np.ndarray | None, error: Exception) -> BadInputError:
    size = "" if pixels is None else f" of {pixels.shape[0]} x {pixels.shape[1]} pixels (H x W)"
    # OpenCV's own text begins with its version and the path of its source.
    said = f"OpenCV's {error.func}: {error.err}" if isinstance(error, cv2.error) else f"{type(error).__name__}: {error}"
    explained = BadInputError(
        f"picture {_named(picture)}{size} cannot be predicted ({said.strip().splitlines()[0][:300]})"
    )
    explained.__cause__ = error
    return explained
