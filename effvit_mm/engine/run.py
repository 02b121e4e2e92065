"""From a command line to a config that MMEngine's Runner can run."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from effvit_mm.checkpoint import load_safely
from effvit_mm.engine.overlays import apply_overlay, keep_few_pictures, make_toy_scenes
from effvit_mm.errors import BadInputError


def load_config(
    config_file: Path,
    *,
    work_dir: Path | None = None,
    overlays: Path | None = None,
    num_pictures: int | None = None,
    data_root: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Read a config and apply what the command line says, later arguments over earlier ones.

    Args:
        config_file: A text config.
        work_dir: Where the run writes; ``work_dirs/<name of the config>`` by default.
        overlays: Folder of overlays, one a method, that put the config in another setting. Toy scenes that an overlay
            asks for are rendered here on first use.
        num_pictures: Train and validate on this many pictures of the training data.
        data_root: Folder that takes the place of every data set's ``data_root``.
        options: Values by dotted key (``--cfg-options``).

    Returns:
        The config.

    Raises:
        BadInputError: If the file is missing or no config, or has no toy overlay.
    """
    if not config_file.is_file():
        raise BadInputError(f"config {config_file} does not exist; the configs lie under configs/<data set>/")
    try:
        cfg = Config.fromfile(config_file)
    except Exception as error:  # a config is any Python code, so it can fail in any way
        raise BadInputError(f"config {config_file} cannot be read: {type(error).__name__}: {error}") from error
    if "model" not in cfg:
        raise BadInputError(f"config {config_file} has no 'model'; name a leaf such as configs/coco/maskrcnn_*.py")
    if overlays is not None:
        apply_overlay(cfg, config_file, overlays)
    if data_root is not None:
        _move_data(cfg, data_root)
    if options:
        cfg.merge_from_dict(dict(options))
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or Path("work_dirs") / config_file.stem)
    checkpoint_hook = cfg.get("default_hooks", {}).get("checkpoint") or {}
    if checkpoint_hook.get("type") == "CheckpointHook":
        checkpoint_hook["type"] = "KeepingCheckpointHook"
    if "toy_scenes" in cfg:
        make_toy_scenes(cfg)
    if num_pictures is not None:
        keep_few_pictures(cfg, num_pictures)
    return cfg


def require_accelerator() -> None:
    """Refuse mixed precision where nothing gains from it.

    Raises:
        BadInputError: If the machine has no accelerator.
    """
    if not has_accelerator():
        raise BadInputError("--amp needs an accelerator and this machine has none; leave --amp out to train in fp32")


def enable_amp(cfg: Config) -> None:
    """Train with mixed precision through MMEngine's ``AmpOptimWrapper``."""
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def has_accelerator() -> bool:
    """Tell whether torch can compute on anything but the CPU; ``torch.accelerator`` is as old as torch 2.6."""
    return torch.accelerator.is_available() if hasattr(torch, "accelerator") else torch.cuda.is_available()


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate from ``auto_scale_lr.base_batch_size`` to the batch this run has.

    Raises:
        BadInputError: If the config does not say for which batch its learning rate is meant.
    """
    if not cfg.get("auto_scale_lr", {}).get("base_batch_size"):
        raise BadInputError("--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config")
    cfg.auto_scale_lr.enable = True


def enable_resume(cfg: Config) -> Path | None:
    """Make the run go on from the last whole checkpoint of its work dir.

    Returns:
        The checkpoint, or None where there is none yet and the run starts from the beginning.
    """
    latest = last_whole_checkpoint(Path(cfg.work_dir))
    cfg.resume = latest is not None
    if latest is not None:
        cfg.load_from = str(latest)
        # The order of the data follows from the seed, which the run may have drawn itself.
        cfg.randomness = {**cfg.get("randomness", {}), "seed": load_safely(latest)["meta"].get("seed")}
    return latest


def last_whole_checkpoint(work_dir: Path) -> Path | None:
    """Return the newest ``epoch_*.pth`` or ``iter_*.pth`` of a folder that was written to its end.

    torch's checkpoints are zip archives, whose directory is written last: a file without it was cut off.
    """
    checkpoints = [path for path in work_dir.glob("*.pth") if re.fullmatch(r"(epoch|iter)_\d+", path.stem)]
    checkpoints.sort(key=lambda path: int(path.stem.split("_")[1]), reverse=True)
    return next((path for path in checkpoints if zipfile.is_zipfile(path)), None)


def _move_data(cfg: Config, data_root: Path) -> None:
    """Replace the root of every data set and of the evaluators' annotation files that lie under it."""
    for split in ("train", "val", "test"):
        dataset = cfg.get(f"{split}_dataloader", ConfigDict()).get("dataset")
        if dataset is None or "data_root" not in dataset:
            continue
        old_root, dataset.data_root = dataset.data_root, f"{data_root}/"
        evaluators = cfg.get(f"{split}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if str(evaluator.get("ann_file", "")).startswith(old_root):
                evaluator.ann_file = f"{data_root}/{evaluator.ann_file[len(old_root) :].lstrip('/')}"
