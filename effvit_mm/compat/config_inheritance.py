"""``_base_ = ['mmseg::...']`` finds mmseg under whichever distribution it was installed.

MMEngine turns the scope ``mmseg`` into the distribution name ``mmsegmentation`` and looks that up. The maintained fork
is called ``onedl-mmsegmentation``, so the lookup fails although mmseg is there. A name that MMEngine does not know as
a distribution, it looks up as a module: the module's own name always works.
"""

import importlib
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

from effvit_mm.compat.import_hooks import after_import, is_installed
from effvit_mm.compat.shim import Shim

_NAME = "mmseg:: in _base_"
_TABLE_MODULE = "mmengine.config.utils"
_SCOPE = "mmseg"


def _has_distribution(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _cure(config_utils: ModuleType) -> None:
    packages = config_utils.MODULE2PACKAGE
    if is_installed(_SCOPE) and not _has_distribution(packages.get(_SCOPE, _SCOPE)):
        packages[_SCOPE] = _SCOPE


def activate() -> None:
    """Correct MMEngine's table once it is imported, if it needs correction."""
    after_import(_TABLE_MODULE, _cure)


def status() -> Shim:
    """Whether the table needed correction; imports MMEngine's configs to find out."""
    if not is_installed(_SCOPE) or not is_installed("mmengine"):
        return Shim(_NAME, active=False, why="mmseg is not installed")
    package = importlib.import_module(_TABLE_MODULE).MODULE2PACKAGE[_SCOPE]
    if package == _SCOPE:
        return Shim(_NAME, active=True, why="mmseg is installed, but not as the distribution that MMEngine looks up")
    return Shim(_NAME, active=False, why=f"MMEngine looks up {package}, which is installed")
