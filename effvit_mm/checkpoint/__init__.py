"""Weights in and out: loading runs no code, whoever wrote the file."""

from effvit_mm.checkpoint.fit import check_some_fit, load_whole, read_weights, weights_of
from effvit_mm.checkpoint.safe_load import UnsafeCheckpointError, load_safely, make_loading_safe

__all__ = [
    "UnsafeCheckpointError",
    "check_some_fit",
    "load_safely",
    "load_whole",
    "make_loading_safe",
    "read_weights",
    "weights_of",
]
