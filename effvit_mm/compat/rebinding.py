"""Replace a function of a library also where the library's other modules have imported it by name already."""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def rebind(module: ModuleType, functions: Mapping[str, Any]) -> None:
    """Replace functions of a module, and of every module of its package that holds one under the same name.

    A script that imports ``mmengine.config`` before effvit_mm has loaded half of mmengine, whose modules hold the stock
    functions; what is loaded later takes the new ones from ``module``.

    Args:
        module: The module that defines them.
        functions: What takes their place, by name.
    """
    stock = {name: vars(module)[name] for name in functions}
    package = module.__name__.split(".")[0]
    for name, loaded in list(sys.modules.items()):
        if name.split(".")[0] != package or not isinstance(loaded, ModuleType):
            continue
        held = {name: new for name, new in functions.items() if vars(loaded).get(name) is stock[name]}
        vars(loaded).update(held)
