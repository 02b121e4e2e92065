"""The parts of a detector fit each other and the classes of its data, or are named."""

import pytest
from mmengine.config import Config

from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.model_check import check_classes, check_model
from effvit_mm.engine.run import enable_tta
from effvit_mm.errors import BadInputError


def detector(**changes):
    neck = dict(type="FPN", in_channels=[32, 64, 160, 256], out_channels=8, num_outs=5)
    generator = dict(type="AnchorGenerator", strides=[4, 8, 16, 32, 64])
    extractor = dict(type="SingleRoIExtractor", out_channels=8, featmap_strides=[4, 8, 16, 32])
    cfg = Config(
        dict(
            model=dict(
                type="MaskRCNN",
                data_preprocessor=dict(type="DetDataPreprocessor"),
                backbone=dict(type="AnchorFormer", variant="t"),
                neck=neck,
                rpn_head=dict(type="RPNHead", in_channels=8, anchor_generator=generator),
                roi_head=dict(
                    bbox_roi_extractor=extractor,
                    bbox_head=dict(type="Shared2FCBBoxHead", in_channels=8, num_classes=3),
                ),
            ),
            train_dataloader=dict(dataset=dict(type="CocoDataset", metainfo=dict(classes=("a", "b", "c")))),
        )
    )
    cfg.merge_from_dict({f"model.{path.replace('__', '.')}": value for path, value in changes.items()})
    return cfg


def check_all(cfg):
    check_model(cfg)
    check_classes(cfg, ("train",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(rpn_head__in_channels=7), r"rpn_head.in_channels=7, but the neck gives 8 .*set model.rpn_head"),
        (dict(roi_head__bbox_roi_extractor__out_channels=7), "out_channels=7, but the neck gives 8"),
        (dict(roi_head__bbox_head__in_channels=7), "bbox_head.in_channels=7, but .*bbox_roi_extractor gives 8"),
        (dict(neck__num_outs=4), "anchor_generator.strides has 5 strides, but model.neck.num_outs=4"),
        (dict(roi_head__bbox_head__num_classes=80), "num_classes=80, but the train data set has 3 classes"),
        (dict(backbone__embed_dims=3), "AnchorFormer takes no argument 'embed_dims'"),
        (dict(backbone__num_anchors="7"), "num_anchors='7'.*wrong type"),
        (dict(backbone=None), "model.backbone is None, expected dict"),
        (dict(backbone__init_cfg=dict(type="Pretrained", checkpoint="no.pth")), "init_cfg.checkpoint no.pth does not"),
    ],
)
def test_parts_of_a_detector_that_do_not_fit_are_named(changes, message):
    check_all(detector())
    cfg = detector(**changes)
    with pytest.raises(BadInputError, match=message):
        check_all(cfg)


WRAPPERS = [
    lambda inner: dict(type="RepeatDataset", times=2, dataset=inner),
    lambda inner: dict(type="ConcatDataset", datasets=[detector().train_dataloader.dataset, inner]),
    lambda inner: dict(type="ClassBalancedDataset", oversample_thr=0.1, dataset=inner),
    lambda inner: dict(type="MultiImageMixDataset", pipeline=[dict(type="Mosaic")], dataset=inner),
    lambda inner: dict(type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[inner])),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("kind", ["CocoDataset", "mmdet.CocoDataset"])
def test_classes_of_data_sets_in_wrappers_are_compared_with_the_heads(wrap, kind):
    cfg = detector()
    inner = dict(type=kind, metainfo=dict(classes=("a", "b", "c")))
    cfg.train_dataloader.dataset = wrap(inner)
    check_all(cfg)
    cfg.train_dataloader.dataset = wrap({**inner, "metainfo": dict(classes=("a", "b"))})
    with pytest.raises(BadInputError, match="num_classes=3, but the train data set has 2 classes"):
        check_all(cfg)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_averaging_over_versions_of_an_image_reaches_data_sets_in_wrappers(wrap):
    cfg = detector()
    cfg.test_dataloader = dict(dataset=wrap(dict(type="CocoDataset", pipeline=[dict(type="A")])))
    cfg.tta_model, cfg.tta_pipeline = dict(type="DetTTAModel"), [dict(type="B")]
    enable_tta(cfg)
    leaves = list(leaves_of(cfg.test_dataloader.dataset, "test_dataloader.dataset"))
    assert all(leaf.pipeline == [dict(type="B")] for leaf in leaves)
    assert "pipeline" not in cfg.test_dataloader.dataset or cfg.test_dataloader.dataset.pipeline[0].type == "Mosaic"
