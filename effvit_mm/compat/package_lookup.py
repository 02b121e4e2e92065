"""MMEngine finds installed packages without ``pkg_resources``.

``_base_ = ['mmdet::...']`` asks MMEngine whether mmdet is installed, and where. Up to 0.10.7 MMEngine asks
``pkg_resources`` for it, which setuptools dropped in version 82 and which a virtual environment of Python 3.12 lacks
from the start. The standard library's ``importlib.metadata`` gives the same answers, and gives them faster.
"""

import importlib
import importlib.util
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

from effvit_mm.compat.import_hooks import after_import
from effvit_mm.compat.import_hooks import is_installed as is_importable
from effvit_mm.compat.rebinding import rebind
from effvit_mm.compat.shim import Shim

_NAME = "no pkg_resources"
_MODULE = "mmengine.utils.package_utils"
_FUNCTIONS = ("is_installed", "get_installed_path", "package2module")


def is_installed(package: str) -> bool:
    """Whether a distribution of this name is installed, or else a module of this name can be found."""
    return _find_distribution(package) is not None or _module_folder(package) is not None


def get_installed_path(package: str) -> str:
    """The folder of a package, which is named by its distribution or by its module.

    Raises:
        PackageNotFoundError: If there is neither.
        ValueError: If there is only a distribution of this name, which does not say which module it installs.
    """
    folder = _module_folder(package) or _module_folder(package2module(package))
    if folder is None:
        raise PackageNotFoundError(package)
    return str(folder)


def package2module(package: str) -> str:
    """The module that a distribution installs: ``mmseg`` of ``mmsegmentation``.

    Raises:
        PackageNotFoundError: If the distribution is not installed.
        ValueError: If its metadata does not say.
    """
    modules = (distribution(package).read_text("top_level.txt") or "").split()
    if not modules:
        raise ValueError(f"the distribution {package} does not say which module it installs (top_level.txt)")
    return modules[0]


def _find_distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _module_folder(name: str) -> Path | None:
    # A distribution's name need not be one that a module can have.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    # A namespace package, such as a folder of that name under the current one, has no origin.
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _asks_pkg_resources(package_utils: ModuleType) -> bool:
    return "pkg_resources" in package_utils.is_installed.__code__.co_names


def _cure(package_utils: ModuleType) -> None:
    if _asks_pkg_resources(package_utils):
        rebind(package_utils, {name: globals()[name] for name in _FUNCTIONS})


def activate() -> None:
    """Replace MMEngine's functions once they are imported, if they ask ``pkg_resources``."""
    after_import(_MODULE, _cure)


def status() -> Shim:
    """Whether the functions needed replacement; imports MMEngine's utilities to find out."""
    if not is_importable("mmengine"):
        return Shim(_NAME, active=False, why="mmengine is not installed")
    if importlib.import_module(_MODULE).is_installed is is_installed:
        return Shim(_NAME, active=True, why="this MMEngine asks pkg_resources, which newer setuptools do not have")
    return Shim(_NAME, active=False, why="this MMEngine asks importlib.metadata")
