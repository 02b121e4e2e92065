"""Box coordinates stay float32 where features are bfloat16 or float16.

Neighbouring bfloat16 numbers are 8 apart between 1024 and 2048, so a corner at x = 1330 pixels moves by up to 4. Under
autocast mmdet rounds coordinates three times: it makes the anchors in the type of the class scores before it decodes
boxes from them, casts the RoIs to the type of the features, and hands mmcv's RoIAlign both in that type (whose compiled
kernels have no bfloat16 at all). Here anchors and points are float32 at least, and the RoI extractor and RoIAlign work
in float32 and give back the type of the features.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from effvit_mm.compat.import_hooks import after_import, is_installed
from effvit_mm.compat.precision import at_least_float32
from effvit_mm.compat.shim import Shim

_NAME = "float32 coordinates"
_Method = Callable[..., Any]


def _roi_align_in_float32(forward: _Method) -> _Method:
    """For ``RoIAlign.forward(input, rois)``."""

    @functools.wraps(forward)
    def wide_forward(self: Any, input: Tensor, rois: Tensor) -> Tensor:
        wide = at_least_float32(input.dtype)
        if wide == input.dtype:
            return forward(self, input, rois)
        return forward(self, input.to(wide), rois.to(wide)).to(input.dtype)

    return wide_forward


def _extractor_in_float32(forward: _Method) -> _Method:
    """For ``SingleRoIExtractor.forward(feats, rois, ...)``, which casts the RoIs to the type of the features."""

    @functools.wraps(forward)
    def wide_forward(self: Any, feats: Sequence[Tensor], rois: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        dtype = feats[0].dtype
        wide = at_least_float32(dtype)
        if wide == dtype:
            return forward(self, feats, rois, *args, **kwargs)
        return forward(self, tuple(fmap.to(wide) for fmap in feats), rois.to(wide), *args, **kwargs).to(dtype)

    return wide_forward


def _priors_in_float32(single_level_grid_priors: _Method) -> _Method:
    """For ``single_level_grid_priors(featmap_size, level_idx, dtype, ...)`` of anchor and point generators."""

    @functools.wraps(single_level_grid_priors)
    def wide_priors(
        self: Any, featmap_size: Any, level_idx: int, dtype: torch.dtype = torch.float32, *args: Any, **kwargs: Any
    ) -> Tensor:
        return single_level_grid_priors(self, featmap_size, level_idx, at_least_float32(dtype), *args, **kwargs)

    return wide_priors


# Module, class, method, what is made of the method.
_CURES: tuple[tuple[str, str, str, Callable[[_Method], _Method]], ...] = (
    ("mmcv.ops.roi_align", "RoIAlign", "forward", _roi_align_in_float32),
    (
        "mmdet.models.roi_heads.roi_extractors.single_level_roi_extractor",
        "SingleRoIExtractor",
        "forward",
        _extractor_in_float32,
    ),
    (
        "mmdet.models.task_modules.prior_generators.anchor_generator",
        "AnchorGenerator",
        "single_level_grid_priors",
        _priors_in_float32,
    ),
    (
        "mmdet.models.task_modules.prior_generators.point_generator",
        "MlvlPointGenerator",
        "single_level_grid_priors",
        _priors_in_float32,
    ),
)
_not_found: set[str] = set()


def _cure(module: ModuleType) -> None:
    for module_name, class_name, method_name, widen in _CURES:
        if module_name != module.__name__:
            continue
        owner = getattr(module, class_name, None)
        if owner is None or method_name not in vars(owner):
            _not_found.add(f"{module_name}.{class_name}.{method_name}")
            warnings.warn(
                f"{module_name} has no {class_name}.{method_name}: under bfloat16 and float16 its coordinates are "
                "rounded to those types. Train in float32, or use a version of the library that has it.",
                stacklevel=2,
            )
            continue
        setattr(owner, method_name, widen(vars(owner)[method_name]))


def activate() -> None:
    """Cure each class once its module is imported."""
    for module_name in {module_name for module_name, *_ in _CURES}:
        after_import(module_name, _cure)


def status() -> Shim:
    """Whether the classes are, or will be, cured; imports nothing."""
    if not is_installed("mmdet"):
        return Shim(_NAME, active=False, why="mmdet is not installed")
    if _not_found:
        return Shim(_NAME, active=False, why=f"this version of the libraries lacks {', '.join(sorted(_not_found))}")
    return Shim(_NAME, active=True, why="mmdet rounds anchors and RoIs to the type of the features under autocast")
