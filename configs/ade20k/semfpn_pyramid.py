"""Semantic FPN with the dense yardstick Pyramid-S on ADE20K, 80k iterations.

    python tools/train.py configs/ade20k/semfpn_pyramid.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/semfpn_pyramid.py --toy          # small rendered rooms, minutes on two cores

Softmax attention in every stage, else AnchorFormer-S. Mirrors: no table; the recipe is LIT's and PVT's for Semantic FPN
(arXiv 2105.14217, released configs: AdamW, lr 1e-4, weight decay 1e-4, batch 16, poly 0.9).
Expected mIoU: not trained here. Cost: 117.6 G multiply-adds at 512x512, backbone 96.1 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_80k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_pyramid/epoch_300.pth")).
# Fresh: norms 0, 1, 2.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="Pyramid", variant="s"),
    neck=dict(in_channels=[64, 128, 320, 512]),
    decode_head=dict(num_classes=150),
)
