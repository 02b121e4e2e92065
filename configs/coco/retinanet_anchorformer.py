"""RetinaNet with AnchorFormer-S on COCO, 1x.

    python tools/train.py configs/coco/retinanet_anchorformer.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_anchorformer.py --toy     # small rendered rooms, minutes on two cores

Mirrors: no table of the AnchorFormer paper (arXiv 2505.16463), which names no COCO detector; the recipe is LIT's 1x
(arXiv 2105.14217, released configs: AdamW, lr 1e-4, batch 16) with the weight decay of Swin, 0.05.
Expected AP: not trained here. Cost: 206 G multiply-adds at 800x1280, backbone 54.6 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted, so that no norm is left without a gradient.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_anchorformer/epoch_300.pth")).
# Fresh: norms 1, 2.
model = dict(
    backbone=dict(type="AnchorFormer", variant="s", out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 320, 512], start_level=0),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
