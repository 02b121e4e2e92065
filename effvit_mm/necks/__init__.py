"""Necks that stock detectors and segmenters lack: exchange across the scales of a pyramid.

A config names them in ``custom_imports = dict(imports=["effvit_mm", "effvit_mm.necks"])``. Each returns maps of the
sizes and channels it is given, so it stands before any other neck, as ``neck=[dict(type="ContextBridge", ...),
dict(type="FPN", ...)]``, or before a decoder that takes several maps.
"""

from effvit_mm.necks.context_bridge import ContextBridge
from effvit_mm.necks.query_bridge import QueryBridge

__all__ = ["ContextBridge", "QueryBridge"]
