"""RetinaNet with the dense yardstick pyramid on COCO, 1x.

    python tools/train.py configs/coco/retinanet_pyramid.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_pyramid.py --toy     # small rendered rooms, minutes on two cores

The control: softmax attention in every stage, else AnchorFormer-S and its recipe.
Mirrors: no table. Expected AP: not trained here.
Cost: 1,453 G multiply-adds at 800x1280, backbone 1,301 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted, so that no norm is left without a gradient.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 1, 2.
model = dict(
    backbone=dict(type="Pyramid", variant="s", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 320, 512], start_level=0),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
