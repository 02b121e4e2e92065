"""Segmentations as pictures: the picture, the truth and the prediction side by side, and what their colours mean."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from mmengine.fileio import get
from PIL import Image, ImageDraw, ImageFont

MIN_SIDE = 360
MARGIN = 8
TEXT_SIZE = 15
IGNORED_COLOUR = (0, 0, 0)
# The font that comes with matplotlib, which MMEngine draws with.
FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")


def draw_segmentation(dataset_meta: Mapping[str, Any], sample: Any, file: Path) -> None:
    """Draw one evaluated picture: picture, truth and prediction, and the names of the classes that occur.

    Args:
        dataset_meta: ``classes`` and ``palette`` of the data set.
        sample: A data sample of mmseg with its picture's path, prediction and, where there is one, truth.
        file: Where to write it.
    """
    drawing = segmentation_drawing(dataset_meta, sample, _load(sample.img_path))
    file.parent.mkdir(parents=True, exist_ok=True)
    drawing.save(file)


def segmentation_drawing(
    dataset_meta: Mapping[str, Any], sample: Any, picture: Image.Image, *, num_lines: int | None = None
) -> Image.Image:
    """Draw a sample beside its picture, as :func:`draw_segmentation` does.

    Args:
        dataset_meta: ``classes`` and ``palette`` of the data set.
        sample: A data sample of mmseg with a prediction and, where there is one, truth.
        picture: The picture, of the size of the prediction.
        num_lines: Lines of the legend, so that drawings of pictures of one size have one size too; the classes that
            fill most pixels are named. By default as many as it takes.
    """
    classes, palette = dataset_meta["classes"], dataset_meta["palette"]
    maps = {
        title: getattr(sample, name).data[0].cpu().numpy()
        for title, name in (("ground truth", "gt_sem_seg"), ("prediction", "pred_sem_seg"))
        if name in sample
    }
    height, width = next(iter(maps.values())).shape
    # Text has a size in pixels: on a small picture it would not fit.
    scale = ceil(MIN_SIDE / max(height, width))
    panels = {"picture": picture.resize((width * scale, height * scale), Image.Resampling.BICUBIC)}
    for title, labels in maps.items():
        painted = Image.fromarray(paint(labels, palette))
        panels[title] = painted.resize((width * scale, height * scale), Image.Resampling.NEAREST)
    present, counts = np.unique(np.concatenate([labels.ravel() for labels in maps.values()]), return_counts=True)
    if num_lines is not None:
        present = present[np.argsort(-counts, kind="stable")]
    legend = [(str(classes[i]).strip(), tuple(palette[i])) for i in present if i < len(classes)]
    if present.max() >= len(classes):
        legend.append(("ignored", IGNORED_COLOUR))
    return _assemble(panels, legend, num_lines)


def without_scores(sample: Any) -> Any:
    """Return a sample without the scores of a segmentation, which are a number a class and pixel; others unchanged."""
    if "seg_logits" not in sample:
        return sample
    kept = sample.new()
    del kept.seg_logits
    return kept


def paint(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the colours ``(H, W, 3)`` of class numbers ``(H, W)``; what is no class is black."""
    colours = np.full((max(256, len(palette)), 3), IGNORED_COLOUR, np.uint8)
    colours[: len(palette)] = palette
    return colours[labels]


def _load(path: str) -> Image.Image:
    """Load a picture as mmcv does, turned as its camera noted."""
    import mmcv

    return Image.fromarray(mmcv.imfrombytes(get(path), channel_order="rgb"))


def _assemble(
    panels: Mapping[str, Image.Image], legend: Sequence[tuple[str, tuple[int, ...]]], num_lines: int | None
) -> Image.Image:
    """Set panels with titles side by side, and the legend below in a number of lines, or as many as it takes."""
    font = ImageFont.truetype(str(FONT), TEXT_SIZE)
    line = TEXT_SIZE + MARGIN
    width, height = next(iter(panels.values())).size
    total = len(panels) * (width + MARGIN) + MARGIN
    below = draw_legend(legend, total, num_lines)
    canvas = Image.new("RGB", (total, line + height + MARGIN + below.height), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (title, panel) in enumerate(panels.items()):
        left = MARGIN + place * (width + MARGIN)
        draw.text((left, line // 2), title, fill="black", font=font, anchor="lm")
        canvas.paste(panel, (left, line))
    canvas.paste(below, (0, line + height + MARGIN))
    return canvas


def draw_legend(legend: Sequence[tuple[str, tuple[int, ...]]], width: int, num_lines: int | None = None) -> Image.Image:
    """Draw what colours mean.

    Args:
        legend: Names and colours.
        width: Of the drawing, pixels.
        num_lines: Lines to draw, for as many of the names as fit; by default as many as it takes.
    """
    font = ImageFont.truetype(str(FONT), TEXT_SIZE)
    line = TEXT_SIZE + MARGIN
    places, left, row = [], MARGIN, 0
    for name, _ in legend:
        space = TEXT_SIZE + MARGIN // 2 + ceil(font.getlength(name)) + 2 * MARGIN
        if left > MARGIN and left + space > width:
            left, row = MARGIN, row + 1
        places.append((left, row))
        left += space
    canvas = Image.new("RGB", (width, (num_lines or row + 1) * line + MARGIN // 2), "white")
    draw = ImageDraw.Draw(canvas)
    for (name, colour), (left, row) in zip(legend, places, strict=True):
        if num_lines is not None and row >= num_lines:
            break
        middle = row * line + line // 2
        box = (left, middle - TEXT_SIZE // 2, left + TEXT_SIZE, middle + TEXT_SIZE // 2)
        draw.rectangle(box, fill=colour, outline="gray")
        draw.text((box[2] + MARGIN // 2, middle), name, fill="black", font=font, anchor="lm")
    return canvas
