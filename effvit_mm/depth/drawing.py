"""Depth as pictures: near is red, far is blue, not measured is black, and a bar says how many metres a color is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.logging import print_log
from mmengine.visualization import Visualizer

from effvit_mm.depth.files import MILLIMETRES, refuse_clipping, write_depth
from effvit_mm.errors import BadInputError
from effvit_mm.registry import VISUALIZERS

_BAR_WIDTH = 16  # pixels
_BAR_MARGIN = 56  # pixels, the bar and its numbers
_TITLE_HEIGHT = 22  # pixels
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def color_depth(depth: np.ndarray, far: float) -> np.ndarray:
    """Color a depth map.

    Args:
        depth: ``(H, W)``, metres; 0, negative and NaN are drawn black.
        far: Depth of the last color, metres; the first is 0.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    measured = depth > 0
    nearness = 255 * (1 - np.clip(np.where(measured, depth, 0) / far, 0, 1))
    colors = cv2.applyColorMap(np.rint(nearness).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(measured[..., None], colors, 0).astype(np.uint8)


def draw_depth(picture: np.ndarray, maps: Mapping[str, np.ndarray], far: float | None = None) -> np.ndarray:
    """Draw a picture and depth maps of it side by side, and a bar in metres.

    Args:
        picture: ``(H, W, 3)`` uint8, RGB.
        maps: Depth maps ``(h, w)`` in metres by their titles; enlarged to the picture without smoothing.
        far: Depth of the last color, metres; by default the largest of the maps, in whole half metres.

    Returns:
        ``(H + title, W * (1 + maps) + bar, 3)`` uint8, RGB.
    """
    height, width = picture.shape[:2]
    if far is None:
        far = max((float(np.nanmax(depth)) for depth in maps.values()), default=0.0)
        far = max(np.ceil(2 * far) / 2, 0.5)
    panels = {"picture": picture}
    for title, depth in maps.items():
        resized = cv2.resize(depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        panels[title] = color_depth(resized, far)
    titled = [_titled(panel, title) for title, panel in panels.items()]
    return np.concatenate([*titled, _titled(_bar(height, far), "m")], axis=1)


@VISUALIZERS.register_module()
class DepthVisualizer(Visualizer):
    """Draws picture, ground truth and prediction side by side, with a bar in metres.

    Beside each drawing ``<name>.png`` lies ``<name>_depth.png``, the prediction itself as 16-bit PNG.

    Args:
        name: Of the visualizer.
        png_scale: Units of the 16-bit files in a metre: 1000 for millimetres, 256 where depth goes beyond 65.535 m.
            Farther depth is cut off with a warning; the check before a run refuses it.
        **visualizer: What else MMEngine's ``Visualizer`` takes.
    """

    def __init__(self, name: str = "visualizer", *, png_scale: float = MILLIMETRES, **visualizer: Any) -> None:
        super().__init__(name, **visualizer)
        self.png_scale = png_scale

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any = None,
        *,
        draw_gt: bool = True,
        draw_pred: bool = True,
        out_file: str | None = None,
        step: int = 0,
        **others: Any,
    ) -> None:
        """Draw one sample.

        Args:
            name: Of the drawing.
            image: ``(H, W, 3)`` uint8, RGB.
            data_sample: With ``gt_depth_map``, ``pred_depth_map`` or both.
            draw_gt: Whether the ground truth is drawn.
            draw_pred: Whether the prediction is drawn.
            out_file: Where to write it; without one it goes to the visualizer's backends.
            step: Of the run, for the backends.
            **others: What visualizers of other tasks are told, such as a score threshold.
        """
        wanted = {"ground truth": (draw_gt, "gt_depth_map"), "prediction": (draw_pred, "pred_depth_map")}
        maps = {
            title: getattr(data_sample, field).data.squeeze(0).float().cpu().numpy()
            for title, (draw, field) in wanted.items()
            if draw and data_sample is not None and field in data_sample
        }
        drawing = draw_depth(image, maps)
        self.set_image(drawing)
        if out_file is None:
            self.add_image(name, drawing, step)
            return
        mmcv.imwrite(drawing[..., ::-1], str(out_file))
        if "prediction" in maps:
            out = Path(out_file)
            self._write_prediction(out.with_name(f"{out.stem}_depth.png"), maps["prediction"])

    def _write_prediction(self, file: Path, depth: np.ndarray) -> None:
        """Write a map of metres, and say where it is cut off."""
        try:
            refuse_clipping(float(np.nan_to_num(depth).max()), self.png_scale, "visualizer.png_scale")
        except BadInputError as problem:
            print_log(f"{file} is cut off: {problem}", "current", logging.WARNING)
        write_depth(file, depth, self.png_scale)


def _bar(height: int, far: float) -> np.ndarray:
    """Draw the scale: 0 at the bottom, ``far`` at the top."""
    bar = np.full((height, _BAR_MARGIN, 3), 255, np.uint8)
    column = np.linspace(far, far / 1e6, height)[:, None]
    bar[:, 6 : 6 + _BAR_WIDTH] = color_depth(np.repeat(column, _BAR_WIDTH, axis=1), far)
    num_ticks = max(2, min(6, height // 30))
    for share in np.linspace(0, 1, num_ticks):
        row = round((1 - share) * (height - 1))
        cv2.line(bar, (6 + _BAR_WIDTH, row), (10 + _BAR_WIDTH, row), (0, 0, 0))
        baseline = int(np.clip(row + 4, 9, height - 2))
        cv2.putText(bar, f"{share * far:.3g}", (12 + _BAR_WIDTH, baseline), _FONT, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    strip = np.full((_TITLE_HEIGHT, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (6, 15), _FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel], axis=0)
