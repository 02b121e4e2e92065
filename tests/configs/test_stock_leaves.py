"""Leaves of mmdet and mmseg as they ship, on our backbone: each trains a step, predicts, and is in the table.

``docs/stock_models.md`` says the same for people; the last tests hold the two together.
"""

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import ROOT
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from effvit_mm.backbones import AnchorFormer
from effvit_mm.compat.ops import OPERATIONS

# Stock configs and models meet these on their way; none is of our making.
UPSTREAM_WARNINGS = (
    "To copy construct from a tensor:UserWarning",
    "DeprecationWarning. pos_bboxes is deprecated:UserWarning",
    "DeprecationWarning. `num_anchors` is deprecated:UserWarning",
    '"dropout" is deprecated in `FFN.__init__`:DeprecationWarning',
    '"add_residual" is deprecated in `FFN.__init__`:DeprecationWarning',
    "The arguments `dropout` in MultiheadAttention:DeprecationWarning",
    "In MMCV v1.4.4, we modified the default value:UserWarning",
    "Default ``avg_non_ignore`` is False:UserWarning",
    "torch.meshgrid. in an upcoming release:UserWarning",
    "This overload of addmm is deprecated:UserWarning",
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:{warning}") for warning in UPSTREAM_WARNINGS]

DOC = ROOT / "docs/stock_models.md"
CHANNELS = AnchorFormer.variants["t"]["channels"]
ALL, FROM_STRIDE_8 = (0, 1, 2, 3), (1, 2, 3)
Size = tuple[int, int]


def channels(out_indices: Sequence[int]) -> list[int]:
    return [CHANNELS[i] for i in out_indices]


def backbone(out_indices: Sequence[int] = ALL) -> dict[str, Any]:
    emitted = {} if out_indices == ALL else {"out_indices": out_indices}
    return dict(_delete_=True, type="AnchorFormer", variant="t", **emitted)


def with_neck(out_indices: Sequence[int] = ALL, **more: Any) -> dict[str, Any]:
    return dict(backbone=backbone(out_indices), neck=dict(in_channels=channels(out_indices), **more))


@dataclass(frozen=True)
class Leaf:
    """A stock leaf, what a user writes over its model, and what only the test changes, so that it is quick."""

    model: dict[str, Any]
    test_only: dict[str, Any] = field(default_factory=dict)
    picture: Size = (128, 160)
    batch_predicted: int = 2
    imports: tuple[str, ...] = ("effvit_mm",)


# An FPN that skips the first map of its backbone: the map is not emitted, and nothing is skipped.
SKIPPING = with_neck(FROM_STRIDE_8, start_level=0)
# Untrained weights find nothing above the usual thresholds; few of what they find are enough.
SCORES = dict(test_cfg=dict(score_thr=0.0))
# An untrained regression gives boxes of any size, negative ones as well.
SCORES_AND_SIZES = dict(test_cfg=dict(score_thr=0.0, min_bbox_size=-1))
ROI_SCORES = dict(test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=10)))
CROP = dict(data_preprocessor=dict(size=(64, 96)))
PAD = dict(data_preprocessor=dict(batch_augments=[dict(type="BatchFixedSizePad", size=(128, 160), pad_mask=True)]))
DYHEAD_NECK = [
    dict(type="FPN", in_channels=channels(FROM_STRIDE_8), out_channels=256, add_extra_convs="on_output", num_outs=5),
    dict(type="DyHead", in_channels=256, out_channels=256, num_blocks=6, zero_init_offset=False),
]


def segmentor(head: dict[str, Any], auxiliary: dict[str, Any] | None, out_indices: Sequence[int] = ALL) -> Leaf:
    model = dict(pretrained=None, backbone=backbone(out_indices), decode_head=head)
    return Leaf({**model, **({"auxiliary_head": auxiliary} if auxiliary else {})}, CROP, picture=(64, 96))


LEAVES = {
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    "mmdet::point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    "mmdet::sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py": Leaf(with_neck()),
    "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::atss/atss_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::gfl/gfl_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::tood/tood_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py": Leaf(SKIPPING, SCORES),
    "mmdet::yolox/yolox_s_8xb8-300e_coco.py": Leaf(with_neck(FROM_STRIDE_8), SCORES),
    "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py": Leaf(with_neck(FROM_STRIDE_8), SCORES_AND_SIZES),
    "mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py": Leaf(with_neck(FROM_STRIDE_8), SCORES),
    "mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py": Leaf(with_neck((3,))),
    "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py": Leaf(with_neck(FROM_STRIDE_8)),
    # Its 900 queries are chosen among the tokens of four maps, so there must be as many.
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py": Leaf(with_neck(FROM_STRIDE_8), picture=(192, 256)),
    "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py": Leaf(
        dict(backbone=backbone(), panoptic_head=dict(in_channels=channels(ALL))), PAD
    ),
    "mmdet::reppoints/reppoints-moment_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py": Leaf(SKIPPING, SCORES),
    "mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py": Leaf(
        dict(backbone=backbone(FROM_STRIDE_8), neck=DYHEAD_NECK), SCORES
    ),
    "mmdet::carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py": Leaf(with_neck(), ROI_SCORES),
    # Its masked convolution takes one picture, as stock test dataloaders do.
    "mmdet::guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py": Leaf(with_neck(), batch_predicted=1),
    "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py": segmentor(
        dict(in_channels=channels(ALL)), dict(in_channels=CHANNELS[2])
    ),
    "mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py": Leaf(
        dict(pretrained=None, **with_neck()), CROP, picture=(64, 96)
    ),
    "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py": segmentor(dict(in_channels=channels(ALL)), None),
    "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py": segmentor(
        dict(in_channels=CHANNELS[3], in_index=2, c1_in_channels=CHANNELS[0]),
        dict(in_channels=CHANNELS[2], in_index=1),
        out_indices=(0, 2, 3),
    ),
    "mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py": Leaf(
        dict(pretrained=None, backbone=backbone(), decode_head=dict(in_channels=channels(ALL))),
        CROP,
        picture=(64, 96),
        # The list of the leaf is replaced, not extended.
        imports=("effvit_mm", "mmdet.models"),
    ),
}


def write_config(name: str, folder: Path) -> Path:
    """Write what a user writes: a config that inherits the stock leaf."""
    leaf = LEAVES[name]
    path = folder / "mine.py"
    path.write_text(
        f"_base_ = [{name!r}]\ncustom_imports = dict(imports={list(leaf.imports)})\nmodel = {leaf.model!r}\n"
    )
    return path


def detection_batch(size: Size, with_masks: bool) -> dict[str, list]:
    structures = importlib.import_module("mmdet.structures")
    masks_module = importlib.import_module("mmdet.structures.mask")
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[10, 12, 70, 90], [60, 20, 150, 110], [5, 60, 40, 120]])
    masks = np.zeros((3, *size), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    pictures, samples = [], []
    for image_id in range(2):
        meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=image_id)
        sample = structures.DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=boxes.float(), labels=torch.tensor([0, 3, 7]))
        if with_masks:
            sample.gt_instances.masks = masks_module.BitmapMasks(masks, *size)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        pictures.append(torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator))
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def segmentation_batch(size: Size) -> dict[str, list]:
    structures = importlib.import_module("mmseg.structures")
    generator = torch.Generator().manual_seed(0)
    pictures, samples = [], []
    for _ in range(2):
        patches = torch.randint(0, 5, (1, size[0] // 16, size[1] // 16), generator=generator)
        sample = structures.SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=patches.repeat_interleave(16, 1).repeat_interleave(16, 2))
        pictures.append(torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator))
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def make_batch(cfg: Config, size: Size) -> dict[str, list]:
    if cfg.default_scope == "mmseg":
        return segmentation_batch(size)
    return detection_batch(size, with_masks=any(step.get("with_mask") for step in cfg.train_pipeline))


@dataclass(frozen=True)
class Outcome:
    """What a leaf did."""

    name: str
    size: Size
    loss: torch.Tensor
    without_gradient: list[str]
    unchanged: bool
    predictions: list[Any]
    called: set[str]


def run_leaf(name: str, cfg: Config, called: set[str]) -> Outcome:
    """Take one step of SGD on two pictures, and predict."""
    torch.manual_seed(0)
    leaf = LEAVES[name]
    # What MMEngine's Runner does: it turns SyncBN into BN outside a distributed run, draws the weights, and counts.
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    for count in ("iter", "epoch"):
        MessageHub.get_current_instance().update_info(count, 0)

    data = model.data_preprocessor(make_batch(cfg, leaf.picture), training=True)
    loss, _ = model.parse_losses(model.train()(**data, mode="loss"))
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    probe = next(p for name, p in trained.items() if name.startswith("backbone") and p.grad is not None)
    before = probe.detach().clone()
    torch.optim.SGD([p for p in trained.values() if p.grad is not None], lr=1e-3).step()

    batch = {key: values[: leaf.batch_predicted] for key, values in make_batch(cfg, leaf.picture).items()}
    with torch.no_grad():
        predictions = model.eval().test_step(batch)
    without_gradient = [name for name, p in trained.items() if p.grad is None]
    return Outcome(name, leaf.picture, loss.detach(), without_gradient, torch.equal(before, probe), predictions, called)


@pytest.fixture(scope="module", params=LEAVES)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    cfg = Config.fromfile(write_config(request.param, tmp_path_factory.mktemp("leaf")))
    cfg.merge_from_dict(dict(model=LEAVES[request.param].test_only))
    importlib.import_module(f"{cfg.default_scope}.models")
    extension, called = importlib.import_module("mmcv._ext"), set()

    def recorded(operation: str) -> Any:
        function = getattr(extension, operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(re.sub(r"_(forward|backward.*)$", "", operation))
            return function(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch, DefaultScope.overwrite_default_scope(cfg.default_scope):
        for operation in OPERATIONS:
            patch.setattr(extension, operation.__name__, recorded(operation.__name__))
        yield run_leaf(request.param, cfg, called)


def test_leaf_takes_a_training_step(outcome):
    assert outcome.loss.isfinite()
    assert not outcome.unchanged


def test_leaf_leaves_no_parameter_without_a_gradient(outcome):
    # DistributedDataParallel stops at one.
    assert not outcome.without_gradient


def test_leaf_predicts(outcome):
    assert len(outcome.predictions) == LEAVES[outcome.name].batch_predicted
    for sample in outcome.predictions:
        if outcome.name.startswith("mmseg"):
            assert sample.pred_sem_seg.data.shape == (1, *outcome.size)
            continue
        found = sample.pred_instances
        assert found.scores.isfinite().all()
        assert len(found) > 0
        if "masks" in found:
            assert found.masks.shape[1:] == outcome.size


def table() -> dict[str, tuple[str, set[str]]]:
    """Of each leaf in the table: what was changed, and which operations it calls."""
    rows = re.findall(r"^\| `(mm\w+::[^`]+)` \| ([^|]*) \| ([^|]*) \|", DOC.read_text(), flags=re.M)
    return {name: (changed.strip(), set(re.findall(r"`(\w+)`", called))) for name, changed, called in rows}


def test_leaf_calls_the_operations_that_the_table_says(outcome):
    assert outcome.called == table()[outcome.name][1]


def names_of_changes(model: dict[str, Any]) -> list[str]:
    """What a user writes over a model, in dots; the backbone is one change, and a list is replaced wholly."""
    names = []
    for key, value in model.items():
        if isinstance(value, dict) and key != "backbone":
            names += [f"{key}.{inner}" for inner in names_of_changes(value)]
        else:
            names.append(key)
    return names


def test_table_lists_the_leaves_that_are_tested_and_what_was_changed():
    changed = {name: ", ".join(f"`{part}`" for part in names_of_changes(leaf.model)) for name, leaf in LEAVES.items()}
    assert {name: row[0] for name, row in table().items()} == changed


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", DOC.read_text(), flags=re.S))
def test_an_example_of_the_document_is_the_config_of_its_row(snippet, tmp_path):
    (tmp_path / "example.py").write_text(snippet)
    example = Config.fromfile(tmp_path / "example.py")
    (name,) = re.findall(r'"(mm\w+::[^"]+)"', snippet)
    assert example._cfg_dict == Config.fromfile(write_config(name, tmp_path))._cfg_dict
