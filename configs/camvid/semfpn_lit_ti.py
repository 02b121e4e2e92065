"""Semantic FPN (light head) with LIT-Ti on CamVid at half size, from scratch, 300 iterations.

    python tools/train.py configs/camvid/semfpn_lit_ti.py --data-root /where/camvid/lies
    python tools/train.py configs/camvid/semfpn_lit_ti.py --toy

Mirrors: no paper. Offsets learn at a hundredth of the rate, as LIT was pre-trained (arXiv 2105.14217, released code):
from scratch, at the full rate, gradients reached norms of thousands and the loss stayed above 1.2.
Expected mIoU: 19.7 (measured here: 101 pictures, twelve minutes on one CPU thread).
Cost: 8.3 G multiply-adds at 270x360 (analytic).
"""

_base_ = [
    "../_base_/models/semfpn.py",
    "../_base_/datasets/camvid.py",
    "../_base_/schedules/scratch_cpu.py",
    "../_base_/segmentation_runtime.py",
]

# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_lit_ti/epoch_300.pth")).
# Fresh: nothing; the class token is left out. LIT's released, by tools/convert.py: "weights/lit_ti_backbone.pth".
model = dict(
    data_preprocessor=dict(size=(176, 224)),
    backbone=dict(type="LIT", variant="ti"),
    neck=dict(in_channels=[64, 128, 320, 512], out_channels=64),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=11),
)
max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(custom_keys={"offset.weight": dict(lr_mult=0.01)}))
# Not the base's single cycle, which takes every parameter to the same rate.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", begin=30, T_max=270, eta_min=0.0, by_epoch=False),
]
