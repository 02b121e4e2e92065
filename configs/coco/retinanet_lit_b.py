"""RetinaNet with LIT-B on COCO, 1x.

    python tools/train.py configs/coco/retinanet_lit_b.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_lit_b.py --toy   # small rendered rooms, minutes on two cores

Mirrors: nothing released; the recipe is that of LIT-S (https://github.com/ziplab/LIT, arXiv 2105.14217), from ImageNet
weights (tools/convert.py takes these in). Expected AP: not trained here, nor by the paper.
Cost: 744 G multiply-adds at 800x1280, backbone 591 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_lit.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted, so that no norm is left without a gradient.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="weights/lit_b_backbone.pth")).
# It is what tools/convert.py makes of LIT's released weights.
model = dict(
    backbone=dict(type="LIT", variant="b", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[256, 512, 1024], start_level=0),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
