"""What a run leaves for a person: the figures as a table and a file, predictions beside the ground truth."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from effvit_mm.checkpoint import written_whole
from effvit_mm.engine.drawing import draw_sample
from effvit_mm.engine.segmentation_drawing import draw_segmentation, without_scores
from effvit_mm.registry import HOOKS

# What COCO's evaluation gives for a kind of object that the data has none of.
NOTHING_OF_THIS_KIND = -1


@HOOKS.register_module()
class RunReportHook(Hook):
    """After each validation or test, write ``metrics.json`` and ``predictions/``, and print the figures.

    The files lie in the work dir and always show the newest evaluation. Detections are drawn by the run's own
    visualizer, ground truth on the left, predictions on the right; segmentations beside their picture, with a legend.

    Args:
        num_pictures: How many pictures are drawn, the first of the data set.
        score_threshold: Predictions below it are not drawn.
    """

    # Behind every hook that may still change what is reported.
    priority = "VERY_LOW"

    def __init__(self, *, num_pictures: int = 8, score_threshold: float = 0.3) -> None:
        self.num_pictures = num_pictures
        self.score_threshold = score_threshold
        self._samples: list[Any] = []
        # Pictures with detections that may be none, and detections.
        self._counts = torch.zeros(2, dtype=torch.int64)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Keep the first samples for drawing."""
        self._keep(outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Keep the first samples for drawing."""
        self._keep(outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a validation."""
        all_reduce(self._counts)
        self._report(runner, metrics or {}, "validation")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a test."""
        all_reduce(self._counts)
        self._report(runner, metrics or {}, "test")

    def _keep(self, outputs: Sequence[Any] | None) -> None:
        self._count(outputs)
        room = self.num_pictures - len(self._samples)
        self._samples.extend(without_scores(sample) for sample in (outputs or [])[:room])

    @master_only
    def _report(self, runner: Runner, metrics: dict[str, float], phase: str) -> None:
        work_dir = Path(runner.work_dir)
        figures = {name: float(value) for name, value in metrics.items()}
        # JSON has no NaN.
        write_json(work_dir / "metrics.json", {k: None if math.isnan(v) else v for k, v in figures.items()})
        folder = self._draw(runner, work_dir / "predictions")
        show_figures(figures, phase, self._say_empty(figures))
        console = Console()
        console.print(f"figures      {as_shown(work_dir / 'metrics.json')}", soft_wrap=True)
        if folder:
            console.print(f"pictures     {as_shown(folder)}", soft_wrap=True)

    def _count(self, outputs: Sequence[Any] | None) -> None:
        for sample in outputs or ():
            if "pred_instances" in sample:
                self._counts += torch.tensor([1, len(sample.pred_instances)])

    def _say_empty(self, figures: dict[str, float]) -> str:
        """Say why there is nothing to see; an empty string where there is something."""
        num_pictures, num_found = self._counts.tolist()
        self._counts.zero_()
        if num_pictures and not num_found:
            return (
                "The model found no object in any picture: it has learnt too little yet, the checkpoint is of another "
                "model, or model.test_cfg keeps only scores that it does not reach."
            )
        return "" if figures else "The evaluator gave no figures: it only wrote predictions, or there was no picture."

    def _draw(self, runner: Runner, folder: Path) -> Path | None:
        samples, self._samples = self._samples, []
        names = names_of([Path(sample.img_path) for sample in samples])
        # What an earlier run drew of other pictures would pass for this one's.
        for drawn in {*folder.glob("*.png")} - {folder / f"{name}.png" for name in names}:
            drawn.unlink()
        for sample, name in zip(samples, names, strict=True):
            file = folder / f"{name}.png"
            if "pred_sem_seg" in sample:
                draw_segmentation(runner.visualizer.dataset_meta, sample, file)
            else:
                draw_sample(runner.visualizer, sample, file, score_threshold=self.score_threshold)
        return folder if samples else None


def as_shown(path: Path) -> Path:
    """Shorten a path to what a person would type in the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def names_of(pictures: Sequence[Path]) -> list[str]:
    """Name each picture by its stem, with as many of its folders as tell all of them apart, or by its number."""
    # NYU's pictures are told apart by their folders alone.
    for length in range(1, max((len(picture.parts) for picture in pictures), default=0) + 1):
        names = ["_".join(picture.with_suffix("").parts[-length:]).replace("/", "") for picture in pictures]
        if len(set(names)) == len(names):
            return names
    return [f"{place}_{picture.stem}" for place, picture in enumerate(pictures)]


def show_figures(figures: Mapping[str, float | None], title: str, note: str = "") -> None:
    """Print figures as a table.

    Args:
        figures: Values by name; None for what is not a number.
        title: What they are of.
        note: A sentence below it.
    """
    table = Table("metric", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, "nan" if value is None else "-" if value == NOTHING_OF_THIS_KIND else f"{value:.4f}")
    console = Console()
    if figures:
        console.print(table)
    if NOTHING_OF_THIS_KIND in figures.values():
        console.print(
            "- does not apply: the data has no object of this kind (s small, m medium, l large)", soft_wrap=True
        )
    if note:
        console.print(note, soft_wrap=True)


def write_json(file: Path, content: Any) -> None:
    """Write JSON in a folder that is made, so that a reader never sees half a file.

    Raises:
        NotSavedError: If the disk is full or the folder cannot be written; what was there before stays.
    """
    remedy = "{first}, or give another --work-dir"
    # Each process of a run may write the pictures that it keeps.
    with written_whole(file, remedy=remedy, shared=True) as partial:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=2) + "\n")
