"""How far predicted depth is from the measured one: the figures of the tables of NYU Depth V2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from effvit_mm.depth.files import MILLIMETRES, path_like, refuse_clipping, write_depth
from effvit_mm.errors import BadInputError
from effvit_mm.registry import METRICS

# Rows and columns of a picture of NYU in which Eigen et al. compare, half open.
EIGEN_ROWS, EIGEN_COLUMNS, NYU_SIZE = (45, 471), (41, 601), (480, 640)


def depth_errors(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Compare the depth of some pixels, all in metres and above 0.

    With p predicted, g true and ``e = ln p - ln g``, means over the pixels:

    - ``delta1``, ``delta2``, ``delta3``: share with ``max(p / g, g / p) < 1.25^k``; larger is better.
    - ``abs_rel``: ``mean(|p - g| / g)``.
    - ``sq_rel``: ``mean((p - g)^2 / g)``, metres.
    - ``rmse``: ``sqrt(mean((p - g)^2))``, metres.
    - ``rmse_log``: ``sqrt(mean(e^2))``.
    - ``log10``: ``mean(|log10 p - log10 g|)``.
    - ``silog``: ``100 sqrt(mean(e^2) - mean(e)^2)``.

    Args:
        predicted: ``(N,)``, N at least 1.
        truth: ``(N,)``.

    Returns:
        The figures by name, computed in float64.

    Reference:
        Eigen et al., "Depth Map Prediction from a Single Image", NeurIPS 2014, section 4.
    """
    predicted, truth = predicted.double(), truth.double()
    ratio = torch.maximum(predicted / truth, truth / predicted)
    difference = predicted - truth
    log_difference = predicted.log() - truth.log()
    figures = {f"delta{k}": (ratio < 1.25**k).double().mean() for k in (1, 2, 3)}
    figures["abs_rel"] = (difference.abs() / truth).mean()
    figures["sq_rel"] = (difference.square() / truth).mean()
    figures["rmse"] = difference.square().mean().sqrt()
    figures["rmse_log"] = log_difference.square().mean().sqrt()
    figures["log10"] = (predicted.log10() - truth.log10()).abs().mean()
    figures["silog"] = 100 * log_difference.var(correction=0).sqrt()
    return {name: value.item() for name, value in figures.items()}


@METRICS.register_module()
class MonoDepthMetric(BaseMetric):
    """The figures of :func:`depth_errors`, of every picture alone and then averaged over the pictures.

    Compared are pixels whose true depth is strictly between the bounds; predictions are clamped to the bounds. Of a
    picture nine numbers are kept, so memory does not grow with its pixels. Pictures without a pixel to compare are left
    out, and their number is logged.

    Args:
        min_depth: Metres.
        max_depth: Metres.
        eigen_crop: Compare within rows 45 to 470 and columns 41 to 600 only, as BTS, AdaBins and NeWCRFs do. It
            has a meaning for pictures of 480x640 alone.
        output_dir: Folder for every prediction as 16-bit PNG, by default none is written. Below it the path of the
            picture is repeated, from the working folder or, where the picture lies elsewhere, from the root:
            ``data/nyu/.../rgb_00045.png`` of ``data/nyu/.../rgb_00045.jpg``.
        png_scale: Units of these files in a metre: 1000 for millimetres, 256 where depth goes beyond 65.535 m.
        collect_device: As MMEngine's metrics.
        prefix: Put before the names, ``'depth'`` by default.

    Raises:
        BadInputError: If ``eigen_crop`` meets a picture of another size, no picture has a pixel to compare, or files
            cannot hold ``max_depth``.

    Differs from mmseg's ``DepthMetric``:
        That one keeps every pixel until the end, does not clamp, crops pictures of any size, and its ``silog`` is
        ``sqrt(mean(e^2) - mean(e)^2 / 2)``.
    """

    default_prefix = "depth"

    def __init__(
        self,
        *,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        eigen_crop: bool = False,
        output_dir: str | None = None,
        png_scale: float = MILLIMETRES,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not 0 < min_depth < max_depth:
            raise ValueError(
                f"min_depth={min_depth} and max_depth={max_depth} are not allowed; pass metres, 0 < min < max"
            )
        if output_dir is not None:
            refuse_clipping(max_depth, png_scale)
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.eigen_crop = eigen_crop
        self.output_dir = output_dir
        self.png_scale = png_scale
        self._written: dict[Path, str] = {}  # file and its picture

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Measure the pictures of a batch."""
        for sample in data_samples:
            predicted = sample["pred_depth_map"]["data"].squeeze(0)
            if self.output_dir is not None:
                write_depth(self._file_of(sample["img_path"]), self._clamped(predicted).cpu().numpy(), self.png_scale)
            truth = sample["gt_depth_map"]["data"].squeeze(0).to(predicted.device)
            self.results.append(self._measure(predicted, truth, sample.get("img_path", "")))

    def compute_metrics(self, results: list[dict[str, float] | None]) -> dict[str, float]:
        """Average over the pictures."""
        measured = [figures for figures in results if figures is not None]
        if not measured:
            raise BadInputError(
                f"none of {len(results)} pictures has a pixel with a depth between {self.min_depth:g} and "
                f"{self.max_depth:g} m to compare; check depth_scale of the data set and max_depth of the metric"
            )
        if len(measured) < len(results):
            left_out = len(results) - len(measured)
            print_log(f"{left_out} of {len(results)} pictures have no depth to compare and are left out", "current")
        return {name: sum(figures[name] for figures in measured) / len(measured) for name in measured[0]}

    def _file_of(self, picture: str) -> Path:
        """Return where the prediction of a picture is written."""
        file = Path(self.output_dir or "", path_like(picture))
        # room.jpg and room.jpeg would write the same file.
        if self._written.setdefault(file, picture) != picture:
            file = file.with_name(f"{Path(picture).name}.png")
        return file

    def _measure(self, predicted: Tensor, truth: Tensor, picture: str) -> dict[str, float] | None:
        if predicted.shape != truth.shape:
            raise BadInputError(
                f"picture {picture}: the prediction is {tuple(predicted.shape)} and the depth map {tuple(truth.shape)} "
                f"pixels; load depth after Resize in the test pipeline, so that both have the size of the file"
            )
        valid = (truth > self.min_depth) & (truth < self.max_depth)
        if self.eigen_crop:
            valid = valid & _inside_eigen_crop(truth, picture)
        if not valid.any():
            return None
        return depth_errors(self._clamped(predicted[valid]), truth[valid])

    def _clamped(self, depth: Tensor) -> Tensor:
        depth = depth.float().nan_to_num(nan=self.min_depth, posinf=self.max_depth, neginf=self.min_depth)
        return depth.clamp(self.min_depth, self.max_depth)


def _inside_eigen_crop(truth: Tensor, picture: str) -> Tensor:
    if tuple(truth.shape) != NYU_SIZE:
        raise BadInputError(
            f"picture {picture} is {truth.shape[0]} x {truth.shape[1]} pixels (H x W), but eigen_crop is for NYU's 480 "
            f"x 640 and would compare another part of it; set eigen_crop=False in val_evaluator and test_evaluator"
        )
    inside = torch.zeros_like(truth, dtype=torch.bool)
    inside[slice(*EIGEN_ROWS), slice(*EIGEN_COLUMNS)] = True
    return inside
