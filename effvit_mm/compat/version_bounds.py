"""mmdet, mmseg and mmpretrain accept an mmcv that is newer than they are.

Their last upstream releases assert ``mmcv < 2.2.0`` at import, and mmcv 2.2.0 changed nothing that they use; so do they
refuse every later mmcv that works. Where such an assertion fails, and only there, the package's ``__init__`` is
executed once more while mmcv calls itself a version that they all accept. It has its own version again right after.
"""

import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from effvit_mm.compat.import_hooks import is_installed
from effvit_mm.compat.shim import Shim

_NAME = "mmcv's upper bound"
_PACKAGES = ("mmdet", "mmseg", "mmpretrain")
_ACCEPTED = (2, 1)
_refused: dict[str, str] = {}


def _refuses_a_newer_mmcv(error: AssertionError) -> bool:
    found = re.match(r"MMCV==(\d+)\.(\d+)\S* is used but incompatible", str(error))
    return found is not None and (int(found[1]), int(found[2])) > _ACCEPTED


class _Loader(Loader):
    """Execute a package, and once more under another version of mmcv if it refuses the one that is there."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # inspect and pkgutil read the loader off the module: they must meet the real one.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        try:
            self._loader.exec_module(module)
        except AssertionError as error:
            mmcv = sys.modules.get("mmcv")
            if mmcv is None or not _refuses_a_newer_mmcv(error):
                raise
            self._execute_again(module, mmcv)

    def _execute_again(self, module: ModuleType, mmcv: ModuleType) -> None:
        version = mmcv.__version__
        vars(mmcv)["__version__"] = "{}.{}.0".format(*_ACCEPTED)
        try:
            self._loader.exec_module(module)
        finally:
            vars(mmcv)["__version__"] = version
        _refused[module.__name__] = version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Finder(MetaPathFinder):
    """Wrap the loaders of the packages that check mmcv's version; answer for no other."""

    def __init__(self) -> None:
        self._looking_for: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # A finder behind this one that waits for the same package asks back.
        if fullname not in _PACKAGES or fullname in self._looking_for:
            return None
        self._looking_for.add(fullname)
        try:
            spec = self._find_behind(fullname, path, target)
        finally:
            self._looking_for.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec

    def _find_behind(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        # Those in front have been asked already: one that wraps loaders, as this one does, would wrap twice.
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(fullname, path, target) for finder in behind if hasattr(finder, "find_spec"))
        return next((spec for spec in specs if spec is not None), None)


_FINDER = _Finder()


def activate() -> None:
    """Stand by for the next import of each package."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def status() -> Shim:
    """Whether a package that has been imported refused mmcv; imports nothing."""
    if not is_installed("mmcv"):
        return Shim(_NAME, active=False, why="mmcv is not installed")
    if _refused:
        refusals = ", ".join(f"{name} refuses mmcv {version}" for name, version in _refused.items())
        return Shim(_NAME, active=True, why=f"{refusals}, which it runs with")
    return Shim(_NAME, active=False, why="no package imported so far refuses the mmcv that is installed")
