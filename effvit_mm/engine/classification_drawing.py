"""Classified pictures: what each is, and what it is taken for."""

from typing import Any

import numpy as np
from mmpretrain.visualization import UniversalVisualizer

from effvit_mm.registry import VISUALIZERS


@VISUALIZERS.register_module()
class ClassificationVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer, under the method that those of other tasks have."""

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any,
        *,
        out_file: str | None = None,
        step: int = 0,
        **others: Any,
    ) -> None:
        """Draw one picture and the names of its true and its predicted class.

        Args:
            name: Of the drawing.
            image: ``(H, W, 3)`` uint8, RGB.
            data_sample: With ``gt_label``, ``pred_label`` or both.
            out_file: Where to write it; without one it goes to the visualizer's backends.
            step: Of the run, for the backends.
            **others: What visualizers of other tasks are told, such as a score threshold.
        """
        self.visualize_cls(image, data_sample, out_file=out_file, name=name, step=step)
