"""Deformable attention samples at float32 places where its values are bfloat16 or float16.

mmcv's ``MultiScaleDeformableAttnFunction`` casts the sampling locations, which autocast leaves float32, to the type of
the values before any operation sees them. They are shares of the picture: near its far border neighbouring float16
numbers are 1/2048 of it apart (0.65 pixels of 1333), neighbouring bfloat16 numbers 1/256 (5.2 pixels), whatever the
stride of the map. For bfloat16 mmcv turns to its Python path, which does not round; but ``grid_sample`` refuses values
and places of two types, so that a module in bfloat16 works only from places that are rounded already, and under
autocast only because that widens both. Here both paths compute in float32 and give back the type of the values.

The function serves CUDA tensors; on a CPU mmcv takes the Python path, so there its rounding is never met.
"""

import functools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from effvit_mm.compat.import_hooks import after_import, is_installed
from effvit_mm.compat.precision import at_least_float32
from effvit_mm.compat.rebinding import rebind
from effvit_mm.compat.shim import Shim

_NAME = "float32 sampling locations"
_MODULE = "mmcv.ops.multi_scale_deform_attn"
_FUNCTION, _PYTHON_PATH = "MultiScaleDeformableAttnFunction", "multi_scale_deformable_attn_pytorch"
_not_found: set[str] = set()


def _apply_in_float32(apply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """For ``apply(value, spatial_shapes, level_starts, locations, weights, im2col_step)``."""

    @functools.wraps(apply)
    def wide_apply(
        value: Tensor, spatial_shapes: Tensor, level_starts: Tensor, locations: Tensor, weights: Tensor, *args: Any
    ) -> Tensor:
        wide = at_least_float32(value.dtype)
        if wide == value.dtype:
            return apply(value, spatial_shapes, level_starts, locations, weights, *args)
        # The compiled kernels want one type of all three.
        tensors = (value.to(wide), spatial_shapes, level_starts, locations.to(wide), weights.to(wide))
        return apply(*tensors, *args).to(value.dtype)

    return wide_apply


def _python_path_in_float32(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """For ``multi_scale_deformable_attn_pytorch``, called with the four tensors that its successor here names."""

    @functools.wraps(attend)
    def wide_attend(
        value: Tensor, value_spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
    ) -> Tensor:
        wide = at_least_float32(value.dtype)
        if wide == value.dtype:
            return attend(value, value_spatial_shapes, sampling_locations, attention_weights)
        places, weights = sampling_locations.to(wide), attention_weights.to(wide)
        return attend(value.to(wide), value_spatial_shapes, places, weights).to(value.dtype)

    return wide_attend


def _cure(module: ModuleType) -> None:
    function = getattr(module, _FUNCTION, None)
    if function is None or not hasattr(module, _PYTHON_PATH):
        _not_found.update(name for name in (_FUNCTION, _PYTHON_PATH) if not hasattr(module, name))
        warnings.warn(
            f"{module.__name__} has no {' or '.join(sorted(_not_found))}: under bfloat16 and float16 the sampling "
            "locations of deformable attention are rounded to those types. Train in float32, or use a version of mmcv "
            "that has it.",
            stacklevel=2,
        )
        return
    function.apply = staticmethod(_apply_in_float32(function.apply))
    rebind(module, {_PYTHON_PATH: _python_path_in_float32(getattr(module, _PYTHON_PATH))})


def activate() -> None:
    """Cure deformable attention once its module is imported."""
    after_import(_MODULE, _cure)


def status() -> Shim:
    """Whether deformable attention is, or will be, cured; imports nothing."""
    if not is_installed("mmcv"):
        return Shim(_NAME, active=False, why="mmcv is not installed")
    if _not_found:
        return Shim(_NAME, active=False, why=f"this mmcv lacks {', '.join(sorted(_not_found))}")
    return Shim(_NAME, active=True, why="mmcv rounds the places of deformable attention to the type of its values")
