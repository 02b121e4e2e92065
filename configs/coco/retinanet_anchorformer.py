"""RetinaNet with AnchorFormer-S on COCO, 1x.

    python tools/train.py configs/coco/retinanet_anchorformer.py           # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_anchorformer.py --toy     # small rendered rooms, minutes on two cores

Mirrors: the RetinaNet 1x protocol of PVT v2 (AdamW, lr 1e-4, batch 16); the AnchorFormer paper (arXiv 2505.16463) gives
no RetinaNet table. Expected AP: not trained here. Cost: 206 G multiply-adds at 800x1280, backbone 54.7 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

model = dict(
    backbone=dict(type="AnchorFormer", variant="s"),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
