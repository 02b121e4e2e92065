"""Has a config the sections a run needs, and sensible numbers in them? Asked before anything is built.

Names of arguments are looked up in :mod:`effvit_mm.engine.argument_check`; what only a library can judge is told when
it is built, see :mod:`effvit_mm.engine.explain`.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from effvit_mm.engine.argument_check import check_arguments
from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.group_rates import check_group_rates
from effvit_mm.engine.layer_decay import check_layer_decay
from effvit_mm.errors import BadInputError

NEEDED = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}
# Text that looks like a number is one that was quoted, except where text is what is meant.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
TEXT = re.compile(r"metainfo|.*(type|version|name|prefix|suffix|mode|file|path|root|tmpl)")


def check_config(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the sections of a run and the numbers that decide whether it does anything.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has.

    Raises:
        BadInputError: At the first section that is missing or no section, number that cannot be one, or argument that
            nothing takes.
    """
    if not isinstance(cfg.get("model"), dict) or not cfg.model.get("type"):
        raise BadInputError(f"model is {_short(cfg.get('model'))}, expected dict(type='MaskRCNN', ...)")
    for split in splits:
        if split != "val" or any(cfg.get(section) is not None for section in NEEDED["val"]):
            _check_sections(cfg, split)
    if "train" in splits:
        _check(cfg.train_cfg, "train_cfg", "type", lambda value: isinstance(value, str | type), "a loop's name")
        _check_number(cfg.train_cfg, "train_cfg", "max_epochs", 1)
        _check_number(cfg.train_cfg, "train_cfg", "max_iters", 1)
        _check(cfg.train_cfg, "train_cfg", "val_interval", _is_interval, "a whole number of at least 1")
        _check_optimizer(cfg.optim_wrapper)
    sections = ("model", "optim_wrapper", "param_scheduler", "default_hooks", "custom_hooks", "log_processor")
    for section in (*sections, *(name for split in splits for name in NEEDED[split])):
        _check_values(section, cfg.get(section))
    check_arguments(cfg, splits)
    if "train" in splits:
        check_layer_decay(cfg)
        check_group_rates(cfg)


def check_shapes(cfg: Config) -> None:
    """Check that sections are dicts where everything that reads a config takes them for dicts.

    Raises:
        BadInputError: At the first that is not.
    """
    loaders = (f"{split}_dataloader" for split in NEEDED)
    for section in ("default_hooks", "env_cfg", "randomness", "auto_scale_lr", "custom_imports", *loaders):
        if not isinstance(cfg.get(section), dict | None):
            raise BadInputError(f"{section} is {_short(cfg[section])}, expected a dict")
    scope = cfg.get("default_scope")
    if scope is not None and not (isinstance(scope, str) and (scope in MODELS.children or find_spec(scope))):
        raise BadInputError(f"default_scope is {scope!r}, expected the name of a library, such as 'mmdet'")
    inner = [("default_hooks", name) for name in cfg.get("default_hooks") or {}]
    for section, name in (*inner, ("env_cfg", "mp_cfg"), ("env_cfg", "dist_cfg")):
        value = (cfg.get(section) or {}).get(name)
        if not isinstance(value, dict | None):
            raise BadInputError(f"{section}.{name} is {_short(value)}, expected a dict")


def check_work_dir(work_dir: Path) -> None:
    """Check that a run can write into a folder, which need not exist yet.

    Raises:
        BadInputError: If the folder, or one above it, is a file, or nothing can be written into it.
    """
    for place in (work_dir, *work_dir.parents):
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK):
                raise BadInputError(
                    f"nothing can be written into {place}, where the folder {work_dir} is or would be; give another "
                    f"folder, or the right to write there"
                )
            return
        if place.exists():
            raise BadInputError(f"the work dir {work_dir} cannot be made: {place} is a file; give another --work-dir")


def _check_sections(cfg: Config, split: str) -> None:
    for section in NEEDED[split]:
        value = cfg.get(section)
        several = section.endswith("evaluator") and isinstance(value, list | tuple)
        if not isinstance(value, dict) and not (several and value):
            raise BadInputError(
                f"the config needs {section} to {split}, a dict, found {_short(value)}; take it from a base such as "
                f"mmdet::_base_/datasets/coco_instance.py or write it"
            )
    evaluator, loader = cfg.get(f"{split}_evaluator"), cfg[f"{split}_dataloader"]
    if isinstance(evaluator, dict) and not evaluator.get("type"):
        raise BadInputError(f"{split}_evaluator lacks type, expected dict(type='CocoMetric', ...)")
    name = f"{split}_dataloader"
    if not isinstance(loader.get("dataset"), dict):
        raise BadInputError(
            f"{name}.dataset is {_short(loader.get('dataset'))}, expected dict(type='CocoDataset', ...)"
        )
    if not isinstance(loader.get("sampler"), dict):
        raise BadInputError(f"{name}.sampler is {_short(loader.get('sampler'))}, expected dict(type='DefaultSampler')")
    _check_number(loader, name, "batch_size", 1, needed=bool(loader.get("batch_sampler")))
    _check_number(loader, name, "num_workers", 0)
    if loader.get("persistent_workers") and not loader.get("num_workers"):
        raise BadInputError(f"{name}.persistent_workers=True needs num_workers of at least 1; set it to False")
    for dataset in (loader.dataset, *leaves_of(loader.dataset, f"{name}.dataset")):
        if "pipeline" in dataset and not _is_pipeline(dataset["pipeline"]):
            raise BadInputError(
                f"{name}.dataset.pipeline is {_short(dataset['pipeline'])}, expected a list of transforms, "
                f"dict(type='...')"
            )


def _is_pipeline(pipeline: Any) -> bool:
    if not isinstance(pipeline, list | tuple) or not pipeline:
        return False
    return all(callable(step) or (isinstance(step, dict) and step.get("type")) for step in pipeline)


def _check_optimizer(wrapper: Any) -> None:
    optimizer = wrapper.get("optimizer")
    if wrapper.get("constructor"):
        return  # which may want several optimizers, under names of its own
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("type"), str | type):
        raise BadInputError(f"optim_wrapper.optimizer is {_short(optimizer)}, expected dict(type='AdamW', lr=...)")
    name = "optim_wrapper.optimizer"
    _check(optimizer, name, "lr", lambda value: _is_finite(value) and value > 0, "a number above 0")
    _check(optimizer, name, "weight_decay", lambda value: _is_finite(value) and value >= 0, "a number of at least 0")
    clip = wrapper.get("clip_grad")
    if clip is not None and not isinstance(clip, dict):
        raise BadInputError(f"optim_wrapper.clip_grad is {_short(clip)}, expected dict(max_norm=...)")


def _check_number(section: Any, name: str, key: str, least: int, *, needed: bool = False) -> None:
    if needed and key not in section:
        raise BadInputError(f"{name} lacks {key}, expected a whole number of at least {least}")
    _check(section, name, key, lambda value: _is_whole(value) and value >= least, f"a whole number of at least {least}")


def _check(section: Any, name: str, key: str, is_fine: Callable[[Any], bool], expected: str) -> None:
    if key in section and not is_fine(section[key]):
        raise BadInputError(f"{name}.{key} is {_short(section[key])}, expected {expected}")


def _check_values(path: str, value: Any) -> None:
    """Refuse numbers in quotes, and NaN, wherever they stand: each fails late and far from the config."""
    for place, leaf in _leaves(path, value):
        if isinstance(leaf, str) and NUMBER.fullmatch(leaf):
            raise BadInputError(f"{place} is the text {leaf!r}, expected a number; write {leaf} without quotes")
        if isinstance(leaf, float) and math.isnan(leaf):
            raise BadInputError(f"{place} is not a number (nan), expected one")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if items is None:
        yield path, value
        return
    for key, child in items:
        if not TEXT.fullmatch(str(key)):
            yield from _leaves(f"{path}.{key}", child)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_interval(value: Any) -> bool:
    # Computed from the size of a data set it may be 500.0.
    return _is_finite(value) and value >= 1 and value == int(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
