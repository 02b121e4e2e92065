"""The test pipeline of a config, for pictures without annotations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from effvit_mm.engine.explain import names_in
from effvit_mm.engine.explain_sample import hint_of_tuples
from effvit_mm.engine.types_of_ours import how_to_register
from effvit_mm.errors import BadInputError

# Those of other libraries that load truth without being mmcv's LoadAnnotations.
OTHER_TRUTH = ("LoadDepth", "LoadDepthAnnotation")


class PicturePipeline:
    """Loads pictures and makes them the inputs of a model, as ``test_dataloader`` does.

    Steps that load annotations are left out; the others are the config's own, the first of them the one that reads a
    file, so that a picture is read here as in training: with the same decoder, channels and camera's turn.

    Args:
        cfg: The config.

    Raises:
        BadInputError: If it has no test pipeline, or one that does not begin by reading a file.
    """

    def __init__(self, cfg: Config) -> None:
        steps = []
        for step in _steps(cfg):
            cls = _class_of(step, cfg.get("default_scope"))
            if not issubclass(cls, LoadAnnotations) and cls.__name__ not in OTHER_TRUTH:
                steps.append((cls, step))
        if not steps or not issubclass(steps[0][0], LoadImageFromFile):
            first = steps[0][0].__name__ if steps else "nothing"
            raise BadInputError(
                f"test_dataloader.dataset.pipeline begins with {first}, expected LoadImageFromFile: pictures without "
                f"annotations can be predicted only through a pipeline that begins by reading a file"
            )
        self._load, *self._rest = [TRANSFORMS.build(step) for _, step in steps]

    def load(self, source: Path | np.ndarray) -> dict[str, Any]:
        """Read a file, or take pixels ``(H, W, 3)`` uint8, blue first, for those of one."""
        # What data sets put beside a picture.
        results: dict[str, Any] = dict(img_id=0, sample_idx=0, seg_fields=[], reduce_zero_label=False)
        if isinstance(source, Path):
            return self._load(results | dict(img_path=str(source)))
        pixels = source.astype(np.float32) if self._load.to_float32 else source
        return results | dict(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn what :meth:`load` gave into ``inputs`` ``(C, H, W)`` and ``data_samples``.

        Raises:
            BadInputError: If a step has a value of a type that it does not take, whatever the picture.
        """
        for transform in self._rest:
            with _blamed(transform):
                results = transform(results)
        return results


@contextmanager
def _blamed(transform: Any) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        said = f"{type(error).__name__}: {error}"
        remedy = hint_of_tuples(said, vars(transform)) or ": correct its values"
        name = type(transform).__name__
        raise BadInputError(f"{name} of test_dataloader.dataset.pipeline cannot be used ({said}){remedy}") from error


def as_shown(pixels: np.ndarray) -> np.ndarray:
    """Return loaded pixels as ``(H, W, 3)`` uint8, blue first, whatever the config loads."""
    if pixels.dtype == np.uint16:
        pixels = pixels // 257
    pixels = pixels.clip(0, 255).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return pixels[..., :3]


def _steps(cfg: Config) -> list[dict[str, Any]]:
    dataset = (cfg.get("test_dataloader") or {}).get("dataset")
    # Wrappers of data sets hold the one with the pipeline.
    while isinstance(dataset, dict) and not dataset.get("pipeline"):
        inner = dataset.get("dataset") or (dataset.get("datasets") or [None])[0]
        if inner is None:
            break
        dataset = inner
    steps = (dataset.get("pipeline") if isinstance(dataset, dict) else None) or cfg.get("test_pipeline")
    if not isinstance(steps, list | tuple) or not all(isinstance(step, dict) and step.get("type") for step in steps):
        raise BadInputError(
            "the config has no test_dataloader.dataset.pipeline, a list of dict(type='...'), that says how pictures "
            "are made the model's inputs; name the config that the checkpoint was trained with"
        )
    return list(steps)


def _class_of(step: dict[str, Any], scope: str | None) -> type:
    if not isinstance(step["type"], str):
        return step["type"]
    with TRANSFORMS.switch_scope_and_registry(step.get("_scope_", scope)) as registry:
        cls = registry.get(step["type"])
        if cls is None:
            raise BadInputError(
                f"test_dataloader.dataset.pipeline has {step['type']!r}, which is no registered transform; "
                f"{how_to_register(step['type'], names_in(registry))}"
            )
    return cls
