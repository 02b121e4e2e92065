"""Are the figures that a run watches among those its evaluators give? Asked before a run: they may be hours away.

Watched are the figures of ``save_best``, of early stopping and of schedules that wait for a plateau. What a metric
gives is asked of the metric itself, built without its data; metrics that are not known here are left to the first
validation, see :class:`~effvit_mm.engine.checkpoint_hook.KeepingCheckpointHook`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.registry import HOOKS, METRICS

from effvit_mm.engine.argument_check import class_of_type, hooks_of
from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.dataset_spec import evaluators_of
from effvit_mm.errors import BadInputError, some_of
from effvit_mm.registry import near_names

# What COCO's evaluation gives, as mmdet names it.
AVERAGES = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
RECALLS = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")
RULES = ("rule", "greater_keys", "less_keys")


def check_figures(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the figures that hooks and schedules watch, and that no two evaluators give one of the same name.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has.

    Raises:
        BadInputError: If a figure does not exist, whether more or less of it is better cannot be guessed, or two
            evaluators give it.
    """
    for split in splits:
        evaluators = evaluators_of(cfg, split)
        _check_masks(cfg, split, evaluators)
        given = [figures_of(cfg, split, evaluator) for evaluator in evaluators]
        _check_names(split, given)
        if split == "val" and "train" in splits and cfg.get("val_cfg") is not None:
            for path, figure, rules in _watched(cfg):
                _check_figure(path, figure, rules, given)


def figures_of(cfg: Config, split: str, evaluator: Any) -> tuple[str, ...] | None:
    """Return the names of the figures that an evaluator gives, in their order; None where that is not known here.

    Args:
        cfg: The config of a run.
        split: ``'val'`` or ``'test'``.
        evaluator: The evaluator's dict.

    Raises:
        BadInputError: If it is to give a figure that it does not know, at the end of a validation.
    """
    # Without its data, and without a folder that it would make.
    left_out = ("type", "_scope_", "ann_file", "output_dir")
    options = {key: value for key, value in evaluator.items() if key not in left_out}
    cls = class_of_type(METRICS, evaluator.get("type"), cfg.get("default_scope"))
    ask = _asked(cls)
    if ask is None:
        return None
    try:
        metric = cls(**options)
    except (TypeError, ValueError, LookupError, AssertionError):
        return None  # which is told when the run is built
    try:
        names = () if getattr(metric, "format_only", False) else dict.fromkeys(ask(metric, cfg, split))
    except LookupError as error:
        raise BadInputError(f"{split}_evaluator ({cls.__name__}): {error.args[0]}; correct its arguments") from error
    return tuple(f"{metric.prefix}/{name}" if metric.prefix else name for name in names)


def _asked(cls: Any) -> Callable[[Any, Config, str], Any] | None:
    """Return what asks a metric for its figures; None for one that computes them in a way of its own."""
    if not isinstance(cls, type) or not issubclass(cls, BaseMetric):
        return None
    if issubclass(cls, DumpResults):
        return lambda *_: ()
    # Each library is imported already where its metric is registered.
    computes = f"{cls.compute_metrics.__module__}.{cls.compute_metrics.__qualname__}"
    return {
        "mmdet.evaluation.metrics.coco_metric.CocoMetric.compute_metrics": _of_coco,
        "mmseg.evaluation.metrics.iou_metric.IoUMetric.compute_metrics": _of_masks,
        "mmseg.evaluation.metrics.depth_metric.DepthMetric.compute_metrics": lambda metric, *_: metric.metrics,
        "effvit_mm.depth.metric.MonoDepthMetric.compute_metrics": _of_depth,
        "mmpretrain.evaluation.metrics.single_label.Accuracy.compute_metrics": _of_classes,
        "mmpretrain.evaluation.metrics.single_label.SingleLabelMetric.compute_metrics": _of_classes,
    }.get(computes)


def _of_coco(metric: Any, cfg: Config, split: str) -> Iterator[str]:
    odd = set(metric.metric_items or ()) - {*AVERAGES, *RECALLS}
    if odd:
        raise KeyError(f"metric_items has {some_of(sorted(odd))}, expected some of {', '.join((*AVERAGES, *RECALLS))}")
    for kind in metric.metrics:
        if kind == "proposal_fast":
            yield from (f"AR@{number}" for number in metric.proposal_nums)
        elif kind == "proposal":
            yield from metric.metric_items or RECALLS
        else:
            if metric.classwise:
                yield from (f"{name}_precision" for name in _classes(cfg, split))
            yield from (f"{kind}_{item}" for item in metric.metric_items or AVERAGES)


def _classes(cfg: Config, split: str) -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    name = f"{split}_dataloader.dataset"
    leaf = next(leaves_of((cfg.get(f"{split}_dataloader") or {}).get("dataset"), name), {})
    return (leaf.get("metainfo") or {}).get("classes") or CocoDataset.METAINFO["classes"]


def _of_masks(metric: Any, cfg: Config, split: str) -> list[str]:
    areas = [torch.ones(2)] * 4
    return [name if name == "aAcc" else f"m{name}" for name in metric.total_area_to_metrics(*areas, metric.metrics)]


def _of_depth(metric: Any, cfg: Config, split: str) -> list[str]:
    from effvit_mm.depth.metric import depth_errors

    return list(depth_errors(torch.ones(1), torch.ones(1)))


def _of_classes(metric: Any, cfg: Config, split: str) -> list[str]:
    num_classes = max(getattr(metric, "topk", (1,)))
    one = dict(pred_score=torch.full((num_classes,), 1 / num_classes), gt_label=torch.tensor([0]))
    return list(metric.compute_metrics([one]))


def _check_names(split: str, given: list[tuple[str, ...] | None]) -> None:
    counts = Counter(chain.from_iterable(figures or () for figures in given))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        owners = [f"{split}_evaluator.{place}" for place, figures in enumerate(given) if twice[0] in (figures or ())]
        raise BadInputError(
            f"{' and '.join(owners)} both give {twice[0]}, and figures of one name end a validation; give one of "
            f"them a prefix of its own, such as prefix='second'"
        )


def _check_masks(cfg: Config, split: str, evaluators: list[Any]) -> None:
    """Check that masks are measured of a detector that gives them alone."""
    roi_head = cfg.get("model", {}).get("roi_head")
    if not isinstance(roi_head, dict) or roi_head.get("mask_head") or cfg.model.get("mask_head"):
        return
    for evaluator in evaluators:
        metric = evaluator.get("metric")
        if "segm" in (metric if isinstance(metric, list | tuple) else [metric]):
            raise BadInputError(
                f"{split}_evaluator.metric={metric!r} measures masks, but model.roi_head has no mask_head, so there "
                f"would be none; set metric='bbox', or give it one"
            )


def _watched(cfg: Config) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give the place of each figure that is watched, its name, and what says whether more or less is better."""
    for path, spec in hooks_of(cfg):
        cls = class_of_type(HOOKS, spec["type"], cfg.get("default_scope"))
        if not isinstance(cls, type):
            continue
        rules = {key: spec[key] for key in RULES if spec.get(key) is not None}
        if issubclass(cls, CheckpointHook):
            best = spec.get("save_best")
            for place, name in enumerate([best] if isinstance(best, str) else best or ()):
                several = isinstance(rules.get("rule"), list) and place < len(rules["rule"])
                yield f"{path}.save_best", name, {**rules, "rule": rules["rule"][place]} if several else rules
        elif issubclass(cls, EarlyStoppingHook) and spec.get("monitor"):
            yield f"{path}.monitor", spec["monitor"], rules
    schedules = cfg.get("param_scheduler") or ()
    for place, spec in enumerate([schedules] if isinstance(schedules, dict) else schedules):
        name = str(spec.get("type")) if isinstance(spec, dict) else ""
        if re.search(r"\bReduceOnPlateau(LR|Momentum|ParamScheduler)\b", name):
            yield f"param_scheduler.{place}.monitor", spec.get("monitor", "loss"), {"rule": spec.get("rule", "less")}


def _check_figure(path: str, figure: str, rules: dict[str, Any], given: list[tuple[str, ...] | None]) -> None:
    known = list(chain.from_iterable(figures or () for figures in given))
    if figure != "auto" and figure not in known and None not in given:
        there = f"which gives {some_of(known, 12)}; {near_names(figure, known)}" if known else "which gives none"
        raise BadInputError(f"{path} is {figure!r}, no figure of val_evaluator, {there}")
    if figure == "auto" and (not given or not given[0]):
        return
    watched = given[0][0] if figure == "auto" else figure
    try:
        CheckpointHook(save_best=watched, **rules)
    except ValueError as error:
        first = f", the first figure, {watched!r}" if figure == "auto" else ""
        raise BadInputError(
            f"{path} is {figure!r}{first}, and whether more or less of it is better cannot be guessed: set "
            f"rule='greater' or rule='less' beside it. The figures are {some_of(known, 12)}"
        ) from error
