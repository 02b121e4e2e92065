"""RetinaNet with LIT-S on COCO, 1x.

    python tools/train.py configs/coco/retinanet_lit.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_lit.py --toy     # small rendered rooms, minutes on two cores

Mirrors: the RetinaNet row of LIT-S in the README of the released code (https://github.com/ziplab/LIT, arXiv
2105.14217): AdamW, lr 1e-4, weight decay 1e-4, batch 16, from ImageNet weights (tools/convert.py takes these in).
Expected (paper, that README): box AP 41.6. Not trained here.
Cost: 308 G multiply-adds at 800x1280, backbone 156.2 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_lit.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted, so that no norm is left without a gradient.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit/epoch_300.pth")).
# Fresh: norms 1, 2. LIT's released, by tools/convert.py: "weights/lit_s_backbone.pth".
model = dict(
    backbone=dict(type="LIT", variant="s", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768], start_level=0),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
