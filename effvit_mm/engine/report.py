"""What a run leaves for a person: the figures as a table and a file, predictions beside the ground truth."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from mmengine.dist import master_only
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class RunReportHook(Hook):
    """After each validation or test, write ``metrics.json`` and ``predictions/``, and print the figures.

    The files lie in the work dir and always show the newest evaluation. Pictures are drawn by the run's own visualizer:
    ground truth on the left, predictions on the right.

    Args:
        num_pictures: How many pictures are drawn, the first of the data set.
        score_threshold: Predictions below it are not drawn.
        min_side: Pictures smaller than this many pixels are enlarged before drawing, so that labels can be read.
    """

    # Behind every hook that may still change what is reported.
    priority = "VERY_LOW"

    def __init__(self, *, num_pictures: int = 8, score_threshold: float = 0.3) -> None:
        self.num_pictures = num_pictures
        self.score_threshold = score_threshold
        self._samples: list[Any] = []

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
        self._report(runner, metrics or {}, "validation")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a test."""
        self._report(runner, metrics or {}, "test")

    def _keep(self, outputs: Sequence[Any] | None) -> None:
        room = self.num_pictures - len(self._samples)
        self._samples.extend((outputs or [])[:room])

    @master_only
    def _report(self, runner: Runner, metrics: dict[str, float], phase: str) -> None:
        work_dir = Path(runner.work_dir)
        figures = {name: float(value) for name, value in metrics.items()}
        # -1 and NaN mean "nothing of this kind in the data", which is no figure.
        write_json(work_dir / "metrics.json", {k: None if math.isnan(v) else v for k, v in figures.items()})
        folder = self._draw(runner, work_dir / "predictions")
        table = Table("metric", "value", title=f"{phase} after {runner.epoch} epochs, {runner.iter} iterations")
        for name, value in figures.items():
            table.add_row(name, f"{value:.4f}")
        Console().print(table)
        Console().print(f"figures: {work_dir / 'metrics.json'}" + (f"   pictures: {folder}" if folder else ""))

    def _draw(self, runner: Runner, folder: Path) -> Path | None:
        samples, self._samples = self._samples, []
        for sample in samples:
            picture = cv2.imdecode(_bytes(sample.img_path), cv2.IMREAD_COLOR)
            runner.visualizer.add_datasample(
                Path(sample.img_path).stem,
                picture[..., ::-1],
                data_sample=sample,
                pred_score_thr=self.score_threshold,
                out_file=str(folder / f"{Path(sample.img_path).stem}.png"),
            )
        return folder if samples else None


def write_json(file: Path, content: Any) -> None:
    """Write JSON under a temporary name and rename it, so that a reader never sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(file)


def _bytes(file: str) -> Any:
    import numpy as np

    return np.frombuffer(get(file), np.uint8)
