"""Efficient vision transformers for dense prediction, as OpenMMLab plugins.

Importing the package lets OpenMMLab run without compiled operators (:mod:`effvit_mm.compat`) and registers the
backbones in MMEngine's root registry. It prints nothing and imports neither mmcv, mmdet nor mmseg.
"""

# The shims must stand before anything of OpenMMLab is imported.
from effvit_mm import compat

compat.activate()

from effvit_mm.backbones import (  # noqa: E402
    create_backbone,
    create_classifier,
    list_backbones,
    list_mergers,
    list_mixers,
    list_reducers,
)
from effvit_mm.version import __version__  # noqa: E402

__all__ = [
    "__version__",
    "create_backbone",
    "create_classifier",
    "list_backbones",
    "list_mergers",
    "list_mixers",
    "list_reducers",
]
