"""Semantic FPN with LIT-Ti on ADE20K, 80k iterations.

    python tools/train.py configs/ade20k/semfpn_lit_ti.py --auto-scale-lr  # ADEChallengeData2016 under data/ade
    python tools/train.py configs/ade20k/semfpn_lit_ti.py --toy  # small rendered rooms, minutes on two cores

Mirrors: the Semantic FPN row of LIT-Ti in the README of the released code (https://github.com/ziplab/LIT, arXiv
2105.14217): AdamW, lr 1e-4, weight decay 1e-4, batch 16 (8 in the released script), poly 0.9, from ImageNet weights
(tools/convert.py takes these in). Expected (paper, that README): mIoU 41.3. Not trained here.
Cost: 43.7 G multiply-adds at 512x512 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_80k_adamw.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit_ti/epoch_300.pth")).
# Fresh: nothing; the class token is left out. LIT's released, by tools/convert.py: "weights/lit_ti_backbone.pth".
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type="LIT", variant="ti"),
    neck=dict(in_channels=[64, 128, 320, 512]),
    decode_head=dict(num_classes=150),
)
