"""LIT-Ti as a classifier of ImageNet-1k at 224x224, 300 epochs.

    python tools/train.py configs/imagenet/cls_lit_ti.py --toy   # small rendered objects, minutes on two cores
    torchrun --nproc_per_node 8 tools/train.py configs/imagenet/cls_lit_ti.py --launcher pytorch --auto-scale-lr

Mirrors: LIT-Ti in the README of the released code (https://github.com/ziplab/LIT, arXiv 2105.14217): 5 epochs of
warm-up, no clipping, repeated augmentation; position tables decay and the class token does not.
Expected top-1 (that README): 81.1. Not trained here. Cost: 3.60 G multiply-adds at 224x224 (analytic).
"""

_base_ = [
    "../_base_/models/cls.py",
    "../_base_/schedules/imagenet_300e_lit.py",
    "../_base_/classification_runtime.py",
]

# The head reads the class token, which has a norm of its own.
model = dict(
    backbone=dict(type="LIT", variant="ti", out_indices=(3,), class_token=True, output_norms=(3,)),
    neck=None,
    head=dict(in_channels=512),
)
train_dataloader = dict(sampler=dict(type="RepeatAugSampler", shuffle=True))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"prefix.tokens": dict(decay_mult=0.0)}), clip_grad=None)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=5, T_max=295, convert_to_iter_based=True),
]
