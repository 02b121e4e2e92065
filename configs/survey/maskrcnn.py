"""Mask R-CNN with Pyramid-T and any token mixer on COCO, 1x.

    python tools/train.py configs/survey/maskrcnn.py --auto-scale-lr --cfg-options model.backbone.mixers=efficient
    python tools/train.py configs/survey/maskrcnn.py --toy --cfg-options model.backbone.mixers=efficient

The mixer is any of docs/mixers.md, one name or one for each stage; nothing else differs between two of them.
Mirrors: no table; the recipe of configs/coco/maskrcnn_anchorformer.py. Expected AP: not trained here.
Cost: 795 G multiply-adds at 800x1280 with softmax attention, backbone 626; 184 with `efficient`, backbone 15 (analytic)
"""

_base_ = [
    "../_base_/models/maskrcnn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls/epoch_300.pth")).
# Fresh: norms 0, 1, 2. The classifier has the same mixers.
model = dict(
    backbone=dict(type="Pyramid", variant="t", mixers="self"),
    neck=dict(in_channels=[32, 64, 160, 256]),
)
