"""Messages of the libraries that are untrue here, or that no user can act on, stay unsaid.

Each is named by its exact words and place; everything else a library says is heard.
"""

import functools
import logging
import re
import sys
import warnings
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from effvit_mm.compat.import_hooks import after_import, is_installed
from effvit_mm.compat.rebinding import rebind
from effvit_mm.compat.shim import Shim

_NAME = "untrue messages"

# Said through `mmengine.logging.print_log`, with the reason not to say it.
_UNSAID = {
    # Meant for the debug level, but print_log without a logger prints whatever the level: a vendor's data sets.
    "Could not import OneDL",
    "Could not import OneDL. Skipping OneDL datasets.",
    # MMEngine's own checkpoint hook makes these two objects.
    '"FileClient" will be deprecated in future. Please use io functions in '
    "https://onedl-mmengine.readthedocs.io/en/latest/api/fileio.html#file-io",
    '"FileClient" will be deprecated in future. Please use io functions in '
    "https://mmengine.readthedocs.io/en/latest/api/fileio.html#file-io",
    '"HardDiskBackend" is the alias of "LocalBackend" and the former will be deprecated in future.',
}
_LOGGING = "mmengine.logging"

# CocoMetric, the stock metric, works without faster_coco_eval; FasterCocoMetric says what it lacks when it is used.
_FASTER_COCO = "mmdet.evaluation.metrics.faster_coco_metric"
_FASTER_COCO_MESSAGE = "faster_coco_eval is not installed, metrics will not be computed. "

# MMEngine imports it for its ZeRO optimizer; torch 2.4 then warns of TorchScript, which nothing here uses.
_FUNCTIONAL_OPTIMIZERS = "torch.distributed.optim"


def _quieten_print_log(mmengine_logging: ModuleType) -> None:
    print_log = mmengine_logging.print_log

    @functools.wraps(print_log)
    def quiet_print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
        if not (isinstance(msg, str) and msg in _UNSAID):
            print_log(msg, logger, level)

    rebind(mmengine_logging, {"print_log": quiet_print_log})


def _explain_on_use(faster_coco_metric: ModuleType) -> None:
    def raise_missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError("FasterCocoMetric needs `pip install faster-coco-eval`; CocoMetric does not.")

    for name in ("COCO", "COCOeval_faster"):
        if getattr(faster_coco_metric, name, raise_missing) is None:
            setattr(faster_coco_metric, name, raise_missing)


def _quieten_functional_optimizers(utils: ModuleType) -> None:
    # The package imports this module last before it warns, and its own filter lets nobody else's through.
    package = sys.modules[_FUNCTIONAL_OPTIMIZERS]
    if "warnings" in vars(package):
        silent = SimpleNamespace(catch_warnings=nullcontext, simplefilter=_do_nothing, warn=_do_nothing)
        vars(package)["warnings"] = silent


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass


def activate() -> None:
    """Quieten each message at its source, once that is imported."""
    after_import(_LOGGING, _quieten_print_log)
    after_import(f"{_FUNCTIONAL_OPTIMIZERS}.utils", _quieten_functional_optimizers)
    after_import(_FASTER_COCO, _explain_on_use)
    # Global, because the module warns while it is imported.
    warnings.filterwarnings(
        "ignore", message=re.escape(_FASTER_COCO_MESSAGE), category=UserWarning, module=re.escape(_FASTER_COCO) + r"\Z"
    )


def status() -> Shim:
    """Whether the libraries that say these things are installed; imports nothing."""
    if not is_installed("mmengine"):
        return Shim(_NAME, active=False, why="mmengine is not installed")
    return Shim(_NAME, active=True, why="the libraries report optional parts that nothing here uses")
