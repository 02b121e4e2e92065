"""RetinaNet with LIT-Ti on COCO, 1x.

    python tools/train.py configs/coco/retinanet_lit_ti.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_lit_ti.py --toy  # small rendered rooms, minutes on two cores

Mirrors: the RetinaNet row of LIT-Ti in the README of the released code (https://github.com/ziplab/LIT, arXiv
2105.14217): AdamW, lr 1e-4, weight decay 1e-4, batch 16, from ImageNet weights (tools/convert.py takes these in).
Expected (paper, that README): box AP 41.6. Not trained here.
Cost: 286 G multiply-adds at 800x1280, backbone 134.9 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_lit.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit_ti/epoch_300.pth")).
# Fresh: nothing; the class token is left out. LIT's released, by tools/convert.py: "weights/lit_ti_backbone.pth".
model = dict(
    backbone=dict(type="LIT", variant="ti", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 320, 512], start_level=0),
)
# The released recipe of the small one decays every parameter.
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True), optimizer=dict(lr=1e-4))
