"""What OpenMMLab needs in order to run with today's torch, and where mmcv has no compiled extension.

One file a shim, each with ``activate()`` and ``status()``; a shim acts only where it is needed, and only once the
library it cures is imported. Activating them imports no library.
"""

from effvit_mm.compat import (
    config_inheritance,
    coordinates,
    mmcv_ext,
    noise,
    package_lookup,
    sampling_locations,
    version_bounds,
)
from effvit_mm.compat.shim import Shim

__all__ = ["Shim", "activate", "report"]

_SHIMS = (mmcv_ext, version_bounds, package_lookup, config_inheritance, coordinates, sampling_locations, noise)


def activate() -> None:
    """Activate every shim; doing so again changes nothing."""
    for shim in _SHIMS:
        shim.activate()


def report() -> list[Shim]:
    """The state of every shim. Imports what it has to look at, but neither mmdet nor mmseg."""
    return [shim.status() for shim in _SHIMS]
