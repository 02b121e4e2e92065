"""What a run leaves for a person: the figures as a table and a file, predictions beside the ground truth."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from effvit_mm.engine.drawing import draw_sample
from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class RunReportHook(Hook):
    """After each validation or test, write ``metrics.json`` and ``predictions/``, and print the figures.

    The files lie in the work dir and always show the newest evaluation. Pictures are drawn by the run's own visualizer:
    ground truth on the left, predictions on the right.

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
        # JSON has no NaN.
        write_json(work_dir / "metrics.json", {k: None if math.isnan(v) else v for k, v in figures.items()})
        folder = self._draw(runner, work_dir / "predictions")
        table = Table("metric", "value", title=phase)
        for name, value in figures.items():
            # COCO's -1 says that the data holds nothing of this kind.
            table.add_row(name, "-" if value == -1 else f"{value:.4f}")
        console = Console()
        console.print(table)
        console.print(f"figures   {work_dir / 'metrics.json'}", soft_wrap=True)
        if folder:
            console.print(f"pictures  {folder}", soft_wrap=True)

    def _draw(self, runner: Runner, folder: Path) -> Path | None:
        samples, self._samples = self._samples, []
        for sample in samples:
            file = folder / f"{Path(sample.img_path).stem}.png"
            draw_sample(runner.visualizer, sample, file, score_threshold=self.score_threshold)
        return folder if samples else None


def write_json(file: Path, content: Any) -> None:
    """Write JSON under a temporary name and rename it, so that a reader never sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(file)
