"""Weights in and out: loading runs no code, whoever wrote the file."""

from effvit_mm.checkpoint.safe_load import UnsafeCheckpointError, load_safely, make_loading_safe

__all__ = ["UnsafeCheckpointError", "load_safely", "make_loading_safe"]
