"""After an evaluation, a picture of which tokens the network kept."""

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from rich.console import Console
from torch import Tensor

from effvit_mm.analysis.kept_tokens import draw_kept_tokens, kept_maps
from effvit_mm.engine.report import as_shown
from effvit_mm.engine.selector_hook import selective_backbones
from effvit_mm.registry import HOOKS

# What the data preprocessors of mmseg, mmdet and mmpretrain call it when they turn BGR into RGB.
RGB_FLAGS = ("channel_conversion", "_channel_conversion", "to_rgb")


@HOOKS.register_module()
class KeptTokensHook(Hook):
    """After each validation or test, draw what every pair of layers keeps, as ``kept_tokens.png`` in the work dir.

    A row for each picture: the picture, then a panel for each pair, in which tokens that bypass the second layer are
    dimmed. Nothing is drawn where every layer works on all tokens.

    Args:
        num_pictures: How many pictures are drawn, the first of the data set.

    Cost:
        One forward of the backbone more for each picture that is drawn.
    """

    # Behind the report, whose files it joins.
    priority = "LOWEST"

    def __init__(self, *, num_pictures: int = 6) -> None:
        self.num_pictures = num_pictures
        self._pictures: list[np.ndarray] = []
        self._maps: dict[str, list[Tensor]] = {}

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look at the first pictures."""
        self._look(runner, data_batch)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look at the first pictures."""
        self._look(runner, data_batch)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the drawing of a validation."""
        self._write(runner)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the drawing of a test."""
        self._write(runner)

    @master_only
    def _look(self, runner: Runner, data_batch: Any) -> None:
        room = self.num_pictures - len(self._pictures)
        if room <= 0:
            return
        model = cast(Any, runner.model.module if is_model_wrapper(runner.model) else runner.model)
        data = model.data_preprocessor(data_batch, False)
        x = data["inputs"][:room]
        for name, maps in kept_maps(selective_backbones(model)[0], x).items():
            self._maps.setdefault(name, []).extend(maps)
        for picture, sample in zip(x, data["data_samples"], strict=False):
            self._pictures.append(_to_look_at(picture, model.data_preprocessor, sample.metainfo["img_shape"]))

    @master_only
    def _write(self, runner: Runner) -> None:
        pictures, maps = self._pictures, self._maps
        self._pictures, self._maps = [], {}
        if not maps:
            return
        file = Path(runner.work_dir, "kept_tokens.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), draw_kept_tokens(pictures, maps)[..., ::-1])
        Console().print(f"kept tokens  {as_shown(file)}", soft_wrap=True)


def _to_look_at(prepared: Tensor, preprocessor: Any, size: tuple[int, ...]) -> np.ndarray:
    """Undo what a data preprocessor did to a picture ``(3, H, W)``: its scale, its order of colors, its padding."""
    if hasattr(preprocessor, "mean"):
        prepared = prepared * preprocessor.std + preprocessor.mean
    picture = prepared.permute(1, 2, 0)[: size[0], : size[1]].clamp(0, 255).round().byte().cpu().numpy()
    is_rgb = any(getattr(preprocessor, name, False) for name in RGB_FLAGS)
    return picture if is_rgb else picture[..., ::-1]
