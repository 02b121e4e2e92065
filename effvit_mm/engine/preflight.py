"""All that is asked of a run before anything is built: one door, for training, testing and the data tool alike."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

from effvit_mm.engine.batch_check import check_batches
from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.data_check import check_data
from effvit_mm.engine.figure_check import check_figures
from effvit_mm.engine.group_rates import describe_floors
from effvit_mm.engine.model_check import check_classes, check_model
from effvit_mm.engine.pipeline_check import check_steps
from effvit_mm.errors import BadInputError

# What MMEngine's backends import when a run has begun to log, and what installs it.
PACKAGES = {
    "TensorboardVisBackend": ("tensorboard", "tensorboard"),
    "WandbVisBackend": ("wandb", "wandb"),
    "MLflowVisBackend": ("mlflow", "mlflow"),
    "ClearMLVisBackend": ("clearml", "clearml"),
    "NeptuneVisBackend": ("neptune", "neptune"),
    "DVCLiveVisBackend": ("dvclive", "dvclive"),
    "AimVisBackend": ("aim", "aim"),
}


def check_run(
    cfg: Config, splits: tuple[str, ...], *, open_pictures: bool = True, tell: Callable[[str], object] = print
) -> None:
    """Check the sections, packages, data, steps, model and classes of a run.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has.
        open_pictures: Whether pictures, masks and depth maps are opened.
        tell: Takes lines on what is worth knowing and no reason to stop.

    Raises:
        BadInputError: At the first thing that would stop the run, or make it learn or measure something else.
    """
    check_config(cfg, splits)
    for note in describe_floors(cfg) if "train" in splits else ():
        tell(note)
    check_packages(cfg)
    check_steps(cfg, splits)
    check_data(cfg, splits, open_pictures=open_pictures, tell=tell)
    check_model(cfg)
    check_classes(cfg, splits)
    check_figures(cfg, splits)
    check_batches(cfg, splits)


def check_packages(cfg: Config) -> None:
    """Check that what the visualizer writes to is installed.

    Raises:
        BadInputError: If a package is missing.
    """
    visualizer = cfg.get("visualizer")
    backends: Any = (visualizer.get("vis_backends") if isinstance(visualizer, dict) else None) or ()
    for place, backend in enumerate(backends if isinstance(backends, list | tuple) else [backends]):
        kind = backend.get("type") if isinstance(backend, dict) else None
        name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
        module, package = PACKAGES.get(name, ("", ""))
        if module and find_spec(module) is None:
            raise BadInputError(
                f"visualizer.vis_backends.{place} is {name}, which needs {package}, and that is not installed: "
                f"pip install {package}, or take it out of vis_backends"
            )
