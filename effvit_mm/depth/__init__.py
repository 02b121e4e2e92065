"""Monocular depth in metres: heads, losses, estimator, metric, transforms, data sets and pictures.

Needs mmsegmentation; a config names it in ``custom_imports = dict(imports=["effvit_mm", "effvit_mm.depth"])``.
"""

from effvit_mm.depth.datasets import DepthFolderDataset, DepthListDataset
from effvit_mm.depth.drawing import DepthVisualizer, color_depth, draw_depth
from effvit_mm.depth.estimator import MonoDepthEstimator
from effvit_mm.depth.files import read_depth, write_depth
from effvit_mm.depth.heads import LinearDepthHead, PyramidDepthHead
from effvit_mm.depth.losses import DepthGradientLoss, SILogLoss
from effvit_mm.depth.metric import MonoDepthMetric, depth_errors
from effvit_mm.depth.transforms import BorderCrop, LoadDepth, RandomGammaBrightnessColor

__all__ = [
    "BorderCrop",
    "DepthFolderDataset",
    "DepthGradientLoss",
    "DepthListDataset",
    "DepthVisualizer",
    "LinearDepthHead",
    "LoadDepth",
    "MonoDepthEstimator",
    "MonoDepthMetric",
    "PyramidDepthHead",
    "RandomGammaBrightnessColor",
    "SILogLoss",
    "color_depth",
    "depth_errors",
    "draw_depth",
    "read_depth",
    "write_depth",
]
