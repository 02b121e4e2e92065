"""Callbacks that run right after a given module has been imported.

A shim that changes a library must not import it: mmdet alone costs seconds. So a shim names the module and what to do
with it, and the finder below, first on ``sys.meta_path``, does it when (and only if) somebody imports that module.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ModuleCallback = Callable[[ModuleType], None]


def find_spec_elsewhere(
    asking: MetaPathFinder, name: str, path: Sequence[str] | None, target: ModuleType | None = None
) -> ModuleSpec | None:
    """Find a module by the finders behind the caller on ``sys.meta_path``.

    Only those: two finders that wait for the same module would otherwise ask each other without end.

    Args:
        asking: The caller.
        name: The full name of the module.
        path: The ``__path__`` of its parent package, or None at top level.
        target: The module being reloaded, if any.

    Returns:
        The first specification found, or None.
    """
    place = sys.meta_path.index(asking) + 1 if asking in sys.meta_path else 0
    for finder in sys.meta_path[place:]:
        if not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class _CallbackLoader(Loader):
    """Run callbacks after the real loader, and leave no trace on the module."""

    def __init__(self, loader: Any, callbacks: Sequence[ModuleCallback]) -> None:
        self._loader = loader
        self._callbacks = callbacks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # inspect and pkgutil read the loader off the module: they must meet the real one.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for callback in self._callbacks:
            callback(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _PostImportFinder(MetaPathFinder):
    """Wrap the loader of the modules that somebody waits for; answer for no other."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[ModuleCallback]] = {}

    def add(self, name: str, callback: ModuleCallback) -> bool:
        """Remember the callback; False if it was known already."""
        callbacks = self._callbacks.setdefault(name, [])
        if callback in callbacks:
            return False
        callbacks.append(callback)
        return True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        callbacks = self._callbacks.get(fullname)
        if callbacks is None:
            return None
        spec = find_spec_elsewhere(self, fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _CallbackLoader(spec.loader, callbacks)
        return spec


_FINDER = _PostImportFinder()


def after_import(name: str, callback: ModuleCallback) -> None:
    """Have ``callback(module)`` called once module ``name`` has been executed: now, if it already has been.

    Args:
        name: The full name of the module.
        callback: What to do with it, once for each execution (a reload is another). Registering it again does nothing.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    module = sys.modules.get(name)
    if _FINDER.add(name, callback) and module is not None:
        callback(module)


def is_installed(package: str) -> bool:
    """Whether a top-level package can be found; it is not imported."""
    return package in sys.modules or importlib.util.find_spec(package) is not None
