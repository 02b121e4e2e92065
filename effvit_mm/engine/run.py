"""From a command line to a config that MMEngine's Runner can run."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from effvit_mm.checkpoint import load_safely
from effvit_mm.config_file import read_config, require_model
from effvit_mm.config_options import set_options
from effvit_mm.engine.config_check import check_config, check_shapes, check_work_dir
from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.dataset_spec import evaluators_of
from effvit_mm.engine.last_checkpoint import checkpoint_folder, last_checkpoint_of, named_last
from effvit_mm.engine.model_check import check_build, check_model
from effvit_mm.engine.overlays import apply_overlay, keep_few_pictures, make_toy_scenes
from effvit_mm.errors import BadInputError

# What MMEngine's Runner reads of a checkpoint beside its weights.
RESUMED_PARTS = ("meta", "message_hub", "optimizer")


def load_config(
    config_file: Path,
    *,
    work_dir: Path | None = None,
    overlays: Path | None = None,
    num_pictures: int | None = None,
    data_root: Path | None = None,
    options: Mapping[str, Any] | None = None,
    splits: tuple[str, ...] = ("train", "val"),
) -> Config:
    """Read a config and apply what the command line says, later arguments over earlier ones.

    Args:
        config_file: A text config.
        work_dir: Where the run writes; ``work_dirs/<name of the config>`` by default.
        overlays: Folder of overlays, one a method, that put the config in another setting. Toy scenes that an overlay
            asks for are rendered here on first use, once the config and its model are checked.
        num_pictures: Train and validate on this many pictures of the training data.
        data_root: Folder that takes the place of every data set's ``data_root``.
        options: Values by dotted key (``--cfg-options``).
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has; with none, no toy scenes are rendered.

    Returns:
        The config.

    Raises:
        BadInputError: If the file is missing or no config, or has no toy overlay; if there is something to render,
            also if the config or its model cannot be used.
    """
    cfg = read_config(config_file)
    check_shapes(cfg)
    require_model(cfg)
    if overlays is not None:
        apply_overlay(cfg, config_file, overlays)
    if data_root is not None:
        _move_data(cfg, data_root)
    if options:
        set_options(cfg, options)
        check_shapes(cfg)
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or Path("work_dirs") / config_file.stem)
    check_work_dir(Path(cfg.work_dir))
    checkpoint_hook = cfg.get("default_hooks", {}).get("checkpoint") or {}
    if checkpoint_hook.get("type") == "CheckpointHook":
        checkpoint_hook["type"] = "KeepingCheckpointHook"
    if "toy_scenes" in cfg and splits:
        make_toy_scenes(cfg, before_rendering=partial(_check_without_data, cfg, splits))
    if num_pictures is not None:
        check_config(cfg, ("train", "val"))
        keep_few_pictures(cfg, num_pictures)
    return cfg


def require_accelerator() -> None:
    """Refuse mixed precision where nothing gains from it.

    Raises:
        BadInputError: If the machine has no accelerator.
    """
    if not has_accelerator():
        raise BadInputError("--amp needs an accelerator and this machine has none; leave --amp out to train in fp32")


def enable_amp(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a command line's values behind the one for mixed precision, MMEngine's ``AmpOptimWrapper``.

    So values that this wrapper alone takes (``optim_wrapper.dtype``) are checked against it.
    """
    return {"optim_wrapper.type": "AmpOptimWrapper", **(options or {})}


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


def enable_tta(cfg: Config) -> None:
    """Predict versions of each test picture and average, as the config's ``tta_model`` and ``tta_pipeline`` say.

    Raises:
        BadInputError: If the config does not say.
    """
    lacking = [name for name in ("tta_model", "tta_pipeline") if not cfg.get(name)]
    if lacking:
        raise BadInputError(
            f"--tta needs {' and '.join(lacking)} in the config; mmseg::_base_/default_runtime.py and "
            f"mmseg::_base_/datasets/ade20k.py have them for segmenters"
        )
    for dataset in leaves_of(cfg.test_dataloader.dataset, "test_dataloader.dataset"):
        dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def enable_resume(cfg: Config) -> Path | None:
    """Make the run go on from the last whole checkpoint of its work dir.

    Returns:
        The checkpoint, or None where there is none yet and the run starts from the beginning.

    Raises:
        BadInputError: If the checkpoint holds weights alone, says nothing of where its run was, or is named by
            ``last_checkpoint`` and not there; or if ``out_dir`` is no folder.
    """
    folder = checkpoint_folder(cfg)
    if folder is None:
        raise BadInputError(
            "--resume looks for checkpoints in folders, and CheckpointHook.out_dir is none; go on from one of them "
            "with load_from=... and resume=True in the config, without --resume"
        )
    latest = last_checkpoint_of(cfg)
    named = named_last(Path(cfg.work_dir))
    if latest is None and named is not None:
        raise BadInputError(
            f"{cfg.work_dir}/last_checkpoint names {named}, and {folder} holds no checkpoint that is "
            f"whole; put it there, or remove last_checkpoint to start anew"
        )
    cfg.resume = latest is not None
    if latest is not None:
        cfg.load_from = str(latest)
        # The order of the data follows from the seed, which the run may have drawn itself.
        randomness, seed = cfg.get("randomness") or {}, _resumable_meta(latest, cfg).get("seed")
        if randomness.get("seed") not in (None, seed):
            print(f"the seed stays {seed}, as {latest.name} has it, and not randomness.seed={randomness['seed']}")
        cfg.randomness = {**randomness, "seed": seed}
    return latest


def _resumable_meta(checkpoint: Path, cfg: Config) -> dict[str, Any]:
    """Return what a checkpoint says of its run, once it is sure that a run can go on from it."""
    content = load_safely(checkpoint)
    lacking = [part for part in RESUMED_PARTS if not isinstance(content.get(part), dict) or not content[part]]
    if cfg.get("param_scheduler") and not (
        isinstance(content.get("param_schedulers"), dict | list) and content["param_schedulers"]
    ):
        # Without its state the schedule would start anew, without a word.
        lacking.append("param_schedulers")
    if lacking:
        raise BadInputError(
            f"{checkpoint} cannot be resumed: it lacks {', '.join(lacking)}; remove it to go on from an older one, or "
            f"take its weights alone, with load_from={str(checkpoint)!r} in the config and without --resume"
        )
    meta = content["meta"]
    seed = meta.get("seed")
    numbers = [meta.get("epoch"), meta.get("iter"), 0 if seed is None else seed]
    if not all(isinstance(number, int) and 0 <= number < 2**32 for number in numbers):
        raise BadInputError(
            f"{checkpoint} cannot be resumed: epoch, iter and seed of its meta are {meta.get('epoch')!r}, "
            f"{meta.get('iter')!r} and {seed!r}, expected whole numbers; remove it to go on from an older one"
        )
    return meta


def _check_without_data(cfg: Config, splits: tuple[str, ...]) -> None:
    check_config(cfg, splits)
    check_model(cfg)
    check_build(cfg)


def _move_data(cfg: Config, data_root: Path) -> None:
    """Replace the root of every data set, also inside wrappers, and of whatever else is named with its root before it.

    Raises:
        BadInputError: If no data set has a root, or two of them would become one.
    """
    moved: set[int] = set()
    any_root = False
    for split in ("train", "val", "test"):
        name = f"{split}_dataloader.dataset"
        leaves = list(leaves_of((cfg.get(f"{split}_dataloader") or {}).get("dataset"), name))
        leaves = [leaf for leaf in leaves if isinstance(leaf.get("data_root"), str)]
        roots = list(dict.fromkeys(leaf.data_root for leaf in leaves))
        any_root = any_root or bool(roots)
        for evaluator in evaluators_of(cfg, split):
            # Two splits may share one dict.
            if id(evaluator) not in moved:
                moved.add(id(evaluator))
                _move_paths(evaluator, ("ann_file", "seg_prefix"), roots, data_root)
        seen: dict[str, str] = {}
        for leaf in leaves:
            old = leaf.data_root
            _move_paths(leaf, ("ann_file", "proposal_file"), [old] if Path(old).is_absolute() else [], data_root)
            if isinstance(leaf.get("data_prefix"), dict) and Path(old).is_absolute():
                _move_paths(leaf.data_prefix, tuple(leaf.data_prefix), [old], data_root)
            what = f"{leaf.get('ann_file')} {leaf.get('data_prefix')}"
            if os.path.abspath(seen.setdefault(what, old)) != os.path.abspath(old):
                raise BadInputError(
                    f"--data-root {data_root} takes the place of every root, and {name} has several data sets that "
                    f"their roots alone tell apart ({seen[what]} and {old}); set each with --cfg-options"
                )
            leaf.data_root = f"{data_root}/"
    if not any_root:
        raise BadInputError(
            f"--data-root {data_root} takes the place of data_root, and no data set of the config has one; set "
            f"data_root in its data sets, with ann_file and data_prefix below it"
        )


def _move_paths(spec: Any, keys: tuple[str, ...], roots: list[str], data_root: Path) -> None:
    """Move those of a dict's paths that lie under one of the roots, the innermost that holds them."""
    for key in keys:
        path = spec.get(key)
        if not isinstance(path, str) or not path or "://" in path:
            continue
        places = {Path(os.path.abspath(root)): None for root in roots if "://" not in root}
        file = Path(os.path.abspath(path))
        above = [place for place in places if file.is_relative_to(place)]
        if above:
            root = max(above, key=lambda place: len(place.parts))
            slash = "/" if path.endswith("/") else ""
            spec[key] = f"{data_root / file.relative_to(root)}{slash}"
