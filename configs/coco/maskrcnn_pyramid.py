"""Mask R-CNN with the dense yardstick pyramid on COCO, 1x.

    python tools/train.py configs/coco/maskrcnn_pyramid.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/maskrcnn_pyramid.py --toy      # small rendered rooms, minutes on two cores

The control: softmax attention in every stage, else AnchorFormer-S and its recipe.
Mirrors: no table. Expected AP: not trained here.
Cost: 1,471 G multiply-adds at 800x1280, backbone 1,301 (analytic).
"""

_base_ = [
    "../_base_/models/maskrcnn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    backbone=dict(type="Pyramid", variant="s"),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
