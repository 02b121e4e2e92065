"""A model with its trained weights, from a config and a checkpoint, for nothing but predicting."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from effvit_mm.checkpoint import load_safely, load_trained, weights_of
from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.explain import explained
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

# What the libraries call the base of every model of a task; a depth estimator is a segmentor, too, and comes first.
TASKS = {
    "BaseDetector": "detection",
    "DepthEstimator": "depth",
    "BaseSegmentor": "segmentation",
    "BaseClassifier": "classification",
}


def config_for_predicting(config: Path, overlays: Path | None, options: Mapping[str, Any] | None) -> Config:
    """Read and check a config of which only the model and the test pipeline are needed: no data is looked for.

    Raises:
        BadInputError: If it cannot be used.
    """
    cfg = load_config(config, overlays=overlays, options=options, splits=())
    _drop_initialization(cfg.model)
    check_config(cfg, ())
    check_model(cfg)
    return cfg


def load_model(cfg: Config, checkpoint: Path, device: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model of a config, load its weights, and make it ready to predict.

    Args:
        cfg: The config.
        checkpoint: Its weights, read without running code from the file.
        device: Where it shall be; an accelerator if there is one.

    Returns:
        The model; and ``classes`` and ``palette`` of its data, as the checkpoint notes them, or else as the test data
        set of the config does, whose files are not read.

    Raises:
        BadInputError: If the model cannot be built, the checkpoint is of another one, or there is no such device.
    """
    if not checkpoint.is_file():
        state = "is no file" if checkpoint.exists() else "does not exist"
        raise BadInputError(f"checkpoint {checkpoint} {state}; give the path of one that training wrote")
    place = _device(device)
    content = load_safely(checkpoint)
    with explained(cfg), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        model = _build(cfg)
        load_trained(model, weights_of(content, checkpoint), checkpoint, cfg)
        meta = _noted(content)
        if meta is None:
            depth = task_of(model) == "depth"
            # A wrapper would read the files of what it holds.
            dataset = next(leaves_of(cfg.test_dataloader.dataset, "test_dataloader.dataset"))
            meta = {} if depth else DATASETS.build({**dataset, "lazy_init": True}).metainfo
    return model.to(place).eval(), dict(meta)


def task_of(model: nn.Module) -> str:
    """Return ``'detection'``, ``'segmentation'``, ``'depth'`` or ``'classification'``.

    Raises:
        BadInputError: If the model is for something else.
    """
    for cls in type(model).__mro__:
        if cls.__name__ in TASKS:
            return TASKS[cls.__name__]
    raise BadInputError(
        f"model.type={type(model).__name__!r} is none of what can be predicted: a detector of mmdet, a segmenter or "
        f"depth estimator of mmseg, a classifier of mmpretrain"
    )


def _noted(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    noted = content.get("meta")
    meta = noted.get("dataset_meta") if isinstance(noted, Mapping) else None
    return meta if isinstance(meta, Mapping) and meta.get("classes") else None


def _build(cfg: Config) -> nn.Module:
    # Where MMEngine's Runner looks for it, too.
    if cfg.get("data_preprocessor"):
        cfg.model.setdefault("data_preprocessor", cfg.data_preprocessor)
    with warnings.catch_warnings():
        # Said by mmseg's losses, which nothing is computed with here.
        warnings.filterwarnings("ignore", message="Default ``avg_non_ignore`` is False")
        return revert_sync_batchnorm(MODELS.build(cfg.model))


def _drop_initialization(spec: Any) -> None:
    """Take out of a model's config the files it would start training from: the checkpoint brings every weight."""
    if isinstance(spec, dict):
        for key in ("init_cfg", "pretrained"):
            if spec.get(key):
                spec[key] = None
    for child in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list | tuple) else ():
        _drop_initialization(child)


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or get_device())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"device {name!r} cannot be used here ({reason[:200]}); this machine has {get_device()!r}"
        ) from error
    return device
