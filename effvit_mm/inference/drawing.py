"""Predictions as pictures, by the drawings that training leaves, in a size that can be read."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import VISUALIZERS
from mmengine.structures import PixelData
from mmengine.visualization import Visualizer
from PIL import Image

from effvit_mm.engine.drawing import draw_picture, enlarge
from effvit_mm.engine.segmentation_drawing import segmentation_drawing

MAX_SIDE = 1600  # pixels of a picture in a drawing: labels of a fixed size stay readable, and drawing stays quick
LEGEND_LINES = 3  # under each frame of a video


class Drawer:
    """Draws what a model of one task predicts.

    Args:
        task: As :class:`~effvit_mm.inference.Predictor` names it.
        cfg: The config, whose visualizer draws detections.
        dataset_meta: ``classes`` and ``palette``.
    """

    def __init__(self, task: str, cfg: Config, dataset_meta: Mapping[str, Any]) -> None:
        self._draw = getattr(self, f"_draw_{task}")
        self._meta = dict(dataset_meta)
        if task == "segmentation" and not self._meta.get("palette"):
            self._meta["palette"] = _some_colours(256)
        self._far = cfg.model.get("decode_head", {}).get("max_depth") if task == "depth" else None
        self._visualizer = _visualizer(task, cfg, self._meta)

    def __call__(self, picture: np.ndarray, sample: Any, *, score_threshold: float, same_size: bool) -> np.ndarray:
        """Draw a sample on its picture; arguments and result as of ``Predictor.draw``."""
        picture = _shrunk(np.ascontiguousarray(picture[..., ::-1]))
        drawing = self._draw(picture, sample, score_threshold=score_threshold, same_size=same_size)
        return np.ascontiguousarray(drawing[..., ::-1])

    def _draw_detection(self, picture: np.ndarray, sample: Any, *, score_threshold: float, **_: Any) -> np.ndarray:
        kept = sample.pred_instances[sample.pred_instances.scores > score_threshold]
        size = picture.shape[:2]
        factors = [side / before for side, before in zip(size[::-1], sample.ori_shape[1::-1], strict=True)]
        # A box beyond the border, by as little as rounding, would make matplotlib move its axes.
        kept.bboxes = (kept.bboxes * torch.tensor(factors * 2)).clamp(torch.zeros(4), torch.tensor(size[::-1] * 2))
        if "masks" in kept and kept.masks.shape[1:] != size:
            kept.masks = torch.from_numpy(_masks_of_size(kept.masks.numpy(), size))
        drawn = sample.new()
        drawn.pred_instances = kept
        return self._by_visualizer(picture, drawn, score_threshold)

    def _draw_classification(self, picture: np.ndarray, sample: Any, *, score_threshold: float, **_: Any) -> np.ndarray:
        return self._by_visualizer(picture, sample, score_threshold)

    def _draw_segmentation(self, picture: np.ndarray, sample: Any, *, same_size: bool, **_: Any) -> np.ndarray:
        drawn = sample.new()
        labels = _labels_of_size(sample.pred_sem_seg.data[0].numpy(), picture.shape[:2])
        drawn.pred_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        lines = LEGEND_LINES if same_size else None
        return np.asarray(segmentation_drawing(self._meta, drawn, Image.fromarray(picture), num_lines=lines))

    def _draw_depth(self, picture: np.ndarray, sample: Any, *, same_size: bool, **_: Any) -> np.ndarray:
        from effvit_mm.depth import draw_depth

        depth = sample.pred_depth_map.data[0].float().numpy()
        return draw_depth(enlarge(picture)[0], {"prediction": depth}, self._far if same_size else None)

    def _by_visualizer(self, picture: np.ndarray, sample: Any, score_threshold: float) -> np.ndarray:
        draw_picture(self._visualizer, picture, sample, score_threshold=score_threshold, draw_gt=False)
        return self._visualizer.get_image()


def _visualizer(task: str, cfg: Config, meta: Mapping[str, Any]) -> Visualizer | None:
    """Build what draws detections and classes, without the folders and services that a run's may write to."""
    if task == "classification":
        from effvit_mm.engine.classification_drawing import ClassificationVisualizer

        visualizer = ClassificationVisualizer()
    elif task == "detection":
        spec = dict(cfg.get("visualizer") or dict(type="DetLocalVisualizer"))
        spec.pop("vis_backends", None)
        kind, scope = spec.pop("type"), spec.pop("_scope_", cfg.get("default_scope"))
        with VISUALIZERS.switch_scope_and_registry(scope) as registry:
            cls = registry.get(kind) if isinstance(kind, str) else kind
        # Built by its class: a registry would hand out one instance by name, and with it another model's classes.
        visualizer = cls(**spec)
    else:
        return None
    visualizer.dataset_meta = dict(meta)
    return visualizer


def _shrunk(picture: np.ndarray) -> np.ndarray:
    factor = MAX_SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _labels_of_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if labels.shape == size:
        return labels.astype(np.int64)
    return cv2.resize(labels.astype(np.int32), size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.int64)


def _masks_of_size(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized = [cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) for mask in masks]
    return np.stack(resized).astype(bool) if resized else np.zeros((0, *size), bool)


def _some_colours(number: int) -> list[tuple[int, ...]]:
    return [tuple(colour) for colour in np.random.default_rng(0).integers(30, 256, (number, 3)).tolist()]
