"""Mask R-CNN with AnchorFormer-S on COCO, 1x.

    python tools/train.py configs/coco/maskrcnn_anchorformer.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/maskrcnn_anchorformer.py --toy      # small rendered rooms, minutes on two cores

Mirrors: no table of the AnchorFormer paper (arXiv 2505.16463), which names no COCO detector; the recipe is LIT's 1x
(arXiv 2105.14217, released configs: AdamW, lr 2e-4, batch 16) with the weight decay of Swin, 0.05.
Expected AP: not trained here. Cost: 225 G multiply-adds at 800x1280, backbone 54.6 (analytic).
"""

_base_ = [
    "../_base_/models/maskrcnn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_anchorformer/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    backbone=dict(type="AnchorFormer", variant="s"),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
