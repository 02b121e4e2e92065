"""A figure that no evaluator gives, or that nothing can judge, is told before a run and not after its first epoch."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS
from tiny_coco import CLASSES, write_coco

from effvit_mm.depth.metric import depth_errors
from effvit_mm.engine.figure_check import check_figures, figures_of
from effvit_mm.errors import BadInputError

# What mmdet says of an evaluator that nobody asks for.
pytestmark = pytest.mark.filterwarnings("ignore:faster_coco_eval")

DEPTH = dict(type="MonoDepthMetric")
MASKS = dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
BOXES = dict(type="mmdet.CocoMetric", metric=["bbox"])


def config(evaluator, **sections):
    whole = dict(default_scope="mmengine", val_cfg={}, val_evaluator=evaluator, model=dict(type="Model"), **sections)
    return Config(whole)


def saving(evaluator, best, **rules):
    hook = dict(type="KeepingCheckpointHook", save_best=best, **rules)
    return config(evaluator, default_hooks=dict(checkpoint=hook))


def given_by(evaluator, results, meta):
    """The names of the figures that a metric really gives of results."""
    metric = METRICS.build(dict(evaluator))
    metric.dataset_meta = meta
    metric.results = results
    return tuple(metric.evaluate(len(results)))


@pytest.mark.parametrize(
    ("evaluator", "results"),
    [
        (DEPTH, [depth_errors(torch.ones(3), torch.ones(3))]),
        (dict(DEPTH, prefix="far"), None),
        (MASKS, [tuple(torch.ones(4, 2))]),
        (dict(type="mmseg.IoUMetric", iou_metrics=["mIoU", "mDice", "mFscore"]), [tuple(torch.ones(4, 2))]),
        (dict(type="mmpretrain.Accuracy", topk=(1, 3)), "scores"),
        (dict(type="mmpretrain.Accuracy", thrs=(0.1, None)), "scores"),
        (dict(type="mmpretrain.SingleLabelMetric", items=("precision",), average=None), "scores"),
        (BOXES, "boxes"),
        (dict(BOXES, metric=["bbox", "proposal", "proposal_fast"], prefix="own"), "boxes"),
        (dict(BOXES, classwise=True), "boxes"),
        (dict(BOXES, metric_items=["mAP_50"]), "boxes"),
    ],
)  # fmt: skip
def test_the_figures_of_a_metric_are_those_that_it_gives(tmp_path, evaluator, results):
    if results is None:
        assert figures_of(config(evaluator), "val", Config(evaluator))[0] == f"{evaluator['prefix']}/delta1"
        return
    meta = dict(classes=CLASSES)
    if results == "scores":
        results = [dict(pred_score=torch.tensor([0.5, 0.3, 0.2]), gt_label=torch.tensor([0]))]
    elif results == "boxes":
        evaluator = dict(evaluator, ann_file=str(tmp_path / "set/boxes.json"))
        write_coco(tmp_path / "set", num_pictures=1)
        one = dict(img_id=1, bboxes=np.array([[2.0, 3, 12, 15]]), scores=np.ones(1), labels=np.zeros(1, int))
        results = [({}, one)]
    cfg = config(evaluator, val_dataloader=dict(dataset=dict(type="CocoDataset", metainfo=meta)))
    expected = given_by(evaluator, results, meta)
    assert figures_of(cfg, "val", cfg.val_evaluator) == expected
    assert len(expected) > 0


@pytest.mark.parametrize(
    ("evaluator", "best", "rules", "message"),
    [
        (DEPTH, "auto", {}, r"save_best is 'auto', the first figure, 'depth/delta1', .*set rule='greater' or"),
        (DEPTH, "rmse", dict(rule="less"), r"save_best is 'rmse', no figure .*did you mean 'depth/rmse'"),
        (DEPTH, "depth/rmse", {}, r"save_best is 'depth/rmse', and whether more or less .*rule='less'"),
        (DEPTH, ["depth/rmse", "depth/x"], dict(rule="less"), r"'depth/x', no figure"),
        ([dict(BOXES, prefix="a"), dict(BOXES, prefix="b")], "coco/bbox_mAP", {}, r"gives a/bbox_mAP, a/bbox_mAP_50"),
        (dict(BOXES, format_only=True, outfile_prefix="a"), "coco/bbox_mAP", {}, r"which gives none"),
        (MASKS, "miou", {}, r"no figure .*did you mean 'mIoU'"),
    ],
)
def test_a_best_figure_that_is_none_is_named_with_those_there_are(evaluator, best, rules, message):
    with pytest.raises(BadInputError, match=rf"default_hooks.checkpoint.{message}|{message}"):
        check_figures(saving(evaluator, best, **rules), ("train", "val"))


@pytest.mark.parametrize(
    ("evaluator", "best", "rules"),
    [
        (DEPTH, "auto", dict(rule="greater")),
        (DEPTH, ["depth/rmse", "depth/delta1"], dict(rule=["less", "greater"])),
        (DEPTH, "depth/rmse", dict(less_keys=["rmse"])),
        (MASKS, "auto", {}),
        (BOXES, "coco/bbox_mAP", {}),
        (dict(BOXES, classwise=True), "coco/person_precision", {}),
        ([dict(BOXES, prefix="a"), DEPTH], "depth/rmse", dict(rule="less")),
        (dict(type="mmdet.VOCMetric"), "pascal_voc/mAP", {}),
        (BOXES, None, {}),
    ],
)
def test_figures_that_exist_pass(evaluator, best, rules):
    check_figures(saving(evaluator, best, **rules), ("train", "val"))


def test_early_stopping_and_plateaus_watch_figures_too():
    hooks = [dict(type="EarlyStoppingHook", monitor="mIou", rule="greater")]
    with pytest.raises(BadInputError, match=r"custom_hooks.0.monitor is 'mIou', no figure.*'mIoU'"):
        check_figures(config(MASKS, custom_hooks=hooks), ("train", "val"))
    schedule = dict(type="ReduceOnPlateauLR")
    with pytest.raises(BadInputError, match=r"param_scheduler.0.monitor is 'loss', no figure"):
        check_figures(config(MASKS, param_scheduler=schedule), ("train", "val"))
    schedule["monitor"] = "mIoU"
    hooks[0]["monitor"] = "mIoU"
    check_figures(config(MASKS, param_scheduler=[schedule], custom_hooks=hooks), ("train", "val"))


def test_two_evaluators_that_give_one_figure_are_named():
    cfg = config([BOXES, dict(BOXES, metric=["proposal"]), dict(BOXES, metric="bbox")])
    with pytest.raises(BadInputError, match=r"val_evaluator.0 and val_evaluator.2 both give coco/bbox_mAP, "):
        check_figures(cfg, ("train", "val"))


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (dict(MASKS, iou_metrics=["mIou"]), r"val_evaluator \(IoUMetric\): .*mIou"),
        (dict(BOXES, metric_items=["mAP", "AP50"]), r"val_evaluator \(CocoMetric\): metric_items has AP50, .*mAP_50"),
    ],
)
def test_a_figure_that_a_metric_does_not_know_is_named(evaluator, message):
    with pytest.raises(BadInputError, match=message):
        check_figures(config(evaluator), ("train", "val"))


def test_masks_of_a_detector_of_boxes_are_not_to_be_measured():
    cfg = config(dict(BOXES, metric=["bbox", "segm"]))
    cfg.model = dict(type="FasterRCNN", roi_head=dict(bbox_head=dict(num_classes=2)))
    with pytest.raises(BadInputError, match=r"val_evaluator.metric=.* but model.roi_head has no mask_head"):
        check_figures(cfg, ("train", "val"))
    cfg.model.roi_head.mask_head = dict(num_classes=2)
    check_figures(cfg, ("train", "val"))
