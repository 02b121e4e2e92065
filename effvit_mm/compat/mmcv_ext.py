"""torchvision stands in for ``mmcv._ext`` where mmcv has no compiled extension that loads.

``mmcv.ops`` asserts at import that ``mmcv._ext`` has every name, so that all of mmdet hangs on a compiled file that
pip's isolated build does not make and that torch >= 2.14 cannot compile. The finder below answers for that one name.
It tries the compiled extension first, and gives the stand-in where there is none or where it does not load (one built
for another torch, say, which pip's wheel cache hands out silently).
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from effvit_mm.compat.import_hooks import find_spec_elsewhere, is_installed
from effvit_mm.compat.shim import Shim

EXTENSION = "mmcv._ext"
_NAME = "torchvision for mmcv._ext"
_REASON = "stand_in_reason"


def build_stand_in(why: str) -> ModuleType:
    """Make a module with the names of ``mmcv._ext``: what torchvision can serve works, all else raises when called.

    Args:
        why: Why the compiled extension is not used, in a sentence.

    Raises:
        ImportError: If torchvision does not import either.
    """
    try:
        from effvit_mm.compat import ops
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise ImportError(
            f"mmcv's compiled extension is absent ({why}) and torchvision, which stands in for it, does not import "
            f"({error}). Install torch and torchvision together, from one package index.",
            name=EXTENSION,
        ) from error

    def find_missing(name: str) -> Any:
        # Introspection asks for `__path__`, `__wrapped__` and the like, and takes any answer for a yes.
        if name.startswith("_"):
            raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")
        return ops.missing_op(name, why)

    module = ModuleType(EXTENSION, doc=f"Stands in for mmcv's compiled extension. {why}")
    vars(module).update({operation.__name__: operation for operation in ops.OPERATIONS})
    vars(module).update(
        {
            _REASON: why,
            "__getattr__": find_missing,
            # mmcv's collect_env prints these two; the second text is mmcv's own for a build without CUDA.
            "get_compiler_version": lambda: "n/a (torchvision stands in)",
            "get_compiling_cuda_version": lambda: "not available",
        }
    )
    return module


class _ExtensionLoader(Loader):
    """Load the compiled extension, or the stand-in if that fails."""

    def __init__(self, compiled: ModuleSpec | None) -> None:
        self._compiled = compiled

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if self._compiled is None:
            return build_stand_in("mmcv was installed without it.")
        try:
            return importlib.util.module_from_spec(self._compiled)
        except ImportError as error:
            return self._replace(self._compiled, error)

    def exec_module(self, module: ModuleType) -> None:
        if self._compiled is None or self._compiled.loader is None or _REASON in vars(module):
            return
        module.__spec__, module.__loader__ = self._compiled, self._compiled.loader
        try:
            self._compiled.loader.exec_module(module)
        except ImportError as error:
            sys.modules[EXTENSION] = self._replace(self._compiled, error)

    def _replace(self, compiled: ModuleSpec, error: ImportError) -> ModuleType:
        return build_stand_in(f"The compiled one at {compiled.origin} does not load: {error}.")


class _ExtensionFinder(MetaPathFinder):
    """Answer for ``mmcv._ext`` alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        compiled = find_spec_elsewhere(self, fullname, path, target)
        if compiled is not None and compiled.loader is None:
            compiled = None  # a folder of that name, left by a build, is a namespace package and no extension
        return ModuleSpec(fullname, _ExtensionLoader(compiled), origin=compiled.origin if compiled else __file__)


_FINDER = _ExtensionFinder()


def activate() -> None:
    """Let the next import of ``mmcv._ext`` succeed. An extension already imported stays."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _repair_transformer()


def _repair_transformer() -> None:
    """Give ``mmcv.cnn.bricks.transformer`` the name it lacks if it was imported before us.

    It swallows a failed import of ``mmcv.ops`` and goes on without the name; mmdet's models import that name from it.
    """
    transformer = sys.modules.get("mmcv.cnn.bricks.transformer")
    name = "MultiScaleDeformableAttention"
    if transformer is not None and not hasattr(transformer, name):
        attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
        setattr(transformer, name, getattr(attention, name))


def status() -> Shim:
    """Whether the stand-in is in use; imports ``mmcv._ext`` to find out."""
    if not is_installed("mmcv"):
        return Shim(_NAME, active=False, why="mmcv is not installed")
    try:
        extension = importlib.import_module(EXTENSION)
    except ImportError as error:
        return Shim(_NAME, active=False, why=str(error))
    reason = vars(extension).get(_REASON)
    if reason is None:
        where = getattr(extension, "__file__", "in memory")
        return Shim(_NAME, active=False, why=f"the compiled extension is in use ({where})")
    return Shim(_NAME, active=True, why=reason)
