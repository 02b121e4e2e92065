"""Mask R-CNN with LIT-S on COCO, 1x.

    python tools/train.py configs/coco/maskrcnn_lit.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/maskrcnn_lit.py --toy      # small rendered rooms, minutes on two cores

Mirrors: the Mask R-CNN row of LIT-S in the README of the released code (https://github.com/ziplab/LIT, arXiv
2105.14217): AdamW, lr 2e-4, weight decay 1e-4, batch 16, from ImageNet weights (tools/convert.py takes these in).
Expected (paper, that README): box AP 42.9, mask AP 39.6. Not trained here.
Cost: 327 G multiply-adds at 800x1280, backbone 156.2 (analytic).
"""

_base_ = [
    "../_base_/models/maskrcnn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_1x_lit.py",
    "../_base_/runtime.py",
]

# As released for detection: no norm on the map of stride 4.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit/epoch_300.pth")).
# Fresh: norms 1, 2. LIT's released, by tools/convert.py: "weights/lit_s_backbone.pth".
model = dict(
    backbone=dict(type="LIT", variant="s", output_norms=(1, 2, 3)),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
