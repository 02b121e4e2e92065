"""Weights in and out: loading runs no code, whoever wrote the file."""

from effvit_mm.checkpoint.anchor_start import AnchorFacts, AnchorStart, start_anchors
from effvit_mm.checkpoint.convert import (
    ConversionError,
    ConversionReport,
    ConvertedWeights,
    convert_file,
    convert_state_dict,
)
from effvit_mm.checkpoint.fit import check_some_fit, load_whole, read_weights, weights_of
from effvit_mm.checkpoint.origin import load_trained
from effvit_mm.checkpoint.safe_load import UnsafeCheckpointError, load_safely, make_loading_safe
from effvit_mm.checkpoint.whole_file import written_whole

__all__ = [
    "AnchorFacts",
    "AnchorStart",
    "ConversionError",
    "ConversionReport",
    "ConvertedWeights",
    "UnsafeCheckpointError",
    "check_some_fit",
    "convert_file",
    "convert_state_dict",
    "load_safely",
    "load_trained",
    "load_whole",
    "make_loading_safe",
    "read_weights",
    "start_anchors",
    "weights_of",
    "written_whole",
]
