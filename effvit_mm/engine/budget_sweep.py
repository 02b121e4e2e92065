"""One trained model under several token budgets: the task's metric against what each budget costs."""

import csv
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from effvit_mm.analysis.comparison import compare
from effvit_mm.analysis.latency import Setting
from effvit_mm.analysis.pareto import draw
from effvit_mm.analysis.sweep_page import write_page
from effvit_mm.checkpoint import read_weights
from effvit_mm.engine.launch import evaluate
from effvit_mm.engine.report import write_json
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError
from effvit_mm.registry import BACKBONES, near_names

# Of several metrics the first of these is drawn, unless one is named.
PREFERRED = ("coco/segm_mAP", "coco/bbox_mAP", "mIoU", "depth/rmse", "depth/abs_rel", "accuracy/top1")
# What a budget of tokens is called, and by the tool.
BUDGETS = {"keep": "--keep", "num_anchors": "--num-anchors"}
MEASURED = "measured.json"
# Of each budget, on the page.
NUM_PREDICTIONS = 2


def sweep(
    config_file: Path,
    checkpoints: Sequence[Path],
    argument: str,
    values: Sequence[float],
    setting: Setting,
    *,
    work_dir: Path | None = None,
    metric: str | None = None,
    overlays: Path | None = None,
    data_root: Path | None = None,
    options: Mapping[str, Any] | None = None,
    command: str = "",
) -> Path:
    """Evaluate and measure a model at several values of one argument of its backbone.

    Every evaluation is kept as soon as it ends; the sweep started again goes on behind the last one. Times are measured
    at the end, all budgets in turn in one process.

    Args:
        config_file: A text config.
        checkpoints: One for all values, or one for each where the argument changes the shapes of weights.
        argument: The backbone's argument, such as ``'keep'`` or ``'num_anchors'``.
        values: Its values.
        setting: How time and memory are measured.
        work_dir: Where everything goes; ``sweep_<argument>/`` beside the first checkpoint by default.
        metric: The metric that is drawn; the usual one of the task by default.
        overlays: Folder of overlays that put the config in another setting.
        data_root: Folder that takes the place of every data set's.
        options: Values by dotted key.
        command: What the user typed, for the page.

    Returns:
        The folder with ``sweep.json``, ``sweep.csv``, ``pareto.png`` and ``index.html``.

    Raises:
        BadInputError: If the backbone lacks the argument, a checkpoint does not fit, or the metric is unknown.
    """
    if len(checkpoints) not in (1, len(values)) or len(set(values)) < len(values):
        raise BadInputError(
            f"{len(checkpoints)} checkpoints for the values {values} of {argument}; give one for all, or one for each "
            f"value, and each value once"
        )
    folder = work_dir or checkpoints[0].parent / f"sweep_{argument}"
    files = list(checkpoints) * (len(values) // len(checkpoints))
    configs = []
    for value, checkpoint in zip(values, files, strict=True):
        place = folder / f"{argument}_{value:g}"
        budget = {**(options or {}), f"model.backbone.{argument}": value}
        cfg = load_config(config_file, work_dir=place, overlays=overlays, data_root=data_root, options=budget)
        _check_argument(cfg, argument)
        _check_shapes(cfg, checkpoint, argument, value)
        # By its name MMEngine finds a visualizer again, and all budgets would write where the first one does.
        if isinstance(cfg.get("visualizer"), dict):
            cfg.visualizer.name = place.name
        configs.append(_written(cfg, place / f"{config_file.stem}.py"))
    evaluations = (_evaluated(config, checkpoint) for config, checkpoint in zip(configs, files, strict=True))
    first = next(evaluations)
    metric = _chosen(metric, first)  # one that the task does not have ends the sweep here
    metrics = [first, *evaluations]
    rows = _measured(configs, setting, folder)
    for row, value, checkpoint, found in zip(rows, values, files, metrics, strict=True):
        row |= {"argument": argument, "value": value, "checkpoint": str(checkpoint), "metrics": found}
    pictures = {
        f"{argument} {value:g}": _pictures(config.parent / "test")
        for value, config in zip(values, configs, strict=True)
    }
    _report(rows, argument, metric, folder, command, pictures)
    return folder


def _check_argument(cfg: Config, argument: str) -> None:
    init_default_scope(cfg.get("default_scope", "mmengine"))
    name = cfg.model.backbone.type
    backbone = MODELS.get(name)
    if backbone is None:
        raise BadInputError(f"model.backbone.type={name!r} is not registered; {near_names(name, MODELS.module_dict)}")
    if argument not in _arguments_of(backbone):
        having = [f"{family}_*" for family, cls in BACKBONES.items() if argument in _arguments_of(cls)]
        of_others = f", which {' and '.join(having)} have" if having else ""
        own = [f"{word} ({budget})" for budget, word in BUDGETS.items() if budget in _arguments_of(backbone)]
        raise BadInputError(
            f"the backbone {name} has no argument {argument!r} to sweep{of_others}; it has "
            f"{'a budget of tokens in ' + own[0] if own else 'no budget of tokens'}"
        )


def _arguments_of(backbone: type) -> set[str]:
    names = {parameter for base in backbone.__mro__ for parameter in inspect.signature(base.__init__).parameters}
    return names - {"self", "args", "kwargs"}


def _check_shapes(cfg: Config, checkpoint: Path, argument: str, value: float) -> None:
    weights = read_weights(checkpoint)
    try:
        own = MODELS.build(cfg.model.backbone).state_dict()
    except ValueError as error:
        raise BadInputError(f"the backbone refuses {argument} {value:g}: {error}") from error
    odd = [
        (name, tuple(weights[f"backbone.{name}"].shape), tuple(tensor.shape))
        for name, tensor in own.items()
        if f"backbone.{name}" in weights and weights[f"backbone.{name}"].shape != tensor.shape
    ]
    if odd:
        name, found, needed = odd[0]
        raise BadInputError(
            f"{argument}={value:g} needs weights of other shapes than {checkpoint} holds: backbone.{name} is {found} "
            f"there and {needed} here, {len(odd)} in all. This budget is part of what is trained: train one checkpoint "
            f"for each value and give them in the order of the values"
        )


def _written(cfg: Config, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(file)
    return file


def _evaluated(config: Path, checkpoint: Path) -> dict[str, float]:
    """Evaluate, unless the same config and checkpoint have been."""
    kept, key = config.parent / "evaluated.json", _fingerprint(config, checkpoint)
    if kept.is_file() and (content := json.loads(kept.read_text()))["key"] == key:
        return content["metrics"]
    found = evaluate(config, checkpoint, work_dir=config.parent / "test")
    metrics = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    write_json(kept, {"key": key, "metrics": metrics})
    return metrics


def _fingerprint(config: Path, checkpoint: Path) -> str:
    state = checkpoint.stat()
    about = f"{checkpoint.resolve()} {state.st_size} {state.st_mtime_ns}"
    return hashlib.sha256(config.read_bytes() + about.encode()).hexdigest()


def _measured(configs: Sequence[Path], setting: Setting, folder: Path) -> list[dict[str, Any]]:
    """Measure all budgets in turn, unless the same have been."""
    about = repr(setting) + "".join(config.read_text() for config in configs)
    kept, key = folder / MEASURED, hashlib.sha256(about.encode()).hexdigest()
    if kept.is_file() and (content := json.loads(kept.read_text()))["key"] == key:
        return content["rows"]
    rows = compare([str(config) for config in configs], setting)
    write_json(kept, {"key": key, "rows": rows})
    return rows


def _chosen(metric: str | None, metrics: Mapping[str, float]) -> str:
    if metric is None:
        return next((name for name in PREFERRED if name in metrics), next(iter(metrics)))
    if metric not in metrics:
        raise BadInputError(f"metric {metric!r} is not what the evaluation gives; {near_names(metric, metrics)}")
    return metric


def _pictures(run: Path) -> list[Path]:
    """Return what an evaluation has drawn: what was kept of the pictures, and the first predictions."""
    predictions = sorted((run / "predictions").glob("*.png"))
    # Depth's are written beside the drawings as they are, in millimetres.
    drawn = [file for file in predictions if not file.stem.endswith("_depth")]
    return [*run.glob("kept_tokens.png"), *drawn[:NUM_PREDICTIONS]]


def _report(
    rows: Sequence[dict[str, Any]],
    argument: str,
    metric: str,
    folder: Path,
    command: str,
    pictures: Mapping[str, Sequence[Path]],
) -> None:
    write_json(folder / "sweep.json", {"argument": argument, "metric": metric, "command": command, "rows": rows})
    plain = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
    with open(folder / "sweep.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*plain, *rows[0]["metrics"], *rows[0]["provenance"]])
        for row in rows:
            table.writerow([*(row[key] for key in plain), *row["metrics"].values(), *row["provenance"].values()])
    draw(rows, argument, metric, folder / "pareto.png")
    write_page(rows, argument, metric, folder / "pareto.png", folder / "index.html", command, pictures)
